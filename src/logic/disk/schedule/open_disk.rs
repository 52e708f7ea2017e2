//! The disk of a torrent whose files are ours: what is written, recorded, looked at and given up, and when it ends. The
//! table of its states stands at the head of the folder.

use std::collections::VecDeque;
use std::time::Instant;

use super::effects::{DiskEffect, DiskNews, DiskNote, RewriteReceipt, Totals, WriteReceipt};
use super::file_looks::LookPurpose;
use super::holdings::{Holdings, LookOutcome};
use super::peer_reads::{FailedRead, ReadPlan};
use super::recorder::{RecordKind, Recorder};
use super::timers::DiskTimer;
use super::write_queue::WriteQueue;
use super::{DiskScheduleConfig, keeps_changing};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{PieceIndex, PieceRange};
use crate::logic::disk::health::{DiskHealth, Remedy};
use crate::logic::disk::trouble::{DiskTrouble, TroubleKind};
use crate::logic::disk::values::{PieceJob, PieceOutcome};

/// What the disk works towards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// Write what comes.
    Serve,
    /// The last piece is written: tell `Durable` as soon as it is true.
    Finish,
    /// Write what waits, then make the last record.
    Close,
    /// The last record is being made; nothing is written any more.
    Ending,
    /// Nothing follows.
    Ended,
}

/// The files of one torrent.
#[derive(Debug)]
pub(super) struct OpenDisk<R> {
    name: String,
    patient: bool,
    aim: Aim,
    holdings: Holdings,
    writes: WriteQueue<R>,
    recorder: Recorder,
    health: DiskHealth,
    outbox: VecDeque<DiskEffect<R>>,
}

impl<R: Clone + PartialEq> OpenDisk<R> {
    /// These pieces are there, and so much was moved in earlier runs.
    pub(super) fn new(cfg: &DiskScheduleConfig, have: Bitfield, earlier: Totals) -> Self {
        Self {
            name: cfg.name.clone(),
            patient: cfg.patient,
            aim: Aim::Serve,
            holdings: Holdings::new(cfg.geometry, have, !cfg.must_be_whole),
            writes: WriteQueue::new(cfg.geometry, cfg.abreast),
            recorder: Recorder::new(cfg.geometry, earlier),
            health: DiskHealth::new(cfg.patient),
            outbox: VecDeque::new(),
        }
    }

    /// The outcomes of all jobs are lost, and so are pieces that were not written.
    pub(super) fn on_restart(&mut self, now: Instant) {
        self.outbox.clear();
        self.writes.on_restart();
        self.recorder.on_restart(now);
        self.health = DiskHealth::new(self.patient);
        self.holdings.on_restart();
        if self.aim == Aim::Ending {
            self.aim = Aim::Close;
        }
        self.tell(DiskNews::Lost);
        self.settle(now);
    }

    /// The next thing to do.
    pub(super) fn poll(&mut self) -> Option<DiskEffect<R>> {
        self.outbox.pop_front()
    }

    /// Pieces that are written and hashed right.
    pub(super) const fn have(&self) -> &Bitfield {
        self.holdings.have()
    }

    // Writing.

    /// These are to be written; `reply` is told.
    pub(super) fn on_pieces(&mut self, now: Instant, jobs: Vec<PieceJob>, reply: &R) {
        self.writes.push(jobs, reply);
        self.settle(now);
    }

    /// A job has ended. What it has written does not end a trouble that it has met.
    pub(super) fn on_written(&mut self, now: Instant, receipt: WriteReceipt<R>, outcomes: Vec<PieceOutcome>) {
        let WriteReceipt { replies, era } = receipt;
        let verdict = self.writes.on_outcomes(replies, outcomes);
        verdict.written.iter().for_each(|piece| self.on_piece_written(now, *piece, era));
        for (to, outcomes) in verdict.replies {
            self.emit(DiskEffect::TellWritten(to, outcomes));
        }
        match verdict.trouble {
            Some(trouble) => self.on_trouble(now, trouble),
            None if !verdict.written.is_empty() && self.health.on_success() => self.tell(DiskNews::Well),
            None => {}
        }
        self.settle(now);
    }

