//! Decides when a child that ended abnormally may start again, and when its restart budget is spent.
//!
//! Only *abnormal* ends are counted here: a panic or a broken invariant. Expected ends (refused, timed out, reset) are
//! handled by [`crate::logic::peers::peer_book`] and [`crate::logic::trackers::announce`] and spend no budget. The
//! guard hands in the time and the jitter.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The restart budget of a child: at most `max_restarts` restarts in any `window`, spaced by a growing back-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Restarts allowed in any `window`; the next abnormal end after that gives up.
    pub max_restarts: u32,
    /// The sliding time window in which restarts are counted.
    pub window: Duration,
    /// The back-off before the first restart; doubles with every further one.
    pub base: Duration,
    /// The longest back-off. Cut further where `max_restarts` of it would not fit into `window`: see [`Policy::backoff`].
    pub cap: Duration,
    /// After this uptime the earlier attempts are forgotten: the next back-off is `base` again.
    pub stable: Duration,
}

/// A quarter to either side: children that fail together do not start again together.
const JITTER: f64 = 0.25;

/// What to do after an abnormal end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Start again after this long.
    RestartAfter(Duration),
    /// The budget is spent: the parent must act.
    GiveUp,
}

impl Policy {
    /// The back-off before restart number `attempt` (from 1), without jitter.
    ///
    /// Half the window divided by the number of restarts bounds it (but never below `base`): a back-off that outgrew
    /// the window would let a child crash for ever without spending its budget.
    pub fn backoff(&self, attempt: u32) -> Duration {
        let fitting = self.window / 2 / self.max_restarts.saturating_add(1);
        let most = self.cap.min(fitting.max(self.base));
        let doublings = attempt.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(most)
    }
}

/// The abnormal ends of one child, as far back as its [`Policy`] counts them.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Times of the restarts within the window, at most `max_restarts`.
    restarts: VecDeque<Instant>,
    /// Restarts since the child was last stable.
    attempt: u32,
    /// When the child last started. `None` before the first start and between two starts.
    started: Option<Instant>,
}

impl History {
    /// The history of a child that has never failed.
    pub fn new() -> Self {
        Self::default()
    }

