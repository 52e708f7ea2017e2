//! The record of what is safely there, and what follows when it cannot be made: a sync that fails puts pieces in doubt,
//! and they are read, hashed and written anew before they are recorded (D-05); a record that fails is tried again (D-02).

use std::sync::Arc;

use actix::prelude::*;
use tokio::time::Instant;

use super::DiskWriter;
use super::writing::JOB_BYTES;
use crate::actors::kit::Ctx;
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{PieceIndex, PieceRange};
use crate::storage::{DiskTrouble, PieceJob, PieceOutcome, Snapshot, TroubleKind};

impl DiskWriter {
    pub(super) fn snapshot(&self, have: &Bitfield, clean: bool) -> Snapshot {
        let mut have = have.clone();
        self.doubt.pieces().for_each(|piece| _ = have.clear(piece));
        let received = self.before.received + self.totals.received;
        Snapshot { have, received, sent: self.before.sent + self.totals.sent, clean, done: self.done }
    }

    /// `clean`: it is the last one, and the end follows.
    pub(super) fn record(&mut self, clean: bool, ctx: &mut Ctx<Self>) {
        let Some(have) = &self.have else { return };
        let snapshot = self.snapshot(have, clean);
        let group = std::mem::take(&mut self.unrecorded);
        self.flush.on_flush(Instant::now().into_std());
        let persisted = self.cfg.storage.persist(snapshot).into_actor(self);
        ctx.spawn(persisted.map(move |outcome, act, ctx| {
            act.flush.on_flushed(Instant::now().into_std());
            act.vetting.is_unrecorded = false;
            match outcome {
                Ok(()) => act.on_recorded(),
                Err(trouble) if trouble.leaves_data_in_doubt() => act.on_failed_sync(trouble, group),
                Err(trouble) => act.on_failed_record(&trouble, group),
            }
            if clean {
                ctx.stop();
            } else {
                act.vet_if_due(ctx);
                act.settle(ctx);
            }
        }));
    }

    /// What was written while the sync was failing is in doubt as well: its pages may be among those that were lost.
    fn on_failed_sync(&mut self, trouble: DiskTrouble, group: Vec<PieceIndex>) {
        let meanwhile = std::mem::take(&mut self.unrecorded);
        tracing::warn!(%trouble, pieces = group.len() + meanwhile.len(), "sync failed, what was written is in doubt");
        let now = Instant::now().into_std();
        if !self.doubt.on_failed_sync(now, group.into_iter().chain(meanwhile)) {
            self.give_up(trouble.clone());
        }
        self.last_failed_sync = Some(trouble);
    }

    fn on_recorded(&mut self) {
        self.doubt.on_sync();
        if std::mem::take(&mut self.record_fails) {
            tracing::info!("the record can be written again");
        }
    }

    /// The data is safe, only the record of it is the old one. Said once, until a record can be written again.
    fn on_failed_record(&mut self, trouble: &DiskTrouble, group: Vec<PieceIndex>) {
        if std::mem::replace(&mut self.record_fails, true) {
            tracing::debug!(%trouble, pieces = group.len(), "pieces are still not recorded");
        } else {
            tracing::warn!(%trouble, pieces = group.len(), "pieces are written but not recorded");
        }
        self.flush.on_written(Instant::now().into_std(), 0);
        self.unrecorded.extend(group);
        self.vetting.is_unrecorded = true;
    }

    /// A download that is complete is not left in doubt, nor without a record that says so if there can be one; and its
    /// files are looked at last.
    pub(super) fn finish(&mut self, ctx: &mut Ctx<Self>) {
        if self.may_renew() {
            self.renew(ctx);
        } else if self.given_up {
            self.finishing = false;
        } else if !self.unrecorded.is_empty() && !self.vetting.is_unrecorded {
            self.record(false, ctx);
        } else if self.unread.is_none() {
            self.vet(ctx);
        }
    }

    fn may_renew(&self) -> bool {
        !self.doubt.is_none() && !self.is_held()
    }

    /// When pieces in doubt are written anew: while nothing else is being written, so that it happens once.
    pub(super) fn renewal_due(&self) -> Option<std::time::Instant> {
        self.doubt.deadline().filter(|_| self.may_renew() && self.jobs == 0 && !self.flush.is_flushing())
    }

    /// Reads some of the pieces in doubt, hashes them, and writes them again.
    pub(super) fn renew(&mut self, ctx: &mut Ctx<Self>) {
        let geometry = self.cfg.geometry;
        let most = (JOB_BYTES / u64::from(geometry.nominal_piece_len())).max(1);
        let pieces: Vec<_> = self.doubt.pieces().zip(0..most).map(|(piece, _)| piece).collect();
        let whole = |piece: &PieceIndex| geometry.parse_range(piece.get(), 0, geometry.piece_len(*piece));
        let ranges: Vec<PieceRange> = pieces.iter().filter_map(whole).collect();
        self.jobs += 1;
        let era = self.doubt.era();
        let read = self.cfg.storage.read(ranges).into_actor(self);
        let rewritten = read.then(move |read, act, _| {
            let job =
                |(piece, bytes): (_, Result<_, _>)| bytes.map(|bytes| PieceJob { piece, blocks: Arc::new([bytes]) });
            let jobs: Result<Vec<_>, DiskTrouble> = pieces.into_iter().zip(read).map(job).collect();
            let storage = Arc::clone(&act.cfg.storage);
            async move { Ok(storage.write(jobs?).await) }.into_actor(act)
        });
        ctx.spawn(rewritten.map(move |outcomes: Result<Vec<_>, DiskTrouble>, act, ctx| {
            act.jobs -= 1;
            match outcomes {
                Ok(outcomes) => outcomes.into_iter().for_each(|outcome| act.on_renewed(outcome, era)),
                // Then it is in doubt for another reason, and hashed again for that.
                Err(trouble) if trouble.kind == TroubleKind::Changed => act.vet(ctx),
                Err(trouble) => act.give_up(trouble),
            }
            act.go_on_writing(ctx);
        }));
    }

    fn on_renewed(&mut self, outcome: PieceOutcome, era: u32) {
        match outcome {
            PieceOutcome::Written(piece) => self.on_written(Instant::now().into_std(), piece, era),
            PieceOutcome::Trouble(_, trouble) => self.give_up(trouble),
            PieceOutcome::HashMismatch(piece) => {
                tracing::warn!(%piece, "what was written before the failed sync is not there");
                if let Some(trouble) = self.last_failed_sync.take() {
                    self.give_up(trouble);
                }
            }
        }
    }
}
