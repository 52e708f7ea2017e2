//! The view that a torrent publishes: its phase, and the one reason for its present speed.

use super::Torrent;
use crate::actors::view::{SwarmView, TorrentPhase};
use crate::logic::torrent::lifecycle::TorrentActivity;
use crate::logic::torrent::why::{self, Facts, PeerFacts, TrackerFact, TrackerFacts, WhyPhase};

/// How far the hashing of data that was there before has come.
#[derive(Debug, Clone, Default)]
pub(super) struct CheckProgress {
    /// Bytes hashed.
    pub(super) done: u64,
    /// Bytes to hash in all.
    pub(super) total: u64,
    /// Why, in words.
    pub(super) reason: Option<String>,
}

impl Torrent {
    pub(super) fn publish(&mut self) {
        let state = self.machine.state();
        self.view.phase = self.phase();
        if !self.machine.is_disk_troubled() {
            self.view.disk_trouble = None;
        }
        if state.activity().is_complete() {
            self.view.bytes_done = self.view.bytes_selected;
            self.view.bytes_have = self.view.bytes_have.max(self.view.bytes_selected);
        }
        if self.has_surveyed || state.is_paused() {
            self.view.why = Some(why::why(&self.facts()));
        }
        self.cfg.view.send_replace(self.view.clone());
    }

    /// A check goes on through a pause, and is what is shown then.
    fn phase(&self) -> TorrentPhase {
        let state = self.machine.state();
        match state.activity() {
            TorrentActivity::Opening => TorrentPhase::Opening,
            TorrentActivity::Checking => {
                let CheckProgress { done, total, reason } = self.check.clone();
                TorrentPhase::Checking { done, total, reason }
            }
            TorrentActivity::Failed => self.failure.clone().map_or(TorrentPhase::Opening, TorrentPhase::Failed),
            _ if state.is_paused() => TorrentPhase::Paused,
            TorrentActivity::Fetching | TorrentActivity::Finishing { seeded: false } => TorrentPhase::Fetching,
            TorrentActivity::Seeding | TorrentActivity::Finishing { seeded: true } => TorrentPhase::Seeding,
            TorrentActivity::Complete => TorrentPhase::Complete,
        }
    }

    fn facts(&self) -> Facts {
        let SwarmView { census, peers, trackers, next_dial } = &self.view.swarm;
        let state = self.machine.state();
        let announce_urls = self.cfg.tiers.iter().map(Vec::len).sum();
        let trackers = trackers.iter().map(|tracker| TrackerFact {
            works: tracker.works,
            failed: tracker.failed,
            next_in: tracker.next_in,
        });
        Facts {
            phase: WhyPhase::of(state.activity()),
            paused: state.is_paused(),
            trackers: TrackerFacts::of(announce_urls, trackers),
            peers: PeerFacts::of(census, peers.iter().map(|peer| peer.view), *next_dial),
            rate_bps: self.view.down_bps,
            in_flight: self.view.requests_in_flight,
            disk_busy_percent: self.view.disk_busy_percent,
            disk_trouble: self.view.disk_trouble.clone(),
            missing: self.view.pieces_missing,
            nobody_has: self.view.pieces_nobody_has,
        }
    }
}
