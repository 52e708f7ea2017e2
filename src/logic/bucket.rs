//! A byte rate limit shared by many connections: a token bucket with a queue of waiting taps.
//!
//! The bucket is refilled in slices of 10 ms and holds two slices. No second passes more than 1.03 of the limit,
//! however late the owner calls, and no tokens are lost as long as it calls within 20 ms. A tap that finds the bucket
//! empty joins the queue and is called when its turn comes, so taps with equal demand get equal shares. A tap that
//! asks for nothing is not in the queue and costs nothing. The bucket counts bytes and does not know where they go.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// 10 ms: at most a hundred wakes a second for all waiting taps together, and a burst is at most a hundredth of a
/// second.
pub const SLICE: Duration = Duration::from_millis(10);

/// Two slices of capacity: one that is being spent, and one for a late wake.
const MOST_SLICES: u64 = 2;

/// 4 KiB, or one slice if that is less: the least that a waiting tap is granted per turn when many wait. Picked by
/// eye.
const LEAST_TURN: u64 = 4096;

/// The level is counted in hundredths of a byte, so that one slice of any whole rate is a whole number.
const HUNDREDTHS: u64 = 100;

/// Identifies one direction of one connection. An id is never reused for another.
pub type TapId = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
/// The state of a tap that is not idle.
enum Place {
    /// The tap waits in the queue for this many bytes.
    InLine(u64),
    /// The tap was called and may move this many bytes.
    Called(u64),
}

/// A token bucket and the queue of the taps that wait for it.
#[derive(Debug)]
pub struct Bucket {
    /// Bytes a second. The same number is hundredths of a byte per slice.
    bps: u64,
    /// Tokens in hundredths of a byte.
    level: u64,
    /// The time up to which the bucket was refilled. `None` before the first call.
    fed: Option<Instant>,
    /// Waiting taps in order of arrival. May still hold taps that have left; `call` skips them.
    line: VecDeque<TapId>,
    /// The state of every tap that waits or was called.
    places: BTreeMap<TapId, Place>,
    /// Called taps that [`Self::poll`] has not returned yet.
    called: VecDeque<TapId>,
}

impl Bucket {
    /// A bucket that passes `bps` bytes a second, at least 1.
    pub fn new(bps: u64) -> Self {
        Self {
            bps: bps.max(1),
            level: 0,
            fed: None,
            line: VecDeque::new(),
            places: BTreeMap::new(),
            called: VecDeque::new(),
        }
    }

    /// The limit in bytes a second.
    pub const fn bps(&self) -> u64 {
        self.bps
    }

    /// `tap` wants to move `want` bytes. Returns how many it may move now. `None`: it was queued and must ask again
    /// when [`Self::poll`] returns it.
    pub fn ask(&mut self, now: Instant, tap: TapId, want: u64) -> Option<u64> {
        self.feed(now);
        match self.places.get(&tap) {
            Some(Place::InLine(_)) => None,
            Some(Place::Called(granted)) => {
                let granted = *granted;
                self.places.remove(&tap);
                if granted > want {
                    self.give_back(granted - want);
                }
                Some(granted.min(want))
            }
            None if self.places.is_empty() && self.level >= HUNDREDTHS => Some(self.take(want)),
            None => {
                self.line.push_back(tap);
                self.places.insert(tap, Place::InLine(want));
                None
            }
        }
    }

    /// Returns bytes that were granted and not moved.
    pub fn give_back(&mut self, bytes: u64) {
        self.level = self.level.saturating_add(bytes.saturating_mul(HUNDREDTHS)).min(self.most());
        self.call();
    }

    /// The tap is closed: it leaves the queue, and what it was granted is returned.
    pub fn on_left(&mut self, tap: TapId) {
        if let Some(Place::Called(granted)) = self.places.remove(&tap) {
            self.give_back(granted);
        }
    }

