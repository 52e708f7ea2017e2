//! What we give: to foreign clients and to ourselves, by dialling and by being dialled, one torrent and several. Every byte
//! is compared.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::tt;
use crate::support::payload::{assert_same, write_file};
use crate::support::peers::{Leech, OpenTracker, Seed, wait_until_whole};
use crate::support::ports::{free, local};
use crate::support::process::{Process, until};
use crate::support::torrents::{Maker, Torrent};
use crate::support::{Fetch, Lab, Needs};

const MIB: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(120);

fn payload(lab: &Lab, name: &str, bytes: u64) -> Torrent {
    let source = lab.at(&format!("source/{name}"));
    write_file(&source, bytes, bytes);
    Maker::of(&source).make(lab)
}

/// W-31: a finished file, a port of one's own.
#[test]
fn a_seed_of_ours_serves_libtorrent_and_ourselves() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = payload(&lab, "payload.bin", 24 * MIB + 4321);
    let seed = Seed::ours(&torrent, &[]);
    let (theirs, ours) = (lab.folder("theirs"), lab.folder("ours"));
    Leech::start(&torrent, &theirs, &[seed.addr]).wait_until_complete(LIMIT);
    assert_same(&torrent.source, &torrent.inside(&theirs));
    Fetch::new(&torrent.path, &ours).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&ours));
}

/// BEP 16: libtorrent and our client get everything from a seed that announces its pieces one by one, and from each
/// other. The seed sends little more than the payload. A single leech gets everything too.
#[test]
fn a_super_seed_of_ours_serves_libtorrent_and_ourselves_and_gives_each_piece_about_once() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source/payload.bin");
    write_file(&source, 12 * MIB + 4321, 7);
    let torrent = Maker::of(&source).piece_length(64 * 1024).make(&lab);
    let seed = Seed::ours_super(&torrent, &lab.at("seed.log"));
    let (theirs, ours, alone) = (lab.folder("theirs"), lab.folder("ours"), lab.folder("alone"));
    let mut leech = Leech::start(&torrent, &theirs, &[seed.addr]);
    Fetch::new(&torrent.path, &ours).peer(seed.addr).peer(leech.addr).run().expect_complete();
    leech.wait_until_complete(LIMIT);
    assert_same(&torrent.source, &torrent.inside(&theirs));
    assert_same(&torrent.source, &torrent.inside(&ours));
    drop(leech);
    let last: Value = serde_json::from_str(&seed.last_words()).unwrap();
    let sent = last["bytes_uploaded"].as_u64().unwrap();
    assert!((torrent.bytes..torrent.bytes * 3 / 2).contains(&sent), "{sent} bytes of {}", torrent.bytes);

    let seed = Seed::ours_super(&torrent, &lab.at("seed-2.log"));
    Leech::start(&torrent, &alone, &[seed.addr]).wait_until_complete(LIMIT);
    assert_same(&torrent.source, &torrent.inside(&alone));
}

#[test]
fn a_seed_of_ours_serves_aria2_through_a_tracker() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Opentracker, Needs::Aria2]) else { return };
    let port = free();
    let source = lab.at("source/payload.bin");
    write_file(&source, 12 * MIB + 17, 7);
    let torrent = Maker::of(&source).tier(&[&format!("http://127.0.0.1:{port}/announce")]).make(&lab);
    let tracker = OpenTracker::start(&lab, port, &[&torrent.info_hash]);
    let _seed = Seed::ours(&torrent, &[]);
    tracker.wait_for_seeds(&torrent.info_hash, 1);
    assert_eq!(tracker.completed(&torrent.info_hash), 0, "a seed from the start has completed nothing");
    let dir = lab.folder("out");
    Leech::aria2(&torrent, &dir);
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// A seed dials too: this Transmission knows no peer, and the seed is given its address.
#[test]
fn a_seed_of_ours_dials_a_transmission_that_lacks_everything() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Transmission]) else { return };
    let torrent = payload(&lab, "payload.bin", 8 * MIB + 5);
    let dir = lab.folder("out");
    let leech = Leech::transmission(&lab, &torrent, &dir);
    let _seed = Seed::ours(&torrent, &["--peer", &leech.addr.to_string()]);
    until("a payload without `.part`", LIMIT, || torrent.inside(&dir).exists());
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// Fetches and seeds at once, then only seeds: the second leech knows only the first, whose own seed has stopped.
#[test]
fn a_fetch_that_stays_to_seed_serves_whoever_comes_and_ends_with_0() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = payload(&lab, "payload.bin", 8 * MIB + 1);
    let seed = Seed::libtorrent(&torrent);
    let (first, second, port) = (lab.folder("first"), lab.folder("second"), free());
    let mut stays = tt();
    stays.arg("fetch").arg(&torrent.path).arg("-d").arg(&first).args(["--json", "--seed", "--peer"]);
    stays.args([&seed.addr.to_string(), "--port", &port.to_string()]);
    let mut stays = Process::start("tt-actors fetch --seed", &mut stays);
    stays.wait_for("that it seeds", LIMIT, |line| line.contains(r#""phase":"seeding""#).then_some(()));
    drop(seed);
    Fetch::new(&torrent.path, &second).peer(local(port)).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&second));
    stays.signal(Signal::INT);
    let ended = stays.finish(LIMIT);
    let last: Value = serde_json::from_str(ended.out.last().unwrap()).unwrap();
    assert_eq!((&last["status"], &last["exit_code"]), (&"complete".into(), &0.into()), "{last}");
    assert!(last["bytes_uploaded"].as_u64().unwrap() >= torrent.bytes, "{last}");
}

