//! `DiskSchedule`: when a torrent's pieces are written, synced, recorded, hashed again and looked at, when a disk in
//! trouble is tried again or given up, and when "everything is durable" is said.
//!
//! One contract: call an `on_*` with the time, drain [`DiskSchedule::poll`], call [`DiskSchedule::on_timeout`] at
//! [`DiskSchedule::deadline`]. Every job that an effect asks for is answered by exactly one input. After a restart of the
//! driver, answers to jobs from before it must not come any more.
//!
//! What is promised:
//!
//! * A piece is recorded only after its bytes were hashed right, written and synced, in this order.
//! * After a failed sync the pieces it was to make durable, and those written meanwhile, are written anew first (D-05).
//! * `Durable` is told only when nothing waits to be written, nothing is in doubt, everything is synced, and a look at all
//!   files that began after that found no change by another program.
//! * Only what hashed right is read for a peer (I6).
//!
//! | state | event | next state | effects |
//! |---|---|---|---|
//! | starting | `on_start` | starting | `OpenStorage` |
//! | starting | see the table in `start` | starting | `CheckPieces`, `Admit`, `VetFiles`, `Checking` |
//! | starting | the last look found no change | open | `Ready` |
//! | starting | the files cannot be worked on | refused | `Refused`, `Incomplete` |
//! | open | pieces come, enough or for long enough | open | `WritePieces`, then `TellWritten` |
//! | open | 16 MiB or 2 s of pieces written | open | `SaveRecord` |
//! | open | trouble with a write | held | `Trouble`; its pieces wait |
//! | held | the retry succeeds | open | `Well` |
//! | held | the retry fails too often, or waiting is of no use | given up | `Trouble` without a retry |
//! | open | a sync failed | open, pieces in doubt | `RewritePieces` after 1 s; after three in a row given up |
//! | open | a read failed, files were changed | open | `VetFiles`, `CheckPieces`, `Gone` |
//! | open | `on_finish` | finishing | what is still missing of: `RewritePieces`, `SaveRecord`, `VetFiles` |
//! | finishing | the look found no change | open | `Durable` |
//! | finishing | the ninth look in a row found changes | given up | `Trouble` without a retry |
//! | starting, refused | `on_goodbye` | ended | `Stop` |
//! | open, finishing | `on_goodbye`, and no job is under way and no piece waits | ending | the last `SaveRecord` |
//! | held, given up | `on_goodbye`, and no job is under way | ending | the last `SaveRecord` |
//! | ending | the record was made, or not | ended | `Stop` |
//! | all but ended | `on_start` again: the driver was restarted | starting, open | `OpenStorage`, `Lost` |
//!
//! | input | comes after |
//! |---|---|
//! | `on_start` | a start or restart of the driver |
//! | `on_opened`, `on_checked`, `on_admitted`, `on_written`, `on_rewritten`, `on_recorded`, `on_vetted`, `on_free_space` | the effect that asked for the job |
//! | `on_pieces` | whole pieces from the scheduler |
//! | `plan_read`, `on_blocks_read` | a request of a peer; the read that was planned |
//! | `set_totals`, `on_finish`, `on_forget`, `on_goodbye` | a word of the torrent |
//!
//! The timers are named in `timers`: `Record`, `Rewrite`, `FreeSpace`, `Retry`, `CheckAgain`, `Batch`. A start has one
//! deadline of its own.
//!
//! Knows no file, no thread and no clock.

mod effects;
mod file_looks;
mod holdings;
mod open_disk;
mod peer_reads;
mod recorder;
mod start;
mod timers;
mod write_queue;

use std::collections::VecDeque;
use std::time::Instant;

pub use effects::{DiskEffect, DiskNews, DiskNote, RewriteReceipt, Totals, WriteReceipt};
pub use peer_reads::{FailedRead, REFUSE_AFTER, ReadPlan};

use super::trouble::{DiskTrouble, OpenTrouble};
use super::values::{Inventory, PieceJob, PieceOutcome};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex, PieceRange};
use crate::logic::disk::write_outcome::WriteOutcome;
use open_disk::OpenDisk;
use start::{Start, StartEffect};

/// Two jobs at once: one hashes while the other waits for the disk; a third would only share the same two cores.
const MAX_JOBS: usize = 2;

/// 4 MiB in a job, or as many pieces as are hashed side by side: a wake of the pool costs 5-9 us, which disappears; more
/// would only hold buffers longer.
const JOB_BYTES: u64 = 4 * 1024 * 1024;

/// 16 MiB hashed per job while checking: progress moves several times a second.
const CHECK_BYTES: u64 = 16 * 1024 * 1024;

