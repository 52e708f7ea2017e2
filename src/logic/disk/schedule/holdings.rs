//! Which pieces are ours, which of them may be read for peers, and whether other programs have changed the files they lie
//! in.

use std::time::Instant;

use super::effects::DiskNote;
use super::file_looks::{FileLooks, Look, LookPurpose};
use super::peer_reads::{FailedRead, FilesSeen, PeerReads, ReadPlan};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex, PieceRange};
use crate::logic::disk::trouble::DiskTrouble;
use crate::logic::disk::unreadable::Judgement;

/// What a look at the files found.
#[derive(Debug)]
pub(super) enum LookOutcome {
    /// No change. Was it the final look, with nothing in between?
    Clean(LookPurpose),
    /// Changes, in so many pieces. They are hashed before they are read again.
    Changed(usize),
    /// Changes, found by too many final looks in a row.
    KeepsChanging(usize),
    /// The files cannot be looked at.
    Failed(DiskTrouble),
}

/// What follows from pieces that were hashed again.
#[derive(Debug, Default)]
pub(super) struct CheckVerdict {
    /// Pieces that are ours no longer.
    pub(super) lost: Vec<PieceIndex>,
    /// What there is to note.
    pub(super) notes: Vec<DiskNote>,
}

/// The pieces of one torrent that are written and hashed right.
#[derive(Debug)]
pub(super) struct Holdings {
    geometry: Geometry,
    have: Bitfield,
    reads: PeerReads,
    looks: FileLooks,
    /// The files are to be looked at as soon as no look is under way.
    wants_look: bool,
}

impl Holdings {
    /// `may_fetch`: a piece that stays unreadable can be fetched from others.
    pub(super) fn new(geometry: Geometry, have: Bitfield, may_fetch: bool) -> Self {
        let reads = PeerReads::new(geometry, may_fetch);
        Self { geometry, have, reads, looks: FileLooks::default(), wants_look: false }
    }

    /// The outcomes of all jobs are lost. What was in doubt before stays so.
    pub(super) fn on_restart(&mut self) {
        self.reads.on_restart();
        self.looks = FileLooks::default();
        self.wants_look = self.reads.is_blind();
    }

    /// Pieces that are written and hashed right.
    pub(super) const fn have(&self) -> &Bitfield {
        &self.have
    }

    /// The piece is in its files.
    pub(super) fn on_written(&mut self, piece: PieceIndex) {
        self.have.set(piece);
    }

    // Reads for peers.

    /// A peer asks for these.
    pub(super) fn plan_read(&mut self, asked: Vec<PieceRange>) -> ReadPlan {
        self.reads.plan(&self.have, asked)
    }

    /// A read has ended, and these ranges could not be read.
    pub(super) fn on_read(&mut self, failed: &[FailedRead]) {
        self.wants_look |= self.reads.on_read(failed) == FilesSeen::Changed;
    }

    // Looks at the files.

    /// The files are to be looked at.
    pub(super) const fn want_look(&mut self) {
        self.wants_look = true;
    }

    /// The files are to be looked at, if the last look is long ago.
    pub(super) fn want_routine_look(&mut self, now: Instant) {
        self.wants_look |= self.looks.is_due(now);
    }

    /// Begins a look at the files that lie under these pieces, if one is wanted and none is under way.
    pub(super) fn next_look(&mut self, purpose: LookPurpose) -> Option<Bitfield> {
        let wanted = std::mem::take(&mut self.wants_look);
        (wanted && self.looks.ask(purpose)).then(|| self.have.clone())
    }

    /// Is a look under way?
    pub(super) const fn is_look_under_way(&self) -> bool {
        self.looks.is_under_way()
    }

    /// The files were looked at, and these pieces lie in files that another program has changed.
    pub(super) fn on_vetted(
        &mut self,
        now: Instant,
        vetted: Result<Vec<PieceIndex>, DiskTrouble>,
    ) -> Option<LookOutcome> {
        let Look { purpose, is_stale } = self.looks.on_answer(now)?;
        self.wants_look |= is_stale;
        let was_blind = !is_stale && self.reads.see();
        Some(match vetted {
            Err(trouble) => {
                // What was changed is not known, so all is hashed again.
                if was_blind {
                    self.reads.doubt(self.have.pieces(&self.geometry));
                }
                LookOutcome::Failed(trouble)
            }
            Ok(doubtful) if doubtful.is_empty() => {
                LookOutcome::Clean(if is_stale { LookPurpose::Routine } else { purpose })
            }
            Ok(doubtful) => {
                let pieces = doubtful.len();
                self.reads.doubt(doubtful);
                let too_often = purpose == LookPurpose::Final && self.looks.on_dirty();
                if too_often { LookOutcome::KeepsChanging(pieces) } else { LookOutcome::Changed(pieces) }
            }
        })
    }

    /// The final look found nothing.
    pub(super) const fn on_durable(&mut self) {
        self.looks.on_clean();
    }

    // Pieces that are hashed again.

    /// Pieces to hash now; none while others are being hashed.
    pub(super) fn next_check(&mut self, now: Instant) -> Vec<PieceIndex> {
        self.reads.next_check(now)
    }

    /// Pieces were hashed again. Those that are wrong are ours no longer.
    pub(super) fn on_checked(
        &mut self,
        now: Instant,
        results: Vec<(PieceIndex, Result<bool, DiskTrouble>)>,
    ) -> CheckVerdict {
        let mut verdict = CheckVerdict::default();
        for (piece, result) in results {
            let judgement = self.reads.on_checked(now, piece, &result);
            verdict.notes.push(DiskNote::CheckedAgain { piece, judgement, trouble: result.err() });
            if judgement == Judgement::Lost && self.have.clear(piece) {
                verdict.lost.push(piece);
            }
        }
        if !verdict.lost.is_empty() {
            verdict.notes.push(DiskNote::PiecesLost(verdict.lost.len()));
        }
        verdict
    }

    /// When to hash a piece again that could not be read.
    pub(super) fn check_due(&self) -> Option<Instant> {
        self.reads.deadline()
    }

    /// Can every piece be read?
    pub(super) fn are_all_readable(&self) -> bool {
        self.reads.are_all_readable()
    }
}
