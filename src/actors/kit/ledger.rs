//! The ledger of restarts: each restart is one log event, and is counted under its cause.
//!
//! The guard records here, and so does a parent that starts the next incarnation itself (`PeerPool`).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::meter::{ActorMeter, enlisted};

/// 32 causes a kind: `Farewell` has 18, trackers fewer. Whatever comes later is counted as [`OTHER`].
const MAX_CAUSES: usize = 32;

/// The name under which the causes beyond the first 32 of a kind are counted.
pub const OTHER: &str = "other";

/// Records one supervised restart: one log event, one count. A `kind` of which no actor ever ran is logged and not
/// counted.
///
/// `attempt` counts restarts in a row, from 1. `budget_left` is the number of abnormal restarts still allowed; `None`
/// if they are not limited.
pub fn record_restart(
    kind: &'static str,
    id: &str,
    cause: &str,
    attempt: u32,
    backoff: Duration,
    budget_left: Option<u32>,
    expected: bool,
) {
    let meter = enlisted().find(|meter| meter.kind() == kind);
    RestartEvent { kind, id, cause, what: None, attempt, backoff, budget_left, expected }.record(meter);
}

/// How often each kind of actor was restarted for each cause since the process started, ordered by kind and cause.
pub fn restarts_by_cause() -> Vec<(&'static str, String, u64)> {
    let mut all: Vec<_> = enlisted()
        .flat_map(|meter| meter.causes.counts().map(|(cause, count)| (meter.kind(), cause.to_owned(), count)))
        .collect();
    all.sort();
    all
}

/// One supervised restart, with the fields of its log event.
#[derive(Debug)]
pub(super) struct RestartEvent<'a> {
    pub(super) kind: &'static str,
    pub(super) id: &'a str,
    pub(super) cause: &'a str,
    pub(super) what: Option<&'a str>,
    pub(super) attempt: u32,
    pub(super) backoff: Duration,
    pub(super) budget_left: Option<u32>,
    pub(super) expected: bool,
}

impl RestartEvent<'_> {
    /// Logs the restart, and counts it in the meter of its kind.
    pub(super) fn record(&self, meter: Option<&ActorMeter>) {
        if let Some(meter) = meter {
            meter.causes.count(self.cause, self.expected);
        }
        tracing::warn!(
            actor = self.kind,
            id = self.id,
            cause = self.cause,
            what = self.what,
            attempt = self.attempt,
            backoff_ms = u64::try_from(self.backoff.as_millis()).unwrap_or(u64::MAX),
            budget_left = self.budget_left,
            expected = self.expected,
            "actor restarts"
        );
    }
}

/// Counters for at most [`MAX_CAUSES`] causes of one kind of actor. Lock-free; a name is never removed.
#[derive(Debug)]
pub(super) struct Causes {
    named: [Cause; MAX_CAUSES],
    other: Counts,
}

/// The counters of one cause.
#[derive(Debug)]
struct Cause {
    name: OnceLock<Box<str>>,
    counts: Counts,
}

/// Expected and abnormal restarts.
#[derive(Debug)]
struct Counts {
    expected: AtomicU64,
    abnormal: AtomicU64,
}

impl Counts {
    const fn new() -> Self {
        Self { expected: AtomicU64::new(0), abnormal: AtomicU64::new(0) }
    }

    fn of(&self, expected: bool) -> &AtomicU64 {
        if expected { &self.expected } else { &self.abnormal }
    }

    /// All restarts.
    fn both(&self) -> u64 {
        self.expected.load(Relaxed) + self.abnormal.load(Relaxed)
    }
}

impl Causes {
    pub(super) const fn new() -> Self {
        let named = [const { Cause { name: OnceLock::new(), counts: Counts::new() } }; MAX_CAUSES];
        Self { named, other: Counts::new() }
    }

    /// Counts one restart.
    fn count(&self, name: &str, expected: bool) {
        let known = self.named.iter().find(|cause| **cause.name.get_or_init(|| name.into()) == *name);
        known.map_or(&self.other, |cause| &cause.counts).of(expected).fetch_add(1, Relaxed);
    }

    /// The number of expected restarts, or of abnormal ones.
    pub(super) fn sum(&self, expected: bool) -> u64 {
        let named: u64 = self.named.iter().map(|cause| cause.counts.of(expected).load(Relaxed)).sum();
        named + self.other.of(expected).load(Relaxed)
    }

    /// The causes that occurred, with their restarts.
    fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        let named = self.named.iter().filter_map(|cause| Some((&**cause.name.get()?, cause.counts.both())));
        named.chain(std::iter::once((OTHER, self.other.both()))).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_counted_by_name_and_the_many_as_other() {
        let causes = Causes::new();
        for round in 0..3 {
            for nth in 0..40 {
                causes.count(&format!("cause {nth:02}"), round == 0);
            }
        }
        assert_eq!((causes.sum(true), causes.sum(false)), (40, 80));
        let counts: Vec<_> = causes.counts().collect();
        assert_eq!(counts.len(), MAX_CAUSES + 1);
        assert_eq!(counts[0], ("cause 00", 3));
        assert_eq!(counts[MAX_CAUSES], (OTHER, 24));
    }
}
