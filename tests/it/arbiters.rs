//! Several torrents spread over several threads: each with a hostile swarm of its own, over limits that all of them share,
//! stopped and gone on with, given and fetched. Every byte is compared.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::Fetch;
use crate::support::client::{Outcome, WATCHDOG, tt};
use crate::support::ports::{free, local};
use crate::support::process::Process;
use crate::support::scene::Scene;

const MIB: u64 = 1 << 20;
const PIECE: u32 = 64 * 1024;

/// So many torrents of one file each, all of another size.
fn scenes(count: u64) -> Vec<Scene> {
    (1..=count).map(|nth| Scene::named(&format!("{nth}.bin"), nth * MIB + nth, PIECE)).collect()
}

fn torrents(scenes: &[Scene]) -> Vec<PathBuf> {
    scenes.iter().map(|scene| scene.torrent(&[])).collect()
}

fn fetch(torrents: &[PathBuf], dir: &Path, arbiters: u32) -> Fetch {
    let fetch = Fetch::new(&torrents[0], dir).args(&["--arbiters", &arbiters.to_string()]);
    torrents[1..].iter().fold(fetch, Fetch::arg)
}

/// Returns the arbiters whose scheduling delay was logged.
fn arbiters_with_lag(outcome: &Outcome) -> BTreeSet<u64> {
    outcome.logged("arbiter lag").iter().map(|event| event.number("arbiter")).collect()
}

/// Resets, lies and silence on every arbiter at once: what falls there is started again there, and all is counted in one place.
#[test]
fn hostile_swarms_on_every_arbiter_are_survived() {
    let scenes = scenes(6);
    let lab = &scenes[0].lab;
    let dir = lab.folder("out");
    let mut fetch = fetch(&torrents(&scenes), &dir, 3).args(&["--metrics-interval", "200ms"]);
    let mut resets = Vec::new();
    for (network, scene) in (1..).zip(&scenes) {
        let honest = scene.peer_at(Ipv4Addr::new(127, 0, network, 1), "reset_every=1M");
        let liar = scene.peer_at(Ipv4Addr::new(127, 0, network, 2), "corrupt=1");
        let silent = scene.peer_at(Ipv4Addr::new(127, 0, network, 3), "silent");
        fetch = fetch.peer(honest.addr).peer(liar.addr).peer(silent.addr);
        resets.push((honest, liar, silent));
    }
    let outcome = fetch.run().expect_complete();
    for scene in &scenes {
        scene.assert_arrived(&dir);
    }
    assert_eq!(arbiters_with_lag(&outcome), (0..3).collect());
    let expected: u64 = resets.iter().map(|(honest, ..)| honest.stats().resets).sum();
    let counted = outcome.restarts("PeerConnection", "reset");
    // A reset behind the last block of a torrent may find its peers already being sent away.
    assert!((expected - 6..=expected).contains(&counted), "{counted} restarts for {expected} resets");
}

/// One arbiter accepts an inbound connection and another serves it.
#[test]
fn a_seed_on_several_arbiters_serves_a_fetch_on_several() {
    let scenes = scenes(5);
    let lab = &scenes[0].lab;
    let (torrents, first, second) = (torrents(&scenes), lab.folder("first"), lab.folder("second"));
    let mut source = fetch(&torrents, &first, 2);
    for scene in &scenes {
        source = source.peer(scene.peer("").addr);
    }
    source.run().expect_complete();
    let port = free();
    let mut seed = tt();
    seed.arg("seed").args(&torrents).arg("-d").arg(&first).args(["--json", "--arbiters", "4", "--port"]);
    let mut seed = Process::start("tt-actors seed", seed.arg(port.to_string()));
    seed.wait_for_each("that it seeds", WATCHDOG, scenes.iter().map(Scene::bytes), |event| event["phase"] == "seeding");
    fetch(&torrents, &second, 3).peer(local(port)).run().expect_complete();
    for scene in &scenes {
        scene.assert_arrived(&second);
    }
    seed.signal(Signal::INT);
    assert_eq!(seed.finish(WATCHDOG).code(), 0);
}

/// A stop reaches every arbiter, and what each had is kept.
#[test]
fn what_was_fetched_on_several_arbiters_before_a_stop_is_kept() {
    let scenes = scenes(3);
    let lab = &scenes[0].lab;
    let (torrents, dir) = (torrents(&scenes), lab.folder("out"));
    let slow: Vec<_> = scenes.iter().map(|scene| scene.peer("max_rate=300k")).collect();
    let mut first = fetch(&torrents, &dir, 3);
    for peer in &slow {
        first = first.peer(peer.addr);
    }
    let mut first = first.start();
    let has_half = |event: &Value| event["bytes_have"].as_u64() >= Some(MIB / 2);
    first.process.wait_for_each("half a mebibyte", WATCHDOG, scenes.iter().map(Scene::bytes), has_half);
    first.signal(Signal::TERM);
    first.finish().expect_code(7);
    let mut second = fetch(&torrents, &dir, 2);
    for scene in &scenes {
        second = second.peer(scene.peer("").addr);
    }
    let outcome = second.run().expect_complete();
    for scene in &scenes {
        scene.assert_arrived(&dir);
    }
    let each = outcome.result()["torrents"].as_array().unwrap();
    assert!(each.iter().all(|one| one["bytes_kept"].as_u64().unwrap() >= MIB / 2), "{}", outcome.result());
}
