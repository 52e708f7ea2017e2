//! `PeerConnection`: one connection to one peer, dialled or accepted, from its start to its end.
//!
//! * Owns the stream and a [`PeerProtocol`].
//! * Parent: `PeerPool`. One incarnation for each connection; the peer book decides whether and when the next one
//!   starts.
//! * Handles `PeerOrders` (scheduler), `ChokeDecision`, `Introduce`, `SharePeers`, `ReportPeerView`, `Leave` (pool).
//! * Sends `PeerReport` (scheduler) and `PeerNews` (pool). Asks the writer for blocks to upload.
//! * Limits: `logic::peer::uploads` bounds unsent blocks; at most one frame and its chunk are unread.
//! * Ends with a [`DisconnectReason`] that the pool is told first. After a panic the pool is told none and knows why.

mod pump;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self};
use std::time::Duration;

use actix::prelude::*;
use tokio::time::{Instant, timeout};

use super::disk_writer::ReadRanges;
use super::kit::{ActorExit, Child, Ctx, Goodbye, Timer};
use crate::base::bitfield::Bitfield;
use crate::base::disconnect::DisconnectReason;
use crate::base::geometry::{BlockAddr, Geometry, PieceIndex, PieceRange};
use crate::base::ids::{InfoHash, PeerId, PeerKey};
use crate::base::limits::HANDSHAKE_TIMEOUT;
use crate::codec::extended::Pex;
use crate::codec::wire::Handshake;
use crate::logic::peer::allowed_fast::GrantCounts;
use crate::logic::peer::protocol::{PeerEffect, PeerProtocol, SchedulerNotice, Terms};
use crate::logic::peers::pool::PeerEvent;
use crate::logic::peers::upload_counts::UploadCounts;
use crate::net::dial::dial;
use crate::net::link::{LinkEnd, PeerLink};
use crate::net::staging::Staging;
use crate::net::throttle::RateLimits;
use crate::net::{BoxStream, Net};

/// 30 s for the disk to answer a read for an upload (D-04).
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// From the scheduler: what to do with this peer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum PeerOrders {
    /// The scheduler has accepted the peer. These are our pieces.
    Welcome(Bitfield),
    /// Request these blocks.
    Grant(Vec<BlockAddr>),
    /// Cancel the requests for these blocks.
    Cancel(Vec<BlockAddr>),
    /// Whether the peer has a piece that we want.
    Interest(bool),
    /// We have completed these pieces.
    PiecesHad(Vec<PieceIndex>),
    /// We have lost these pieces.
    PiecesLost(Vec<PieceIndex>),
}

/// From the pool: the choker's decision.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ChokeDecision {
    /// Whether to choke the peer.
    pub choke: bool,
}

/// From the pool: a new scheduler runs. Introduce the peer to it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Introduce;

/// From the pool: send the peer these addresses of other peers (BEP 11).
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SharePeers(pub Pex);

/// From the pool: announce this piece to the peer (BEP 16).
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct NamePiece(pub PieceIndex);

/// From the pool: report the state of the connection, by [`PeerEvent::View`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ReportPeerView;

/// From the pool: close the connection for this reason.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Leave(pub DisconnectReason);

/// A report about one peer, for the scheduler.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PeerReport {
    /// The connection.
    pub peer: PeerKey,
    /// The report.
    pub word: PeerWord,
}

/// The contents of a [`PeerReport`].
#[derive(Debug)]
pub enum PeerWord {
    /// A connection is open. Orders are sent to this address.
    Joined {
        /// The address of the peer.
        addr: SocketAddr,
        /// The recipient of orders.
        orders: Recipient<PeerOrders>,
    },
    /// A report of the protocol state.
    Report(SchedulerNotice),
    /// The connection has ended. Sent by the pool.
    Left,
}

/// An event of one connection, for the pool.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PeerNews {
    /// The connection.
    pub peer: PeerKey,
    /// The event.
    pub news: PeerEvent,
}

/// What a connection is made from.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// The key of the connection.
    pub key: PeerKey,
    /// The address of the peer.
    pub addr: SocketAddr,
    /// The time-out of the dial.
    pub connect_timeout: Duration,
    /// What all connections of the torrent share.
    pub shared: Rc<SharedConfig>,
}