    /// Refills the bucket and calls waiting taps. Call it at [`Self::deadline`].
    pub fn on_timeout(&mut self, now: Instant) {
        self.feed(now);
        self.call();
    }

    /// Returns the next tap whose turn has come, or `None`.
    pub fn poll(&mut self) -> Option<TapId> {
        self.called.pop_front()
    }

    /// When to call [`Self::on_timeout`]: one slice after the last refill. `None` while no tap waits.
    pub fn deadline(&self) -> Option<Instant> {
        self.fed.filter(|_| !self.line.is_empty()).map(|fed| fed + SLICE)
    }

    /// The capacity in hundredths of a byte: at least one byte, so that the slowest limit still passes something.
    fn most(&self) -> u64 {
        self.bps.saturating_mul(MOST_SLICES).max(HUNDREDTHS)
    }

    /// Adds the slices that have passed since the last refill.
    fn feed(&mut self, now: Instant) {
        let fed = *self.fed.get_or_insert(now);
        let passed = now.saturating_duration_since(fed).as_nanos() / SLICE.as_nanos();
        let slices = u32::try_from(passed).unwrap_or(u32::MAX);
        self.fed = Some(fed + SLICE * slices);
        self.level = self.level.saturating_add(self.bps.saturating_mul(slices.into())).min(self.most());
    }

    /// Calls taps from the front of the queue for as long as the level suffices.
    fn call(&mut self) {
        let turn = LEAST_TURN.min(self.bps / HUNDREDTHS).max(1);
        while let Some(tap) = self.line.front().copied() {
            if let Some(Place::InLine(want)) = self.places.get(&tap).copied() {
                if self.level < want.min(turn) * HUNDREDTHS {
                    return;
                }
                let share = self.level / HUNDREDTHS / self.line.len() as u64;
                let granted = self.take(want.min(share.max(turn)));
                self.places.insert(tap, Place::Called(granted));
                self.called.push_back(tap);
            }
            self.line.pop_front();
        }
    }

