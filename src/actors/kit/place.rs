//! Where a child runs: on the arbiter of whoever starts it, or on another one. Does not know threads: `app` makes them.

use std::fmt;

use actix::{Message, Recipient};

/// An arbiter, as a parent names it for its child. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub enum Place {
    /// That of whoever starts the child.
    #[default]
    Here,
    /// That of the actor which runs what it is sent.
    There(Recipient<RunOnArbiter>),
}

/// To be done on another arbiter, on its next turn.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RunOnArbiter(Box<dyn FnOnce() + Send>);

impl Place {
    /// Here: now. There: later, and never if that arbiter is gone.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) {
        match self {
            Self::Here => work(),
            Self::There(host) => host.do_send(RunOnArbiter(Box::new(work))),
        }
    }
}

impl RunOnArbiter {
    /// For the actor that stands for its arbiter.
    pub fn now(self) {
        (self.0)();
    }
}

impl fmt::Debug for RunOnArbiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}
