//! The stage: a thread with a cast of peers and trackers around one torrent, on loopback, told from any other thread what
//! to bring on next.
//!
//! Knows sockets and behaviours; knows no client. Each stage has a network of 127.0.0.0/8 for itself, so that several may
//! play side by side and to a client every peer is another host.

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

/// 127.100.0.0 and up: above 127.66/16, where nobody listens (`black_hole`), and what people use by hand.
const FIRST_NETWORK: u8 = 100;

/// 28,160 networks of 254 hosts; then the first is used again.
const NETWORKS: u16 = 110 * 256;

/// Everybody on a stage. It lives on the stage's own thread.
#[derive(Debug)]
pub struct HarnessThread {
    /// The way out.
    pub net: Net,
    /// What the peers have.
    pub offer: Offer,
    /// Whom the trackers know that know the swarm.
    pub swarms: Swarms,
    peers: Vec<Option<FaultyPeer>>,
    trackers: Vec<Option<FaultyTracker>>,
    others: Vec<Box<dyn std::any::Any>>,
}

impl HarnessThread {
    /// Keeps something alive as long as the stage.
    pub fn keep(&mut self, other: impl std::any::Any) {
        self.others.push(Box::new(other));
    }
}

type Job = Box<dyn for<'a> FnOnce(&'a mut HarnessThread) -> Pin<Box<dyn Future<Output = ()> + 'a>> + Send>;

/// One torrent with its cast. The cast ends when this is dropped.
#[derive(Debug)]
pub struct Harness {
    recipe: Recipe,
    payload: Payload,
    network: u16,
    tell: Option<jobs::Sender<Job>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// A peer of the cast, as others see it.
#[derive(Debug, Clone)]
pub struct PeerSeen {
    /// Where it listens.
    pub addr: SocketAddr,
    number: usize,
    stats: watch::Receiver<PeerStats>,
}

impl PeerSeen {
    /// What it has done so far.
    pub fn stats(&self) -> PeerStats {
        *self.stats.borrow()
    }
}

/// A tracker of the cast, as others see it.
#[derive(Debug, Clone)]
pub struct TrackerSeen {
    /// What goes into a torrent.
    pub url: String,
    /// Where it listens.
    pub addr: SocketAddr,
    number: usize,
    record: watch::Receiver<TrackerRecord>,
}

/// A relay of the cast, as others see it.
#[derive(Debug, Clone)]
pub struct RelaySeen {
    /// Where it listens.
    pub addr: SocketAddr,
    toxics: watch::Sender<Toxics>,
    stats: watch::Receiver<RelayStats>,
}

impl RelaySeen {
    /// From now on, for connections old and new.
    pub fn set(&self, toxics: Toxics) {
        self.toxics.send_replace(toxics);
    }

    /// What it has done so far.
    pub fn stats(&self) -> RelayStats {
        *self.stats.borrow()
    }
}

impl TrackerSeen {
    /// All that it has heard so far.
    pub fn record(&self) -> TrackerRecord {
        self.record.borrow().clone()
    }

    /// The events of the announces it understood, in order; one without an event is `periodic`.
    pub fn events(&self) -> Vec<String> {
        let record = self.record.borrow();
        record.announces().map(|(_, request)| format!("{:?}", request.event).to_lowercase()).collect()
    }
}

/// Whom a tracker names besides those that its words name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knows {
    /// Nobody.
    Nobody,
    /// Everybody who was listed.
    TheSwarm,
}

