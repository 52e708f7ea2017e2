//! `PieceScheduler`: decides for one torrent which block is requested from which peer.
//!
//! * Owns a [`Scheduler`] and the addresses of the connections to which it gives orders.
//! * Parent: `Torrent`. Restart policy: permanent, five restarts in 30 s. It is rebuilt from the writer's bitfield,
//!   and the peers introduce themselves again.
//! * Handles `PeerReport` (connections), `PiecesWritten` (writer), `Pause`, `DiskLost`, `PieceGone` and `GetProgress`
//!   (torrent).
//! * Sends `PeerOrders` (connections), `WritePieces` (writer) and `SchedulerNews` (torrent). Asks the writer for its
//!   bitfield, at the start.
//! * Limit: the scheduler's credit bounds all blocks between a request and the disk.
//! * Stops when its parent tells it to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use super::disk_writer::{HaveNow, PiecesWritten, WritePieces};
use super::kit::{ActorExit, Child, Ctx, Goodbye, Timer};
use super::peer_connection::{PeerOrders, PeerReport, PeerWord};
use crate::base::geometry::{Geometry, PieceIndex};
use crate::base::ids::PeerKey;
use crate::logic::peer::protocol::SchedulerNotice;
use crate::logic::pieces::scheduler::{DownloadProgress, Scheduler, SchedulerConfig, SchedulerEffect};
use crate::logic::torrent::selection::WantedPieces;
use crate::storage::PieceJob;

/// 200 ms until the writer is asked again: twice its own first back-off.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Stops granting blocks, since the disk is in trouble, or continues.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Pause(pub bool);

/// The writer was restarted: pieces on their way to the disk are lost.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct DiskLost;

/// A piece that was on the disk cannot be read any more.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct PieceGone(pub PieceIndex);

/// Asks for the state of the download. The answer is `None` until the writer's bitfield has arrived.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Option<DownloadProgress>")]
pub struct GetProgress;

/// An event of the scheduler, for its torrent.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub enum SchedulerNews {
    /// Peers may introduce themselves. Sent at the start and after a restart.
    Ready,
    /// This address was proven to have sent bad data for this piece.
    Liar {
        /// The address.
        addr: SocketAddr,
        /// The piece.
        piece: PieceIndex,
    },
    /// The evidence against this address was withdrawn.
    Acquitted {
        /// The address.
        addr: SocketAddr,
    },
    /// A piece fails its hash from every source (P-15).
    PieceSuspect {
        /// The piece.
        piece: PieceIndex,
        /// How many times it failed.
        failures: u32,
    },
    /// Every selected piece is written and verified.
    Completed {
        /// Whether the other pieces are too.
        whole: bool,
    },
}

/// What a piece scheduler is made from.
#[derive(Debug, Clone)]
pub struct PieceSchedulerConfig {
    /// The name of the torrent in the logs.
    pub name: String,
    /// The sizes of the torrent.
    pub geometry: Geometry,
    /// The selected pieces.
    pub wanted: Arc<WantedPieces>,
    /// Bytes that may be requested and not written yet.
    pub credit: u64,
    /// The download limit of the session in bytes a second, if there is one.
    pub max_bps: Option<u64>,
    /// The seed of random choices.
    pub seed: u64,
    /// The writer, which is sent pieces.
    pub disk: Recipient<WritePieces>,
    /// The writer, which is asked for its bitfield.
    pub have: Recipient<HaveNow>,
    /// The torrent.
    pub torrent: Recipient<SchedulerNews>,
}

/// The piece scheduler of one torrent. The head of this file describes it.
#[derive(Debug)]
pub struct PieceScheduler {
    cfg: PieceSchedulerConfig,
    machine: Option<Scheduler>,
    peers: BTreeMap<PeerKey, Recipient<PeerOrders>>,
    had: Vec<PieceIndex>,
    timer: Timer<Self>,
}

crate::metered!(PieceScheduler, "PieceScheduler");

