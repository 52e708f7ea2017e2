//! `Torrent`: one torrent's actors and what is known of it.
//!
//! Parent of `DiskWriter`, `PieceScheduler`, `PeerPool`, `TrackerSupervisor`, started in this order and stopped in the
//! reverse one. Child of `Session`, permanent, 3 restarts in 60 s; then it is failed with its reason and the others live.
//! It lives with all its children on the arbiter that is its [`Place`], which need not be the session's.
//! Hears the news of its children and passes on what concerns a sibling. Publishes a [`TorrentView`]: every second
//! while something moves, and while nothing does once a child says that it is [`Changed`]. Asks its children for surveys. Limits: none of its own. Ends when told to, after its children.

mod disk_news;
mod survey;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;
use tokio::time::Instant;

use super::disk_writer::{DiskNews, DiskWriter, DiskWriterConfig, FinishWriting, ForgetState};
use super::kit::{self, Child, ChildEvent, ChildVerdict, Ctx, Family, Goodbye, Place, Timer};
use super::listener::RegisterTorrent;
use super::peer_pool::{Ban, Pardon, PeerPool, PeerPoolConfig, PeersFound, PeersNeeded, SchedulerReady, SeedingBegun};
use super::piece_scheduler::{Pause, PieceScheduler, PieceSchedulerConfig, SchedulerNews};
use super::policies;
use super::tracker_supervisor::{Completed, TrackerSupervisor, TrackerSupervisorConfig};
use super::view::{Changed, TorrentFailure, TorrentPhase, TorrentView};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::Geometry;
use crate::base::ids::{InfoHash, PeerId};
use crate::logic::peers::peer_book::{BookConfig, PeerSource};
use crate::logic::rate::Rate;
use crate::logic::torrent::seeding_goal::SeedingGoal;
use crate::logic::torrent::selection::WantedPieces;
use crate::logic::torrent::survey_clock::SurveyClock;
use crate::net::Net;
use crate::net::throttle::RateLimits;
use crate::storage::SharedStorage;

/// What a torrent is worked on for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// To have it; and then, if somebody wishes so, to give it to others.
    Fetch {
        /// For how long it is given.
        then: Option<SeedingGoal>,
    },
    /// To give it to others: what is missing is not fetched.
    Seed(SeedingGoal),
}

impl Aim {
    const fn goal(self) -> Option<SeedingGoal> {
        match self {
            Self::Fetch { then } => then,
            Self::Seed(goal) => Some(goal),
        }
    }
}

/// All that a torrent is given.
#[derive(Debug, Clone)]
pub struct TorrentConfig {
    /// Fit to be shown.
    pub name: String,
    /// The swarm.
    pub info_hash: InfoHash,
    /// The sizes.
    pub geometry: Geometry,
    /// What is to be fetched.
    pub wanted: Arc<WantedPieces>,
    /// What for.
    pub aim: Aim,
    /// Hide what we have from peers and name it piece by piece (BEP 16).
    pub super_seed: bool,
    /// Announce URLs by tier (BEP 12).
    pub tiers: Vec<Vec<String>>,
    /// No peer sources but the trackers (BEP 27).
    pub private: bool,
    /// Peers that a person named.
    pub peers: Vec<SocketAddr>,
    /// Who we are.
    pub our_id: PeerId,
    /// The port we tell trackers.
    pub port: u16,
    /// The way out.
    pub net: Net,
    /// What the session may read from peers and write to them.
    pub limits: RateLimits,
    /// Where the bytes go.
    pub storage: SharedStorage,
    /// Wait for a full disk to have space again.
    pub patient_disk: bool,
    /// Bytes that may be asked for and not yet be written.
    pub credit: u64,
    /// Limits of the peer book.
    pub book: BookConfig,
    /// How long children may take to end, each.
    pub stop_timeout: Duration,
    /// For all dice below.
    pub seed: u64,
    /// The listener, when there is one: peers that come by themselves.
    pub listener: Option<Recipient<RegisterTorrent>>,
    /// Where it lives.
    pub place: Place,
    /// Where the view is published.
    pub view: Arc<watch::Sender<TorrentView>>,
}

