//! What is written and not yet recorded, and what follows when it cannot be made durable: a sync that fails puts pieces in
//! doubt, and they are read, hashed and written anew before they are recorded (D-05); a record that fails is tried again
//! (D-02).

use std::time::Instant;

use super::JOB_BYTES;
use super::effects::{DiskNote, Totals};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex, PieceRange};
use crate::logic::disk::flush::FlushClock;
use crate::logic::disk::trouble::DiskTrouble;
use crate::logic::disk::unsynced::Unsynced;
use crate::logic::disk::values::Snapshot;

/// Which record is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordKind {
    /// More will follow.
    Interim,
    /// The last one: nothing is written after it.
    Last,
}

/// A record that is being made.
#[derive(Debug)]
struct Saving {
    kind: RecordKind,
    /// Pieces that are durable if it succeeds.
    pieces: Vec<PieceIndex>,
}

/// What follows from a record that was made or failed.
#[derive(Debug)]
pub(super) struct SaveVerdict {
    /// Which record it was.
    pub(super) kind: RecordKind,
    /// What there is to note.
    pub(super) note: Option<DiskNote>,
    /// Why the disk is given up.
    pub(super) give_up: Option<DiskTrouble>,
}

/// The records of one torrent.
#[derive(Debug)]
pub(super) struct Recorder {
    geometry: Geometry,
    clock: FlushClock,
    /// Written since the last record began, by writes that the next sync makes durable.
    unrecorded: Vec<PieceIndex>,
    saving: Option<Saving>,
    /// Written, but a sync failed after it: not recorded before it is written anew.
    unsynced: Unsynced,
    last_failed_sync: Option<DiskTrouble>,
    /// The last record failed, and that was noted.
    fails: bool,
    /// The last record failed though all data is safe: the end of a download does not wait for it.
    is_stuck: bool,
    earlier: Totals,
    totals: Totals,
    /// The record is not needed after this run.
    is_done: bool,
}

impl Recorder {
    /// Nothing new is written; so much was moved in earlier runs.
    pub(super) fn new(geometry: Geometry, earlier: Totals) -> Self {
        Self {
            geometry,
            clock: FlushClock::default(),
            unrecorded: Vec::new(),
            saving: None,
            unsynced: Unsynced::default(),
            last_failed_sync: None,
            fails: false,
            is_stuck: false,
            earlier,
            totals: Totals::default(),
            is_done: false,
        }
    }

    /// The outcomes of all jobs are lost. A sync among them may have failed, so what it was to make durable is in doubt.
    pub(super) fn on_restart(&mut self, now: Instant) {
        self.clock = FlushClock::default();
        self.is_stuck = false;
        if let Some(Saving { pieces, .. }) = self.saving.take() {
            self.unsynced.on_lost_sync(now, pieces.into_iter().chain(self.unrecorded.drain(..)));
        }
        if !self.unrecorded.is_empty() {
            self.clock.on_written(now, self.geometry.len_of(self.unrecorded.iter().copied()));
        }
    }

    /// Bytes received and sent in this run.
    pub(super) const fn set_totals(&mut self, totals: Totals) {
        self.totals = totals;
    }

    /// The record is not needed after this run.
    pub(super) const fn forget(&mut self) {
        self.is_done = true;
    }

    /// To be kept with every write that begins, and given to [`Recorder::on_written`].
    pub(super) const fn era(&self) -> u32 {
        self.unsynced.era()
    }

    /// A write that began in that era has put this piece into its files.
    pub(super) fn on_written(&mut self, now: Instant, piece: PieceIndex, era: u32) {
        if self.unsynced.on_written(piece, era) {
            self.unrecorded.push(piece);
            self.is_stuck = false;
            self.clock.on_written(now, u64::from(self.geometry.piece_len(piece)));
        }
    }

    /// The piece is not there any more, and the record still claims it.
    pub(super) fn on_gone(&mut self, now: Instant, piece: PieceIndex) {
        self.unrecorded.retain(|unrecorded| *unrecorded != piece);
        self.unsynced.forget(piece);
        self.clock.on_written(now, 0);
    }

    /// What a record of these pieces says: those in doubt are left out.
    fn snapshot(&self, have: &Bitfield, kind: RecordKind) -> Snapshot {
        let mut have = have.clone();
        self.unsynced.pieces().for_each(|piece| _ = have.clear(piece));
        let received = self.earlier.received + self.totals.received;
        let sent = self.earlier.sent + self.totals.sent;
        Snapshot { have, received, sent, clean: kind == RecordKind::Last, done: self.is_done }
    }