    /// `era`: when the write began.
    fn on_piece_written(&mut self, now: Instant, piece: PieceIndex, era: u32) {
        self.holdings.on_written(piece);
        self.recorder.on_written(now, piece, era);
    }

    /// Pieces in doubt were read, hashed and written again, or could not be read.
    pub(super) fn on_rewritten(
        &mut self,
        now: Instant,
        receipt: RewriteReceipt,
        outcomes: Result<Vec<PieceOutcome>, DiskTrouble>,
    ) {
        self.writes.on_job_ended();
        match outcomes {
            Ok(outcomes) => outcomes.into_iter().for_each(|outcome| self.on_piece_rewritten(now, outcome, receipt.era)),
            // Then they are in doubt for another reason, and hashed again for that.
            Err(trouble) if trouble.kind == TroubleKind::Changed => self.holdings.want_look(),
            Err(trouble) => self.give_up(trouble),
        }
        self.settle(now);
    }

    fn on_piece_rewritten(&mut self, now: Instant, outcome: PieceOutcome, era: u32) {
        match outcome {
            PieceOutcome::Written(piece) => self.on_piece_written(now, piece, era),
            PieceOutcome::Trouble(_, trouble) => self.give_up(trouble),
            PieceOutcome::HashMismatch(piece) => {
                self.emit(DiskEffect::Note(DiskNote::UnsyncedPieceLost(piece)));
                if let Some(trouble) = self.recorder.take_failed_sync() {
                    self.give_up(trouble);
                }
            }
        }
    }

    fn rewrite(&mut self) {
        self.writes.on_rewrite();
        let receipt = RewriteReceipt { era: self.recorder.era() };
        self.emit(DiskEffect::RewritePieces(self.recorder.to_rewrite(), receipt));
    }

    // Trouble.

    fn on_trouble(&mut self, now: Instant, trouble: DiskTrouble) {
        let retry_in = match self.health.on_trouble(now, &trouble) {
            None => return,
            Some(Remedy::RetryAt(at)) => Some(at.saturating_duration_since(now)),
            Some(Remedy::GiveUp) => None,
        };
        self.tell(DiskNews::Trouble { trouble, retry_in });
    }

    fn give_up(&mut self, trouble: DiskTrouble) {
        if self.health.give_up() {
            self.tell(DiskNews::Trouble { trouble, retry_in: None });
        }
    }

    /// The free space was measured, in bytes; `None` if it is not known.
    pub(super) fn on_free_space(&mut self, now: Instant, free: Option<u64>) {
        self.health.on_free(now, free.unwrap_or(0), self.writes.first_len());
        self.settle(now);
    }

    // Records.

    /// Bytes received and sent in this run.
    pub(super) const fn set_totals(&mut self, totals: Totals) {
        self.recorder.set_totals(totals);
    }

    /// The record is not needed after this run.
    pub(super) const fn on_forget(&mut self) {
        self.recorder.forget();
    }

    fn save(&mut self, now: Instant, kind: RecordKind) {
        let snapshot = self.recorder.begin(now, self.holdings.have(), kind);
        self.emit(DiskEffect::SaveRecord(snapshot));
    }

    /// The record was made, or not.
    pub(super) fn on_recorded(&mut self, now: Instant, outcome: Result<(), DiskTrouble>) {
        let Some(verdict) = self.recorder.on_saved(now, outcome) else { return };
        self.outbox.extend(verdict.note.map(DiskEffect::Note));
        if let Some(trouble) = verdict.give_up {
            self.give_up(trouble);
        }
        if verdict.kind == RecordKind::Last {
            self.aim = Aim::Ended;
            return self.emit(DiskEffect::Stop);
        }
        if self.aim == Aim::Serve {
            self.holdings.want_routine_look(now);
        }
        self.settle(now);
    }

    // Reads for peers, and the files.

    /// A peer asks for these.
    pub(super) fn plan_read(&mut self, asked: Vec<PieceRange>) -> ReadPlan {
        self.holdings.plan_read(asked)
    }

