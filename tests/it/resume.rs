//! Downloads that end before their time, and what the next run makes of what is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::client::state_of;
use crate::support::payload::{assert_same, spoil, write_file, write_tree};
use crate::support::peers::Seed;
use crate::support::torrents::{Maker, Torrent};
use crate::support::{Fetch, Lab, Needs, heavy};

const MIB: u64 = 1 << 20;
/// Pieces small enough that an interrupted download always has some.
const PIECE: u64 = 128 * 1024;
/// Two files, so that records speak of more than one; the border falls inside a piece.
const FILES: &[(&str, u64)] = &[("twofold/first.bin", 13 * MIB + 777), ("twofold/second.bin", 11 * MIB)];

fn twofold(lab: &Lab) -> Torrent {
    let source = lab.at("source");
    write_tree(&source, FILES);
    Maker::of(&source.join("twofold")).piece_length(PIECE).make(lab)
}

/// A download of `torrent` stopped by SIGTERM when it had at least `bytes`, its exit code checked.
fn interrupted_at(torrent: &Torrent, dir: &Path, bytes: u64) {
    let seed = Seed::slow_libtorrent(torrent, 4 * MIB);
    let mut fetch = Fetch::new(&torrent.path, dir).peer(seed.addr).start();
    fetch.wait_until_it_has(bytes);
    fetch.signal(Signal::TERM);
    let outcome = fetch.finish().expect_code(7);
    assert_eq!(outcome.result()["status"], "interrupted");
    assert_eq!(outcome.result()["exit_code"], 7);
}

/// Killed ten times, each time when it has got further; the eleventh run completes it. What was durable is not
/// fetched again: all runs together fetch hardly more than the torrent.
#[test]
fn ten_kills_lose_next_to_nothing() {
    let _alone = heavy();
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source/killed.bin");
    write_file(&source, 60 * MIB + 4567, 11);
    let torrent = Maker::of(&source).piece_length(PIECE).make(&lab);
    let seed = Seed::slow_libtorrent(&torrent, 10 * MIB);
    let dir = lab.folder("out");
    for kill in 1..=10 {
        let mut fetch = Fetch::new(&torrent.path, &dir).peer(seed.addr).start();
        fetch.wait_until_it_has(kill * 5 * MIB);
        fetch.kill();
    }
    let outcome = Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    // The tenth kill came at 50 MiB. A run may lose one flush group: 2 s at 10 MiB/s, so 20 MiB, is the contract's bound.
    let fetched = outcome.number("bytes_downloaded");
    assert!(fetched <= torrent.bytes - 50 * MIB + 20 * MIB + MIB, "the last run fetched {fetched}");
    assert!(outcome.number("bytes_kept") >= 29 * MIB, "kept {}", outcome.number("bytes_kept"));
    assert_eq!(outcome.number("bytes_kept") + fetched - outcome.number("bytes_wasted"), torrent.bytes);
}

/// a clean stop leaves a record that needs no re-check.
#[test]
fn a_clean_stop_is_resumed_without_a_look_at_the_data() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = twofold(&lab);
    let dir = lab.folder("out");
    interrupted_at(&torrent, &dir, 4 * MIB);
    let seed = Seed::libtorrent(&torrent);
    let outcome = Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    assert_eq!(outcome.number("bytes_checked"), 0, "a clean record is trusted");
    assert!(outcome.number("bytes_kept") >= 4 * MIB, "kept {}", outcome.number("bytes_kept"));
    let fetched = outcome.number("bytes_downloaded") - outcome.number("bytes_wasted");
    assert_eq!(outcome.number("bytes_kept") + fetched, torrent.bytes);
}

