//! How much unverified work one peer may have: it grows as the peer's pieces are verified.
//!
//! A piece is "under way" with a peer from the first request for one of its blocks until the piece is hashed, or until
//! the peer neither sent nor owes a block of it. A peer starts with room for two pieces and gains room for one more
//! with every second verified piece. So the room grows by half with each full room of pieces, as TCP does in slow
//! start with delayed acknowledgements, and keeps an honest peer's connection full, while a liar can spoil no more
//! than its room (P-14: "waste ≤ 2 pieces per liar"). Trust ends with the connection. Time plays no part.

use std::collections::BTreeSet;

use super::peer::SchedulerPeer;
use super::{Scheduler, WriteOutcome};
use crate::base::geometry::PieceIndex;
use crate::base::ids::PeerKey;
use crate::logic::pieces::block_senders::BlockSenders;

/// Two pieces: one arrives while the other is hashed.
const FIRST_PIECES: u32 = 2;

/// 128 KiB of small pieces: half of what a new connection is asked for before it is measured, so that at most one
/// round trip is lost. With pieces of 64 KiB and more this is not more than [`FIRST_PIECES`].
const FIRST_BYTES: u32 = 128 * 1024;

/// One more piece of room for every second verified piece. A peer that falsifies one block in ten still gets two of
/// three pieces right and must not earn much room before its first detected lie. With one piece of room for each
/// verified piece, one run in twenty of `P-14.some` wasted 736 KiB through three liars.
const VERIFIED_PER_ROOM: u32 = 2;

/// After 32 verified pieces a peer's work is not limited any more: by then its room is worth several MiB in flight.
/// Picked by eye.
const PROVEN_AFTER: u32 = 32;

/// The verified and the unverified work of one connection.
#[derive(Debug, Default)]
pub(super) struct PeerTrust {
    /// Verified pieces with blocks of this peer since its last failed one.
    verified: u32,
    /// Pieces under way with this peer. Empty once the peer is proven.
    under_way: BTreeSet<PieceIndex>,
}

impl PeerTrust {
    /// Whether the peer may be asked for blocks of this piece. A peer on probation works on one piece at a time.
    pub(super) fn admits(&self, piece: PieceIndex, nominal_len: u32, probation: bool) -> bool {
        self.has_room(nominal_len, probation) || self.under_way.contains(&piece)
    }

    /// Whether the peer may be asked for a piece in which it has no part yet.
    pub(super) fn has_room(&self, nominal_len: u32, probation: bool) -> bool {
        let first = if probation { 1 } else { FIRST_PIECES.max(FIRST_BYTES.div_ceil(nominal_len.max(1))) };
        self.is_proven() || self.under_way.len() < (first + self.verified / VERIFIED_PER_ROOM) as usize
    }

    /// The peer was asked for blocks of the piece, or sent some.
    pub(super) fn begin(&mut self, piece: PieceIndex) {
        if !self.is_proven() {
            self.under_way.insert(piece);
        }
    }

    /// The peer has no part in the piece any more, or the piece proves nothing about it. Returns whether that made
    /// room.
    pub(super) fn end(&mut self, piece: PieceIndex) -> bool {
        self.under_way.remove(&piece)
    }

    /// A piece with blocks of this peer passed its hash.
    pub(super) fn on_verified(&mut self) {
        self.verified = (self.verified + 1).min(PROVEN_AFTER);
        if self.is_proven() {
            self.under_way.clear();
        }
    }

    /// A piece with blocks of this peer failed its hash: the count of verified pieces starts again.
    pub(super) fn on_failed(&mut self) {
        self.verified = 0;
    }

    /// Makes the peer proven.
    #[cfg(test)]
    pub(super) fn prove(&mut self) {
        self.verified = PROVEN_AFTER;
    }

    /// The pieces under way with this peer.
    #[cfg(test)]
    pub(super) fn pieces(&self) -> &BTreeSet<PieceIndex> {
        &self.under_way
    }

    /// Whether a piece of this peer was verified and none has failed since.
    pub(super) const fn is_begun(&self) -> bool {
        self.verified > 0
    }

    /// Whether the peer's work is not limited any more.
    pub(super) const fn is_proven(&self) -> bool {
        self.verified >= PROVEN_AFTER
    }
}

