//! Hostile swarms against the real binary: it completes, and no honest peer is banned. Every byte is compared.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::support::Fetch;
use crate::support::ports::free;
use crate::support::scene::Scene;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const PIECE: u32 = 128 * 1024;

/// Returns the nth host of a loopback network: to the client each address is another host.
fn host(network: u8, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, network, number)
}

/// P-26 and W-02: a connection that delivered is dialled again after about a second, and what it delivered is kept.
#[test]
fn a_sole_source_that_resets_every_300_kb_is_enough() {
    let scene = Scene::new(4 * MIB + 77, PIECE);
    let source = scene.peer("reset_every=300k");
    let dir = scene.lab.folder("out");
    let outcome = Fetch::new(&scene.torrent(&[]), &dir).peer(source.addr).run().expect_complete();
    scene.assert_arrived(&dir);
    let resets = source.stats().resets;
    assert!(resets >= 10, "{resets} resets");
    // A reset behind the last block may find the client already leaving.
    let restarts = outcome.restarts("PeerConnection", "reset");
    assert!((resets - 1..=resets).contains(&restarts), "{restarts} restarts for {resets} resets");
    // A reset may take blocks on the wire with it, never what had arrived.
    assert!(outcome.number("bytes_downloaded") <= scene.bytes() + resets * 300 * KIB);
    assert!(outcome.took < Duration::from_secs(60), "took {:?}", outcome.took);
}

/// P-26: resets that fall into headers and blocks alike. Nothing of a torn block is ever written.
#[test]
fn resets_in_the_middle_of_anything_are_survived() {
    for every in [20_000, 33_333, 50_021] {
        let scene = Scene::new(200_000, 32 * 1024);
        let source = scene.peer(&format!("reset_every={every}"));
        let dir = scene.lab.folder("out");
        Fetch::new(&scene.torrent(&[]), &dir).peer(source.addr).run().expect_complete();
        scene.assert_arrived(&dir);
    }
}

/// P-01 and P-02: thirty that accept and say nothing, fifty addresses without a listener, one honest peer.
#[test]
fn thirty_silent_and_fifty_dead_peers_do_not_hide_an_honest_one() {
    let scene = Scene::new(4 * MIB, PIECE);
    let silent: Vec<_> = (1..=30).map(|number| scene.peer_at(host(1, number), "silent")).collect();
    let honest = scene.peer("");
    let dir = scene.lab.folder("out");
    let mut fetch = Fetch::new(&scene.torrent(&[]), &dir);
    for peer in &silent {
        fetch = fetch.peer(peer.addr);
    }
    for number in 1..=50 {
        fetch = fetch.peer((host(2, number), free()).into());
    }
    let outcome = fetch.peer(honest.addr).run().expect_complete();
    scene.assert_arrived(&dir);
    assert!(outcome.took < Duration::from_secs(45), "took {:?}", outcome.took);
}

/// P-14: every block of the liars is bad. They are found out and banned; the honest one never is.
#[test]
fn three_liars_do_not_spoil_what_one_honest_peer_sends() {
    let scene = Scene::new(16 * MIB + 5, PIECE);
    let liars: Vec<_> = (1..=3).map(|number| scene.peer_at(host(3, number), "corrupt=1")).collect();
    // Slow enough that the liars are asked as well.
    let honest = scene.peer("max_rate=4M");
    let dir = scene.lab.folder("out");
    let mut fetch = Fetch::new(&scene.torrent(&[]), &dir).peer(honest.addr);
    for liar in &liars {
        fetch = fetch.peer(liar.addr);
    }
    let outcome = fetch.run().expect_complete();
    scene.assert_arrived(&dir);
    assert_eq!(honest.stats().connections, 1, "the honest one was never sent away");
    assert!(liars.iter().any(|liar| liar.stats().lies > 0), "nobody lied: the test proves nothing");
    let connections: u64 = liars.iter().map(|liar| liar.stats().connections).sum();
    assert!(connections <= 9, "liars were dialled {connections} times");
    let wasted = outcome.number("bytes_wasted");
    assert!(wasted <= 3 * 4 * u64::from(PIECE), "wasted {wasted}: at most a few pieces for each liar");
}

/// P-14: liars that tell the truth most of the time, or lie about the last block of each piece only.
#[test]
fn liars_that_mostly_tell_the_truth_are_found_too() {
    for words in ["corrupt=0.01", "corrupt=0.3", "corrupt_last"] {
        let scene = Scene::new(8 * MIB, PIECE);
        let liars: Vec<_> = (1..=3).map(|number| scene.peer_at(host(4, number), words)).collect();
        let honest = scene.peer("max_rate=4M");
        let dir = scene.lab.folder("out");
        let mut fetch = Fetch::new(&scene.torrent(&[]), &dir).peer(honest.addr);
        for liar in &liars {
            fetch = fetch.peer(liar.addr);
        }
        fetch.run().expect_complete();
        scene.assert_arrived(&dir);
        assert_eq!(honest.stats().connections, 1, "{words}: the honest one was never sent away");
    }
}

/// P-10 and W-04: old clients do this and serve all the same.
#[test]
fn unknown_message_ids_after_the_bitfield_are_no_reason_to_leave() {
    let scene = Scene::new(4 * MIB, PIECE);
    let source = scene.peer("unknown_ids=21+31+99+200");
    let dir = scene.lab.folder("out");
    Fetch::new(&scene.torrent(&[]), &dir).peer(source.addr).run().expect_complete();
    scene.assert_arrived(&dir);
    assert_eq!(source.stats().connections, 1);
}

