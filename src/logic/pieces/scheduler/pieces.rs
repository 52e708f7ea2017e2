//! State changes of pieces and the removal of peers: a block is stored, a piece is gained, lost or closed, a liar is
//! banned.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::{Scheduler, SchedulerEffect, WriteOutcome, Writing};
use crate::base::geometry::PieceIndex;
use crate::base::ids::PeerKey;
use crate::logic::peer::received_block::ReceivedBlock;
use crate::logic::pieces::assembly::{Asker, Put};
use crate::logic::pieces::suspects::SUSPECT_AFTER;

impl Scheduler {
    /// Stores one received block. Returns false if the block is of no use.
    pub(super) fn keep(&mut self, now: Instant, key: PeerKey, block: ReceivedBlock) -> bool {
        let ReceivedBlock { addr, data } = block;
        let (Some(peer), Some(assembly)) = (self.peers.get_mut(&key), self.open.get_mut(&addr.piece())) else {
            return false;
        };
        if data.len() != addr.len() as usize {
            return false;
        }
        let Put::Kept { askers, formerly } = assembly.put(addr, key, peer.addr, data, now) else { return false };
        peer.on_delivered(now, addr.len(), &mut self.picker);
        peer.trust.begin(addr.piece());
        if assembly.free() == 0 {
            self.loose.remove(&addr.piece());
        }
        let whole = assembly.is_whole();
        for asker in askers.iter().flatten() {
            self.in_flight -= 1;
            if let Some(peer) = self.peers.get_mut(asker) {
                peer.in_flight -= 1;
            }
        }
        for other in askers.into_iter().flatten().chain(formerly).filter(|other| *other != key) {
            self.cancels.entry(other).or_default().push(addr);
            self.let_go(other, addr.piece());
        }
        if whole && let Some(assembly) = self.open.remove(&addr.piece()) {
            let (blocks, from) = assembly.into_parts();
            self.effects.push_back(SchedulerEffect::Write { piece: addr.piece(), blocks: Arc::clone(&blocks) });
            self.writing.insert(addr.piece(), Writing { blocks, from });
        }
        true
    }

    /// Handles the disk's answer for a piece.
    pub(super) fn on_piece_written(&mut self, now: Instant, piece: PieceIndex, written: WriteOutcome) {
        let Some(Writing { blocks, from }) = self.writing.remove(&piece) else { return };
        self.reserved -= u64::from(self.geometry.piece_len(piece));
        self.stirred = true;
        self.conclude(piece, &from, written);
        match written {
            WriteOutcome::Durable => {
                let liars = self.suspects.on_passed(piece, &blocks, &from);
                self.gain(piece);
                self.ban(now, &liars, piece);
            }
            WriteOutcome::HashMismatch => {
                self.hash_failures += 1;
                self.wasted += u64::from(self.geometry.piece_len(piece));
                let finding = self.suspects.on_failed(now, piece, &blocks, &from);
                self.ban(now, &finding.liars, piece);
                self.effects.extend(finding.acquitted.into_iter().map(|addr| SchedulerEffect::Pardon { addr }));
                if finding.failures >= SUSPECT_AFTER || !self.has_untried_source(piece) {
                    self.effects.push_back(SchedulerEffect::PieceSuspect { piece, failures: finding.failures });
                }
            }
            WriteOutcome::Failed => self.lose(piece),
        }
    }

    /// We have the piece now.
    pub(super) fn gain(&mut self, piece: PieceIndex) {
        if !self.have.set(piece) {
            return;
        }
        self.bytes_have += u64::from(self.geometry.piece_len(piece));
        self.bytes_done += u64::from(self.wanted.bytes_of(&self.geometry, piece));
        self.settled.set(piece);
        self.picker.on_had(piece);
        self.effects.push_back(SchedulerEffect::Had { piece });
        let complete = self.settled.is_all();
        for (key, peer) in &mut self.peers {
            peer.on_piece_had(piece);
            if let Some(interested) = peer.turn_interest(complete) {
                self.effects.push_back(SchedulerEffect::Interest { peer: *key, interested });
            }
        }
        if complete {
            self.effects.push_back(SchedulerEffect::Completed);
        }
    }

    /// We no longer have the piece.
    pub(super) fn forgo(&mut self, piece: PieceIndex) {
        if !self.have.clear(piece) {
            return;
        }
        self.bytes_have -= u64::from(self.geometry.piece_len(piece));
        self.bytes_done -= u64::from(self.wanted.bytes_of(&self.geometry, piece));
        self.effects.push_back(SchedulerEffect::Gone { piece });
        if self.wanted.pieces().has(piece) && self.settled.clear(piece) {
            self.picker.on_gone(piece);
            for (key, peer) in &mut self.peers {
                peer.on_piece_gone(piece);
                if let Some(interested) = peer.turn_interest(false) {
                    self.effects.push_back(SchedulerEffect::Interest { peer: *key, interested });
                }
            }
            self.stirred = true;
        }
    }

