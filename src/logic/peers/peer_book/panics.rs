//! Pauses dialling when too many of our own peer actors panic (`docs/SUPERVISION.md`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// More than 20 panics within [`SPAN`] are too many.
const MOST: usize = 20;
/// 60 s: the window in which panics are counted.
const SPAN: Duration = Duration::from_secs(60);

/// 30 s without a dial after too many panics.
pub(super) const PAUSE: Duration = Duration::from_secs(30);

/// The panics of the last minute.
#[derive(Debug, Default)]
pub(super) struct RecentPanics {
    times: VecDeque<Instant>,
    /// When dialling continues, if it was ever paused.
    held_until: Option<Instant>,
}

impl RecentPanics {
    /// Counts a panic. Returns whether it starts a pause.
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

    /// When dialling continues. `None` if it was never paused.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }
}