/// Sole sources that are odd, not bad: each is enough by itself.
#[test]
fn odd_but_honest_sources_are_enough_each_by_itself() {
    // P-06 says what `no_bitfield` means, so it is not among them; W-05, W-06, P-17, P-20, P-27 are.
    let odd = [
        "have_only",
        "choke_first",
        "flap=20",
        "duplicate=1",
        "unrequested=4",
        "delay=20ms",
        "slice=700",
        "request_flood=300",
        "id=MG-3.01",
        "id=FD63",
        "id=TIX0314",
        "slow_handshake=20ms",
        "close_after=400k",
    ];
    for words in odd {
        println!("{words}");
        let scene = Scene::new(MIB, 64 * 1024);
        let source = scene.peer(words);
        let dir = scene.lab.folder("out");
        let outcome = Fetch::new(&scene.torrent(&[]), &dir).peer(source.addr).run();
        assert_eq!(outcome.code, 0, "{words}: {}", outcome.stderr);
        scene.assert_arrived(&dir);
    }
}

/// Everything that goes wrong with a peer at once, around one honest seed of modest speed.
#[test]
fn one_honest_peer_among_all_the_others_is_enough() {
    let hostile = [
        "silent",
        "slow_handshake=2s",
        "reset_on_handshake",
        "wrong_hash",
        "wrong_protocol",
        "own_id",
        "no_bitfield",
        "bad_bitfield",
        "short_bitfield",
        "twice_bitfield",
        "late_bitfield",
        "bitfield_after_have_all",
        "spare_bits",
        "partial=0.3,lie_have",
        "bad_have",
        "bad_suggest",
        "bad_allowed_fast",
        "huge_length=4294967295",
        "huge_length=1048577",
        "choke_forever",
        "never_unchoke",
        "flap=100",
        "reject",
        "wrong_index",
        "wrong_begin",
        "wrong_length",
        "beyond_end",
        "corrupt=1",
        "corrupt_last",
        "delay=3s",
        "snub_after=3",
        "duplicate=3",
        "unrequested=100",
        "drip=100",
        "reset_every=20k",
        "request_flood=10000",
        "request_flood=100,request_len=2147483647",
        "deaf",
    ];
    let scene = Scene::new(12 * MIB, PIECE);
    let peers: Vec<_> = (1..).zip(hostile).map(|(number, words)| scene.peer_at(host(5, number), words)).collect();
    let honest = scene.peer("max_rate=2M");
    let dir = scene.lab.folder("out");
    let mut fetch = Fetch::new(&scene.torrent(&[]), &dir).peer(honest.addr);
    for peer in &peers {
        fetch = fetch.peer(peer.addr);
    }
    let outcome = fetch.run().expect_complete();
    scene.assert_arrived(&dir);
    assert_eq!(honest.stats().connections, 1, "the honest one was never sent away");
    // The honest peer alone takes 6 s. All other peers together may cost as much again, and the usual time-outs.
    assert!(outcome.took < Duration::from_secs(60), "took {:?}", outcome.took);
    assert!(outcome.peak_kib < 200 * 1024, "peak of {} KiB", outcome.peak_kib);
}

/// W-28: peers that have only part of it are used for what they have.
#[test]
fn peers_that_have_only_part_add_up() {
    let scene = Scene::new(8 * MIB, PIECE);
    let parts: Vec<_> = (1..=6).map(|number| scene.peer_at(host(6, number), "partial=0.5,max_rate=2M")).collect();
    let whole = scene.peer("max_rate=500k");
    let dir = scene.lab.folder("out");
    let mut fetch = Fetch::new(&scene.torrent(&[]), &dir).peer(whole.addr);
    for part in &parts {
        fetch = fetch.peer(part.addr);
    }
    fetch.run().expect_complete();
    scene.assert_arrived(&dir);
    let from_parts: u64 = parts.iter().map(|part| part.stats().blocks).sum();
    assert!(from_parts > whole.stats().blocks, "{from_parts} blocks came from those who have part");
}

/// W-29: blocks of one piece come from many, and many pieces from one: more connections than pieces, and fewer.
#[test]
fn more_connections_than_pieces_and_fewer_are_both_enough() {
    for (pieces, sources, words) in [(2_u32, 10_u8, "max_rate=200k"), (64, 2, "max_rate=3M")] {
        let scene = Scene::new(u64::from(pieces * PIECE), PIECE);
        let sources: Vec<_> = (1..=sources).map(|number| scene.peer_at(host(7, number), words)).collect();
        let dir = scene.lab.folder("out");
        let torrent = scene.torrent(&[]);
        let fetch = sources.iter().fold(Fetch::new(&torrent, &dir), |fetch, source| fetch.peer(source.addr));
        let outcome = fetch.run().expect_complete();
        scene.assert_arrived(&dir);
        let used = sources.iter().filter(|source| source.stats().blocks > 0).count();
        assert!(used >= 2, "{used} sources of {} were used for {pieces} pieces", sources.len());
        let spare = outcome.number("bytes_wasted");
        // Of two pieces nearly all is endgame: no block is worth more than one spare copy.
        assert!(spare <= scene.bytes(), "{spare} B of no use");
    }
}