/// 8 looks in a row that found changes, each after everything was hashed or fetched again: the other program will not
/// stop. Picked by eye.
pub const MAX_DIRTY_LOOKS: u32 = 8;

/// All that a schedule is given.
#[derive(Debug, Clone)]
pub struct DiskScheduleConfig {
    /// The torrent's name, for the reason of a trouble that no file is to blame for.
    pub name: String,
    /// The torrent's sizes.
    pub geometry: Geometry,
    /// So many pieces are hashed in hardly more time than one.
    pub abreast: usize,
    /// Wait for a full disk to have space again.
    pub patient: bool,
    /// All pieces must be there at the start, and none can be fetched.
    pub must_be_whole: bool,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each torrent")]
enum Stage<R> {
    Starting(Start),
    Open(OpenDisk<R>),
    Ended,
}

/// The disk of one torrent. `R` stands for those who are told what became of their pieces.
#[derive(Debug)]
pub struct DiskSchedule<R> {
    cfg: DiskScheduleConfig,
    stage: Stage<R>,
    outbox: VecDeque<DiskEffect<R>>,
}

impl<R: Clone + PartialEq> DiskSchedule<R> {
    /// Does nothing before [`DiskSchedule::on_start`].
    pub fn new(cfg: DiskScheduleConfig) -> Self {
        let stage = Stage::Starting(Start::new(cfg.clone()));
        Self { cfg, stage, outbox: VecDeque::new() }
    }

    /// The next thing to do; `None` when all is done for now.
    pub fn poll(&mut self) -> Option<DiskEffect<R>> {
        if let Some(effect) = self.outbox.pop_front() {
            return Some(effect);
        }
        match &mut self.stage {
            Stage::Starting(start) => {
                let effect = start.poll()?;
                Some(self.on_start_effect(effect))
            }
            Stage::Open(disk) => disk.poll(),
            Stage::Ended => None,
        }
    }

    fn on_start_effect(&mut self, effect: StartEffect) -> DiskEffect<R> {
        match effect {
            StartEffect::OpenStorage => DiskEffect::OpenStorage,
            StartEffect::Check(pieces) => DiskEffect::CheckPieces(pieces),
            StartEffect::Admit(snapshot) => DiskEffect::Admit(snapshot),
            StartEffect::Vet(have) => DiskEffect::VetFiles(have),
            StartEffect::Tell(news) => DiskEffect::Tell(news),
            StartEffect::Note(note) => DiskEffect::Note(note),
            StartEffect::Open { have, checked, earlier } => {
                self.stage = Stage::Open(OpenDisk::new(&self.cfg, have.clone(), earlier));
                DiskEffect::Tell(DiskNews::Ready { have, checked })
            }
        }
    }

