//! How much unproven work one peer may have: the more of it was verified, the more.
//!
//! A piece is "under way" with a peer from its first request there until it is hashed, or until the peer neither sent nor
//! owes a block of it. Two pieces at the start, one more with every second that hashed right: whoever delivers has half as
//! much room again with every room's worth of pieces, as TCP grows in slow start with delayed acknowledgements, and so
//! keeps its pipe full; whoever lies can spoil what it had room for and no more (P-14: "waste ≤ 2 pieces per liar"). Trust ends with the connection. Does not know time.

use std::collections::BTreeSet;

use super::peer::SchedulerPeer;
use super::{Scheduler, WriteOutcome};
use crate::base::geometry::PieceIndex;
use crate::base::ids::PeerKey;
use crate::logic::pieces::block_senders::BlockSenders;

/// Two pieces: one comes while the other is hashed.
const FIRST_PIECES: u32 = 2;

/// 128 KiB of small pieces: half of what is asked of a new connection before anything was measured, so that at most one
/// round trip is lost; with pieces of 64 KiB and more it is not more than [`FIRST_PIECES`].
const FIRST_BYTES: u32 = 128 * 1024;

/// Who falsifies one block in ten still gets two pieces of three right: it must not earn much on the way to its first lie.
/// With one piece more for each, one run in twenty of `P-14.some` wasted 736 KiB through three liars.
const VERIFIED_PER_ROOM: u32 = 2;

/// 32 verified pieces and nothing is counted any more: by then the room is worth a pipe of several MiB. Picked by eye.
const PROVEN_AFTER: u32 = 32;

/// What one connection has proven, and what it has not yet.
#[derive(Debug, Default)]
pub(super) struct PeerTrust {
    /// Pieces with blocks of it that hashed right, since the last that did not.
    verified: u32,
    under_way: BTreeSet<PieceIndex>,
}

impl PeerTrust {
    /// May it be asked for blocks of this piece? One under suspicion works on one at a time.
    pub(super) fn admits(&self, piece: PieceIndex, nominal_len: u32, probation: bool) -> bool {
        self.has_room(nominal_len, probation) || self.under_way.contains(&piece)
    }

    /// May it be asked for a piece that it has no part in?
    pub(super) fn has_room(&self, nominal_len: u32, probation: bool) -> bool {
        let first = if probation { 1 } else { FIRST_PIECES.max(FIRST_BYTES.div_ceil(nominal_len.max(1))) };
        self.is_proven() || self.under_way.len() < (first + self.verified / VERIFIED_PER_ROOM) as usize
    }

    /// It was asked for blocks of the piece, or sent some.
    pub(super) fn begin(&mut self, piece: PieceIndex) {
        if !self.is_proven() {
            self.under_way.insert(piece);
        }
    }

    /// It has no part in the piece any more, or the piece's fate does not speak for or against it. True if that made room.
    pub(super) fn end(&mut self, piece: PieceIndex) -> bool {
        self.under_way.remove(&piece)
    }

    /// A piece with blocks of it hashed right.
    pub(super) fn on_verified(&mut self) {
        self.verified = (self.verified + 1).min(PROVEN_AFTER);
        if self.is_proven() {
            self.under_way.clear();
        }
    }

    /// A piece with blocks of it hashed wrong: it begins anew.
    pub(super) fn on_failed(&mut self) {
        self.verified = 0;
    }

    /// All was verified that had to be.
    #[cfg(test)]
    pub(super) fn prove(&mut self) {
        self.verified = PROVEN_AFTER;
    }

    #[cfg(test)]
    pub(super) fn pieces(&self) -> &BTreeSet<PieceIndex> {
        &self.under_way
    }

    /// Something of it was verified, and nothing since was wrong.
    pub(super) const fn is_begun(&self) -> bool {
        self.verified > 0
    }

    pub(super) const fn is_proven(&self) -> bool {
        self.verified >= PROVEN_AFTER
    }
}

impl Scheduler {
    /// May this peer be asked for blocks of this piece?
    pub(super) fn admits(&self, key: PeerKey, piece: PieceIndex) -> bool {
        self.peers.get(&key).is_some_and(|peer| self.trusts(peer, piece))
    }

    pub(super) fn trusts(&self, peer: &SchedulerPeer, piece: PieceIndex) -> bool {
        let probation = self.suspects.is_on_probation(peer.addr);
        peer.trust.admits(piece, self.geometry.nominal_piece_len(), probation)
    }

    /// Counts what is under way with a peer: one that came back to pieces it had begun, or that lost its standing.
    pub(super) fn recall(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let open = self.open.iter().filter(|(_, assembly)| assembly.involves(key, peer.addr));
        let writing = self.writing.iter().filter(|(_, writing)| writing.from.include(peer.addr));
        for piece in open.map(|(piece, _)| *piece).chain(writing.map(|(piece, _)| *piece)) {
            peer.trust.begin(piece);
        }
    }

    /// The peer gave blocks back, or others were faster: it may have no part in the piece any more.
    pub(super) fn let_go(&mut self, key: PeerKey, piece: PieceIndex) {
        let (Some(peer), Some(assembly)) = (self.peers.get_mut(&key), self.open.get(&piece)) else { return };
        if !peer.trust.is_proven() && !assembly.involves(key, peer.addr) {
            self.stirred |= peer.trust.end(piece);
        }
    }

    /// The disk has answered for a piece with blocks from these: it speaks for them or against them.
    pub(super) fn conclude(&mut self, piece: PieceIndex, from: &BlockSenders, written: WriteOutcome) {
        let mut fallen = Vec::new();
        for (key, peer) in &mut self.peers {
            peer.trust.end(piece);
            match written {
                WriteOutcome::Durable if !peer.trust.is_proven() && from.include(peer.addr) => peer.trust.on_verified(),
                WriteOutcome::HashMismatch if from.include(peer.addr) => {
                    peer.trust.on_failed();
                    fallen.push(*key);
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

    /// How many pieces a peer gets that nothing comes back from.
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
    fn a_stranger_gets_two_pieces_or_128_kib_of_small_ones() {
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
    fn what_is_under_way_may_go_on_without_room() {
        let mut trust = PeerTrust::default();
        let all: Vec<_> = pieces().take(3).collect();
        trust.begin(all[0]);
        trust.begin(all[1]);
        assert!(trust.admits(all[0], 1 << 18, false) && !trust.admits(all[2], 1 << 18, false));
        assert!(trust.end(all[0]) && !trust.end(all[0]) && trust.admits(all[2], 1 << 18, false));
    }
}
