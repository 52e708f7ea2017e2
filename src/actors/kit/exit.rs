//! Why an actor stopped. What follows from that is decided by the guard.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Why an actor stopped.
///
/// An actor states the first three itself ([`super::Ctx::stop_with`]). The guard states a panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActorExit {
    /// The actor is done or was told to stop. It is not started again.
    Normal,
    /// The network caused the exit (refused, reset, timed out). The actor starts again after `after`; the budget is
    /// not touched.
    Expected {
        /// One of a few labels, for logs and counters: `reset`, `tracker-failure`.
        cause: Cow<'static, str>,
        /// The time to rest before the next incarnation. Zero: the next turn of the arbiter.
        after: Duration,
    },
    /// An invariant is broken, or a child gave up. Spends the restart budget.
    Fault {
        /// What and where, for people.
        what: String,
    },
    /// A bug. Spends the restart budget.
    Panic {
        /// The text of the panic and, if the hook is installed, its place.
        what: String,
    },
}

impl ActorExit {
    /// An expected exit.
    pub fn expected(cause: impl Into<Cow<'static, str>>, after: Duration) -> Self {
        Self::Expected { cause: cause.into(), after }
    }

    /// A fault.
    pub fn fault(what: impl Into<String>) -> Self {
        Self::Fault { what: what.into() }
    }

    /// Whether the exit spends the restart budget: it is neither normal nor expected.
    pub const fn is_abnormal(&self) -> bool {
        matches!(self, Self::Fault { .. } | Self::Panic { .. })
    }

    /// The cause in logs, counters and reports: one of a few labels.
    pub fn cause(&self) -> Cow<'static, str> {
        match self {
            Self::Normal => Cow::Borrowed("normal"),
            Self::Expected { cause, .. } => cause.clone(),
            Self::Fault { .. } => Cow::Borrowed("fault"),
            Self::Panic { .. } => Cow::Borrowed("panic"),
        }
    }

    /// The text that belongs to the cause, if there is one.
    pub fn what(&self) -> Option<&str> {
        match self {
            Self::Normal | Self::Expected { .. } => None,
            Self::Fault { what } | Self::Panic { what } => Some(what),
        }
    }
}

impl fmt::Display for ActorExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what() {
            Some(what) => write!(f, "{}: {what}", self.cause()),
            None => f.write_str(&self.cause()),
        }
    }
}
