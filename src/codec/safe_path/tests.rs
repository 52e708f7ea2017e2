use super::*;
use proptest::prelude::*;

/// A name and what becomes of it. `None`: no usable name is left; `Some("")`: the name is unchanged.
type Vector = (&'static [u8], Option<&'static str>);

/// The right column is the result of `file_storage::file_path` of libtorrent 2.1.1 on Linux, run on 2026-11-29.
#[test]
fn native_names_are_those_of_libtorrent() {
    let vectors: [Vector; 44] = [
        (b"Who?.flac", Some("")),
        (b"a: b", Some("")),
        (b"S.O.S.", Some("")),
        (b"aux.c", Some("")),
        (b"CON", Some("")),
        (b"con.txt", Some("")),
        (b"COM1", Some("")),
        (b"C:", Some("")),
        (b"C:x", Some("")),
        (b"a*b", Some("")),
        (b"\"quoted\"", Some("")),
        (b"<b>|", Some("")),
        (b"a ", Some("")),
        (b" a", Some("")),
        (b"a.", Some("")),
        (b"...", Some("")),
        (b".. ", Some("")),
        (b"..x", Some("")),
        (b"x..", Some("")),
        (b".hidden", Some("")),
        (b"~", Some("")),
        ("ﬀ e\u{301}".as_bytes(), Some("")),
        ("a\u{ad}b".as_bytes(), Some("")),
        ("a\u{2028}b".as_bytes(), Some("")),
        // Names that Linux cannot have, and names that would leave the folder.
        (b"AC/DC", Some("ACDC")),
        (b"/etc", Some("etc")),
        (b"/etc/passwd", Some("etcpasswd")),
        (b"a/", Some("a")),
        (b"a//b", Some("ab")),
        (b"../x", Some("..x")),
        (b"x/..", Some("x..")),
        (b"a/../b", Some("a..b")),
        (b"../../x", Some("....x")),
        (b"temp/../../abc", Some("temp....abc")),
        (b"a\0b", Some("ab")),
        (b"caf\xe9", Some("caf_")),
        (b"a\xff.txt", Some("a_.txt")),
        (b"\xe6\x97\xa5\xe6\x9c", Some("日_")),
        (b"", None),
        (b".", None),
        (b"..", None),
        (b"/", None),
        (b"//", None),
        (b"\0", None),
    ];
    check(NameRules::Native, &vectors);
}

/// Names that libtorrent changes, and what the native rule makes of them; an empty text: no change.
const ODD_NAMES: &[Vector] = &[
    (b"a\\b", Some("")),
    (b"..\\x", Some("")),
    (b"\\", Some("")),
    (b"C:\\x", Some("")),
    (b"Icon\r", Some("")),
    (b"a\nb\tc", Some("")),
    (b"\x1b[2J\x7f", Some("")),
    ("می\u{200c}خواهم".as_bytes(), Some("")),
    ("👩\u{200d}💻".as_bytes(), Some("")),
    ("\u{202e}gpj.exe".as_bytes(), Some("")),
    ("a\u{200e}\u{2066}\u{feff}".as_bytes(), Some("")),
    // libtorrent takes the bytes behind a broken one with it: `caf_xt`.
    (b"caf\xe9.txt", Some("caf_.txt")),
    (b"./..", Some("...")),
    // Our own state is not to be written to.
    (b".tt-actors", Some("_.tt-actors")),
    (b".TT-Actors", Some("_.TT-Actors")),
    (b".tt-actors2", Some("")),
];

/// Where we keep a name and libtorrent changes it (decision 25): the disk can have it, and how it is shown is not the
/// disk's business.
#[test]
fn native_names_keep_what_only_looks_odd() {
    check(NameRules::Native, ODD_NAMES);
}

