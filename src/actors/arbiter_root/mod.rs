//! `ArbiterRoot`: stands for one arbiter, where there are several.
//!
//! Root of its arbiter: it has no parent, and who lives there is no child of it. Under the root guard, 3 restarts in 60 s; its
//! own fall moves nobody. Hears [`RunOnArbiter`]: starts whoever is to live there. Hears [`MeasureLag`]: tells how late it was heard, which
//! is how late everybody there is. Owns nothing, asks nobody. Ends when told to, and its arbiter with it.

use actix::prelude::*;

use super::kit::{Child, Ctx, Goodbye, RunOnArbiter};
use super::metrics::{MeasureLag, write_lag};

/// See the head of the file.
#[derive(Debug)]
pub struct ArbiterRoot {
    /// Which arbiter: 0 is the one where the session lives.
    nth: usize,
}

crate::metered!(ArbiterRoot, "Host");

impl ArbiterRoot {
    /// Waits to be told whom to start.
    pub const fn new(nth: usize) -> Self {
        Self { nth }
    }
}

impl Actor for ArbiterRoot {
    type Context = Ctx<Self>;
}

impl Supervised for ArbiterRoot {}

impl Child for ArbiterRoot {
    fn id(&self) -> String {
        self.nth.to_string()
    }
}

impl Handler<RunOnArbiter> for ArbiterRoot {
    type Result = ();

    fn handle(&mut self, run: RunOnArbiter, _: &mut Ctx<Self>) {
        run.now();
    }
}

impl Handler<MeasureLag> for ArbiterRoot {
    type Result = ();

    fn handle(&mut self, MeasureLag(sent): MeasureLag, _: &mut Ctx<Self>) {
        write_lag(self.nth, sent.elapsed());
    }
}

impl Handler<Goodbye> for ArbiterRoot {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        ctx.stop();
    }
}
