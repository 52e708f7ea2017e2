//! What a torrent asks its children when it looks at itself, and what it makes of the answers: the view, and the one
//! reason for the present speed.

use std::time::Duration;

use actix::prelude::*;
use futures_util::future::join3;
use tokio::time::{Instant, timeout};

use super::Torrent;
use crate::actors::disk_writer::Totals;
use crate::actors::kit::Ctx;
use crate::actors::peer_pool::{PoolSurvey, SurveyPool};
use crate::actors::piece_scheduler::GetProgress;
use crate::actors::tracker_supervisor::{Progressed, SurveyTrackers};
use crate::actors::view::{SwarmView, TorrentPhase, TorrentView, TrackerRow};
use crate::logic::pieces::scheduler::DownloadProgress;
use crate::logic::torrent::survey_clock::Sight;
use crate::logic::torrent::why::{self, Facts, PeerFacts, TrackerFacts};

/// 500 ms for a child to answer; without an answer the last one stands.
const SURVEY_TIMEOUT: Duration = Duration::from_millis(500);

impl Torrent {
    /// Surveys the children and takes in what they say.
    pub(super) fn look(&mut self, ctx: &mut Ctx<Self>, then: impl FnOnce(&mut Self, &mut Ctx<Self>) + 'static) {
        let Some(running) = self.running.clone() else { return then(self, ctx) };
        let progress = timeout(SURVEY_TIMEOUT, running.scheduler.send(GetProgress));
        let pool = timeout(SURVEY_TIMEOUT, running.pool.send(SurveyPool));
        let trackers = timeout(SURVEY_TIMEOUT, running.trackers.send(SurveyTrackers));
        let surveyed = join3(progress, pool, trackers).into_actor(self);
        ctx.spawn(surveyed.map(|(progress, pool, trackers), act, ctx| {
            let progress = progress.ok().and_then(Result::ok).flatten();
            let pool = pool.ok().and_then(Result::ok).and_then(Result::ok);
            let trackers = trackers.ok().and_then(Result::ok).and_then(Result::ok);
            act.all_answered = progress.is_some() && pool.is_some() && trackers.is_some();
            act.take_in(progress, pool, trackers);
            then(act, ctx);
        }));
    }

    fn take_in(
        &mut self,
        progress: Option<DownloadProgress>,
        pool: Option<PoolSurvey>,
        trackers: Option<Vec<TrackerRow>>,
    ) {
        let now = Instant::now().into_std();
        if let Some(progress) = progress {
            let received = self.before.0 + progress.received;
            self.down.add(now, received.saturating_sub(self.view.bytes_received));
            self.view.bytes_received = received;
            self.view.bytes_have = progress.bytes_have;
            self.view.bytes_done = progress.bytes_done;
            self.view.bytes_wasted = self.before.1 + progress.wasted;
            self.view.requests_in_flight = u64::from(progress.in_flight_blocks);
            self.view.credit_free = progress.credit_free;
            self.view.disk_busy_percent = progress.disk_busy_percent;
            self.view.hash_failures = u64::from(progress.hash_failures);
            self.view.pieces_nobody_has = progress.nobody_has;
            self.view.pieces_missing = progress.pieces_missing;
        }
        if let Some(PoolSurvey { census, peers, sent, next_dial }) = pool {
            self.up.add(now, sent.saturating_sub(self.view.bytes_sent));
            self.view.bytes_sent = sent;
            let trackers = std::mem::take(&mut self.view.swarm.trackers);
            self.view.swarm = SwarmView { census, peers, trackers, next_dial };
        }
        if let Some(trackers) = trackers {
            self.view.swarm.trackers = trackers;
        }
        (self.view.down_bps, self.view.up_bps) = (self.down.bps(now), self.up.bps(now));
        self.view.why = Some(why::why(&self.facts()));
        let (received, sent) = (self.view.bytes_received, self.view.bytes_sent);
        if let Some(disk) = &self.disk {
            disk.do_send(Totals { received, sent });
        }
        if let Some(running) = &self.running {
            let left = self.view.bytes_total - self.view.bytes_have;
            let partial_seed = left > 0 && matches!(self.view.phase, TorrentPhase::Seeding);
            running.trackers.do_send(Progressed { downloaded: received, uploaded: sent, left, partial_seed });
        }
    }

    /// What the last look saw. What is fetched moves even when nothing comes: a person waits, and its `why` counts down.
    pub(super) fn sight(&self) -> Sight {
        let TorrentView { phase, down_bps, up_bps, swarm, .. } = &self.view;
        let is_done = match phase {
            TorrentPhase::Opening | TorrentPhase::Checking { .. } | TorrentPhase::Fetching => false,
            TorrentPhase::Seeding => self.all_answered,
            TorrentPhase::Complete | TorrentPhase::Failed(_) => true,
        };
        let time = self.cfg.aim.goal().and_then(|goal| goal.time);
        let ends = self.seeding_since.zip(time).and_then(|(since, time)| since.checked_add(time));
        let ends = ends.filter(|_| matches!(phase, TorrentPhase::Seeding)).map(Instant::into_std);
        Sight::of(is_done, down_bps + up_bps, swarm.peers.iter().map(|peer| peer.view), ends)
    }

    fn facts(&self) -> Facts {
        let SwarmView { census, peers, trackers, next_dial } = &self.view.swarm;
        let interesting = peers.iter().filter(|peer| peer.view.am_interested);
        Facts {
            phase: match self.view.phase {
                TorrentPhase::Complete => why::WhyPhase::Complete,
                TorrentPhase::Seeding => why::WhyPhase::Seeding,
                _ => why::WhyPhase::Downloading,
            },
            paused: false,
            trackers: TrackerFacts {
                usable: trackers.len(),
                unsupported: self.cfg.tiers.iter().map(Vec::len).sum::<usize>().saturating_sub(trackers.len()),
                tried: trackers.iter().filter(|tracker| tracker.works || tracker.failed).count(),
                failed: trackers.iter().filter(|tracker| tracker.failed).count(),
                next_announce: trackers.iter().filter_map(|tracker| tracker.next_in).min(),
            },
            peers: PeerFacts {
                known: census.known,
                unreachable: census.tried.saturating_sub(census.reached + census.half_open),
                half_open: census.half_open,
                connected: peers.len(),
                interesting: interesting.clone().count(),
                choked_by: interesting.filter(|peer| peer.view.peer_choking).count(),
                next_dial: *next_dial,
            },
            rate_bps: self.view.down_bps,
            in_flight: self.view.requests_in_flight,
            disk_busy_percent: self.view.disk_busy_percent,
            disk_trouble: self.view.disk_trouble.clone(),
            missing: self.view.pieces_missing,
            nobody_has: self.view.pieces_nobody_has,
        }
    }
}
