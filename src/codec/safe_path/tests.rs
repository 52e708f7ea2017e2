use super::*;
use proptest::prelude::*;

/// What becomes of one name: `Ok("")` means that it stays as it is.
type Vector = (&'static [u8], Result<&'static str, BadPath>);

/// S-01: names that lead elsewhere, on any system.
#[test]
fn what_would_leave_the_folder_is_refused() {
    use BadPath::{Absolute, Dots, Empty, Nul};
    let vectors: [Vector; 62] = [
        (b"", Err(Empty)),
        (b".", Err(Dots)),
        (b"..", Err(Dots)),
        (b"/", Err(Absolute)),
        (b"//", Err(Absolute)),
        (b"\\", Err(Absolute)),
        (b"\\\\", Err(Absolute)),
        (b"/etc", Err(Absolute)),
        (b"/etc/passwd", Err(Absolute)),
        (b"//etc/passwd", Err(Absolute)),
        (b"\\Windows", Err(Absolute)),
        (b"\\\\server\\share", Err(Absolute)),
        (b"//server/share", Err(Absolute)),
        (b"\\\\?\\C:\\x", Err(Absolute)),
        (b"\\\\.\\PhysicalDrive0", Err(Absolute)),
        (b"\\??\\C:\\x", Err(Absolute)),
        (b"C:", Err(Absolute)),
        (b"c:", Err(Absolute)),
        (b"Z:", Err(Absolute)),
        (b"C:\\", Err(Absolute)),
        (b"C:/", Err(Absolute)),
        (b"C:\\Windows\\system32", Err(Absolute)),
        (b"c:/Windows", Err(Absolute)),
        (b"C:..\\x", Ok("C_.._x")),
        (b"../", Err(Dots)),
        (b"..\\", Err(Dots)),
        (b"../x", Err(Dots)),
        (b"..\\x", Err(Dots)),
        (b"../../../../etc/passwd", Err(Dots)),
        (b"..\\..\\..\\autoexec.bat", Err(Dots)),
        (b"..\\../x", Err(Dots)),
        (b"x/..", Err(Dots)),
        (b"x\\..", Err(Dots)),
        (b"x/../y", Err(Dots)),
        (b"x\\..\\y", Err(Dots)),
        (b"x/../../y", Err(Dots)),
        (b"./x", Err(Dots)),
        (b"x/.", Err(Dots)),
        (b"x/./y", Err(Dots)),
        (b".\\x", Err(Dots)),
        (b"x/", Err(Dots)),
        (b"x\\", Err(Dots)),
        (b"x//y", Err(Dots)),
        (b"x\\\\y", Err(Dots)),
        (b"x/\\y", Err(Dots)),
        (b"\0", Err(Nul)),
        (b"a\0b", Err(Nul)),
        (b"a.txt\0.exe", Err(Nul)),
        (b"..\0", Err(Nul)),
        (b"\0..", Err(Nul)),
        (b"/\0", Err(Nul)),
        // What only looks like an escape is a name.
        (b"...", Ok("___")),
        (b"....", Ok("____")),
        (b".. ", Ok("___")),
        (b". ", Ok("__")),
        (b" ..", Ok("___")),
        (b"..x", Ok("")),
        (b"x..", Ok("x__")),
        (b"x..y", Ok("")),
        (b"%2e%2e%2f", Ok("")),
        (b"..%2f", Ok("")),
        (b"~root", Ok("")),
    ];
    check(&vectors);
}

