//! The open pieces and the pieces in writing. Owns the conservation of credit: every change of `reserved` and of the number
//! of outstanding requests is in this file.
//!
//! This module knows peers by their keys only, and does not choose the piece to open.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::base::geometry::{BlockAddr, Geometry, PieceIndex};
use crate::base::ids::PeerKey;
use crate::logic::peer::received_block::ReceivedBlock;
use crate::logic::pieces::assembly::{Assembly, MOST_ASKERS, Put};
use crate::logic::pieces::block_senders::BlockSenders;

/// A piece that was given to the disk and is not answered yet.
#[derive(Debug)]
pub(super) struct WritingPiece {
    pub(super) blocks: Arc<[Bytes]>,
    pub(super) from: BlockSenders,
}

/// The open pieces and the pieces in writing.
#[derive(Debug)]
pub(super) struct OpenPieces {
    geometry: Geometry,
    /// Bytes that may be reserved, but for one piece that is larger than that.
    credit: u64,
    /// Boxed: with thousands of small pieces, moving large values in the map would cost most.
    open: BTreeMap<PieceIndex, Box<Assembly>>,
    /// Open pieces with free blocks.
    loose: BTreeSet<PieceIndex>,
    writing: BTreeMap<PieceIndex, WritingPiece>,
    /// Bytes of all open pieces and all pieces in writing.
    reserved: u64,
    /// Outstanding requests, without those of an ask that is being answered.
    in_flight: u32,
    /// Requests ever made, duplicates included: the number of the next request.
    asks: u64,
}

/// A request for free blocks of one piece.
#[derive(Debug)]
pub(super) struct BlockRequest<'a> {
    pub(super) peer: PeerKey,
    /// The most blocks to request.
    pub(super) most: usize,
    /// Whether no other peer has the piece.
    pub(super) alone: bool,
    pub(super) now: Instant,
    /// The requested blocks are appended to these.
    pub(super) blocks: &'a mut Vec<BlockAddr>,
}

/// The result of a [`BlockRequest`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Requested {
    /// The number of requested blocks.
    pub(super) count: u64,
    /// Whether the piece has free blocks left.
    pub(super) left: bool,
    /// When a block may be requested that the peer gave back lately.
    pub(super) rests_until: Option<Instant>,
}

/// What follows from a stored block.
#[derive(Debug)]
pub(super) struct Stored {
    /// The peers that were asked for the block.
    pub(super) askers: [Option<PeerKey>; MOST_ASKERS],
    /// The peers that gave the block back: it may still arrive from them.
    pub(super) formerly: Vec<PeerKey>,
    /// Whether every block of the piece has been received.
    pub(super) is_whole: bool,
}

/// What follows from a block that its peer gave back.
#[derive(Debug, Clone, Copy)]
pub(super) struct GivenBack {
    /// Whether the peer owns the piece alone and has not delivered a block of it.
    pub(super) is_shirked: bool,
}

impl OpenPieces {
    /// Nothing is open. `credit`: bytes that may be reserved.
    pub(super) const fn new(geometry: Geometry, credit: u64) -> Self {
        Self {
            geometry,
            credit,
            open: BTreeMap::new(),
            loose: BTreeSet::new(),
            writing: BTreeMap::new(),
            reserved: 0,
            in_flight: 0,
            asks: 0,
        }
    }

    /// The open piece with this index.
    pub(super) fn get(&self, piece: PieceIndex) -> Option<&Assembly> {
        self.open.get(&piece).map(Box::as_ref)
    }

