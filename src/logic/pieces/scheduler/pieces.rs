//! State changes of pieces and the removal of peers: a block is stored, a piece is gained, lost or closed, a liar is
//! banned.

use std::net::SocketAddr;
use std::time::Instant;

use super::open_pieces::{Stored, WritingPiece};
use super::{Scheduler, SchedulerEffect, WriteOutcome};
use crate::base::geometry::PieceIndex;
use crate::base::ids::PeerKey;
use crate::logic::peer::received_block::ReceivedBlock;
use crate::logic::pieces::assembly::Asker;
use crate::logic::pieces::suspects::SUSPECT_AFTER;

impl Scheduler {
    /// Stores one received block. Returns false if the block is of no use.
    pub(super) fn keep(&mut self, now: Instant, key: PeerKey, block: ReceivedBlock) -> bool {
        let addr = block.addr;
        let Some(peer) = self.peers.get_mut(key) else { return false };
        let Some(Stored { askers, formerly, is_whole }) = self.pieces.put(block, key, peer.addr, now) else {
            return false;
        };
        peer.on_delivered(now, addr.len(), &mut self.picker);
        peer.trust.begin(addr.piece());
        for asker in askers.iter().flatten() {
            if let Some(peer) = self.peers.get_mut(*asker) {
                peer.in_flight -= 1;
            }
        }
        for other in askers.into_iter().flatten().chain(formerly).filter(|other| *other != key) {
            self.outbox.cancel(other, [addr]);
            self.let_go(other, addr.piece());
        }
        if is_whole && let Some(blocks) = self.pieces.hand_over(addr.piece()) {
            self.outbox.push(SchedulerEffect::Write { piece: addr.piece(), blocks });
        }
        true
    }

    /// Handles the disk's answer for a piece.
    pub(super) fn on_piece_written(&mut self, now: Instant, piece: PieceIndex, written: WriteOutcome) {
        let Some(WritingPiece { blocks, from }) = self.pieces.finish(piece) else { return };
        self.stirred = true;
        self.conclude(piece, &from, written);
        match written {
            WriteOutcome::Durable => {
                let liars = self.suspects.on_passed(piece, &blocks, &from);
                self.gain(piece);
                self.ban(now, &liars, piece);
            }
            WriteOutcome::HashMismatch => {
                self.counters.hash_failures += 1;
                self.counters.wasted += u64::from(self.geometry.piece_len(piece));
                let finding = self.suspects.on_failed(now, piece, &blocks, &from);
                self.ban(now, &finding.liars, piece);
                self.outbox.extend(finding.acquitted.into_iter().map(|addr| SchedulerEffect::Pardon { addr }));
                if finding.failures >= SUSPECT_AFTER || !self.has_untried_source(piece) {
                    self.outbox.push(SchedulerEffect::PieceSuspect { piece, failures: finding.failures });
                }
            }
            WriteOutcome::Failed => self.lose(piece),
        }
    }

    /// We have the piece now.
    pub(super) fn gain(&mut self, piece: PieceIndex) {
        if !self.own.gain(piece) {
            return;
        }
        self.picker.on_had(piece);
        self.outbox.push(SchedulerEffect::Had { piece });
        let complete = self.own.is_complete();
        for (key, peer) in self.peers.iter_mut() {
            peer.on_piece_had(piece);
            if let Some(interested) = peer.turn_interest(complete) {
                self.outbox.push(SchedulerEffect::Interest { peer: key, interested });
            }
        }
        if complete {
            self.outbox.push(SchedulerEffect::Completed);
        }
    }

    /// We no longer have the piece.
    pub(super) fn forgo(&mut self, piece: PieceIndex) {
        if !self.own.lose(piece) {
            return;
        }
        self.outbox.push(SchedulerEffect::Gone { piece });
        if self.own.is_missed(piece) {
            self.picker.on_gone(piece);
            for (key, peer) in self.peers.iter_mut() {
                peer.on_piece_gone(piece);
                if let Some(interested) = peer.turn_interest(false) {
                    self.outbox.push(SchedulerEffect::Interest { peer: key, interested });
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
        let Some(assembly) = self.pieces.close(piece) else { return };
        self.counters.wasted += assembly.got_bytes();
        for (number, Asker { peer: asker, .. }) in assembly.askers() {
            if let Some(peer) = self.peers.get_mut(asker) {
                peer.in_flight -= 1;
            }
            self.outbox.cancel(asker, self.geometry.block(piece, number));
        }
        for (_, peer) in self.peers.iter_mut() {
            peer.trust.end(piece);
        }
        self.lose(piece);
        self.stirred = true;
    }

    /// Removes a peer and gives back every block that it was asked for. Returns its address.
    pub(super) fn remove_peer(&mut self, now: Instant, key: PeerKey) -> Option<SocketAddr> {
        let mut peer = self.peers.remove(key)?;
        peer.leave(&mut self.picker);
        self.outbox.forget(key);
        let orphaned = self.pieces.forget_peer(key, now);
        for piece in orphaned {
            self.abandon(piece);
        }
        Some(peer.addr)
    }

    /// The owner of an exclusive piece gave it back untouched or does not deliver: other peers get it first (P-12,
    /// P-18).
    pub(super) fn shirk(&mut self, piece: PieceIndex) {
        let owner = self.pieces.get(piece).and_then(|assembly| assembly.owner);
        if let Some(peer) = owner.and_then(|owner| self.peers.get(owner)) {
            self.suspects.on_shirked(piece, peer.addr);
        }
        self.abandon(piece);
    }

    /// Whether a waiting peer has the piece and has not shirked it.
    pub(super) fn has_willing_source(&self, piece: PieceIndex) -> bool {
        self.peers.waiting().any(|peer| peer.has.has(piece) && !self.suspects.is_shirker(piece, peer.addr))
    }

    /// An exclusive piece has lost its owner. A suspect piece must come from one peer, so it is closed and its blocks
    /// are discarded. Any other piece is opened to all peers.
    pub(super) fn abandon(&mut self, piece: PieceIndex) {
        if self.suspects.is_suspect(piece) {
            self.close(piece);
        } else {
            self.pieces.share(piece);
        }
    }

    /// Bans proven liars: removes their connections and discards the blocks that they sent for open pieces.
    pub(super) fn ban(&mut self, now: Instant, liars: &[SocketAddr], piece: PieceIndex) {
        for &addr in liars {
            self.suspects.on_banned(addr, piece);
            self.outbox.push(SchedulerEffect::Ban { addr, piece });
            let keys: Vec<PeerKey> =
                self.peers.iter().filter(|(_, peer)| peer.addr == addr).map(|(key, _)| key).collect();
            for key in keys {
                self.remove_peer(now, key);
            }
            self.counters.wasted += self.pieces.discard_from(addr);
            self.stirred = true;
        }
    }

    /// Whether a peer is connected whose copy of the piece has not failed yet.
    pub(super) fn has_untried_source(&self, piece: PieceIndex) -> bool {
        self.peers.iter().any(|(_, peer)| peer.has.has(piece) && !self.suspects.was_tried(piece, peer.addr))
    }

    /// Emits a change of our interest in one peer, if there is one.
    pub(super) fn look_at(&mut self, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(key)
            && let Some(interested) = peer.turn_interest(self.own.is_complete())
        {
            self.outbox.push(SchedulerEffect::Interest { peer: key, interested });
        }
    }
}
