//! `PeerConnection`: one connection to one peer, from the dial, or from the handshake of a peer that came by itself, to
//! the farewell.
//!
//! Owns the stream and a [`PeerProtocol`]. Child of `PeerPool`, one incarnation per connection: the pool's book decides
//! whether and when the next one starts. Hears `PeerOrders` from the scheduler, `ChokeDecision`, `Introduce`, `SharePeers`, `ReportPeerView` and
//! `Leave` from the pool. Tells `PeerReport` (scheduler) and `PeerNews` (pool). Asks the writer for blocks to upload.
//! Limits: what is unsent is bounded by `logic::peer::uploads`, what is unread by one frame and its chunk. Ends with a
//! [`DisconnectReason`], always told to the pool first; a panic ends it without one, and the pool knows what that means.

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
use crate::codec::extended::{ExtendedHandshake, Pex};
use crate::codec::wire::Handshake;
use crate::logic::peer::allowed_fast::GrantCounts;
use crate::logic::peer::protocol::{PeerEffect, PeerProtocol, PeerView, SchedulerNotice, Terms};
use crate::logic::peers::upload_counts::UploadCounts;
use crate::net::dial::dial;
use crate::net::link::{LinkEnd, PeerLink};
use crate::net::staging::Staging;
use crate::net::throttle::RateLimits;
use crate::net::{BoxStream, Net};

/// 30 s for the disk to answer a read for an upload; the peer is not told, its request is dropped (D-04).
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// From the scheduler: what to do with this peer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum PeerOrders {
    /// You are taken in; this is what we have.
    Welcome(Bitfield),
    /// Ask for these.
    Grant(Vec<BlockAddr>),
    /// No longer needed.
    Cancel(Vec<BlockAddr>),
    /// The peer has, or no longer has, something we want.
    Interest(bool),
    /// We have got these.
    PiecesHad(Vec<PieceIndex>),
    /// We had these, and have lost them.
    PiecesLost(Vec<PieceIndex>),
}

/// From the pool: the choker has decided.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ChokeDecision {
    /// Choke the peer, or unchoke it.
    pub choke: bool,
}

/// From the pool: the scheduler is new and knows nobody.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Introduce;

/// From the pool: tell the peer whom else we know (BEP 11).
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SharePeers(pub Pex);

/// From the pool: name this piece to the peer (BEP 16).
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct NamePiece(pub PieceIndex);

/// From the pool: how do you stand? Answered with [`PeerEvent::View`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ReportPeerView;

/// From the pool: end the connection for this reason.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Leave(pub DisconnectReason);

/// To the scheduler: something about one peer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PeerReport {
    /// Which connection.
    pub peer: PeerKey,
    /// What.
    pub word: PeerWord,
}

/// What a [`PeerReport`] says.
#[derive(Debug)]
pub enum PeerWord {
    /// A connection is open; orders go there.
    Joined {
        /// The other end.
        addr: SocketAddr,
        /// Where to send orders.
        orders: Recipient<PeerOrders>,
    },
    /// What the conversation reports.
    Report(SchedulerNotice),
    /// The connection is gone (told by the pool).
    Left,
}

/// To the pool: something about one connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PeerNews {
    /// Which connection.
    pub peer: PeerKey,
    /// What.
    pub news: PeerEvent,
}

/// What [`PeerNews`] says.
#[derive(Debug)]
pub enum PeerEvent {
    /// The stream is open.
    Connected,
    /// The peer said who it is.
    Handshaken(PeerId),
    /// What the peer says of itself in full; none of it is proven (BEP 10).
    Introduced(ExtendedHandshake),
    /// The peer names others (BEP 11).
    Named(Vec<SocketAddr>),
    /// Super-seeding: the peer takes messages; it is not known yet what it has.
    Ready,
    /// Super-seeding: the peer has got these.
    Has(Vec<PieceIndex>),
    /// The first block has come.
    Delivered,
    /// The peer has taken its first block.
    Served,
    /// The peer wants to be unchoked, or no longer.
    Interested(bool),
    /// How it stands: when asked, and when a bit of BEP 3 has changed.
    View(PeerView),
    /// It ends, and why.
    Left(DisconnectReason),
}

/// All that a connection is given.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// Its name among connections.
    pub key: PeerKey,
    /// Where to.
    pub addr: SocketAddr,
    /// How long to wait for the stream.
    pub connect_timeout: Duration,
    /// What all of the torrent have in common.
    pub shared: Rc<SharedConfig>,
}

/// What all connections of a torrent are given alike.
#[derive(Debug)]
pub struct SharedConfig {
    /// The way out.
    pub net: Net,
    /// Read buffers of this arbiter.
    pub staging: Staging,
    /// What the session may read and write.
    pub limits: RateLimits,
    /// What was given of the torrent.
    pub given: UploadCounts,
    /// What newcomers were given of it while they were choked.
    pub ledger: GrantCounts,
    /// The swarm.
    pub info_hash: InfoHash,
    /// Who we are.
    pub our_id: PeerId,
    /// Where we listen, if we do.
    pub listen_port: Option<u16>,
    /// Peers may be exchanged (BEP 27).
    pub pex: bool,
    /// What we have is named piece by piece (BEP 16).
    pub super_seed: bool,
    /// The torrent's sizes.
    pub geometry: Geometry,
    /// The scheduler.
    pub scheduler: Recipient<PeerReport>,
    /// The pool.
    pub pool: Recipient<PeerNews>,
    /// The writer, for uploads.
    pub disk: Recipient<ReadRanges>,
}

/// One connection. See the head of the file.
#[derive(Debug)]
pub struct PeerConnection {
    cfg: PeerConfig,
    /// The stream of a peer that came by itself, and what it said.
    accepted: Option<Box<(BoxStream, Handshake)>>,
    link: Option<PeerLink>,
    conversation: Option<PeerProtocol>,
    /// As the pool knows them.
    bits: [bool; 4],
    timer: Timer<Self>,
    /// Brings the pump back when something was queued after its turn.
    waker: Option<task::Waker>,
    farewell: Option<DisconnectReason>,
}

crate::metered!(PeerConnection, "PeerConnection");

impl PeerConnection {
    /// Dials when it starts.
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

    /// With a peer that came by itself.
    pub fn accepted(cfg: PeerConfig, stream: BoxStream, theirs: Handshake) -> Self {
        Self { accepted: Some(Box::new((stream, theirs))), ..Self::new(cfg) }
    }

    /// Its name among connections.
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

    /// What our own limit has held up is not the peer's fault.
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

    /// Our handshake goes out at once, whoever opened the stream.
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
            // The last view is what is counted.
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
