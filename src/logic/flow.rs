//! A byte rate that decays exponentially: cheaper than [`Rate`](crate::logic::rate::Rate), and smooth enough for decisions.

use std::time::{Duration, Instant};

/// A rate covers about 5 s.
const SPAN_S: f64 = 5.0;

/// A byte rate that decays exponentially, over about 5 s.
#[derive(Debug, Clone, Default)]
pub(super) struct Flow {
    level: f64,
    at: Option<Instant>,
}

impl Flow {
    /// Nothing has arrived yet.
    pub(super) const fn new() -> Self {
        Self { level: 0.0, at: None }
    }

    /// `bytes` arrived at `now`.
    pub(super) fn add(&mut self, now: Instant, bytes: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people and rough decisions")]
        let bytes = bytes as f64;
        self.level = self.level_at(now) + bytes;
        self.at = Some(now);
    }

    /// Bytes a second over about the last 5 s.
    pub(super) fn bps(&self, now: Instant) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "float casts saturate; never negative"
        )]
        let bps = (self.level_at(now) / SPAN_S) as u64;
        bps
    }

    /// The decayed number of bytes.
    fn level_at(&self, now: Instant) -> f64 {
        let quiet = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.level * (-quiet.as_secs_f64() / SPAN_S).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;

    #[test]
    fn a_flow_settles_at_its_rate_and_fades() {
        let t0 = base_instant();
        let mut flow = Flow::default();
        for tick in 0..600 {
            flow.add(t0 + Duration::from_millis(tick * 100), 10_000);
        }
        let end = t0 + Duration::from_secs(60);
        assert!((95_000..106_000).contains(&flow.bps(end)), "{}", flow.bps(end));
        assert!(flow.bps(end + Duration::from_secs(30)) < 300);
    }
}