    /// All open pieces.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (PieceIndex, &Assembly)> {
        self.open.iter().map(|(piece, assembly)| (*piece, &**assembly))
    }

    /// The open pieces with free blocks.
    pub(super) fn loose(&self) -> impl Iterator<Item = PieceIndex> {
        self.loose.iter().copied()
    }

    /// Whether no open piece has free blocks.
    pub(super) fn has_no_loose(&self) -> bool {
        self.loose.is_empty()
    }

    /// The number of open pieces.
    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// The number of pieces in writing.
    pub(super) fn writing_count(&self) -> usize {
        self.writing.len()
    }

    /// Whether the piece is open or in writing.
    pub(super) fn has(&self, piece: PieceIndex) -> bool {
        self.open.contains_key(&piece) || self.writing.contains_key(&piece)
    }

    /// The pieces of which the peer is asked for a block, or its address sent one.
    pub(super) fn under_way_with(&self, key: PeerKey, addr: SocketAddr) -> impl Iterator<Item = PieceIndex> {
        let open = self.open.iter().filter(move |(_, assembly)| assembly.involves(key, addr));
        let writing = self.writing.iter().filter(move |(_, writing)| writing.from.include(addr));
        open.map(|(piece, _)| *piece).chain(writing.map(|(piece, _)| *piece))
    }

    /// Outstanding requests. A block that is requested from two peers counts twice.
    pub(super) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Requests ever made, duplicates included.
    pub(super) const fn asks(&self) -> u64 {
        self.asks
    }

    /// Bytes of credit that are not reserved.
    pub(super) const fn credit_free(&self) -> u64 {
        self.credit.saturating_sub(self.reserved)
    }

    /// Whether there is no credit for one more piece of the usual size.
    pub(super) fn is_credit_spent(&self) -> bool {
        self.reserved > 0 && self.reserved + u64::from(self.geometry.nominal_piece_len()) > self.credit
    }

    /// Whether the piece fits the credit. Any piece does if no other is open or in writing.
    pub(super) fn fits(&self, piece: PieceIndex) -> bool {
        self.reserved == 0 || self.reserved + u64::from(self.geometry.piece_len(piece)) <= self.credit
    }

    /// Opens a piece for the requesting peer and reserves its credit.
    pub(super) fn open(&mut self, piece: PieceIndex, exclusive: bool, request: BlockRequest<'_>) -> Requested {
        let mut assembly = Box::new(Assembly::new(&self.geometry, piece, request.peer, exclusive, request.now));
        self.reserved += u64::from(assembly.piece_len());
        let requested = request_from(&mut assembly, &self.geometry, self.asks, request);
        self.asks += requested.count;
        if requested.left {
            self.loose.insert(piece);
        }
        self.open.insert(piece, assembly);
        requested
    }

    /// Requests free blocks of an open piece. `None` if it is not open or has none.
    pub(super) fn request(&mut self, piece: PieceIndex, request: BlockRequest<'_>) -> Option<Requested> {
        let assembly = self.open.get_mut(&piece).filter(|assembly| assembly.free() > 0)?;
        let requested = request_from(assembly, &self.geometry, self.asks, request);
        self.asks += requested.count;
        if !requested.left {
            self.loose.remove(&piece);
        }
        Some(requested)
    }

    /// Requests a block from one more peer. Returns false where [`Assembly::ask_too`] does.
    pub(super) fn ask_too(&mut self, piece: PieceIndex, number: u32, peer: PeerKey, now: Instant) -> bool {
        let nth = self.asks;
        let asked = self.open.get_mut(&piece).is_some_and(|assembly| assembly.ask_too(number, peer, now, nth));
        self.asks += u64::from(asked);
        asked
    }

    /// An ask is answered: its `count` requests are outstanding from now on.
    pub(super) const fn on_granted(&mut self, count: u32) {
        self.in_flight += count;
    }

    /// Stores a received block. `None` if the block is of no use.
    pub(super) fn put(
        &mut self,
        block: ReceivedBlock,
        peer: PeerKey,
        from: SocketAddr,
        now: Instant,
    ) -> Option<Stored> {
        let ReceivedBlock { addr, data } = block;
        let assembly = self.open.get_mut(&addr.piece()).filter(|_| data.len() == addr.len() as usize)?;
        let Put::Kept { askers, formerly } = assembly.put(addr, peer, from, data, now) else { return None };
        if assembly.free() == 0 {
            self.loose.remove(&addr.piece());
        }
        for _asker in askers.iter().flatten() {
            self.in_flight -= 1;
        }
        Some(Stored { askers, formerly, is_whole: assembly.is_whole() })
    }

    /// A whole piece goes to the disk. Returns its blocks in order.
    pub(super) fn hand_over(&mut self, piece: PieceIndex) -> Option<Arc<[Bytes]>> {
        let (blocks, from) = self.open.remove(&piece)?.into_parts();
        self.writing.insert(piece, WritingPiece { blocks: Arc::clone(&blocks), from });
        Some(blocks)
    }

    /// The peer gives a block back. `None` if it was not asked for it.
    pub(super) fn give_back(&mut self, block: BlockAddr, peer: PeerKey, now: Instant) -> Option<GivenBack> {
        let assembly = self.open.get_mut(&block.piece())?;
        if !assembly.give_back(block.number(), peer, now) {
            return None;
        }
        self.in_flight -= 1;
        let is_owner = assembly.owner == Some(peer);
        let is_shirked = assembly.exclusive && is_owner && assembly.got() == 0;
        if !assembly.exclusive && is_owner {
            assembly.owner = None;
        }
        if assembly.free() > 0 {
            self.loose.insert(block.piece());
        }
        Some(GivenBack { is_shirked })
    }

    /// Takes a block back from one of several peers that are asked for it. Returns whether this one was.
    pub(super) fn take_back(&mut self, piece: PieceIndex, number: u32, peer: PeerKey, now: Instant) -> bool {
        let taken = self.open.get_mut(&piece).is_some_and(|assembly| assembly.give_back(number, peer, now));
        self.in_flight -= u32::from(taken);
        taken
    }

    /// The peer is gone: every block that it was asked for is given back. Returns the exclusive pieces that it owned.
    pub(super) fn forget_peer(&mut self, peer: PeerKey, now: Instant) -> Vec<PieceIndex> {
        let mut orphaned = Vec::new();
        for (piece, assembly) in &mut self.open {
            let owned = assembly.owner == Some(peer);
            self.in_flight -= assembly.forget_peer(peer, now);
            if assembly.free() > 0 {
                self.loose.insert(*piece);
            }
            if owned && assembly.exclusive {
                orphaned.push(*piece);
            }
        }
        orphaned
    }

    /// Discards the blocks that came from a liar. Returns their bytes.
    pub(super) fn discard_from(&mut self, liar: SocketAddr) -> u64 {
        let mut bytes = 0;
        for (piece, assembly) in &mut self.open {
            bytes += assembly.discard_from(liar);
            if assembly.free() > 0 {
                self.loose.insert(*piece);
            }
        }
        bytes
    }

    /// Takes an exclusive piece from its owner and opens it to all peers.
    pub(super) fn share(&mut self, piece: PieceIndex) {
        if let Some(assembly) = self.open.get_mut(&piece) {
            assembly.exclusive = false;
            assembly.owner = None;
        }
    }

    /// Closes an open piece and frees its credit. Returns what it was.
    pub(super) fn close(&mut self, piece: PieceIndex) -> Option<Box<Assembly>> {
        let assembly = self.open.remove(&piece)?;
        self.loose.remove(&piece);
        self.reserved -= u64::from(assembly.piece_len());
        for _asker in assembly.askers() {
            self.in_flight -= 1;
        }
        Some(assembly)
    }

    /// The disk has answered for a piece: its credit is free. `None` if the piece is not in writing.
    pub(super) fn finish(&mut self, piece: PieceIndex) -> Option<WritingPiece> {
        let writing = self.writing.remove(&piece)?;
        self.reserved -= u64::from(self.geometry.piece_len(piece));
        Some(writing)
    }

    /// The disk will not answer: takes all pieces in writing and frees their credit.
    pub(super) fn take_writing(&mut self) -> BTreeMap<PieceIndex, WritingPiece> {
        let writing = std::mem::take(&mut self.writing);
        for piece in writing.keys() {
            self.reserved -= u64::from(self.geometry.piece_len(*piece));
        }
        writing
    }

    /// Checks that credit, requests and the list of loose pieces agree with the pieces.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let len = |piece: &PieceIndex| u64::from(self.geometry.piece_len(*piece));
        let reserved: u64 = self.open.keys().chain(self.writing.keys()).map(len).sum();
        assert_eq!(self.reserved, reserved, "credit is conserved");
        assert!(reserved <= self.credit.max(u64::from(self.geometry.nominal_piece_len())));
        let asked: usize = self.open.values().map(|assembly| assembly.askers().count()).sum();
        assert_eq!(self.in_flight as usize, asked);
        for (piece, assembly) in &self.open {
            assert_eq!(self.loose.contains(piece), assembly.free() > 0);
            assert!(!self.writing.contains_key(piece));
        }
        assert!(self.loose.iter().all(|piece| self.open.contains_key(piece)));
    }
}

/// Requests free blocks of the piece, the first of them as request number `nth`.
fn request_from(assembly: &mut Assembly, geometry: &Geometry, nth: u64, request: BlockRequest<'_>) -> Requested {
    let BlockRequest { peer, most, alone, now, blocks } = request;
    let before = blocks.len();
    let rests_until = assembly.ask(geometry, peer, most, alone, now, (nth, blocks));
    let count = (blocks.len() - before) as u64;
    // A peer that has just given back blocks of this piece does not become its owner again: it gets other blocks, and a
    // faster peer may fill the piece.
    if count > 0 && rests_until.is_none() {
        assembly.owner.get_or_insert(peer);
    }
    Requested { count, left: assembly.free() > 0, rests_until }
}