/// Children that run only once the disk is ready.
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
    view: TorrentView,
    family: Family,
    disk: Option<Addr<DiskWriter>>,
    running: Option<Running>,
    down: Rate,
    up: Rate,
    /// Bytes received and wasted before the scheduler was last restarted: its own counters begin anew.
    before: (u64, u64),
    /// Every piece is written, and the writer was told so.
    finishing: bool,
    /// Since when it is given to others.
    seeding_since: Option<Instant>,
    looks: SurveyClock,
    /// All children have answered when last asked.
    all_answered: bool,
    timer: Timer<Self>,
}

crate::metered!(Torrent, "Torrent");

impl Torrent {
    /// Starts its writer when it starts.
    pub fn new(cfg: TorrentConfig) -> Self {
        let now = Instant::now().into_std();
        let mut view = TorrentView::new(cfg.name.clone(), cfg.info_hash, cfg.geometry.total_len());
        view.bytes_selected = cfg.wanted.bytes();
        Self {
            cfg,
            view,
            family: Family::new(policies::TORRENT_CHILDREN),
            disk: None,
            running: None,
            down: Rate::new(now),
            up: Rate::new(now),
            before: (0, 0),
            finishing: false,
            seeding_since: None,
            looks: SurveyClock::default(),
            all_answered: false,
            timer: Timer::new(),
        }
    }

    fn start_disk(&mut self, ctx: &mut Ctx<Self>) {
        let writer = DiskWriter::new(DiskWriterConfig {
            name: self.cfg.name.clone(),
            geometry: self.cfg.geometry,
            storage: Arc::clone(&self.cfg.storage),
            torrent: ctx.address().recipient(),
            patient: self.cfg.patient_disk,
            must_be_whole: matches!(self.cfg.aim, Aim::Seed(_)),
        });
        let handle = kit::spawn(writer, policies::DISK_WRITER, self.cfg.seed ^ 1, ctx.address().recipient());
        self.disk = Some(self.family.adopt(handle));
    }

    fn start_crew(&mut self, ctx: &mut Ctx<Self>) {
        let (Some(disk), None) = (self.disk.clone(), &self.running) else { return };
        let me = ctx.address();
        let scheduler = PieceScheduler::new(PieceSchedulerConfig {
            name: self.cfg.name.clone(),
            geometry: self.cfg.geometry,
            wanted: Arc::clone(&self.cfg.wanted),
            credit: self.cfg.credit,
            max_bps: self.cfg.limits.down.bps(),
            seed: self.cfg.seed,
            disk: disk.clone().recipient(),
            have: disk.clone().recipient(),
            torrent: me.clone().recipient(),
        });
        let scheduler = kit::spawn(scheduler, policies::PIECE_SCHEDULER, self.cfg.seed ^ 2, me.clone().recipient());
        let scheduler = self.family.adopt(scheduler);
        let pool = PeerPool::new(PeerPoolConfig {
            pex: !self.cfg.private,
            super_seed: self.cfg.super_seed,
            listen_port: Some(self.cfg.port).filter(|port| *port > 0),
            name: self.cfg.name.clone(),
            net: Arc::clone(&self.cfg.net),
            limits: self.cfg.limits.clone(),
            info_hash: self.cfg.info_hash,
            our_id: self.cfg.our_id,
            geometry: self.cfg.geometry,
            book: self.cfg.book,
            seed: self.cfg.seed,
            scheduler: scheduler.clone().recipient(),
            disk: disk.recipient(),
            torrent: me.clone().recipient(),
            stirred: me.clone().recipient(),
        });
        let pool = self.family.adopt(kit::spawn(pool, policies::PEER_POOL, self.cfg.seed ^ 3, me.clone().recipient()));
        if let Some(listener) = &self.cfg.listener {
            listener.do_send(RegisterTorrent { info_hash: self.cfg.info_hash, pool: pool.clone().recipient() });
        }
        if !self.cfg.peers.is_empty() {
            pool.do_send(PeersFound { addrs: self.cfg.peers.clone(), source: PeerSource::Manual });
        }
        let trackers = TrackerSupervisor::new(TrackerSupervisorConfig {
            name: self.cfg.name.clone(),
            net: Arc::clone(&self.cfg.net),
            info_hash: self.cfg.info_hash,
            our_id: self.cfg.our_id,
            port: self.cfg.port,
            tiers: self.cfg.tiers.clone(),
            left: self.view.bytes_total - self.view.bytes_have,
            seed: self.cfg.seed,
            pool: pool.clone().recipient(),
            stirred: me.clone().recipient(),
        });
        let trackers = kit::spawn(trackers, policies::TRACKER_SUPERVISOR, self.cfg.seed ^ 4, me.recipient());
        let trackers = self.family.adopt(trackers);
        self.running = Some(Running { scheduler, pool, trackers });
    }

