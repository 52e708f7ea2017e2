use sha1::{Digest, Sha1};

use super::*;
use crate::base::geometry::Geometry;
use crate::base::ids::InfoHash;
use proptest::prelude::*;
use serde::Serialize;
use serde_bytes::ByteBuf;

/// The `info` dictionary as a well-behaved maker writes it.
#[derive(Default, Clone, Serialize)]
struct Info {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<File>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<i64>,
    name: ByteBuf,
    #[serde(rename = "piece length")]
    piece_len: i64,
    pieces: ByteBuf,
}

#[derive(Clone, Serialize)]
struct File {
    #[serde(skip_serializing_if = "Option::is_none")]
    attr: Option<&'static str>,
    length: i64,
    path: Vec<ByteBuf>,
}

fn file(path: &[&[u8]], length: i64, attr: Option<&'static str>) -> File {
    File { attr, length, path: path.iter().map(|name| ByteBuf::from(*name)).collect() }
}

fn single(name: &[u8], length: i64, piece_len: i64) -> Info {
    let pieces = vec![1; usize::try_from((length + piece_len - 1) / piece_len * 20).unwrap()];
    Info {
        length: Some(length),
        name: ByteBuf::from(name),
        piece_len,
        pieces: ByteBuf::from(pieces),
        ..Info::default()
    }
}

fn many(files: Vec<File>) -> Info {
    let total: i64 = files.iter().map(|file| file.length).sum();
    Info { files, length: None, ..single(b"top", total, 16384) }
}

/// Wraps a raw `info` and raw entries of the outer dictionary. `before` and `after` are the entries sorted before and
/// after `info`.
fn torrent(before: &[u8], info: &[u8], after: &[u8]) -> Vec<u8> {
    [b"d", before, b"4:info", info, after, b"e"].concat()
}

fn plain(info: &Info) -> Vec<u8> {
    torrent(b"", &serde_bencode::to_bytes(info).unwrap(), b"")
}

fn parse(info: &Info) -> Result<Metainfo, BadTorrent> {
    Metainfo::parse(&plain(info))
}

fn told(meta: &Metainfo) -> Vec<String> {
    meta.warnings.iter().map(ToString::to_string).collect()
}

fn paths(meta: &Metainfo) -> Vec<&str> {
    meta.info.files.iter().map(|file| file.path.as_str()).collect()
}

/// Adds raw entries at the end of `info`; the keys are unsorted if these do not belong there.
fn with_extra(info: &Info, extra: &[u8]) -> Vec<u8> {
    let mut raw = serde_bencode::to_bytes(info).unwrap();
    raw.pop();
    torrent(b"", &[&raw, extra, b"e"].concat(), b"")
}

#[test]
fn a_single_file_torrent_is_read() {
    let meta = parse(&single(b"debian.iso", 40000, 16384)).unwrap();
    assert_eq!((meta.info.name.as_str(), meta.info.multi_file, meta.info.private), ("debian.iso", false, false));
    assert_eq!(meta.info.geometry, Geometry::new(40000, 16384).unwrap());
    assert_eq!(paths(&meta), ["debian.iso"]);
    assert_eq!((meta.info.files[0].len, meta.info.files[0].offset), (40000, 0));
    assert_eq!(meta.info.hashes.get(meta.info.geometry.last_piece()), [1; 20]);
    assert_eq!(meta.warnings, []);
}

/// The expected hash is that of `d6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae`, made
/// with `sha1sum`. An unknown key at an odd place must change it.
#[test]
fn the_info_hash_is_over_the_raw_bytes() {
    let info = b"d6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
    let meta = Metainfo::parse(&torrent(b"", info, b"")).unwrap();
    assert_eq!(meta.info.info_hash.to_string(), INFO_SHA1);
    let odd = [&info[..info.len() - 1], b"1:zle1:ai1ee"].concat();
    let meta = Metainfo::parse(&torrent(b"", &odd, b"")).unwrap();
    assert_eq!(meta.info.info_hash, InfoHash(Sha1::digest(&odd).into()));
    assert_eq!(meta.warnings, [TorrentWarning::UnsortedKeys]);
}