/// SIGINT is SIGTERM to us; a second one does not wait.
#[test]
fn a_second_interrupt_stops_at_once_and_the_state_is_still_safe() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = twofold(&lab);
    let dir = lab.folder("out");
    let seed = Seed::slow_libtorrent(&torrent, 4 * MIB);
    let mut fetch = Fetch::new(&torrent.path, &dir).peer(seed.addr).start();
    fetch.wait_until_it_has(2 * MIB);
    fetch.signal(Signal::INT);
    // A stop may be over before the second signal comes: then it was a clean one.
    if fetch.process.is_running() {
        fetch.signal(Signal::INT);
    }
    let outcome = fetch.finish();
    assert!([7, 130].contains(&outcome.code), "exit code {}", outcome.code);
    let seed = Seed::libtorrent(&torrent);
    Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// A finished download is found whole: no peer is asked for a byte.
#[test]
fn a_complete_download_needs_no_peer() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = twofold(&lab);
    let dir = lab.folder("out");
    let seed = Seed::libtorrent(&torrent);
    Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    drop(seed);
    let outcome = Fetch::new(&torrent.path, &dir).run().expect_complete();
    assert_eq!(outcome.number("bytes_downloaded"), 0);
    assert_eq!(outcome.number("bytes_kept"), torrent.bytes);
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// D-13: a torn, flipped, empty, foreign or missing record costs a check, never the data.
#[test]
fn a_broken_record_costs_a_check_and_nothing_else() {
    type Damage = (&'static str, fn(&Path));
    let damages: &[Damage] = &[
        ("flipped", |file| spoil(file, fs::metadata(file).unwrap().len() / 2, 1)),
        ("torn", |file| {
            let len = fs::metadata(file).unwrap().len();
            fs::File::options().write(true).open(file).unwrap().set_len(len * 2 / 3).unwrap();
        }),
        ("empty", |file| fs::write(file, []).unwrap()),
        ("foreign", |file| fs::write(file, "d4:name7:foreigne").unwrap()),
        ("missing", |file| fs::remove_file(file).unwrap()),
    ];
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = twofold(&lab);
    let seed = Seed::libtorrent(&torrent);
    for (name, damage) in damages {
        let dir = lab.folder(name);
        interrupted_at(&torrent, &dir, 3 * MIB);
        let records = files_of_state(&dir);
        assert!(!records.is_empty(), "no state in {}", state_of(&dir).display());
        for file in &records {
            damage(file);
        }
        let outcome = Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
        assert_same(&torrent.source, &torrent.inside(&dir));
        assert!(outcome.number("bytes_checked") >= 3 * MIB, "{name}: checked {}", outcome.number("bytes_checked"));
        assert!(outcome.number("bytes_kept") >= 3 * MIB, "{name}: kept {}", outcome.number("bytes_kept"));
    }
}

/// D-14: the record of another torrent in the place of ours is not believed.
#[test]
fn another_torrents_record_is_not_believed() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = twofold(&lab);
    let dir = lab.folder("out");
    interrupted_at(&torrent, &dir, 3 * MIB);
    let source = lab.at("other/twofold.bin");
    write_file(&source, 24 * MIB + 777, 99);
    let other = Maker::of(&source).piece_length(PIECE).make(&lab);
    let other_dir = lab.folder("other-out");
    interrupted_at(&other, &other_dir, 3 * MIB);
    for (ours, theirs) in files_of_state(&dir).iter().zip(files_of_state(&other_dir)) {
        fs::copy(theirs, ours).unwrap();
    }
    let seed = Seed::libtorrent(&torrent);
    let outcome = Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    assert!(outcome.number("bytes_checked") > 0);
}

/// D-15 by hand: `-V` hashes although the record is clean.
#[test]
fn verify_first_finds_a_byte_that_has_decayed() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = twofold(&lab);
    let dir = lab.folder("out");
    let seed = Seed::libtorrent(&torrent);
    Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    spoil(&dir.join(FILES[0].0), 5_000_000, 1);
    let outcome = Fetch::new(&torrent.path, &dir).peer(seed.addr).arg("-V").run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    assert_eq!(outcome.number("bytes_checked"), torrent.bytes);
    assert_eq!(outcome.number("bytes_downloaded"), PIECE, "the one piece that was bad");
}

