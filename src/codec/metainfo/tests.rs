use super::*;
use proptest::prelude::*;
use serde::Serialize;
use serde_bytes::ByteBuf;

/// What a well-behaved maker writes.
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

/// Wraps a raw `info` and raw entries of the outer dictionary, which must come before and after `info`.
fn torrent(before: &[u8], info: &[u8], after: &[u8]) -> Vec<u8> {
    [b"d", before, b"4:info", info, after, b"e"].concat()
}

fn plain(info: &Info) -> Vec<u8> {
    torrent(b"", &serde_bencode::to_bytes(info).unwrap(), b"")
}

fn parse(info: &Info) -> Result<Metainfo, BadTorrent> {
    Metainfo::parse(&plain(info))
}

fn paths(meta: &Metainfo) -> Vec<&str> {
    meta.files.iter().map(|file| file.path.as_str()).collect()
}

/// Adds raw entries at the end of `info`; unsorted if they do not belong there.
fn with_extra(info: &Info, extra: &[u8]) -> Vec<u8> {
    let mut raw = serde_bencode::to_bytes(info).unwrap();
    raw.pop();
    torrent(b"", &[&raw, extra, b"e"].concat(), b"")
}

#[test]
fn a_single_file_torrent_is_read() {
    let meta = parse(&single(b"debian.iso", 40000, 16384)).unwrap();
    assert_eq!((meta.name.as_str(), meta.multi_file, meta.private), ("debian.iso", false, false));
    assert_eq!(meta.geometry, Geometry::new(40000, 16384).unwrap());
    assert_eq!(paths(&meta), ["debian.iso"]);
    assert_eq!((meta.files[0].len, meta.files[0].offset), (40000, 0));
    assert_eq!(meta.hashes.get(meta.geometry.last_piece()), [1; 20]);
    assert_eq!(meta.warnings, [""; 0]);
}

/// The hash of a known torrent's `info`: `d6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae`
/// through `sha1sum`; an unknown key at an odd place changes it, as it must.
#[test]
fn the_info_hash_is_over_the_raw_bytes() {
    let info = b"d6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
    let meta = Metainfo::parse(&torrent(b"", info, b"")).unwrap();
    assert_eq!(meta.info_hash.to_string(), INFO_SHA1);
    let odd = [&info[..info.len() - 1], b"1:zle1:ai1ee"].concat();
    let meta = Metainfo::parse(&torrent(b"", &odd, b"")).unwrap();
    assert_eq!(meta.info_hash, InfoHash(Sha1::digest(&odd).into()));
    assert_eq!(meta.warnings, ["a dictionary has its keys out of order"]);
}

const INFO_SHA1: &str = "67e956e7f453e8f1ec1989b7f2fb135490164bd5";

