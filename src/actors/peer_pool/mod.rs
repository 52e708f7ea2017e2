//! `PeerPool`: which peers of a torrent are connected.
//!
//! Owns the [`PeerBook`], the choker and one `PeerConnection` per connection. Child of `Torrent`, permanent, 3 restarts in
//! 60 s; the book survives, the connections are made anew. Hears `PeersFound`, `PeerArrived`, `Ban`, `Pardon`,
//! `SchedulerReady`, `SeedingBegun`, `FetchingResumed`, `SurveyPool`, `PeerNews`, `ChildEvent`. Tells `PeerReport::Left` (scheduler),
//! `PeersNeeded`, `Changed` (torrent), `Leave`, `ChokeDecision`, `Introduce` (connections). A lost connection is a supervised restart: the connection ends with a farewell, the book
//! decides forget, retry or ban, and the next incarnation for the address is recorded as a restart with its cause.
//! Limits: the book's. Ends when told to, after its connections.

mod completing;
mod connecting;
mod introductions;
mod standings;

pub use completing::{FetchingResumed, SeedingBegun};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use super::disk_writer::ReadRanges;
use super::kit::{self, Child, ChildEvent, ChildId, Ctx, Goodbye, Lifecycle, SupervisedChild, Timer};
use super::peer_connection::{
    ChokeDecision, Introduce, Leave, PeerConnection, PeerEvent, PeerNews, PeerReport, PeerWord, ReportPeerView,
    SharedConfig,
};
use super::view::{ChangeNotice, Changed, PeerRow};
use crate::base::disconnect::DisconnectReason;
use crate::base::geometry::{Geometry, PieceIndex};
use crate::base::ids::{InfoHash, PeerId, PeerKey};
use crate::codec::wire::Handshake;
use crate::logic::peer::client_name::client_name;
use crate::logic::peer::protocol::PeerView;
use crate::logic::peers::choke::{self, ChokeEffect, Choker};
use crate::logic::peers::external_ip::ExternalIp;
use crate::logic::peers::peer_book::{BookConfig, BookEffect, Census, PeerBook, PeerNeed, PeerSource};
use crate::logic::peers::pex::PexFeed;
use crate::logic::peers::super_seed::SuperSeed;
use crate::net::throttle::RateLimits;
use crate::net::{BoxStream, Net};

/// Addresses to try.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PeersFound {
    /// Where peers are said to be.
    pub addrs: Vec<SocketAddr>,
    /// Who says so.
    pub source: PeerSource,
}

/// This address was proven to lie about this piece: never again.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Ban {
    /// Who.
    pub addr: SocketAddr,
    /// About what.
    pub piece: PieceIndex,
}

/// This address was banned, and is not proven to lie after all.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Pardon(pub SocketAddr);

/// The scheduler is new: everybody introduces himself.
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

/// Who is there?
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<PoolSurvey, ()>")]
pub struct SurveyPool;

/// What the pool knows, views of the connections about a second old.
#[derive(Debug, Clone, Default)]
pub struct PoolSurvey {
    /// Addresses by state.
    pub census: Census,
    /// Open connections.
    pub peers: Arc<Vec<PeerRow>>,
    /// Bytes of blocks sent in this run, over all connections.
    pub sent: u64,
    /// The time to the next dial, if one is planned.
    pub next_dial: Option<Duration>,
}

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

/// A connection as the pool sees it.
#[derive(Debug)]
struct Live {
    addr: SocketAddr,
    /// Where others can dial it: where we did, or where it says it listens.
    listens: Option<SocketAddr>,
    key: PeerKey,
    handle: SupervisedChild<PeerConnection>,
    id: Option<PeerId>,
    /// What it is, as far as it has said so; fit to be shown.
    client: Arc<str>,
    view: PeerView,
    delivered: bool,
    farewell: Option<DisconnectReason>,
}

impl Live {
    fn row(&self) -> Option<PeerRow> {
        self.id.map(|_| PeerRow { addr: self.addr, client: Arc::clone(&self.client), view: self.view })
    }
}