impl PieceScheduler {
    /// A scheduler that asks the writer for its bitfield once it is started.
    pub fn new(cfg: PieceSchedulerConfig) -> Self {
        Self { cfg, machine: None, peers: BTreeMap::new(), had: Vec::new(), timer: Timer::new() }
    }

    /// Asks the writer for its bitfield. A writer that fails over the question is restarted by its parent and asked
    /// again; its failure is not ours.
    fn ask_writer(&self, ctx: &mut Ctx<Self>) {
        let asked = self.cfg.have.send(HaveNow).into_actor(self);
        ctx.spawn(asked.map(|answer, act, ctx| match answer {
            Err(MailboxError::Closed) if !act.cfg.have.connected() => {
                ctx.stop_with(ActorExit::fault("the writer is gone"));
            }
            Err(_failed) => {
                let again = Instant::now().into_std() + ASK_AGAIN;
                act.timer.arm(ctx, Some(again), |act, ctx| act.ask_writer(ctx));
            }
            Ok(None) => ctx.stop_with(ActorExit::fault("the writer does not say what is on the disk")),
            Ok(Some(have)) => {
                let PieceSchedulerConfig { geometry, credit, max_bps, seed, .. } = act.cfg;
                let wanted = Arc::clone(&act.cfg.wanted);
                if wanted.is_met_by(&have) {
                    // The incarnation before may have failed over the last piece without reporting it.
                    act.cfg.torrent.do_send(SchedulerNews::Completed { whole: have.is_all() });
                }
                act.machine = Some(Scheduler::new(SchedulerConfig { geometry, have, wanted, credit, max_bps, seed }));
                act.cfg.torrent.do_send(SchedulerNews::Ready);
                act.step(ctx, |_, _| {});
            }
        }));
    }

    /// Mutates the machine once, performs every effect, arms one timer.
    fn step(&mut self, ctx: &mut Ctx<Self>, mutate: impl FnOnce(&mut Scheduler, std::time::Instant)) {
        let Some(machine) = self.machine.as_mut() else { return };
        mutate(machine, Instant::now().into_std());
        let mut jobs = Vec::new();
        while let Some(effect) = self.machine.as_mut().and_then(Scheduler::poll) {
            self.perform(effect, &mut jobs);
        }
        if !jobs.is_empty() {
            self.cfg.disk.do_send(WritePieces { jobs, reply: ctx.address().recipient() });
        }
        if !self.had.is_empty() {
            let had = std::mem::take(&mut self.had);
            self.peers.values().for_each(|orders| orders.do_send(PeerOrders::PiecesHad(had.clone())));
        }
        let deadline = self.machine.as_ref().and_then(Scheduler::deadline);
        self.timer.arm(ctx, deadline, |act, ctx| act.step(ctx, Scheduler::on_timeout));
    }

    fn perform(&mut self, effect: SchedulerEffect, jobs: &mut Vec<PieceJob>) {
        match effect {
            SchedulerEffect::Grant { peer, blocks } => self.order(peer, PeerOrders::Grant(blocks)),
            SchedulerEffect::Cancel { peer, blocks } => self.order(peer, PeerOrders::Cancel(blocks)),
            SchedulerEffect::Interest { peer, interested } => self.order(peer, PeerOrders::Interest(interested)),
            SchedulerEffect::Write { piece, blocks } => jobs.push(PieceJob { piece, blocks }),
            SchedulerEffect::Had { piece } => self.had.push(piece),
            SchedulerEffect::Gone { piece } => {
                self.peers.values().for_each(|orders| orders.do_send(PeerOrders::PiecesLost(vec![piece])));
            }
            SchedulerEffect::Pardon { addr } => self.cfg.torrent.do_send(SchedulerNews::Acquitted { addr }),
            SchedulerEffect::Ban { addr, piece } => self.cfg.torrent.do_send(SchedulerNews::Liar { addr, piece }),
            SchedulerEffect::PieceSuspect { piece, failures } => {
                self.cfg.torrent.do_send(SchedulerNews::PieceSuspect { piece, failures });
            }
            SchedulerEffect::Completed => {
                let whole = self.machine.as_ref().is_some_and(|machine| machine.have().is_all());
                self.cfg.torrent.do_send(SchedulerNews::Completed { whole });
            }
        }
    }

