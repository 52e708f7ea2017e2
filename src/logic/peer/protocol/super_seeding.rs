//! Super-seeding on one connection (BEP 16): we look like a peer without data, and announce one piece after the other.
//!
//! Which piece comes next is decided for the whole torrent ([`crate::logic::peers::super_seed`]).

use std::time::Instant;

use super::{Message, PeerEffect, PeerProtocol};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;

impl PeerProtocol {
    /// Hides the pieces that we have: a piece is neither announced nor served until [`Self::on_named`]. Returns the
    /// pieces that are not hidden.
    pub(super) fn hide(&mut self, have: Bitfield) -> Bitfield {
        let pieces = have.piece_count();
        let named = match &self.hidden {
            None => Bitfield::none(pieces),
            Some(_) => self.have.clone(),
        };
        self.hidden = Some(Box::new(have));
        named
    }

    /// Announces this piece to the peer, which may request it from now on.
    pub fn on_named(&mut self, now: Instant, piece: PieceIndex) {
        let has = self.hidden.as_ref().is_some_and(|hidden| hidden.has(piece));
        if has && self.have.set(piece) {
            self.send(now, Message::Have(piece.get()));
        }
        self.settle();
    }

    /// Reports the pieces that the peer has completed to the machine that chooses the next announcements.
    pub(super) fn tell_progress(&mut self, pieces: &[PieceIndex]) {
        if self.terms.super_seed && self.welcomed && !pieces.is_empty() {
            self.effects.push_back(PeerEffect::PeerHas(pieces.to_vec()));
        }
    }

    /// Reports all pieces that the peer has: it has just named them, or no scheduler had welcomed it before.
    pub(super) fn tell_all_progress(&mut self) {
        if self.terms.super_seed {
            let pieces: Vec<_> = self.peer_have.pieces(&self.terms.geometry).collect();
            self.tell_progress(&pieces);
        }
    }

    /// Whether we have every piece, including hidden ones.
    pub(super) fn is_seed(&self) -> bool {
        self.hidden.as_ref().map_or(self.have.is_all(), |hidden| hidden.is_all())
    }
}
