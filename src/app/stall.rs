//! The timer of `--stall-timeout`. It runs while torrents are fetched, and restarts with every received byte.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::actors::view::{TorrentPhase, TorrentView};

/// One timer for all torrents of a run: as long as any torrent receives bytes, the run has not stalled.
pub(super) struct Stall {
    limit: Option<Duration>,
    /// The bytes received by each torrent that is being fetched.
    fetching: BTreeMap<usize, u64>,
    since: Instant,
}

impl Stall {
    /// A timer for this time-out; `None` never elapses.
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { limit, fetching: BTreeMap::new(), since: Instant::now() }
    }

    /// Updates the timer with the view of torrent `nth`.
    pub(super) fn on_view(&mut self, nth: usize, view: &TorrentView) {
        let before = match view.phase {
            TorrentPhase::Fetching => self.fetching.insert(nth, view.bytes_received),
            // A slow disk is not a stall of the swarm.
            TorrentPhase::Opening | TorrentPhase::Checking { .. } => None,
            TorrentPhase::Seeding | TorrentPhase::Complete | TorrentPhase::Paused | TorrentPhase::Failed(_) => {
                self.fetching.remove(&nth);
                return;
            }
        };
        if before != Some(view.bytes_received) {
            self.since = Instant::now();
        }
    }

    /// Waits until no byte was received for the time-out. Waits for ever if nothing is being fetched.
    pub(super) async fn elapsed(&self) {
        match self.limit {
            Some(limit) if !self.fetching.is_empty() => sleep_until(self.since + limit).await,
            _ => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::InfoHash;

    #[tokio::test(start_paused = true)]
    async fn the_timer_runs_only_while_nothing_is_received() {
        let mut stall = Stall::new(Some(Duration::from_secs(60)));
        let mut view = TorrentView::new("x".to_owned(), InfoHash([1; 20]), 3);
        let mut rings = async |nth, phase, received, secs| {
            (view.phase, view.bytes_received) = (phase, received);
            stall.on_view(nth, &view);
            tokio::time::timeout(Duration::from_secs(secs), stall.elapsed()).await.is_ok()
        };
        let checking = || TorrentPhase::Checking { done: 0, total: 1, reason: None };
        assert!(!rings(0, checking(), 0, 59).await);
        assert!(!rings(0, checking(), 0, 59).await, "it is the disk that takes its time");
        assert!(!rings(0, TorrentPhase::Fetching, 1, 59).await);
        assert!(!rings(0, TorrentPhase::Fetching, 2, 59).await, "a byte came");
        assert!(!rings(1, TorrentPhase::Fetching, 0, 59).await, "another one begins");
        assert!(!rings(1, TorrentPhase::Fetching, 1, 59).await, "and a byte of it came");
        assert!(rings(0, TorrentPhase::Fetching, 2, 2).await);
        assert!(rings(0, TorrentPhase::Seeding, 2, 0).await, "the other one stalls all the same");
        assert!(!rings(1, TorrentPhase::Paused, 2, 1000).await, "what a user paused does not stall");
        assert!(!rings(1, TorrentPhase::Complete, 2, 1000).await, "nothing is fetched any more");
        assert!(tokio::time::timeout(Duration::from_secs(1_000_000), Stall::new(None).elapsed()).await.is_err());
    }
}