    /// A read for a peer has ended, and these ranges could not be read.
    pub(super) fn on_blocks_read(&mut self, now: Instant, failed: Vec<FailedRead>) {
        self.holdings.on_read(&failed);
        for (_, trouble) in failed {
            self.emit(DiskEffect::Note(DiskNote::UnreadableForPeer(trouble)));
        }
        self.settle(now);
    }

    /// The files were looked at, and these pieces lie in files that another program has changed.
    pub(super) fn on_vetted(&mut self, now: Instant, vetted: Result<Vec<PieceIndex>, DiskTrouble>) {
        match self.holdings.on_vetted(now, vetted) {
            Some(LookOutcome::Clean(LookPurpose::Final)) if self.is_all_but_looked_at() => self.on_durable(),
            Some(LookOutcome::Clean(_)) | None => {}
            Some(LookOutcome::Changed(pieces)) => self.emit(DiskEffect::Note(DiskNote::FilesChanged(pieces))),
            Some(LookOutcome::KeepsChanging(pieces)) => {
                self.emit(DiskEffect::Note(DiskNote::FilesChanged(pieces)));
                self.give_up(keeps_changing(&self.name));
            }
            Some(LookOutcome::Failed(trouble)) if self.aim == Aim::Finish => self.give_up(trouble),
            Some(LookOutcome::Failed(trouble)) => self.emit(DiskEffect::Note(DiskNote::LookFailed(trouble))),
        }
        self.settle(now);
    }

    /// Pieces in doubt were hashed again.
    pub(super) fn on_checked(&mut self, now: Instant, results: Vec<(PieceIndex, Result<bool, DiskTrouble>)>) {
        let verdict = self.holdings.on_checked(now, results);
        for piece in verdict.lost {
            self.recorder.on_gone(now, piece);
            self.tell(DiskNews::Gone(piece));
        }
        self.outbox.extend(verdict.notes.into_iter().map(DiskEffect::Note));
        self.settle(now);
    }

    /// A disk that was given up has told its last news.
    fn on_durable(&mut self) {
        self.holdings.on_durable();
        self.aim = Aim::Serve;
        if !self.health.is_given_up() {
            self.tell(DiskNews::Durable);
        }
    }

    /// Is a look at the files all that is missing before `Durable`?
    fn is_all_but_looked_at(&self) -> bool {
        let is_written = self.writes.is_idle() && self.writes.is_empty();
        self.aim == Aim::Finish && is_written && self.recorder.is_settled() && self.holdings.are_all_readable()
    }

    // The end.

    /// The last piece is written: `Durable` is to be told once it is true.
    pub(super) fn on_finish(&mut self, now: Instant) {
        if self.aim == Aim::Serve {
            self.aim = Aim::Finish;
        }
        self.recorder.on_finish();
        self.settle(now);
    }

    /// What waits is written and recorded, then the disk ends.
    pub(super) fn on_goodbye(&mut self, now: Instant) {
        if matches!(self.aim, Aim::Serve | Aim::Finish) {
            self.aim = Aim::Close;
        }
        self.settle(now);
    }

    // What follows from the state as it is now.

    fn settle(&mut self, now: Instant) {
        while self.may_write()
            && let Some((jobs, receipt)) = self.writes.next_job(now, self.recorder.era())
        {
            self.emit(DiskEffect::WritePieces(jobs, receipt));
        }
        match self.aim {
            Aim::Serve => self.keep_checked(now),
            Aim::Finish => {
                self.go_on_finishing(now);
                self.keep_checked(now);
            }
            Aim::Close => self.go_on_closing(now),
            Aim::Ending | Aim::Ended => {}
        }
    }

    /// Looks at the files and hashes pieces in doubt, where that is due.
    fn keep_checked(&mut self, now: Instant) {
        // What is written or put in doubt after the question is not part of the answer.
        let purpose = if self.is_all_but_looked_at() { LookPurpose::Final } else { LookPurpose::Routine };
        let look = self.holdings.next_look(purpose);
        self.outbox.extend(look.map(DiskEffect::VetFiles));
        let pieces = self.holdings.next_check(now);
        if !pieces.is_empty() {
            self.emit(DiskEffect::CheckPieces(pieces));
        }
    }

