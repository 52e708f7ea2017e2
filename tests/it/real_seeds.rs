//! Real seeds behind a real tracker, and what is asked of us meanwhile. Every byte is compared.

use std::time::Duration;

use crate::support::payload::{assert_same, write_file};
use crate::support::peers::{Leech, OpenTracker, Seed};
use crate::support::ports::free;
use crate::support::torrents::{Maker, Torrent};
use crate::support::{Fetch, Lab, Needs, heavy};

const MIB: u64 = 1 << 20;

/// A payload of one file whose last piece and last block are odd, with a tracker of its own.
fn swarm(lab: &Lab, bytes: u64, scheme: &str) -> (Torrent, OpenTracker) {
    let port = free();
    let source = lab.at("source/payload.bin");
    write_file(&source, bytes, 7);
    let torrent = Maker::of(&source).tier(&[&format!("{scheme}://127.0.0.1:{port}/announce")]).make(lab);
    let tracker = OpenTracker::start(lab, port, &[&torrent.info_hash]);
    (torrent, tracker)
}

/// The foreign clients without ours: the other tests rely on them.
#[test]
fn every_seed_of_the_tests_serves_a_foreign_client_too() {
    let needs = [Needs::Libtorrent, Needs::Aria2, Needs::Transmission];
    let Some(lab) = Lab::with(&needs) else { return };
    let source = lab.at("source/payload.bin");
    write_file(&source, 3 * MIB + 17, 7);
    let torrent = Maker::of(&source).make(&lab);
    let seeds = [Seed::libtorrent(&torrent), Seed::aria2(&torrent), Seed::transmission(&lab, &torrent)];
    for (number, seed) in seeds.iter().enumerate() {
        let dir = lab.folder(&format!("leech-{number}"));
        Leech::start(&torrent, &dir, &[seed.addr]).wait_until_complete(Duration::from_secs(60));
        assert_same(&torrent.source, &torrent.inside(&dir));
    }
}

/// W-08: a peer is found through a real tracker.
#[test]
fn a_libtorrent_seed_is_found_through_opentracker_over_http() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Opentracker]) else { return };
    let (torrent, tracker) = swarm(&lab, 24 * MIB + 12_345, "http");
    let _seed = Seed::libtorrent(&torrent);
    tracker.wait_for_seeds(&torrent.info_hash, 1);
    let dir = lab.folder("out");
    let outcome = Fetch::new(&torrent.path, &dir).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    assert_eq!(outcome.result()["info_hash"], torrent.info_hash.as_str());
    assert_eq!(outcome.result()["name"], torrent.name.as_str());
    assert_eq!(outcome.number("bytes_total"), torrent.bytes);
    // W-18: what was downloaded in this session.
    assert_eq!(outcome.number("bytes_downloaded"), torrent.bytes);
    assert_eq!(outcome.number("bytes_kept"), 0);
}

#[test]
fn a_libtorrent_seed_is_found_through_opentracker_over_udp() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Opentracker]) else { return };
    let (torrent, tracker) = swarm(&lab, 8 * MIB + 1, "udp");
    let _seed = Seed::libtorrent(&torrent);
    tracker.wait_for_seeds(&torrent.info_hash, 1);
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// BEP 6: five pieces, and libtorrent allows five to who has none.
#[test]
fn a_libtorrent_seed_that_unchokes_nobody_is_asked_for_what_it_allows() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source/payload.bin");
    write_file(&source, 4 * 256 * 1024 + 777, 7);
    let torrent = Maker::of(&source).piece_length(256 * 1024).make(&lab);
    let seed = Seed::choking_libtorrent(&torrent);
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// BEP 6, BEP 10: by its own log, libtorrent takes what we say as we mean it.
#[test]
fn libtorrent_understands_who_we_are() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source/payload.bin");
    write_file(&source, MIB, 7);
    let torrent = Maker::of(&source).make(&lab);
    let mut seed = Seed::talkative_libtorrent(&torrent);
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    let bits = seed.hears("<== EXTENSIONS [ 0000000000000000000000000000000000000000000100000000000000000100");
    assert!(bits.contains("FAST"), "{bits}");
    seed.hears("<== HAVE_NONE");
    let us = seed.hears("<== EXTENDED_HANDSHAKE");
    let name = format!("'v': 'tt-actors {}'", env!("CARGO_PKG_VERSION"));
    for said in [name.as_str(), "'reqq': 2000", "'upload_only': 3", "'lt_donthave': 7", "'yourip': '7f000001'"] {
        assert!(us.contains(said), "{said} in {us}");
    }
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// BEP 16: libtorrent names one or two pieces, and the next ones when it hears that we have got those. The download must not
/// take longer than the rate of the seed.
#[test]
fn a_libtorrent_super_seed_gives_us_all_it_has() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source/payload.bin");
    write_file(&source, 46 * 64 * 1024 - 77, 7);
    let torrent = Maker::of(&source).piece_length(64 * 1024).make(&lab);
    let seed = Seed::super_libtorrent(&torrent);
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
}

