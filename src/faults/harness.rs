//! The harness: a thread that runs peers, trackers and relays around one torrent, on loopback. Other threads tell it
//! what to start and stop.
//!
//! It knows sockets and behaviours, but no client. Each harness has a network of 127.0.0.0/8 for itself, so that
//! several can run in parallel and every peer has an address of its own.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc as jobs, watch};
use tokio::task::LocalSet;

use super::behaviour::Behaviour;
use super::black_hole::spawn_black_hole;
use super::full_house::FullHouse;
use super::payload::Payload;
use super::peer::{FaultyPeer, PeerStats, spawn_peer};
use super::relay::toxic::Toxics;
use super::relay::{Relay, RelayStats, spawn_tcp_relay, spawn_udp_relay};
use super::swarms::Swarms;
use super::torrent::{Offer, Recipe};
use super::tracker::{FaultyTracker, TrackerRecord};
use super::tracker_behaviour::TrackerBehaviour;
use super::tracker_http::spawn_http_tracker;
use super::tracker_tls::{Distrust, spawn_tls_tracker};
use super::tracker_udp::spawn_udp_tracker;
use crate::net::sockets::Sockets;
use crate::net::{Net, Pending};

/// 127.100.0.0 and up: above 127.66/16, which stays without listeners (`black_hole`), and above addresses in everyday
/// use.
const FIRST_NETWORK: u8 = 100;

/// 28,160 networks of 254 hosts; then the first one is used again.
const NETWORKS: u16 = 110 * 256;

/// Everything that runs in a harness. It lives on the harness's own thread.
#[derive(Debug)]
pub struct HarnessThread {
    /// The network that all peers, trackers and relays use.
    pub net: Net,
    /// The torrent and the content that the peers serve.
    pub offer: Offer,
    /// The peers that trackers with [`Knows::TheSwarm`] name.
    pub swarms: Swarms,
    peers: Vec<Option<FaultyPeer>>,
    trackers: Vec<Option<FaultyTracker>>,
    others: Vec<Box<dyn std::any::Any>>,
}

impl HarnessThread {
    /// Keeps a value alive until the harness ends.
    pub fn keep(&mut self, other: impl std::any::Any) {
        self.others.push(Box::new(other));
    }
}

type Job = Box<dyn for<'a> FnOnce(&'a mut HarnessThread) -> Pin<Box<dyn Future<Output = ()> + 'a>> + Send>;

/// One torrent with its peers, trackers and relays. They end when this value is dropped.
#[derive(Debug)]
pub struct Harness {
    recipe: Recipe,
    payload: Payload,
    network: u16,
    jobs: Option<jobs::Sender<Job>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// A handle on a peer of the harness.
#[derive(Debug, Clone)]
pub struct PeerHandle {
    /// The address it listens on.
    pub addr: SocketAddr,
    number: usize,
    stats: watch::Receiver<PeerStats>,
}

impl PeerHandle {
    /// Returns what it has done so far.
    pub fn stats(&self) -> PeerStats {
        *self.stats.borrow()
    }
}

/// A handle on a tracker of the harness.
#[derive(Debug, Clone)]
pub struct TrackerHandle {
    /// Its announce URL, as it is written into a torrent.
    pub url: String,
    /// The address it listens on.
    pub addr: SocketAddr,
    number: usize,
    record: watch::Receiver<TrackerRecord>,
}

/// A handle on a relay of the harness.
#[derive(Debug, Clone)]
pub struct RelayHandle {
    /// The address it listens on.
    pub addr: SocketAddr,
    toxics: watch::Sender<Toxics>,
    stats: watch::Receiver<RelayStats>,
}

impl RelayHandle {
    /// Sets the toxics, for open and new connections.
    pub fn set(&self, toxics: Toxics) {
        self.toxics.send_replace(toxics);
    }

    /// Returns what it has done so far.
    pub fn stats(&self) -> RelayStats {
        *self.stats.borrow()
    }
}

impl TrackerHandle {
    /// Returns everything that it has received so far.
    pub fn record(&self) -> TrackerRecord {
        self.record.borrow().clone()
    }

    /// Returns the events of the announces that it could parse, in order. An announce without an event is `periodic`.
    pub fn events(&self) -> Vec<String> {
        let record = self.record.borrow();
        record.announces().map(|(_, request)| format!("{:?}", request.event).to_lowercase()).collect()
    }
}

/// Which peers a tracker names besides those in its behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knows {
    /// No others.
    Nobody,
    /// All addresses that were added with [`Harness::list`].
    TheSwarm,
}

