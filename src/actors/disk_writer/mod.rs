//! `DiskWriter`: a torrent's way to its files.
//!
//! Owns the storage handle, the pieces on their way to it, and the set of pieces that are written and hashed right.
//! Child of `Torrent`, permanent, 5 restarts in 60 s: nothing acknowledged is lost, since the set survives; what was not
//! acknowledged is asked for again. Hears `WritePieces`, `ReadRanges`, `HaveNow`, `Totals`, `FinishWriting`, `ForgetState`. Tells `PiecesWritten` (to
//! whoever sent the pieces) and `DiskNews` (to the torrent). Limits: `MAX_JOBS` jobs in the pool; what waits is bounded
//! by the scheduler's credit, `MAX_READS` reads for peers. Ends when told to, after everything is written and recorded.

mod doubting;
mod opening;
mod recording;
mod vetting;
mod writing;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::kit::{Child, Ctx, Goodbye, Timer};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex, PieceRange};
use crate::logic::disk::flush::FlushClock;
use crate::logic::disk::health::{Ailment, DiskHealth, Remedy};
use crate::logic::disk::resume::OpenMode;
use crate::logic::disk::unreadable::{FETCH_AGAIN_AFTER, Unreadable};
use crate::logic::disk::unsynced::Unsynced;
use crate::logic::disk::write_batch::WriteBatch;
use crate::logic::disk::write_outcome::WriteOutcome;
use crate::storage::{DiskTrouble, OpenTrouble, PieceJob, SharedStorage, TroubleKind};
use opening::{Check, HeldStart};
use vetting::Vetting;
use writing::{Queued, gather};

/// Two jobs at once: one hashes while the other waits for the disk; a third would only share the same two cores.
const MAX_JOBS: usize = 2;

/// 200 reads for peers wait for the disk at most: one for each connection that a torrent has by default. A disk that hangs
/// holds a thread of the pool with each.
const MAX_READS: usize = 200;

/// 1 s until a peer is told that what it asks for cannot be read now: it will ask again as soon as it is told.
const REFUSE_AFTER: Duration = Duration::from_secs(1);

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

/// Totals to be remembered in the record.
#[derive(Debug, Clone, Copy, Default, Message)]
#[rtype(result = "()")]
pub struct Totals {
    /// Bytes received in this run.
    pub received: u64,
    /// Bytes sent in this run.
    pub sent: u64,
}

/// The last piece is written: make everything durable, then tell [`DiskNews::Durable`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct FinishWriting;

/// The torrent is complete and will not be given to others: its state is not needed any more.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ForgetState;

/// To the torrent.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum DiskNews {
    /// What is there is being hashed.
    Checking {
        /// Bytes hashed.
        done: u64,
        /// Bytes to hash in all.
        total: u64,
        /// Why.
        reason: Option<String>,
    },
    /// Everything is checked and the files are ours to write.
    Ready {
        /// Pieces that are there.
        have: Bitfield,
        /// Bytes that were hashed for it.
        checked: u64,
    },
    /// It must be all there, and only so many bytes are; nothing was touched.
    Incomplete(u64),
    /// The files cannot be worked on.
    Refused(OpenTrouble),
    /// The disk is in trouble; `retry_in` is when it is tried again, and without it the torrent has failed.
    Trouble {
        /// What, where, why.
        trouble: DiskTrouble,
        /// When it is tried again.
        retry_in: Option<Duration>,
    },
    /// The trouble is over.
    Well,
    /// Pieces that were on their way are lost: a restart.
    Lost,
    /// A piece that was there cannot be read any more.
    Gone(PieceIndex),
    /// Everything that is written is as safe as it was asked to be.
    Durable,
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

/// See the head of the file.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a question of its own, and any of them may be true with any other"
)]
pub struct DiskWriter {
    cfg: DiskWriterConfig,
    // Kept over restarts.
    have: Option<Bitfield>,
    /// Written, but a sync failed after it: not recorded before it is written anew (D-05).
    doubt: Unsynced,
    last_failed_sync: Option<DiskTrouble>,
    finishing: bool,
    /// Nothing more is to be done for the torrent.
    done: bool,
    before: Totals,
    totals: Totals,
    // Live.
    queue: VecDeque<Queued>,
    gather: WriteBatch,
    jobs: usize,
    unrecorded: Vec<PieceIndex>,
    flush: FlushClock,
    /// The last record could not be written, and that was said.
    record_fails: bool,
    health: DiskHealth,
    given_up: bool,
    check: Check,
    /// What is tried again once a disk that was full at the start has room.
    held_start: Option<HeldStart>,
    unread: Unreadable,
    /// Reads for peers that the disk has not answered.
    reads: usize,
    vetting: Vetting,
    timer: Timer<Self>,
    closing: bool,
}