    /// A record begins. Returns what it says.
    pub(super) fn begin(&mut self, now: Instant, have: &Bitfield, kind: RecordKind) -> Snapshot {
        self.saving = Some(Saving { kind, pieces: std::mem::take(&mut self.unrecorded) });
        self.clock.on_flush(now);
        self.snapshot(have, kind)
    }

    /// The record was made, or not.
    pub(super) fn on_saved(&mut self, now: Instant, outcome: Result<(), DiskTrouble>) -> Option<SaveVerdict> {
        let Saving { kind, pieces } = self.saving.take()?;
        self.clock.on_flushed(now);
        self.is_stuck = false;
        let (note, give_up) = match outcome {
            Ok(()) => {
                self.unsynced.on_sync();
                (std::mem::take(&mut self.fails).then_some(DiskNote::RecordWorksAgain), None)
            }
            Err(trouble) if trouble.leaves_data_in_doubt() => self.on_failed_sync(now, trouble, pieces),
            Err(trouble) => (Some(self.on_failed_record(now, trouble, pieces)), None),
        };
        Some(SaveVerdict { kind, note, give_up })
    }

    /// What was written while the sync was failing is in doubt as well: its pages may be among those that were lost.
    fn on_failed_sync(
        &mut self,
        now: Instant,
        trouble: DiskTrouble,
        pieces: Vec<PieceIndex>,
    ) -> (Option<DiskNote>, Option<DiskTrouble>) {
        let meanwhile = std::mem::take(&mut self.unrecorded);
        let note = DiskNote::SyncFailed { trouble: trouble.clone(), pieces: pieces.len() + meanwhile.len() };
        let goes_on = self.unsynced.on_failed_sync(now, pieces.into_iter().chain(meanwhile));
        self.last_failed_sync = Some(trouble.clone());
        (Some(note), (!goes_on).then_some(trouble))
    }

    /// The data is safe, only the record of it is the old one.
    fn on_failed_record(&mut self, now: Instant, trouble: DiskTrouble, pieces: Vec<PieceIndex>) -> DiskNote {
        let is_first = !std::mem::replace(&mut self.fails, true);
        let note = DiskNote::RecordFailed { trouble, pieces: pieces.len(), is_first };
        self.clock.on_written(now, 0);
        // What was written meanwhile was not synced with them.
        self.is_stuck = self.unrecorded.is_empty();
        self.unrecorded.extend(pieces);
        note
    }

    /// The end of the download is to be recorded: a record that failed before is tried once more.
    pub(super) const fn on_finish(&mut self) {
        self.is_stuck = false;
    }

    /// When to make a record; `None` while one is being made or there is nothing new.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.clock.deadline()
    }

    /// Is a record being made?
    pub(super) const fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Is a piece written that no record has been tried for?
    pub(super) fn owes_record(&self) -> bool {
        !self.unrecorded.is_empty() && !self.is_stuck
    }

    /// Is a piece in doubt after a failed sync?
    pub(super) fn has_unsynced(&self) -> bool {
        !self.unsynced.is_none()
    }

    /// Is everything that is written durable, and recorded if it can be?
    pub(super) fn is_settled(&self) -> bool {
        !self.is_saving() && !self.owes_record() && !self.has_unsynced()
    }

    /// When pieces in doubt are written anew: while no record is being made.
    pub(super) fn rewrite_due(&self) -> Option<Instant> {
        self.unsynced.deadline().filter(|_| !self.is_saving())
    }

    /// Some of the pieces in doubt, each as its whole range: as many as go into one job.
    pub(super) fn to_rewrite(&self) -> Vec<PieceRange> {
        let most = (JOB_BYTES / u64::from(self.geometry.nominal_piece_len())).max(1);
        let whole = |piece: PieceIndex| self.geometry.parse_range(piece.get(), 0, self.geometry.piece_len(piece));
        self.unsynced.pieces().zip(0..most).filter_map(|(piece, _)| whole(piece)).collect()
    }

    /// The sync that failed last, once: the reason why a piece in doubt is not there.
    pub(super) const fn take_failed_sync(&mut self) -> Option<DiskTrouble> {
        self.last_failed_sync.take()
    }
}
