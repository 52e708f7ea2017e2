//! How long a complete torrent seeds: until a ratio is reached, for a time, or until the user stops it.
//!
//! The goal is given bytes and times and keeps no state.

use std::time::{Duration, Instant};

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

/// How long a complete torrent was given to others; pauses do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeedingTime {
    has_begun: bool,
    /// Up to the last halt.
    before: Duration,
    /// Since when it runs; `None` while it is halted.
    since: Option<Instant>,
}

impl SeedingTime {
    /// The torrent is complete. `runs`: it is not paused. Does nothing to a time that runs.
    pub fn begin(&mut self, now: Instant, runs: bool) {
        self.has_begun = true;
        if runs {
            self.go_on(now);
        }
    }

    /// The torrent is paused, or is given to others no more.
    pub fn halt(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.before += now.saturating_duration_since(since);
        }
    }

    /// The pause is over.
    pub fn go_on(&mut self, now: Instant) {
        if self.has_begun {
            self.since.get_or_insert(now);
        }
    }

    /// How long it was; `None` if it has never begun.
    pub fn elapsed(&self, now: Instant) -> Option<Duration> {
        let running = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.has_begun.then(|| self.before + running)
    }

    /// When it will be `time`; `None` while it does not run.
    pub fn reaches(&self, time: Duration) -> Option<Instant> {
        self.since?.checked_add(time.saturating_sub(self.before))
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

    #[test]
    fn a_pause_is_no_time_of_seeding() {
        let t0 = crate::logic::testing::base_instant();
        let (at, secs) = (|secs| t0 + Duration::from_secs(secs), Duration::from_secs);
        let mut time = SeedingTime::default();
        time.go_on(at(0));
        assert_eq!((time.elapsed(at(5)), time.reaches(secs(60))), (None, None), "not complete yet");
        time.begin(at(10), true);
        time.begin(at(15), true);
        assert_eq!((time.elapsed(at(20)), time.reaches(secs(60))), (Some(secs(10)), Some(at(70))));
        time.halt(at(20));
        assert_eq!((time.elapsed(at(500)), time.reaches(secs(60))), (Some(secs(10)), None), "paused");
        time.go_on(at(1000));
        assert_eq!((time.elapsed(at(1005)), time.reaches(secs(60))), (Some(secs(15)), Some(at(1050))));
        assert_eq!(time.reaches(secs(5)), Some(at(1000)), "reached before");

        let mut paused = SeedingTime::default();
        paused.begin(at(0), false);
        assert_eq!((paused.elapsed(at(9)), paused.reaches(secs(1))), (Some(secs(0)), None));
    }
}
