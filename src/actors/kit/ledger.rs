//! The ledger of restarts: each restart is one log event, and is counted under its cause.
//!
//! The guard records here, and so does a parent that starts the next incarnation itself (`PeerPool`).

use std::time::Duration;

use super::meter::{ActorMeter, enlisted};

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
