//! One open piece: which blocks were requested from which peers, and which blocks have arrived.
//!
//! This module does not know why a peer is asked, how long a block may take, or whether the bytes are right. Only
//! whole blocks count: a half-delivered block of a reset peer never gets here (P-26).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::base::geometry::{BLOCK_LEN, BlockAddr, Geometry, PieceIndex};
use crate::base::ids::PeerKey;
use crate::logic::pieces::block_senders::BlockSenders;

/// At most three peers are asked for the same block at a time (P-31).
pub const MOST_ASKERS: usize = 3;

/// 5 s: a block that a peer gave back is offered to the other peers first.
const REST_AMONG_OTHERS: Duration = Duration::from_secs(5);

/// 1 s: if no other peer has the block, a peer that rejects everything is asked once a second and not at the speed of
/// the link.
const REST_ALONE: Duration = Duration::from_secs(1);

/// The state of one block.
#[derive(Debug, Clone)]
enum Slot {
    /// Requested from no peer and not received.
    Free,
    /// Requested from these peers.
    Asked([Option<Asker>; MOST_ASKERS]),
    /// Received from this address.
    Got(Bytes, SocketAddr),
}

/// The blocks of an open piece. A piece of one block keeps its slot in place and needs no list.
#[derive(Debug)]
enum Slots {
    One([Slot; 1]),
    More(Vec<Slot>),
}

impl Slots {
    fn free(count: u32) -> Self {
        if count == 1 { Self::One([Slot::Free]) } else { Self::More(vec![Slot::Free; count as usize]) }
    }

    fn into_data(self) -> Arc<[Bytes]> {
        let data = |slot| if let Slot::Got(data, _) = slot { data } else { Bytes::new() };
        match self {
            Self::One(slot) => Arc::new(slot.map(data)),
            Self::More(slots) => slots.into_iter().map(data).collect(),
        }
    }
}

impl Deref for Slots {
    type Target = [Slot];

    fn deref(&self) -> &[Slot] {
        match self {
            Self::One(slot) => slot,
            Self::More(slots) => slots,
        }
    }
}

impl DerefMut for Slots {
    fn deref_mut(&mut self) -> &mut [Slot] {
        match self {
            Self::One(slot) => slot,
            Self::More(slots) => slots,
        }
    }
}

/// A peer that is asked for a block, and the number of that request among all requests ever made. A peer answers in
/// that order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The peer.
    pub peer: PeerKey,
    /// The number of the request.
    pub nth: u64,
}

/// What became of a received block.
#[derive(Debug, PartialEq, Eq)]
pub enum Put {
    /// The block was missing and this peer had been asked for it: it is kept.
    Kept {
        /// The peers that are asked for the block and have not given it back; the deliverer may be among them. An
        /// array in place, since this is made for every block.
        askers: [Option<PeerKey>; MOST_ASKERS],
        /// Peers that were asked and gave the block back: it may still arrive from them.
        formerly: Vec<PeerKey>,
    },
    /// The block has arrived before, or this peer was not asked for it.
    Refused,
}

/// The blocks of one open piece and the peers that are asked for them.
#[derive(Debug)]
pub struct Assembly {
    piece: PieceIndex,
    piece_len: u32,
    slots: Slots,
    /// The number of blocks in the state `Free`.
    free: u32,
    /// The number of blocks in the state `Got`.
    got: u32,
    /// No block below this number is free.
    low: u32,
    /// When each peer gave each block back.
    returned: BTreeMap<(u32, PeerKey), Instant>,
    /// The peer that fills the piece. Other peers may help unless the piece is `exclusive`.
    pub owner: Option<PeerKey>,
    /// The whole piece must come from its owner, so that a bad hash convicts it.
    pub exclusive: bool,
    /// When the piece was opened.
    pub opened: Instant,
    /// When a block was last requested, received or given back.
    pub touched: Instant,
    /// When a block was last received.
    pub came: Instant,
}

