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

impl PeerProtocol {
    /// Handles one message. What the scheduler must know is collected in `batch`.
    pub(super) fn on_message(&mut self, now: Instant, message: Message, batch: &mut Batch) {
        // Blocks are wanted, and requests and `have`s are charged by what they bring. Few other messages are ever
        // needed, so each costs as much as a block.
        if !matches!(message, Message::Piece { .. } | Message::Request(_) | Message::Cancel(_) | Message::Have(_)) {
            self.conduct.charge(now, 0, BLOCK_LEN);
        }
        match message {
            Message::Choke => self.on_choked(now, batch),
            Message::Unchoke => {
                if self.them.set_choking(false) {
                    self.fetching.pipeline.on_unchoked();
                }
            }
            Message::KeepAlive | Message::Port(_) | Message::Suggest(_) => {}
            Message::AllowedFast(number) => self.on_allowed_fast(number),
            Message::Interested => self.them.interest.set(true),
            Message::NotInterested => self.them.interest.set(false),
            Message::Have(number) => self.on_have(now, number, batch),
            Message::Bitfield(payload) => match Bitfield::from_wire(&payload, self.terms.geometry.piece_count()) {
                Ok(bitfield) if self.them.has_told_pieces() => self.on_late_bitfield(&bitfield, batch),
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
        self.them.set_choking(true);
        batch.choked = true;
        if !self.fast.spoken {
            batch.returned.extend(self.fetching.pipeline.on_choked(now));
        } else if !self.takes_requests() {
            self.fetching.pipeline.on_held();
        }
    }

    /// The peer answers requests for this piece although it chokes us.
    fn on_allowed_fast(&mut self, number: u32) {
        let piece = self.terms.geometry.piece(number);
        if piece.is_some_and(|piece| self.fast.on_allowed(piece)) {
            self.fetching.pipeline.on_unchoked();
        }
    }

    /// The peer rejects a request.
    fn on_reject(&mut self, now: Instant, request: RawRequest, batch: &mut Batch) {
        let block = self.parse(request);
        let broken = block.is_some_and(|block| self.them.is_choking() && self.fast.on_broken_word(block.piece()));
        if broken && !self.takes_requests() {
            self.fetching.pipeline.on_held();
        }
        match block.map_or(Rejected::Unasked, |block| self.fetching.pipeline.on_rejected(now, block)) {
            Rejected::Asked => batch.returned.extend(block),
            Rejected::Over => {}
            Rejected::Unasked if self.conduct.on_stray_reject(now) => {}
            Rejected::Unasked => self.leave(DisconnectReason::ProtocolViolation),
        }
    }

    /// The peer has completed a piece.
    fn on_have(&mut self, now: Instant, number: u32, batch: &mut Batch) {
        self.them.on_any_have();
        match self.terms.geometry.piece(number) {
            None => self.leave(DisconnectReason::ProtocolViolation),
            Some(piece) => {
                if self.them.on_have(piece) {
                    batch.haves.push(piece);
                } else {
                    self.conduct.charge(now, 0, BLOCK_LEN);
                }
            }
        }
    }

    /// aria2 sends its whole bitfield again where many `have`s would be longer (W-04). A bitfield that adds no piece,
    /// or lacks an earlier one, is a violation (P-07).
    fn on_late_bitfield(&mut self, pieces: &Bitfield, batch: &mut Batch) {
        if !self.them.on_more_pieces(&self.terms.geometry, pieces, &mut batch.haves) {
            self.leave(DisconnectReason::ProtocolViolation);
        }
    }

    /// "The bitfield message may only be sent immediately after the handshaking sequence is completed" (BEP 3): once,
    /// and before any `have`. Other messages before it are tolerated (W-04).
    fn on_pieces(&mut self, pieces: Bitfield) {
        if !self.them.on_all_pieces(pieces) {
            return self.leave(DisconnectReason::ProtocolViolation);
        }
        self.tell_all_progress();
        if self.us.is_welcomed() {
            self.outbox.report(SchedulerNotice::Bitfield(self.them.pieces().clone()));
        }
    }

    /// A block was received.
    fn on_piece(&mut self, now: Instant, piece: u32, begin: u32, data: Bytes, batch: &mut Batch) {
        self.fetching.on_data(now, data.len());
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let Some(addr) = self.terms.geometry.parse_block(piece, begin, len) else {
            return self.on_unasked();
        };
        match self.fetching.pipeline.on_block(now, addr) {
            Arrival::Expected | Arrival::Late => {
                if self.fetching.is_first_block() {
                    self.outbox.push(PeerEffect::Delivered);
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
        if !self.conduct.on_unasked() {
            self.leave(DisconnectReason::ProtocolViolation);
        }
    }

    /// Counts an unknown message, and closes the connection after too many.
    pub(super) fn on_unknown(&mut self, now: Instant) {
        if !self.conduct.on_unknown(now) {
            self.leave(DisconnectReason::ProtocolViolation);
        }
    }
}
