//! Sets up a scene: starts its peers and trackers and writes the .torrent.

use std::io;
use std::path::{Path, PathBuf};

use super::{NetScene, ScenePeers, SceneTracker};
use crate::faults::black_hole::dead_addr;
use crate::faults::harness::{Harness, Knows, PeerHandle, RelayHandle, TrackerHandle};
use crate::faults::payload::Payload;
use crate::faults::torrent::Recipe;

/// 64 KiB: four blocks, small enough that a few MiB have many pieces.
const PIECE_LEN: u32 = 64 * 1024;

/// The name of the file in the torrent.
const NAME: &str = "payload.bin";

/// The host of the crowd. Trackers are on host 1, other peers from host 2 up.
const CROWD_HOST: u8 = 254;

/// A scene that is set up.
#[derive(Debug)]
pub(super) struct NetSetup {
    pub(super) harness: Harness,
    pub(super) torrent: PathBuf,
    pub(super) honest: Vec<PeerHandle>,
    pub(super) hostile: Vec<PeerHandle>,
    pub(super) crowd: Vec<PeerHandle>,
    /// The honest trackers.
    pub(super) good: Vec<TrackerHandle>,
    /// The other trackers.
    pub(super) bad: Vec<TrackerHandle>,
    pub(super) relays: Vec<RelayHandle>,
    hosts: u8,
    seed: u64,
}

impl NetSetup {
    /// Starts all peers and trackers. The .torrent is written into `dir`.
    pub(super) fn new(scene: &NetScene, seed: u64, dir: &Path) -> io::Result<Self> {
        let harness = Harness::new(Recipe::single(NAME, PIECE_LEN, &[]), Payload::new(seed, scene.bytes))?;
        let mut setup = Self {
            harness,
            torrent: PathBuf::new(),
            honest: Vec::new(),
            hostile: Vec::new(),
            crowd: Vec::new(),
            good: Vec::new(),
            bad: Vec::new(),
            relays: Vec::new(),
            hosts: 1,
            seed,
        };
        for peers in scene.peers {
            setup.add_peers(*peers)?;
        }
        // Good trackers start first, because others may redirect to them. The torrent lists them in the order of the
        // scene.
        let mut tiers = vec![Vec::new(); scene.trackers.len()];
        let is_good = |source: &SceneTracker| matches!(source, SceneTracker::Good);
        for wanted in [true, false] {
            for (tier, source) in tiers.iter_mut().zip(scene.trackers).filter(|(_, source)| is_good(source) == wanted) {
                *tier = setup.announce(*source)?;
            }
        }
        setup.torrent = setup.harness.write_torrent(dir, tiers)?;
        Ok(setup)
    }

    fn dice(&self) -> u64 {
        let drawn = self.honest.len() + self.hostile.len() + self.crowd.len() + self.relays.len();
        self.seed.wrapping_add(drawn as u64)
    }

    fn host(&mut self) -> std::net::Ipv4Addr {
        self.hosts += 1;
        self.harness.host(self.hosts)
    }

    fn add_peers(&mut self, peers: ScenePeers) -> io::Result<()> {
        match peers {
            ScenePeers::Honest(words) => {
                let at = self.host();
                let peer = self.harness.peer(at, words, self.dice())?;
                self.harness.list(peer.addr)?;
                self.honest.push(peer);
            }
            ScenePeers::Behind(toxics, words) => {
                let at = self.host();
                let peer = self.harness.peer(at, words, self.dice())?;
                let relay = self.harness.tcp_relay(at, peer.addr, toxics, self.dice())?;
                self.harness.list(relay.addr)?;
                self.honest.push(peer);
                self.relays.push(relay);
            }
            ScenePeers::Hostile(count, words) => {
                for _ in 0..count {
                    let at = self.host();
                    let peer = self.harness.peer(at, words, self.dice())?;
                    self.harness.list(peer.addr)?;
                    self.hostile.push(peer);
                }
            }
            ScenePeers::Crowd(count, words) => {
                for _ in 0..count {
                    let peer = self.harness.peer(self.harness.host(CROWD_HOST), words, self.dice())?;
                    self.crowd.push(peer);
                }
            }
            ScenePeers::FullHouses(count) => {
                for _ in 0..count {
                    let at = self.host();
                    self.harness.list(self.harness.full_house(at)?)?;
                }
            }
            ScenePeers::Dead(count) => (0..count).try_for_each(|nth| self.harness.list(dead_addr(nth)))?,
        }
        Ok(())
    }

    /// Starts a tracker and returns the URLs of its tier.
    fn announce(&mut self, source: SceneTracker) -> io::Result<Vec<String>> {
        let tracker = match source {
            SceneTracker::Good => {
                let tracker = self.harness.http_tracker("", Knows::TheSwarm)?;
                let url = tracker.url.clone();
                self.good.push(tracker);
                return Ok(vec![url]);
            }
            SceneTracker::Http(words) => self.harness.http_tracker(&self.fill(words), Knows::Nobody)?,
            SceneTracker::HttpKnows(words) => self.harness.http_tracker(&self.fill(words), Knows::TheSwarm)?,
            SceneTracker::Udp(words) => self.harness.udp_tracker(&self.fill(words), Knows::Nobody, self.seed)?,
            SceneTracker::UdpKnows(words) => self.harness.udp_tracker(&self.fill(words), Knows::TheSwarm, self.seed)?,
            SceneTracker::Tls(why) => self.harness.tls_tracker(why)?,
            SceneTracker::UdpBehind(toxics) => return self.behind(toxics, true),
            SceneTracker::HttpBehind(toxics) => return self.behind(toxics, false),
            SceneTracker::Url(url) => return Ok(vec![url.to_owned()]),
            SceneTracker::Dead(count) => return Ok((0..count).map(|nth| url("http", dead_addr(nth))).collect()),
            SceneTracker::DeadUdp => return Ok(vec![url("udp", dead_addr(0))]),
            SceneTracker::FullHouse => {
                let at = self.host();
                return Ok(vec![url("http", self.harness.full_house(at)?)]);
            }
            SceneTracker::Hole => {
                let at = self.host();
                return Ok(vec![url("http", self.harness.black_hole(at)?)]);
            }
        };
        let url = tracker.url.clone();
        self.bad.push(tracker);
        Ok(vec![url])
    }

    fn behind(&mut self, toxics: &str, is_udp: bool) -> io::Result<Vec<String>> {
        let at = self.host();
        let (tracker, relay, scheme) = if is_udp {
            let tracker = self.harness.udp_tracker("", Knows::TheSwarm, self.seed)?;
            let relay = self.harness.udp_relay(at, tracker.addr, toxics, self.dice())?;
            (tracker, relay, "udp")
        } else {
            let tracker = self.harness.http_tracker("", Knows::TheSwarm)?;
            let relay = self.harness.tcp_relay(at, tracker.addr, toxics, self.dice())?;
            (tracker, relay, "http")
        };
        let url = url(scheme, relay.addr);
        self.good.push(tracker);
        self.relays.push(relay);
        Ok(vec![url])
    }

    fn fill(&self, words: &str) -> String {
        let good = self.good.first().map(|tracker| tracker.url.clone()).unwrap_or_default();
        let crowd: Vec<String> = self.crowd.iter().map(|peer| peer.addr.to_string()).collect();
        words.replace("{good}", &good).replace("{crowd}", &crowd.join("+"))
    }
}

fn url(scheme: &str, addr: std::net::SocketAddr) -> String {
    format!("{scheme}://{addr}/announce")
}