impl Assembly {
    /// An open piece of `owner` with every block free.
    pub fn new(geometry: &Geometry, piece: PieceIndex, owner: PeerKey, exclusive: bool, now: Instant) -> Self {
        let count = geometry.block_count(piece);
        Self {
            piece,
            piece_len: geometry.piece_len(piece),
            slots: Slots::free(count),
            free: count,
            got: 0,
            low: 0,
            returned: BTreeMap::new(),
            owner: Some(owner),
            exclusive,
            opened: now,
            touched: now,
            came: now,
        }
    }

    /// The number of blocks that are neither received nor requested from any peer.
    pub const fn free(&self) -> u32 {
        self.free
    }

    /// The number of received blocks.
    pub const fn got(&self) -> u32 {
        self.got
    }

    /// The number of blocks that are requested from at least one peer.
    pub fn asked(&self) -> u32 {
        self.count() - self.free - self.got
    }

    /// Whether every block has been received.
    pub fn is_whole(&self) -> bool {
        self.got == self.count()
    }

    /// Bytes of the received blocks.
    pub fn got_bytes(&self) -> u64 {
        self.slots.iter().map(|slot| if let Slot::Got(data, _) = slot { data.len() as u64 } else { 0 }).sum()
    }

    /// Requests up to `most` free blocks from the peer, in order, and appends them to `blocks`. The first request gets
    /// the number `nth`. A block that the peer gave back lately is left to other peers, for a shorter time if the peer
    /// is `alone` in having the piece. Returns when the first of those blocks may be requested from this peer again.
    pub fn ask(
        &mut self,
        geometry: &Geometry,
        peer: PeerKey,
        most: usize,
        alone: bool,
        now: Instant,
        (nth, blocks): (u64, &mut Vec<BlockAddr>),
    ) -> Option<Instant> {
        let mut rests_until: Option<Instant> = None;
        let mut first_left = None;
        let mut asked = 0;
        let mut number = self.low;
        blocks.reserve(most.min(self.free as usize));
        while number < self.count() && asked < most && self.free > 0 {
            if matches!(self.slots[number as usize], Slot::Free) {
                if let Some(until) = self.rest(number, peer, alone).filter(|until| *until > now) {
                    rests_until = Some(rests_until.map_or(until, |sooner| sooner.min(until)));
                    first_left.get_or_insert(number);
                } else if let Some(block) = geometry.block(self.piece, number) {
                    self.slots[number as usize] =
                        Slot::Asked([Some(Asker { peer, nth: nth + asked as u64 }), None, None]);
                    self.free -= 1;
                    self.touched = now;
                    asked += 1;
                    blocks.push(block);
                }
            }
            number += 1;
        }
        self.low = first_left.unwrap_or(number);
        rests_until
    }

    /// The requested blocks, the last first, each with the peers that are asked for it.
    pub fn asked_of(&self) -> impl Iterator<Item = (u32, impl Iterator<Item = &Asker> + Clone)> {
        (0..self.count()).rev().filter_map(|number| match &self.slots[number as usize] {
            Slot::Asked(askers) => Some((number, askers.iter().flatten())),
            _ => None,
        })
    }

    /// Whether the peer gave this block back a moment ago.
    pub fn rests(&self, number: u32, peer: PeerKey, now: Instant) -> bool {
        self.rest(number, peer, false).is_some_and(|until| until > now)
    }

    /// Requests a block from one more peer. Returns false if no peer is asked for the block yet, if [`MOST_ASKERS`]
    /// are, or if the peer is among them or gave the block back a moment ago.
    pub fn ask_too(&mut self, number: u32, peer: PeerKey, now: Instant, nth: u64) -> bool {
        if self.rests(number, peer, now) {
            return false;
        }
        let Some(Slot::Asked(askers)) = self.slots.get_mut(number as usize) else { return false };
        if asks(askers, peer) {
            return false;
        }
        let Some(place) = askers.iter_mut().find(|place| place.is_none()) else { return false };
        *place = Some(Asker { peer, nth });
        true
    }

