//! Pieces on their way to the files: gathered, handed to the pool in jobs, and told of.

use std::rc::Rc;

use actix::prelude::*;
use tokio::time::Instant;

use super::{DiskWriter, DiskWriterConfig, MAX_JOBS, PiecesWritten};
use crate::actors::kit::Ctx;
use crate::base::geometry::PieceIndex;
use crate::logic::disk::write_batch::WriteBatch;
use crate::logic::disk::write_outcome::WriteOutcome;
use crate::storage::{PieceJob, PieceOutcome};

/// 4 MiB in a job, or as many pieces as are hashed side by side: a wake of the pool costs 5-9 us, which disappears; more
/// would only hold buffers longer.
pub(super) const JOB_BYTES: u64 = 4 * 1024 * 1024;

/// A piece on its way, and who is told. All pieces of one message share the way back: to clone a recipient is an allocation
/// and a handful of atomics, more than some pieces cost else.
pub(super) type Queued = (PieceJob, Rc<Recipient<PiecesWritten>>);

/// How many of this torrent's pieces wait for each other.
pub(super) fn gather(cfg: &DiskWriterConfig) -> WriteBatch {
    WriteBatch::new(cfg.storage.abreast(), cfg.geometry.nominal_piece_len())
}

impl DiskWriter {
    pub(super) fn go_on_writing(&mut self, ctx: &mut Ctx<Self>) {
        let now = Instant::now().into_std();
        while self.may_write() && self.gather.is_due(now, self.queue.len()) {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while (bytes < JOB_BYTES || batch.len() < self.gather.enough())
                && let Some((job, reply)) = self.queue.pop_front()
            {
                bytes += u64::from(self.cfg.geometry.piece_len(job.piece));
                batch.push((job, reply));
            }
            self.gather.on_gone(now, self.queue.len());
            self.start_job(batch, ctx);
        }
        self.settle(ctx);
    }

    /// There is something to write, and a thread for it.
    fn may_write(&self) -> bool {
        self.jobs < MAX_JOBS && !self.is_held() && !self.queue.is_empty()
    }

    /// When those that wait for others have waited long enough.
    pub(super) fn write_due(&self) -> Option<std::time::Instant> {
        self.gather.deadline().filter(|_| self.may_write())
    }

    pub(super) fn start_job(&mut self, batch: Vec<Queued>, ctx: &mut Ctx<Self>) {
        let (jobs, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        self.jobs += 1;
        let era = self.doubt.era();
        let written = self.cfg.storage.write(jobs).into_actor(self);
        ctx.spawn(written.map(move |outcomes, act, ctx| {
            act.jobs -= 1;
            act.on_outcomes(outcomes.into_iter().zip(replies), era);
            act.go_on_writing(ctx);
        }));
    }

    /// However many pieces of a job fail, it is one trouble; what else it wrote does not end it.
    fn on_outcomes(&mut self, outcomes: impl Iterator<Item = (PieceOutcome, Rc<Recipient<PiecesWritten>>)>, era: u32) {
        let (mut back, mut first_trouble, mut is_well) = (Vec::new(), None, false);
        let (mut news, now) = (News::default(), Instant::now().into_std());
        for (outcome, reply) in outcomes {
            match outcome {
                PieceOutcome::Written(piece) => {
                    is_well = true;
                    self.on_written(now, piece, era);
                    news.add(reply, piece, WriteOutcome::Durable);
                }
                PieceOutcome::HashMismatch(piece) => news.add(reply, piece, WriteOutcome::HashMismatch),
                PieceOutcome::Trouble(job, trouble) => {
                    back.push((job, reply));
                    first_trouble.get_or_insert(trouble);
                }
            }
        }
        news.tell();
        back.into_iter().rev().for_each(|job| self.queue.push_front(job));
        match first_trouble {
            Some(trouble) => self.on_trouble(trouble),
            None if is_well => self.on_well(),
            None => {}
        }
    }

    /// `era`: when the write began.
    pub(super) fn on_written(&mut self, now: std::time::Instant, piece: PieceIndex, era: u32) {
        if let Some(have) = &mut self.have {
            have.set(piece);
        }
        if self.doubt.on_written(piece, era) {
            self.unrecorded.push(piece);
            self.flush.on_written(now, u64::from(self.cfg.geometry.piece_len(piece)));
        }
    }
}

/// What became of a job's pieces: one message to each who asked, and there is hardly ever more than one.
#[derive(Default)]
struct News {
    to: Option<Rc<Recipient<PiecesWritten>>>,
    pieces: Vec<(PieceIndex, WriteOutcome)>,
}

impl News {
    fn add(&mut self, to: Rc<Recipient<PiecesWritten>>, piece: PieceIndex, written: WriteOutcome) {
        let is_same = |known: &Rc<_>| Rc::ptr_eq(known, &to) || *known == to;
        if !self.to.as_ref().is_some_and(is_same) {
            self.tell();
        }
        self.to = Some(to);
        self.pieces.push((piece, written));
    }

    fn tell(&mut self) {
        if let Some(to) = self.to.take() {
            to.do_send(PiecesWritten(std::mem::take(&mut self.pieces)));
        }
    }
}
