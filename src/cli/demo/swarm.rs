//! The trackers and peers of the demo, honest and hostile, on loopback and on a thread of their own.
//!
//! Uses `faults` and nothing of the client: the two share only the wire.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;

use crate::base::units::Bytes;
use crate::faults::behaviour::Behaviour;
use crate::faults::black_hole::{BlackHole, dead_addr, spawn_black_hole};
use crate::faults::payload::Payload;
use crate::faults::peer::{FaultyPeer, PeerStats, spawn_peer};
use crate::faults::swarms::Swarms;
use crate::faults::torrent::{Offer, Recipe};
use crate::faults::tracker::FaultyTracker;
use crate::faults::tracker_behaviour::TrackerBehaviour;
use crate::faults::tracker_http::spawn_http_tracker;
use crate::faults::tracker_udp::spawn_udp_tracker;
use crate::net::Net;
use crate::net::sockets::Sockets;

/// Any free port on loopback.
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The name of the file in the torrent.
const NAME: &str = "payload.bin";

/// Each peer gives a sixteenth of the payload a second. The two honest peers and the share of the others complete it in
/// about five seconds on any machine, whatever its size, and a connection that is reset comes back several times.
const SHARES: u64 = 16;

/// A peer or a tracker of the demo.
#[derive(Debug, Clone)]
pub(super) struct DemoPeer {
    /// Its name in the output.
    pub(super) name: &'static str,
    /// Its address, or its announce URL.
    pub(super) at: String,
    /// A description of what it does.
    pub(super) does: String,
    /// What it has done so far; `None` for addresses without a peer.
    pub(super) stats: Option<watch::Receiver<PeerStats>>,
}

impl DemoPeer {
    fn new(name: &'static str, at: &impl ToString, does: &str) -> Self {
        Self { name, at: at.to_string(), does: does.to_owned(), stats: None }
    }
}

/// All trackers and peers. They end when this value is dropped.
#[derive(Debug)]
pub(super) struct DemoSwarm {
    /// The contents of the .torrent.
    pub(super) torrent: Vec<u8>,
    /// The trackers, in the order of their tiers.
    pub(super) trackers: Vec<DemoPeer>,
    /// The peers.
    pub(super) peers: Vec<DemoPeer>,
    /// Its drop ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread sends when everything is started: the .torrent, the trackers, the peers.
type Ready = (Vec<u8>, Vec<DemoPeer>, Vec<DemoPeer>);

impl DemoSwarm {
    /// Starts the thread with all trackers and peers. All random numbers follow from `seed`.
    pub(super) fn start(payload: Payload, seed: u64) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (sender, ready) = oneshot::channel();
        let body = move || run_thread(payload, seed, sender, stopped);
        let thread = Some(std::thread::Builder::new().name("cast".to_owned()).spawn(body)?);
        let gone = |_gone| io::Error::other("the cast has left the stage");
        let (torrent, trackers, peers) = ready.blocking_recv().map_err(gone)??;
        Ok(Self { torrent, trackers, peers, stop: Some(stop), thread })
    }
}

impl Drop for DemoSwarm {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The body of the thread: runs until `stopped` resolves.
fn run_thread(payload: Payload, seed: u64, sender: oneshot::Sender<io::Result<Ready>>, stopped: oneshot::Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(sender.send(Err(error))),
    };
    LocalSet::new().block_on(&runtime, async {
        match assemble(payload, seed).await {
            Ok((alive, ready)) => {
                drop(sender.send(Ok(ready)));
                drop(stopped.await);
                drop(alive);
            }
            Err(error) => drop(sender.send(Err(error))),
        }
    });
}

/// Everything that must stay alive until the demo ends.
type Alive = (Vec<FaultyPeer>, BlackHole, [FaultyTracker; 2]);

