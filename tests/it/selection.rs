//! Some of a torrent's files: only they come, the rest never appears, and a later choice loses nothing of what came.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::client::{run, state_of, text};
use crate::support::payload::{assert_same, files_below, write_tree};
use crate::support::peers::{OpenTracker, Seed};
use crate::support::ports::free;
use crate::support::torrents::{Maker, Torrent};
use crate::support::{Fetch, Lab, Needs};

const MIB: u64 = 1 << 20;
const PIECE: u64 = 256 * 1024;

/// No border is a piece's; three small files lie in one piece.
const FILES: &[(&str, u64)] = &[
    ("album/01 first.flac", 3 * MIB + 777),
    ("album/02 second.flac", 2 * MIB + 50_001),
    ("album/art/back.jpg", 40_000),
    ("album/art/empty.txt", 0),
    ("album/art/front.jpg", 60_001),
    ("album/film.mkv", 5 * MIB + 3),
];

fn album(lab: &Lab, tracker: &[&str]) -> Torrent {
    write_tree(&lab.at("source"), FILES);
    let source = lab.at("source/album");
    let maker = Maker::of(&source).piece_length(PIECE).switch("--sorted");
    if tracker.is_empty() { maker.make(lab) } else { maker.tier(tracker).make(lab) }
}

/// The files that are there are these, by name, and each is whole.
#[track_caller]
fn assert_there(torrent: &Torrent, dir: &Path, names: &[&str]) {
    let inside = torrent.inside(dir);
    let found = if inside.exists() { files_below(&inside) } else { BTreeMap::default() };
    assert_eq!(found.keys().map(|name| text(name)).collect::<Vec<_>>(), names);
    for name in names {
        assert_same(&torrent.source.join(name), &inside.join(name));
    }
}

fn bytes_of(names: &[&str]) -> u64 {
    FILES.iter().filter(|(path, _)| names.iter().any(|name| path.ends_with(name))).map(|(_, len)| len).sum()
}

/// Of a libtorrent seed and of an aria2 seed, by number and by pattern.
#[test]
fn only_the_selected_files_come_and_the_others_never_appear() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Aria2]) else { return };
    let torrent = album(&lab, &[]);
    let table: [(&[&str], &[&str]); 5] = [
        (&["--select-file", "2"], &["02 second.flac"]),
        (&["--select", "*.jpg"], &["art/back.jpg", "art/front.jpg"]),
        (&["--select-file", "1,4", "--select", "album/film*"], &["01 first.flac", "art/empty.txt", "film.mkv"]),
        (&["--select", "art/*"], &["art/back.jpg", "art/empty.txt", "art/front.jpg"]),
        (&["--select-file", "4"], &["art/empty.txt"]),
    ];
    for seed in [Seed::libtorrent(&torrent), Seed::aria2(&torrent)] {
        for (options, names) in table {
            let dir = lab.folder("out");
            let outcome = Fetch::new(&torrent.path, &dir).peer(seed.addr).args(options).run().expect_complete();
            assert_there(&torrent, &dir, names);
            let selected = bytes_of(names);
            assert_eq!((outcome.number("bytes_selected"), outcome.number("bytes_done")), (selected, selected));
            let most = selected + 2 * names.len() as u64 * PIECE;
            assert!(outcome.number("bytes_downloaded") <= most, "{options:?}: {}", outcome.result());
            let verify = ["verify", text(&torrent.path), "-d", text(&dir), "--json"];
            run(&[&verify[..], options].concat()).expect_code(0);
            run(&verify).expect_code(32);
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
}

/// Bytes that came with a shared piece are kept for a later selection, and nothing is fetched twice.
#[test]
fn a_later_selection_fetches_only_what_no_earlier_one_brought() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = album(&lab, &[]);
    let seed = Seed::libtorrent(&torrent);
    let dir = lab.folder("out");
    let fetch =
        |options: &[&str]| Fetch::new(&torrent.path, &dir).peer(seed.addr).args(options).run().expect_complete();
    let mut useful = 0;
    for options in [&["--select-file", "3"][..], &["--select-file", "2"], &["--select-file", "5-6"], &[]] {
        let outcome = fetch(options);
        useful += outcome.number("bytes_downloaded") - outcome.number("bytes_wasted");
    }
    assert_eq!(useful, torrent.bytes, "every byte came once");
    assert_same(&torrent.source, &torrent.inside(&dir));
    let part = state_of(&dir).join(format!("{}.part", torrent.info_hash));
    assert!(!part.exists(), "nothing needs it");
}

/// X-03 with a selection: killed on the way, gone on with under another one.
#[test]
fn a_killed_selection_is_gone_on_with_under_another() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = album(&lab, &[]);
    let slow = Seed::slow_libtorrent(&torrent, MIB);
    let dir = lab.folder("out");
    for (options, bytes) in [(&["--select", "*.flac"][..], MIB), (&["--select-file", "2-5"], 2 * MIB), (&[], 3 * MIB)] {
        let mut fetch = Fetch::new(&torrent.path, &dir).peer(slow.addr).args(options).start();
        fetch.wait_until_it_has(bytes);
        fetch.kill();
    }
    let seed = Seed::libtorrent(&torrent);
    let flac = ["--select", "*.flac"];
    Fetch::new(&torrent.path, &dir).peer(seed.addr).args(&flac).run().expect_complete();
    for name in ["01 first.flac", "02 second.flac"] {
        assert_same(&torrent.source.join(name), &torrent.inside(&dir).join(name));
    }
    Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// BEP 21: who has a part is no seed, and has not completed the torrent.
#[test]
fn a_tracker_is_told_completed_for_the_whole_torrent_only() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Opentracker]) else { return };
    let port = free();
    let torrent = album(&lab, &[&format!("http://127.0.0.1:{port}/announce")]);
    let tracker = OpenTracker::start(&lab, port, &[&torrent.info_hash]);
    let _seed = Seed::libtorrent(&torrent);
    tracker.wait_for_seeds(&torrent.info_hash, 1);
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).args(&["--select-file", "1"]).run().expect_complete();
    assert_eq!(tracker.completed(&torrent.info_hash), 0);
    Fetch::new(&torrent.path, &dir).run().expect_complete();
    assert_eq!(tracker.completed(&torrent.info_hash), 1);
    assert_same(&torrent.source, &torrent.inside(&dir));
}

#[test]
fn the_list_says_what_is_selected_and_a_wrong_choice_what_there_is() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = album(&lab, &[]);
    let fetch = |options: &[&str]| run(&[&["fetch", text(&torrent.path), "-d", text(lab.path())], options].concat());
    let listed = fetch(&["--list", "--select-file", "2,5"]).expect_code(0).stdout;
    let starred: Vec<_> = listed.lines().filter(|line| line.contains(" * ")).collect();
    assert_eq!((listed.lines().count(), starred.len()), (6, 2), "{listed}");
    assert!(starred[0].contains("02 second.flac") && starred[1].contains("front.jpg"), "{listed}");
    let json = fetch(&["--list", "--json", "--select", "*.jpg"]).expect_code(0);
    let files = json.result()["files"].as_array().unwrap().clone();
    let selected: Vec<_> =
        files.iter().filter(|file| file["selected"] == true).map(|file| file["number"].as_u64()).collect();
    assert_eq!(selected, [Some(3), Some(5)]);
    for (options, says) in [
        (["--select-file", "9"], "1-6: album/01 first.flac"),
        (["--select", "*.avi"], "no file matches; the torrent has 1-6"),
        (["--select-file", "0"], "no number of a file"),
    ] {
        let refused = fetch(&options).expect_code(2);
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
    }
}
