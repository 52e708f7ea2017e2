//! Probes a failed tracker before its back-off is over, when no other source of peers is left (N-10).
//!
//! A back-off grows to half an hour, which spares a tracker that is down but is far too long for a user whose own
//! network was down. Behind a captive portal every tracker fails and every peer leaves; when the portal opens, the
//! first tracker that is asked names peers. So while all trackers in use fail and no peer that delivers is connected,
//! one tracker about every 50 s is probed, the one that was asked longest ago. It is one announce in that time,
//! however many trackers there are. A tracker's own word about when to return (BEP 31, `Retry-After`) is obeyed. This
//! module knows no URL and no clock.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::logic::trackers::tiers::TrackerId;

/// 45 to 55 s: with the announce and the dials after it, the transfer continues within the minute that N-10 grants.
/// Random, so that clients that lost their network together do not return together.
const EVERY_S: RangeInclusive<f64> = 45.0..=55.0;

/// Decides which failed tracker is probed and when.
#[derive(Debug)]
pub struct TrackerProbe {
    /// The trackers whose last announce failed.
    failed: BTreeMap<TrackerId, Failed>,
    /// When the next probe is due. `None` while not stranded.
    next: Option<Instant>,
    dice: SmallRng,
}

/// A tracker whose last announce failed.
#[derive(Debug, Clone, Copy)]
struct Failed {
    /// When it failed, or was last probed.
    at: Instant,
    /// The tracker must not be asked before this time. `None`: never again (BEP 31).
    not_before: Option<Instant>,
}

impl TrackerProbe {
    /// Starts without failed trackers. `seed` decides all random times.
    pub fn new(seed: u64) -> Self {
        Self { failed: BTreeMap::new(), next: None, dice: SmallRng::seed_from_u64(seed) }
    }

    /// The tracker failed, and may not be asked before this time. `None`: never.
    pub fn on_failure(&mut self, now: Instant, tracker: TrackerId, not_before: Option<Instant>) {
        self.failed.insert(tracker, Failed { at: now, not_before });
    }

    /// The tracker works, or is not asked for reasons on our side: it is not probed.
    pub fn forget(&mut self, tracker: TrackerId) {
        self.failed.remove(&tracker);
    }

    /// Whether every tracker in use has failed while no peer that delivers is connected.
    pub fn set_stranded(&mut self, now: Instant, stranded: bool) {
        if !stranded {
            self.next = None;
        } else if self.next.is_none() {
            self.next = Some(self.after(now));
        }
    }

    /// When to call [`Self::on_timeout`]. `None` while not stranded.
    pub const fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// The tracker that will be probed at the deadline if nothing changes until then, and the time.
    pub fn plan(&self) -> Option<(TrackerId, Instant)> {
        let at = self.next?;
        Some((self.longest_unasked(at)?, at))
    }

    /// Returns the tracker to announce to now, if a probe is due and a tracker may be asked. Call it at
    /// [`Self::deadline`].
    pub fn on_timeout(&mut self, now: Instant) -> Option<TrackerId> {
        self.next.filter(|next| *next <= now)?;
        self.next = Some(self.after(now));
        let tracker = self.longest_unasked(now)?;
        if let Some(failed) = self.failed.get_mut(&tracker) {
            failed.at = now;
        }
        Some(tracker)
    }

    /// Of the failed trackers that may be asked, the one that was asked longest ago.
    fn longest_unasked(&self, now: Instant) -> Option<TrackerId> {
        let may_be_asked = self.failed.iter().filter(|(_, failed)| failed.not_before.is_some_and(|at| at <= now));
        may_be_asked.min_by_key(|(_, failed)| failed.at).map(|(tracker, _)| *tracker)
    }

    /// When the next probe is due.
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

    /// The trackers that are probed in the next `secs` seconds, each with its second. Each probe fails at once.
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

    /// N-10: within a minute, for ever, and each tracker in its turn.
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
    fn no_tracker_is_probed_while_another_source_of_peers_is_left() {
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
    fn a_tracker_that_works_or_refuses_us_is_not_probed() {
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
        /// I7: however the situation changes, two probes are at least 45 s apart, and none is against the word of a
        /// tracker.
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
