//! Super-seeding on one connection (BEP 16): to the peer we look like one with no data, and it is named one piece after the other.
//!
//! Which piece comes next is decided for the whole torrent ([`crate::logic::peers::super_seed`]).

use std::time::Instant;

use super::{Message, PeerEffect, PeerProtocol};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;

impl PeerProtocol {
    /// We have these; the peer is told of none, and is served none, until it is named.
    pub(super) fn hide(&mut self, have: Bitfield) -> Bitfield {
        let pieces = have.piece_count();
        let named = match &self.hidden {
            None => Bitfield::none(pieces),
            Some(_) => self.have.clone(),
        };
        self.hidden = Some(Box::new(have));
        named
    }

    /// The peer is named this piece, and may ask for it from now on.
    pub fn on_named(&mut self, now: Instant, piece: PieceIndex) {
        let has = self.hidden.as_ref().is_some_and(|hidden| hidden.has(piece));
        if has && self.have.set(piece) {
            self.send(now, Message::Have(piece.get()));
        }
        self.settle();
    }

    /// What the peer has got, for whoever decides what it is named next.
    pub(super) fn tell_progress(&mut self, pieces: &[PieceIndex]) {
        if self.terms.super_seed && self.welcomed && !pieces.is_empty() {
            self.effects.push_back(PeerEffect::PeerHas(pieces.to_vec()));
        }
    }

    /// All that the peer has: it has just said so, or there was nobody to tell before.
    pub(super) fn tell_all_progress(&mut self) {
        if self.terms.super_seed {
            let pieces: Vec<_> = self.peer_have.pieces(&self.terms.geometry).collect();
            self.tell_progress(&pieces);
        }
    }

    /// We have every piece, whatever the peer believes.
    pub(super) fn is_seed(&self) -> bool {
        self.hidden.as_ref().map_or(self.have.is_all(), |hidden| hidden.is_all())
    }
}
