//! Which pieces have been given to how many: a seed gives what nobody has been given before what somebody has.
//!
//! A piece that is given once is passed on by whoever got it, at no cost to us; given twice it has cost a swarm whose seed
//! is slow the time of a piece. Shared by all connections of a torrent. Knows no peers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::base::geometry::PieceIndex;

/// The counts of one torrent. Clones are the same counts.
#[derive(Debug, Clone, Default)]
pub struct Given(Rc<RefCell<BTreeMap<PieceIndex, u32>>>);

impl Given {
    /// One more is being given this piece.
    pub fn on_begun(&self, piece: PieceIndex) {
        *self.0.borrow_mut().entry(piece).or_default() += 1;
    }

    /// How many have been given something of it.
    pub fn count(&self, piece: PieceIndex) -> u32 {
        self.0.borrow().get(&piece).copied().unwrap_or(0)
    }
}