impl Scheduler {
    /// Whether this peer may be asked for blocks of this piece.
    pub(super) fn admits(&self, key: PeerKey, piece: PieceIndex) -> bool {
        self.peers.get(key).is_some_and(|peer| self.trusts(peer, piece))
    }

    /// Like [`Self::admits`], for a peer that is already looked up.
    pub(super) fn trusts(&self, peer: &SchedulerPeer, piece: PieceIndex) -> bool {
        let probation = self.suspects.is_on_probation(peer.addr);
        peer.trust.admits(piece, self.geometry.nominal_piece_len(), probation)
    }

    /// Counts again which pieces are under way with a peer: for a peer that reconnected, or that is not proven any
    /// more.
    pub(super) fn recall(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        for piece in self.pieces.under_way_with(key, peer.addr) {
            peer.trust.begin(piece);
        }
    }

    /// The peer gave blocks of the piece back, or other peers delivered them first: the piece may not be under way
    /// with it any more.
    pub(super) fn let_go(&mut self, key: PeerKey, piece: PieceIndex) {
        let (Some(peer), Some(assembly)) = (self.peers.get_mut(key), self.pieces.get(piece)) else { return };
        if !peer.trust.is_proven() && !assembly.involves(key, peer.addr) {
            self.stirred |= peer.trust.end(piece);
        }
    }

    /// Credits or debits the senders of a piece for which the disk has answered.
    pub(super) fn conclude(&mut self, piece: PieceIndex, from: &BlockSenders, written: WriteOutcome) {
        let mut fallen = Vec::new();
        for (key, peer) in self.peers.iter_mut() {
            peer.trust.end(piece);
            match written {
                WriteOutcome::Durable if !peer.trust.is_proven() && from.include(peer.addr) => peer.trust.on_verified(),
                WriteOutcome::HashMismatch if from.include(peer.addr) => {
                    peer.trust.on_failed();
                    fallen.push(key);
                }
                _ => {}
            }
        }
        for key in fallen {
            self.recall(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::geometry::Geometry;

    fn pieces() -> impl Iterator<Item = PieceIndex> {
        Geometry::new(1000, 10).unwrap().pieces()
    }

    /// How many pieces a peer is given before any is verified.
    fn room(trust: &mut PeerTrust, nominal_len: u32, probation: bool) -> usize {
        let taken: Vec<_> = pieces()
            .filter(|piece| {
                let admitted = trust.admits(*piece, nominal_len, probation);
                if admitted {
                    trust.begin(*piece);
                }
                admitted
            })
            .collect();
        for piece in &taken {
            trust.end(*piece);
        }
        taken.len()
    }

    #[test]
    fn a_new_peer_gets_two_pieces_or_128_kib_of_small_ones() {
        let kib = 1024;
        for (len, expected) in
            [(16 * kib, 8), (32 * kib, 4), (40_000, 4), (64 * kib, 2), (256 * kib, 2), (16384 * kib, 2)]
        {
            assert_eq!(room(&mut PeerTrust::default(), len, false), expected, "pieces of {len}");
            assert_eq!(room(&mut PeerTrust::default(), len, true), 1, "pieces of {len}, under suspicion");
        }
    }

    #[test]
    fn every_second_verified_piece_makes_room_for_one_more_until_all_is_allowed() {
        let mut trust = PeerTrust::default();
        for verified in 0..PROVEN_AFTER as usize {
            assert_eq!(room(&mut trust, 1 << 18, false), 2 + verified / 2);
            trust.on_verified();
        }
        assert_eq!(room(&mut trust, 1 << 18, false), 100);
        trust.on_failed();
        assert_eq!(room(&mut trust, 1 << 18, true), 1, "one that failed takes it all back");
    }

    #[test]
    fn a_piece_under_way_may_go_on_without_room() {
        let mut trust = PeerTrust::default();
        let all: Vec<_> = pieces().take(3).collect();
        trust.begin(all[0]);
        trust.begin(all[1]);
        assert!(trust.admits(all[0], 1 << 18, false) && !trust.admits(all[2], 1 << 18, false));
        assert!(trust.end(all[0]) && !trust.end(all[0]) && trust.admits(all[2], 1 << 18, false));
    }
}
