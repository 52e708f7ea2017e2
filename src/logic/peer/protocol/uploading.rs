//! Uploads to the peer: its requests, when they are served, and when they are refused.

use std::time::Instant;

use bytes::Bytes;

use super::{Message, PeerEffect, PeerProtocol};
use crate::base::disconnect::DisconnectReason;
use crate::base::geometry::{BLOCK_LEN, PieceRange};
use crate::base::limits::MAX_REQUEST_LEN;
use crate::codec::wire::RawRequest;

impl PeerProtocol {
    /// The choker's decision. Before the welcome the peer is not told, since the bitfield comes first.
    pub fn on_choke_decision(&mut self, now: Instant, choke: bool) {
        if self.us.set_choking(choke) {
            self.tell_stance(now);
            if choke {
                let kept = |range: &PieceRange| self.fast.is_given(range.piece());
                for range in self.giving.on_choke(kept) {
                    self.refuse(now, raw(range));
                }
            }
        }
        self.settle();
    }

    /// A read has finished, with its blocks in the order of the request. A missing block could not be read: the
    /// request is rejected, so that the peer can ask another one (D-04).
    pub fn on_read(&mut self, now: Instant, blocks: impl IntoIterator<Item = Option<Bytes>>) {
        for range in self.giving.on_read(blocks) {
            self.refuse(now, raw(range));
        }
        self.give(now);
        self.settle();
    }

    /// Gives blocks to the socket as far as its queue has room.
    pub(super) fn give(&mut self, now: Instant) {
        let usual = self.usual_len();
        self.giving.on_turn(now);
        while let Some((range, data)) = self.giving.next_block(self.line.unsent(), usual) {
            self.line.on_block(now, data.len());
            self.outbox.push(PeerEffect::Give(range, data));
        }
    }

    /// The bytes of a usual request: a block, or a whole piece if that is smaller.
    fn usual_len(&self) -> u32 {
        BLOCK_LEN.min(self.terms.geometry.nominal_piece_len())
    }

    /// A request that will not be served is rejected where BEP 6 is spoken, and dropped without a word where it is not:
    /// it crossed our choke on the way, or is for a piece that we lack. What is out of bounds or more than the queue
    /// holds is a violation; a peer that can be told so has a few of the first kind free (P-20, P-21).
    pub(super) fn on_request(&mut self, now: Instant, request: RawRequest) {
        let RawRequest { piece, begin, len } = request;
        let range = self.terms.geometry.parse_range(piece, begin, len).filter(|range| range.len() <= MAX_REQUEST_LEN);
        match range {
            Some(range) if self.may_have(now, range) => {
                self.conduct.charge(now, len, self.usual_len());
                if self.giving.on_request(range).is_err() {
                    self.leave(DisconnectReason::ProtocolViolation);
                }
            }
            None if !self.us.am_choking() && !self.fast.spoken => self.leave(DisconnectReason::ProtocolViolation),
            None if !self.us.am_choking() => {
                self.refuse(now, request);
                self.on_unasked();
            }
            _ => {
                self.conduct.charge(now, 0, self.usual_len());
                self.refuse(now, request);
            }
        }
    }

    /// Handles a cancel. "If a peer receives a cancel, it must send the piece or a reject" (BEP 6).
    pub(super) fn on_cancel_of_theirs(&mut self, now: Instant, request: RawRequest) {
        let RawRequest { piece, begin, len } = request;
        if let Some(range) = self.terms.geometry.parse_range(piece, begin, len) {
            self.conduct.charge(now, 0, self.usual_len());
            let here = self.giving.on_cancel(range);
            for _ in 0..here {
                self.refuse(now, request);
            }
        }
    }

    /// Allows a newcomer its first pieces, once it is known to be one (BEP 6). None while uploads are limited: thirty
    /// newcomers that share a slow line would have their first piece only when it has carried thirty, and nothing to
    /// trade until then (`swarm.32`).
    pub(super) fn give_fast_pieces(&mut self, now: Instant) {
        if !self.us.is_welcomed() || !self.them.has_told_pieces() || self.outbox.left || self.terms.max_up_bps.is_some()
        {
            return;
        }
        let from = (self.terms.info_hash, self.terms.ip);
        if self.giving.is_spent(now, self.terms.ip) {
            return;
        }
        let given =
            self.fast.give(&self.terms.geometry, from, self.them.pieces().ones(), |piece| self.us.pieces.has(piece));
        for piece in given {
            self.send(now, Message::AllowedFast(piece.get()));
        }
    }

    /// Whether we serve these bytes now.
    fn may_have(&mut self, now: Instant, range: PieceRange) -> bool {
        self.us.pieces.has(range.piece()) && (!self.us.am_choking() || self.spend_allowance(now, range))
    }

    /// Spends the bytes that the peer and its network may have while choked. A peer that reconnects gets no new ones.
    fn spend_allowance(&mut self, now: Instant, range: PieceRange) -> bool {
        let ip = self.terms.ip;
        let may = !self.giving.is_spent(now, ip) && self.fast.spend(range.piece(), range.len());
        if may {
            self.giving.charge(now, ip, range.len());
        }
        may
    }

    /// Rejects a request, if BEP 6 is supported.
    fn refuse(&mut self, now: Instant, request: RawRequest) {
        if !self.fast.spoken || !self.us.is_welcomed() {
            return;
        }
        if self.fast.on_rejecting() {
            self.send(now, Message::Reject(request));
        } else {
            self.leave(DisconnectReason::ProtocolViolation);
        }
    }
}

fn raw(range: PieceRange) -> RawRequest {
    RawRequest { piece: range.piece().get(), begin: range.begin(), len: range.len() }
}
