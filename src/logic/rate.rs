//! Bytes a second over the last five seconds. The meter is given the time and reads no clock.

use std::time::{Duration, Instant};

/// Ten slots of half a second: smooth enough for a progress line, quick enough to show a stall within 5 s.
const SLOTS: usize = 10;
/// The length of one slot.
const SLOT: Duration = Duration::from_millis(500);

/// Counts bytes and measures their recent rate.
#[derive(Debug, Clone)]
pub struct Rate {
    /// Bytes since the meter was made.
    total: u64,
    /// Bytes of the last [`SLOTS`] slots, as a ring.
    slots: [u64; SLOTS],
    /// When the meter was made: slot number n starts n × [`SLOT`] later.
    epoch: Instant,
    /// The number of the newest slot; it lies in `slots` at this number modulo [`SLOTS`].
    newest: u64,
}

impl Rate {
    /// A meter that starts now.
    pub const fn new(now: Instant) -> Self {
        Self { total: 0, slots: [0; SLOTS], epoch: now, newest: 0 }
    }

    /// Counts `bytes` at the time `now`. A time before the newest slot counts as the newest slot.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        self.advance(now);
        self.total = self.total.saturating_add(bytes);
        let slot = &mut self.slots[at(self.newest)];
        *slot = slot.saturating_add(bytes);
    }

    /// All bytes that were ever counted.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Bytes a second over the last 5 s, or since the start if that is less. The divisor is at least half a second.
    pub fn bps(&self, now: Instant) -> u64 {
        let slot = self.slot_of(now).max(self.newest);
        let oldest = (slot + 1).saturating_sub(SLOTS as u64);
        let kept = (oldest..=self.newest).rev().take(SLOTS);
        let bytes = kept.fold(0u64, |sum, slot| sum.saturating_add(self.slots[at(slot)]));
        let from = self.epoch + SLOT * u32::try_from(oldest).unwrap_or(u32::MAX);
        let span = now.saturating_duration_since(from).max(SLOT);
        u64::try_from(u128::from(bytes) * 1000 / span.as_millis()).unwrap_or(u64::MAX)
    }

    /// Clears the slots between the newest one and the slot of `now`.
    fn advance(&mut self, now: Instant) {
        let slot = self.slot_of(now);
        let passed = slot.saturating_sub(self.newest);
        for step in 1..=passed.min(SLOTS as u64) {
            self.slots[at(self.newest + step)] = 0;
        }
        self.newest = self.newest.max(slot);
    }

    /// The slot number of a time.
    fn slot_of(&self, now: Instant) -> u64 {
        let slot = now.saturating_duration_since(self.epoch).as_millis() / SLOT.as_millis();
        u64::try_from(slot).unwrap_or(u64::MAX - 1)
    }
}

/// The place of a slot in the ring.
fn at(slot: u64) -> usize {
    usize::try_from(slot % SLOTS as u64).expect("less than SLOTS")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;
    use proptest::prelude::*;

    /// Milliseconds and bytes added; then the millisecond of reading and the rate that is read.
    type Row = (&'static [(u64, u64)], u64, u64);

    #[test]
    fn the_rate_is_that_of_the_last_five_seconds() {
        let table: &[Row] = &[
            (&[], 0, 0),
            (&[(0, 1000)], 0, 2000),
            (&[(0, 1000)], 500, 2000),
            (&[(0, 1000)], 1000, 1000),
            (&[(0, 1000)], 4999, 200),
            (&[(0, 1000)], 5000, 0),
            (&[(0, 1000)], 1_000_000_000, 0),
            (&[(0, 500), (1000, 500), (2000, 500), (3000, 500)], 4000, 500),
            (&[(9000, 5000)], 9000, 1111),
            (&[(0, u64::MAX), (1, u64::MAX)], 10, u64::MAX),
            (&[(7000, 100), (6000, 100)], 7000, 44),
        ];
        for (added, read_at, want) in table {
            let (t0, ms) = (base_instant(), Duration::from_millis);
            let mut rate = Rate::new(t0);
            for (at, bytes) in *added {
                rate.add(t0 + ms(*at), *bytes);
            }
            assert_eq!(rate.bps(t0 + ms(*read_at)), *want, "{added:?} at {read_at}");
        }
    }

    proptest! {
        /// A steady stream reads as its own rate, whatever its packets are, and every byte is counted.
        #[test]
        fn a_steady_stream_reads_as_its_rate(gap_ms in 1u64..200, bytes in 1u64..1_000_000, packets in 100u64..400) {
            let t0 = base_instant();
            let mut rate = Rate::new(t0);
            for n in 0..packets {
                rate.add(t0 + Duration::from_millis(n * gap_ms), bytes);
            }
            prop_assert_eq!(rate.total(), bytes * packets);
            prop_assume!(packets * gap_ms > 5000);
            let (got, want) = (rate.bps(t0 + Duration::from_millis(packets * gap_ms)), bytes * 1000 / gap_ms);
            prop_assert!(got.abs_diff(want) <= want / 10 + bytes, "{} for {}", got, want);
        }
    }
}