/// See the head of the file.
#[derive(Debug)]
pub struct PeerPool {
    cfg: PeerPoolConfig,
    // Kept over restarts.
    book: PeerBook,
    outside: ExternalIp,
    next_key: u32,
    /// Bytes sent by connections that have ended.
    sent_before: u64,
    seeding: bool,
    // Live.
    /// Made for the first connection, as is `us`.
    shared: Option<Rc<SharedConfig>>,
    /// Whom connections tell their end.
    us: Option<Arc<Recipient<ChildEvent>>>,
    choker: Choker,
    super_seed: Option<Box<SuperSeed>>,
    gossip: PexFeed,
    /// Boxed: a map of large values that grows at its end is half empty.
    live: BTreeMap<PeerKey, Box<Live>>,
    /// As last told.
    need: Option<PeerNeed>,
    bell: ChangeNotice,
    timer: Timer<Self>,
    closing: bool,
}

crate::metered!(PeerPool, "PeerPool");

fn choker(cfg: &PeerPoolConfig) -> Choker {
    Choker::new(Instant::now().into_std(), choke::SLOTS, cfg.geometry.nominal_piece_len(), cfg.seed)
}

fn super_seed(cfg: &PeerPoolConfig) -> Option<Box<SuperSeed>> {
    cfg.super_seed.then(|| Box::new(SuperSeed::new(cfg.geometry, cfg.seed)))
}

impl PeerPool {
    /// Knows nobody yet.
    pub fn new(cfg: PeerPoolConfig) -> Self {
        let book = PeerBook::new(cfg.book, cfg.seed);
        Self {
            book,
            outside: ExternalIp::default(),
            next_key: 0,
            sent_before: 0,
            seeding: false,
            shared: None,
            us: None,
            choker: choker(&cfg),
            super_seed: super_seed(&cfg),
            gossip: PexFeed::default(),
            live: BTreeMap::new(),
            need: None,
            bell: ChangeNotice::new(cfg.stirred.clone()),
            timer: Timer::new(),
            closing: false,
            cfg,
        }
    }

    /// Mutates the book once, performs every effect, arms one timer.
    fn step<T>(&mut self, ctx: &mut Ctx<Self>, mutate: impl FnOnce(&mut PeerBook, std::time::Instant) -> T) -> T {
        let now = Instant::now().into_std();
        let outcome = mutate(&mut self.book, now);
        if self.closing {
            return outcome;
        }
        while let Some(effect) = self.book.poll(now) {
            self.perform(effect, ctx);
        }
        let need = self.book.need();
        if self.need != Some(need) {
            self.need = Some(need);
            self.cfg.torrent.do_send(PeersNeeded(need));
        }
        self.arm(ctx);
        outcome
    }

    /// One timer for all machines.
    fn arm(&mut self, ctx: &mut Ctx<Self>) {
        let naming = self.super_seed.as_ref().and_then(|seed| seed.deadline());
        let due = [self.book.deadline(), self.choker.deadline(), self.gossip.deadline(), naming];
        self.timer.arm(ctx, due.into_iter().flatten().min(), Self::on_timer);
    }

    fn on_timer(&mut self, ctx: &mut Ctx<Self>) {
        self.choke_step(ctx, Choker::on_timeout);
        self.name_step(ctx, SuperSeed::on_timeout);
        self.spread_gossip();
        self.step(ctx, |_, _| {});
    }

    /// As [`Self::step`], for the choker.
    fn choke_step(&mut self, ctx: &mut Ctx<Self>, mutate: impl FnOnce(&mut Choker, std::time::Instant)) {
        mutate(&mut self.choker, Instant::now().into_std());
        while let Some(effect) = self.choker.poll() {
            match effect {
                ChokeEffect::Choke(peer) => self.tell(peer, ChokeDecision { choke: true }),
                ChokeEffect::Unchoke(peer) => self.tell(peer, ChokeDecision { choke: false }),
            }
        }
        self.arm(ctx);
    }

