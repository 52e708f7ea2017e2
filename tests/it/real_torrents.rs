//! Torrents of every shape that foreign tools make, fetched from a foreign seed. Every byte is compared.

use std::path::Path;
use std::time::Duration;

use crate::support::client::{run, text};
use crate::support::payload::{assert_same, files_below, write_file, write_tree};
use crate::support::peers::{OpenTracker, Seed};
use crate::support::ports::free;
use crate::support::torrents::{Maker, Torrent, by_transmission};
use crate::support::{Fetch, Lab, Needs, heavy};

/// Folders, scripts of several families, empty files, a name with spaces, one file far larger than a piece, many smaller.
const MIXED: &[(&str, u64)] = &[
    ("album/01 – Ouvertüre.flac", 300_001),
    ("album/02 - 日本語の名前.flac", 1_234_567),
    ("album/empty", 0),
    ("album/кириллица/файл.txt", 17),
    ("album/кириллица/пустой", 0),
    ("album/🎵/😀.bin", 65_536),
    ("album/deep/er/and/deeper/one.byte", 1),
    ("album/trailing empty", 0),
    ("album/العربية.txt", 40_000),
    ("album/z/last.bin", 99_999),
];

fn without_empty() -> Vec<(&'static str, u64)> {
    MIXED.iter().copied().filter(|(_, len)| *len > 0).collect()
}

/// Fetches it from a libtorrent seed that is dialled, and compares.
fn fetch_and_compare(lab: &Lab, torrent: &Torrent) {
    let seed = Seed::libtorrent(torrent);
    let dir = lab.folder("out");
    let outcome = Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    assert_eq!(outcome.result()["info_hash"], torrent.info_hash.as_str());
    assert_eq!(outcome.number("bytes_total"), torrent.bytes);
    info_agrees(torrent);
    run(&["verify", text(&torrent.path), "--dir", text(&dir), "--json"]).expect_code(0);
}

/// `info` reads the same as libtorrent does (W-19).
fn info_agrees(torrent: &Torrent) {
    let outcome = run(&["info", text(&torrent.path), "--json"]).expect_code(0);
    let info = outcome.result();
    assert_eq!(info["info_hash"], torrent.info_hash.as_str(), "{info}");
    assert_eq!(info["name"], torrent.name.as_str(), "{info}");
    assert_eq!(info["bytes_total"], torrent.bytes, "{info}");
    assert_eq!(info["pieces"], torrent.pieces, "{info}");
    assert_eq!(info["piece_length"], torrent.piece_length, "{info}");
    assert_eq!(info["files"].as_array().unwrap().len() as u64, torrent.files, "{info}");
}

#[test]
fn folders_scripts_and_empty_files_made_by_libtorrent_arrive() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source");
    write_tree(&source, MIXED);
    let torrent = Maker::of(&source.join("album")).piece_length(32 * 1024).make(&lab);
    assert_ne!(torrent.pieces % 8, 0, "the bitfield has spare bits");
    fetch_and_compare(&lab, &torrent);
}

/// A private torrent whose tracker does not run: the peer that the user names is enough. Transmission's tool leaves
/// empty files out.
#[test]
fn folders_and_scripts_made_by_transmission_arrive() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::TransmissionCreate]) else { return };
    let source = lab.at("source");
    write_tree(&source, &without_empty());
    let tracker = format!("http://127.0.0.1:{}/announce", free());
    let args = ["-s", "64", "-c", "a comment", "-p", "-t", &tracker];
    let torrent = by_transmission(&lab, &source.join("album"), &args);
    fetch_and_compare(&lab, &torrent);
}

/// Transmission seeds what Transmission made: nothing in this swarm but one foreign maker and us.
#[test]
fn a_torrent_and_its_seed_may_both_be_transmissions() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Transmission, Needs::TransmissionCreate]) else { return };
    let source = lab.at("source");
    write_tree(&source, &without_empty());
    let torrent = by_transmission(&lab, &source.join("album"), &[]);
    let seed = Seed::transmission(&lab, &torrent);
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// aria2 serves blocks of several small files in one piece as any other.
#[test]
fn a_folder_served_by_aria2_arrives() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Aria2]) else { return };
    let source = lab.at("source");
    write_tree(&source, MIXED);
    let torrent = Maker::of(&source.join("album")).piece_length(128 * 1024).make(&lab);
    let seed = Seed::aria2(&torrent);
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// W-17: a piece length of any size. 48 KiB is no power of two, 50,001 no multiple of a block, 777 smaller than one.
#[test]
fn piece_lengths_of_any_size_arrive() {
    for (piece_length, bytes) in [(48 * 1024, 3_000_017), (50_001, 3_000_017), (777, 100_000), (1_000_000, 1_000_000)] {
        let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
        let source = lab.at("source/odd.bin");
        write_file(&source, bytes, piece_length);
        let maker = Maker::of(&source).piece_length(piece_length);
        let torrent = if piece_length % (16 * 1024) == 0 { maker } else { maker.switch("--by-hand") }.make(&lab);
        assert_eq!(torrent.piece_length, piece_length);
        fetch_and_compare(&lab, &torrent);
    }
}

