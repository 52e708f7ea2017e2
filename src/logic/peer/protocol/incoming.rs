//! Handles each message of the peer: what it changes, and when it is a violation.

use std::time::Instant;

use bytes::Bytes;

use super::{Batch, PeerEffect, PeerProtocol, SchedulerNotice};
use crate::base::bitfield::Bitfield;
use crate::base::disconnect::DisconnectReason;
use crate::base::geometry::BLOCK_LEN;
use crate::base::limits::BLOCKS_A_READ;
use crate::codec::wire::{Message, RawRequest};
use crate::logic::peer::received_block::ReceivedBlock;
use crate::logic::peer::requests::{Arrival, Rejected};
use crate::logic::rate::Rate;

/// 10 blocks without a request or with a wrong address: an honest peer sends none (P-16).
const MAX_UNASKED: u32 = 10;

impl PeerProtocol {
    /// Handles one message. What the scheduler must know is collected in `batch`.
    pub(super) fn on_message(&mut self, now: Instant, message: Message, batch: &mut Batch) {
        // Blocks are wanted, and requests and `have`s are charged by what they bring. Few other messages are ever
        // needed, so each costs as much as a block.
        if !matches!(message, Message::Piece { .. } | Message::Request(_) | Message::Cancel(_) | Message::Have(_)) {
            self.cost.charge(now, 0, BLOCK_LEN);
        }
        match message {
            Message::Choke => self.on_choked(now, batch),
            Message::Unchoke if self.peer_choking => {
                self.peer_choking = false;
                self.pipeline.on_unchoked();
            }
            Message::Unchoke | Message::KeepAlive | Message::Port(_) | Message::Suggest(_) => {}
            Message::AllowedFast(number) => self.on_allowed_fast(number),
            Message::Interested => self.peer_interested = true,
            Message::NotInterested => self.peer_interested = false,
            Message::Have(number) => self.on_have(now, number, batch),
            Message::Bitfield(payload) => match Bitfield::from_wire(&payload, self.terms.geometry.piece_count()) {
                Ok(bitfield) if self.told_pieces => self.on_late_bitfield(&bitfield, batch),
                Ok(bitfield) => self.on_pieces(bitfield),
                Err(_refused) => self.leave(DisconnectReason::ProtocolViolation),
            },
            Message::HaveAll => self.on_pieces(Bitfield::all(self.terms.geometry.piece_count())),
            Message::HaveNone => self.on_pieces(Bitfield::none(self.terms.geometry.piece_count())),
            Message::Piece { piece, begin, data } => self.on_piece(now, piece, begin, data, batch),
            Message::Reject(request) => self.on_reject(now, request, batch),
            Message::Request(request) => self.on_request(now, request),
            Message::Cancel(request) => self.on_cancel_of_theirs(now, request),
            Message::Extended { id, payload } => self.on_extended(now, id, &payload, batch),
            Message::Unknown { .. } => self.on_unknown(now),
        }
    }

    /// "Choke no longer implicitly rejects all pending requests" (BEP 6): each will be answered or rejected. A request
    /// that is neither times out.
    fn on_choked(&mut self, now: Instant, batch: &mut Batch) {
        self.peer_choking = true;
        batch.choked = true;
        if !self.fast.spoken {
            batch.returned.extend(self.pipeline.on_choked(now));
        } else if !self.takes_requests() {
            self.pipeline.on_held();
        }
    }

    /// The peer answers requests for this piece although it chokes us.
    fn on_allowed_fast(&mut self, number: u32) {
        let piece = self.terms.geometry.piece(number);
        if piece.is_some_and(|piece| self.fast.on_allowed(piece)) {
            self.pipeline.on_unchoked();
        }
    }

    /// The peer rejects a request.
    fn on_reject(&mut self, now: Instant, request: RawRequest, batch: &mut Batch) {
        let block = self.parse(request);
        let broken = block.is_some_and(|block| self.peer_choking && self.fast.on_broken_word(block.piece()));
        if broken && !self.takes_requests() {
            self.pipeline.on_held();
        }
        match block.map_or(Rejected::Unasked, |block| self.pipeline.on_rejected(now, block)) {
            Rejected::Asked => batch.returned.extend(block),
            Rejected::Over => {}
            Rejected::Unasked if self.stray_rejects.spend(now) => {}
            Rejected::Unasked => self.leave(DisconnectReason::ProtocolViolation),
        }
    }

    /// The peer has completed a piece.
    fn on_have(&mut self, now: Instant, number: u32, batch: &mut Batch) {
        self.told_pieces = true;
        match self.terms.geometry.piece(number) {
            None => self.leave(DisconnectReason::ProtocolViolation),
            Some(piece) => {
                if self.peer_have.set(piece) {
                    batch.haves.push(piece);
                } else {
                    self.cost.charge(now, 0, BLOCK_LEN);
                }
            }
        }
    }

    /// aria2 sends its whole bitfield again where many `have`s would be longer (W-04). A bitfield that adds no piece,
    /// or lacks an earlier one, is a violation (P-07).
    fn on_late_bitfield(&mut self, pieces: &Bitfield, batch: &mut Batch) {
        if self.peer_have.has_beyond(pieces) || !pieces.has_beyond(&self.peer_have) {
            return self.leave(DisconnectReason::ProtocolViolation);
        }
        self.haves.named_many = true;
        let peer_have = &mut self.peer_have;
        batch.haves.extend(pieces.pieces(&self.terms.geometry).filter(|piece| peer_have.set(*piece)));
    }

    /// "The bitfield message may only be sent immediately after the handshaking sequence is completed" (BEP 3): once,
    /// and before any `have`. Other messages before it are tolerated (W-04).
    fn on_pieces(&mut self, pieces: Bitfield) {
        if self.told_pieces {
            self.leave(DisconnectReason::ProtocolViolation);
            return;
        }
        self.told_pieces = true;
        self.haves.named_many = !pieces.is_none();
        self.peer_have = pieces;
        self.tell_all_progress();
        if self.welcomed {
            self.effects.push_back(PeerEffect::Report(SchedulerNotice::Bitfield(self.peer_have.clone())));
        }
    }

    /// A block was received.
    fn on_piece(&mut self, now: Instant, piece: u32, begin: u32, data: Bytes, batch: &mut Batch) {
        self.down.get_or_insert_with(|| Box::new(Rate::new(now))).add(now, data.len() as u64);
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let Some(addr) = self.terms.geometry.parse_block(piece, begin, len) else {
            return self.on_unasked();
        };
        match self.pipeline.on_block(now, addr) {
            Arrival::Expected | Arrival::Late => {
                if !self.delivered {
                    self.delivered = true;
                    self.effects.push_back(PeerEffect::Delivered);
                }
                // One list for all blocks of a read, of a size that need not grow.
                if batch.blocks.is_empty() {
                    batch.blocks.reserve(BLOCKS_A_READ);
                }
                batch.blocks.push(ReceivedBlock { addr, data });
            }
            Arrival::Unasked => self.on_unasked(),
        }
    }

    /// Counts a block or request that is a violation, and closes the connection after [`MAX_UNASKED`].
    pub(super) fn on_unasked(&mut self) {
        self.unasked += 1;
        if self.unasked >= MAX_UNASKED {
            self.leave(DisconnectReason::ProtocolViolation);
        }
    }

    /// Counts an unknown message, and closes the connection after too many.
    pub(super) fn on_unknown(&mut self, now: Instant) {
        if !self.unknown.spend(now) {
            self.leave(DisconnectReason::ProtocolViolation);
        }
    }
}