    fn perform(&mut self, effect: BookEffect, ctx: &mut Ctx<Self>) {
        self.bell.ring();
        match effect {
            BookEffect::Dial { addr, attempt, last, backoff, timeout } => {
                if let Some(farewell) = last {
                    let (id, expected) = (addr.to_string(), farewell != DisconnectReason::Panicked);
                    let restarts = attempt.saturating_sub(1);
                    kit::record_restart("PeerConnection", &id, farewell.label(), restarts, backoff, None, expected);
                }
                self.connect(addr, timeout, ctx);
            }
            BookEffect::Close { addr, farewell } => {
                for peer in self.live.values().filter(|peer| peer.addr == addr) {
                    peer.handle.addr.do_send(Leave(farewell));
                }
            }
            BookEffect::Held { pause } => {
                tracing::warn!(pause_s = pause.as_secs(), "connections panic too often, nobody is dialled for a while");
            }
        }
    }

    fn on_news(&mut self, peer: PeerKey, news: &PeerEvent, ctx: &mut Ctx<Self>) {
        let Some(live) = self.live.get_mut(&peer) else { return };
        let addr = live.addr;
        if !matches!(news, PeerEvent::View(view) if *view == live.view) {
            self.bell.ring();
        }
        match *news {
            PeerEvent::Connected => self.step(ctx, |book, now| book.on_connected(now, addr)),
            PeerEvent::Handshaken(id) => {
                live.id = Some(id);
                live.client = client_name(&id).into();
                tracing::debug!(%addr, client = &*live.client, "peer connected");
                let ours = self.cfg.our_id;
                if let Err(farewell) = self.step(ctx, |book, now| book.on_handshake(now, addr, id, ours)) {
                    self.tell(peer, Leave(farewell));
                }
            }
            PeerEvent::Introduced(ref theirs) => self.on_introduced(peer, theirs, ctx),
            PeerEvent::Named(ref addrs) => self.on_named(addr, addrs, ctx),
            PeerEvent::Delivered => {
                live.delivered = true;
                self.step(ctx, |book, _| book.on_productive(addr));
            }
            PeerEvent::Interested(interested) => {
                self.choke_step(ctx, |choker, now| choker.on_interest(now, peer, interested));
            }
            PeerEvent::Served => self.on_served(peer, addr, ctx),
            PeerEvent::View(view) => self.on_view(peer, view, ctx),
            PeerEvent::Ready | PeerEvent::Has(_) => self.on_pieces(peer, news, ctx),
            PeerEvent::Left(farewell) => live.farewell = Some(farewell),
        }
    }

    fn tell<M: Message<Result = ()> + Send + 'static>(&self, peer: PeerKey, message: M)
    where
        PeerConnection: Handler<M>,
    {
        if let Some(live) = self.live.get(&peer) {
            live.handle.addr.do_send(message);
        }
    }

    fn on_ended(&mut self, child: ChildId, ctx: &mut Ctx<Self>) {
        let key = self.live.values().find(|live| live.handle.id() == child).map(|live| live.key);
        let Some((key, live)) = key.and_then(|key| self.live.remove_entry(&key)) else { return };
        self.bell.ring();
        self.cfg.scheduler.do_send(PeerReport { peer: key, word: PeerWord::Left });
        self.choke_step(ctx, |choker, now| choker.on_peer_left(now, key));
        self.name_step(ctx, |seed, _| seed.on_left(key));
        self.gossip.on_left(key);
        self.sent_before += live.view.sent;
        let farewell = live.farewell.unwrap_or(DisconnectReason::Panicked);
        tracing::debug!(addr = %live.addr, cause = farewell.label(), delivered = live.delivered, "peer gone");
        self.step(ctx, |book, now| book.on_farewell(now, live.addr, farewell, live.delivered));
        if self.closing && self.live.is_empty() {
            ctx.stop();
        }
    }
}

