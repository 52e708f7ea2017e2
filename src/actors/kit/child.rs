//! What a supervised actor must implement, and what its guard reports to its parent.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{Message, Supervised};

use super::{ActorExit, Metered};

/// An actor that can be supervised.
///
/// [`Supervised::restarting`] runs between two incarnations, also after a panic. It must keep configuration and
/// counters and drop everything else (connections, timers, handles of spawned futures, half-done work). The address
/// and the messages in the mailbox survive. A message whose handler panicked does not: it was taken out of the mailbox
/// before, its sender gets `MailboxError::Closed`, and it is never delivered again, so that one bad message does not
/// spend the whole budget.
///
/// A panic can happen anywhere, so `restarting` must not assume that the other state is consistent.
pub trait Child: Metered + Supervised {
    /// The name of this child in the logs among its kind: an info-hash, an address, a redacted URL. Called once, at
    /// the start.
    fn id(&self) -> String;
}

/// End in good order: flush, tell others, then call `ctx.stop()`. Sent by [`super::SupervisedChild::stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Goodbye;

/// Identifies one child over all its incarnations. Unique in the process; a child that was started later has a greater
/// id. Not for logs: its value depends on every actor that was ever started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildId(u64);

impl ChildId {
    pub(super) fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A report of a child's guard to the child's parent.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ChildEvent {
    /// The kind of the child.
    pub kind: &'static str,
    /// The child: equal to the `id` of its [`super::SupervisedChild`].
    pub id: ChildId,
    /// What happened.
    pub event: Lifecycle,
}

/// What happened to a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lifecycle {
    /// An incarnation runs: `started` returned and did not stop it.
    Started,
    /// An incarnation ended; the next one starts after `backoff`.
    Restarting {
        /// The cause, one of few labels: see [`ActorExit::cause`].
        cause: Cow<'static, str>,
        /// The number of this restart in a row, from 1. Expected and abnormal restarts are counted apart.
        attempt: u32,
        /// The rest before the next incarnation.
        backoff: Duration,
        /// Abnormal restarts that the policy still allows.
        budget_left: u32,
        /// Whether the restart is expected: the network caused it, and the budget is not touched.
        expected: bool,
    },
    /// The child will not run again and its mailbox is closed. The last event of its id.
    Ended {
        /// Why the last incarnation ended.
        exit: ActorExit,
        /// Whether the restart budget is spent: then the parent must act.
        gave_up: bool,
    },
}
