//! Super-seeding on one connection (BEP 16): we look like a peer without data, and announce one piece after the other.
//!
//! Which piece comes next is decided for the whole torrent ([`crate::logic::peers::super_seed`]).

use std::time::Instant;

use super::{Message, PeerEffect, PeerProtocol};
use crate::base::geometry::PieceIndex;

impl PeerProtocol {
    /// The peer is named this piece, and may ask for it from now on.
    pub fn on_named(&mut self, now: Instant, piece: PieceIndex) {
        if self.us.pieces.name(piece) {
            self.send(now, Message::Have(piece.get()));
        }
        self.settle();
    }

    /// Reports the pieces that the peer has completed to the machine that chooses the next announcements.
    pub(super) fn tell_progress(&mut self, pieces: &[PieceIndex]) {
        if self.terms.super_seed && self.us.is_welcomed() && !pieces.is_empty() {
            self.outbox.push(PeerEffect::PeerHas(pieces.to_vec()));
        }
    }

    /// Reports all pieces that the peer has: it has just named them, or no scheduler had welcomed it before.
    pub(super) fn tell_all_progress(&mut self) {
        if self.terms.super_seed {
            let pieces: Vec<_> = self.them.pieces().pieces(&self.terms.geometry).collect();
            self.tell_progress(&pieces);
        }
    }
}
