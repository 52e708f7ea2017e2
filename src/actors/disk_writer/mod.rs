//! `DiskWriter`: a torrent's way to its files.
//!
//! * Owns the storage handle and a [`DiskSchedule`], which decides everything: what is written, synced, recorded, looked
//!   at, and given up. The writer runs the storage's jobs and carries their outcomes back.
//! * Parent: `Torrent`. Restart policy: permanent, five restarts in 60 s. The schedule survives, so nothing acknowledged is
//!   lost; what was not acknowledged is asked for again.
//! * Handles `WritePieces`, `ReadRanges`, `HaveNow`, `Totals`, `FinishWriting`, `ForgetState` and `Goodbye`.
//! * Sends `PiecesWritten` to the sender of the pieces, and `DiskNews` to the torrent. Asks no other actor.
//! * Limits are those of the schedule; what waits to be written is bounded by the scheduler's credit.
//! * Stops when its parent tells it to, after everything is written and recorded.

mod log;

use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::kit::{Child, Ctx, Goodbye, Timer};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex, PieceRange};
use crate::logic::disk::resume::OpenMode;
use crate::logic::disk::schedule::{DiskEffect, DiskSchedule, DiskScheduleConfig};
pub use crate::logic::disk::schedule::{DiskNews, Totals};
use crate::logic::disk::write_outcome::WriteOutcome;
use crate::storage::{DiskTrouble, Later, PieceJob, PieceOutcome, SharedStorage};

/// Who is told what became of pieces. All pieces of one message share it: to clone a recipient is an allocation and a
/// handful of atomics, more than some pieces cost else.
type ReplyTo = Rc<Recipient<PiecesWritten>>;

type Schedule = DiskSchedule<ReplyTo>;

/// Hash and write these, then tell `reply`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct WritePieces {
    /// Whole pieces.
    pub jobs: Vec<PieceJob>,
    /// Who is told.
    pub reply: Recipient<PiecesWritten>,
}

/// What became of [`WritePieces`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PiecesWritten(pub Vec<(PieceIndex, WriteOutcome)>);

/// Read these for a peer; `None` for what we do not have or cannot read.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Option<Bytes>>")]
pub struct ReadRanges(pub Vec<PieceRange>);

/// Which pieces are written and hashed right? `None` until everything is checked.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Option<Bitfield>")]
pub struct HaveNow;

/// The bytes moved in this run, to be remembered in the record.
impl Message for Totals {
    type Result = ();
}

/// The last piece is written: make everything durable, then tell [`DiskNews::Durable`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct FinishWriting;

/// The torrent is complete and will not be given to others: its state is not needed any more.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ForgetState;

impl Message for DiskNews {
    type Result = ();
}

/// All that a writer is given.
#[derive(Debug, Clone)]
pub struct DiskWriterConfig {
    /// For its name in the logs.
    pub name: String,
    /// The torrent's sizes.
    pub geometry: Geometry,
    /// Where the bytes go.
    pub storage: SharedStorage,
    /// The torrent.
    pub torrent: Recipient<DiskNews>,
    /// Wait for a full disk to have space again.
    pub patient: bool,
    /// What is not all there is left alone.
    pub must_be_whole: bool,
    /// Whether what the record says is believed.
    pub mode: OpenMode,
}

/// The actor that writes and reads one torrent's files.
#[derive(Debug)]
pub struct DiskWriter {
    name: String,
    storage: SharedStorage,
    torrent: Recipient<DiskNews>,
    mode: OpenMode,
    machine: Schedule,
    timer: Timer<Self>,
}

crate::metered!(DiskWriter, "DiskWriter");

impl DiskWriter {
    /// Opens the storage when it starts.
    pub fn new(cfg: DiskWriterConfig) -> Self {
        let DiskWriterConfig { name, geometry, storage, torrent, patient, must_be_whole, mode } = cfg;
        let abreast = storage.abreast();
        let schedule = DiskScheduleConfig { name: name.clone(), geometry, abreast, patient, must_be_whole };
        Self { name, storage, torrent, mode, machine: DiskSchedule::new(schedule), timer: Timer::new() }
    }

    /// Applies one mutation to the machine, performs every effect, arms one timer.
    fn step(&mut self, ctx: &mut Ctx<Self>, mutate: impl FnOnce(&mut Schedule, std::time::Instant)) {
        mutate(&mut self.machine, Instant::now().into_std());
        while let Some(effect) = self.machine.poll() {
            self.perform(effect, ctx);
        }
        self.timer.arm(ctx, self.machine.deadline(), |act, ctx| act.step(ctx, DiskSchedule::on_timeout));
    }