impl Harness {
    /// An empty stage for this torrent.
    pub fn new(recipe: Recipe, payload: Payload) -> io::Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let network = NEXT.fetch_add(1, Ordering::Relaxed) % NETWORKS;
        // One job at a time: who tells the next waits until this one is taken.
        let (tell, heard) = jobs::channel(1);
        // Hashed twice, because what a peer holds cannot change threads: once here, to refuse what is no torrent.
        recipe.make(payload).map_err(invalid)?;
        let of = recipe.clone();
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, play(of, payload, heard))
        };
        let thread = Some(std::thread::Builder::new().name("stage".to_owned()).spawn(body)?);
        Ok(Self { recipe, payload, network, tell: Some(tell), thread })
    }

    /// What is fetched.
    pub fn payload(&self) -> Payload {
        self.payload
    }

    /// The torrent, without its trackers.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The nth host of this stage, from 1 to 254.
    pub fn host(&self, number: u8) -> Ipv4Addr {
        let [high, low] = self.network.to_be_bytes();
        Ipv4Addr::new(127, FIRST_NETWORK + high, low, number)
    }

    /// Brings on a peer that behaves as these words say; none is an honest seed. Nobody names it yet.
    pub fn peer(&self, at: Ipv4Addr, words: &str, seed: u64) -> io::Result<PeerSeen> {
        let behaviour: Behaviour = words.parse().map_err(invalid)?;
        let at = SocketAddr::new(IpAddr::V4(at), 0);
        self.ask(move |thread| {
            Box::pin(async move {
                let peer = spawn_peer(&thread.net, at, thread.offer.clone(), behaviour, seed).await?;
                let seen = PeerSeen { addr: peer.addr(), number: thread.peers.len(), stats: peer.watch() };
                thread.peers.push(Some(peer));
                Ok(seen)
            })
        })
    }

    /// Ends a peer: its port is closed, its connections are gone.
    pub fn dismiss_peer(&self, peer: &PeerSeen) -> io::Result<()> {
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

    /// Brings on an HTTP tracker that behaves as these words say.
    pub fn http_tracker(&self, words: &str, knows: Knows) -> io::Result<TrackerSeen> {
        self.http_tracker_at(SocketAddr::from((self.host(1), 0)), words, knows)
    }

    /// The same at this address.
    pub fn http_tracker_at(&self, at: SocketAddr, words: &str, knows: Knows) -> io::Result<TrackerSeen> {
        let behaviour: TrackerBehaviour = words.parse().map_err(invalid)?;
        self.ask(move |thread| {
            Box::pin(async move {
                let swarms = thread.known(knows);
                let tracker = spawn_http_tracker(&thread.net, at, &swarms, behaviour).await?;
                Ok(thread.add_tracker(tracker))
            })
        })
    }

    /// The same over UDP.
    pub fn udp_tracker(&self, words: &str, knows: Knows, seed: u64) -> io::Result<TrackerSeen> {
        self.udp_tracker_at(SocketAddr::from((self.host(1), 0)), words, knows, seed)
    }

    /// The same at this address.
    pub fn udp_tracker_at(&self, at: SocketAddr, words: &str, knows: Knows, seed: u64) -> io::Result<TrackerSeen> {
        let behaviour: TrackerBehaviour = words.parse().map_err(invalid)?;
        self.ask(move |thread| {
            Box::pin(async move {
                let swarms = thread.known(knows);
                let tracker = spawn_udp_tracker(&thread.net, at, &swarms, behaviour, seed).await?;
                Ok(thread.add_tracker(tracker))
            })
        })
    }

    /// Ends a tracker: its port is closed.
    pub fn dismiss_tracker(&self, tracker: &TrackerSeen) -> io::Result<()> {
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

    /// Brings on an HTTPS tracker that knows the swarm and that nobody should believe. It is `localhost`'s.
    pub fn tls_tracker(&self, why: Distrust) -> io::Result<TrackerSeen> {
        self.ask(move |thread| {
            Box::pin(async move {
                let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let tracker = spawn_tls_tracker(&thread.net, at, &thread.swarms, why).await?;
                Ok(thread.add_tracker(tracker))
            })
        })
    }

    /// Puts a relay with these toxics in front of an address.
    pub fn tcp_relay(&self, at: Ipv4Addr, to: SocketAddr, toxics: &str, seed: u64) -> io::Result<RelaySeen> {
        let toxics: Toxics = toxics.parse().map_err(invalid)?;
        self.ask(move |thread| {
            Box::pin(async move {
                let relay = spawn_tcp_relay(&thread.net, SocketAddr::from((at, 0)), to, toxics, seed).await?;
                Ok(thread.add_relay(relay))
            })
        })
    }

    /// The same for datagrams.
    pub fn udp_relay(&self, at: Ipv4Addr, to: SocketAddr, toxics: &str, seed: u64) -> io::Result<RelaySeen> {
        let toxics: Toxics = toxics.parse().map_err(invalid)?;
        self.ask(move |thread| {
            Box::pin(async move {
                let relay = spawn_udp_relay(&thread.net, SocketAddr::from((at, 0)), to, toxics, seed).await?;
                Ok(thread.add_relay(relay))
            })
        })
    }

    /// Opens a port whose every SYN goes unanswered.
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

    /// Opens a port that accepts and is silent for ever.
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

    /// Has this address named by the trackers that know the swarm.
    pub fn list(&self, addr: SocketAddr) -> io::Result<()> {
        self.ask(move |thread| {
            Box::pin(async move {
                thread.swarms.add_seed(thread.offer.info_hash, addr);
                Ok(())
            })
        })
    }

    /// Writes the .torrent with these tiers into a folder.
    pub fn write_torrent(&self, dir: &Path, tiers: Vec<Vec<String>>) -> io::Result<PathBuf> {
        let made = Recipe { tiers, ..self.recipe.clone() }.make(self.payload).map_err(invalid)?;
        let path = dir.join(format!("{}.torrent", self.recipe.name));
        std::fs::write(&path, made.file)?;
        Ok(path)
    }

    /// Has something done on the stage's own thread, and waits for it. Must not be called from a runtime's thread.
    pub fn ask<T: Send + 'static>(
        &self,
        job: impl for<'a> FnOnce(&'a mut HarnessThread) -> Pending<'a, T> + Send + 'static,
    ) -> io::Result<T> {
        let gone = || io::Error::other("the stage's thread has ended");
        let (tell, told) = mpsc::channel();
        let job: Job = Box::new(move |thread| {
            Box::pin(async move {
                // Nobody waits any more only if the asking thread is gone.
                drop(tell.send(job(thread).await));
            })
        });
        self.tell.as_ref().ok_or_else(gone)?.blocking_send(job).map_err(|_gone| gone())?;
        told.recv().map_err(|_gone| gone())?
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.tell = None;
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

    fn add_relay(&mut self, relay: Relay) -> RelaySeen {
        let seen = RelaySeen { addr: relay.addr(), toxics: relay.toxics(), stats: relay.watch() };
        self.keep(relay);
        seen
    }

    fn add_tracker(&mut self, tracker: FaultyTracker) -> TrackerSeen {
        let (url, addr) = (tracker.url().to_owned(), tracker.addr());
        let seen = TrackerSeen { url, addr, number: self.trackers.len(), record: tracker.watch() };
        self.trackers.push(Some(tracker));
        seen
    }
}

/// The thread: does what it is told until nobody can tell it anything any more.
async fn play(recipe: Recipe, payload: Payload, mut heard: jobs::Receiver<Job>) -> io::Result<()> {
    let offer = recipe.make(payload).map_err(invalid)?.offer;
    let (net, swarms) = (Sockets::any(), Swarms::default());
    let mut thread = HarnessThread { net, offer, swarms, peers: Vec::new(), trackers: Vec::new(), others: Vec::new() };
    while let Some(job) = heard.recv().await {
        job(&mut thread).await;
    }
    Ok(())
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
