//! The fraction of the last five seconds during which a condition held, in percent. It is given the time and reads no
//! clock.

use std::time::{Duration, Instant};

use crate::logic::rate::Rate;

/// 5 s: the window of a [`Rate`]. A condition that held for longer gives 100 %.
const SPAN: Duration = Duration::from_secs(5);

/// 250 ms, half a slot of a [`Rate`]: a long stretch of time is added in parts, so that each part lands in its own
/// slot.
const PART: Duration = Duration::from_millis(250);

/// Measures for which fraction of the time a condition held: a [`Rate`] of the microseconds in which it held.
#[derive(Debug, Clone, Default)]
pub struct BusyRatio {
    /// `None` before the first call of [`Self::set`].
    spent: Option<Rate>,
    /// While the condition holds: the time up to which it has been counted.
    since: Option<Instant>,
}

impl BusyRatio {
    /// The condition holds from now on, or it does not. May be called as often as one likes.
    pub fn set(&mut self, now: Instant, is_so: bool) {
        let spent = self.spent.get_or_insert_with(|| Rate::new(now));
        if let Some(since) = self.since {
            count(spent, since, now);
        }
        self.since = is_so.then_some(now);
    }

    /// The percentage (0 to 100) of the last 5 s, or of the time since the first call of [`Self::set`] if that is
    /// less.
    pub fn percent(&self, now: Instant) -> u8 {
        let Some(mut spent) = self.spent.clone() else { return 0 };
        if let Some(since) = self.since {
            count(&mut spent, since, now);
        }
        u8::try_from(spent.bps(now) / 10_000).unwrap_or(100).min(100)
    }
}

/// Adds the time from `since` to `now`. Time before the window of the meter is left out.
fn count(spent: &mut Rate, since: Instant, now: Instant) {
    let oldest = now.checked_sub(SPAN).unwrap_or(since);
    let mut at = since.max(oldest);
    while at < now {
        let next = (at + PART).min(now);
        spent.add(next, u64::try_from((next - at).as_micros()).unwrap_or(u64::MAX));
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;
    use proptest::prelude::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn the_share_is_that_of_the_last_five_seconds() {
        // What is set at which millisecond; the percentage read at which millisecond, within one slot of half a
        // second.
        type Row = (&'static str, &'static [(u64, bool)], &'static [(u64, u8)]);
        let table: &[Row] = &[
            ("nothing told", &[], &[(0, 0), (9000, 0)]),
            ("never so", &[(0, false), (4000, false)], &[(4000, 0), (60_000, 0)]),
            ("always so", &[(0, true)], &[(1000, 100), (5000, 100), (60_000, 100), (3_600_000, 100)]),
            ("told again and again", &[(0, true), (1, true), (2, true), (4000, true)], &[(4500, 100)]),
            ("half of the time", &[(0, true), (2500, false)], &[(2500, 100), (5000, 50), (9000, 0)]),
            ("over", &[(0, true), (60_000, false)], &[(60_000, 100), (62_500, 50), (66_000, 0)]),
            ("a moment", &[(0, false), (4900, true), (5000, false)], &[(5000, 2)]),
        ];
        for (what, told, asked) in table {
            let (t0, mut share) = (base_instant(), BusyRatio::default());
            for (at, is_so) in *told {
                share.set(t0 + ms(*at), *is_so);
            }
            for (at, want) in *asked {
                let got = share.percent(t0 + ms(*at));
                assert!(got.abs_diff(*want) <= 10, "{what}: {got} % instead of {want} % after {at} ms");
            }
        }
    }

    proptest! {
        /// For any sequence of changes at any times.
        #[test]
        fn it_is_never_more_than_everything(steps in prop::collection::vec((0u64..20_000, any::<bool>()), 0..60)) {
            let (mut now, mut share) = (base_instant(), BusyRatio::default());
            for (wait, is_so) in steps {
                now += ms(wait);
                share.set(now, is_so);
                prop_assert!(share.percent(now) <= 100);
                prop_assert!(share.percent(base_instant()) <= 100);
            }
        }

        /// A condition that never held gives exactly 0 %, one that always held exactly 100 %.
        #[test]
        fn all_and_nothing_are_exact(waits in prop::collection::vec(1u64..3000, 1..30), is_so in any::<bool>()) {
            let (mut now, mut share) = (base_instant(), BusyRatio::default());
            share.set(now, is_so);
            for wait in waits {
                now += ms(wait);
                share.set(now, is_so);
            }
            now += ms(5000);
            let got = share.percent(now);
            prop_assert!(if is_so { got >= 98 } else { got == 0 }, "{} %", got);
        }
    }
}