/// S-03: names that some system cannot have, or takes for another.
#[test]
fn what_is_impossible_somewhere_is_renamed() {
    let vectors: [Vector; 86] = [
        (b"AC/DC", Ok("AC_DC")),
        (b"a\\b", Ok("a_b")),
        (b"a/b/c", Ok("a_b_c")),
        (b"C:x", Ok("C_x")),
        (b"Q: What", Ok("Q_ What")),
        (b"a:b", Ok("a_b")),
        (b"file.txt:stream", Ok("file.txt_stream")),
        (b"file.txt::$DATA", Ok("file.txt__$DATA")),
        (b"a*b", Ok("a_b")),
        (b"what?", Ok("what_")),
        (b"\"quoted\"", Ok("_quoted_")),
        (b"<b>", Ok("_b_")),
        (b"a|b", Ok("a_b")),
        (b"a\x01b", Ok("a_b")),
        (b"a\nb", Ok("a_b")),
        (b"a\r\nb", Ok("a__b")),
        (b"a\tb", Ok("a_b")),
        (b"\x1b[2J", Ok("_[2J")),
        (b"a\x7fb", Ok("a_b")),
        (b"a\xc2\x9bb", Ok("a_b")),
        ("\u{202e}gpj.exe".as_bytes(), Ok("_gpj.exe")),
        ("\u{202d}a\u{202c}".as_bytes(), Ok("_a_")),
        ("a\u{2066}b\u{2069}".as_bytes(), Ok("a_b_")),
        ("a\u{200f}".as_bytes(), Ok("a_")),
        ("a\u{200e}".as_bytes(), Ok("a_")),
        ("a\u{061c}".as_bytes(), Ok("a_")),
        ("a\u{200b}b".as_bytes(), Ok("a_b")),
        ("a\u{200d}b".as_bytes(), Ok("a_b")),
        ("\u{feff}a".as_bytes(), Ok("_a")),
        ("a\u{2028}b".as_bytes(), Ok("a_b")),
        ("a\u{2029}b".as_bytes(), Ok("a_b")),
        ("a\u{00ad}b".as_bytes(), Ok("a_b")),
        ("a\u{e0041}b".as_bytes(), Ok("a_b")),
        (b"\xff", Ok("_")),
        (b"caf\xe9", Ok("caf_")),
        (b"\xc0\xaf", Ok("__")),
        (b"\xc0\xae\xc0\xae", Ok("____")),
        (b"a\xed\xa0\x80b", Ok("a___b")),
        (b"\xf0\x9f\x98", Ok("_")),
        (b"a.", Ok("a_")),
        (b"a..", Ok("a__")),
        (b"a ", Ok("a_")),
        (b"a . ", Ok("a___")),
        (b" ", Ok("_")),
        (b"   ", Ok("___")),
        (b"a.txt.", Ok("a.txt_")),
        (b"CON", Ok("_CON")),
        (b"con", Ok("_con")),
        (b"Con", Ok("_Con")),
        (b"CON.txt", Ok("_CON.txt")),
        (b"con.tar.gz", Ok("_con.tar.gz")),
        (b"CON .txt", Ok("_CON .txt")),
        (b"CON.", Ok("CON_")),
        (b"CON ", Ok("CON_")),
        (b"PRN", Ok("_PRN")),
        (b"AUX", Ok("_AUX")),
        (b"aux.h", Ok("_aux.h")),
        (b"NUL", Ok("_NUL")),
        (b"nul.log", Ok("_nul.log")),
        (b"COM0", Ok("_COM0")),
        (b"COM1", Ok("_COM1")),
        (b"com9.txt", Ok("_com9.txt")),
        ("COM¹".as_bytes(), Ok("_COM¹")),
        ("lpt².x".as_bytes(), Ok("_lpt².x")),
        (b"LPT1", Ok("_LPT1")),
        (b"lpt9", Ok("_lpt9")),
        (b"CONIN$", Ok("_CONIN$")),
        (b"conout$", Ok("_conout$")),
        (b"CLOCK$", Ok("_CLOCK$")),
        (b".tt-actors", Ok("_.tt-actors")),
        (b".TT-Actors", Ok("_.TT-Actors")),
        (b"CON:", Ok("CON_")),
        (b"CON/x", Ok("CON_x")),
        (b"a/CON", Ok("a_CON")),
        (b"a\\b:c*d?", Ok("a_b_c_d_")),
        (b"?", Ok("_")),
        (b"??", Ok("__")),
        (b":", Ok("_")),
        (b"::", Ok("__")),
        (b"1:", Ok("1_")),
        (b"\x08", Ok("_")),
        (b"*.*", Ok("_._")),
        (b"<script>", Ok("_script_")),
        (b"a\x00c3", Err(BadPath::Nul)),
        (b".tt-actors.", Ok(".tt-actors_")),
        ("a\u{180e}b".as_bytes(), Ok("a_b")),
    ];
    check(&vectors);
}