    fn order(&self, peer: PeerKey, order: PeerOrders) {
        if let Some(orders) = self.peers.get(&peer) {
            orders.do_send(order);
        }
    }

    fn on_joined(&mut self, peer: PeerKey, addr: SocketAddr, orders: Recipient<PeerOrders>, ctx: &mut Ctx<Self>) {
        let Some(machine) = &self.machine else { return };
        orders.do_send(PeerOrders::Welcome(machine.have().clone()));
        self.peers.insert(peer, orders);
        self.step(ctx, |machine, now| machine.on_peer_joined(now, peer, addr));
    }
}

impl Actor for PieceScheduler {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.ask_writer(ctx);
    }
}

impl Supervised for PieceScheduler {
    fn restarting(&mut self, _: &mut Ctx<Self>) {
        *self = Self::new(self.cfg.clone());
    }
}

impl Child for PieceScheduler {
    fn id(&self) -> String {
        self.cfg.name.clone()
    }
}

impl Handler<PeerReport> for PieceScheduler {
    type Result = ();

    fn handle(&mut self, PeerReport { peer, word }: PeerReport, ctx: &mut Ctx<Self>) {
        match word {
            PeerWord::Joined { addr, orders } => self.on_joined(peer, addr, orders, ctx),
            PeerWord::Left => {
                self.peers.remove(&peer);
                self.step(ctx, |machine, now| machine.on_peer_left(now, peer));
            }
            PeerWord::Report(report) => self.step(ctx, |machine, now| match report {
                SchedulerNotice::Bitfield(bitfield) => machine.on_bitfield(now, peer, bitfield),
                SchedulerNotice::Have(pieces) => machine.on_have(now, peer, &pieces),
                SchedulerNotice::Lost(piece) => machine.on_lost(now, peer, piece),
                SchedulerNotice::Within(pieces) => machine.on_within(now, peer, pieces),
                SchedulerNotice::Depth(depth) => machine.on_depth(now, peer, depth),
                SchedulerNotice::Blocks(blocks) => machine.on_blocks(now, peer, blocks),
                SchedulerNotice::Returned(blocks) => machine.on_returned(now, peer, &blocks),
            }),
        }
    }
}

impl Handler<PiecesWritten> for PieceScheduler {
    type Result = ();

    fn handle(&mut self, PiecesWritten(pieces): PiecesWritten, ctx: &mut Ctx<Self>) {
        self.step(ctx, |machine, now| machine.on_written(now, pieces));
    }
}

impl Handler<Pause> for PieceScheduler {
    type Result = ();

    fn handle(&mut self, Pause(paused): Pause, ctx: &mut Ctx<Self>) {
        self.step(ctx, |machine, now| machine.set_paused(now, paused));
    }
}

impl Handler<DiskLost> for PieceScheduler {
    type Result = ();

    fn handle(&mut self, _: DiskLost, ctx: &mut Ctx<Self>) {
        self.step(ctx, Scheduler::on_disk_lost);
    }
}

impl Handler<PieceGone> for PieceScheduler {
    type Result = ();

    fn handle(&mut self, PieceGone(piece): PieceGone, ctx: &mut Ctx<Self>) {
        self.step(ctx, |machine, now| machine.on_gone(now, piece));
    }
}

impl Handler<GetProgress> for PieceScheduler {
    type Result = Option<DownloadProgress>;

    fn handle(&mut self, _: GetProgress, _: &mut Ctx<Self>) -> Self::Result {
        self.machine.as_ref().map(|machine| machine.progress(Instant::now().into_std()))
    }
}

impl Handler<Goodbye> for PieceScheduler {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;