/// Names that some system cannot have, and what the portable rule makes of them; an empty text: no change.
const UNPORTABLE_NAMES: &[Vector] = &[
    (b"", Some("_")),
    (b".", Some("_")),
    (b"..", Some("__")),
    (b"/", Some("_")),
    (b"/etc/passwd", Some("_etc_passwd")),
    (b"\\\\server\\share", Some("__server_share")),
    (b"C:\\x", Some("C__x")),
    (b"../x", Some(".._x")),
    (b"x/..", Some("x___")),
    (b"\0", Some("_")),
    (b"a\0b", Some("a_b")),
    (b"AC/DC", Some("AC_DC")),
    (b"a\\b", Some("a_b")),
    (b"a/b/c", Some("a_b_c")),
    (b"C:x", Some("C_x")),
    (b"Q: What", Some("Q_ What")),
    (b"a:b", Some("a_b")),
    (b"file.txt:stream", Some("file.txt_stream")),
    (b"file.txt::$DATA", Some("file.txt__$DATA")),
    (b"a*b", Some("a_b")),
    (b"what?", Some("what_")),
    (b"\"quoted\"", Some("_quoted_")),
    (b"<b>", Some("_b_")),
    (b"a|b", Some("a_b")),
    (b"a\nb", Some("a_b")),
    (b"a\r\nb", Some("a__b")),
    (b"a\tb", Some("a_b")),
    (b"\x1b[2J", Some("_[2J")),
    (b"a\x7fb", Some("a_b")),
    (b"a\xc2\x9bb", Some("a_b")),
    ("\u{202e}gpj.exe".as_bytes(), Some("_gpj.exe")),
    ("a\u{2066}b\u{2069}".as_bytes(), Some("a_b_")),
    ("a\u{200f}".as_bytes(), Some("a_")),
    ("a\u{200b}b".as_bytes(), Some("a_b")),
    ("a\u{200d}b\u{200c}".as_bytes(), Some("")),
    ("\u{feff}a".as_bytes(), Some("_a")),
    ("a\u{2028}b".as_bytes(), Some("a_b")),
    ("a\u{00ad}b".as_bytes(), Some("a_b")),
    ("a\u{e0041}b".as_bytes(), Some("a_b")),
    (b"\xff", Some("_")),
    (b"caf\xe9", Some("caf_")),
    (b"a\xed\xa0\x80b", Some("a___b")),
    (b"a.", Some("a_")),
    (b"a..", Some("a__")),
    (b"a ", Some("a_")),
    (b"a . ", Some("a___")),
    (b"   ", Some("___")),
    (b"a.txt.", Some("a.txt_")),
    (b"CON", Some("_CON")),
    (b"con", Some("_con")),
    (b"CON.txt", Some("_CON.txt")),
    (b"con.tar.gz", Some("_con.tar.gz")),
    (b"CON .txt", Some("_CON .txt")),
    (b"CON.", Some("CON_")),
    (b"PRN", Some("_PRN")),
    (b"aux.h", Some("_aux.h")),
    (b"nul.log", Some("_nul.log")),
    (b"COM0", Some("_COM0")),
    (b"com9.txt", Some("_com9.txt")),
    ("COM¹".as_bytes(), Some("_COM¹")),
    ("lpt².x".as_bytes(), Some("_lpt².x")),
    (b"LPT1", Some("_LPT1")),
    (b"CONIN$", Some("_CONIN$")),
    (b"conout$", Some("_conout$")),
    (b"CLOCK$", Some("_CLOCK$")),
    (b".tt-actors", Some("_.tt-actors")),
    (b".TT-Actors", Some("_.TT-Actors")),
    (b"CON:", Some("CON_")),
    (b"CON/x", Some("CON_x")),
    (b"a\\b:c*d?", Some("a_b_c_d_")),
    (b"?", Some("_")),
    (b"::", Some("__")),
    (b"1:", Some("1_")),
    (b"*.*", Some("_._")),
    (b".tt-actors.", Some(".tt-actors_")),
    ("a\u{180e}b".as_bytes(), Some("a_b")),
    (b"...", Some("___")),
    (b"..x", Some("")),
];

/// S-03: names that some system cannot have, takes for another, or that lead elsewhere on it.
#[test]
fn portable_names_are_possible_everywhere() {
    check(NameRules::Portable, UNPORTABLE_NAMES);
}

