//! The pool when its torrent becomes complete, and when it is complete no longer: peers are then chosen by what they take, or
//! by what they give.

use actix::prelude::*;

use super::{Choker, Ctx, PeerBook, PeerPool};

/// We have everything that we want: from now on peers are given to in turns.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SeedingBegun;

/// A piece that we had is lost: peers are needed again for what they give, seeds among them.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct FetchingResumed;

impl Handler<SeedingBegun> for PeerPool {
    type Result = ();

    fn handle(&mut self, _: SeedingBegun, ctx: &mut Ctx<Self>) {
        self.seeding = true;
        self.choke_step(ctx, Choker::on_complete);
        self.step(ctx, |book, _| book.on_complete());
    }
}

impl Handler<FetchingResumed> for PeerPool {
    type Result = ();

    fn handle(&mut self, _: FetchingResumed, ctx: &mut Ctx<Self>) {
        if std::mem::replace(&mut self.seeding, false) {
            self.choke_step(ctx, Choker::on_incomplete);
            self.step(ctx, PeerBook::on_incomplete);
        }
    }
}