/// What all connections of a torrent share.
#[derive(Debug)]
pub struct SharedConfig {
    /// The network.
    pub net: Net,
    /// The read buffers of this arbiter.
    pub staging: Staging,
    /// The rate limits of the session.
    pub limits: RateLimits,
    /// The upload counts of the torrent.
    pub given: UploadCounts,
    /// The bytes given to choked newcomers of each network.
    pub ledger: GrantCounts,
    /// The info-hash of the swarm.
    pub info_hash: InfoHash,
    /// Our peer id.
    pub our_id: PeerId,
    /// The port on which we listen, if we do.
    pub listen_port: Option<u16>,
    /// Whether peers may be exchanged (BEP 27).
    pub pex: bool,
    /// Whether we super-seed (BEP 16).
    pub super_seed: bool,
    /// The sizes of the torrent.
    pub geometry: Geometry,
    /// The scheduler.
    pub scheduler: Recipient<PeerReport>,
    /// The pool.
    pub pool: Recipient<PeerNews>,
    /// The writer, for uploads.
    pub disk: Recipient<ReadRanges>,
}

/// The actor of one connection. The head of this file describes it.
#[derive(Debug)]
pub struct PeerConnection {
    cfg: PeerConfig,
    /// The stream and the handshake of a peer that connected to us, until the start.
    accepted: Option<Box<(BoxStream, Handshake)>>,
    link: Option<PeerLink>,
    conversation: Option<PeerProtocol>,
    /// The choke and interest bits that the pool was last told.
    bits: [bool; 4],
    timer: Timer<Self>,
    /// Wakes the pump when something was queued after its turn.
    waker: Option<task::Waker>,
    farewell: Option<DisconnectReason>,
}

crate::metered!(PeerConnection, "PeerConnection");

impl PeerConnection {
    /// A connection that dials once it is started.
    pub fn new(cfg: PeerConfig) -> Self {
        Self {
            cfg,
            accepted: None,
            link: None,
            conversation: None,
            bits: [true, false, true, false],
            timer: Timer::new(),
            waker: None,
            farewell: None,
        }
    }

    /// A connection that the peer opened. `theirs`: its handshake.
    pub fn accepted(cfg: PeerConfig, stream: BoxStream, theirs: Handshake) -> Self {
        Self { accepted: Some(Box::new((stream, theirs))), ..Self::new(cfg) }
    }

    /// The key of the connection.
    pub const fn key(&self) -> PeerKey {
        self.cfg.key
    }

    /// Mutates the conversation once, performs every effect, arms one timer.
    fn step(&mut self, ctx: &mut Ctx<Self>, mutate: impl FnOnce(&mut PeerProtocol, std::time::Instant)) {
        let Some(conversation) = self.conversation.as_mut() else { return };
        mutate(conversation, Instant::now().into_std());
        while let Some(effect) = self.conversation.as_mut().and_then(PeerProtocol::poll) {
            self.perform(effect, ctx);
        }
        let Some(conversation) = self.conversation.as_ref() else { return };
        let (deadline, bits) = (conversation.deadline(), conversation.bits());
        if self.bits != bits {
            self.bits = bits;
            self.tell(PeerEvent::View(conversation.view(Instant::now().into_std())));
        }
        self.timer.arm(ctx, deadline, Self::on_timer);
    }

    fn on_timer(&mut self, ctx: &mut Ctx<Self>) {
        self.note_unread();
        self.step(ctx, PeerProtocol::on_timeout);
        // A peer that was not to be read may be read from now on.
        self.waker.iter().for_each(task::Waker::wake_by_ref);
    }

    /// Time in which our own rate limit kept us from reading does not count against the peer.
    fn note_unread(&mut self) {
        if let (Some(link), Some(conversation)) = (&self.link, &mut self.conversation)
            && let Some(until) = link.held_until()
        {
            conversation.on_unread(until.into_std());
        }
    }