/// BEP 9: the dictionary alone is what peers send.
#[test]
fn the_dictionary_is_kept_and_is_enough_for_the_content() {
    let raw = b"d6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
    let meta = Metainfo::parse(&torrent(b"", raw, b"")).unwrap();
    assert_eq!(meta.info.raw[..], raw[..]);
    let (alone, warnings) = super::Info::parse(&meta.info.raw, NameRules::default()).unwrap();
    assert_eq!((alone.info_hash, alone.files, warnings), (meta.info.info_hash, meta.info.files.clone(), Vec::new()));
    assert_eq!(alone.hashes.get(alone.geometry.last_piece()), [b'a'; 20]);
    assert_eq!(super::Info::parse(b"i5e", NameRules::default()).unwrap_err(), BadTorrent::Missing("`info` dictionary"));
}

const INFO_SHA1: &str = "67e956e7f453e8f1ec1989b7f2fb135490164bd5";

/// W-17.
#[test]
fn a_single_file_may_be_called_files_and_pieces_may_be_of_any_length() {
    for (name, piece_len) in [(&b"files"[..], 16384), (b"length", 1), (b"path", 7), (b"info", 1_000_003)] {
        let meta = parse(&single(name, 20000, piece_len)).unwrap();
        assert_eq!((meta.info.name.as_bytes(), meta.info.multi_file), (name, false));
        assert_eq!(meta.info.geometry.nominal_piece_len(), u32::try_from(piece_len).unwrap());
    }
}

/// W-17.
#[test]
fn files_of_a_folder_follow_each_other_and_may_be_empty() {
    let files = vec![
        file(&[b"a"], 5, None),
        file(&[b"empty"], 0, None),
        file(&[b"sub", b"b"], 20000, Some("x")),
        file(&[b"end"], 0, Some("h")),
    ];
    let meta = parse(&many(files)).unwrap();
    assert!(meta.info.multi_file);
    assert_eq!(paths(&meta), ["top/a", "top/empty", "top/sub/b", "top/end"]);
    let spans: Vec<_> = meta.info.files.iter().map(|file| (file.offset, file.len, file.executable)).collect();
    assert_eq!(spans, [(0, 5, false), (5, 0, false), (5, 20000, true), (20005, 0, false)]);
}

/// S-02, BEP 47.
#[test]
fn padding_is_known_and_links_are_never_created() {
    let files = vec![
        file(&[b"a"], 5, None),
        file(&[b".pad", b"16379"], 16379, Some("p")),
        file(&[b"link"], 0, Some("l")),
        file(&[b"b"], 5, None),
        file(&[b".pad", b"16379"], 16379, Some("p")),
        file(&[b"_____padding_file_1_if you see this"], 10, None),
    ];
    let meta = parse(&many(files)).unwrap();
    assert_eq!(meta.info.files.iter().map(|file| file.padding).collect::<Vec<_>>(), [false, true, false, true, true]);
    assert_eq!(meta.info.files[2].offset, 16384);
    assert_eq!(told(&meta), ["symbolic link `top/link` is not created"]);
    assert_eq!((meta.info.links.len(), meta.info.links[0].path.as_str()), (1, "top/link"));
}

/// libtorrent 2.1.1: "symlinks have an implied size of zero", so the layout of all files behind one depends on it.
#[test]
fn a_link_has_no_bytes_whatever_its_length_says() {
    let raw = |link: &str| {
        let files = format!("d6:lengthi5e4:pathl1:aeed4:attr1:l{link}4:pathl1:ke12:symlink pathl1:a4:..\u{1b}ae");
        format!(
            "d5:filesl{files}ed6:lengthi7e4:pathl1:beee4:name3:top12:piece lengthi16384e6:pieces20:{}e",
            "x".repeat(20)
        )
    };
    for (link, warnings) in [("", 1), ("6:lengthi0e", 1), ("6:lengthi5e", 2), ("6:lengthi05e", 3), ("6:lengthi-1e", 2)]
    {
        let meta = Metainfo::parse(&torrent(b"", raw(link).as_bytes(), b"")).unwrap();
        let files: Vec<_> = meta.info.files.iter().map(|file| (file.path.as_str(), file.offset)).collect();
        assert_eq!(files, [("top/a", 0), ("top/b", 5)], "{link}");
        let SymbolicLink { path, target } = &meta.info.links[0];
        assert_eq!(
            (path.as_str(), target.as_str(), meta.warnings.len()),
            ("top/k", "a/..\\u{1b}a", warnings),
            "{link}"
        );
    }
}

