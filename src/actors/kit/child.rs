//! What a supervised actor must offer, and what its guard tells its parent.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{Message, Supervised};

use super::{ActorExit, Metered};

/// An actor that can be supervised.
///
/// [`Supervised::restarting`] runs between two incarnations, also after a panic: it keeps configuration and counters
/// and drops everything else (connections, timers, handles of spawned futures, half-done work). The address and the
/// messages in the mailbox survive. The message that panicked does not: it was taken out before it was handled, its
/// asker gets `MailboxError::Closed`, and it is never delivered again, lest one poisonous message spend the whole budget.
///
/// A panic may strike anywhere, so `restarting` must not trust the live state to be consistent.
pub trait Child: Metered + Supervised {
    /// Who this is in the logs, among its kind: an info-hash, an address, a redacted URL. Asked once, at the start.
    fn id(&self) -> String;
}

/// End in good order: flush, say good-bye to others, then `ctx.stop()`. Sent by [`super::SupervisedChild::stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Goodbye;

/// One child, from its start to its end, over all its incarnations. Never used twice in a process; younger children
/// have greater ids. Not for logs: its value depends on everything else that was ever started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildId(u64);

impl ChildId {
    pub(super) fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What the guard of a child tells its parent.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ChildEvent {
    /// The kind of the child.
    pub kind: &'static str,
    /// Which of them; equal to the `id` of its [`super::SupervisedChild`].
    pub id: ChildId,
    /// What happened.
    pub event: Lifecycle,
}

/// What happened to a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lifecycle {
    /// An incarnation runs: its `started` returned and it did not stop at once.
    Started,
    /// An incarnation ended; the next one starts after `backoff`.
    Restarting {
        /// One of few labels: see [`ActorExit::cause`].
        cause: Cow<'static, str>,
        /// Which restart in a row this is, from 1. Expected and abnormal ones are counted apart.
        attempt: u32,
        /// The rest before the next incarnation.
        backoff: Duration,
        /// Abnormal restarts that the policy still allows.
        budget_left: u32,
        /// The network dealt it out; the budget is untouched.
        expected: bool,
    },
    /// The child is gone for good and its mailbox closed. The last event of its id.
    Ended {
        /// Why the last incarnation ended.
        exit: ActorExit,
        /// Its restart budget is spent: the parent has to act.
        gave_up: bool,
    },
}