    /// Takes up to `want` bytes. Returns how many were there.
    fn take(&mut self, want: u64) -> u64 {
        let taken = want.min(self.level / HUNDREDTHS);
        self.level -= taken * HUNDREDTHS;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;
    use proptest::prelude::*;

    /// Taps that always want more, on virtual time.
    struct Scene {
        bucket: Bucket,
        t0: Instant,
        now: Instant,
        /// The tap, the number of bytes and the time of each move.
        moved: BTreeMap<TapId, u64>,
        log: Vec<(Duration, u64)>,
        wakes: u64,
    }

    impl Scene {
        fn new(bps: u64) -> Self {
            let t0 = base_instant();
            Self { bucket: Bucket::new(bps), t0, now: t0, moved: BTreeMap::new(), log: Vec::new(), wakes: 0 }
        }

        /// Moves `chunk` bytes at a time until the tap has to wait.
        fn drain(&mut self, tap: TapId, chunk: u64) {
            while let Some(bytes) = self.bucket.ask(self.now, tap, chunk) {
                *self.moved.entry(tap).or_default() += bytes;
                self.log.push((self.now - self.t0, bytes));
            }
        }

        /// Runs until `until` after the start, with every wake delayed by `late`.
        fn run(&mut self, until: Duration, chunk: impl Fn(TapId) -> u64, late: impl Fn() -> Duration) {
            while let Some(due) = self.bucket.deadline().filter(|due| *due - self.t0 <= until) {
                self.now = due + late();
                self.bucket.on_timeout(self.now);
                self.wakes += 1;
                while let Some(tap) = self.bucket.poll() {
                    self.drain(tap, chunk(tap));
                }
            }
        }

        fn total(&self) -> u64 {
            self.moved.values().sum()
        }

        /// The most bytes that passed within any second.
        fn worst_second(&self) -> u64 {
            let second = |from: usize| {
                let end = self.log[from].0 + Duration::from_secs(1);
                self.log[from..].iter().take_while(|(at, _)| *at < end).map(|(_, bytes)| bytes).sum()
            };
            (0..self.log.len()).map(second).max().unwrap_or(0)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// For any rate, number of taps, chunk size and wake delay: the mean is right to 1 %, and no second passes
        /// more than 1.03 of the limit.
        #[test]
        fn the_mean_is_right_and_no_second_is_a_burst(
            bps in prop_oneof![500u64..5000, 5000u64..1_000_000, 1_000_000u64..1_000_000_000],
            taps in 1u64..40,
            chunk in prop_oneof![Just(256 * 1024u64), 20_000u64..100_000, 1u64..5000],
            late_ms in 0u64..9,
        ) {
            // At least one chunk a wake, or else the chunk limits the rate.
            prop_assume!(chunk * taps * 100 >= bps || chunk >= bps / 100);
            let mut scene = Scene::new(bps);
            (0..taps).for_each(|tap| scene.drain(tap, chunk));
            scene.run(Duration::from_secs(10), |_| chunk, || Duration::from_millis(late_ms));
            let (total, want) = (scene.total(), bps * 10);
            prop_assert!(total.abs_diff(want) <= want / 100 + 1, "{} for {}", total, want);
            let worst = scene.worst_second();
            prop_assert!(worst <= bps * 103 / 100 + 1, "{} in a second of {}", worst, bps);
            prop_assert!(scene.wakes <= 1010, "{} wakes", scene.wakes);
        }

        /// Taps with equal demand get equal shares.
        #[test]
        fn all_who_want_the_same_get_the_same(
            bps in 10_000u64..10_000_000, taps in 2u64..40, chunk in 4096u64..1_000_000,
        ) {
            let mut scene = Scene::new(bps);
            (0..taps).for_each(|tap| scene.drain(tap, chunk));
            scene.run(Duration::from_secs(60), |_| chunk, || Duration::ZERO);
            let (least, most) = (scene.moved.values().min().unwrap(), scene.moved.values().max().unwrap());
            let turn = LEAST_TURN.max(bps / 50);
            prop_assert!(scene.moved.len() == usize::try_from(taps).unwrap());
            prop_assert!(most - least <= most / 20 + 2 * turn, "{} to {} of {} taps", least, most, taps);
        }
    }

    #[test]
    fn what_is_not_moved_is_there_for_the_next() {
        let mut scene = Scene::new(100_000);
        scene.drain(0, 4096);
        assert_eq!(scene.bucket.ask(scene.now, 1, 4096), None);
        scene.now += SLICE;
        scene.bucket.on_timeout(scene.now);
        assert_eq!(scene.bucket.poll(), Some(0));
        assert_eq!(scene.bucket.poll(), None, "1000 bytes are one turn");
        assert_eq!(scene.bucket.ask(scene.now, 0, 4096), Some(1000));
        scene.bucket.give_back(1000);
        assert_eq!(scene.bucket.poll(), Some(1), "called at once");
        scene.bucket.on_left(1);
        assert_eq!(scene.bucket.ask(scene.now, 2, 600), Some(600), "who left gave back what it was called for");
        assert_eq!(scene.bucket.ask(scene.now, 2, 600), Some(400));
        assert_eq!(scene.bucket.ask(scene.now, 2, 600), None);
        scene.bucket.on_left(2);
        scene.now += Duration::from_secs(3600);
        scene.bucket.on_timeout(scene.now);
        assert_eq!(scene.bucket.poll(), None, "who left is not called");
        assert_eq!(scene.bucket.deadline(), None, "no tap waits");
        assert_eq!(scene.bucket.ask(scene.now, 3, 1 << 20), Some(2000), "an hour of quiet is two slices");
    }

    #[test]
    fn the_slowest_limit_still_flows() {
        let mut scene = Scene::new(1);
        scene.drain(0, 100);
        scene.run(Duration::from_secs(100), |_| 100, || Duration::ZERO);
        assert!((99..=101).contains(&scene.total()), "{}", scene.total());
    }
}
