//! Which pieces have been given to how many: a seed gives what nobody has been given before what somebody has.
//!
//! A piece that is given once is passed on by whoever got it, at no cost to us; given twice it has cost a swarm whose seed
//! is slow the time of a piece. Shared by all connections of a torrent. Knows no peers.

use std::cell::RefCell;
use std::rc::Rc;

use crate::base::geometry::PieceIndex;

/// The counts of one torrent, as long as the last piece that was given. Clones are the same counts.
#[derive(Debug, Clone, Default)]
pub struct UploadCounts(Rc<RefCell<Vec<u32>>>);

impl UploadCounts {
    /// One more is being given this piece.
    pub fn on_begun(&self, piece: PieceIndex) {
        let mut counts = self.0.borrow_mut();
        if counts.len() <= piece.at() {
            counts.resize(piece.at() + 1, 0);
        }
        let count = &mut counts[piece.at()];
        *count = count.saturating_add(1);
    }

    /// How many have been given something of it.
    pub fn count(&self, piece: PieceIndex) -> u32 {
        self.0.borrow().get(piece.at()).copied().unwrap_or(0)
    }
}

/// A set of pieces that takes a bit for each up to the last one: with two million pieces a tree of them takes 16 MiB for each
/// peer, and this 256 KiB.
#[derive(Debug, Default)]
pub struct PieceMarks(Vec<u8>);

impl PieceMarks {
    /// Puts a piece in; says whether it was not in the set.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        let is_new = !self.contains(piece);
        let byte = piece.at() / 8;
        if self.0.len() <= byte {
            self.0.resize(byte + 1, 0);
        }
        self.0[byte] |= 1 << (piece.at() % 8);
        is_new
    }

    /// Is it in the set?
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
