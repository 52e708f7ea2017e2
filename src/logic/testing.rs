//! Shared by the tests of `logic`: the one function that reads a clock, to have an instant to count from.

use std::time::Instant;

/// Returns the present instant. A test adds durations to it and reads no clock again.
pub(crate) fn base_instant() -> Instant {
    tokio::time::Instant::now().into_std()
}
