//! The commands of a user: what each changes, and when it is refused.

use std::time::Instant;

use super::{ChildState, CommandRefusal, EndState, TorrentActivity, TorrentLifecycle, TorrentState};
use crate::logic::disk::resume::OpenMode;
use crate::logic::torrent::seeding_goal::SeedingGoal;

impl TorrentLifecycle {
    /// Closes the peers and tells trackers `stopped`. What is known of the files is kept, and a check that is under way goes
    /// on.
    pub fn pause(&mut self, now: Instant) -> Result<(), CommandRefusal> {
        self.refuse_if_ending()?;
        if self.activity() == TorrentActivity::Failed {
            return Err(CommandRefusal::Failed);
        }
        if self.state.is_paused() {
            return Err(CommandRefusal::AlreadyPaused);
        }
        self.state = TorrentState::Paused(self.activity());
        self.seeding.halt(now);
        self.publish();
        self.settle(now);
        Ok(())
    }

    /// Goes on after a pause, with what is known of the files; opens the files again after a failure.
    pub fn resume(&mut self, now: Instant) -> Result<(), CommandRefusal> {
        self.refuse_if_ending()?;
        if self.activity() == TorrentActivity::Failed {
            self.reopen(now);
            return Ok(());
        }
        if !self.state.is_paused() {
            return Err(CommandRefusal::NotPaused);
        }
        self.state = TorrentState::Active(self.activity());
        self.seeding.go_on(now);
        self.publish();
        self.settle(now);
        Ok(())
    }

    /// Closes the peers and hashes everything that is on the disk. What is wrong or missing is fetched then, unless the
    /// torrent is paused.
    pub fn recheck(&mut self, now: Instant) -> Result<(), CommandRefusal> {
        self.refuse_if_ending()?;
        if self.activity().is_checking() {
            return Err(CommandRefusal::AlreadyChecking);
        }
        self.open_mode = OpenMode::Recheck;
        self.reopen(now);
        Ok(())
    }

    /// Changes for how long the complete torrent is given to others; `None`: not at all.
    pub fn set_seeding_goal(&mut self, now: Instant, goal: Option<SeedingGoal>) -> Result<(), CommandRefusal> {
        self.refuse_if_ending()?;
        self.goal = goal;
        if self.activity() == TorrentActivity::Complete {
            self.complete(now);
        }
        // The figures are up to a second old; the next survey judges anew.
        self.judge_goal(now);
        self.publish();
        self.settle(now);
        Ok(())
    }

    fn refuse_if_ending(&self) -> Result<(), CommandRefusal> {
        if self.end == EndState::NotAsked { Ok(()) } else { Err(CommandRefusal::Stopping) }
    }

    /// The disk writer is to open the files anew.
    fn reopen(&mut self, now: Instant) {
        self.disk = ChildState::Closing;
        (self.troubled, self.finish_due) = (false, false);
        self.become_active(now, TorrentActivity::Opening);
    }
}
