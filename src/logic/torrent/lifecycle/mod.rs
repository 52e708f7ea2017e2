//! What a torrent does as a whole: when its children run, when its files are checked, when it is complete, when it ends.
//!
//! A torrent is in exactly one state at any time. `Paused(s)` is the state `s` without peers: what the disk writer has
//! begun goes on, so that `s` changes as it would without the pause.
//!
//! | state | input | next state | effects besides `Publish` |
//! |---|---|---|---|
//! | `Opening` | the disk writer hashes | `Checking` | |
//! | `Opening`, `Checking` | the disk is ready, wanted pieces are missing | `Fetching` | `StartPeers` |
//! | `Opening`, `Checking` | the disk is ready, nothing is missing, a seeding goal | `Seeding` | `StartPeers` |
//! | `Opening`, `Checking` | the disk is ready, nothing is missing, no goal | `Complete` | |
//! | `Fetching` | every wanted piece is fetched | `Finishing` | `AnnounceCompleted` once, `Survey`, `FinishWriting` |
//! | `Seeding` | the goal is reached | `Finishing` | `FinishWriting` |
//! | `Finishing` | all is durable, the goal is not reached | `Seeding` | |
//! | `Finishing` | all is durable, no goal, or it is reached | `Complete` | `Survey`, `StopPeers` |
//! | `Finishing`, `Seeding` | a wanted piece is lost | `Fetching` | `ForgetPiece`, `FetchFromPeers` |
//! | any | the disk fails for good | `Failed` | `PauseScheduler`, `Survey`, `StopPeers` |
//! | any but `Failed` | `pause` | `Paused` of it | `Survey`, `StopPeers` |
//! | `Paused(s)` | `resume` | `s` | `StartPeers` where `s` needs them |
//! | `Failed` | `resume` | `Opening` | `StopDisk`, `StartDisk` |
//! | any but `Opening`, `Checking` | `recheck` | `Opening` | `Survey`, `StopPeers`, `StopDisk`, `StartDisk(Recheck)` |
//! | `Complete` | a goal that is not reached | `Seeding` | `StartPeers` |
//! | any | goodbye | none | `Survey`, `ForgetState` if complete, `End` |
//!
//! Before peers are closed and before a download is called complete there is one more survey, so that the figures that are
//! published last are whole. Knows no actor, no disk and no clock.

mod commands;
mod surveys;
mod values;

pub use values::{CommandRefusal, LifecycleEffect, SurveyFindings, TorrentActivity, TorrentState};

use std::collections::VecDeque;
use std::time::Instant;

use self::surveys::Surveys;
use super::seeding_goal::{SeedingGoal, SeedingTime};
use super::survey_clock::{PeerInterest, Sight};
use crate::base::geometry::PieceIndex;
use crate::logic::disk::resume::OpenMode;

/// How a child stands, or several that start and end together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChildState {
    Off,
    On,
    /// It is to be ended, and waits for something before.
    Closing,
    /// It was told to end.
    Leaving,
}

/// How far the end of the torrent has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndState {
    NotAsked,
    Asked,
    /// [`LifecycleEffect::End`] was given.
    Ended,
}

/// See the head of the file.
#[derive(Debug)]
pub struct TorrentLifecycle {
    // Kept over a restart of the torrent.
    goal: Option<SeedingGoal>,
    /// Bytes of the selected files.
    size: u64,
    open_mode: OpenMode,
    seeding: SeedingTime,
    /// `completed` was announced, or is not to be: the torrent was complete when it was opened.
    announced: bool,
    bytes_sent: u64,
    // Live; of the state, the pause is kept.
    state: TorrentState,
    disk: ChildState,
    peers: ChildState,
    /// The disk is in trouble that may pass.
    troubled: bool,
    /// The disk writer is to be told [`LifecycleEffect::FinishWriting`].
    finish_due: bool,
    surveys: Surveys,
    end: EndState,
    outbox: VecDeque<LifecycleEffect>,
}

impl TorrentLifecycle {
    /// Before [`Self::on_start`]. `size`: bytes of the selected files, which a ratio is measured by.
    pub fn new(goal: Option<SeedingGoal>, size: u64) -> Self {
        Self {
            goal,
            size,
            open_mode: OpenMode::TrustRecord,
            seeding: SeedingTime::default(),
            announced: false,
            bytes_sent: 0,
            state: TorrentState::Active(TorrentActivity::Opening),
            // Children of an earlier incarnation may still be there.
            disk: ChildState::Leaving,
            peers: ChildState::Off,
            troubled: false,
            finish_due: false,
            surveys: Surveys::default(),
            end: EndState::NotAsked,
            outbox: VecDeque::new(),
        }
    }