async fn assemble(payload: Payload, seed: u64) -> io::Result<(Alive, Ready)> {
    let net = Sockets::any();
    let (by_http, by_udp) = (Swarms::default(), Swarms::default());
    let http = spawn_http_tracker(&net, ANY_PORT, &by_http, TrackerBehaviour::default()).await?;
    let udp = spawn_udp_tracker(&net, ANY_PORT, &by_udp, TrackerBehaviour::default(), seed).await?;
    let dead = format!("http://{}/announce", dead_addr(0));
    let tiers = vec![vec![dead.clone()], vec![http.url().to_owned()], vec![udp.url().to_owned()]];
    let recipe = Recipe { tiers, ..Recipe::single(NAME, piece_len(payload.len()), &[]) };
    let torrent = recipe.make(payload).map_err(|bad| io::Error::new(io::ErrorKind::InvalidInput, bad))?;
    let trackers = vec![
        DemoPeer::new("dead", &dead, "first tier; nobody listens there"),
        DemoPeer::new("http", &http.url(), "second tier; names half of the peers"),
        DemoPeer::new("udp", &udp.url(), "third tier; names the other half"),
    ];
    let hole = spawn_black_hole(&net, ANY_PORT).await?;
    let mut thread = SwarmThread { net, offer: torrent.offer, seed, roles: Vec::new(), peers: Vec::new() };
    thread.assemble(payload.len() / SHARES, &by_http, &by_udp).await?;
    thread.mention(&by_udp, "black hole", hole.addr(), "accepts and does not even read");
    thread.mention(&by_udp, "gone", dead_addr(1), "nobody listens there");
    Ok(((thread.peers, hole, [http, udp]), (torrent.file, trackers, thread.roles)))
}

/// The peers under construction, and what all of them need.
struct SwarmThread {
    net: Net,
    offer: Offer,
    seed: u64,
    roles: Vec<DemoPeer>,
    peers: Vec<FaultyPeer>,
}

impl SwarmThread {
    /// Starts all peers; `rate` in bytes a second.
    async fn assemble(&mut self, rate: u64, by_http: &Swarms, by_udp: &Swarms) -> io::Result<()> {
        let (often, seldom) = (rate / 3, rate / 2);
        let gives = format!("gives all it has, {}/s", Bytes(rate));
        let resets = format!("resets each connection after {}", Bytes(often));
        let hangs_up = format!("hangs up after {}", Bytes(seldom));
        self.join(by_http, "honest", &format!("max_rate={rate}"), &gives).await?;
        self.join(by_http, "resetting", &format!("max_rate={rate},reset_every={often}"), &resets).await?;
        self.join(by_http, "lying", &format!("max_rate={rate},corrupt=0.05"), "turns a bit in 5 of 100 blocks").await?;
        self.join(by_http, "silent", "silent", "accepts and never says a word").await?;
        self.join(by_udp, "honest", &format!("max_rate={rate}"), &gives).await?;
        self.join(by_udp, "hasty", &format!("max_rate={rate},close_after={seldom}"), &hangs_up).await
    }

    /// Starts a peer that this tracker names.
    async fn join(&mut self, swarms: &Swarms, name: &'static str, words: &str, does: &str) -> io::Result<()> {
        let behaviour: Behaviour = words.parse().map_err(io::Error::other)?;
        let seed = self.seed.wrapping_add(1 + self.peers.len() as u64);
        let peer = spawn_peer(&self.net, ANY_PORT, self.offer.clone(), behaviour, seed).await?;
        self.mention(swarms, name, peer.addr(), does);
        if let Some(role) = self.roles.last_mut() {
            role.stats = Some(peer.watch());
        }
        self.peers.push(peer);
        Ok(())
    }

    /// Adds an address that this tracker names.
    fn mention(&mut self, swarms: &Swarms, name: &'static str, at: SocketAddr, does: &str) {
        swarms.add_seed(self.offer.info_hash, at);
        self.roles.push(DemoPeer::new(name, &at, does));
    }
}

/// Returns a piece length from 16 KiB to 1 MiB that gives about 512 pieces, as other clients choose it.
fn piece_len(len: u64) -> u32 {
    let wanted = (len / 512).next_power_of_two().clamp(16 * 1024, 1024 * 1024);
    u32::try_from(wanted).unwrap_or(1024 * 1024)
}
