//! A swarm of `tt_actors::faults` beside the test: one torrent, its hostile and honest peers, and the check that the
//! payload arrived. `faults::harness` runs the peers and trackers; here every error fails the test.

use std::cell::Cell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tt_actors::faults::harness::{Harness, Knows, PeerHandle, TrackerHandle};
use tt_actors::faults::payload::Payload;
use tt_actors::faults::referee::{files_of, judge_bytes};
use tt_actors::faults::torrent::Recipe;

use super::client::WATCHDOG;
use super::lab::Lab;
use super::process::until;

/// One torrent of one file, with its peers and trackers.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    harness: Harness,
    /// How many peers were started.
    peers: Cell<u64>,
}

impl Scene {
    /// Makes a torrent of `bytes` in pieces of `piece_len` bytes, without peers.
    pub(crate) fn new(bytes: u64, piece_len: u32) -> Self {
        Self::named("hostile.bin", bytes, piece_len)
    }

    /// Makes a torrent with this name, for tests with several torrents.
    pub(crate) fn named(name: &str, bytes: u64, piece_len: u32) -> Self {
        let recipe = Recipe::single(name, piece_len, &[]);
        let harness = Harness::new(recipe, Payload::new(bytes, bytes)).unwrap();
        Self { lab: Lab::new(), harness, peers: Cell::new(0) }
    }

    /// Returns the length of the payload, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.harness.payload().len()
    }

    /// Starts a peer on 127.0.0.1 with this behaviour; an empty one is an honest seed.
    pub(crate) fn peer(&self, words: &str) -> PeerHandle {
        self.peer_at(Ipv4Addr::LOCALHOST, words)
    }

    /// Starts a peer on another loopback address, which is another host to the client.
    pub(crate) fn peer_at(&self, ip: Ipv4Addr, words: &str) -> PeerHandle {
        // Each peer has another seed, and so another peer id.
        self.peers.set(self.peers.get() + 1);
        self.harness.peer(ip, words, self.peers.get()).unwrap()
    }

    /// Starts an HTTP tracker with this behaviour, which names only the peers in it.
    pub(crate) fn http_tracker(&self, words: &str) -> TrackerHandle {
        self.harness.http_tracker(words, Knows::Nobody).unwrap()
    }

    /// Starts a UDP tracker with this behaviour, which names only the peers in it.
    pub(crate) fn udp_tracker(&self, words: &str) -> TrackerHandle {
        self.harness.udp_tracker(words, Knows::Nobody, 7).unwrap()
    }

    /// A tracker on 127.0.0.1 and one on the same port of `::1`: both families of one tracker, told apart.
    pub(crate) fn tracker_of_both_families(&self, udp: bool, words: &str) -> [TrackerHandle; 2] {
        let start = |at: SocketAddr| {
            if udp {
                self.harness.udp_tracker_at(at, words, Knows::Nobody, 7)
            } else {
                self.harness.http_tracker_at(at, words, Knows::Nobody)
            }
        };
        // The port that is free in one family may be taken in the other.
        let pair = (0..20).find_map(|_| {
            let v4 = start((Ipv4Addr::LOCALHOST, 0).into()).ok()?;
            let v6 = start((Ipv6Addr::LOCALHOST, v4.addr.port()).into()).ok()?;
            Some([v4, v6])
        });
        pair.expect("a port that is free in both families")
    }

    /// Writes the .torrent with these tiers.
    pub(crate) fn torrent(&self, tiers: &[&[&str]]) -> PathBuf {
        let tiers = tiers.iter().map(|tier| tier.iter().map(|url| (*url).to_owned()).collect()).collect();
        self.harness.write_torrent(self.lab.path(), tiers).unwrap()
    }

    /// Compares what a fetch has left in `dir` with the payload, byte by byte.
    pub(crate) fn assert_arrived(&self, dir: &Path) {
        let payload = self.harness.payload();
        assert_eq!(judge_bytes(dir, &files_of(self.harness.recipe(), payload), payload), None);
    }
}

/// Waits until this tracker was visited.
pub(crate) fn wait_for_a_visit(tracker: &TrackerHandle) {
    until(&format!("a visit to {}", tracker.url), WATCHDOG, || tracker.record().arrivals > 0);
}
