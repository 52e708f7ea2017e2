//! `Torrent`: one torrent's actors and what is known of it.
//!
//! * Owns a [`TorrentLifecycle`], which decides everything, and performs its effects.
//! * Parent of `DiskWriter`, `PieceScheduler`, `PeerPool`, `TrackerSupervisor`, started in this order and stopped in the
//!   reverse one; the last three run only while the lifecycle needs peers. Lives with all of them on the arbiter that is its
//!   `Place`, which need not be the session's.
//! * Child of `Session`, permanent, 3 restarts in 60 s; then it is failed with its reason and the others live.
//! * Handles the news of its children and passes on what concerns a sibling; answers the commands of a user
//!   (`PauseTorrent`, `ResumeTorrent`, `RecheckTorrent`, `SetSeedingGoal`). Asks its children for surveys.
//! * Publishes a [`TorrentView`]: every second while something moves, and while nothing does once a child says that it is
//!   [`Changed`].
//! * Limits: none of its own. Ends when told to, after its children.

mod children;
mod commands;
mod config;
mod news;
mod publishing;
mod survey;

pub use commands::{PauseTorrent, RecheckTorrent, ResumeTorrent, SetSeedingGoal};
pub use config::{Aim, TorrentConfig};

use actix::prelude::*;
use tokio::time::Instant;

use self::publishing::CheckProgress;
use super::disk_writer::{DiskWriter, FinishWriting, ForgetState};
use super::kit::{Child, ChildEvent, ChildId, ChildVerdict, Children, Ctx, Goodbye, Timer};
use super::peer_pool::{FetchingResumed, PeerPool, PeersNeeded, SchedulerReady, SeedingBegun};
use super::piece_scheduler::{DiskLost, Pause, PieceGone, PieceScheduler};
use super::policies;
use super::tracker_supervisor::{Completed, TrackerSupervisor};
use super::view::{Changed, TorrentFailure, TorrentView};
use crate::logic::torrent::lifecycle::{LifecycleEffect, TorrentLifecycle};
use crate::logic::torrent::transfer::TransferTotals;

/// The children that run only while peers are needed.
#[derive(Debug, Clone)]
struct Running {
    scheduler: Addr<PieceScheduler>,
    pool: Addr<PeerPool>,
    trackers: Addr<TrackerSupervisor>,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Torrent {
    cfg: TorrentConfig,
    machine: TorrentLifecycle,
    view: TorrentView,
    totals: TransferTotals,
    check: CheckProgress,
    /// Why it has failed, when it has.
    failure: Option<TorrentFailure>,
    /// A survey has been taken in since the files were opened.
    has_surveyed: bool,
    children: Children,
    disk: Option<(ChildId, Addr<DiskWriter>)>,
    running: Option<Running>,
    timer: Timer<Self>,
}

crate::metered!(Torrent, "Torrent");

impl Torrent {
    /// Starts its disk writer when it starts.
    pub fn new(cfg: TorrentConfig) -> Self {
        let mut view = TorrentView::new(cfg.name.clone(), cfg.info_hash, cfg.geometry.total_len());
        view.bytes_selected = cfg.wanted.bytes();
        Self {
            machine: TorrentLifecycle::new(cfg.aim.goal(), cfg.wanted.bytes()),
            cfg,
            view,
            totals: TransferTotals::new(Instant::now().into_std()),
            check: CheckProgress::default(),
            failure: None,
            has_surveyed: false,
            children: Children::new(policies::TORRENT_CHILDREN),
            disk: None,
            running: None,
            timer: Timer::new(),
        }
    }

    /// Applies one mutation to the machine, performs every effect, arms one timer. Returns what the mutation returns.
    fn step<T>(
        &mut self,
        ctx: &mut Ctx<Self>,
        mutate: impl FnOnce(&mut TorrentLifecycle, std::time::Instant) -> T,
    ) -> T {
        let answer = mutate(&mut self.machine, Instant::now().into_std());
        while let Some(effect) = self.machine.poll() {
            self.perform(effect, ctx);
        }
        self.timer.arm(ctx, self.machine.deadline(), |act, ctx| act.step(ctx, TorrentLifecycle::on_timeout));
        answer
    }

    fn perform(&mut self, effect: LifecycleEffect, ctx: &mut Ctx<Self>) {
        match effect {
            LifecycleEffect::StartDisk(mode) => self.start_disk(mode, ctx),
            LifecycleEffect::StopDisk => self.stop_disk(ctx),
            LifecycleEffect::StartPeers => self.start_peers(ctx),
            LifecycleEffect::StopPeers => self.stop_peers(ctx),
            LifecycleEffect::Survey => self.survey(ctx),
            LifecycleEffect::FinishWriting => self.tell_disk(FinishWriting),
            LifecycleEffect::ForgetState => self.tell_disk(ForgetState),
            LifecycleEffect::PauseScheduler(paused) => self.tell_scheduler(Pause(paused)),
            LifecycleEffect::RepeatWrites => self.tell_scheduler(DiskLost),
            LifecycleEffect::ForgetPiece(piece) => self.tell_scheduler(PieceGone(piece)),
            LifecycleEffect::IntroducePeers => self.tell_pool(SchedulerReady),
            LifecycleEffect::SeedToPeers => self.tell_pool(SeedingBegun),
            LifecycleEffect::FetchFromPeers => self.tell_pool(FetchingResumed),
            LifecycleEffect::AnnounceCompleted => self.tell_trackers(Completed),
            LifecycleEffect::Publish => self.publish(),
            LifecycleEffect::End => self.children.clear(ctx, self.cfg.stop_timeout, |_, ctx| ctx.stop()),
        }
    }
}

impl Actor for Torrent {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.children.clear(ctx, self.cfg.stop_timeout, |act, ctx| act.step(ctx, TorrentLifecycle::on_start));
    }

    fn stopped(&mut self, _: &mut Ctx<Self>) {
        self.children.dismiss();
    }
}

impl Supervised for Torrent {
    fn restarting(&mut self, _: &mut Ctx<Self>) {
        self.machine = self.machine.restarted();
        (self.disk, self.running) = (None, None);
        self.timer = Timer::new();
        self.view.on_peers_stopped();
    }
}

impl Child for Torrent {
    fn id(&self) -> String {
        self.cfg.info_hash.to_string()
    }
}

impl Handler<PeersNeeded> for Torrent {
    type Result = ();

    fn handle(&mut self, needed: PeersNeeded, _: &mut Ctx<Self>) {
        self.tell_trackers(needed);
    }
}

impl Handler<Changed> for Torrent {
    type Result = ();

    fn handle(&mut self, _: Changed, ctx: &mut Ctx<Self>) {
        self.step(ctx, TorrentLifecycle::on_changed);
    }
}

impl Handler<ChildEvent> for Torrent {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, ctx: &mut Ctx<Self>) {
        let verdict: ChildVerdict = self.children.on_event(Instant::now(), &event);
        if let Some(fault) = verdict.fault() {
            ctx.stop_with(fault);
        }
        self.step(ctx, TorrentLifecycle::on_changed);
    }
}

impl Handler<Goodbye> for Torrent {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.step(ctx, TorrentLifecycle::on_goodbye);
    }
}

#[cfg(test)]
mod tests;