/// S-01, S-03: tests whole torrents; the names themselves are tested in `safe_path`.
#[test]
fn odd_names_are_renamed_below_the_folder_with_a_warning() {
    let files = vec![
        file(&[b"sub", b"..", b"x"], 1, None),
        file(&[b""], 1, None),
        file(&[b"/etc/passwd"], 1, None),
        file(&[b"A"], 1, None),
        file(&[b"a"], 1, None),
        file(&[b"A"], 1, None),
        file(&[b"\xe2\x80\xaegpj.exe"], 1, None),
    ];
    let torrent = plain(&many(files));
    let meta = Metainfo::parse(&torrent).unwrap();
    let want = ["top/sub/_/x", "top/_", "top/etcpasswd", "top/A", "top/a", "top/A~2", "top/\u{202e}gpj.exe"];
    assert_eq!(paths(&meta), want);
    assert_eq!(
        told(&meta),
        [
            "`top/sub/../x` is renamed to `top/sub/_/x`",
            "`top/` is renamed to `top/_`",
            "`top//etc/passwd` is renamed to `top/etcpasswd`",
            "a file is renamed to `top/A~2`: another one has its name",
        ]
    );
    let meta = Metainfo::parse_named(&torrent, NameRules::Portable).unwrap();
    let want = ["top/sub/__/x", "top/_", "top/_etc_passwd", "top/A", "top/a~2", "top/A~3", "top/_gpj.exe"];
    assert_eq!(paths(&meta), want);
}

#[test]
fn a_torrent_without_a_usable_name_is_called_by_its_info_hash_or_refused() {
    for name in [&b""[..], b"..", b".", b"/", b"\0"] {
        let refused = parse(&single(name, 5, 16384)).unwrap_err();
        assert!(matches!(refused, BadTorrent::Name { .. }) && refused.is_unsafe(), "{}", name.escape_ascii());
        let meta = parse(&Info { name: ByteBuf::from(name), ..many(vec![file(&[b"a"], 5, None)]) }).unwrap();
        assert_eq!(meta.info.name, meta.info.info_hash.to_string());
        assert_eq!(paths(&meta), [format!("{}/a", meta.info.name)]);
        assert_eq!(meta.warnings[0], TorrentWarning::NameIsInfoHash);
    }
    for (name, want) in [(&b"a/"[..], "a"), (b"/etc/passwd", "etcpasswd"), (b"temp/../../abc", "temp....abc")] {
        let meta = parse(&single(name, 5, 16384)).unwrap();
        assert_eq!((meta.info.name.as_str(), &paths(&meta)[..]), (want, &[want][..]));
        assert!(matches!(&meta.warnings[..], [TorrentWarning::Renamed { .. }]), "{:?}", meta.warnings);
    }
}

/// The parser is strict where two readers could see two different torrents.
#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let info = b"d6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
    let twice = |key: &str, value: &str| {
        let at = info.windows(key.len()).position(|part| part == key.as_bytes()).unwrap();
        [&info[..at], key.as_bytes(), value.as_bytes(), &info[at..]].concat()
    };
    for (key, value) in [("6:length", "i7e"), ("4:name", "1:y"), ("12:piece length", "i1e"), ("6:pieces", "0:")] {
        let refused = Metainfo::parse(&torrent(b"", &twice(key, value), b"")).unwrap_err();
        assert!(matches!(refused, BadTorrent::Repeated { .. }), "{key}: {refused}");
        assert!(refused.is_unsafe(), "{key}");
    }
    let two_infos = torrent(b"", info, &[b"4:info", &info[..]].concat());
    assert_eq!(Metainfo::parse(&two_infos).unwrap_err(), BadTorrent::Repeated { key: b"info" });
    let files =
        b"d5:filesld6:lengthi5e6:lengthi6e4:pathl1:aeee4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
    assert_eq!(Metainfo::parse(&torrent(b"", files, b"")).unwrap_err(), BadTorrent::Repeated { key: b"length" });
    let odd = |from: &str, to: &str| {
        let text = String::from_utf8(info.to_vec()).unwrap().replace(from, to);
        Metainfo::parse(&torrent(b"", text.as_bytes(), b"")).unwrap_err()
    };
    assert!(matches!(odd("i5e", "i05e"), BadTorrent::FileLen { .. }));
    assert_eq!(odd("i16384e", "i016384e"), BadTorrent::Missing("`piece length`"));
}