    /// The piece is missing again. It becomes pickable, unless it has failed before: then `suspects` offers it.
    pub(super) fn lose(&mut self, piece: PieceIndex) {
        if !self.suspects.is_suspect(piece) {
            self.picker.put_back(piece);
        }
    }

    /// Closes an open piece and discards its received blocks.
    pub(super) fn close(&mut self, piece: PieceIndex) {
        let Some(assembly) = self.open.remove(&piece) else { return };
        self.loose.remove(&piece);
        self.reserved -= u64::from(assembly.piece_len());
        self.wasted += assembly.got_bytes();
        for (number, Asker { peer: asker, .. }) in assembly.askers() {
            self.in_flight -= 1;
            if let Some(peer) = self.peers.get_mut(&asker) {
                peer.in_flight -= 1;
            }
            self.cancels.entry(asker).or_default().extend(self.geometry.block(piece, number));
        }
        for peer in self.peers.values_mut() {
            peer.trust.end(piece);
        }
        self.lose(piece);
        self.stirred = true;
    }

    /// Removes a peer and gives back every block that it was asked for. Returns its address.
    pub(super) fn remove_peer(&mut self, now: Instant, key: PeerKey) -> Option<SocketAddr> {
        let mut peer = self.peers.remove(&key)?;
        peer.leave(&mut self.picker);
        self.waiting.remove(&key);
        self.cancels.remove(&key);
        let mut orphaned = Vec::new();
        for (piece, assembly) in &mut self.open {
            let owned = assembly.owner == Some(key);
            self.in_flight -= assembly.forget_peer(key, now);
            if assembly.free() > 0 {
                self.loose.insert(*piece);
            }
            if owned && assembly.exclusive {
                orphaned.push(*piece);
            }
        }
        for piece in orphaned {
            self.abandon(piece);
        }
        Some(peer.addr)
    }

    /// The owner of an exclusive piece gave it back untouched or does not deliver: other peers get it first (P-12,
    /// P-18).
    pub(super) fn shirk(&mut self, piece: PieceIndex) {
        let owner = self.open.get(&piece).and_then(|assembly| assembly.owner);
        if let Some(peer) = owner.and_then(|owner| self.peers.get(&owner)) {
            self.suspects.on_shirked(piece, peer.addr);
        }
        self.abandon(piece);
    }

    /// Whether a waiting peer has the piece and has not shirked it.
    pub(super) fn has_willing_source(&self, piece: PieceIndex) -> bool {
        let mut waiting = self.waiting.iter().filter_map(|key| self.peers.get(key));
        waiting.any(|peer| peer.has.has(piece) && !self.suspects.is_shirker(piece, peer.addr))
    }

    /// An exclusive piece has lost its owner. A suspect piece must come from one peer, so it is closed and its blocks
    /// are discarded. Any other piece is opened to all peers.
    pub(super) fn abandon(&mut self, piece: PieceIndex) {
        if self.suspects.is_suspect(piece) {
            self.close(piece);
        } else if let Some(assembly) = self.open.get_mut(&piece) {
            assembly.exclusive = false;
            assembly.owner = None;
        }
    }

    /// Bans proven liars: removes their connections and discards the blocks that they sent for open pieces.
    pub(super) fn ban(&mut self, now: Instant, liars: &[SocketAddr], piece: PieceIndex) {
        for &addr in liars {
            self.suspects.on_banned(addr, piece);
            self.effects.push_back(SchedulerEffect::Ban { addr, piece });
            let keys: Vec<PeerKey> =
                self.peers.iter().filter(|(_, peer)| peer.addr == addr).map(|(key, _)| *key).collect();
            for key in keys {
                self.remove_peer(now, key);
            }
            for (piece, assembly) in &mut self.open {
                self.wasted += assembly.discard_from(addr);
                if assembly.free() > 0 {
                    self.loose.insert(*piece);
                }
            }
            self.stirred = true;
        }
    }

    /// Whether a peer is connected whose copy of the piece has not failed yet.
    pub(super) fn has_untried_source(&self, piece: PieceIndex) -> bool {
        self.peers.values().any(|peer| peer.has.has(piece) && !self.suspects.was_tried(piece, peer.addr))
    }

    /// Emits a change of our interest in one peer, if there is one.
    pub(super) fn look_at(&mut self, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(&key)
            && let Some(interested) = peer.turn_interest(self.settled.is_all())
        {
            self.effects.push_back(SchedulerEffect::Interest { peer: key, interested });
        }
    }
}
