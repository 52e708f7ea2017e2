//! Tells the peer which pieces we have completed or lost: each one once, none that the peer has itself, and no more at
//! a time than it reads.
//!
//! A peer that super-seeds (BEP 16) is told also of pieces that it has: it announces a piece or two, and the next one
//! when it hears that some peer has completed those.
//!
//! The pieces of one turn leave in one write. If a peer falls behind, the rest is owed: one bit for each piece, for
//! however long.

use std::time::Instant;

use super::{Message, PeerProtocol};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;

/// The length of a `have` on the wire: length, type, piece.
const HAVE_LEN: usize = 9;

/// The length of an `lt_donthave` on the wire: length, type, extension number, piece.
const DONT_HAVE_LEN: usize = 10;

/// At most 32 KiB of them wait for the socket, 3,640 pieces: more than any turn brings, and little beside two blocks.
/// Picked by eye.
const MOST_UNSENT: usize = 32 * 1024;

/// A peer that has at most 8 pieces that we lack may be one that announces its pieces one by one. libtorrent announces
/// two at a time. A peer that announces more has pieces to request without such a `have`, and is not sent it.
const NAMED_AT_ONCE: u32 = 8;

/// The `have` messages to one peer.
#[derive(Debug, Default)]
pub(super) struct Haves {
    /// Whether the peer has named pieces in a bitfield: then it does not super-seed.
    pub(super) named_many: bool,
    /// The most bytes of `have`s that may wait for the socket.
    unsent: usize,
    /// Pieces about which the peer is still to be told.
    owed: Option<Bitfield>,
}

impl Haves {
    /// `unsent` bytes wait for the socket: the `have`s among them cannot be more.
    pub(super) fn on_sent(&mut self, unsent: usize) {
        self.unsent = self.unsent.min(unsent);
    }

    /// Whether one more message may be sent now.
    const fn has_room(&self) -> bool {
        self.unsent + DONT_HAVE_LEN <= MOST_UNSENT
    }
}

impl PeerProtocol {
    /// We have completed these pieces. The peer is told of those that it lacks.
    pub fn on_pieces_had(&mut self, now: Instant, pieces: &[PieceIndex]) {
        if let Some(hidden) = &mut self.hidden {
            for piece in pieces {
                hidden.set(*piece);
            }
            return self.settle();
        }
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

    /// Tells the peer of pieces that were written while no scheduler ran.
    pub(super) fn tell_new(&mut self, now: Instant, before: &Bitfield) {
        let new: Vec<_> = self.have.pieces(&self.terms.geometry).filter(|piece| !before.has(*piece)).collect();
        for piece in new {
            self.tell_have(now, piece);
        }
    }

    /// Sends as much of what is owed as there is room for.
    pub(super) fn tell_owed(&mut self, now: Instant) {
        // Only when half of the room is free, since each call walks over all that is owed.
        if self.haves.unsent > MOST_UNSENT / 2 {
            return;
        }
        let Some(owed) = self.haves.owed.take() else { return };
        for piece in owed.pieces(&self.terms.geometry) {
            if !self.have.has(piece) {
                self.tell_dont_have(now, piece);
            } else if !self.peer_have.has(piece) {
                self.tell_have(now, piece);
            }
        }
    }

    /// Whether the peer may be a seed that "masquerades as a normal client with no data" (BEP 16): it named all its
    /// pieces by `have`, and few of them are ones that we lack.
    fn names_one_by_one(&self) -> bool {
        !self.haves.named_many && self.peer_have.has_few_beyond(&self.have, NAMED_AT_ONCE)
    }

    /// Tells the peer of a piece that we have lost, or owes it (BEP 54).
    pub(super) fn tell_dont_have(&mut self, now: Instant, piece: PieceIndex) {
        if !self.understands_dont_have() {
            return;
        }
        if self.haves.has_room() {
            self.haves.unsent += DONT_HAVE_LEN;
            self.send_dont_have(now, piece);
        } else {
            self.owe(piece);
        }
    }

    /// Notes that the peer must be told of this piece later.
    fn owe(&mut self, piece: PieceIndex) {
        let pieces = self.terms.geometry.piece_count();
        self.haves.owed.get_or_insert_with(|| Bitfield::none(pieces)).set(piece);
    }

    /// Tells the peer that we have this piece, or owes it.
    fn tell_have(&mut self, now: Instant, piece: PieceIndex) {
        if self.peer_have.has(piece) && !self.names_one_by_one() {
            return;
        }
        if self.haves.has_room() {
            self.haves.unsent += HAVE_LEN;
            self.send(now, Message::Have(piece.get()));
        } else {
            self.owe(piece);
        }
    }
}