/// The parser is tolerant everywhere else, and warns of everything it tolerates.
#[test]
fn harmless_oddities_are_accepted_with_a_warning() {
    use TorrentWarning::{FilesIsNoList, LengthBesideFiles, OddNumber, RepeatedKey, TrailingBytes, UnsortedKeys};
    let info = b"d6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
    let inside = |extra: &[u8]| torrent(b"", &[&info[..info.len() - 1], extra, b"e"].concat(), b"");
    let files =
        b"d5:filesld6:lengthi5e4:pathl1:aeee6:lengthi9e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
    let no_list = b"d5:files1:a6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
    let table: [(Vec<u8>, &[TorrentWarning]); 12] = [
        ([&torrent(b"", info, b"")[..], b"\n"].concat(), &[TrailingBytes(1)]),
        ([&torrent(b"", info, b"")[..], b"<html>d4:infodee"].concat(), &[TrailingBytes(16)]),
        (torrent(b"7:comment1:a7:comment1:b", info, b""), &[RepeatedKey]),
        (torrent(b"1:z0:1:z0:", info, b""), &[UnsortedKeys, RepeatedKey]),
        (inside(b"1:z0:1:z0:"), &[RepeatedKey]),
        (torrent(b"13:creation datei-0e", info, b""), &[OddNumber]),
        (torrent(b"13:creation datei18446744073709551616e", info, b""), &[OddNumber]),
        (torrent(b"007:comment1:a", info, b""), &[OddNumber]),
        (inside(b"1:zi007e"), &[OddNumber]),
        (torrent(b"13:creation datei-5e", info, b""), &[]),
        (torrent(b"", files, b""), &[LengthBesideFiles]),
        (torrent(b"", no_list, b""), &[FilesIsNoList]),
    ];
    for (input, want) in table {
        let meta = Metainfo::parse(&input).unwrap_or_else(|refused| panic!("{}: {refused}", input.escape_ascii()));
        assert_eq!(meta.warnings, want, "{}", input.escape_ascii());
        assert_eq!(meta.info.geometry.total_len(), 5, "{}", input.escape_ascii());
    }
    let bare = Metainfo::parse(&torrent(b"", info, b"")).unwrap().info.info_hash;
    let trailing = Metainfo::parse(&[&torrent(b"", info, b"")[..], b"\n"].concat()).unwrap();
    assert_eq!(trailing.info.info_hash, bare, "what is behind the dictionary has no part in it");
}

#[test]
fn padding_needs_no_path() {
    let files = "d6:lengthi5e4:pathl1:aeed4:attr1:p6:lengthi11ee";
    let rest = format!("4:name3:top12:piece lengthi16384e6:pieces20:{}e", "x".repeat(20));
    let meta = Metainfo::parse(&torrent(b"", format!("d5:filesl{files}e{rest}").as_bytes(), b"")).unwrap();
    assert_eq!((meta.info.files[1].padding, meta.info.files[1].len, &meta.warnings[..]), (true, 11, &[][..]));
    let plain = format!("d5:filesld6:lengthi5eee{rest}");
    let refused = Metainfo::parse(&torrent(b"", plain.as_bytes(), b"")).unwrap_err();
    assert_eq!(refused, BadTorrent::Missing("`path` of a file"));
}

