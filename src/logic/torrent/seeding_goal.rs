//! How long a complete torrent seeds: until a ratio is reached, for a time, or until the user stops it.
//!
//! The goal is given bytes and times and keeps no state.

use std::time::Duration;

/// The user's seeding goal. If both parts are given, the one that is reached first ends the seeding, as in aria2. If
/// neither is given, the torrent seeds until it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SeedingGoal {
    /// Bytes sent in this run, divided by the size of the torrent.
    pub ratio: Option<f64>,
    /// Time since the torrent became complete in this run.
    pub time: Option<Duration>,
}

impl SeedingGoal {
    /// Returns whether the goal is reached with `sent` bytes sent of a torrent of `size` bytes, `since` after it
    /// became complete. A torrent of no bytes never reaches a ratio.
    pub fn is_reached(&self, sent: u64, size: u64, since: Duration) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 53 bits")]
        let has_ratio = |ratio: f64| size > 0 && sent as f64 >= ratio * size as f64;
        self.ratio.is_some_and(has_ratio) || self.time.is_some_and(|time| since >= time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_two_ends_it() {
        let table = [
            (None, None, 1_000, 1_000_000, false),
            (Some(1.0), None, 999, 0, false),
            (Some(1.0), None, 1000, 0, true),
            (Some(0.0), None, 0, 0, true),
            (Some(2.5), None, 2_499, 1_000_000, false),
            (None, Some(60), 1_000_000, 59, false),
            (None, Some(60), 0, 60, true),
            (Some(1.0), Some(60), 0, 60, true),
            (Some(1.0), Some(60), 1_000, 0, true),
            (Some(1.0), Some(60), 999, 59, false),
        ];
        for (ratio, time, sent, secs, want) in table {
            let goal = SeedingGoal { ratio, time: time.map(Duration::from_secs) };
            assert_eq!(goal.is_reached(sent, 1000, Duration::from_secs(secs)), want, "{goal:?} {sent} {secs}");
        }
        assert!(!SeedingGoal { ratio: Some(1.0), time: None }.is_reached(0, 0, Duration::ZERO), "nothing to send");
    }
}
