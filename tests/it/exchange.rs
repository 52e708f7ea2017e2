//! Peers that are named by peers (BEP 11): told, heard, and kept to ourselves where the torrent is private (BEP 27).

use crate::support::payload::{assert_same, write_file};
use crate::support::peers::Seed;
use crate::support::ports::local;
use crate::support::torrents::{Maker, Torrent};
use crate::support::{Fetch, Lab, Needs};

const MIB: u64 = 1 << 20;

fn payload(lab: &Lab, switches: &[&str]) -> Torrent {
    let source = lab.at("source/payload.bin");
    write_file(&source, 8 * MIB + 3, 7);
    switches.iter().fold(Maker::of(&source), |maker, switch| maker.switch(switch)).make(lab)
}

/// The log of libtorrent shows the peers that we named.
#[test]
fn libtorrent_is_told_whom_else_we_know() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = payload(&lab, &[]);
    let (mut one, other) = (Seed::talkative_libtorrent(&torrent), Seed::libtorrent(&torrent));
    let fetch = Fetch::new(&torrent.path, &lab.folder("out")).peer(one.addr).peer(other.addr);
    let fetching = fetch.args(&["--max-download-limit", "100K"]).start();
    let line = one.hears("<== PEX");
    assert!(line.contains("added: 1"), "{line}");
    fetching.kill();
}

/// The second client knows only the first one, which is slow. It completes before the first one, because it learnt the
/// address of the seed (BEP 11).
#[test]
fn a_client_that_knows_one_of_us_learns_of_its_seed() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    let torrent = payload(&lab, &[]);
    let seed = Seed::libtorrent(&torrent);
    let (slow, quick) = (lab.folder("slow"), lab.folder("quick"));
    let first = Fetch::new(&torrent.path, &slow).peer(seed.addr).args(&["--max-download-limit", "50K"]);
    let at = local(first.port);
    let mut first = first.start();
    first.wait_until_it_has(1);
    Fetch::new(&torrent.path, &quick).peer(at).run().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&quick));
    assert!(first.kill().code > 128, "the first one was still at it");
}

/// BEP 27: a private torrent has no peer exchange.
#[test]
fn a_private_torrent_offers_no_exchange() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent]) else { return };
    for (switches, offers) in [(&[][..], true), (&["--private"][..], false)] {
        let torrent = payload(&lab, switches);
        let mut seed = Seed::talkative_libtorrent(&torrent);
        let dir = lab.folder(if offers { "public" } else { "private" });
        Fetch::new(&torrent.path, &dir).peer(seed.addr).run().expect_complete();
        let us = seed.hears("<== EXTENDED_HANDSHAKE");
        assert_eq!(us.contains("ut_pex"), offers, "{us}");
    }
}