    fn on_ready(&mut self, have: &Bitfield, checked: u64, ctx: &mut Ctx<Self>) {
        let geometry = self.cfg.geometry;
        let kept = geometry.len_of(have.pieces(&geometry));
        (self.view.bytes_have, self.view.bytes_kept, self.view.bytes_checked) = (kept, kept, checked);
        self.view.bytes_done = self.cfg.wanted.bytes_had(&geometry, have);
        if self.cfg.wanted.is_met_by(have) {
            return self.on_complete(ctx);
        }
        self.view.phase = TorrentPhase::Fetching;
        self.start_crew(ctx);
        self.publish();
    }

    /// Every wanted byte is there, as safe as it was asked to be.
    fn on_complete(&mut self, ctx: &mut Ctx<Self>) {
        self.finishing = false;
        self.view.bytes_done = self.view.bytes_selected;
        self.view.bytes_have = self.view.bytes_have.max(self.view.bytes_selected);
        self.view.phase = TorrentPhase::Complete;
        if self.cfg.aim.goal().is_some() && !self.is_goal_reached() {
            self.view.phase = TorrentPhase::Seeding;
            self.seeding_since.get_or_insert_with(Instant::now);
            self.start_crew(ctx);
        } else {
            self.forget_state();
        }
        self.publish();
    }

    /// It is complete, and nothing more is done for it.
    fn forget_state(&self) {
        if let Some(disk) = &self.disk {
            disk.do_send(ForgetState);
        }
    }

    /// Ends the seeding when what was asked for is reached, after a last look at the files: it ends with "complete" again.
    fn judge_seeding(&mut self) {
        if matches!(self.view.phase, TorrentPhase::Seeding) && !self.finishing && self.is_goal_reached() {
            self.finishing = true;
            self.finish();
        }
    }

    fn is_goal_reached(&self) -> bool {
        let (Some(since), Some(goal)) = (self.seeding_since, self.cfg.aim.goal()) else { return false };
        goal.is_reached(self.view.bytes_sent, self.view.bytes_selected, since.elapsed())
    }

    fn pause(&self, paused: bool) {
        if let Some(running) = &self.running {
            running.scheduler.do_send(Pause(paused));
        }
    }

    fn on_scheduler_news(&mut self, news: SchedulerNews, ctx: &mut Ctx<Self>) {
        let Some(running) = &self.running else { return };
        match news {
            SchedulerNews::Ready => {
                self.before = (self.view.bytes_received, self.view.bytes_wasted);
                running.pool.do_send(SchedulerReady);
                if self.view.disk_trouble.is_some() {
                    self.pause(true);
                }
            }
            SchedulerNews::Liar { addr, piece } => running.pool.do_send(Ban { addr, piece }),
            SchedulerNews::Acquitted { addr } => running.pool.do_send(Pardon(addr)),
            SchedulerNews::PieceSuspect { piece, failures } => {
                tracing::warn!(%piece, failures, "piece fails from every source");
            }
            SchedulerNews::Completed { whole } => {
                // Every new scheduler says so of what is complete, and again when a lost piece is back: no news for
                // trackers. Who has a part only is no seed, whatever it does not want of the rest (BEP 21).
                if whole && self.seeding_since.is_none() {
                    running.trackers.do_send(Completed);
                }
                running.pool.do_send(SeedingBegun);
                if !matches!(self.view.phase, TorrentPhase::Seeding) {
                    self.finishing = true;
                    // One last survey, so that the final figures are whole.
                    self.look(ctx, |act, _| act.finish());
                }
            }
        }
    }

