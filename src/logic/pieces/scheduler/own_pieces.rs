//! The pieces that we have, and how far the selection is complete.

use std::sync::Arc;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex};
use crate::logic::torrent::selection::WantedPieces;

/// The pieces that we have and want, and their bytes.
#[derive(Debug)]
pub(super) struct OwnPieces {
    geometry: Geometry,
    wanted: Arc<WantedPieces>,
    have: Bitfield,
    /// Pieces that we have or do not want.
    settled: Bitfield,
    /// Bytes of the pieces that we have.
    bytes_have: u64,
    /// Wanted bytes of the pieces that we have.
    bytes_done: u64,
}

impl OwnPieces {
    /// The pieces of `have` are ours from the start.
    pub(super) fn new(geometry: Geometry, have: Bitfield, wanted: Arc<WantedPieces>) -> Self {
        let mut settled = Bitfield::all(geometry.piece_count());
        for piece in wanted.pieces().pieces(&geometry).filter(|piece| !have.has(*piece)) {
            settled.clear(piece);
        }
        let bytes_have = geometry.len_of(have.pieces(&geometry));
        let bytes_done = wanted.bytes_had(&geometry, &have);
        Self { geometry, wanted, have, settled, bytes_have, bytes_done }
    }

    /// The pieces that we have.
    pub(super) const fn have(&self) -> &Bitfield {
        &self.have
    }

    /// The pieces that we have or do not want.
    pub(super) const fn settled(&self) -> &Bitfield {
        &self.settled
    }

    /// Whether we have every wanted piece.
    pub(super) fn is_complete(&self) -> bool {
        self.settled.is_all()
    }

    /// The number of wanted pieces that we lack.
    pub(super) fn missing(&self) -> u32 {
        self.geometry.piece_count() - self.settled.ones()
    }

    /// Bytes of the pieces that we have.
    pub(super) const fn bytes_have(&self) -> u64 {
        self.bytes_have
    }

    /// Wanted bytes of the pieces that we have.
    pub(super) const fn bytes_done(&self) -> u64 {
        self.bytes_done
    }

    /// We have the piece now. Returns whether that is new.
    pub(super) fn gain(&mut self, piece: PieceIndex) -> bool {
        let is_new = self.have.set(piece);
        if is_new {
            self.bytes_have += u64::from(self.geometry.piece_len(piece));
            self.bytes_done += u64::from(self.wanted.bytes_of(&self.geometry, piece));
            self.settled.set(piece);
        }
        is_new
    }

    /// We do not have the piece any more. Returns whether we had it.
    pub(super) fn lose(&mut self, piece: PieceIndex) -> bool {
        let was_had = self.have.clear(piece);
        if was_had {
            self.bytes_have -= u64::from(self.geometry.piece_len(piece));
            self.bytes_done -= u64::from(self.wanted.bytes_of(&self.geometry, piece));
        }
        was_had
    }

    /// After [`Self::lose`]: returns whether the piece is wanted, so that it must be downloaded again.
    pub(super) fn is_missed(&mut self, piece: PieceIndex) -> bool {
        self.wanted.pieces().has(piece) && self.settled.clear(piece)
    }
}