#[test]
fn an_aria2_seed_is_found_through_opentracker() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Opentracker, Needs::Aria2]) else { return };
    let (torrent, tracker) = swarm(&lab, 16 * MIB + 4321, "http");
    let _seed = Seed::aria2(&torrent);
    tracker.wait_for_seeds(&torrent.info_hash, 1);
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// W-05: Transmission sends its bitfield and then chokes, for up to ten seconds.
#[test]
fn a_transmission_seed_serves_a_client_that_dials_it() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Transmission]) else { return };
    let source = lab.at("source/payload.bin");
    write_file(&source, 16 * MIB + 99, 7);
    let torrent = Maker::of(&source).make(&lab);
    let seed = Seed::transmission(&lab, &torrent);
    let dir = lab.folder("out");
    Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
}

#[test]
fn three_clients_of_three_makers_serve_one_download_together() {
    let needs = [Needs::Libtorrent, Needs::Opentracker, Needs::Aria2, Needs::Transmission];
    let Some(lab) = Lab::with(&needs) else { return };
    let (torrent, tracker) = swarm(&lab, 48 * MIB + 5, "http");
    // Slow enough that every one of them is asked before the others have sent it all.
    let _libtorrent = Seed::slow_libtorrent(&torrent, 8 * MIB);
    let _aria2 = Seed::aria2(&torrent);
    let transmission = Seed::transmission(&lab, &torrent);
    tracker.wait_for_seeds(&torrent.info_hash, 2);
    let dir = lab.folder("out");
    let outcome = Fetch::new(&torrent.path, &dir).peer(transmission.addr).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    // Endgame asks twice for the last blocks, and a machine that stalls for what it takes for late; not for a part of it all.
    assert!(outcome.number("bytes_wasted") <= 6 * MIB, "wasted {}", outcome.number("bytes_wasted"));
}

/// The tracker counts the completed download and then removes the client: it sent `completed` and `stopped` as BEP 3
/// says.
#[test]
fn opentracker_no_longer_knows_a_client_that_has_left() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Opentracker]) else { return };
    let (torrent, tracker) = swarm(&lab, MIB, "http");
    let _seed = Seed::libtorrent(&torrent);
    tracker.wait_for_seeds(&torrent.info_hash, 1);
    Fetch::new(&torrent.path, &lab.folder("out")).run().expect_complete();
    assert_eq!(tracker.seeds(&torrent.info_hash), 1, "only the seed is left");
    assert_eq!(tracker.leeches(&torrent.info_hash), 0);
    assert_eq!(tracker.completed(&torrent.info_hash), 1, "the one completed download");
}

/// The pieces that we have are served while we fetch the rest: the leech that is dialled here knows no other peer
/// (W-28).
#[test]
fn a_leech_that_knows_only_us_gets_the_pieces_we_have() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let source = lab.at("source/payload.bin");
    write_file(&source, 24 * MIB, 7);
    let torrent = Maker::of(&source).make(&lab);
    let seed = Seed::slow_libtorrent(&torrent, 4 * MIB);
    let leech_dir = lab.folder("leech");
    let mut leech = Leech::start(&torrent, &leech_dir, &[]);
    let dir = lab.folder("out");
    let fetch = Fetch::new(&torrent.path, &dir).peer(seed.addr).peer(leech.addr).start();
    leech.process.wait_for("a megabyte from us", Duration::from_secs(60), |line| {
        (line.strip_prefix("have ")?.parse::<u64>().ok()? >= MIB).then_some(())
    });
    fetch.finish().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
}

/// 1 GiB from a libtorrent seed through opentracker.
#[test]
fn a_gibibyte_arrives_identical() {
    let _alone = heavy();
    let needs = [Needs::Libtorrent, Needs::Opentracker];
    let Some(lab) = Lab::roomy(&needs, 2 * 1024 * MIB) else { return };
    let (torrent, tracker) = swarm(&lab, 1024 * MIB, "http");
    let _seed = Seed::libtorrent(&torrent);
    tracker.wait_for_seeds(&torrent.info_hash, 1);
    let dir = lab.folder("out");
    let outcome = Fetch::new(&torrent.path, &dir).within(Duration::from_secs(300)).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    assert_eq!(outcome.number("bytes_downloaded"), torrent.bytes);
    // Credits bound the blocks in flight, whatever the torrent's size.
    assert!(outcome.peak_kib < 512 * 1024, "peak of {} KiB", outcome.peak_kib);
}