    fn finish(&self) {
        if let Some(disk) = &self.disk {
            disk.do_send(FinishWriting);
        }
    }

    fn publish(&self) {
        self.cfg.view.send_replace(self.view.clone());
    }

    fn fail(&mut self, failure: TorrentFailure) {
        self.view.phase = TorrentPhase::Failed(failure);
        self.publish();
    }

    fn on_tick(&mut self, ctx: &mut Ctx<Self>) {
        self.looks.on_look(Instant::now().into_std());
        self.look(ctx, |act, ctx| {
            act.judge_seeding();
            act.publish();
            act.looks.on_seen(act.sight());
            act.arm(ctx);
        });
    }

    /// Something may have changed that the last look did not see.
    fn stir(&mut self, ctx: &mut Ctx<Self>) {
        self.looks.on_stirred();
        self.arm(ctx);
    }

    fn arm(&mut self, ctx: &mut Ctx<Self>) {
        self.timer.arm(ctx, self.looks.deadline(), Self::on_tick);
    }
}

impl Actor for Torrent {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.family.clear(ctx, self.cfg.stop_timeout, |act, ctx| {
            act.start_disk(ctx);
            act.on_tick(ctx);
        });
    }

    fn stopped(&mut self, _: &mut Ctx<Self>) {
        self.family.dismiss();
    }
}

impl Supervised for Torrent {
    fn restarting(&mut self, _: &mut Ctx<Self>) {
        (self.disk, self.running) = (None, None);
        (self.timer, self.looks) = (Timer::new(), SurveyClock::default());
        self.view.phase = TorrentPhase::Opening;
    }
}

impl Child for Torrent {
    fn id(&self) -> String {
        self.cfg.info_hash.to_string()
    }
}

impl Handler<DiskNews> for Torrent {
    type Result = ();

    fn handle(&mut self, news: DiskNews, ctx: &mut Ctx<Self>) {
        self.on_disk_news(news, ctx);
        self.stir(ctx);
    }
}

impl Handler<SchedulerNews> for Torrent {
    type Result = ();

    fn handle(&mut self, news: SchedulerNews, ctx: &mut Ctx<Self>) {
        self.on_scheduler_news(news, ctx);
        self.stir(ctx);
    }
}

impl Handler<PeersNeeded> for Torrent {
    type Result = ();

    fn handle(&mut self, needed: PeersNeeded, _: &mut Ctx<Self>) {
        if let Some(running) = &self.running {
            running.trackers.do_send(needed);
        }
    }
}

impl Handler<Changed> for Torrent {
    type Result = ();

    fn handle(&mut self, _: Changed, ctx: &mut Ctx<Self>) {
        self.stir(ctx);
    }
}

impl Handler<ChildEvent> for Torrent {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, ctx: &mut Ctx<Self>) {
        let verdict: ChildVerdict = self.family.on_event(Instant::now(), &event);
        if let Some(fault) = verdict.fault() {
            ctx.stop_with(fault);
        }
        self.stir(ctx);
    }
}

impl Handler<Goodbye> for Torrent {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.looks.on_goodbye();
        self.arm(ctx);
        // A last look, so that the final figures are whole.
        self.look(ctx, |act, ctx| {
            act.publish();
            act.family.clear(ctx, act.cfg.stop_timeout, |_, ctx| ctx.stop());
        });
    }
}

#[cfg(test)]
mod tests;