/// An odd piece length over files whose borders fall anywhere.
#[test]
fn odd_pieces_across_many_files_arrive() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source");
    write_tree(&source, MIXED);
    let torrent = Maker::of(&source.join("album")).piece_length(50_001).switch("--by-hand").make(&lab);
    fetch_and_compare(&lab, &torrent);
}

/// Sizes around the borders of blocks and pieces, one torrent each.
#[test]
fn sizes_around_every_border_arrive() {
    const PIECE: u64 = 32 * 1024;
    for bytes in [1, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, PIECE, PIECE + 1, 8 * PIECE, 8 * PIECE + 1, 9 * PIECE - 1]
    {
        let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
        let source = lab.at("source/sized.bin");
        write_file(&source, bytes, bytes);
        let torrent = Maker::of(&source).piece_length(PIECE).make(&lab);
        fetch_and_compare(&lab, &torrent);
    }
}

/// W-17: a single file called `files`.
#[test]
fn a_file_called_files_arrives() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source/files");
    write_file(&source, 100_000, 3);
    let torrent = Maker::of(&source).make(&lab);
    fetch_and_compare(&lab, &torrent);
}

/// The first half of a hybrid torrent is enough for us; its padding files are never written.
#[test]
fn a_hybrid_torrent_is_read_by_its_first_version() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source");
    write_tree(&source, MIXED);
    let torrent = Maker::of(&source.join("album")).piece_length(32 * 1024).switch("--hybrid").make(&lab);
    let seed = Seed::libtorrent(&torrent);
    let dir = lab.folder("out");
    let outcome = Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    assert_eq!(outcome.result()["info_hash"], torrent.info_hash.as_str());
}

/// A thousand files in ten folders, most of them smaller than a piece.
#[test]
fn a_thousand_files_arrive() {
    let _alone = heavy();
    let Some(lab) = Lab::roomy(&[Needs::Libtorrent, Needs::Opentracker], 128 << 20) else { return };
    let source = lab.at("source/thousand");
    for number in 0..1000 {
        write_file(&source.join(format!("d{}/f{number:05}.bin", number % 10)), number * 131, number);
    }
    let port = free();
    let maker = Maker::of(&source).piece_length(256 * 1024);
    let torrent = maker.tier(&[&format!("udp://127.0.0.1:{port}/announce")]).make(&lab);
    assert_eq!(torrent.files, 1000);
    let tracker = OpenTracker::start(&lab, port, &[&torrent.info_hash]);
    let _seed = Seed::libtorrent(&torrent);
    tracker.wait_for_seeds(&torrent.info_hash, 1);
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).within(Duration::from_secs(180)).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    assert_eq!(top_level(&dir), ["thousand"], "nothing beside the torrent's own folder");
}

/// What stands in a folder, the client's state aside.
fn top_level(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        files_below(dir).keys().map(|path| path.iter().next().unwrap().display().to_string()).collect();
    names.dedup();
    names
}

/// `verify` finds what has decayed, file by file, and says it with its own exit code.
#[test]
fn verify_tells_a_decayed_byte_and_a_missing_file() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source");
    write_tree(&source, MIXED);
    let torrent = Maker::of(&source.join("album")).piece_length(32 * 1024).make(&lab);
    let verify = || run(&["verify", text(&torrent.path), "--dir", text(torrent.save_path()), "--json"]);
    verify().expect_code(0);
    crate::support::payload::spoil(&source.join(MIXED[1].0), 500_000, 1);
    verify().expect_code(32);
    crate::support::payload::spoil(&source.join(MIXED[1].0), 500_000, 1);
    verify().expect_code(0);
    std::fs::remove_file(source.join(MIXED[9].0)).unwrap();
    verify().expect_code(32);
}
