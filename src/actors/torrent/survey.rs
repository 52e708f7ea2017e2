//! What a torrent asks its children once a second while something moves, and what it makes of the answers.

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
use crate::actors::view::{SwarmView, TrackerRow};
use crate::logic::pieces::scheduler::DownloadProgress;
use crate::logic::torrent::lifecycle::SurveyFindings;
use crate::logic::torrent::survey_clock::PeerInterest;

/// 500 ms for a child to answer; without an answer the last one stands.
const SURVEY_TIMEOUT: Duration = Duration::from_millis(500);

/// The answers of the children; `None` where one does not answer in time.
struct SurveyAnswers {
    progress: Option<DownloadProgress>,
    pool: Option<PoolSurvey>,
    trackers: Option<Vec<TrackerRow>>,
}

impl Torrent {
    /// Asks the children, takes in what they say, and tells the machine what was found.
    pub(super) fn survey(&mut self, ctx: &mut Ctx<Self>) {
        let Some(running) = &self.running else { return };
        let progress = timeout(SURVEY_TIMEOUT, running.scheduler.send(GetProgress));
        let pool = timeout(SURVEY_TIMEOUT, running.pool.send(SurveyPool));
        let trackers = timeout(SURVEY_TIMEOUT, running.trackers.send(SurveyTrackers));
        let surveyed = join3(progress, pool, trackers).into_actor(self);
        ctx.spawn(surveyed.map(|(progress, pool, trackers), act, ctx| {
            let progress = progress.ok().and_then(Result::ok).flatten();
            let pool = pool.ok().and_then(Result::ok).and_then(Result::ok);
            let trackers = trackers.ok().and_then(Result::ok).and_then(Result::ok);
            let found = act.take_in(SurveyAnswers { progress, pool, trackers });
            act.step(ctx, |machine, now| machine.on_surveyed(now, found));
        }));
    }

    fn take_in(&mut self, SurveyAnswers { progress, pool, trackers }: SurveyAnswers) -> SurveyFindings {
        let now = Instant::now().into_std();
        let all_answered = progress.is_some() && pool.is_some() && trackers.is_some();
        if let Some(progress) = progress {
            self.totals.on_received(now, progress.received, progress.wasted);
            self.view.bytes_have = progress.bytes_have;
            self.view.bytes_done = progress.bytes_done;
            self.view.requests_in_flight = u64::from(progress.in_flight_blocks);
            self.view.credit_free = progress.credit_free;
            self.view.disk_busy_percent = progress.disk_busy_percent;
            self.view.hash_failures = u64::from(progress.hash_failures);
            self.view.pieces_nobody_has = progress.nobody_has;
            self.view.pieces_missing = progress.pieces_missing;
        }
        if let Some(PoolSurvey { census, peers, sent, next_dial }) = pool {
            self.totals.on_sent(now, sent);
            let trackers = std::mem::take(&mut self.view.swarm.trackers);
            self.view.swarm = SwarmView { census, peers, trackers, next_dial };
        }
        if let Some(trackers) = trackers {
            self.view.swarm.trackers = trackers;
        }
        (self.view.bytes_received, self.view.bytes_wasted) = (self.totals.received(), self.totals.wasted());
        self.view.bytes_sent = self.totals.sent();
        (self.view.down_bps, self.view.up_bps) = self.totals.bps(now);
        self.has_surveyed = true;
        self.pass_on_totals();
        SurveyFindings {
            all_answered,
            bps: self.view.down_bps + self.view.up_bps,
            bytes_sent: self.view.bytes_sent,
            peers: PeerInterest::of(self.view.swarm.peers.iter().map(|peer| peer.view)),
        }
    }

    /// The disk writer records what was moved, the trackers announce it.
    fn pass_on_totals(&self) {
        let (received, sent) = self.totals.since_disk_start();
        self.tell_disk(Totals { received, sent });
        let left = self.view.bytes_total - self.view.bytes_have;
        let partial_seed = left > 0 && self.machine.state().activity().is_complete();
        let (downloaded, uploaded) = (self.view.bytes_received, self.view.bytes_sent);
        self.tell_trackers(Progressed { downloaded, uploaded, left, partial_seed });
    }
}