#[test]
fn a_ratio_and_a_time_end_the_seeding() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = payload(&lab, "payload.bin", 4 * MIB);
    let port = free();
    let mut seed = tt();
    seed.arg("seed").arg(&torrent.path).arg("-d").arg(torrent.save_path());
    seed.args(["--json", "--seed-ratio", "1", "--port", &port.to_string()]);
    let mut seed = Process::start("tt-actors seed --seed-ratio", &mut seed);
    seed.wait_for("that it seeds", LIMIT, |line| line.contains(r#""phase":"seeding""#).then_some(()));
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).peer(local(port)).run().expect_complete();
    let ended = seed.finish(LIMIT);
    assert_eq!(ended.code(), 0);
    let mut brief = tt();
    brief.arg("seed").arg(&torrent.path).arg("-d").arg(torrent.save_path()).args(["--seed-time", "1s"]);
    assert_eq!(Process::start("tt-actors seed --seed-time", &mut brief).finish(LIMIT).code(), 0);
}

#[test]
fn a_seed_that_lacks_a_piece_says_so_and_fetches_nothing() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = payload(&lab, "payload.bin", 4 * MIB);
    let broken = lab.folder("broken");
    let mut decayed = std::fs::read(&torrent.source).unwrap();
    decayed[3 << 20] ^= 1;
    std::fs::write(broken.join("payload.bin"), &decayed).unwrap();
    let mut seed = tt();
    seed.arg("seed").arg(&torrent.path).arg("-d").arg(&broken).arg("--json");
    let ended = Process::start("tt-actors seed", &mut seed).finish(LIMIT);
    assert_eq!(ended.code(), 32, "{:?}", ended.err);
    assert!(
        ended.err.iter().any(|line| line.contains("is missing in") && line.contains("`verify` says what")),
        "{:?}",
        ended.err
    );
    assert!(std::fs::read(broken.join("payload.bin")).unwrap() == decayed, "nothing was touched");
}

/// W-35: several torrents through one port, each complete by itself.
#[test]
fn three_torrents_are_fetched_together_from_one_seed_of_three() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrents: Vec<_> = (1..=3).map(|nth| payload(&lab, &format!("{nth}.bin"), nth * 3 * MIB + nth)).collect();
    let port = free();
    let mut seed = tt();
    seed.arg("seed").args(torrents.iter().map(|torrent| &torrent.path)).arg("-d").arg(torrents[0].save_path());
    seed.args(["--json", "--port", &port.to_string()]);
    let mut seed = Process::start("tt-actors seed", &mut seed);
    let sizes = torrents.iter().map(|torrent| torrent.source.metadata().unwrap().len());
    seed.wait_for_each("that it seeds", LIMIT, sizes, |event| event["phase"] == "seeding");
    let dir = lab.folder("out");
    let mut fetch = Fetch::new(&torrents[0].path, &dir).peer(local(port));
    for torrent in &torrents[1..] {
        fetch = fetch.arg(&torrent.path);
    }
    let outcome = fetch.run().expect_complete();
    for torrent in &torrents {
        assert_same(&torrent.source, &torrent.inside(&dir));
    }
    let listed = outcome.result()["torrents"].as_array().unwrap().clone();
    let hashes: Vec<_> = listed.iter().map(|one| one["info_hash"].as_str().unwrap()).collect();
    assert_eq!(hashes, torrents.iter().map(|torrent| torrent.info_hash.as_str()).collect::<Vec<_>>());
    assert!(listed.iter().all(|one| one["exit_code"] == 0));
}

