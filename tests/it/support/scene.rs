//! A swarm of `tt_actors::faults` beside the test: one torrent, its hostile and honest peers, on a thread of its own.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc as jobs, watch};
use tokio::task::LocalSet;
use tt_actors::faults::payload::Payload;
use tt_actors::faults::peer::{Peer, PeerStats, spawn_peer};
use tt_actors::faults::swarms::Swarms;
use tt_actors::faults::torrent::{Offer, Recipe};
use tt_actors::faults::tracker::{Record, Tracker};
use tt_actors::faults::tracker_behaviour::TrackerBehaviour;
use tt_actors::faults::tracker_http::spawn_http_tracker;
use tt_actors::faults::tracker_udp::spawn_udp_tracker;
use tt_actors::net::sockets::Sockets;
use tt_actors::net::{Net, Pending};

use super::client::WATCHDOG;
use super::lab::Lab;
use super::payload::assert_same;
use super::process::until;

/// What the thread of the cast holds; everything ends with it.
struct Stage {
    net: Net,
    offer: Offer,
    peers: Vec<Peer>,
    trackers: Vec<Tracker>,
}

type Job = Box<dyn for<'a> FnOnce(&'a mut Stage) -> Pin<Box<dyn Future<Output = ()> + 'a>> + Send>;

type Spawn = for<'a> fn(&'a Stage, SocketAddr, TrackerBehaviour) -> Pending<'a, Tracker>;

/// One torrent of one file with its cast.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    recipe: Recipe,
    payload: Payload,
    source: PathBuf,
    tell: Option<jobs::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// A peer of the cast, as the test sees it.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) addr: SocketAddr,
    stats: watch::Receiver<PeerStats>,
}

impl Actor {
    /// What it has done so far.
    pub(crate) fn stats(&self) -> PeerStats {
        *self.stats.borrow()
    }
}

/// A tracker of the cast, as the test sees it.
#[derive(Debug)]
pub(crate) struct Announced {
    pub(crate) url: String,
    record: watch::Receiver<Record>,
}

impl Announced {
    /// The events of the announces it understood, in order; one without an event is `periodic`.
    pub(crate) fn events(&self) -> Vec<String> {
        let record = self.record.borrow();
        record.announces().map(|(_, request)| format!("{:?}", request.event).to_lowercase()).collect()
    }

    /// Waits until somebody has come to it.
    pub(crate) fn wait_for_a_visit(&self) {
        until(&format!("a visit to {}", self.url), WATCHDOG, || self.record.borrow().arrivals > 0);
    }
}

impl Scene {
    /// A payload of `bytes` in pieces of `piece_len`, nobody there yet.
    pub(crate) fn new(bytes: u64, piece_len: u32) -> Self {
        let lab = Lab::new();
        let payload = Payload::new(bytes, bytes);
        let source = lab.at("source.bin");
        payload.write_to(&mut std::fs::File::create(&source).unwrap()).unwrap();
        let recipe = Recipe::single("hostile.bin", piece_len, &[]);
        let (tell, heard) = jobs::channel(1);
        let of = recipe.clone();
        let thread = std::thread::spawn(move || play(&of, payload, heard));
        Self { lab, recipe, payload, source, tell: Some(tell), thread: Some(thread) }
    }

    /// Its length in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.payload.len()
    }

    /// A peer on 127.0.0.1 that behaves as these words say; none is an honest seed.
    pub(crate) fn peer(&self, words: &str) -> Actor {
        self.peer_at(Ipv4Addr::LOCALHOST, words)
    }

    /// The same on another address of this machine: to the client another host.
    pub(crate) fn peer_at(&self, ip: Ipv4Addr, words: &str) -> Actor {
        let behaviour = words.parse().unwrap();
        let at = SocketAddr::new(IpAddr::V4(ip), 0);
        let (tell, told) = mpsc::channel();
        self.run(Box::new(move |stage| {
            Box::pin(async move {
                let seed = stage.peers.len() as u64;
                let peer = spawn_peer(&stage.net, at, stage.offer.clone(), behaviour, seed).await.unwrap();
                tell.send(Actor { addr: peer.addr(), stats: peer.watch() }).unwrap();
                stage.peers.push(peer);
            })
        }));
        told.recv().unwrap()
    }

    /// An HTTP tracker that behaves as these words say; it knows nobody but whom they name.
    pub(crate) fn http_tracker(&self, words: &str) -> Announced {
        self.tracker(words, |stage, at, behaviour| {
            Box::pin(async move { spawn_http_tracker(&stage.net, at, &Swarms::default(), behaviour).await })
        })
    }

    /// The same over UDP.
    pub(crate) fn udp_tracker(&self, words: &str) -> Announced {
        self.tracker(words, |stage, at, behaviour| {
            Box::pin(async move { spawn_udp_tracker(&stage.net, at, &Swarms::default(), behaviour, 7).await })
        })
    }

    fn tracker(&self, words: &str, spawn: Spawn) -> Announced {
        let behaviour = words.parse().unwrap();
        let (tell, told) = mpsc::channel();
        self.run(Box::new(move |stage| {
            Box::pin(async move {
                let tracker = spawn(stage, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), behaviour).await.unwrap();
                tell.send(Announced { url: tracker.url().to_owned(), record: tracker.watch() }).unwrap();
                stage.trackers.push(tracker);
            })
        }));
        told.recv().unwrap()
    }

    /// Writes the .torrent with these tiers.
    pub(crate) fn torrent(&self, tiers: &[&[&str]]) -> PathBuf {
        let tiers = tiers.iter().map(|tier| tier.iter().map(|url| (*url).to_owned()).collect()).collect();
        let made = Recipe { tiers, ..self.recipe.clone() }.make(self.payload).unwrap();
        let path = self.lab.at("hostile.torrent");
        std::fs::write(&path, made.file).unwrap();
        path
    }

    /// Compares what a fetch has left in `dir` with the payload, byte by byte.
    pub(crate) fn assert_arrived(&self, dir: &Path) {
        assert_same(&self.source, &dir.join("hostile.bin"));
    }

    fn run(&self, job: Job) {
        self.tell.as_ref().unwrap().blocking_send(job).unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.tell = None;
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// The thread of the cast: does what it is told until nobody can tell it anything any more.
fn play(recipe: &Recipe, payload: Payload, mut heard: jobs::Receiver<Job>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async move {
        let offer = recipe.make(payload).unwrap().offer;
        let mut stage = Stage { net: Sockets::any(), offer, peers: Vec::new(), trackers: Vec::new() };
        while let Some(job) = heard.recv().await {
            job(&mut stage).await;
        }
    });
}
