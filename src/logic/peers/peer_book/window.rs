//! The last unproductive dials of one address or one host, for the rule "at most three in ten minutes" (I7, T-20).

use std::time::{Duration, Instant};

/// Ten minutes: the span in which unproductive dials are counted (T-20, I7).
pub(super) const SPAN: Duration = Duration::from_secs(600);

/// Three: what T-20 and I7 allow a stranger to make us send.
const MOST: usize = 3;

/// When the last three dials went out, newest last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window([Option<Instant>; MOST]);

impl Window {
    /// A dial goes out; the one before the last three no longer matters.
    pub(super) fn charge(&mut self, now: Instant) {
        self.0.rotate_left(1);
        self.0[MOST - 1] = Some(now);
    }

    /// When the next dial is allowed; `None` is now.
    pub(super) fn opens_at(&self, now: Instant) -> Option<Instant> {
        self.0[0].map(|oldest| oldest + SPAN).filter(|opens| *opens > now)
    }

    /// Nothing in it matters any more.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.0[MOST - 1].is_none_or(|newest| newest + SPAN <= now)
    }
}