/// Nothing is renamed that need not be.
#[test]
fn ordinary_names_stay_as_they_are() {
    let names = [
        "a",
        "file.txt",
        ".hidden",
        ".a.b",
        "no extension",
        " leading space",
        "-o",
        "--help",
        "-rf",
        "$(touch x)",
        "`id`",
        "a;b",
        "a&b",
        "a'b",
        "a#b",
        "a%b",
        "a%00b",
        "{a}",
        "[a]",
        "(a)",
        "a=b",
        "a+b",
        "a,b",
        "a@b",
        "a!b",
        "a^b",
        "a~b",
        "~",
        "~1",
        "PROGRA~1",
        "CONSOLE",
        "CON1",
        "COM",
        "COM10",
        "COMA",
        "LPT",
        "LPTX",
        "NULL",
        "AUXX",
        "_CON",
        "a.CON",
        "xCON.txt",
        "COM1x",
        "tt-actors",
        ".tt-actors2",
        "日本語.mkv",
        "Ünïcödé",
        "cafe\u{301}",
        "café",
        "Привет",
        "שלום",
        "مرحبا",
        "😀.png",
        "ﬀ",
        "①",
        "／",
        "‥",
        "．．",
        "∕",
        "a\u{a0}",
        "\u{3000}",
        "a\u{300}",
        "desktop.ini",
        "Thumbs.db",
        ".git",
        ".ssh",
        "con_",
        "a__b",
    ];
    assert_eq!(names.len(), 68);
    for name in names {
        assert_eq!(component(name.as_bytes()).as_deref(), Ok(name));
    }
}

fn check(vectors: &[Vector]) {
    for (raw, want) in vectors {
        let got = component(raw);
        let same = std::str::from_utf8(raw).unwrap_or_default();
        let want = want.map(|name| if name.is_empty() { same } else { name });
        assert_eq!(got.as_deref().map_err(|why| *why), want, "{}", raw.escape_ascii());
    }
}

/// D-11, S-03: 255 bytes stay, 256 are cut at a character, extension kept, and two long names stay two.
#[test]
fn long_names_are_cut_between_characters() {
    let exact = "x".repeat(251) + ".mkv";
    assert_eq!(component(exact.as_bytes()), Ok(exact));
    for (unit, extension) in
        [("x", ".mkv"), ("é", ".mkv"), ("日", ""), ("😀", ".tar"), ("a.", ""), (".", "x"), ("é", "")]
    {
        for count in 60..300 {
            let name = unit.repeat(count) + extension;
            let got = component(name.as_bytes()).unwrap();
            assert!(got.len() <= 255 && got.ends_with(extension), "{name}: {got}");
            assert!(name.len() > 255 || got == name || unit.contains('.'), "{name}: {got}");
            assert!(got.len() > 255 - 4 || name.len() <= 255, "not shorter than need be: {got}");
        }
    }
    let long = |last: &str| component(("x".repeat(300) + last + ".mkv").as_bytes()).unwrap();
    assert_ne!(long("a"), long("b"));
    assert_eq!(long("a"), "x".repeat(242) + "~d26e6efe.mkv", "the rule must not change: files are found by it");
    let no_extension = component((".".to_owned() + &"x".repeat(300)).as_bytes()).unwrap();
    assert!(no_extension.starts_with(".xxx"));
}

fn path(text: &str) -> Result<SafePath, BadPath> {
    SafePath::from_raw(text.split('/').map(str::as_bytes))
}

#[test]
fn paths_are_bounded_in_length_and_depth() {
    assert_eq!(SafePath::from_raw([]), Err(BadPath::Empty));
    assert_eq!(path("a//b"), Err(BadPath::Empty));
    assert_eq!(path("a/../b"), Err(BadPath::Dots));
    let deep = path(&vec!["d"; 32].join("/")).unwrap();
    assert_eq!(deep.components().count(), 32);
    let deeper = path(&("top/".to_owned() + &"d/".repeat(31) + "file")).unwrap();
    assert_eq!(deeper.components().count(), 3);
    assert!(deeper.as_str().starts_with("top/~") && deeper.as_str().ends_with("/file"));
    let long = path(&("top/".to_owned() + &(("x".repeat(250) + "/").repeat(20)) + "file")).unwrap();
    assert_eq!(long.components().count(), 3);
    assert_ne!(long, deeper);
}

fn untangled(names: &[&str]) -> Vec<String> {
    let mut paths: Vec<_> = names.iter().map(|name| path(name).unwrap()).collect();
    untangle(&mut paths.iter_mut().collect::<Vec<_>>());
    paths.into_iter().map(|path| path.text).collect()
}