crate::metered!(DiskWriter, "DiskWriter");

impl DiskWriter {
    /// Opens the storage when it starts.
    pub fn new(cfg: DiskWriterConfig) -> Self {
        let (health, gather) = (DiskHealth::new(cfg.patient), gather(&cfg));
        let unread = Unreadable::new((!cfg.must_be_whole).then_some(FETCH_AGAIN_AFTER));
        Self {
            cfg,
            have: None,
            doubt: Unsynced::default(),
            last_failed_sync: None,
            finishing: false,
            done: false,
            before: Totals::default(),
            totals: Totals::default(),
            queue: VecDeque::new(),
            gather,
            jobs: 0,
            unrecorded: Vec::new(),
            flush: FlushClock::default(),
            record_fails: false,
            health,
            given_up: false,
            check: Check::default(),
            held_start: None,
            unread,
            reads: 0,
            vetting: Vetting::default(),
            timer: Timer::new(),
            closing: false,
        }
    }

    // Trouble.

    /// Nothing is written for now, or ever.
    fn is_held(&self) -> bool {
        self.given_up || self.health.retry_at().is_some()
    }

    /// When one piece is tried again, to see whether the trouble is over. Not while others are still being written.
    fn retry_due(&self) -> Option<std::time::Instant> {
        self.health.retry_at().filter(|_| !self.given_up && self.jobs == 0 && !self.queue.is_empty())
    }

    /// When to look whether a full disk has space again.
    fn look_due(&self) -> Option<std::time::Instant> {
        self.retry_due().and(self.health.look_at())
    }

    fn look_for_space(&mut self, ctx: &mut Ctx<Self>) {
        let wanted = self.cfg.geometry.len_of(self.queue.front().map(|(job, _)| job.piece));
        self.health.on_look(Instant::now().into_std());
        let free = self.cfg.storage.free().into_actor(self);
        ctx.spawn(free.map(move |free, act, ctx| {
            act.health.on_free(Instant::now().into_std(), free.unwrap_or(0), wanted);
            act.settle(ctx);
        }));
    }

    fn on_well(&mut self) {
        if self.health.on_success() && !self.given_up {
            self.cfg.torrent.do_send(DiskNews::Well);
        }
    }

    fn on_trouble(&mut self, trouble: DiskTrouble) {
        if self.given_up {
            return;
        }
        if trouble.kind == TroubleKind::Taken {
            return self.give_up(trouble);
        }
        let ailment = match trouble.kind {
            TroubleKind::Full => Ailment::Full,
            TroubleKind::ReadOnly | TroubleKind::Missing => Ailment::Withheld,
            TroubleKind::TooLong => Ailment::Hopeless,
            TroubleKind::Io | TroubleKind::Changed | TroubleKind::Taken => Ailment::Broken,
        };
        if let Some((free, _)) = trouble.space {
            self.health.on_full_with(free);
        }
        let now = Instant::now().into_std();
        let retry_in = match self.health.on_trouble(now, ailment) {
            Remedy::RetryAt(at) => Some(at.saturating_duration_since(now)),
            Remedy::GiveUp => None,
        };
        self.given_up = retry_in.is_none();
        self.cfg.torrent.do_send(DiskNews::Trouble { trouble, retry_in });
    }

    fn give_up(&mut self, trouble: DiskTrouble) {
        if !self.given_up {
            self.given_up = true;
            self.cfg.torrent.do_send(DiskNews::Trouble { trouble, retry_in: None });
        }
    }

    /// What follows from the state as it is now: a record, an end, a timer.
    fn settle(&mut self, ctx: &mut Ctx<Self>) {
        let idle = self.jobs == 0 && (self.queue.is_empty() || self.is_held()) && !self.flush.is_flushing();
        if idle && self.closing {
            return if self.have.is_some() { self.record(true, ctx) } else { ctx.stop() };
        }
        if idle && self.finishing && !self.vetting.is_under_way() {
            return self.finish(ctx);
        }
        let due = [
            self.flush.deadline(),
            self.retry_due(),
            self.look_due(),
            self.start_due(),
            self.renewal_due(),
            self.write_due(),
            self.unread.deadline(),
        ];
        self.timer.arm(ctx, due.into_iter().flatten().min(), Self::on_timer);
    }

