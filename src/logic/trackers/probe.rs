//! Which failed tracker is asked before its back-off is over, when there is nobody else to ask (N-10).
//!
//! Back-offs grow to half an hour: manners towards a tracker that is down, and far too long for a person whose own
//! network was. Behind a captive portal every tracker fails and every peer leaves; when it opens, the first tracker that
//! is asked has peers to name. So while all fail and nobody who delivers is connected, one tracker about every 50 s is
//! asked early, the one that was asked longest ago. However many there are, it is one announce in that time. What a
//! tracker has said about coming back (BEP 31, `Retry-After`) holds. Knows no URL and no clock.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::logic::trackers::tiers::TrackerId;

/// 45 to 55 s: with the announce and the dials after it, the transfer goes on within the minute that N-10 grants. Diced,
/// so that those who lost their network together do not come back together.
const EVERY_S: RangeInclusive<f64> = 45.0..=55.0;

/// See the head of this file.
#[derive(Debug)]
pub struct TrackerProbe {
    failed: BTreeMap<TrackerId, Failed>,
    next: Option<Instant>,
    dice: SmallRng,
}

#[derive(Debug, Clone, Copy)]
struct Failed {
    /// When it failed, or was last told to try again.
    at: Instant,
    /// `None`: it never wants to hear of us again.
    not_before: Option<Instant>,
}

impl TrackerProbe {
    /// Nothing has failed yet.
    pub fn new(seed: u64) -> Self {
        Self { failed: BTreeMap::new(), next: None, dice: SmallRng::seed_from_u64(seed) }
    }

    /// The tracker failed, and may not be asked before that time; `None`: never.
    pub fn on_failure(&mut self, now: Instant, tracker: TrackerId, not_before: Option<Instant>) {
        self.failed.insert(tracker, Failed { at: now, not_before });
    }

    /// The tracker works, or it cannot be asked for reasons of our own.
    pub fn forget(&mut self, tracker: TrackerId) {
        self.failed.remove(&tracker);
    }

    /// Every tracker in use has failed and nobody who delivers is connected; or not, or no longer.
    pub fn set_stranded(&mut self, now: Instant, stranded: bool) {
        if !stranded {
            self.next = None;
        } else if self.next.is_none() {
            self.next = Some(self.after(now));
        }
    }

    /// When [`Self::on_timeout`] is due.
    pub const fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Who will be asked at the deadline, if nothing changes until then.
    pub fn plan(&self) -> Option<(TrackerId, Instant)> {
        let at = self.next?;
        Some((self.longest_unasked(at)?, at))
    }

    /// The timer rang. Who is to be asked now, if it is time and somebody may be.
    pub fn on_timeout(&mut self, now: Instant) -> Option<TrackerId> {
        self.next.filter(|next| *next <= now)?;
        self.next = Some(self.after(now));
        let tracker = self.longest_unasked(now)?;
        if let Some(failed) = self.failed.get_mut(&tracker) {
            failed.at = now;
        }
        Some(tracker)
    }

    fn longest_unasked(&self, now: Instant) -> Option<TrackerId> {
        let may_be_asked = self.failed.iter().filter(|(_, failed)| failed.not_before.is_some_and(|at| at <= now));
        may_be_asked.min_by_key(|(_, failed)| failed.at).map(|(tracker, _)| *tracker)
    }

