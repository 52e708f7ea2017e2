//! `PieceScheduler`: which block from whom, for one torrent.
//!
//! Owns a [`Scheduler`] and the addresses of the peers it gives orders to. Child of `Torrent`, permanent, 5 restarts in
//! 30 s: rebuilt from the writer's bitfield, and the peers introduce themselves again. Hears `PeerReport` (peers),
//! `PiecesWritten` (writer), `Pause`, `DiskLost`, `PieceGone`, `GetProgress` (torrent). Tells `PeerOrders` (peers), `WritePieces` (writer),
//! `SchedulerNews` (torrent). Asks the writer for its bitfield, at the start. Limits: the credit of the
//! scheduler bounds all blocks between a request and the disk. Ends when told to.

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

/// 200 ms, twice the writer's own first back-off: then it is there again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Grant nothing (the disk is in trouble), or go on.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Pause(pub bool);

/// The writer was restarted: what was on its way to the disk is lost.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct DiskLost;

/// A piece that was on the disk cannot be read any more.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct PieceGone(pub PieceIndex);

/// How far are we? `None` while starting.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Option<DownloadProgress>")]
pub struct GetProgress;

/// To the torrent.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub enum SchedulerNews {
    /// Peers may introduce themselves (at the start, and after a restart).
    Ready,
    /// This address was proven to lie about this piece.
    Liar {
        /// Who.
        addr: SocketAddr,
        /// About what.
        piece: PieceIndex,
    },
    /// This address is not proven to lie after all.
    Acquitted {
        /// Who.
        addr: SocketAddr,
    },
    /// A piece fails from every source (P-15).
    PieceSuspect {
        /// Which.
        piece: PieceIndex,
        /// How often it failed.
        failures: u32,
    },
    /// Every wanted piece is written and hashed right.
    Completed {
        /// And so is every other.
        whole: bool,
    },
}

/// All that a scheduler is given.
#[derive(Debug, Clone)]
pub struct PieceSchedulerConfig {
    /// For its name in the logs.
    pub name: String,
    /// The torrent's sizes.
    pub geometry: Geometry,
    /// What is to be fetched.
    pub wanted: Arc<WantedPieces>,
    /// Bytes that may be asked for and not yet be written.
    pub credit: u64,
    /// Bytes a second that the session reads from peers at most.
    pub max_bps: Option<u64>,
    /// For its dice.
    pub seed: u64,
    /// The writer: pieces.
    pub disk: Recipient<WritePieces>,
    /// The writer: its bitfield.
    pub have: Recipient<HaveNow>,
    /// The torrent.
    pub torrent: Recipient<SchedulerNews>,
}

/// See the head of the file.
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
    /// Asks the writer what is there when it starts.
    pub fn new(cfg: PieceSchedulerConfig) -> Self {
        Self { cfg, machine: None, peers: BTreeMap::new(), had: Vec::new(), timer: Timer::new() }
    }

    /// A writer that fails over the question is started again, and asked again: its failure is not ours.
    fn ask_writer(&self, ctx: &mut Ctx<Self>) {
        let asked = self.cfg.have.send(HaveNow).into_actor(self);
        ctx.spawn(asked.map(|answer, act, ctx| match answer {
            Err(MailboxError::Closed) if !act.cfg.have.connected() => {
                ctx.stop_with(ActorExit::fault("the writer is gone"))
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
                    // The incarnation before may have failed over the last piece, and told nobody.
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