    fn on_timer(&mut self, ctx: &mut Ctx<Self>) {
        let now = Instant::now().into_std();
        if self.flush.deadline().is_some_and(|due| due <= now) {
            self.record(false, ctx);
        }
        if self.renewal_due().is_some_and(|due| due <= now) {
            self.renew(ctx);
        }
        if self.look_due().is_some_and(|due| due <= now) {
            self.look_for_space(ctx);
        }
        if self.start_due().is_some_and(|due| due <= now) {
            self.start_again(ctx);
        }
        if self.retry_due().is_some_and(|due| due <= now)
            && let Some(first) = self.queue.pop_front()
        {
            self.start_job(vec![first], ctx);
        }
        self.look_again(ctx);
        self.go_on_writing(ctx);
    }
}

impl Actor for DiskWriter {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        if self.have.is_some() {
            self.cfg.torrent.do_send(DiskNews::Lost);
            if !self.unrecorded.is_empty() {
                self.flush
                    .on_written(Instant::now().into_std(), self.cfg.geometry.len_of(self.unrecorded.iter().copied()));
            }
            if self.unread.is_blind() {
                self.vet(ctx);
            }
            self.look_again(ctx);
            self.settle(ctx);
        } else {
            self.open(ctx);
        }
    }
}

impl Supervised for DiskWriter {
    fn restarting(&mut self, _: &mut Ctx<Self>) {
        self.queue.clear();
        self.gather = gather(&self.cfg);
        self.jobs = 0;
        self.flush = FlushClock::default();
        self.health = DiskHealth::new(self.cfg.patient);
        self.given_up = false;
        self.check = Check::default();
        self.held_start = None;
        self.unread.on_hasher_lost();
        self.reads = 0;
        self.vetting = Vetting::default();
        self.timer = Timer::new();
    }
}

impl Child for DiskWriter {
    fn id(&self) -> String {
        self.cfg.name.clone()
    }
}

impl Handler<WritePieces> for DiskWriter {
    type Result = ();

    fn handle(&mut self, WritePieces { jobs, reply }: WritePieces, ctx: &mut Ctx<Self>) {
        let reply = Rc::new(reply);
        self.queue.extend(jobs.into_iter().map(|job| (job, Rc::clone(&reply))));
        self.go_on_writing(ctx);
    }
}

impl Handler<ReadRanges> for DiskWriter {
    type Result = ResponseActFuture<Self, Vec<Option<Bytes>>>;

    /// Only what hashed right is ever read for a peer (I6).
    fn handle(&mut self, ReadRanges(ranges): ReadRanges, _: &mut Ctx<Self>) -> Self::Result {
        let had = |range: &PieceRange| {
            self.have.as_ref().is_some_and(|have| have.has(range.piece())) && !self.unread.has(range.piece())
        };
        let may: Vec<bool> = ranges.iter().map(had).collect();
        let allowed: Vec<_> = ranges.into_iter().zip(&may).filter(|(_, may)| **may).map(|(range, _)| range).collect();
        if allowed.is_empty() || self.reads >= MAX_READS {
            return Box::pin(sleep(REFUSE_AFTER).into_actor(self).map(move |(), _, _| vec![None; may.len()]));
        }
        self.reads += 1;
        let read = self.cfg.storage.read(allowed.clone()).into_actor(self);
        Box::pin(read.map(move |results, act, ctx| {
            act.reads -= 1;
            let mut unread = Vec::new();
            let mut results = allowed.into_iter().zip(results).map(|(range, result)| match result {
                Ok(bytes) => Some(bytes),
                Err(trouble) => {
                    tracing::warn!(%trouble, "block cannot be read for a peer, its request is dropped");
                    unread.push((range.piece(), trouble.kind));
                    None
                }
            });
            let answer = may.iter().map(|may| if *may { results.next().flatten() } else { None }).collect();
            drop(results);
            if !unread.is_empty() {
                act.on_unread(unread, ctx);
            }
            answer
        }))
    }
}

impl Handler<HaveNow> for DiskWriter {
    type Result = Option<Bitfield>;

    fn handle(&mut self, _: HaveNow, _: &mut Ctx<Self>) -> Self::Result {
        self.have.clone()
    }
}

impl Handler<Totals> for DiskWriter {
    type Result = ();

    fn handle(&mut self, totals: Totals, _: &mut Ctx<Self>) {
        self.totals = totals;
    }
}

impl Handler<FinishWriting> for DiskWriter {
    type Result = ();

    fn handle(&mut self, _: FinishWriting, ctx: &mut Ctx<Self>) {
        self.finishing = true;
        self.vetting.is_unrecorded = false;
        self.settle(ctx);
    }
}

impl Handler<ForgetState> for DiskWriter {
    type Result = ();

    fn handle(&mut self, _: ForgetState, _: &mut Ctx<Self>) {
        self.done = true;
    }
}

impl Handler<Goodbye> for DiskWriter {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        self.closing = true;
        self.settle(ctx);
    }
}

#[cfg(test)]
mod tests;
