//! When verified pieces are made durable: in groups (`docs/decisions/0010-durable-at-write.md`).
//!
//! Knows times and byte counts; not files.

use std::time::{Duration, Instant};

/// 16 MiB written are worth a record.
const GROUP_BYTES: u64 = 16 * 1024 * 1024;

/// 2 s at most pass before what was written is recorded, while recording is cheap.
const GROUP_AGE: Duration = Duration::from_secs(2);

/// 10 s at most, however dear recording is.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Recording may take a fiftieth of the time: after one that took t, the next waits 50 t.
const REST_FACTOR: u32 = 50;

/// The clock of one torrent's flush groups.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlushClock {
    bytes: u64,
    oldest: Option<Instant>,
    not_before: Option<Instant>,
    flushing: Option<Instant>,
}

impl FlushClock {
    /// Bytes were written and are not yet recorded.
    pub fn on_written(&mut self, now: Instant, bytes: u64) {
        self.bytes += bytes;
        self.oldest.get_or_insert(now);
    }

    /// Is it time? `None` while there is nothing to record or a flush is under way.
    pub fn deadline(&self) -> Option<Instant> {
        let oldest = self.oldest.filter(|_| self.flushing.is_none())?;
        let due = if self.bytes >= GROUP_BYTES { oldest } else { oldest + GROUP_AGE };
        let rested = self.not_before.map_or(due, |rest| due.max(rest));
        Some(rested.min(oldest + MAX_AGE))
    }

    /// A flush begins: what is written from now on belongs to the next group.
    pub fn on_flush(&mut self, now: Instant) {
        (self.bytes, self.oldest) = (0, None);
        self.flushing = Some(now);
    }

    /// A flush has ended, one way or the other.
    pub fn on_flushed(&mut self, now: Instant) {
        if let Some(began) = self.flushing.take() {
            self.not_before = Some(now + now.saturating_duration_since(began) * REST_FACTOR);
        }
    }

    /// A flush is under way.
    pub const fn is_flushing(&self) -> bool {
        self.flushing.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_flushed_by_age_by_size_and_never_too_often() {
        let t0 = tokio::time::Instant::now().into_std();
        let at = |ms: u64| t0 + Duration::from_millis(ms);
        let mut clock = FlushClock::default();
        assert_eq!(clock.deadline(), None);
        clock.on_written(at(0), 1);
        assert_eq!(clock.deadline(), Some(at(2000)), "a little waits for more");
        clock.on_written(at(10), GROUP_BYTES);
        assert_eq!(clock.deadline(), Some(at(0)), "a full group is due");
        clock.on_flush(at(20));
        assert_eq!(clock.deadline(), None, "one at a time");
        clock.on_written(at(30), GROUP_BYTES);
        clock.on_flushed(at(60));
        assert_eq!(clock.deadline(), Some(at(60 + 40 * 50)), "40 ms of flushing earn 2 s of rest");
        clock.on_flush(at(2100));
        clock.on_written(at(2200), 1);
        clock.on_flushed(at(3100));
        assert_eq!(clock.deadline(), Some(at(12_200)), "however dear, nothing waits more than 10 s");
    }
}
