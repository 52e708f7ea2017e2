//! What the tests of this floor share: the one place that reads a clock, to have an instant to count from.

use std::time::Instant;

/// Some instant; tests add to it and never read a clock again.
pub(crate) fn base_instant() -> Instant {
    tokio::time::Instant::now().into_std()
}
