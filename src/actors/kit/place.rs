//! Where a child runs: on the arbiter of its parent or on another one. This module does not know threads; `app` makes
//! them.

use std::fmt;

use actix::{Message, Recipient};

/// The arbiter on which a parent starts a child. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub enum Place {
    /// The arbiter of the parent.
    #[default]
    Here,
    /// The arbiter of the actor with this address, which runs the work that it is sent.
    There(Recipient<RunOnArbiter>),
}

/// Asks an arbiter's root actor to run this work on its next turn.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RunOnArbiter(Box<dyn FnOnce() + Send>);

impl Place {
    /// Runs the work: at once for `Here`, later for `There`, and never if that arbiter is gone.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) {
        match self {
            Self::Here => work(),
            Self::There(host) => host.do_send(RunOnArbiter(Box::new(work))),
        }
    }
}

impl RunOnArbiter {
    /// Runs the work. Called by the root actor of the arbiter.
    pub fn now(self) {
        (self.0)();
    }
}

impl fmt::Debug for RunOnArbiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}
