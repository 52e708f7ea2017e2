//! The tracker's coarse clock: two bytes for each peer say when it was last heard of.
//!
//! It goes round in 36 hours; [`super::MAX_INTERVAL`] keeps everything that is compared well within half of that.

use std::time::{Duration, Instant};

/// 2 s: with 16 bits it goes round in 36 hours, and an expiry of two intervals is precise enough from a few seconds on.
const TICK: Duration = Duration::from_secs(2);

/// A moment, counted from when the tracker began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tick(u16);

impl Tick {
    /// The tick of `now`.
    pub(super) fn at(epoch: Instant, now: Instant) -> Self {
        let ticks = now.saturating_duration_since(epoch).as_secs() / TICK.as_secs();
        Self(u16::try_from(ticks % (1 << 16)).unwrap_or(0))
    }

    /// Ticks from this one to `now`.
    pub(super) const fn age(self, now: Self) -> u16 {
        now.0.wrapping_sub(self.0)
    }
}

/// How many ticks are more than this long, whenever in its tick each end was.
pub(super) fn ticks_beyond(span: Duration) -> u16 {
    let ticks = span.as_secs().div_ceil(TICK.as_secs());
    u16::try_from(ticks).unwrap_or(u16::MAX / 2).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;

    #[test]
    fn ages_survive_the_turn_of_the_clock() {
        let epoch = base_instant();
        let at = |secs| Tick::at(epoch, epoch + Duration::from_secs(secs));
        let table = [(0, 0, 0), (0, 1, 0), (0, 2, 1), (1, 3601, 1800), (131_070, 131_074, 2), (262_000, 262_400, 200)];
        for (then, now, want) in table {
            assert_eq!(at(then).age(at(now)), want, "{then} to {now}");
        }
    }

    #[test]
    fn nothing_is_beyond_before_its_time() {
        let epoch = base_instant();
        for (seen, now, span) in [(1, 4, 3), (0, 3, 3), (1, 60, 59), (1, 2, 1)] {
            let (seen, now) = (epoch + Duration::from_secs(seen), epoch + Duration::from_secs(now));
            let age = Tick::at(epoch, seen).age(Tick::at(epoch, now));
            assert!(age < ticks_beyond(Duration::from_secs(span)), "{age} in {span} s");
        }
    }
}
