//! The peer's side of one connection: what it has, whether it chokes us, what it wants, as far as it has said so.
//!
//! A peer that changes its mind all the time is listened to, and the choker hears of it no more often than it can use.

use std::time::Instant;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex};
use crate::logic::peers::choke::ROUND;

/// 20 changes of interest in a round of the choker: a leech that has nearly everything changes with each piece that we get.
const CHANGES_A_ROUND: u32 = 20;

/// 8 pieces that we lack: a peer that has not said more than that may be one that names its pieces one by one. libtorrent names
/// two at a time. Where a peer names more there is something to fetch without a `have`, and it is spared.
const NAMED_AT_ONCE: u32 = 8;

/// What the peer has said.
#[derive(Debug)]
pub(super) struct Them {
    pub(super) interest: InterestOfPeer,
    pieces: Bitfield,
    /// The peer has said what it has: a second bitfield is a violation (P-07).
    told_pieces: bool,
    /// The peer has named pieces in a bitfield: it does not super-seed.
    named_many: bool,
    choking: bool,
}

impl Them {
    /// A peer that has nothing, chokes us and wants nothing, of a torrent of so many pieces.
    pub(super) fn new(now: Instant, pieces: u32) -> Self {
        Self {
            interest: InterestOfPeer::new(now),
            pieces: Bitfield::none(pieces),
            told_pieces: false,
            named_many: false,
            choking: true,
        }
    }

    /// What the peer has.
    pub(super) const fn pieces(&self) -> &Bitfield {
        &self.pieces
    }

    /// The peer has this piece.
    pub(super) fn has(&self, piece: PieceIndex) -> bool {
        self.pieces.has(piece)
    }

    /// The peer has said what it has.
    pub(super) const fn has_told_pieces(&self) -> bool {
        self.told_pieces
    }

    /// A `have`, of a piece of the torrent or not.
    pub(super) const fn on_any_have(&mut self) {
        self.told_pieces = true;
    }

    /// The peer has got this piece. False: it had said so before.
    pub(super) fn on_have(&mut self, piece: PieceIndex) -> bool {
        self.pieces.set(piece)
    }

    /// The peer has lost this piece. False: it did not have it.
    pub(super) fn on_lost(&mut self, piece: PieceIndex) -> bool {
        self.pieces.clear(piece)
    }

    /// The peer says all that it has. False: it had said what it has before.
    pub(super) fn on_all_pieces(&mut self, pieces: Bitfield) -> bool {
        let is_first = !std::mem::replace(&mut self.told_pieces, true);
        if is_first {
            self.named_many = !pieces.is_none();
            self.pieces = pieces;
        }
        is_first
    }

    /// The peer says again all that it has; what is new goes to `new`. False: it adds nothing, or takes something back.
    pub(super) fn on_more_pieces(&mut self, geometry: &Geometry, said: &Bitfield, new: &mut Vec<PieceIndex>) -> bool {
        let adds = !self.pieces.has_beyond(said) && said.has_beyond(&self.pieces);
        if adds {
            self.named_many = true;
            let pieces = &mut self.pieces;
            new.extend(said.pieces(geometry).filter(|piece| pieces.set(*piece)));
        }
        adds
    }

    /// The peer may be a seed that "masquerades as a normal client with no data" (BEP 16): all that it has it has named by
    /// `have`, and there is little among it that we lack.
    pub(super) fn names_one_by_one(&self, ours: &Bitfield) -> bool {
        !self.named_many && self.pieces.has_few_beyond(ours, NAMED_AT_ONCE)
    }

    /// The peer does not answer our requests.
    pub(super) const fn is_choking(&self) -> bool {
        self.choking
    }

    /// The peer chokes us, or no longer. False: that is no change.
    pub(super) fn set_choking(&mut self, choking: bool) -> bool {
        std::mem::replace(&mut self.choking, choking) != choking
    }
}

/// Whether the peer wants something of us: however often that changes, only the last state counts.
#[derive(Debug)]
pub(super) struct InterestOfPeer {
    interested: bool,
    /// As the choker knows it.
    reported: bool,
    changes: u32,
    /// When the round began in which the changes are counted.
    since: Instant,
}

impl InterestOfPeer {
    const fn new(now: Instant) -> Self {
        Self { interested: false, reported: false, changes: 0, since: now }
    }

    /// The peer says so.
    pub(super) const fn set(&mut self, interested: bool) {
        self.interested = interested;
    }

    /// The peer's interest as the choker knows it.
    pub(super) const fn reported(&self) -> bool {
        self.reported
    }

    /// What the choker is to hear, if that is news and it may hear of one more change now.
    pub(super) fn next_report(&mut self, now: Instant) -> Option<bool> {
        if now >= self.round_ends() {
            (self.since, self.changes) = (now, 0);
        }
        let is_due = self.reported != self.interested && self.changes < CHANGES_A_ROUND;
        is_due.then(|| {
            self.changes += 1;
            self.reported = self.interested;
            self.interested
        })
    }

    /// When the choker may hear of the next change.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.reported != self.interested).then(|| self.round_ends())
    }

    fn round_ends(&self) -> Instant {
        self.since + ROUND
    }
}
