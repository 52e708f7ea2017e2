//! So many of something a minute from one peer, and no more.

use std::time::{Duration, Instant};

/// Counts what a peer may do a few times.
#[derive(Debug)]
pub(super) struct Budget {
    most: u32,
    spent: u32,
    since: Instant,
}

impl Budget {
    /// `most` a minute.
    pub(super) const fn a_minute(now: Instant, most: u32) -> Self {
        Self { most, spent: 0, since: now }
    }

    /// Once more. False: that was too often.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        if now >= self.since + Duration::from_secs(60) {
            (self.spent, self.since) = (0, now);
        }
        self.spent = self.spent.saturating_add(1);
        self.spent <= self.most
    }
}
