//! How often the children of one parent may fail, taken together.

use tokio::time::Instant;

use crate::logic::restart::{Decision, History, Policy};

/// The middle of the dice: nothing is started again here, so there is nothing to spread.
const NO_JITTER: f64 = 0.5;

/// Counts the abnormal restarts of all children of a parent. Of the policy only the count and the window matter.
#[derive(Debug)]
pub(super) struct Intensity {
    policy: Policy,
    history: History,
}

impl Intensity {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, history: History::new() }
    }

    /// Counts one abnormal restart. Returns whether it is one more than the window allows.
    pub(super) fn is_spent_by(&mut self, now: Instant) -> bool {
        self.history.on_abnormal(&self.policy, now.into_std(), NO_JITTER) == Decision::GiveUp
    }

    /// A new generation begins with a full budget.
    pub(super) fn forget(&mut self) {
        self.history = History::new();
    }
}
