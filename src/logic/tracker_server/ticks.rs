//! The tracker's coarse clock. 14 bits of each peer say when it last announced, and two more bits hold two marks.
//!
//! The clock wraps every 36 hours. [`super::MAX_INTERVAL`] keeps every age that is compared below 28 hours.

use std::time::{Duration, Instant};

/// 8 s: with 14 bits the clock wraps every 36 hours, and a peer is removed at most two ticks late.
pub(super) const TICK: Duration = Duration::from_secs(8);

/// 14 of the 16 bits of a [`LastAnnounce`].
const CLOCK: u16 = (1 << 14) - 1;

/// The bit of [`LastAnnounce::is_confirmed`].
const CONFIRMED: u16 = 1 << 14;
/// The bit of [`LastAnnounce::is_counted`].
const COUNTED: u16 = 1 << 15;

/// A time, counted in ticks from the start of the tracker. Always below 2^14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tick(u16);

impl Tick {
    /// The tick of `now`.
    pub(super) fn at(epoch: Instant, now: Instant) -> Self {
        let ticks = now.saturating_duration_since(epoch).as_secs() / TICK.as_secs();
        Self(u16::try_from(ticks & u64::from(CLOCK)).unwrap_or(0))
    }

    /// The number of ticks from this one to `now`.
    pub(super) const fn age(self, now: Self) -> u16 {
        now.0.wrapping_sub(self.0) & CLOCK
    }

    /// The tick whose age at `now` is `age`.
    pub(super) const fn with_age(now: Self, age: u16) -> Self {
        Self(now.0.wrapping_sub(age) & CLOCK)
    }
}

/// When a peer last announced, whether it is confirmed, and whether its download was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastAnnounce(u16);

impl LastAnnounce {
    /// The value for a peer that announces for the first time.
    pub(super) const fn first(now: Tick) -> Self {
        Self(now.0)
    }

    /// The tick of the last announce.
    pub(super) const fn tick(self) -> Tick {
        Tick(self.0 & CLOCK)
    }

    /// Ticks since the last announce.
    pub(super) const fn age(self, now: Tick) -> u16 {
        self.tick().age(now)
    }

    /// Whether the peer announced again from the same address after at least the minimum interval.
    pub(super) const fn is_confirmed(self) -> bool {
        self.0 & CONFIRMED != 0
    }

    /// Whether its download was counted, or it joined as a seed.
    pub(super) const fn is_counted(self) -> bool {
        self.0 & COUNTED != 0
    }

    /// The same marks, with the time `now`.
    pub(super) const fn again(self, now: Tick) -> Self {
        Self((self.0 & !CLOCK) | now.0)
    }

    /// Sets the confirmed mark if `yes`.
    pub(super) const fn confirmed(self, yes: bool) -> Self {
        Self(if yes { self.0 | CONFIRMED } else { self.0 })
    }

    /// Sets the counted mark if `yes`.
    pub(super) const fn counted(self, yes: bool) -> Self {
        Self(if yes { self.0 | COUNTED } else { self.0 })
    }
}

/// The least number of ticks that is surely more than `span`, wherever in its tick each end lies.
pub(super) fn ticks_beyond(span: Duration) -> u16 {
    let ticks = span.as_secs().div_ceil(TICK.as_secs());
    u16::try_from(ticks).unwrap_or(CLOCK).saturating_add(1).min(CLOCK)
}

/// The greatest number of ticks that is surely no more than `span`, but at least one.
pub(super) fn ticks_within(span: Duration) -> u16 {
    u16::try_from(span.as_secs() / TICK.as_secs()).unwrap_or(CLOCK).clamp(1, CLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;

    #[test]
    fn ages_survive_the_turn_of_the_clock() {
        let epoch = base_instant();
        let at = |secs| Tick::at(epoch, epoch + Duration::from_secs(secs));
        let table = [(0, 0, 0), (0, 7, 0), (0, 8, 1), (1, 3601, 450), (131_064, 131_080, 2), (262_000, 262_400, 50)];
        for (then, now, want) in table {
            assert_eq!(at(then).age(at(now)), want, "{then} to {now}");
            assert_eq!(Tick::with_age(at(now), want), at(then), "{then} to {now}");
        }
    }

    #[test]
    fn nothing_is_beyond_before_its_time() {
        let epoch = base_instant();
        for (seen, now, span) in [(1, 4, 3), (0, 3, 3), (1, 60, 59), (7, 8, 1), (0, 97_200, 97_200)] {
            let (seen, now) = (epoch + Duration::from_secs(seen), epoch + Duration::from_secs(now));
            let age = Tick::at(epoch, seen).age(Tick::at(epoch, now));
            assert!(age < ticks_beyond(Duration::from_secs(span)), "{age} in {span} s");
        }
    }

    #[test]
    fn marks_and_clock_do_not_touch_each_other() {
        let (last, next) = (Tick(CLOCK), Tick(0));
        let seen = LastAnnounce::first(last).confirmed(true).counted(true);
        assert_eq!((seen.tick(), seen.is_confirmed(), seen.is_counted()), (last, true, true));
        let seen = LastAnnounce::first(last).confirmed(true).again(next);
        assert_eq!((seen.tick(), seen.is_confirmed(), seen.is_counted()), (next, true, false));
        assert_eq!(seen.age(Tick(5)), 5);
    }
}
