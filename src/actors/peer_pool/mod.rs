//! `PeerPool`: keeps the connections of one torrent.
//!
//! * Owns a [`PoolMachine`], which decides everything, and one `PeerConnection` per connection.
//! * Parent: `Torrent`. Restart policy: permanent, three restarts in 60 s; the peer book survives, the connections are made
//!   anew.
//! * Handles `PeersFound`, `PeerArrived`, `Ban`, `Pardon`, `SchedulerReady`, `SeedingBegun`, `FetchingResumed`, `SurveyPool`,
//!   `PeerNews`, `ChildEvent` and `Goodbye`.
//! * Sends `PeerReport` (`Left` only) to the scheduler; `PeersNeeded` and `Changed` to the torrent; `Leave`, `ChokeDecision`,
//!   `Introduce`, `SharePeers`, `NamePiece` and `ReportPeerView` to connections. Asks no other actor.
//! * A lost connection is a supervised restart: the connection ends with a reason, the book decides to forget, to retry or
//!   to ban, and the next dial of the address is recorded as a restart with its cause.
//! * Stops when its parent tells it to, after its connections.

mod connecting;
mod pool_log;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::*;
use tokio::time::Instant;

use super::disk_writer::ReadRanges;
use super::kit::{Child, ChildEvent, Ctx, Goodbye, Lifecycle, SupervisedChild, Timer};
use super::peer_connection::{
    ChokeDecision, Introduce, Leave, NamePiece, PeerConnection, PeerNews, PeerReport, PeerWord, ReportPeerView,
    SharePeers, SharedConfig,
};
use super::view::Changed;
use crate::base::geometry::{Geometry, PieceIndex};
use crate::base::ids::{InfoHash, PeerId, PeerKey};
use crate::codec::wire::Handshake;
use crate::logic::peers::peer_book::{BookConfig, PeerNeed, PeerSource};
pub use crate::logic::peers::pool::PoolSurvey;
use crate::logic::peers::pool::{PoolEffect, PoolMachine, PoolTerms};
use crate::net::throttle::RateLimits;
use crate::net::{BoxStream, Net};

/// Addresses of peers were named: by a tracker or a person.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PeersFound {
    /// The addresses.
    pub addrs: Vec<SocketAddr>,
    /// What kind of source named them.
    pub source: PeerSource,
}

/// Bans an address that is proven to have sent bad data for a piece. It is never connected again.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Ban {
    /// The address of the peer.
    pub addr: SocketAddr,
    /// The piece of which it sent bad data.
    pub piece: PieceIndex,
}

/// Lifts the ban of an address that is not proven to have sent bad data after all.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Pardon(pub SocketAddr);

/// The scheduler is new: every connection introduces itself to it again.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SchedulerReady;

/// To the torrent, when it changes: how much the addresses of more peers are needed.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct PeersNeeded(pub PeerNeed);

/// From the listener: a peer came by itself and named our torrent.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PeerArrived {
    /// Its stream, its handshake read, ours not yet sent.
    pub stream: BoxStream,
    /// Where it comes from; not where it listens.
    pub addr: SocketAddr,
    /// What it said.
    pub theirs: Handshake,
}

/// We have everything that we want: from now on peers are given to in turns.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SeedingBegun;

/// A piece that we had is lost: peers are needed again for what they give, seeds among them.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct FetchingResumed;

/// Asks what the pool knows.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<PoolSurvey, ()>")]
pub struct SurveyPool;