    fn perform(&self, effect: DiskEffect<ReplyTo>, ctx: &mut Ctx<Self>) {
        let storage = &self.storage;
        match effect {
            DiskEffect::OpenStorage => {
                let opened = match self.mode {
                    OpenMode::TrustRecord => storage.open(),
                    OpenMode::Recheck => storage.open_to_recheck(),
                };
                self.run(ctx, opened, DiskSchedule::on_opened);
            }
            DiskEffect::CheckPieces(pieces) => self.run(ctx, storage.check(pieces), DiskSchedule::on_checked),
            DiskEffect::Admit(start) => self.run(ctx, storage.admit(start), DiskSchedule::on_admitted),
            DiskEffect::WritePieces(jobs, receipt) => {
                self.run(ctx, storage.write(jobs), |machine, now, outcomes| machine.on_written(now, receipt, outcomes));
            }
            DiskEffect::RewritePieces(ranges, receipt) => {
                let rewritten = Box::pin(rewrite(Arc::clone(storage), ranges));
                self.run(ctx, rewritten, move |machine, now, outcomes| machine.on_rewritten(now, receipt, outcomes));
            }
            DiskEffect::SaveRecord(snapshot) => self.run(ctx, storage.persist(snapshot), DiskSchedule::on_recorded),
            DiskEffect::VetFiles(have) => self.run(ctx, storage.vet(have), DiskSchedule::on_vetted),
            DiskEffect::MeasureFreeSpace => self.run(ctx, storage.free(), DiskSchedule::on_free_space),
            DiskEffect::Tell(news) => self.torrent.do_send(news),
            DiskEffect::TellWritten(reply, outcomes) => reply.do_send(PiecesWritten(outcomes)),
            DiskEffect::Note(note) => log::log(note),
            DiskEffect::Stop => ctx.stop(),
        }
    }

    /// Runs a job of the storage and gives its outcome to the machine.
    fn run<T: 'static>(
        &self,
        ctx: &mut Ctx<Self>,
        job: Later<T>,
        input: impl FnOnce(&mut Schedule, std::time::Instant, T) + 'static,
    ) {
        let done = job.into_actor(self);
        ctx.spawn(done.map(|outcome, act, ctx| act.step(ctx, |machine, now| input(machine, now, outcome))));
    }
}

/// Reads whole pieces, then hashes and writes them again. An error if one cannot be read; then nothing is written.
async fn rewrite(storage: SharedStorage, pieces: Vec<PieceRange>) -> Result<Vec<PieceOutcome>, DiskTrouble> {
    let read = storage.read(pieces.clone()).await;
    let job = |(range, bytes): (PieceRange, Result<Bytes, _>)| {
        bytes.map(|bytes| PieceJob { piece: range.piece(), blocks: Arc::new([bytes]) })
    };
    let jobs: Vec<_> = pieces.into_iter().zip(read).map(job).collect::<Result<_, DiskTrouble>>()?;
    Ok(storage.write(jobs).await)
}

impl Actor for DiskWriter {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.step(ctx, DiskSchedule::on_start);
    }
}

impl Supervised for DiskWriter {
    fn restarting(&mut self, _: &mut Ctx<Self>) {
        self.timer = Timer::new();
    }
}

impl Child for DiskWriter {
    fn id(&self) -> String {
        self.name.clone()
    }
}

impl Handler<WritePieces> for DiskWriter {
    type Result = ();

    fn handle(&mut self, WritePieces { jobs, reply }: WritePieces, ctx: &mut Ctx<Self>) {
        self.step(ctx, |machine, now| machine.on_pieces(now, jobs, &Rc::new(reply)));
    }
}

impl Handler<ReadRanges> for DiskWriter {
    type Result = ResponseActFuture<Self, Vec<Option<Bytes>>>;

    fn handle(&mut self, ReadRanges(ranges): ReadRanges, _: &mut Ctx<Self>) -> Self::Result {
        let plan = self.machine.plan_read(ranges);
        if let Some(delay) = plan.refuse_after() {
            return Box::pin(sleep(delay).into_actor(self).map(|(), _, _| plan.answer(Vec::new()).0));
        }
        let read = self.storage.read(plan.ranges().to_vec()).into_actor(self);
        Box::pin(read.map(|results, act, ctx| {
            let (answer, failed) = plan.answer(results);
            act.step(ctx, |machine, now| machine.on_blocks_read(now, failed));
            answer
        }))
    }
}

impl Handler<HaveNow> for DiskWriter {
    type Result = Option<Bitfield>;

    fn handle(&mut self, _: HaveNow, _: &mut Ctx<Self>) -> Self::Result {
        self.machine.have().cloned()
    }
}

impl Handler<Totals> for DiskWriter {
    type Result = ();

    fn handle(&mut self, totals: Totals, _: &mut Ctx<Self>) {
        self.machine.set_totals(totals);
    }
}

impl Handler<FinishWriting> for DiskWriter {
    type Result = ();

    fn handle(&mut self, _: FinishWriting, ctx: &mut Ctx<Self>) {
        self.step(ctx, DiskSchedule::on_finish);
    }
}

impl Handler<ForgetState> for DiskWriter {
    type Result = ();

    fn handle(&mut self, _: ForgetState, _: &mut Ctx<Self>) {
        self.machine.on_forget();
    }
}

impl Handler<Goodbye> for DiskWriter {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.step(ctx, DiskSchedule::on_goodbye);
    }
}

#[cfg(test)]
mod tests;