    /// Whether the peer is asked for a block of this piece, or a block came from its address.
    pub fn involves(&self, peer: PeerKey, addr: SocketAddr) -> bool {
        self.slots.iter().any(|slot| match slot {
            Slot::Free => false,
            Slot::Asked(askers) => asks(askers, peer),
            Slot::Got(_, from) => *from == addr,
        })
    }

    /// Stores a received block if the peer was asked for it.
    pub fn put(&mut self, block: BlockAddr, peer: PeerKey, from: SocketAddr, data: Bytes, now: Instant) -> Put {
        let number = block.number();
        let formerly = self.returned.contains_key(&(number, peer));
        let Some(slot) = self.slots.get_mut(number as usize) else { return Put::Refused };
        let askers = match slot {
            Slot::Free if formerly => [None; MOST_ASKERS],
            Slot::Asked(askers) if formerly || asks(askers, peer) => askers.map(|asker| Some(asker?.peer)),
            _ => return Put::Refused,
        };
        self.free -= u32::from(matches!(slot, Slot::Free));
        *slot = Slot::Got(data, from);
        self.got += 1;
        (self.touched, self.came) = (now, now);
        let formerly: Vec<PeerKey> = self.returned_of(number).collect();
        for peer in &formerly {
            self.returned.remove(&(number, *peer));
        }
        Put::Kept { askers, formerly }
    }

    /// The peer gives a block back. Returns whether it was asked for it.
    pub fn give_back(&mut self, number: u32, peer: PeerKey, now: Instant) -> bool {
        let released = self.release(number, peer);
        if released {
            self.returned.insert((number, peer), now);
            self.touched = now;
        }
        released
    }

    /// The peer is gone: every block that it was asked for is given back. Returns the number of those requests.
    pub fn forget_peer(&mut self, peer: PeerKey, now: Instant) -> u32 {
        if self.owner == Some(peer) {
            self.owner = None;
        }
        self.returned.retain(|(_, other), _| *other != peer);
        if self.asked() == 0 {
            return 0;
        }
        let released = (0..self.count()).filter(|number| self.release(*number, peer)).count();
        if released > 0 {
            self.touched = now;
        }
        u32::try_from(released).unwrap_or(u32::MAX)
    }

    /// Discards the blocks that came from a liar. Returns their bytes.
    pub fn discard_from(&mut self, liar: SocketAddr) -> u64 {
        let mut bytes = 0;
        for (number, slot) in (0u32..).zip(&mut *self.slots) {
            if let Slot::Got(data, from) = slot
                && *from == liar
            {
                bytes += data.len() as u64;
                *slot = Slot::Free;
                self.got -= 1;
                self.free += 1;
                self.low = self.low.min(number);
            }
        }
        bytes
    }

    /// Every request that is outstanding: the number of the block and the asked peer.
    pub fn askers(&self) -> impl Iterator<Item = (u32, Asker)> {
        let askers = |slot: &Slot| if let Slot::Asked(askers) = slot { *askers } else { [None; MOST_ASKERS] };
        (0u32..)
            .zip(&*self.slots)
            .flat_map(move |(number, slot)| askers(slot).into_iter().flatten().map(move |asker| (number, asker)))
    }

    /// The blocks in order, and the sender of each. Call it for a whole piece only.
    pub fn into_parts(self) -> (Arc<[Bytes]>, BlockSenders) {
        let sender = |slot: &Slot| if let Slot::Got(_, from) = slot { Some(*from) } else { None };
        let from = self.slots.iter().filter_map(sender).collect();
        (self.slots.into_data(), from)
    }

    /// Length of the whole piece in bytes.
    pub const fn piece_len(&self) -> u32 {
        self.piece_len
    }

    /// The number of blocks of the piece.
    fn count(&self) -> u32 {
        self.piece_len.div_ceil(BLOCK_LEN)
    }

    /// Until when the peer is not asked for a block that it gave back.
    fn rest(&self, number: u32, peer: PeerKey, alone: bool) -> Option<Instant> {
        if self.returned.is_empty() {
            return None;
        }
        let rest = if alone { REST_ALONE } else { REST_AMONG_OTHERS };
        self.returned.get(&(number, peer)).map(|at| *at + rest)
    }

