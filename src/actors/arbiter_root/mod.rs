//! `Host`: stands for one arbiter, where there are several.
//!
//! Root of its arbiter: it has no parent, and who lives there is no child of it. Under the root guard, 3 restarts in 60 s; its
//! own fall moves nobody. Hears [`Run`]: starts whoever is to live there. Hears [`Muster`]: tells how late it was heard, which
//! is how late everybody there is. Owns nothing, asks nobody. Ends when told to, and its arbiter with it.

use actix::prelude::*;

use super::kit::{Child, Ctx, Goodbye, Run};
use super::metrics::{Muster, write_lag};

/// See the head of the file.
#[derive(Debug)]
pub struct Host {
    /// Which arbiter: 0 is the one where the session lives.
    nth: usize,
}

crate::metered!(Host, "Host");

impl Host {
    /// Waits to be told whom to start.
    pub const fn new(nth: usize) -> Self {
        Self { nth }
    }
}

impl Actor for Host {
    type Context = Ctx<Self>;
}

impl Supervised for Host {}

impl Child for Host {
    fn id(&self) -> String {
        self.nth.to_string()
    }
}

impl Handler<Run> for Host {
    type Result = ();

    fn handle(&mut self, run: Run, _: &mut Ctx<Self>) {
        run.now();
    }
}

impl Handler<Muster> for Host {
    type Result = ();

    fn handle(&mut self, Muster(sent): Muster, _: &mut Ctx<Self>) {
        write_lag(self.nth, sent.elapsed());
    }
}

impl Handler<Goodbye> for Host {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        ctx.stop();
    }
}
