//! How often our own actors panic over peers: too often, and nothing is dialled for a while (`docs/SUPERVISION.md`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// More than 20 panics in 60 s are too often.
const MOST: usize = 20;
const SPAN: Duration = Duration::from_secs(60);

/// 30 s without a dial.
pub(super) const PAUSE: Duration = Duration::from_secs(30);

/// The panics of the last minute.
#[derive(Debug, Default)]
pub(super) struct RecentPanics {
    times: VecDeque<Instant>,
    held_until: Option<Instant>,
}

impl RecentPanics {
    /// One more; says whether it is the one too many.
    pub(super) fn count(&mut self, now: Instant) -> bool {
        self.times.push_back(now);
        self.times.retain(|at| now.saturating_duration_since(*at) < SPAN);
        let is_enough = self.times.len() > MOST;
        if is_enough {
            self.times.clear();
            self.held_until = Some(now + PAUSE);
        }
        is_enough
    }

    /// When dialling goes on, if it was ever held.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }
}