    /// The peers that gave this block back.
    fn returned_of(&self, number: u32) -> impl Iterator<Item = PeerKey> {
        self.returned.range((number, PeerKey(0))..=(number, PeerKey(u32::MAX))).map(|((_, peer), _)| *peer)
    }

    /// Takes the block from the peer. Returns whether the peer was asked for it.
    fn release(&mut self, number: u32, peer: PeerKey) -> bool {
        let Some(slot) = self.slots.get_mut(number as usize) else { return false };
        let Slot::Asked(askers) = slot else { return false };
        let Some(place) = askers.iter_mut().find(|place| place.is_some_and(|asker| asker.peer == peer)) else {
            return false;
        };
        *place = None;
        if askers.iter().all(Option::is_none) {
            *slot = Slot::Free;
            self.free += 1;
            self.low = self.low.min(number);
        }
        true
    }
}

/// Whether the peer is among those that are asked.
fn asks(askers: &[Option<Asker>], peer: PeerKey) -> bool {
    askers.iter().flatten().any(|asker| asker.peer == peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerKey = PeerKey(1);
    const B: PeerKey = PeerKey(2);
    const C: PeerKey = PeerKey(3);

    struct Bench {
        g: Geometry,
        a: Assembly,
        now: Instant,
    }

    /// A piece of four blocks, the last of 100 bytes.
    fn bench() -> Bench {
        let g = Geometry::new(3 * 16384 + 100, 4 * 16384).unwrap();
        let now = tokio::time::Instant::now().into_std();
        let a = Assembly::new(&g, g.last_piece(), A, false, now);
        Bench { g, a, now }
    }

    fn addr(n: u32) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], u16::try_from(n).unwrap()))
    }

    impl Bench {
        fn ask(&mut self, peer: PeerKey, most: usize) -> Vec<u32> {
            let mut blocks = Vec::new();
            self.a.ask(&self.g, peer, most, false, self.now, (0, &mut blocks));
            blocks.into_iter().map(BlockAddr::number).collect()
        }

        fn put(&mut self, number: u32, peer: PeerKey) -> Put {
            let block = self.g.block(self.g.last_piece(), number).unwrap();
            let data = Bytes::from(vec![u8::try_from(number).unwrap(); block.len() as usize]);
            self.a.put(block, peer, addr(peer.0), data, self.now)
        }

        fn counts(&self) -> (u32, u32, u32) {
            (self.a.free(), self.a.asked(), self.a.got())
        }
    }

    #[test]
    fn blocks_are_asked_for_in_order_and_once() {
        let mut b = bench();
        assert_eq!(b.ask(A, 2), [0, 1]);
        assert_eq!(b.ask(B, 9), [2, 3]);
        assert!(b.ask(A, 9).is_empty());
        assert_eq!(b.counts(), (0, 4, 0));
    }

    #[test]
    fn a_block_that_was_given_back_is_requested_from_other_peers_first() {
        let mut b = bench();
        b.ask(A, 4);
        assert!(b.a.give_back(1, A, b.now) && !b.a.give_back(1, A, b.now) && !b.a.give_back(1, B, b.now));
        assert!(!b.a.give_back(77, A, b.now));
        assert!(b.ask(A, 4).is_empty());
        let until = b.a.ask(&b.g, A, 4, true, b.now, (0, &mut Vec::new()));
        assert_eq!(until, Some(b.now + REST_ALONE));
        assert_eq!(b.ask(B, 4), [1]);
        assert!(b.a.give_back(1, B, b.now));
        b.now += REST_AMONG_OTHERS;
        assert_eq!(b.ask(A, 4), [1]);
    }

    #[test]
    fn only_peers_that_were_asked_can_put_a_block_in() {
        let mut b = bench();
        b.ask(A, 2);
        assert_eq!(b.put(0, B), Put::Refused);
        assert_eq!(b.put(3, A), Put::Refused, "no peer was asked for it");
        assert!(b.a.ask_too(0, B, b.now, 9) && !b.a.ask_too(0, B, b.now, 9));
        assert_eq!(b.put(0, B), Put::Kept { askers: [Some(A), Some(B), None], formerly: vec![] });
        assert_eq!(b.put(0, A), Put::Refused, "it is here");
        b.a.give_back(1, A, b.now);
        assert_eq!(b.ask(C, 1), [1]);
        assert_eq!(b.put(1, A), Put::Kept { askers: [Some(C), None, None], formerly: vec![A] }, "late, and welcome");
        assert_eq!(b.counts(), (2, 0, 2));
    }

    #[test]
    fn at_most_three_peers_are_asked_for_a_block() {
        let mut b = bench();
        b.ask(A, 2);
        assert_eq!(b.a.asked_of().map(|(n, _)| n).collect::<Vec<_>>(), [1, 0], "the last first");
        assert!(b.a.ask_too(0, B, b.now, 9) && b.a.ask_too(0, C, b.now, 9));
        assert!(!b.a.ask_too(0, PeerKey(4), b.now, 9));
        assert!(!b.a.ask_too(3, B, b.now, 9), "a free block is not duplicated");
        let askers: Vec<_> = b.a.asked_of().map(|(n, askers)| (n, askers.count())).collect();
        assert_eq!(askers, [(1, 1), (0, MOST_ASKERS)]);
    }

    #[test]
    fn a_peer_that_leaves_frees_the_blocks_that_only_it_was_asked_for() {
        let mut b = bench();
        b.ask(A, 3);
        b.a.ask_too(0, B, b.now, 9);
        assert_eq!(b.a.forget_peer(A, b.now), 3);
        assert_eq!(b.counts(), (3, 1, 0));
        assert_eq!(b.a.owner, None);
        assert_eq!(b.a.askers().collect::<Vec<_>>(), [(0, Asker { peer: B, nth: 9 })]);
        assert_eq!(b.ask(A, 9), [1, 2, 3], "a gone connection leaves no rest behind");
    }

    #[test]
    fn a_whole_piece_comes_apart_in_order_with_its_senders() {
        let mut b = bench();
        b.ask(A, 2);
        b.ask(B, 2);
        for (number, peer) in [(3, B), (0, A), (2, B), (1, A)] {
            assert!(!b.a.is_whole());
            assert!(matches!(b.put(number, peer), Put::Kept { .. }));
        }
        assert!(b.a.is_whole());
        assert_eq!(b.a.got_bytes(), b.g.total_len());
        let (blocks, from) = b.a.into_parts();
        assert!(blocks.iter().enumerate().all(|(n, data)| usize::from(data[0]) == n));
        assert_eq!(from, BlockSenders::Each(vec![addr(1), addr(1), addr(2), addr(2)]));
    }

    #[test]
    fn a_piece_of_one_block_behaves_like_any_other_and_has_no_list() {
        let mut b = bench();
        b.g = Geometry::new(3 * 16384 + 100, 16384).unwrap();
        b.a = Assembly::new(&b.g, b.g.last_piece(), A, false, b.now);
        assert!(matches!(b.a.slots, Slots::One(_)));
        assert_eq!(b.ask(A, 9), [0]);
        assert!(b.a.give_back(0, A, b.now));
        assert_eq!((b.counts(), b.ask(B, 9)), ((1, 0, 0), vec![0]));
        assert_eq!(b.put(0, A), Put::Kept { askers: [Some(B), None, None], formerly: vec![A] });
        assert_eq!((b.counts(), b.a.is_whole(), b.a.got_bytes()), ((0, 0, 1), true, 100));
        let (blocks, from) = b.a.into_parts();
        assert_eq!((blocks.len(), from), (1, BlockSenders::Sole(addr(1))));
    }

    #[test]
    fn blocks_from_a_liar_are_requested_again() {
        let mut b = bench();
        b.ask(A, 2);
        b.ask(B, 2);
        b.put(1, A);
        b.put(3, B);
        assert_eq!(b.a.discard_from(addr(2)), 100);
        assert_eq!(b.counts(), (1, 2, 1));
        assert_eq!(b.ask(C, 9), [3]);
    }
}
