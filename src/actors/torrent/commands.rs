//! The commands of a user that need nothing but the torrent. Each is answered at once: it is obeyed, or why it is not.

use actix::prelude::*;

use super::Torrent;
use crate::actors::kit::Ctx;
use crate::logic::torrent::lifecycle::{CommandRefusal, TorrentLifecycle};
use crate::logic::torrent::seeding_goal::SeedingGoal;

/// Closes the connections to peers and tells trackers `stopped`. What is known of the files is kept.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), CommandRefusal>")]
pub struct PauseTorrent;

/// Goes on after a pause without hashing anything; opens the files again after a failure.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), CommandRefusal>")]
pub struct ResumeTorrent;

/// Hashes everything that is on the disk, whatever the record says, and fetches what is wrong or missing. A torrent that is
/// only to be seeded fails where something is.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), CommandRefusal>")]
pub struct RecheckTorrent;

/// From now on the complete torrent is given to others until this goal is reached; `None`: not at all.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), CommandRefusal>")]
pub struct SetSeedingGoal(pub Option<SeedingGoal>);

impl Handler<PauseTorrent> for Torrent {
    type Result = Result<(), CommandRefusal>;

    fn handle(&mut self, _: PauseTorrent, ctx: &mut Ctx<Self>) -> Self::Result {
        self.step(ctx, TorrentLifecycle::pause)
    }
}

impl Handler<ResumeTorrent> for Torrent {
    type Result = Result<(), CommandRefusal>;

    fn handle(&mut self, _: ResumeTorrent, ctx: &mut Ctx<Self>) -> Self::Result {
        self.step(ctx, TorrentLifecycle::resume)
    }
}

impl Handler<RecheckTorrent> for Torrent {
    type Result = Result<(), CommandRefusal>;

    fn handle(&mut self, _: RecheckTorrent, ctx: &mut Ctx<Self>) -> Self::Result {
        self.step(ctx, TorrentLifecycle::recheck)
    }
}

impl Handler<SetSeedingGoal> for Torrent {
    type Result = Result<(), CommandRefusal>;

    fn handle(&mut self, SetSeedingGoal(goal): SetSeedingGoal, ctx: &mut Ctx<Self>) -> Self::Result {
        self.step(ctx, |machine, now| machine.set_seeding_goal(now, goal))
    }
}
