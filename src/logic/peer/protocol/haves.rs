//! What the peer is told of what we have got, and lost: each piece once, nothing that it has itself, and no more at a time than it
//! reads.
//!
//! A peer that super-seeds (BEP 16) is told also of what it has: it names a piece or two, and the next ones when it hears
//! that somebody has got those.
//!
//! The pieces of one turn leave in one write. To a peer that falls behind the rest is owed: a bit for each piece, however
//! long it sleeps.

use std::time::Instant;

use super::{Message, PeerProtocol};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;

/// A `have` on the wire: length, type, number.
const HAVE_LEN: usize = 9;

/// An `lt_donthave` on the wire: length, type, its number, the piece's.
const DONT_HAVE_LEN: usize = 10;

/// 32 KiB of them wait for the socket at most, 3,640 pieces: more than any turn brings, little beside one block and the
/// next. Picked by eye.
const MOST_UNSENT: usize = 32 * 1024;

/// 8 pieces that we lack: a peer that has not said more than that may be one that names its pieces one by one. libtorrent names
/// two at a time. Where a peer names more there is something to fetch without a `have`, and it is spared.
const NAMED_AT_ONCE: u32 = 8;

/// The `have`s to one peer.
#[derive(Debug, Default)]
pub(super) struct Haves {
    /// The peer has named pieces in a bitfield: it does not super-seed.
    pub(super) named_many: bool,
    unsent: usize,
    owed: Option<Bitfield>,
}

impl Haves {
    /// So many bytes still wait for the socket: there cannot be more `have`s among them.
    pub(super) fn on_sent(&mut self, unsent: usize) {
        self.unsent = self.unsent.min(unsent);
    }

    const fn has_room(&self) -> bool {
        self.unsent + DONT_HAVE_LEN <= MOST_UNSENT
    }
}

impl PeerProtocol {
    /// Pieces we have got. A peer that has them need not know.
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

    /// What was written while there was no scheduler to say so.
    pub(super) fn tell_new(&mut self, now: Instant, before: &Bitfield) {
        let new: Vec<_> = self.have.pieces(&self.terms.geometry).filter(|piece| !before.has(*piece)).collect();
        for piece in new {
            self.tell_have(now, piece);
        }
    }

    /// As much of what is owed as there is room for.
    pub(super) fn tell_owed(&mut self, now: Instant) {
        // Half of it at a time: all that is owed is looked at each time.
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

    /// The peer may be a seed that "masquerades as a normal client with no data" (BEP 16): all that it has it has named by `have`, and
    /// there is little among it that we lack.
    fn names_one_by_one(&self) -> bool {
        !self.haves.named_many && self.peer_have.has_few_beyond(&self.have, NAMED_AT_ONCE)
    }

    /// A piece that we have lost: told, or owed, as the others (BEP 54).
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

    fn owe(&mut self, piece: PieceIndex) {
        let pieces = self.terms.geometry.piece_count();
        self.haves.owed.get_or_insert_with(|| Bitfield::none(pieces)).set(piece);
    }

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