impl Harness {
    /// Starts a harness for this torrent, without peers and trackers.
    pub fn new(recipe: Recipe, payload: Payload) -> io::Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let network = NEXT.fetch_add(1, Ordering::Relaxed) % NETWORKS;
        // One job at a time: a sender waits until the job before has been taken.
        let (sender, receiver) = jobs::channel(1);
        // The torrent is hashed twice, because the peers' content cannot move between threads: here, to refuse an
        // invalid recipe, and again on the harness's thread.
        recipe.make(payload).map_err(invalid)?;
        let of = recipe.clone();
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, run_jobs(of, payload, receiver))
        };
        let thread = Some(std::thread::Builder::new().name("stage".to_owned()).spawn(body)?);
        Ok(Self { recipe, payload, network, jobs: Some(sender), thread })
    }

    /// Returns the content of the torrent.
    pub fn payload(&self) -> Payload {
        self.payload
    }

    /// Returns the recipe of the torrent, without trackers.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Returns the address of host `number`, from 1 to 254, in the network of this harness.
    pub fn host(&self, number: u8) -> Ipv4Addr {
        let [high, low] = self.network.to_be_bytes();
        Ipv4Addr::new(127, FIRST_NETWORK + high, low, number)
    }

    /// Starts a peer with this behaviour; an empty one is an honest seed. No tracker names it yet.
    pub fn peer(&self, at: Ipv4Addr, words: &str, seed: u64) -> io::Result<PeerHandle> {
        let behaviour: Behaviour = words.parse().map_err(invalid)?;
        let at = SocketAddr::new(IpAddr::V4(at), 0);
        self.ask(move |thread| {
            Box::pin(async move {
                let peer = spawn_peer(&thread.net, at, thread.offer.clone(), behaviour, seed).await?;
                let handle = PeerHandle { addr: peer.addr(), number: thread.peers.len(), stats: peer.watch() };
                thread.peers.push(Some(peer));
                Ok(handle)
            })
        })
    }

    /// Stops a peer: its port and its connections are closed.
    pub fn stop_peer(&self, peer: &PeerHandle) -> io::Result<()> {
        let number = peer.number;
        self.ask(move |thread| {
            Box::pin(async move {
                if let Some(peer) = thread.peers.get_mut(number).and_then(Option::take) {
                    peer.stop().await;
                }
                Ok(())
            })
        })
    }

    /// Starts an HTTP tracker with this behaviour on host 1.
    pub fn http_tracker(&self, words: &str, knows: Knows) -> io::Result<TrackerHandle> {
        self.http_tracker_at(SocketAddr::from((self.host(1), 0)), words, knows)
    }

    /// Starts an HTTP tracker with this behaviour at this address.
    pub fn http_tracker_at(&self, at: SocketAddr, words: &str, knows: Knows) -> io::Result<TrackerHandle> {
        let behaviour: TrackerBehaviour = words.parse().map_err(invalid)?;
        self.ask(move |thread| {
            Box::pin(async move {
                let swarms = thread.known(knows);
                let tracker = spawn_http_tracker(&thread.net, at, &swarms, behaviour).await?;
                Ok(thread.add_tracker(tracker))
            })
        })
    }

    /// Starts a UDP tracker with this behaviour on host 1.
    pub fn udp_tracker(&self, words: &str, knows: Knows, seed: u64) -> io::Result<TrackerHandle> {
        self.udp_tracker_at(SocketAddr::from((self.host(1), 0)), words, knows, seed)
    }

    /// Starts a UDP tracker with this behaviour at this address.
    pub fn udp_tracker_at(&self, at: SocketAddr, words: &str, knows: Knows, seed: u64) -> io::Result<TrackerHandle> {
        let behaviour: TrackerBehaviour = words.parse().map_err(invalid)?;
        self.ask(move |thread| {
            Box::pin(async move {
                let swarms = thread.known(knows);
                let tracker = spawn_udp_tracker(&thread.net, at, &swarms, behaviour, seed).await?;
                Ok(thread.add_tracker(tracker))
            })
        })
    }

    /// Stops a tracker: its port is closed.
    pub fn stop_tracker(&self, tracker: &TrackerHandle) -> io::Result<()> {
        let number = tracker.number;
        self.ask(move |thread| {
            Box::pin(async move {
                if let Some(tracker) = thread.trackers.get_mut(number).and_then(Option::take) {
                    tracker.stop().await;
                }
                Ok(())
            })
        })
    }

    /// Starts an HTTPS tracker on `localhost` that names the swarm and whose certificate clients must refuse.
    pub fn tls_tracker(&self, why: Distrust) -> io::Result<TrackerHandle> {
        self.ask(move |thread| {
            Box::pin(async move {
                let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let tracker = spawn_tls_tracker(&thread.net, at, &thread.swarms, why).await?;
                Ok(thread.add_tracker(tracker))
            })
        })
    }

    /// Starts a TCP relay with these toxics in front of an address.
    pub fn tcp_relay(&self, at: Ipv4Addr, to: SocketAddr, toxics: &str, seed: u64) -> io::Result<RelayHandle> {
        let toxics: Toxics = toxics.parse().map_err(invalid)?;
        self.ask(move |thread| {
            Box::pin(async move {
                let relay = spawn_tcp_relay(&thread.net, SocketAddr::from((at, 0)), to, toxics, seed).await?;
                Ok(thread.add_relay(relay))
            })
        })
    }

    /// Starts a UDP relay with these toxics in front of an address.
    pub fn udp_relay(&self, at: Ipv4Addr, to: SocketAddr, toxics: &str, seed: u64) -> io::Result<RelayHandle> {
        let toxics: Toxics = toxics.parse().map_err(invalid)?;
        self.ask(move |thread| {
            Box::pin(async move {
                let relay = spawn_udp_relay(&thread.net, SocketAddr::from((at, 0)), to, toxics, seed).await?;
                Ok(thread.add_relay(relay))
            })
        })
    }

    /// Opens a port that answers no SYN.
    pub fn full_house(&self, at: Ipv4Addr) -> io::Result<SocketAddr> {
        self.ask(move |thread| {
            Box::pin(async move {
                let house = FullHouse::open(at)?;
                let addr = house.addr();
                thread.keep(house);
                Ok(addr)
            })
        })
    }

    /// Opens a port that accepts connections and stays silent.
    pub fn black_hole(&self, at: Ipv4Addr) -> io::Result<SocketAddr> {
        self.ask(move |thread| {
            Box::pin(async move {
                let hole = spawn_black_hole(&thread.net, SocketAddr::from((at, 0))).await?;
                let addr = hole.addr();
                thread.keep(hole);
                Ok(addr)
            })
        })
    }

    /// Adds an address to those that trackers with [`Knows::TheSwarm`] name.
    pub fn list(&self, addr: SocketAddr) -> io::Result<()> {
        self.ask(move |thread| {
            Box::pin(async move {
                thread.swarms.add_seed(thread.offer.info_hash, addr);
                Ok(())
            })
        })
    }

    /// Writes the .torrent with these tiers into a folder. Returns its path.
    pub fn write_torrent(&self, dir: &Path, tiers: Vec<Vec<String>>) -> io::Result<PathBuf> {
        let made = Recipe { tiers, ..self.recipe.clone() }.make(self.payload).map_err(invalid)?;
        let path = dir.join(format!("{}.torrent", self.recipe.name));
        std::fs::write(&path, made.file)?;
        Ok(path)
    }

    /// Runs a job on the harness's thread and waits for its result. Must not be called from a runtime's thread.
    pub fn ask<T: Send + 'static>(
        &self,
        job: impl for<'a> FnOnce(&'a mut HarnessThread) -> Pending<'a, T> + Send + 'static,
    ) -> io::Result<T> {
        let gone = || io::Error::other("the stage's thread has ended");
        let (sender, answer) = mpsc::channel();
        let job: Job = Box::new(move |thread| {
            Box::pin(async move {
                // The receiver is gone only if the asking thread has ended.
                drop(sender.send(job(thread).await));
            })
        });
        self.jobs.as_ref().ok_or_else(gone)?.blocking_send(job).map_err(|_gone| gone())?;
        answer.recv().map_err(|_gone| gone())?
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.jobs = None;
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => tracing::error!(%error, "the stage could not be set up"),
            Some(Err(_panic)) => tracing::error!("the stage's thread panicked"),
        }
    }
}