    fn after(&mut self, now: Instant) -> Instant {
        now + Duration::from_secs_f64(self.dice.random_range(EVERY_S))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;
    use crate::logic::trackers::tiers::Tiers;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn trackers(count: usize) -> Vec<TrackerId> {
        Tiers::new(vec![(0..count).map(|n| format!("http://t{n}.example/")).collect()], 1).trackers().collect()
    }

    /// Who is asked in the next `secs` seconds, each with the second; a failure follows at once.
    fn asked(probe: &mut TrackerProbe, now: &mut Instant, secs: u32) -> Vec<(u64, usize)> {
        let (began, until) = (*now, *now + SECOND * secs);
        let mut asked = Vec::new();
        while let Some(due) = probe.deadline().filter(|due| *due <= until) {
            *now = due;
            if let Some(tracker) = probe.on_timeout(due) {
                asked.push(((due - began).as_secs(), tracker.at()));
                probe.on_failure(due, tracker, Some(due + SECOND * 45));
            }
        }
        *now = until;
        asked
    }

    /// N-10: within the minute, for ever, and each in its turn.
    #[test]
    fn when_all_fail_one_after_the_other_is_asked_about_every_fifty_seconds() {
        for count in [1, 2, 5, 50] {
            let (mut now, mut probe) = (base_instant(), TrackerProbe::new(count as u64));
            for tracker in trackers(count) {
                probe.on_failure(now, tracker, Some(now + SECOND * 5));
                now += SECOND;
            }
            probe.set_stranded(now, true);
            let asked = asked(&mut probe, &mut now, 3600);
            assert!((3600 / 55 - 1..=3600 / 45 + 1).contains(&asked.len()), "{count} trackers: {asked:?}");
            let gaps: Vec<_> = asked.windows(2).map(|two| two[1].0 - two[0].0).collect();
            assert!(asked[0].0 <= 55 && gaps.iter().all(|gap| (44..=56).contains(gap)), "{count} trackers: {gaps:?}");
            let turns: Vec<_> = (0..count).cycle().take(asked.len()).collect();
            assert_eq!(asked.iter().map(|(_, tracker)| *tracker).collect::<Vec<_>>(), turns);
        }
    }

    #[test]
    fn nobody_is_asked_early_while_there_is_somebody_else() {
        let (mut now, mut probe) = (base_instant(), TrackerProbe::new(1));
        for tracker in trackers(2) {
            probe.on_failure(now, tracker, Some(now));
        }
        assert_eq!(asked(&mut probe, &mut now, 3600), [], "not stranded yet");
        probe.set_stranded(now, true);
        now += SECOND * 40;
        probe.set_stranded(now, true);
        assert!(probe.deadline().is_some_and(|due| due <= now + SECOND * 15), "saying it again starts nothing anew");
        probe.set_stranded(now, false);
        assert_eq!(asked(&mut probe, &mut now, 3600), [], "rescued");
    }

    #[test]
    fn whoever_works_or_does_not_want_us_is_left_alone() {
        let (mut now, mut probe) = (base_instant(), TrackerProbe::new(1));
        let [works, refuses, later] = trackers(3)[..] else { panic!("three trackers") };
        probe.on_failure(now, works, Some(now));
        probe.on_failure(now, refuses, None);
        probe.on_failure(now, later, Some(now + SECOND * 600));
        probe.forget(works);
        probe.set_stranded(now, true);
        assert_eq!(probe.plan(), None);
        assert_eq!(asked(&mut probe, &mut now, 599), [], "it said when to come back");
        let asked = asked(&mut probe, &mut now, 200);
        assert!(asked.iter().all(|(_, tracker)| *tracker == later.at()) && asked.len() >= 3, "{asked:?}");
    }

    proptest! {
        /// Manners (I7): however the world changes, two early announces are 45 s apart, and none is against a tracker's word.
        #[test]
        fn early_announces_are_rare(seed in any::<u64>(), steps in prop::collection::vec((0usize..4, 0u32..90, 0u8..6), 0..200)) {
            let (mut now, mut probe, mut last) = (base_instant(), TrackerProbe::new(seed), None);
            let all = trackers(4);
            let mut not_before = [None; 4];
            for (which, secs, what) in steps {
                match what {
                    0 => {
                        not_before[which] = (secs % 5 > 0).then_some(now + SECOND * secs);
                        probe.on_failure(now, all[which], not_before[which]);
                    }
                    1 => probe.forget(all[which]),
                    2 => probe.set_stranded(now, secs % 4 > 0),
                    _ => {
                        now += SECOND * secs;
                        let planned = probe.plan();
                        let due = probe.deadline();
                        if let Some(tracker) = probe.on_timeout(now) {
                            prop_assert!(due.is_some_and(|due| due <= now));
                            prop_assert!(planned.is_none_or(|(_, at)| at <= now));
                            prop_assert!(not_before[tracker.at()].is_some_and(|at| at <= now));
                            prop_assert!(last.is_none_or(|last| now - last >= SECOND * 45));
                            last = Some(now);
                        }
                    }
                }
            }
        }
    }
}
