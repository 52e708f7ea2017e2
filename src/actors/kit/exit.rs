//! Why an actor stopped. Does not know what follows: that is the guard's business.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Why an actor stopped.
///
/// The first three are said by the actor itself ([`super::Ctx::stop_with`]); a panic is what the guard caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActorExit {
    /// Done, or told to go. It is not started again.
    Normal,
    /// The network dealt it out (refused, reset, timed out): it starts again after `after`, the budget is untouched.
    Expected {
        /// One of a few labels, for logs and counters: `reset`, `tracker-failure`.
        cause: Cow<'static, str>,
        /// How long to rest first; zero means on the next turn of the arbiter.
        after: Duration,
    },
    /// An invariant is broken, or a child gave up. It spends the restart budget.
    Fault {
        /// What and where, for people.
        what: String,
    },
    /// A bug. It spends the restart budget.
    Panic {
        /// The panic's own text and, where the hook is installed, its place.
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

    /// Neither normal nor expected: it counts against the budget.
    pub const fn is_abnormal(&self) -> bool {
        matches!(self, Self::Fault { .. } | Self::Panic { .. })
    }

    /// The cause in logs, counters and reports: one of few, whatever the text says.
    pub fn cause(&self) -> Cow<'static, str> {
        match self {
            Self::Normal => Cow::Borrowed("normal"),
            Self::Expected { cause, .. } => cause.clone(),
            Self::Fault { .. } => Cow::Borrowed("fault"),
            Self::Panic { .. } => Cow::Borrowed("panic"),
        }
    }

    /// The text behind the cause, where there is one.
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
