//! Pieces on their way to the files: they wait for each other, and go to the storage in jobs.

use std::collections::VecDeque;
use std::time::Instant;

use super::effects::WriteReceipt;
use super::{JOB_BYTES, MAX_JOBS};
use crate::base::geometry::{Geometry, PieceIndex};
use crate::logic::disk::trouble::DiskTrouble;
use crate::logic::disk::values::{PieceJob, PieceOutcome};
use crate::logic::disk::write_batch::WriteBatch;
use crate::logic::disk::write_outcome::WriteOutcome;

/// What each who asked for a write is told, in the order of the outcomes.
pub(super) type Replies<R> = Vec<(R, Vec<(PieceIndex, WriteOutcome)>)>;

/// What became of a job.
#[derive(Debug)]
pub(super) struct JobVerdict<R> {
    /// Pieces that are in their files.
    pub(super) written: Vec<PieceIndex>,
    /// What is told, and to whom.
    pub(super) replies: Replies<R>,
    /// Why pieces were not written. However many of a job fail, it is one trouble.
    pub(super) trouble: Option<DiskTrouble>,
}

/// The pieces of one torrent that are to be written, and the jobs under way.
#[derive(Debug)]
pub(super) struct WriteQueue<R> {
    geometry: Geometry,
    abreast: usize,
    waiting: VecDeque<(PieceJob, R)>,
    batch: WriteBatch,
    /// Jobs under way, those that write pieces again included.
    jobs: usize,
}

impl<R: Clone + PartialEq> WriteQueue<R> {
    /// Empty. `abreast` pieces are hashed as fast as one.
    pub(super) fn new(geometry: Geometry, abreast: usize) -> Self {
        let batch = WriteBatch::new(abreast, geometry.nominal_piece_len());
        Self { geometry, abreast, waiting: VecDeque::new(), batch, jobs: 0 }
    }

    /// Forgets everything that waits or is under way.
    pub(super) fn on_restart(&mut self) {
        *self = Self::new(self.geometry, self.abreast);
    }

    /// These are to be written; `reply` is told.
    pub(super) fn push(&mut self, jobs: Vec<PieceJob>, reply: &R) {
        self.waiting.extend(jobs.into_iter().map(|job| (job, reply.clone())));
    }

    /// The next job, if enough pieces wait or have waited long enough and fewer than [`MAX_JOBS`] jobs are under way.
    pub(super) fn next_job(&mut self, now: Instant, era: u32) -> Option<(Vec<PieceJob>, WriteReceipt<R>)> {
        if !self.has_work() || !self.batch.is_due(now, self.waiting.len()) {
            return None;
        }
        let (mut pieces, mut bytes) = (0, 0);
        for (job, _) in &self.waiting {
            if bytes >= JOB_BYTES && pieces >= self.batch.enough() {
                break;
            }
            bytes += u64::from(self.geometry.piece_len(job.piece));
            pieces += 1;
        }
        let job = self.take(pieces, era);
        self.batch.on_gone(now, self.waiting.len());
        Some(job)
    }

    /// A job of the first piece alone, to see whether the disk takes it.
    pub(super) fn try_first(&mut self, era: u32) -> Option<(Vec<PieceJob>, WriteReceipt<R>)> {
        (!self.is_empty()).then(|| self.take(1, era))
    }

    fn take(&mut self, pieces: usize, era: u32) -> (Vec<PieceJob>, WriteReceipt<R>) {
        self.jobs += 1;
        let (jobs, replies) = self.waiting.drain(..pieces).unzip();
        (jobs, WriteReceipt { replies, era })
    }

    /// A job has ended. Pieces that could not be written are the first to be tried again.
    pub(super) fn on_outcomes(&mut self, replies: Vec<R>, outcomes: Vec<PieceOutcome>) -> JobVerdict<R> {
        self.on_job_ended();
        let mut verdict = JobVerdict { written: Vec::new(), replies: Vec::new(), trouble: None };
        let mut failed = Vec::new();
        for (outcome, reply) in outcomes.into_iter().zip(replies) {
            match outcome {
                PieceOutcome::Written(piece) => {
                    verdict.written.push(piece);
                    add(&mut verdict.replies, reply, (piece, WriteOutcome::Durable));
                }
                PieceOutcome::HashMismatch(piece) => {
                    add(&mut verdict.replies, reply, (piece, WriteOutcome::HashMismatch));
                }
                PieceOutcome::Trouble(job, trouble) => {
                    failed.push((job, reply));
                    verdict.trouble.get_or_insert(trouble);
                }
            }
        }
        failed.into_iter().rev().for_each(|piece| self.waiting.push_front(piece));
        verdict
    }

    /// A job begins that writes pieces again which were written before.
    pub(super) const fn on_rewrite(&mut self) {
        self.jobs += 1;
    }

    /// A job that wrote pieces again has ended.
    pub(super) const fn on_job_ended(&mut self) {
        self.jobs -= 1;
    }

    /// When the pieces that wait have waited long enough for others; `None` if no job can begin now anyway.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.batch.deadline().filter(|_| self.has_work())
    }

    /// Length of the first piece that waits, in bytes; 0 if none waits.
    pub(super) fn first_len(&self) -> u64 {
        self.geometry.len_of(self.waiting.front().map(|(job, _)| job.piece))
    }

    /// Does no piece wait?
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Is no job under way?
    pub(super) const fn is_idle(&self) -> bool {
        self.jobs == 0
    }

    /// A piece waits, and another job may begin.
    fn has_work(&self) -> bool {
        self.jobs < MAX_JOBS && !self.waiting.is_empty()
    }
}

/// One message for each who asked, and there is hardly ever more than one.
fn add<R: PartialEq>(replies: &mut Replies<R>, to: R, outcome: (PieceIndex, WriteOutcome)) {
    match replies.last_mut() {
        Some((last, outcomes)) if *last == to => outcomes.push(outcome),
        _ => replies.push((to, vec![outcome])),
    }
}