impl Actor for PeerPool {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.step(ctx, |_, _| {});
    }
}

impl Supervised for PeerPool {
    /// Dropped handles say good-bye to their connections; the book takes them for lost.
    fn restarting(&mut self, _: &mut Ctx<Self>) {
        for live in std::mem::take(&mut self.live).into_values() {
            self.cfg.scheduler.do_send(PeerReport { peer: live.key, word: PeerWord::Left });
            self.sent_before += live.view.sent;
        }
        self.choker = choker(&self.cfg);
        self.super_seed = super_seed(&self.cfg);
        self.gossip = PexFeed::default();
        if self.seeding {
            self.choker.on_complete(Instant::now().into_std());
        }
        self.need = None;
        self.bell.on_survey();
        self.timer = Timer::new();
        self.book.on_pool_restarted(Instant::now().into_std());
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
        self.bell.ring();
        let outcome = self.step(ctx, |book, now| book.add(now, &addrs, source));
        tracing::debug!(?source, ?outcome, "peers named");
    }
}

impl Handler<PeerArrived> for PeerPool {
    type Result = ();

    fn handle(&mut self, arrived: PeerArrived, ctx: &mut Ctx<Self>) {
        if !self.closing {
            self.welcome(arrived, ctx);
        }
    }
}

impl Handler<Ban> for PeerPool {
    type Result = ();

    fn handle(&mut self, Ban { addr, piece }: Ban, ctx: &mut Ctx<Self>) {
        tracing::warn!(%addr, %piece, "peer sent bad data (banned)");
        self.step(ctx, |book, now| book.ban(now, addr));
        for peer in self.live.values().filter(|peer| peer.addr == addr) {
            peer.handle.addr.do_send(Leave(DisconnectReason::BadData));
        }
    }
}

impl Handler<Pardon> for PeerPool {
    type Result = ();

    fn handle(&mut self, Pardon(addr): Pardon, ctx: &mut Ctx<Self>) {
        tracing::info!(%addr, "peer is pardoned: others send the same bytes");
        self.step(ctx, |book, now| book.pardon(now, addr));
    }
}

impl Handler<SchedulerReady> for PeerPool {
    type Result = ();

    fn handle(&mut self, _: SchedulerReady, _: &mut Ctx<Self>) {
        self.live.values().for_each(|live| live.handle.addr.do_send(Introduce));
    }
}

impl Handler<SurveyPool> for PeerPool {
    type Result = Result<PoolSurvey, ()>;

    fn handle(&mut self, _: SurveyPool, _: &mut Ctx<Self>) -> Self::Result {
        self.bell.on_survey();
        self.live.values().for_each(|live| live.handle.addr.do_send(ReportPeerView));
        let mut peers = Vec::with_capacity(self.live.len());
        peers.extend(self.live.values().filter_map(|live| live.row()));
        let sent = self.sent_before + self.live.values().map(|live| live.view.sent).sum::<u64>();
        let (census, peers) = (self.book.census(), Arc::new(peers));
        let now = Instant::now().into_std();
        let next_dial = self.book.deadline().filter(|_| census.waiting > 0);
        let next_dial = next_dial.map(|due| due.saturating_duration_since(now));
        Ok(PoolSurvey { census, peers, sent, next_dial })
    }
}

impl Handler<PeerNews> for PeerPool {
    type Result = ();

    fn handle(&mut self, PeerNews { peer, news }: PeerNews, ctx: &mut Ctx<Self>) {
        self.on_news(peer, &news, ctx);
    }
}

impl Handler<ChildEvent> for PeerPool {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, ctx: &mut Ctx<Self>) {
        if let Lifecycle::Ended { .. } = event.event {
            self.on_ended(event.id, ctx);
        }
    }
}

impl Handler<Goodbye> for PeerPool {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.closing = true;
        self.live.values().for_each(|live| live.handle.stop());
        if self.live.is_empty() {
            ctx.stop();
        }
    }
}

#[cfg(test)]
mod tests;
