//! Reads for peers: only what hashed right is read (I6), and not more at a time than the storage has threads for.
//!
//! Bytes that are missing where a file has become shorter come back as zeros as soon as something is written behind them.
//! So after a file was found cut or gone nothing is read for a peer before all files were looked at.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::CHECK_BYTES;
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex, PieceRange};
use crate::logic::disk::trouble::{DiskTrouble, TroubleKind};
use crate::logic::disk::unreadable::{FETCH_AGAIN_AFTER, Hashed, Judgement, Unreadable};

/// 200 reads for peers wait for the disk at most: one for each connection that a torrent has by default. A disk that hangs
/// holds a thread of the pool with each.
const MAX_READS: usize = 200;

/// 1 s until a peer is told that what it asks for cannot be read now: it will ask again as soon as it is told.
pub const REFUSE_AFTER: Duration = Duration::from_secs(1);

/// A range that was to be read for a peer and could not be.
pub type FailedRead = (PieceIndex, DiskTrouble);

/// What is read of the ranges that a peer asks for.
#[derive(Debug)]
pub struct ReadPlan {
    /// For each range that was asked for: is it read?
    is_read: Vec<bool>,
    ranges: Vec<PieceRange>,
}

impl ReadPlan {
    /// Nothing is read of so many ranges.
    pub(super) fn refuse(asked: usize) -> Self {
        Self { is_read: vec![false; asked], ranges: Vec::new() }
    }

    /// The ranges to read.
    pub fn ranges(&self) -> &[PieceRange] {
        &self.ranges
    }

    /// How long to wait with the answer if nothing is read; `None` if something is.
    pub fn refuse_after(&self) -> Option<Duration> {
        self.ranges.is_empty().then_some(REFUSE_AFTER)
    }

    /// Takes one result for each of [`ReadPlan::ranges`]. Returns the answer to each range that was asked for, `None` where
    /// there are no bytes, and the reads that failed.
    pub fn answer(self, results: Vec<Result<Bytes, DiskTrouble>>) -> (Vec<Option<Bytes>>, Vec<FailedRead>) {
        let mut failed = Vec::new();
        let mut read = self.ranges.into_iter().zip(results).map(|(range, result)| match result {
            Ok(bytes) => Some(bytes),
            Err(trouble) => {
                failed.push((range.piece(), trouble));
                None
            }
        });
        let answer = self.is_read.iter().map(|is_read| if *is_read { read.next().flatten() } else { None }).collect();
        drop(read);
        (answer, failed)
    }
}

/// What reads that failed say about the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FilesSeen {
    /// They are as they were.
    Unchanged,
    /// Another program has changed one: all are to be looked at.
    Changed,
}

/// The reads of one torrent for its peers, and the pieces that are not read for now.
#[derive(Debug)]
pub(super) struct PeerReads {
    geometry: Geometry,
    unreadable: Unreadable,
    under_way: usize,
}

impl PeerReads {
    /// Everything can be read. `may_fetch`: a piece that stays unreadable can be fetched from others.
    pub(super) fn new(geometry: Geometry, may_fetch: bool) -> Self {
        Self { geometry, unreadable: Unreadable::new(may_fetch.then_some(FETCH_AGAIN_AFTER)), under_way: 0 }
    }

    /// The outcomes of all reads and checks are lost.
    pub(super) fn on_restart(&mut self) {
        self.unreadable.on_hasher_lost();
        self.under_way = 0;
    }

    /// A peer asks for these.
    pub(super) fn plan(&mut self, have: &Bitfield, asked: Vec<PieceRange>) -> ReadPlan {
        let is_free = self.under_way < MAX_READS;
        let may = |range: &PieceRange| have.has(range.piece()) && !self.unreadable.has(range.piece());
        let is_read: Vec<bool> = asked.iter().map(|range| is_free && may(range)).collect();
        let ranges: Vec<_> = asked.into_iter().zip(&is_read).filter(|(_, is)| **is).map(|(range, _)| range).collect();
        self.under_way += usize::from(!ranges.is_empty());
        ReadPlan { is_read, ranges }
    }

    /// A read has ended, and these ranges could not be read.
    pub(super) fn on_read(&mut self, failed: &[FailedRead]) -> FilesSeen {
        self.under_way -= 1;
        let has = |wanted| failed.iter().any(|(_, trouble)| trouble.kind == wanted);
        // What was changed is in doubt with all of its file: the look says which pieces those are.
        let pieces = failed.iter().filter(|(_, trouble)| trouble.kind != TroubleKind::Changed).map(|(piece, _)| *piece);
        self.unreadable.doubt(pieces);
        if has(TroubleKind::Missing) {
            self.unreadable.on_cut();
        }
        let is_changed = has(TroubleKind::Missing) || has(TroubleKind::Changed);
        if is_changed { FilesSeen::Changed } else { FilesSeen::Unchanged }
    }

    /// These are to be hashed before they are read again.
    pub(super) fn doubt(&mut self, pieces: impl IntoIterator<Item = PieceIndex>) {
        self.unreadable.doubt(pieces);
    }

    /// Pieces to hash now; none while others are being hashed.
    pub(super) fn next_check(&mut self, now: Instant) -> Vec<PieceIndex> {
        self.unreadable.next_batch(now, CHECK_BYTES, |piece| self.geometry.piece_len(piece).into())
    }

    /// A piece of [`PeerReads::next_check`] was hashed.
    pub(super) fn on_checked(
        &mut self,
        now: Instant,
        piece: PieceIndex,
        result: &Result<bool, DiskTrouble>,
    ) -> Judgement {
        let hashed = match result {
            Ok(true) => Hashed::Right,
            Ok(false) => Hashed::Wrong,
            Err(trouble) if trouble.kind == TroubleKind::Missing => Hashed::Wrong,
            Err(_) => Hashed::Failed,
        };
        self.unreadable.on_hashed(now, piece, hashed)
    }

    /// When to hash a piece again that could not be read.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.unreadable.deadline()
    }

    /// Is nothing read before all files were looked at?
    pub(super) const fn is_blind(&self) -> bool {
        self.unreadable.is_blind()
    }

    /// All files were looked at. Returns `true` if reads waited for it.
    pub(super) const fn see(&mut self) -> bool {
        self.unreadable.see()
    }

    /// Can every piece be read?
    pub(super) fn are_all_readable(&self) -> bool {
        self.unreadable.is_none()
    }
}