/// BEP 52: both parts of a hybrid torrent must describe the same files.
#[test]
fn a_hybrid_whose_parts_differ_is_refused() {
    let leaf = |len: u64| format!("d0:d6:lengthi{len}e11:pieces root32:{}ee", "r".repeat(32));
    let hybrid = |tree: &str, files: &str| {
        let rest = format!("12:meta versioni2e4:name3:top12:piece lengthi16384e6:pieces20:{}e", "x".repeat(20));
        Metainfo::parse(&torrent(b"", format!("d9:file tree{tree}{files}{rest}").as_bytes(), b""))
    };
    let pad = "d4:attr1:p6:lengthi3e4:pathl4:.pad1:3ee";
    let files = format!("5:filesld6:lengthi5e4:pathl1:aee{pad}d6:lengthi6e4:pathl1:d1:beee");
    let tree = |a: u64, b: &str, b_len: u64| format!("d1:a{}1:dd{b}{}ee", leaf(a), leaf(b_len));
    let good = hybrid(&tree(5, "1:b", 6), &files).unwrap();
    assert_eq!(good.warnings, [TorrentWarning::Hybrid]);
    let alone = format!("d3:top{}e", leaf(5));
    assert!(hybrid(&alone, "6:lengthi5e").is_ok());
    let bad = [
        (tree(4, "1:b", 6), files.as_str()),
        (tree(5, "1:c", 6), files.as_str()),
        (tree(5, "1:b", 7), files.as_str()),
        (format!("d1:a{}e", leaf(5)), files.as_str()),
        (tree(5, "1:b", 6), "6:lengthi11e"),
        (format!("d3:pot{}e", leaf(5)), "6:lengthi5e"),
        (format!("d3:top{}e", leaf(6)), "6:lengthi5e"),
        ("d3:topd6:lengthi5eee".to_owned(), "6:lengthi5e"),
        ("d0:d6:lengthi5eee".to_owned(), "6:lengthi5e"),
        ("d3:topd0:d6:lengthi5e6:lengthi5eeee".to_owned(), "6:lengthi5e"),
        ("de".to_owned(), "6:lengthi5e"),
        ("le".to_owned(), "6:lengthi5e"),
    ];
    for (tree, files) in bad {
        assert_eq!(hybrid(&tree, files).map(drop), Err(BadTorrent::TwoTorrents), "{tree} {files}");
    }
}

/// S-05: tests both sides of each limit.
#[test]
fn sizes_at_the_edges_are_refused() {
    use BadGeometry::{Empty, Overflow, PieceLen};
    let sizes = |len, piece_len| parse(&Info { piece_len, length: Some(len), ..single(b"x", 5, 16384) }).unwrap_err();
    assert_eq!(sizes(0, 16384), BadTorrent::Geometry(Empty));
    assert_eq!(sizes(-1, 16384), BadTorrent::FileLen { name: "x".to_owned() });
    assert_eq!(sizes(5, 0), BadTorrent::Geometry(PieceLen(0)));
    assert_eq!(sizes(5, -1), BadTorrent::Geometry(PieceLen(0)));
    assert_eq!(sizes(5, 1 << 40), BadTorrent::Geometry(PieceLen(1 << 40)));
    assert_eq!(sizes(i64::MAX, 16384), BadTorrent::Geometry(BadGeometry::TooManyPieces(1 << 49)));
    assert_eq!(sizes(16385, 16384), BadTorrent::Hashes { bytes: 20, pieces: 2 });
    assert!(sizes(16385, 16384).is_unsafe());
    let huge = |path: &'static [u8]| file(&[path], i64::MAX, None);
    let overflow = Info { length: None, files: vec![huge(b"a"), huge(b"b")], ..single(b"x", 5, 16384) };
    assert_eq!(parse(&overflow).unwrap_err(), BadTorrent::Geometry(Overflow));
    let overflow = Info { files: vec![huge(b"a"), huge(b"b"), huge(b"c")], ..overflow };
    assert_eq!(parse(&overflow).unwrap_err(), BadTorrent::Geometry(Overflow));
}