#[test]
fn clashes_are_resolved_in_the_order_of_the_torrent() {
    let table: [(&[&str], &[&str]); 12] = [
        (&["a", "b"], &["a", "b"]),
        (&["a.txt", "a.txt", "a.txt"], &["a.txt", "a~2.txt", "a~3.txt"]),
        (&["a", "A"], &["a", "A~2"]),
        (&["x/a", "y/a"], &["x/a", "y/a"]),
        (&["X/a", "x/a"], &["X/a", "x/a~2"]),
        (&["straße", "STRASSE"], &["straße", "STRASSE~2"]),
        (&["café", "cafe\u{301}", "CAFÉ"], &["café", "cafe\u{301}~2", "CAFÉ~3"]),
        (&["a", "a/b"], &["a~2", "a/b"]),
        (&["a/b", "A"], &["a/b", "A~2"]),
        (&["a~2", "a", "a"], &["a~2", "a", "a~3"]),
        (&["a", "a", "a~2"], &["a", "a~2", "a~2~2"]),
        (&[".a", ".a", "x.y.z", "x.y.z"], &[".a", ".a~2", "x.y.z", "x.y~2.z"]),
    ];
    for (names, want) in table {
        assert_eq!(untangled(names), want);
    }
    let long = "x".repeat(251) + ".mkv";
    let got = untangled(&[&long, &long, &long]);
    assert!(got.iter().all(|name| name.len() <= 255 && split_extension(name).1 == ".mkv"));
    assert!(got[0] != got[1] && got[1] != got[2] && got[0] != got[2]);
}

/// S-03: more than 500 duplicates; a quadratic search would need 10^10 steps here.
#[test]
fn a_hundred_thousand_duplicates_are_no_trouble() {
    let names: Vec<String> = (2..50_002).map(|n| format!("a~{n}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.extend(std::iter::repeat_n("a", 50_000));
    let got = untangled(&names);
    assert_eq!(got.iter().collect::<HashSet<_>>().len(), 100_000);
    assert_eq!(got.last().unwrap(), "a~100000");
}

fn odd_name() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(&b"."[..]),
        Just(&b".."[..]),
        Just(&b"/"[..]),
        Just(&b"\\"[..]),
        Just(&b" "[..]),
        Just(&b"C:"[..]),
        Just(&b"con"[..]),
        Just(&b"\0"[..]),
        Just(&b"\xff"[..]),
        Just("é".as_bytes()),
        Just("\u{202e}".as_bytes()),
        Just(&b"a"[..]),
        Just(&[b'x'; 120][..]),
        Just(&b".tt-actors"[..]),
        Just("日".as_bytes()),
        Just(&b"~2"[..]),
    ];
    prop_oneof![
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat()),
        prop::collection::vec(any::<u8>(), 0..300),
        "\\PC{0,200}".prop_map(String::into_bytes),
    ]
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_COMPONENT_LEN
        && name.chars().all(is_portable)
        && !name.ends_with(['.', ' '])
        && !is_reserved(name)
}

proptest! {
    #[test]
    fn a_safe_name_is_plain_and_stays_itself(raw in odd_name()) {
        if let Ok(name) = component(&raw) {
            prop_assert!(is_plain(&name), "{name}");
            prop_assert_eq!(component(name.as_bytes()), Ok(name));
        }
    }

    /// S-01: joined to any folder, the path is below it.
    #[test]
    fn a_safe_path_stays_below_its_folder(raw in prop::collection::vec(odd_name(), 0..40)) {
        if let Ok(path) = SafePath::from_raw(raw.iter().map(Vec::as_slice)) {
            prop_assert!(path.as_path().is_relative() && path.as_str().len() <= MAX_PATH_LEN);
            prop_assert!(path.as_path().components().all(|part| matches!(part, std::path::Component::Normal(_))));
            prop_assert_eq!(path.as_path().components().count(), path.components().count());
            prop_assert!(path.components().count() <= MAX_DEPTH && path.components().all(is_plain));
        }
    }

    #[test]
    fn no_two_files_share_a_place(raw in prop::collection::vec("[aA]|[aA]/[bB]|[aA](/[b~2]{1,2}){0,3}|(é|e\u{301}|É)~2|x{250,260}", 0..60)) {
        let mut paths: Vec<_> = raw.iter().map(|text| path(text).unwrap()).collect();
        let again = paths.clone();
        let renamed = untangle(&mut paths.iter_mut().collect::<Vec<_>>());
        let places: HashSet<_> = paths.iter().map(|path| folded(&path.text)).collect();
        prop_assert_eq!(places.len(), paths.len());
        for path in &paths {
            let mut folder = folded(&path.text);
            while let Some((outer, _name)) = folder.rsplit_once('/') {
                folder = outer.to_owned();
                prop_assert!(!places.contains(&folder), "{folder} is a file and a folder");
            }
            prop_assert!(path.components().all(is_plain));
        }
        let changed: Vec<_> = (0..paths.len()).filter(|at| paths[*at] != again[*at]).collect();
        prop_assert_eq!(renamed, changed);
        prop_assert!(untangle(&mut paths.iter_mut().collect::<Vec<_>>()).is_empty());
    }
}