/// All that a pool is given.
#[derive(Debug, Clone)]
pub struct PeerPoolConfig {
    /// For its name in the logs.
    pub name: String,
    /// The way out.
    pub net: Net,
    /// What the session may read and write.
    pub limits: RateLimits,
    /// The swarm.
    pub info_hash: InfoHash,
    /// Who we are.
    pub our_id: PeerId,
    /// Where we listen, if we do.
    pub listen_port: Option<u16>,
    /// Peers may be exchanged: not in a private torrent (BEP 27).
    pub pex: bool,
    /// Hide what we have and name it piece by piece (BEP 16).
    pub super_seed: bool,
    /// The torrent's sizes.
    pub geometry: Geometry,
    /// The book's limits.
    pub book: BookConfig,
    /// For its dice.
    pub seed: u64,
    /// The scheduler.
    pub scheduler: Recipient<PeerReport>,
    /// The writer, for uploads.
    pub disk: Recipient<ReadRanges>,
    /// The torrent.
    pub torrent: Recipient<PeersNeeded>,
    /// The torrent, when it is to look again.
    pub stirred: Recipient<Changed>,
}

/// See the head of the file.
#[derive(Debug)]
pub struct PeerPool {
    cfg: PeerPoolConfig,
    /// What of it outlives a restart is for the machine to know.
    machine: PoolMachine,
    /// Made for the first connection, as is `us`.
    shared: Option<Rc<SharedConfig>>,
    /// Whom connections tell their end.
    us: Option<Arc<Recipient<ChildEvent>>>,
    connections: BTreeMap<PeerKey, SupervisedChild<PeerConnection>>,
    timer: Timer<Self>,
}

crate::metered!(PeerPool, "PeerPool");

impl PeerPool {
    /// A pool that knows no peer.
    pub fn new(cfg: PeerPoolConfig) -> Self {
        let terms = PoolTerms {
            book: cfg.book,
            geometry: cfg.geometry,
            our_id: cfg.our_id,
            listen_port: cfg.listen_port,
            pex: cfg.pex,
            super_seed: cfg.super_seed,
            seed: cfg.seed,
        };
        Self {
            machine: PoolMachine::new(now(), terms),
            shared: None,
            us: None,
            connections: BTreeMap::new(),
            timer: Timer::new(),
            cfg,
        }
    }

    /// Applies one mutation to the machine, performs every effect, arms one timer. Gives what the mutation gives.
    fn step<T>(&mut self, ctx: &mut Ctx<Self>, mutate: impl FnOnce(&mut PoolMachine, std::time::Instant) -> T) -> T {
        let outcome = mutate(&mut self.machine, now());
        self.perform_all(ctx);
        self.timer.arm(ctx, self.machine.deadline(), |pool, ctx| pool.step(ctx, PoolMachine::on_timeout));
        outcome
    }

    fn perform_all(&mut self, ctx: &mut Ctx<Self>) {
        while let Some(effect) = self.machine.poll() {
            self.perform(effect, ctx);
        }
    }

    fn perform(&mut self, effect: PoolEffect, ctx: &mut Ctx<Self>) {
        match effect {
            PoolEffect::Dial { peer, addr, timeout, redial } => self.dial(peer, addr, timeout, redial, ctx),
            PoolEffect::Leave(peer, reason) => self.tell(peer, Leave(reason)),
            PoolEffect::Choke(peer) => self.tell(peer, ChokeDecision { choke: true }),
            PoolEffect::Unchoke(peer) => self.tell(peer, ChokeDecision { choke: false }),
            PoolEffect::SharePeers(peer, pex) => {
                tracing::debug!(peer = peer.0, added = pex.added.len(), dropped = pex.dropped.len(), "peers are told");
                self.tell(peer, SharePeers(pex));
            }
            PoolEffect::NamePiece(peer, piece) => self.tell(peer, NamePiece(piece)),
            PoolEffect::IntroduceAll => self.tell_all(Introduce),
            PoolEffect::RequestViews => self.tell_all(ReportPeerView),
            PoolEffect::ReportPeerLeft(peer) => self.cfg.scheduler.do_send(PeerReport { peer, word: PeerWord::Left }),
            PoolEffect::ReportNeed(need) => self.cfg.torrent.do_send(PeersNeeded(need)),
            PoolEffect::ReportChange => self.cfg.stirred.do_send(Changed),
            PoolEffect::Log(note) => pool_log::write(&note),
            PoolEffect::StopConnections => self.connections.values().for_each(SupervisedChild::stop),
            PoolEffect::Finish => ctx.stop(),
        }
    }