    /// The child was started, for the first time or again.
    pub fn on_started(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// The child ended abnormally. `jitter01` is a random number in `[0, 1]`; any other value counts as 0.5.
    pub fn on_abnormal(&mut self, policy: &Policy, now: Instant, jitter01: f64) -> Decision {
        self.forget_old(policy, now);
        if self.started.take().is_some_and(|started| now.saturating_duration_since(started) >= policy.stable) {
            self.attempt = 0;
        }
        if self.budget_left(policy, now) == 0 {
            return Decision::GiveUp;
        }
        self.restarts.push_back(now);
        self.attempt = self.attempt.saturating_add(1);
        let die = if (0.0..=1.0).contains(&jitter01) { jitter01 } else { 0.5 };
        Decision::RestartAfter(policy.backoff(self.attempt).mul_f64(1.0 - JITTER + 2.0 * JITTER * die))
    }

    /// Restarts since the child last was stable; 0 for one that never failed.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How many more restarts the window allows now.
    pub fn budget_left(&self, policy: &Policy, now: Instant) -> u32 {
        let spent = self.restarts.iter().filter(|at| is_within(policy, **at, now)).count();
        policy.max_restarts.saturating_sub(u32::try_from(spent).unwrap_or(u32::MAX))
    }

    /// Drops restarts that have left the window.
    fn forget_old(&mut self, policy: &Policy, now: Instant) {
        while self.restarts.front().is_some_and(|at| !is_within(policy, *at, now)) {
            self.restarts.pop_front();
        }
    }
}

fn is_within(policy: &Policy, at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < policy.window
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const POLICY: Policy = Policy {
        max_restarts: 3,
        window: Duration::from_secs(60),
        base: SECOND,
        cap: Duration::from_secs(4),
        stable: Duration::from_secs(30),
    };

    /// One abnormal end: the second in which it happens, the second of the child's last start, and the decision.
    type End = (u64, u64, Decision);

    #[test]
    fn restarts_are_counted_in_a_sliding_window() {
        let after = |secs| Decision::RestartAfter(Duration::from_secs(secs));
        let table: &[(&str, &[End])] = &[
            (
                "a crash loop gives up",
                &[(0, 0, after(1)), (1, 1, after(2)), (3, 3, after(4)), (7, 7, Decision::GiveUp)],
            ),
            (
                "the window slides: the first restart leaves it after 60 s",
                &[
                    (0, 0, after(1)),
                    (10, 1, after(2)),
                    (20, 12, after(4)),
                    (60, 57, after(4)),
                    (61, 61, Decision::GiveUp),
                ],
            ),
            (
                "a stable uptime forgets the attempts, not the budget",
                &[(0, 0, after(1)), (10, 1, after(2)), (45, 12, after(1)), (50, 46, Decision::GiveUp)],
            ),
            (
                "a long quiet time forgets both",
                &[(0, 0, after(1)), (1, 1, after(2)), (500, 3, after(1)), (501, 501, after(2))],
            ),
        ];
        for (what, ends) in table {
            let (t0, mut history) = (base_instant(), History::new());
            for (at, started, want) in *ends {
                history.on_started(t0 + SECOND * u32::try_from(*started).unwrap());
                let got = history.on_abnormal(&POLICY, t0 + SECOND * u32::try_from(*at).unwrap(), 0.5);
                assert_eq!(got, *want, "{what}, at {at} s");
            }
        }
    }

    #[test]
    fn the_budget_and_the_attempts_can_be_read() {
        let (t0, mut history) = (base_instant(), History::new());
        assert_eq!((history.attempt(), history.budget_left(&POLICY, t0)), (0, 3));
        history.on_abnormal(&POLICY, t0, 0.5);
        assert_eq!((history.attempt(), history.budget_left(&POLICY, t0)), (1, 2));
        assert_eq!(history.budget_left(&POLICY, t0 + POLICY.window), 3);
    }

    #[test]
    fn a_policy_without_restarts_gives_up_at_once() {
        let none = Policy { max_restarts: 0, ..POLICY };
        assert_eq!(History::new().on_abnormal(&none, base_instant(), 0.5), Decision::GiveUp);
    }

    #[test]
    fn jitter_stays_within_a_quarter_and_bad_dice_do_no_harm() {
        let table = [(0.0, 750), (0.5, 1000), (1.0, 1250), (f64::NAN, 1000), (f64::INFINITY, 1000), (-1.0, 1000)];
        for (die, ms) in table {
            let got = History::new().on_abnormal(&POLICY, base_instant(), die);
            assert_eq!(got, Decision::RestartAfter(Duration::from_millis(ms)), "die {die}");
        }
    }

    proptest! {
        /// For any numbers: a child that crashes at every start gives up after exactly `max_restarts` restarts.
        #[test]
        fn a_crash_loop_always_ends(max in 0u32..20, window in 10u64..600, base_ms in 1u64..200, cap in 0u64..3600) {
            let policy = Policy {
                max_restarts: max,
                window: Duration::from_secs(window),
                base: Duration::from_millis(base_ms),
                cap: Duration::from_secs(cap).max(Duration::from_millis(base_ms)),
                stable: Duration::from_secs(window),
            };
            let (mut now, mut history, mut restarts) = (base_instant(), History::new(), 0);
            history.on_started(now);
            while let Decision::RestartAfter(wait) = history.on_abnormal(&policy, now, 1.0) {
                restarts += 1;
                prop_assert!(restarts <= max);
                prop_assert!(wait <= policy.cap.mul_f64(1.0 + JITTER));
                now += wait;
                history.on_started(now);
            }
            prop_assert_eq!(restarts, max);
        }

        /// For any times of ends: no window holds more than `max_restarts` restarts.
        #[test]
        fn no_window_holds_more_restarts_than_allowed(gaps in prop::collection::vec(0u64..40, 1..60)) {
            let (mut now, mut history, mut restarts) = (base_instant(), History::new(), Vec::new());
            for gap in gaps {
                now += SECOND * u32::try_from(gap).unwrap();
                if matches!(history.on_abnormal(&POLICY, now, 0.5), Decision::RestartAfter(_)) {
                    restarts.push(now);
                }
                let inside = restarts.iter().filter(|at| now.duration_since(**at) < POLICY.window).count();
                prop_assert!(inside <= POLICY.max_restarts as usize);
            }
        }
    }
}