/// Names that every system can have.
const ORDINARY_NAMES: &[&str] = &[
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

/// Nothing is renamed that need not be.
#[test]
fn ordinary_names_stay_as_they_are() {
    assert_eq!(ORDINARY_NAMES.len(), 68);
    for &name in ORDINARY_NAMES {
        for rule in [NameRules::Native, NameRules::Portable] {
            assert_eq!(rule.component(name.as_bytes()).as_deref(), Some(name));
        }
    }
}

fn check(rule: NameRules, vectors: &[Vector]) {
    for (raw, want) in vectors {
        let got = rule.component(raw);
        let same = std::str::from_utf8(raw).unwrap_or_default();
        let want = want.map(|name| if name.is_empty() { same } else { name });
        assert_eq!(got.as_deref(), want, "{}", raw.escape_ascii());
    }
}

/// D-11: 255 bytes stay. A name of 256 bytes or more is cut where libtorrent 2.1.1 cuts it, as run on 2026-11-29.
#[test]
fn native_names_that_are_too_long_are_cut_as_libtorrent_cuts_them() {
    let native = |name: String| NameRules::Native.component(name.as_bytes()).unwrap();
    let x = |count| "x".repeat(count);
    let table = [
        (x(255), x(255)),
        (x(251) + ".mkv", x(251) + ".mkv"),
        (x(256), x(240)),
        (x(252) + ".mkv", x(240) + ".mkv"),
        (x(500) + ".mp3", x(240) + ".mp3"),
        (x(300) + ".12345678", x(240) + ".12345678"),
        (x(300) + ".123456789", x(240)),
        (x(238) + "日本" + &x(40) + ".mkv", x(238) + "日.mkv"),
        ("日".repeat(100) + ".flac", "日".repeat(80) + ".flac"),
        ("é".repeat(150) + ".mkv", "é".repeat(120) + ".mkv"),
    ];
    for (name, want) in table {
        let got = native(name.clone());
        assert!(got.len() <= MAX_COMPONENT_LEN, "{got}");
        assert_eq!(got, want);
        assert_eq!(native(got.clone()), got);
    }
}

fn component(raw: &[u8]) -> Option<String> {
    NameRules::Portable.component(raw)
}

/// D-11, S-03: 255 bytes stay, 256 are cut between characters, the extension is kept, and two long names stay
/// different.
#[test]
fn portable_names_that_are_too_long_are_cut_between_characters() {
    let exact = "x".repeat(251) + ".mkv";
    assert_eq!(component(exact.as_bytes()), Some(exact));
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

fn path(text: &str, names: NameRules) -> SafePath {
    SafePath::from_raw(text.split('/').map(str::as_bytes), names).unwrap()
}

#[test]
fn an_unusable_component_becomes_an_underscore() {
    for names in [NameRules::Native, NameRules::Portable] {
        assert_eq!(SafePath::from_raw([], names), None);
        assert_eq!(path("a//b", names).as_str(), "a/_/b");
        assert_eq!(path("./b/", names).as_str(), "_/b/_");
    }
    assert_eq!(path("top/../../etc", NameRules::Native).as_str(), "top/_/_/etc");
    let inner = SafePath::from_raw([&b"top"[..], b"../../etc", b"/"], NameRules::Native).unwrap();
    assert_eq!(inner.as_str(), "top/....etc/_");
}

#[test]
fn paths_are_bounded_in_length_and_portable_ones_in_depth() {
    let deep = |levels: usize| "top/".to_owned() + &"d/".repeat(levels) + "file";
    for names in [NameRules::Native, NameRules::Portable] {
        assert_eq!(path(&deep(30), names).components().count(), 32);
        let long = path(&("top/".to_owned() + &(("x".repeat(250) + "/").repeat(20)) + "file"), names);
        assert_eq!(long.components().count(), 3);
        assert_ne!(long, path(&deep(2000), names));
    }
    assert_eq!(path(&deep(300), NameRules::Native).as_str(), deep(300));
    let shortened = path(&deep(31), NameRules::Portable);
    assert_eq!(shortened.components().count(), 3);
    assert!(shortened.as_str().starts_with("top/~") && shortened.as_str().ends_with("/file"));
}

fn untangled(names: &[&str], rule: NameRules) -> Vec<String> {
    let mut paths: Vec<_> = names.iter().map(|name| path(name, rule)).collect();
    untangle(&mut paths.iter_mut().collect::<Vec<_>>(), rule);
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
        assert_eq!(untangled(names, NameRules::Portable), want);
    }
    let long = "x".repeat(251) + ".mkv";
    let got = untangled(&[&long, &long, &long], NameRules::Portable);
    assert!(got.iter().all(|name| name.len() <= 255 && split_extension(name).1 == ".mkv"));
    assert!(got[0] != got[1] && got[1] != got[2] && got[0] != got[2]);
}

/// Linux tells such names apart; only names that are equal byte by byte are renamed.
#[test]
fn native_names_that_differ_in_case_or_spelling_are_two() {
    let table: [(&[&str], &[&str]); 5] = [
        (&["README", "readme", "ReadMe"], &["README", "readme", "ReadMe"]),
        (&["café", "cafe\u{301}"], &["café", "cafe\u{301}"]),
        (&["a.txt", "a.txt", "A.txt", "a.txt"], &["a.txt", "a~2.txt", "A.txt", "a~3.txt"]),
        (&["a", "a/b", "A/b"], &["a~2", "a/b", "A/b"]),
        (&["_", "", ".."], &["_", "_~2", "_~3"]),
    ];
    for (names, want) in table {
        assert_eq!(untangled(names, NameRules::Native), want);
    }
}

/// S-03: more than 500 duplicates. A quadratic search would need 10^10 steps here.
#[test]
fn a_hundred_thousand_duplicates_are_untangled() {
    let names: Vec<String> = (2..50_002).map(|n| format!("a~{n}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.extend(std::iter::repeat_n("a", 50_000));
    let got = untangled(&names, NameRules::Native);
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

fn is_plain(name: &str, names: NameRules) -> bool {
    let fits = (1..=MAX_COMPONENT_LEN).contains(&name.len()) && !is_state_folder(name);
    fits && match names {
        NameRules::Native => !name.contains(['/', '\0']) && !matches!(name, "." | ".."),
        NameRules::Portable => {
            name.chars().all(portable::is_portable) && !name.ends_with(['.', ' ']) && !portable::is_device(name)
        }
    }
}

fn any_rule() -> impl Strategy<Value = NameRules> {
    prop_oneof![Just(NameRules::Native), Just(NameRules::Portable)]
}

proptest! {
    #[test]
    fn a_safe_name_is_plain_and_stays_itself(raw in odd_name(), names in any_rule()) {
        if let Some(name) = names.component(&raw) {
            prop_assert!(is_plain(&name, names), "{name}");
            prop_assert_eq!(names.component(name.as_bytes()), Some(name));
        }
    }

    /// Every name that Linux can have is kept, except our state folder's.
    #[test]
    fn native_names_that_linux_can_have_stay(name in "[^/\u{0}]{1,60}") {
        if !is_state_folder(&name) && !matches!(name.as_str(), "." | "..") {
            prop_assert_eq!(NameRules::Native.component(name.as_bytes()), Some(name));
        }
    }

    /// S-01: joined to any folder, the path is below that folder.
    #[test]
    fn a_safe_path_stays_below_its_folder(raw in prop::collection::vec(odd_name(), 0..40), names in any_rule()) {
        if let Some(path) = SafePath::from_raw(raw.iter().map(Vec::as_slice), names) {
            prop_assert!(path.as_path().is_relative() && path.as_str().len() <= MAX_PATH_LEN);
            prop_assert!(path.as_path().components().all(|part| matches!(part, std::path::Component::Normal(_))));
            prop_assert_eq!(path.as_path().components().count(), path.components().count());
            prop_assert!(path.components().all(|name| is_plain(name, names)));
        }
    }

    #[test]
    fn no_two_files_share_a_place(
        raw in prop::collection::vec("[aA]|[aA]/[bB]|[aA](/[b~2]{1,2}){0,3}|(é|e\u{301}|É)~2|x{250,260}|(\\.\\./)?_?", 0..60),
        names in any_rule(),
    ) {
        let mut paths: Vec<_> = raw.iter().map(|text| path(text, names)).collect();
        let again = paths.clone();
        let renamed = untangle(&mut paths.iter_mut().collect::<Vec<_>>(), names);
        let folded = |path: &SafePath| names.folded(&path.text).into_owned();
        let places: HashSet<_> = paths.iter().map(folded).collect();
        prop_assert_eq!(places.len(), paths.len());
        for path in &paths {
            let mut folder = folded(path);
            while let Some((outer, _name)) = folder.rsplit_once('/') {
                folder = outer.to_owned();
                prop_assert!(!places.contains(&folder), "{folder} is a file and a folder");
            }
            prop_assert!(path.components().all(|name| is_plain(name, names)));
        }
        let changed: Vec<_> = (0..paths.len()).filter(|at| paths[*at] != again[*at]).collect();
        prop_assert_eq!(renamed, changed);
        prop_assert!(untangle(&mut paths.iter_mut().collect::<Vec<_>>(), names).is_empty());
    }
}
