//! What the peer is told of what we have got: each piece once, nothing that it has itself, and no more at a time than it
//! reads.
//!
//! The pieces of one turn leave in one write. To a peer that falls behind the rest is owed: a bit for each piece, however
//! long it sleeps.

use std::time::Instant;

use super::{Conversation, Message};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;

/// A `have` on the wire: length, type, number.
const HAVE_LEN: usize = 9;

/// 32 KiB of them wait for the socket at most, 3,640 pieces: more than any turn brings, little beside one block and the
/// next. Picked by eye.
const MOST_UNSENT: usize = 32 * 1024;

/// The `have`s to one peer.
#[derive(Debug, Default)]
pub(super) struct Haves {
    unsent: usize,
    owed: Option<Bitfield>,
}

impl Haves {
    /// So many bytes still wait for the socket: there cannot be more `have`s among them.
    pub(super) fn on_sent(&mut self, unsent: usize) {
        self.unsent = self.unsent.min(unsent);
    }

    const fn has_room(&self) -> bool {
        self.unsent + HAVE_LEN <= MOST_UNSENT
    }
}

impl Conversation {
    /// Pieces we have got. A peer that has them need not know.
    pub fn on_pieces_had(&mut self, now: Instant, pieces: &[PieceIndex]) {
        let was_complete = self.have.is_all();
        for piece in pieces {
            self.have.set(*piece);
            self.tell_have(now, *piece);
        }
        if self.have.is_all() && !was_complete {
            self.tell_upload_only(now);
        }
        self.settle();
    }

    /// What was written while there was no scheduler to say so.
    pub(super) fn tell_new(&mut self, now: Instant, before: &Bitfield) {
        let new: Vec<_> = self.have.pieces(&self.terms.geometry).filter(|piece| !before.has(*piece)).collect();
        for piece in new {
            self.tell_have(now, piece);
        }
    }

    /// As much of what is owed as there is room for.
    pub(super) fn tell_owed(&mut self, now: Instant) {
        if !self.haves.has_room() {
            return;
        }
        let Some(owed) = self.haves.owed.take() else { return };
        for piece in owed.pieces(&self.terms.geometry) {
            if self.have.has(piece) {
                self.tell_have(now, piece);
            }
        }
    }

    fn tell_have(&mut self, now: Instant, piece: PieceIndex) {
        if self.peer_have.has(piece) {
            return;
        }
        if self.haves.has_room() {
            self.haves.unsent += HAVE_LEN;
            self.send(now, Message::Have(piece.get()));
        } else {
            let pieces = self.terms.geometry.piece_count();
            self.haves.owed.get_or_insert_with(|| Bitfield::none(pieces)).set(piece);
        }
    }
}