#[test]
fn a_missing_field_is_named() {
    let table: [(&[u8], BadTorrent); 12] = [
        (b"", BadTorrent::Bencode(BadBencode::CutShort { at: 0 })),
        (b"<html>", BadTorrent::Bencode(BadBencode::Unexpected { at: 0, byte: b'<' })),
        (b"le", BadTorrent::Missing("`info` dictionary")),
        (b"d4:infolee", BadTorrent::Missing("`info` dictionary")),
        (b"d4:infodee", BadTorrent::Missing("`pieces`")),
        (b"d4:infod4:name1:x6:pieces0:ee", BadTorrent::OneOrMany),
        (
            b"d4:infod5:filesle6:lengthi1e4:name1:x12:piece lengthi1e6:pieces0:ee",
            BadTorrent::Geometry(BadGeometry::Empty),
        ),
        (b"d4:infod6:lengthi1e4:name1:x6:pieces0:ee", BadTorrent::Missing("`piece length`")),
        (b"d4:infod6:lengthi1e6:pieces0:ee", BadTorrent::Missing("`name`")),
        (b"d4:infod5:filesld6:lengthi1eee4:name1:x6:pieces0:ee", BadTorrent::Missing("`path` of a file")),
        (b"d4:infod9:file treede12:meta versioni2e4:name1:xee", BadTorrent::VersionTwo),
        (b"d4:infode4:infodee", BadTorrent::Repeated { key: b"info" }),
    ];
    for (input, want) in table {
        assert_eq!(Metainfo::parse(input).map(|_| ()), Err(want), "{}", input.escape_ascii());
    }
}

/// S-25: the version 1 part is used.
#[test]
fn hybrid_torrents_are_read_as_version_one() {
    let raw = with_extra(&single(b"x", 5, 16384), b"12:meta versioni2e");
    let meta = Metainfo::parse(&raw).unwrap();
    assert_eq!(meta.warnings, [TorrentWarning::UnsortedKeys, TorrentWarning::Hybrid]);
}

#[test]
fn every_way_to_write_private_counts() {
    for (flag, want) in [(&b"i1e"[..], true), (b"i0e", false), (b"1:1", true), (b"1:0", false), (b"le", false)] {
        let raw = with_extra(&single(b"x", 5, 16384), &[b"7:private", flag].concat());
        assert_eq!(Metainfo::parse(&raw).unwrap().info.private, want, "{}", flag.escape_ascii());
    }
    let info = serde_bencode::to_bytes(&single(b"x", 5, 16384)).unwrap();
    let outside = Metainfo::parse(&torrent(b"", &info, b"7:privatei1e")).unwrap();
    assert!(!outside.info.private, "outside of `info` it means nothing");
}

#[test]
fn trackers_come_from_the_list_or_else_from_announce() {
    let info = serde_bencode::to_bytes(&single(b"x", 5, 16384)).unwrap();
    let tiers = |before: &[u8]| Metainfo::parse(&torrent(before, &info, b"")).unwrap().tiers;
    let table: [(&[u8], &[&[&str]]); 7] = [
        (b"", &[]),
        (b"8:announce5:udp:a", &[&["udp:a"]]),
        (b"8:announce5:udp:a13:announce-listll5:udp:b5:udp:cel5:udp:dee", &[&["udp:b", "udp:c"], &["udp:d"]]),
        (b"8:announce5:udp:a13:announce-listll5:udp:b5:udp:bel5:udp:bee", &[&["udp:b"]]),
        (b"8:announce5:udp:a13:announce-listl5:udp:b5:udp:ce", &[&["udp:b"], &["udp:c"]]),
        (b"8:announce5:udp:a13:announce-listllelee", &[&["udp:a"]]),
        (b"8:announce5:udp:a13:announce-listll0:i5e7:a\r\nHost1: 6:udp:b ee", &[&["udp:b"]]),
    ];
    for (before, want) in table {
        assert_eq!(tiers(before), want, "{}", before.escape_ascii());
    }
    let list: String = (0..600).fold(String::new(), |list, n| list + &format!("l9:udp://{n:03}e"));
    assert_eq!(tiers(format!("13:announce-listl{list}e").as_bytes()).len(), 500, "T-24");
    let long = format!("8:announce3000:{}", "u".repeat(3000));
    assert_eq!(tiers(long.as_bytes()), [[""; 0]; 0]);
}