/// W-17.
#[test]
fn a_single_file_may_be_called_files_and_pieces_may_be_of_any_length() {
    for (name, piece_len) in [(&b"files"[..], 16384), (b"length", 1), (b"path", 7), (b"info", 1_000_003)] {
        let meta = parse(&single(name, 20000, piece_len)).unwrap();
        assert_eq!((meta.name.as_bytes(), meta.multi_file), (name, false));
        assert_eq!(meta.geometry.nominal_piece_len(), u32::try_from(piece_len).unwrap());
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
    assert!(meta.multi_file);
    assert_eq!(paths(&meta), ["top/a", "top/empty", "top/sub/b", "top/end"]);
    let spans: Vec<_> = meta.files.iter().map(|file| (file.offset, file.len, file.executable)).collect();
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
    assert_eq!(meta.files.iter().map(|file| file.padding).collect::<Vec<_>>(), [false, true, false, true, true]);
    assert_eq!(meta.files[2].offset, 16384);
    assert_eq!(meta.warnings, ["symbolic link `top/link` is not created"]);
    let long_link = many(vec![file(&[b"link"], 5, Some("l")), file(&[b"a"], 5, None)]);
    assert_eq!(parse(&long_link).unwrap().files.len(), 2, "a link with data is a file like any other");
}

/// S-01, S-03: whole torrents; the names themselves are `safe_path`'s.
#[test]
fn unsafe_paths_are_refused_and_odd_ones_renamed() {
    for bad in [&b".."[..], b".", b"", b"/etc/passwd", b"..\\x", b"a\0b", b"C:"] {
        let refused = parse(&many(vec![file(&[b"sub", bad, b"x"], 5, None)])).unwrap_err();
        assert!(matches!(refused, BadTorrent::Path { .. }) && refused.is_unsafe(), "{}", bad.escape_ascii());
        assert!(parse(&single(bad, 5, 16384)).unwrap_err().is_unsafe(), "{}", bad.escape_ascii());
    }
    let files = vec![
        file(&[b"CON"], 1, None),
        file(&[b"A"], 1, None),
        file(&[b"a"], 1, None),
        file(&[b"\xe2\x80\xaegpj.exe"], 1, None),
    ];
    let meta = parse(&many(files)).unwrap();
    assert_eq!(paths(&meta), ["top/_CON", "top/A", "top/a~2", "top/_gpj.exe"]);
    assert_eq!(
        meta.warnings,
        [
            "`top/CON` is renamed to `top/_CON`",
            "`top/\\u{202e}gpj.exe` is renamed to `top/_gpj.exe`",
            "a file is renamed to `top/a~2`: another one has its name",
        ]
    );
}

/// S-05: the edges of every size.
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
fn what_is_missing_is_named() {
    let table: [(&[u8], BadTorrent); 12] = [
        (b"", BadTorrent::Bencode(BadBencode::CutShort { at: 0 })),
        (b"<html>", BadTorrent::Bencode(BadBencode::Unexpected { at: 0, byte: b'<' })),
        (b"le", BadTorrent::Missing("`info` dictionary")),
        (b"d4:infolee", BadTorrent::Missing("`info` dictionary")),
        (b"d4:infodee", BadTorrent::Missing("`pieces`")),
        (b"d4:infod4:name1:x6:pieces0:ee", BadTorrent::OneOrMany),
        (b"d4:infod5:filesle6:lengthi1e4:name1:x6:pieces0:ee", BadTorrent::OneOrMany),
        (b"d4:infod6:lengthi1e4:name1:x6:pieces0:ee", BadTorrent::Missing("`piece length`")),
        (b"d4:infod6:lengthi1e6:pieces0:ee", BadTorrent::Missing("`name`")),
        (b"d4:infod5:filesld6:lengthi1eee4:name1:x6:pieces0:ee", BadTorrent::Missing("`path` of a file")),
        (b"d4:infod9:file treede12:meta versioni2e4:name1:xee", BadTorrent::VersionTwo),
        (b"d4:infode4:infodee", BadTorrent::Bencode(BadBencode::DuplicateKey { at: 17 })),
    ];
    for (input, want) in table {
        assert_eq!(Metainfo::parse(input).map(|_| ()), Err(want), "{}", input.escape_ascii());
    }
}

/// S-25: version 1 is what is used.
#[test]
fn hybrid_torrents_are_read_as_version_one() {
    let raw = with_extra(&single(b"x", 5, 16384), b"12:meta versioni2e");
    let meta = Metainfo::parse(&raw).unwrap();
    assert!(meta.warnings.iter().any(|warning| warning.contains("hybrid")));
}

#[test]
fn private_is_whatever_may_mean_it() {
    for (flag, want) in [(&b"i1e"[..], true), (b"i0e", false), (b"1:1", true), (b"1:0", false), (b"le", false)] {
        let raw = with_extra(&single(b"x", 5, 16384), &[b"7:private", flag].concat());
        assert_eq!(Metainfo::parse(&raw).unwrap().private, want, "{}", flag.escape_ascii());
    }
    let info = serde_bencode::to_bytes(&single(b"x", 5, 16384)).unwrap();
    let outside = Metainfo::parse(&torrent(b"", &info, b"7:privatei1e")).unwrap();
    assert!(!outside.private, "outside of `info` it means nothing");
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
fn decoration_is_read_where_it_can_be() {
    let info = with_extra(&single(b"x", 5, 16384), b"6:source3:ABC");
    let info = bencode::raw_value(&info, b"info").unwrap();
    let before = b"7:comment4:caf\xe913:comment.utf-85:caf\xc3\xa910:created by4:mktg13:creation datei1700000000e";
    let meta = Metainfo::parse(&torrent(before, info, b"8:url-listl8:http://a8:http://ae")).unwrap();
    assert_eq!(meta.comment.as_deref(), Some("café"));
    assert_eq!(meta.created_by.as_deref(), Some("mktg"));
    assert_eq!((meta.creation_date, meta.source.as_deref()), (Some(1_700_000_000), Some("ABC")));
    assert_eq!(meta.web_seeds, ["http://a"]);
    let odd = torrent(b"7:commentle13:creation date2:no", info, b"8:url-list8:http://b");
    let meta = Metainfo::parse(&odd).unwrap();
    assert_eq!((meta.comment, meta.creation_date), (None, None));
    assert_eq!(meta.web_seeds, ["http://b"]);
}

/// S-03: a hundred thousand files of one name, told in 51 lines.
#[test]
fn many_renamed_files_are_counted() {
    let files = vec![file(&[b"same"], 1, None); 100_000];
    let meta = parse(&many(files)).unwrap();
    assert_eq!(meta.files[99_999].path.as_str(), "top/same~100000");
    assert_eq!(meta.warnings.len(), MAX_WARNINGS + 1);
    assert_eq!(meta.warnings.last().unwrap(), "and 99949 more");
}

/// S-06: a torrent that claims a gigabyte of hashes is refused by its length alone.
#[test]
fn claims_are_not_believed() {
    let claim = b"d4:infod6:lengthi1e4:name1:x12:piece lengthi1e6:pieces1000000000:aaaaee";
    assert_eq!(Metainfo::parse(claim).unwrap_err(), BadTorrent::Bencode(BadBencode::CutShort { at: 54 }));
}

proptest! {
    /// Against a plain sum; every file has its place, and no two the same.
    #[test]
    fn files_add_up(lens in prop::collection::vec((0_i64..100_000, "[ab.]{1,2}|[a-z/:\u{e9}]{1,40}"), 1..40), piece_len in 1_i64..200_000) {
        let files: Vec<_> = lens.iter().map(|(len, name)| file(&[name.as_bytes()], *len, None)).collect();
        let total: i64 = lens.iter().map(|(len, _name)| len).sum();
        let info = Info { files, length: None, ..single(b"top", total, piece_len) };
        match parse(&info) {
            Ok(meta) => {
                prop_assert_eq!(meta.geometry.total_len(), u64::try_from(total).unwrap());
                let mut end = 0;
                for (entry, (len, _name)) in meta.files.iter().zip(&lens) {
                    prop_assert_eq!((entry.offset, entry.len), (end, u64::try_from(*len).unwrap()));
                    end += entry.len;
                }
                let places: std::collections::HashSet<_> = meta.files.iter().map(|file| file.path.as_str().to_lowercase()).collect();
                prop_assert_eq!(places.len(), lens.len());
            }
            Err(BadTorrent::Path { .. }) => {}
            Err(other) => prop_assert_eq!(other, BadTorrent::Geometry(BadGeometry::Empty)),
        }
    }

    /// One byte changed, cut or doubled, anywhere.
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