    /// When [`DiskSchedule::on_timeout`] is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Starting(start) => start.deadline(),
            Stage::Open(disk) => disk.deadline(),
            Stage::Ended => None,
        }
    }

    /// The deadline has come.
    pub fn on_timeout(&mut self, now: Instant) {
        match &mut self.stage {
            Stage::Starting(start) => start.on_timeout(now),
            Stage::Open(disk) => disk.on_timeout(now),
            Stage::Ended => {}
        }
    }

    /// Pieces that are written and hashed right; `None` until the files are ours.
    pub const fn have(&self) -> Option<&Bitfield> {
        if let Stage::Open(disk) = &self.stage { Some(disk.have()) } else { None }
    }

    fn start(&mut self) -> Option<&mut Start> {
        if let Stage::Starting(start) = &mut self.stage { Some(start) } else { None }
    }

    fn open_disk(&mut self) -> Option<&mut OpenDisk<R>> {
        if let Stage::Open(disk) = &mut self.stage { Some(disk) } else { None }
    }

    /// The driver starts, for the first time or again. The outcomes of jobs that were under way are lost.
    pub fn on_start(&mut self, now: Instant) {
        self.outbox.clear();
        match &mut self.stage {
            Stage::Starting(start) => *start = Start::new(self.cfg.clone()),
            Stage::Open(disk) => disk.on_restart(now),
            Stage::Ended => self.outbox.push_back(DiskEffect::Stop),
        }
    }

    /// The storage is open, or cannot be opened.
    pub fn on_opened(&mut self, now: Instant, opened: Result<Inventory, OpenTrouble>) {
        if let Some(start) = self.start() {
            start.on_opened(now, opened);
        }
    }

    /// Pieces were hashed.
    pub fn on_checked(&mut self, now: Instant, results: Vec<(PieceIndex, Result<bool, DiskTrouble>)>) {
        match &mut self.stage {
            Stage::Starting(start) => start.on_checked(results),
            Stage::Open(disk) => disk.on_checked(now, results),
            Stage::Ended => {}
        }
    }

    /// The files are claimed, or cannot be.
    pub fn on_admitted(&mut self, now: Instant, admitted: Result<(), OpenTrouble>) {
        if let Some(start) = self.start() {
            start.on_admitted(now, admitted);
        }
    }

    /// The files were looked at, and these pieces lie in files that another program has changed.
    pub fn on_vetted(&mut self, now: Instant, vetted: Result<Vec<PieceIndex>, DiskTrouble>) {
        match &mut self.stage {
            Stage::Starting(start) => start.on_vetted(now, vetted),
            Stage::Open(disk) => disk.on_vetted(now, vetted),
            Stage::Ended => {}
        }
    }

    /// These are to be written; `reply` is told what became of them. While the files are not ours they are refused.
    pub fn on_pieces(&mut self, now: Instant, jobs: Vec<PieceJob>, reply: &R) {
        if let Some(disk) = self.open_disk() {
            disk.on_pieces(now, jobs, reply);
        } else {
            let failed = jobs.into_iter().map(|job| (job.piece, WriteOutcome::Failed)).collect();
            self.outbox.push_back(DiskEffect::TellWritten(reply.clone(), failed));
        }
    }

    /// A job has ended.
    pub fn on_written(&mut self, now: Instant, receipt: WriteReceipt<R>, outcomes: Vec<PieceOutcome>) {
        if let Some(disk) = self.open_disk() {
            disk.on_written(now, receipt, outcomes);
        }
    }

    /// Pieces in doubt were read, hashed and written again, or could not be read.
    pub fn on_rewritten(
        &mut self,
        now: Instant,
        receipt: RewriteReceipt,
        outcomes: Result<Vec<PieceOutcome>, DiskTrouble>,
    ) {
        if let Some(disk) = self.open_disk() {
            disk.on_rewritten(now, receipt, outcomes);
        }
    }

    /// The record was made, or not.
    pub fn on_recorded(&mut self, now: Instant, outcome: Result<(), DiskTrouble>) {
        if let Some(disk) = self.open_disk() {
            disk.on_recorded(now, outcome);
        }
    }

    /// The free space was measured, in bytes; `None` if it is not known.
    pub fn on_free_space(&mut self, now: Instant, free: Option<u64>) {
        if let Some(disk) = self.open_disk() {
            disk.on_free_space(now, free);
        }
    }

    /// A peer asks for these. If anything is read, [`DiskSchedule::on_blocks_read`] follows.
    pub fn plan_read(&mut self, asked: Vec<PieceRange>) -> ReadPlan {
        match &mut self.stage {
            Stage::Open(disk) => disk.plan_read(asked),
            Stage::Starting(_) | Stage::Ended => ReadPlan::refuse(asked.len()),
        }
    }

    /// A read for a peer has ended, and these ranges could not be read.
    pub fn on_blocks_read(&mut self, now: Instant, failed: Vec<FailedRead>) {
        if let Some(disk) = self.open_disk() {
            disk.on_blocks_read(now, failed);
        }
    }

    /// Bytes received and sent in this run, for the record.
    pub fn set_totals(&mut self, totals: Totals) {
        if let Some(disk) = self.open_disk() {
            disk.set_totals(totals);
        }
    }

    /// The torrent is complete and will not be given to others: its record is not needed after this run.
    pub fn on_forget(&mut self) {
        if let Some(disk) = self.open_disk() {
            disk.on_forget();
        }
    }

    /// The last piece is written: `Durable` is to be told once it is true.
    pub fn on_finish(&mut self, now: Instant) {
        if let Some(disk) = self.open_disk() {
            disk.on_finish(now);
        }
    }

    /// What waits is written and recorded, then the schedule ends.
    pub fn on_goodbye(&mut self, now: Instant) {
        if let Some(disk) = self.open_disk() {
            disk.on_goodbye(now);
        } else if self.start().is_some() {
            self.stage = Stage::Ended;
            self.outbox.push_back(DiskEffect::Stop);
        }
    }
}

/// The reason why a torrent fails whose files another program does not leave alone.
fn keeps_changing(name: &str) -> DiskTrouble {
    let reason = format!("another program keeps changing it (seen {MAX_DIRTY_LOOKS} times in a row); end that program");
    DiskTrouble { reason, ..DiskTrouble::changed("complete", name.as_ref()) }
}

#[cfg(test)]
mod tests;
