//! When written pieces are synced and recorded: in groups (`docs/decisions/0010-durable-at-write.md`).
//!
//! The clock knows times and byte counts, and no files.

use std::time::{Duration, Instant};

/// After 16 MiB of writes a group is flushed.
const GROUP_BYTES: u64 = 16 * 1024 * 1024;

/// A group is flushed 2 s after its first write, while flushing is cheap.
const GROUP_AGE: Duration = Duration::from_secs(2);

/// A group is flushed after 10 s at the latest, however expensive flushing is.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Flushing may take a fiftieth of the time: after a flush that took t, the next one waits 50 t.
const REST_FACTOR: u32 = 50;

/// Decides when one torrent flushes.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlushClock {
    /// Bytes of the present group.
    bytes: u64,
    /// When the first bytes of the present group were written.
    oldest: Option<Instant>,
    /// The end of the rest after an expensive flush.
    not_before: Option<Instant>,
    /// When the present flush began.
    flushing: Option<Instant>,
}

impl FlushClock {
    /// Bytes were written that no flush covers yet.
    pub fn on_written(&mut self, now: Instant, bytes: u64) {
        self.bytes += bytes;
        self.oldest.get_or_insert(now);
    }

    /// When to flush. `None` while there is nothing to flush or a flush is under way.
    pub fn deadline(&self) -> Option<Instant> {
        let oldest = self.oldest.filter(|_| self.flushing.is_none())?;
        let due = if self.bytes >= GROUP_BYTES { oldest } else { oldest + GROUP_AGE };
        let rested = self.not_before.map_or(due, |rest| due.max(rest));
        Some(rested.min(oldest + MAX_AGE))
    }

    /// A flush begins. Bytes written from now on belong to the next group.
    pub fn on_flush(&mut self, now: Instant) {
        (self.bytes, self.oldest) = (0, None);
        self.flushing = Some(now);
    }

    /// A flush has ended, whether it succeeded or not.
    pub fn on_flushed(&mut self, now: Instant) {
        if let Some(began) = self.flushing.take() {
            self.not_before = Some(now + now.saturating_duration_since(began) * REST_FACTOR);
        }
    }

    /// Whether a flush is under way.
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
