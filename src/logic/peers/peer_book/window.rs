//! The last unproductive dials of one address or one host, for the rule "at most three in ten minutes" (I7, T-20).

use std::time::{Duration, Instant};

/// Ten minutes: the span in which unproductive dials are counted (T-20, I7).
pub(super) const SPAN: Duration = Duration::from_secs(600);

/// Three dials: as many as T-20 and I7 allow a stranger to cause.
const MOST: usize = 3;

/// The times of the last three dials, the newest last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window([Option<Instant>; MOST]);

impl Window {
    /// A dial starts. The oldest of three dials is forgotten.
    pub(super) fn charge(&mut self, now: Instant) {
        self.0.rotate_left(1);
        self.0[MOST - 1] = Some(now);
    }

    /// When the next dial is allowed. `None`: now.
    pub(super) fn opens_at(&self, now: Instant) -> Option<Instant> {
        self.0[0].map(|oldest| oldest + SPAN).filter(|opens| *opens > now)
    }

    /// Whether no dial of this window counts any more.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.0[MOST - 1].is_none_or(|newest| newest + SPAN <= now)
    }
}
