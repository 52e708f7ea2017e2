//! A limit in bytes a second, and the line of those who wait for their share of it.
//!
//! A token bucket that is fed in slices of 10 ms and holds two of them: however late its owner is woken, no second brings
//! more than 1.03 of the limit, and nothing of it is lost as long as it is woken within 20 ms. Whoever finds it empty stands in
//! line and is called when its turn has come, so that all get the same who want the same. Who asks for nothing is not
//! in the line and costs nothing. Knows numbers of bytes, not where they go.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// 10 ms: at most a hundred wakes a second for all who wait together, and a hundredth of a second is nobody's burst.
pub const SLICE: Duration = Duration::from_millis(10);

/// Two slices: one that is being spent, and one for a late wake.
const MOST_SLICES: u64 = 2;

/// 4 KiB, or a slice where that is less: with many in the line each is called for at least that, so that nobody's turn is a
/// crumb. Picked by eye.
const LEAST_TURN: u64 = 4096;

/// Levels are counted in hundredths of a byte: a slice of any whole rate is a whole number of them.
const HUNDREDTHS: u64 = 100;

/// Who asks: one direction of one connection. Never used again for another.
pub type TapId = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Wants so many bytes.
    InLine(u64),
    /// Was called, and may have so many.
    Called(u64),
}

/// The bucket and its line.
#[derive(Debug)]
pub struct Bucket {
    /// Bytes a second, which are hundredths of a byte a slice.
    bps: u64,
    /// In hundredths of a byte.
    level: u64,
    fed: Option<Instant>,
    line: VecDeque<TapId>,
    places: BTreeMap<TapId, Place>,
    called: VecDeque<TapId>,
}

impl Bucket {
    /// For so many bytes a second, at least 1.
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

    /// Bytes a second.
    pub const fn bps(&self) -> u64 {
        self.bps
    }

    /// `tap` wants to move `want` bytes. The answer is how many it may move now; without one it is in the line, and is to
    /// ask again when it is called.
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

    /// So many bytes of what was granted were not moved.
    pub fn give_back(&mut self, bytes: u64) {
        self.level = self.level.saturating_add(bytes.saturating_mul(HUNDREDTHS)).min(self.most());
        self.call();
    }

    /// The tap is gone, with its place in the line.
    pub fn on_left(&mut self, tap: TapId) {
        if let Some(Place::Called(granted)) = self.places.remove(&tap) {
            self.give_back(granted);
        }
    }

    /// A slice may be over.
    pub fn on_timeout(&mut self, now: Instant) {
        self.feed(now);
        self.call();
    }

    /// The next tap whose turn has come.
    pub fn poll(&mut self) -> Option<TapId> {
        self.called.pop_front()
    }

    /// When [`Self::on_timeout`] is due; never while nobody waits.
    pub fn deadline(&self) -> Option<Instant> {
        self.fed.filter(|_| !self.line.is_empty()).map(|fed| fed + SLICE)
    }

    /// What it holds at most; a byte at least, or nothing would ever flow.
    fn most(&self) -> u64 {
        self.bps.saturating_mul(MOST_SLICES).max(HUNDREDTHS)
    }

    fn feed(&mut self, now: Instant) {
        let fed = *self.fed.get_or_insert(now);
        let passed = now.saturating_duration_since(fed).as_nanos() / SLICE.as_nanos();
        let slices = u32::try_from(passed).unwrap_or(u32::MAX);
        self.fed = Some(fed + SLICE * slices);
        self.level = self.level.saturating_add(self.bps.saturating_mul(slices.into())).min(self.most());
    }

    /// The first in the line are called as far as the level goes.
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

    /// Some taps that always want more, on virtual time.
    struct Scene {
        bucket: Bucket,
        t0: Instant,
        now: Instant,
        /// What each moved, and when.
        moved: BTreeMap<TapId, u64>,
        log: Vec<(Duration, u64)>,
        wakes: u64,
    }

    impl Scene {
        fn new(bps: u64) -> Self {
            let t0 = base_instant();
            Self { bucket: Bucket::new(bps), t0, now: t0, moved: BTreeMap::new(), log: Vec::new(), wakes: 0 }
        }

        /// Moves until it has to wait; `chunk` at a time.
        fn drain(&mut self, tap: TapId, chunk: u64) {
            while let Some(bytes) = self.bucket.ask(self.now, tap, chunk) {
                *self.moved.entry(tap).or_default() += bytes;
                self.log.push((self.now - self.t0, bytes));
            }
        }

        /// Until that long after the start, woken each time so much too late.
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

        /// The most that any second brought.
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
        /// Whatever the rate, the number of those who want more, how much each wants at once, and however late the
        /// wakes: the mean is right to 1 %, and no second brings more than 1.03 of the limit.
        #[test]
        fn the_mean_is_right_and_no_second_is_a_burst(
            bps in prop_oneof![500u64..5000, 5000u64..1_000_000, 1_000_000u64..1_000_000_000],
            taps in 1u64..40,
            chunk in prop_oneof![Just(256 * 1024u64), 20_000u64..100_000, 1u64..5000],
            late_ms in 0u64..9,
        ) {
            // A chunk a wake at the least, or it is the chunk that limits.
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

        /// Those who want the same get the same.
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
        assert_eq!(scene.bucket.deadline(), None, "nobody waits");
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