    /// May a job that writes begin?
    const fn may_write(&self) -> bool {
        !self.health.is_held() && matches!(self.aim, Aim::Serve | Aim::Finish | Aim::Close)
    }

    /// May a job begin that writes pieces anew? While nothing else is written, so that it happens once, and while all
    /// pieces can be read.
    fn may_rewrite(&self) -> bool {
        let is_readable = self.holdings.are_all_readable() && !self.holdings.is_look_under_way();
        is_readable && self.writes.is_idle() && !self.health.is_held()
    }

    /// Is no job under way but reads, checks and looks?
    const fn is_quiet(&self) -> bool {
        self.writes.is_idle() && !self.recorder.is_saving()
    }

    /// A download that is complete is not left in doubt, nor without a record that says so if there can be one; and its
    /// files are looked at last.
    fn go_on_finishing(&mut self, now: Instant) {
        if !self.is_quiet() || self.holdings.is_look_under_way() {
            return;
        }
        if self.health.is_given_up() {
            self.aim = Aim::Serve;
        } else if self.health.is_held() || !self.writes.is_empty() {
            // The next job decides.
        } else if self.recorder.has_unsynced() && self.may_rewrite() {
            self.rewrite();
        } else if self.recorder.owes_record() {
            self.save(now, RecordKind::Interim);
        } else if self.recorder.is_settled() && self.holdings.are_all_readable() {
            self.holdings.want_look();
        }
    }

    fn go_on_closing(&mut self, now: Instant) {
        if self.is_quiet() && (self.writes.is_empty() || self.health.is_held()) {
            self.aim = Aim::Ending;
            self.save(now, RecordKind::Last);
        }
    }

    // Time.

    /// When [`OpenDisk::on_timeout`] is to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        DiskTimer::ALL.into_iter().filter_map(|timer| self.due(timer)).min()
    }

    /// The deadline has come.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        for timer in DiskTimer::ALL {
            if self.due(timer).is_some_and(|due| due <= now) {
                self.fire(now, timer);
            }
        }
        self.settle(now);
    }

    /// When this timer fires in the present state; `None` while it does not run.
    fn due(&self, timer: DiskTimer) -> Option<Instant> {
        if matches!(self.aim, Aim::Ending | Aim::Ended) {
            return None;
        }
        let retry = || self.health.retry_at().filter(|_| self.writes.is_idle() && !self.writes.is_empty());
        match timer {
            DiskTimer::Record => self.recorder.deadline(),
            DiskTimer::Rewrite => self.recorder.rewrite_due().filter(|_| self.may_rewrite()),
            DiskTimer::FreeSpace => retry().and(self.health.look_at()),
            DiskTimer::Retry => retry(),
            DiskTimer::CheckAgain => self.holdings.check_due().filter(|_| self.aim != Aim::Close),
            DiskTimer::Batch => self.writes.deadline().filter(|_| self.may_write()),
        }
    }

    fn fire(&mut self, now: Instant, timer: DiskTimer) {
        match timer {
            DiskTimer::Record => self.save(now, RecordKind::Interim),
            DiskTimer::Rewrite => self.rewrite(),
            DiskTimer::FreeSpace => {
                self.health.on_look(now);
                self.emit(DiskEffect::MeasureFreeSpace);
            }
            DiskTimer::Retry => {
                if let Some((jobs, receipt)) = self.writes.try_first(self.recorder.era()) {
                    self.emit(DiskEffect::WritePieces(jobs, receipt));
                }
            }
            // What they wait for begins after every input.
            DiskTimer::CheckAgain | DiskTimer::Batch => {}
        }
    }

    // The way out.

    fn emit(&mut self, effect: DiskEffect<R>) {
        self.outbox.push_back(effect);
    }

    fn tell(&mut self, news: DiskNews) {
        self.emit(DiskEffect::Tell(news));
    }
}