impl HarnessThread {
    fn known(&self, knows: Knows) -> Swarms {
        match knows {
            Knows::Nobody => Swarms::default(),
            Knows::TheSwarm => self.swarms.clone(),
        }
    }

    fn add_relay(&mut self, relay: Relay) -> RelayHandle {
        let handle = RelayHandle { addr: relay.addr(), toxics: relay.toxics(), stats: relay.watch() };
        self.keep(relay);
        handle
    }

    fn add_tracker(&mut self, tracker: FaultyTracker) -> TrackerHandle {
        let (url, addr) = (tracker.url().to_owned(), tracker.addr());
        let handle = TrackerHandle { url, addr, number: self.trackers.len(), record: tracker.watch() };
        self.trackers.push(Some(tracker));
        handle
    }
}

/// The body of the harness's thread: runs jobs until every sender is gone.
async fn run_jobs(recipe: Recipe, payload: Payload, mut receiver: jobs::Receiver<Job>) -> io::Result<()> {
    let offer = recipe.make(payload).map_err(invalid)?.offer;
    let (net, swarms) = (Sockets::any(), Swarms::default());
    let mut thread = HarnessThread { net, offer, swarms, peers: Vec::new(), trackers: Vec::new(), others: Vec::new() };
    while let Some(job) = receiver.recv().await {
        job(&mut thread).await;
    }
    Ok(())
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
