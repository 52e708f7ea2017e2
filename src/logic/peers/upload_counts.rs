//! How many peers each piece has been uploaded to, so that a seed uploads first the pieces that no peer was given.
//!
//! A piece that is uploaded once is passed on by its receiver at no cost to us. A second upload costs a swarm with a
//! slow seed the time of a piece. All connections of a torrent share the counts, which know no peers.

use std::cell::RefCell;
use std::rc::Rc;

use crate::base::geometry::PieceIndex;

/// The upload counts of one torrent, as long as the highest piece that was uploaded. Clones share the same counts.
#[derive(Debug, Clone, Default)]
pub struct UploadCounts(Rc<RefCell<Vec<u32>>>);

impl UploadCounts {
    /// A further peer is sent its first block of this piece.
    pub fn on_begun(&self, piece: PieceIndex) {
        let mut counts = self.0.borrow_mut();
        if counts.len() <= piece.at() {
            counts.resize(piece.at() + 1, 0);
        }
        let count = &mut counts[piece.at()];
        *count = count.saturating_add(1);
    }

    /// The number of peers that were sent a block of this piece.
    pub fn count(&self, piece: PieceIndex) -> u32 {
        self.0.borrow().get(piece.at()).copied().unwrap_or(0)
    }
}

/// A set of pieces that takes one bit for each piece up to the highest one in the set. With two million pieces this is
/// 256 KiB per peer, where a tree takes 16 MiB.
#[derive(Debug, Default)]
pub struct PieceMarks(Vec<u8>);

impl PieceMarks {
    /// Inserts a piece. Returns whether it was not in the set before.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        let is_new = !self.contains(piece);
        let byte = piece.at() / 8;
        if self.0.len() <= byte {
            self.0.resize(byte + 1, 0);
        }
        self.0[byte] |= 1 << (piece.at() % 8);
        is_new
    }

    /// Whether the piece is in the set.
    pub fn contains(&self, piece: PieceIndex) -> bool {
        self.0.get(piece.at() / 8).is_some_and(|byte| byte & (1 << (piece.at() % 8)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::geometry::Geometry;
    use crate::base::limits::MAX_PIECES;

    #[test]
    fn the_largest_torrent_costs_a_bit_a_piece_for_each_peer() {
        let geometry = Geometry::new(MAX_PIECES.into(), 1).unwrap();
        let mut marks = PieceMarks::default();
        for piece in geometry.pieces() {
            assert!(!marks.contains(piece) && marks.insert(piece) && !marks.insert(piece));
        }
        assert!(marks.0.capacity() <= 2 * MAX_PIECES as usize / 8, "{}", marks.0.capacity());
    }
}