    fn perform(&mut self, effect: PeerEffect, ctx: &mut Ctx<Self>) {
        match effect {
            PeerEffect::Send(message) => {
                tracing::trace!(what = message.name(), "→");
                if let Some(link) = &mut self.link {
                    link.send(&message);
                }
            }
            PeerEffect::Give(range, data) => {
                tracing::trace!(what = "piece", "→");
                if let Some(link) = &mut self.link {
                    link.send_piece(range.piece().get(), range.begin(), data);
                }
            }
            PeerEffect::Read(ranges) => self.read_for_peer(ranges, ctx),
            PeerEffect::Report(report) => self.report(PeerWord::Report(report)),
            PeerEffect::PeerInterested(interested) => self.tell(PeerEvent::Interested(interested)),
            PeerEffect::PeersNamed(addrs) => self.tell(PeerEvent::Named(addrs)),
            PeerEffect::PeerHas(pieces) => self.tell(PeerEvent::Has(pieces)),
            PeerEffect::Introduced(theirs) => self.tell(PeerEvent::Introduced(theirs)),
            PeerEffect::Delivered => self.tell(PeerEvent::Delivered),
            PeerEffect::Served => self.tell(PeerEvent::Served),
            PeerEffect::Leave(farewell) => self.leave(farewell, ctx),
        }
    }

    fn dial(&self, ctx: &mut Ctx<Self>) {
        let (net, addr, within) = (Arc::clone(&self.cfg.shared.net), self.cfg.addr, self.cfg.connect_timeout);
        let dialling =
            async move { timeout(within, dial(&net, addr)).await.unwrap_or(Err(DisconnectReason::ConnectTimeout)) };
        ctx.spawn(dialling.into_actor(self).map(|dialled, act, ctx| match dialled {
            Ok(stream) => act.on_connected(stream, ctx),
            Err(farewell) => act.leave(farewell, ctx),
        }));
    }

    /// Starts the pump and sends our handshake at once, whichever side opened the stream.
    fn on_connected(&mut self, stream: BoxStream, ctx: &mut Ctx<Self>) {
        self.tell(PeerEvent::Connected);
        let shared = &self.cfg.shared;
        let mut link = PeerLink::new(stream, shared.staging.clone(), &shared.limits, shared.geometry.piece_count());
        let (info_hash, peer_id) = (shared.info_hash, shared.our_id);
        link.send_handshake(&Handshake { reserved: Handshake::OURS, info_hash, peer_id });
        self.link = Some(link);
        ctx.spawn(pump::Pump);
        self.timer.arm(ctx, Some(Instant::now() + HANDSHAKE_TIMEOUT), |act, ctx| {
            act.leave(DisconnectReason::HandshakeTimeout, ctx);
        });
    }

    fn on_handshake(&mut self, theirs: Handshake, ctx: &mut Ctx<Self>) {
        if theirs.info_hash != self.cfg.shared.info_hash {
            return self.leave(DisconnectReason::BadHandshake, ctx);
        }
        if theirs.peer_id == self.cfg.shared.our_id {
            return self.leave(DisconnectReason::Ourselves, ctx);
        }
        self.tell(PeerEvent::Handshaken(theirs.peer_id));
        let shared = &self.cfg.shared;
        let terms = Terms {
            geometry: shared.geometry,
            info_hash: shared.info_hash,
            ip: self.cfg.addr.ip(),
            fast: theirs.speaks_fast(),
            extended: theirs.speaks_extensions(),
            listen_port: shared.listen_port,
            max_up_bps: shared.limits.up.bps(),
            pex: shared.pex,
            super_seed: shared.super_seed,
        };
        let mut conversation = PeerProtocol::new(Instant::now().into_std(), terms);
        conversation.share(shared.given.clone(), shared.ledger.clone());
        self.conversation = Some(conversation);
        self.introduce(ctx);
        self.step(ctx, |_, _| {});
    }

    fn introduce(&self, ctx: &Ctx<Self>) {
        if self.conversation.is_some() {
            self.report(PeerWord::Joined { addr: self.cfg.addr, orders: ctx.address().recipient() });
        }
    }

    fn read_for_peer(&mut self, ranges: Vec<PieceRange>, ctx: &mut Ctx<Self>) {
        let asked = timeout(READ_TIMEOUT, self.cfg.shared.disk.send(ReadRanges(ranges)));
        let answered = asked.into_actor(self).map(move |answer, act, ctx| {
            let blocks = answer.ok().and_then(Result::ok).unwrap_or_default();
            act.step(ctx, |conversation, now| conversation.on_read(now, blocks));
            act.waker.iter().for_each(task::Waker::wake_by_ref);
        });
        ctx.spawn(answered);
    }