/// D-09: a file that was replaced while we were away is checked, whatever the record says.
#[test]
fn a_file_replaced_behind_our_back_is_checked() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = twofold(&lab);
    let dir = lab.folder("out");
    let seed = Seed::libtorrent(&torrent);
    Fetch::new(&torrent.path, &dir).peer(seed.addr).arg("--keep-state").run().expect_complete();
    let file = dir.join(FILES[1].0);
    fs::remove_file(&file).unwrap();
    write_file(&file, FILES[1].1, 4242);
    let outcome = Fetch::new(&torrent.path, &dir).peer(seed.addr).run();
    // Its bytes are not the torrent's, but it stands where the torrent's own file stood and the record knows that file:
    // either it is mended or, as an unrelated file, left alone. It is never called complete as it is.
    match outcome.code {
        0 => assert_same(&torrent.source, &torrent.inside(&dir)),
        13 => {
            write_file(&lab.at("replacement"), FILES[1].1, 4242);
            assert_same(&lab.at("replacement"), &file);
        }
        code => panic!("exit code {code}: {}", outcome.stderr),
    }
}

/// A deleted file is fetched again, the other one is kept.
#[test]
fn a_deleted_file_comes_back() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = twofold(&lab);
    let dir = lab.folder("out");
    let seed = Seed::libtorrent(&torrent);
    Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    fs::remove_file(dir.join(FILES[1].0)).unwrap();
    let outcome = Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    let fetched = outcome.number("bytes_downloaded");
    assert!(fetched <= FILES[1].1 + PIECE, "fetched {fetched}");
}

/// The same bytes written by another program are kept and verified: nothing is fetched.
#[test]
fn data_that_is_already_there_is_kept() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = twofold(&lab);
    let dir = lab.folder("out");
    for (name, _) in FILES {
        fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        fs::copy(lab.at("source").join(name), dir.join(name)).unwrap();
    }
    let outcome = Fetch::new(&torrent.path, &dir).run().expect_complete();
    assert_eq!(outcome.number("bytes_kept"), torrent.bytes);
    assert_eq!(outcome.number("bytes_checked"), torrent.bytes);
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// A foreign file in the way is never changed (exit 13), unless `--overwrite` is given.
#[test]
fn an_unrelated_file_is_never_overwritten() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = twofold(&lab);
    let seed = Seed::libtorrent(&torrent);
    // Of the torrent's own length, shorter, longer: none is ours.
    for (number, len) in [FILES[0].1, 1000, FILES[0].1 + MIB].into_iter().enumerate() {
        let dir = lab.folder(&format!("out-{number}"));
        let theirs = dir.join(FILES[0].0);
        write_file(&theirs, len, 777);
        let copy = lab.at("copy");
        fs::copy(&theirs, &copy).unwrap();
        let outcome = Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_code(13);
        assert_same(&copy, &theirs);
        assert!(outcome.result()["error"].as_str().unwrap().contains("first.bin"), "{}", outcome.result());
        Fetch::new(&torrent.path, &dir).peer(seed.addr).arg("--overwrite").run().expect_complete();
        assert_same(&torrent.source, &torrent.inside(&dir));
    }
}

/// D-18: two processes in one folder would tear each other's state.
#[test]
fn a_second_process_in_the_same_folder_is_refused() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = twofold(&lab);
    let dir = lab.folder("out");
    let seed = Seed::slow_libtorrent(&torrent, 4 * MIB);
    let mut first = Fetch::new(&torrent.path, &dir).peer(seed.addr).start();
    first.wait_until_it_has(MIB);
    let second = Fetch::new(&torrent.path, &dir).peer(seed.addr).within(Duration::from_secs(30)).run();
    assert_ne!(second.code, 0);
    let error = second.result()["error"].as_str().unwrap();
    assert!(error.contains(&first.process.pid().to_string()), "the error names the holder: {error}");
    first.finish().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// The files in which the client remembers, its lock aside.
fn files_of_state(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state_of(dir)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.is_file() && fs::metadata(path).unwrap().len() > 0).collect();
    files.retain(|path| !path.to_string_lossy().contains("lock"));
    files.sort();
    files
}