    fn tell<M: Message<Result = ()> + Send + 'static>(&self, peer: PeerKey, message: M)
    where
        PeerConnection: Handler<M>,
    {
        if let Some(connection) = self.connections.get(&peer) {
            connection.addr.do_send(message);
        }
    }

    fn tell_all<M: Message<Result = ()> + Copy + Send + 'static>(&self, message: M)
    where
        PeerConnection: Handler<M>,
    {
        self.connections.values().for_each(|connection| connection.addr.do_send(message));
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl Actor for PeerPool {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.step(ctx, PoolMachine::on_started);
    }
}

impl Supervised for PeerPool {
    /// Dropped handles say good-bye to their connections.
    fn restarting(&mut self, ctx: &mut Ctx<Self>) {
        self.connections.clear();
        self.timer = Timer::new();
        self.machine.on_restarted(now());
        self.perform_all(ctx);
    }
}

impl Child for PeerPool {
    fn id(&self) -> String {
        self.cfg.name.clone()
    }
}

impl Handler<PeersFound> for PeerPool {
    type Result = ();

    fn handle(&mut self, PeersFound { addrs, source }: PeersFound, ctx: &mut Ctx<Self>) {
        self.step(ctx, |pool, now| pool.on_peers_found(now, &addrs, source));
    }
}

impl Handler<PeerArrived> for PeerPool {
    type Result = ();

    fn handle(&mut self, arrived: PeerArrived, ctx: &mut Ctx<Self>) {
        self.welcome(arrived, ctx);
    }
}

impl Handler<Ban> for PeerPool {
    type Result = ();

    fn handle(&mut self, Ban { addr, piece }: Ban, ctx: &mut Ctx<Self>) {
        tracing::warn!(%addr, %piece, "peer sent bad data (banned)");
        self.step(ctx, |pool, now| pool.on_ban(now, addr));
    }
}

impl Handler<Pardon> for PeerPool {
    type Result = ();

    fn handle(&mut self, Pardon(addr): Pardon, ctx: &mut Ctx<Self>) {
        tracing::info!(%addr, "peer is pardoned: others send the same bytes");
        self.step(ctx, |pool, now| pool.on_pardon(now, addr));
    }
}

impl Handler<SchedulerReady> for PeerPool {
    type Result = ();

    fn handle(&mut self, _: SchedulerReady, ctx: &mut Ctx<Self>) {
        self.step(ctx, PoolMachine::on_scheduler_ready);
    }
}

impl Handler<SeedingBegun> for PeerPool {
    type Result = ();

    fn handle(&mut self, _: SeedingBegun, ctx: &mut Ctx<Self>) {
        self.step(ctx, PoolMachine::on_seeding_begun);
    }
}

impl Handler<FetchingResumed> for PeerPool {
    type Result = ();

    fn handle(&mut self, _: FetchingResumed, ctx: &mut Ctx<Self>) {
        self.step(ctx, PoolMachine::on_fetching_resumed);
    }
}

impl Handler<SurveyPool> for PeerPool {
    type Result = Result<PoolSurvey, ()>;

    fn handle(&mut self, _: SurveyPool, ctx: &mut Ctx<Self>) -> Self::Result {
        Ok(self.step(ctx, PoolMachine::on_survey))
    }
}

impl Handler<PeerNews> for PeerPool {
    type Result = ();

    fn handle(&mut self, PeerNews { peer, news }: PeerNews, ctx: &mut Ctx<Self>) {
        self.step(ctx, |pool, now| pool.on_event(now, peer, &news));
    }
}

impl Handler<ChildEvent> for PeerPool {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, ctx: &mut Ctx<Self>) {
        if let Lifecycle::Ended { .. } = event.event
            && let Some(peer) = self.forget(event.id)
        {
            self.step(ctx, |pool, now| pool.on_ended(now, peer));
        }
    }
}

impl Handler<Goodbye> for PeerPool {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.step(ctx, PoolMachine::on_goodbye);
    }
}

#[cfg(test)]
mod tests;