    fn on_link_end(&mut self, end: &LinkEnd, ctx: &mut Ctx<Self>) {
        if let LinkEnd::Message(refused) = end {
            tracing::debug!(addr = %self.cfg.addr, %refused, "peer breaks the protocol");
        }
        self.leave(end.farewell(), ctx);
    }

    fn leave(&mut self, farewell: DisconnectReason, ctx: &mut Ctx<Self>) {
        if self.farewell.is_none() {
            self.farewell = Some(farewell);
            // The pool counts by the last view.
            self.look();
            self.tell(PeerEvent::Left(farewell));
            ctx.stop_with(ActorExit::expected(farewell.label(), Duration::ZERO));
        }
    }

    fn look(&mut self) {
        self.note_unread();
        if let Some(conversation) = &self.conversation {
            self.tell(PeerEvent::View(conversation.view(Instant::now().into_std())));
        }
    }

    fn tell(&self, news: PeerEvent) {
        self.cfg.shared.pool.do_send(PeerNews { peer: self.cfg.key, news });
    }

    fn report(&self, word: PeerWord) {
        self.cfg.shared.scheduler.do_send(PeerReport { peer: self.cfg.key, word });
    }
}

impl Actor for PeerConnection {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        match self.accepted.take().map(|accepted| *accepted) {
            None => self.dial(ctx),
            Some((stream, theirs)) => {
                self.on_connected(stream, ctx);
                self.on_handshake(theirs, ctx);
            }
        }
    }
}

impl Supervised for PeerConnection {}

impl Child for PeerConnection {
    fn id(&self) -> String {
        self.cfg.addr.to_string()
    }
}

impl Handler<PeerOrders> for PeerConnection {
    type Result = ();

    fn handle(&mut self, orders: PeerOrders, ctx: &mut Ctx<Self>) {
        if self.cfg.shared.super_seed && matches!(orders, PeerOrders::Welcome(_)) {
            self.tell(PeerEvent::Ready);
        }
        self.step(ctx, |conversation, now| match orders {
            PeerOrders::Welcome(have) => conversation.on_welcome(now, have),
            PeerOrders::Grant(blocks) => conversation.on_grant(now, &blocks),
            PeerOrders::Cancel(blocks) => conversation.on_cancel(now, &blocks),
            PeerOrders::Interest(interested) => conversation.on_interest(now, interested),
            PeerOrders::PiecesHad(pieces) => conversation.on_pieces_had(now, &pieces),
            PeerOrders::PiecesLost(pieces) => conversation.on_pieces_lost(now, &pieces),
        });
    }
}

impl Handler<ChokeDecision> for PeerConnection {
    type Result = ();

    fn handle(&mut self, ChokeDecision { choke }: ChokeDecision, ctx: &mut Ctx<Self>) {
        self.step(ctx, |conversation, now| conversation.on_choke_decision(now, choke));
    }
}

impl Handler<Introduce> for PeerConnection {
    type Result = ();

    fn handle(&mut self, _: Introduce, ctx: &mut Ctx<Self>) {
        self.introduce(ctx);
    }
}

impl Handler<SharePeers> for PeerConnection {
    type Result = ();

    fn handle(&mut self, SharePeers(pex): SharePeers, ctx: &mut Ctx<Self>) {
        self.step(ctx, |conversation, now| conversation.on_gossip(now, pex));
    }
}

impl Handler<NamePiece> for PeerConnection {
    type Result = ();

    fn handle(&mut self, NamePiece(piece): NamePiece, ctx: &mut Ctx<Self>) {
        self.step(ctx, |conversation, now| conversation.on_named(now, piece));
    }
}

impl Handler<ReportPeerView> for PeerConnection {
    type Result = ();

    fn handle(&mut self, _: ReportPeerView, _: &mut Ctx<Self>) {
        self.look();
    }
}

impl Handler<Leave> for PeerConnection {
    type Result = ();

    fn handle(&mut self, Leave(farewell): Leave, ctx: &mut Ctx<Self>) {
        self.leave(farewell, ctx);
    }
}

impl Handler<Goodbye> for PeerConnection {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.leave(DisconnectReason::Shutdown, ctx);
    }
}

#[cfg(test)]
mod tests;