    /// The machine for the next incarnation of the torrent: what users said and what is counted is kept, the rest begins anew.
    #[must_use]
    pub fn restarted(&self) -> Self {
        let &Self { open_mode, seeding, announced, bytes_sent, .. } = self;
        let state = self.state.with(TorrentActivity::Opening);
        Self { open_mode, seeding, announced, bytes_sent, state, ..Self::new(self.goal, self.size) }
    }

    /// The state as the table above has it.
    pub const fn state(&self) -> TorrentState {
        self.state
    }

    /// Whether the disk is in trouble that may pass.
    pub const fn is_disk_troubled(&self) -> bool {
        self.troubled
    }

    /// Whether the present check of the files is one that a user asked for.
    pub const fn is_rechecking(&self) -> bool {
        matches!(self.open_mode, OpenMode::Recheck)
    }

    /// The next effect.
    pub fn poll(&mut self) -> Option<LifecycleEffect> {
        self.outbox.pop_front()
    }

    /// When [`Self::on_timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.surveys.deadline()
    }

    /// No child of an earlier incarnation is left.
    pub fn on_start(&mut self, now: Instant) {
        self.disk = ChildState::Off;
        self.tick(now);
    }

    /// The deadline has come.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.deadline().is_some_and(|due| due <= now) {
            self.tick(now);
        }
    }

    /// Something may have changed that the last survey did not see.
    pub fn on_changed(&mut self, _: Instant) {
        self.surveys.on_changed();
    }

    /// The torrent is to end.
    pub fn on_goodbye(&mut self, now: Instant) {
        self.end = EndState::Asked;
        self.surveys.need();
        self.surveys.on_goodbye();
        self.settle(now);
    }

    // The disk.

    /// Data that was there before is being hashed.
    pub fn on_checking(&mut self, now: Instant) {
        if self.hears_disk() && self.activity().is_checking() {
            self.become_active(now, TorrentActivity::Checking);
        }
    }

    /// Everything is checked. `is_met`: no wanted piece is missing.
    pub fn on_disk_ready(&mut self, now: Instant, is_met: bool) {
        if !self.hears_disk() {
            return;
        }
        self.open_mode = OpenMode::TrustRecord;
        self.announced |= is_met;
        if is_met {
            self.complete(now);
        } else {
            self.become_active(now, TorrentActivity::Fetching);
        }
    }

    /// The files cannot be worked on, or not any more.
    pub fn on_disk_failed(&mut self, now: Instant) {
        if !self.hears_disk() {
            return;
        }
        // A user who resumes it wants it to be tried again.
        self.state = TorrentState::Active(TorrentActivity::Failed);
        self.finish_due = false;
        self.seeding.halt(now);
        self.tell_peers(LifecycleEffect::PauseScheduler(true));
        self.become_active(now, TorrentActivity::Failed);
    }

    /// The disk is in trouble; the disk writer tries again by itself.
    pub fn on_disk_trouble(&mut self, _: Instant) {
        if self.hears_disk() {
            self.troubled = true;
            self.tell_peers(LifecycleEffect::PauseScheduler(true));
            self.publish();
        }
    }

    /// The trouble is over.
    pub fn on_disk_well(&mut self, _: Instant) {
        if self.hears_disk() && std::mem::take(&mut self.troubled) {
            self.tell_peers(LifecycleEffect::PauseScheduler(false));
            self.publish();
        }
    }

    /// All that is written is durable, and the files are still what was written.
    pub fn on_durable(&mut self, now: Instant) {
        if self.hears_disk() && matches!(self.activity(), TorrentActivity::Finishing { .. }) {
            self.complete(now);
        }
    }

    /// A piece that was there is lost. `is_wanted`: it is to be fetched again.
    pub fn on_piece_lost(&mut self, now: Instant, piece: PieceIndex, is_wanted: bool) {
        if !self.hears_disk() {
            return;
        }
        self.tell_peers(LifecycleEffect::ForgetPiece(piece));
        if is_wanted {
            self.tell_peers(LifecycleEffect::FetchFromPeers);
            self.finish_due = false;
            if matches!(self.activity(), TorrentActivity::Finishing { .. } | TorrentActivity::Seeding) {
                self.become_active(now, TorrentActivity::Fetching);
            }
        }
        self.surveys.on_changed();
    }

    /// The disk writer was restarted: it knows what is written, and has forgotten what was on its way, what it was told, and
    /// that the disk was in trouble.
    pub fn on_disk_restarted(&mut self, now: Instant) {
        if !self.hears_disk() {
            return;
        }
        self.tell_peers(LifecycleEffect::RepeatWrites);
        self.finish_due |= matches!(self.activity(), TorrentActivity::Finishing { .. });
        self.on_disk_well(now);
        self.surveys.on_changed();
        self.settle(now);
    }

    /// [`LifecycleEffect::StopDisk`] is done.
    pub fn on_disk_stopped(&mut self, now: Instant) {
        self.disk = ChildState::Off;
        self.settle(now);
    }

    // The peers.

    /// The piece scheduler has started, or started again.
    pub fn on_scheduler_ready(&mut self, _: Instant) {
        self.tell_peers(LifecycleEffect::IntroducePeers);
        if self.troubled || self.activity() == TorrentActivity::Failed {
            self.tell_peers(LifecycleEffect::PauseScheduler(true));
        }
        self.surveys.on_changed();
    }

    /// Every wanted piece is fetched; said by each new piece scheduler too. `whole`: and every other piece. A client that has
    /// only a part is no seed, whatever it does not want of the rest (BEP 21): it does not announce `completed`.
    pub fn on_fetched(&mut self, now: Instant, whole: bool) {
        if !self.has_peers() {
            return;
        }
        if whole && !std::mem::replace(&mut self.announced, true) {
            self.tell_peers(LifecycleEffect::AnnounceCompleted);
        }
        self.tell_peers(LifecycleEffect::SeedToPeers);
        if matches!(self.activity(), TorrentActivity::Fetching | TorrentActivity::Finishing { seeded: false }) {
            self.state = self.state.with(TorrentActivity::Finishing { seeded: false });
            self.finish_due = true;
            self.surveys.need();
        }
        self.surveys.on_changed();
        self.settle(now);
    }

    /// [`LifecycleEffect::StopPeers`] is done.
    pub fn on_peers_stopped(&mut self, now: Instant) {
        self.peers = ChildState::Off;
        self.publish();
        self.settle(now);
    }

    /// [`LifecycleEffect::Survey`] is done.
    pub fn on_surveyed(&mut self, now: Instant, found: SurveyFindings) {
        self.bytes_sent = found.bytes_sent;
        self.judge_goal(now);
        self.outbox.push_back(LifecycleEffect::Publish);
        self.surveys.on_surveyed(self.sight(found));
        self.settle(now);
    }

    // What follows.

    /// What the disk writer says still matters: it is not on its way out.
    fn hears_disk(&self) -> bool {
        self.disk == ChildState::On
    }

    fn has_peers(&self) -> bool {
        matches!(self.peers, ChildState::On | ChildState::Closing)
    }

    const fn activity(&self) -> TorrentActivity {
        self.state.activity()
    }

    /// Ends the seeding when its goal is reached, after a last look at the files.
    fn judge_goal(&mut self, now: Instant) {
        if self.state == TorrentState::Active(TorrentActivity::Seeding) && self.is_goal_reached(now) {
            self.state = TorrentState::Active(TorrentActivity::Finishing { seeded: true });
            self.finish_due = true;
        }
    }

    /// Whether nothing is to be given to others, or no more.
    fn is_goal_reached(&self, now: Instant) -> bool {
        let Some(goal) = self.goal else { return true };
        let seeded = self.seeding.elapsed(now);
        seeded.is_some_and(|seeded| goal.is_reached(self.bytes_sent, self.size, seeded))
    }

    /// Every wanted piece is as safe as it was asked to be.
    fn complete(&mut self, now: Instant) {
        self.finish_due = false;
        if self.is_goal_reached(now) {
            self.seeding.halt(now);
            return self.become_active(now, TorrentActivity::Complete);
        }
        self.seeding.begin(now, !self.state.is_paused());
        self.become_active(now, TorrentActivity::Seeding);
    }

    fn become_active(&mut self, now: Instant, activity: TorrentActivity) {
        self.state = self.state.with(activity);
        self.publish();
        self.settle(now);
    }

    fn publish(&mut self) {
        self.surveys.on_changed();
        self.outbox.push_back(LifecycleEffect::Publish);
    }

    /// Says something to the piece scheduler, the peer pool or the trackers, if they run.
    fn tell_peers(&mut self, effect: LifecycleEffect) {
        if self.has_peers() {
            self.outbox.push_back(effect);
        }
    }

    /// What is done once a second while something moves: a survey, or a view where there is nothing to survey.
    fn tick(&mut self, now: Instant) {
        if self.has_peers() {
            if self.surveys.begin(now) {
                self.outbox.push_back(LifecycleEffect::Survey);
            }
        } else {
            let (bytes_sent, peers) = (self.bytes_sent, PeerInterest::NoPeers);
            let found = SurveyFindings { all_answered: false, bps: 0, bytes_sent, peers };
            self.surveys.on_look(now, self.sight(found));
            self.outbox.push_back(LifecycleEffect::Publish);
        }
        self.settle(now);
    }

    /// What the last survey saw. A torrent that fetches counts as moving even when nothing comes: a person waits, and its `why`
    /// counts down.
    fn sight(&self, found: SurveyFindings) -> Sight {
        let is_paused = self.state.is_paused();
        let is_done = match self.activity() {
            TorrentActivity::Opening | TorrentActivity::Checking => false,
            TorrentActivity::Fetching | TorrentActivity::Finishing { seeded: false } => is_paused,
            TorrentActivity::Seeding | TorrentActivity::Finishing { seeded: true } => is_paused || found.all_answered,
            TorrentActivity::Complete | TorrentActivity::Failed => true,
        };
        let time = self.goal.and_then(|goal| goal.time);
        let ends = time.filter(|_| self.activity() == TorrentActivity::Seeding);
        Sight::of(is_done, found.bps, found.peers, ends.and_then(|time| self.seeding.reaches(time)))
    }

    /// What the state asks for and is not yet done: each part in its turn, last figures first.
    fn settle(&mut self, now: Instant) {
        if self.end == EndState::Ended {
            return;
        }
        let needs_peers = self.state.needs_peers();
        match self.peers {
            ChildState::On if !needs_peers => {
                self.peers = ChildState::Closing;
                self.surveys.need();
            }
            ChildState::Closing if needs_peers => self.peers = ChildState::On,
            _ => {}
        }
        if self.surveys.begin_needed(now, self.has_peers()) {
            self.outbox.push_back(LifecycleEffect::Survey);
        }
        if self.surveys.is_awaited() {
            return;
        }
        if self.end == EndState::Asked {
            return self.end();
        }
        if self.peers == ChildState::Closing {
            self.peers = ChildState::Leaving;
            self.outbox.push_back(LifecycleEffect::StopPeers);
        }
        if std::mem::take(&mut self.finish_due) {
            self.outbox.push_back(LifecycleEffect::FinishWriting);
        }
        self.settle_disk(needs_peers);
    }

    /// The disk writer ends after all that use it, and starts before them.
    fn settle_disk(&mut self, needs_peers: bool) {
        match (self.disk, self.peers) {
            (ChildState::Off, _) => {
                self.disk = ChildState::On;
                self.outbox.push_back(LifecycleEffect::StartDisk(self.open_mode));
            }
            (ChildState::Closing, ChildState::Off) => {
                self.disk = ChildState::Leaving;
                self.outbox.push_back(LifecycleEffect::StopDisk);
            }
            (ChildState::On, ChildState::Off) if needs_peers => {
                self.peers = ChildState::On;
                self.outbox.push_back(LifecycleEffect::StartPeers);
            }
            _ => {}
        }
    }

    /// Waits for children that are on their way out, so that no two lots of them end at the same time.
    fn end(&mut self) {
        if [self.disk, self.peers].contains(&ChildState::Leaving) {
            return;
        }
        self.end = EndState::Ended;
        self.outbox.push_back(LifecycleEffect::Publish);
        if self.activity() == TorrentActivity::Complete {
            self.outbox.push_back(LifecycleEffect::ForgetState);
        }
        self.outbox.push_back(LifecycleEffect::End);
    }
}

#[cfg(test)]
mod tests;