/// A swarm of four different clients behind one slow seed: none gets everything from the seed alone, and all complete.
/// Transmission accepts no loopback address from a tracker: it is dialled, by peers that the tracker names it to, and
/// by one that stays.
#[test]
fn a_mixed_swarm_completes_from_our_seed_and_from_libtorrents() {
    let needs = [Needs::Libtorrent, Needs::Opentracker, Needs::Aria2, Needs::Transmission];
    let Some(lab) = Lab::with(&needs) else { return };
    for ours in [true, false] {
        let (port, name) = (free(), if ours { "ours" } else { "theirs" });
        let source = lab.at(&format!("source/{name}.bin"));
        write_file(&source, 16 * MIB + 7, 7);
        let torrent = Maker::of(&source).tier(&[&format!("http://127.0.0.1:{port}/announce")]).make(&lab);
        let tracker = OpenTracker::start(&lab, port, &[&torrent.info_hash]);
        let _seed = if ours {
            Seed::ours(&torrent, &["--max-upload-limit", "4M"])
        } else {
            Seed::slow_libtorrent(&torrent, 4 * MIB)
        };
        tracker.wait_for_seeds(&torrent.info_hash, 1);
        let folder = |leech: &str| lab.folder(&format!("{name}-{leech}"));
        let dirs = ["libtorrent", "aria2", "first", "second", "stays", "transmission"].map(folder);
        let transmission = Leech::transmission(&lab, &torrent, &dirs[5]);
        let mut stays = tt();
        stays.arg("fetch").arg(&torrent.path).arg("-d").arg(&dirs[4]).args(["--json", "--seed", "--peer"]);
        let mut stays = Process::start("tt-actors fetch --seed", stays.arg(transmission.addr.to_string()));
        let mut libtorrent = Leech::start(&torrent, &dirs[0], &[]);
        let fetches =
            [&dirs[2], &dirs[3]].map(|dir| Fetch::new(&torrent.path, dir).args(&["--seed-time", "3s"]).start());
        Leech::aria2(&torrent, &dirs[1]);
        libtorrent.wait_until_complete(LIMIT);
        stays.wait_for("that it seeds", LIMIT, |line| line.contains(r#""phase":"seeding""#).then_some(()));
        until("a payload without `.part`", LIMIT, || torrent.inside(&dirs[5]).exists());
        let sent: u64 =
            fetches.into_iter().map(|fetch| fetch.finish().expect_complete().number("bytes_uploaded")).sum();
        for dir in &dirs {
            assert_same(&torrent.source, &torrent.inside(dir));
        }
        assert!(sent > 0, "the fetches gave nothing to anybody");
    }
}

/// D-04: half of the seeded data is truncated while it is served. No peer gets a false byte, and the missing data is
/// fetched again, here from the peer that asked for it.
#[test]
fn what_a_seed_cannot_read_any_more_it_fetches_again() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = payload(&lab, "payload.bin", 8 * MIB + 1);
    let theirs = Seed::slow_libtorrent(&torrent, 4 * MIB);
    let (first, second, port) = (lab.folder("first"), lab.folder("second"), free());
    let mut stays = tt();
    stays.arg("fetch").arg(&torrent.path).arg("-d").arg(&first).args([
        "--seed",
        "--json",
        "--log-format",
        "json",
        "--peer",
    ]);
    stays.args([&theirs.addr.to_string(), "--port", &port.to_string()]);
    let mut stays = Process::start("tt-actors fetch --seed", &mut stays);
    stays.wait_for("that it seeds", LIMIT, |line| line.contains(r#""phase":"seeding""#).then_some(()));
    std::fs::File::options().write(true).open(torrent.inside(&first)).unwrap().set_len(4 * MIB).unwrap();
    let mut leech = Fetch::new(&torrent.path, &second).peer(local(port)).peer(theirs.addr).arg("--seed").start();
    // Either the leech asks for what is gone, or the look at the files finds it first.
    stays.wait_for("that it fetches again", LIMIT, |line| line.contains(r#""phase":"fetching""#).then_some(()));
    leech.wait_until_it_says(r#""phase":"seeding""#);
    assert_same(&torrent.source, &torrent.inside(&second));
    wait_until_whole(local(port), &torrent);
    leech.signal(Signal::INT);
    let outcome = leech.finish().expect_code(0);
    assert_eq!(outcome.number("hash_failures"), 0);
}
