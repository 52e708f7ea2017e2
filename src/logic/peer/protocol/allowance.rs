//! Limits how often a peer may do something within a minute.

use std::time::{Duration, Instant};

/// The number of times that a peer may do something within a minute.
#[derive(Debug)]
pub(super) struct Budget {
    /// The limit for one minute.
    most: u32,
    /// How often it was done in the present minute.
    spent: u32,
    /// When the present minute began.
    since: Instant,
}

impl Budget {
    /// Allows `most` times a minute.
    pub(super) const fn a_minute(now: Instant, most: u32) -> Self {
        Self { most, spent: 0, since: now }
    }

    /// Counts one more time. Returns whether it is within the limit.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        if now >= self.since + Duration::from_secs(60) {
            (self.spent, self.since) = (0, now);
        }
        self.spent = self.spent.saturating_add(1);
        self.spent <= self.most
    }
}