#[test]
fn optional_fields_are_read_where_possible() {
    let info = with_extra(&single(b"x", 5, 16384), b"6:source3:ABC");
    let info = crate::codec::bencode::raw_value(&info, b"info").unwrap();
    let before = b"7:comment4:caf\xe913:comment.utf-85:caf\xc3\xa910:created by4:mktg13:creation datei1700000000e";
    let meta = Metainfo::parse(&torrent(before, info, b"8:url-listl8:http://a8:http://ae")).unwrap();
    assert_eq!(meta.comment.as_deref(), Some("café"));
    assert_eq!(meta.created_by.as_deref(), Some("mktg"));
    assert_eq!((meta.creation_date, meta.info.source.as_deref()), (Some(1_700_000_000), Some("ABC")));
    assert_eq!(meta.web_seeds, ["http://a"]);
    let odd = torrent(b"7:commentle13:creation date2:no", info, b"8:url-list8:http://b");
    let meta = Metainfo::parse(&odd).unwrap();
    assert_eq!((meta.comment, meta.creation_date), (None, None));
    assert_eq!(meta.web_seeds, ["http://b"]);
}

/// S-03: a hundred thousand files of one name give 51 warnings.
#[test]
fn many_renamed_files_are_counted() {
    let files = vec![file(&[b"same"], 1, None); 100_000];
    let meta = parse(&many(files)).unwrap();
    assert_eq!(meta.info.files[99_999].path.as_str(), "top/same~100000");
    assert_eq!(meta.warnings.len(), warning::MAX_WARNINGS + 1);
    assert_eq!(meta.warnings.last(), Some(&TorrentWarning::More(99_949)));
}

/// S-06: a torrent that claims a gigabyte of hashes is refused because of its length, before any allocation.
#[test]
fn a_claimed_length_is_not_allocated() {
    let claim = b"d4:infod6:lengthi1e4:name1:x12:piece lengthi1e6:pieces1000000000:aaaaee";
    assert_eq!(Metainfo::parse(claim).unwrap_err(), BadTorrent::Bencode(BadBencode::CutShort { at: 54 }));
}

proptest! {
    /// Offsets are compared with a plain sum; no two files have the same path.
    #[test]
    fn files_add_up(lens in prop::collection::vec((0_i64..100_000, "[ab.]{1,2}|[a-z/:\u{e9}]{1,40}"), 1..40), piece_len in 1_i64..200_000) {
        let files: Vec<_> = lens.iter().map(|(len, name)| file(&[name.as_bytes()], *len, None)).collect();
        let total: i64 = lens.iter().map(|(len, _name)| len).sum();
        let info = Info { files, length: None, ..single(b"top", total, piece_len) };
        match parse(&info) {
            Ok(meta) => {
                prop_assert_eq!(meta.info.geometry.total_len(), u64::try_from(total).unwrap());
                let mut end = 0;
                for (entry, (len, _name)) in meta.info.files.iter().zip(&lens) {
                    prop_assert_eq!((entry.offset, entry.len), (end, u64::try_from(*len).unwrap()));
                    end += entry.len;
                }
                let places: std::collections::HashSet<_> = meta.info.files.iter().map(|file| file.path.as_str()).collect();
                prop_assert_eq!(places.len(), lens.len());
            }
            Err(other) => prop_assert_eq!(other, BadTorrent::Geometry(BadGeometry::Empty)),
        }
    }

    /// One byte is changed, removed or doubled, anywhere.
    #[test]
    fn damage_never_makes_it_panic(at in 0_usize..300, byte: u8, kind in 0..3) {
        let mut raw = plain(&many(vec![file(&[b"sub", b"a"], 5, Some("p")), file(&[b"b"], 20000, None)]));
        let at = at % raw.len();
        match kind {
            0 => raw[at] = byte,
            1 => raw.truncate(at),
            _ => raw.insert(at, byte),
        }
        let _any = Metainfo::parse(&raw);
    }
}
