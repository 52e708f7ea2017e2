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

/// The `have`s and `lt_donthave`s to one peer.
#[derive(Debug, Default)]
pub(super) struct Haves {
    unsent: usize,
    /// Pieces of which the peer is to be told when there is room.
    owed: Option<Bitfield>,
}

impl Haves {
    /// `unsent` bytes wait for the socket: the `have`s among them cannot be more.
    pub(super) fn on_sent(&mut self, unsent: usize) {
        self.unsent = self.unsent.min(unsent);
    }

    /// A message of so many bytes about this piece. True: it is to be sent now; else it is owed. `pieces`: how many the
    /// torrent has.
    fn takes(&mut self, len: usize, piece: PieceIndex, pieces: u32) -> bool {
        let has_room = self.unsent + DONT_HAVE_LEN <= MOST_UNSENT;
        if has_room {
            self.unsent += len;
        } else {
            self.owed.get_or_insert_with(|| Bitfield::none(pieces)).set(piece);
        }
        has_room
    }

    /// What is owed, if there is room for much of it: all that is owed is looked at each time.
    fn take_owed(&mut self) -> Option<Bitfield> {
        if self.unsent > MOST_UNSENT / 2 { None } else { self.owed.take() }
    }
}

impl PeerProtocol {
    /// We have completed these pieces. The peer is told of those that it lacks.
    pub fn on_pieces_had(&mut self, now: Instant, pieces: &[PieceIndex]) {
        let was_complete = self.us.pieces.shown().is_all();
        for piece in pieces {
            if self.us.pieces.add(*piece) {
                self.tell_have(now, *piece);
            }
        }
        if self.us.pieces.shown().is_all() && !was_complete {
            self.tell_upload_only(now);
        }
        self.settle();
    }

    /// Tells the peer of pieces that were written while no scheduler ran.
    pub(super) fn tell_new(&mut self, now: Instant, before: &Bitfield) {
        let new: Vec<_> =
            self.us.pieces.shown().pieces(&self.terms.geometry).filter(|piece| !before.has(*piece)).collect();
        for piece in new {
            self.tell_have(now, piece);
        }
    }

    /// Sends as much of what is owed as there is room for.
    pub(super) fn tell_owed(&mut self, now: Instant) {
        let Some(owed) = self.us.haves.take_owed() else { return };
        for piece in owed.pieces(&self.terms.geometry) {
            if !self.us.pieces.has(piece) {
                self.tell_dont_have(now, piece);
            } else if !self.them.has(piece) {
                self.tell_have(now, piece);
            }
        }
    }

    /// A piece that we have lost: told, or owed, as the others (BEP 54).
    pub(super) fn tell_dont_have(&mut self, now: Instant, piece: PieceIndex) {
        let pieces = self.terms.geometry.piece_count();
        if self.understands_dont_have() && self.us.haves.takes(DONT_HAVE_LEN, piece, pieces) {
            self.send_dont_have(now, piece);
        }
    }

    /// Tells the peer that we have this piece, or owes it.
    fn tell_have(&mut self, now: Instant, piece: PieceIndex) {
        let Self { us, them, .. } = self;
        if them.has(piece) && !them.names_one_by_one(us.pieces.shown()) {
            return;
        }
        if us.haves.takes(HAVE_LEN, piece, self.terms.geometry.piece_count()) {
            self.send(now, Message::Have(piece.get()));
        }
    }
}
