//! Uploads to the peer: its requests, when they are served, and when they are refused.

use std::time::Instant;

use bytes::Bytes;

use super::{Message, PeerEffect, PeerProtocol, bps};
use crate::base::disconnect::DisconnectReason;
use crate::base::geometry::{BLOCK_LEN, PieceRange};
use crate::base::limits::MAX_REQUEST_LEN;
use crate::codec::wire::RawRequest;
use crate::logic::peer::uploads::Uploads;

impl PeerProtocol {
    /// The choker's decision. Before the welcome the peer is not told, since the bitfield comes first.
    pub fn on_choke_decision(&mut self, now: Instant, choke: bool) {
        if self.am_choking != choke {
            self.am_choking = choke;
            if choke {
                self.owe_choke();
            }
            self.tell_stance(now);
            if choke {
                let kept = |range: &PieceRange| self.fast.is_given(range.piece());
                let forgotten = self.uploads.as_mut().map_or_else(Vec::new, |uploads| uploads.on_choke(kept));
                for range in forgotten {
                    self.refuse(now, raw(range));
                }
            }
        }
        self.settle();
    }

    /// A read has finished, with its blocks in the order of the request. A missing block could not be read: the
    /// request is rejected, so that the peer can ask another one (D-04).
    pub fn on_read(&mut self, now: Instant, blocks: impl IntoIterator<Item = Option<Bytes>>) {
        let failed = self.uploads.as_mut().map_or_else(Vec::new, |uploads| uploads.on_read(blocks));
        for range in failed {
            self.refuse(now, raw(range));
        }
        self.give(now);
        self.settle();
    }

    /// Gives blocks to the socket as far as its queue has room.
    pub(super) fn give(&mut self, now: Instant) {
        let usual = self.usual_len();
        let Some(uploads) = &mut self.uploads else { return };
        uploads.on_rate(bps(self.up.as_deref(), now));
        while let Some((range, data)) = uploads.next_block(self.unsent) {
            self.last_sent = now;
            self.unsent += data.len();
            self.sent += data.len() as u64;
            self.charged += u64::from(range.len().max(usual));
            self.effects.push_back(PeerEffect::Give(range, data));
        }
    }

    /// The bytes of a usual request: a block, or a whole piece if that is smaller.
    fn usual_len(&self) -> u32 {
        BLOCK_LEN.min(self.terms.geometry.nominal_piece_len())
    }

    /// The socket took `taken` bytes. After a block of them the peer counts as served; bytes in the system's buffer
    /// cannot be told apart, and their number is limited.
    pub(super) fn count_taken(&mut self, taken: usize) {
        let block = u64::from(BLOCK_LEN);
        let before = self.taken;
        if self.sent > 0 && before < block {
            self.taken += taken as u64;
            if self.taken >= block {
                self.effects.push_back(PeerEffect::Served);
            }
        }
    }

    /// Handles a request. A request that is not served is rejected if BEP 6 is supported and otherwise dropped: it
    /// crossed our choke, or is for a piece that we lack. A request out of bounds or beyond the limit of the queue is
    /// a violation; where it can be rejected a few out of bounds are tolerated (P-20, P-21).
    pub(super) fn on_request(&mut self, now: Instant, request: RawRequest) {
        let RawRequest { piece, begin, len } = request;
        let range = self.terms.geometry.parse_range(piece, begin, len).filter(|range| range.len() <= MAX_REQUEST_LEN);
        match range {
            Some(range) if self.may_have(now, range) => {
                self.cost.charge(now, len, self.usual_len());
                let given = &self.given;
                let uploads = self.uploads.get_or_insert_with(|| Box::new(Uploads::sharing(given.clone())));
                if uploads.on_request(range).is_err() {
                    self.leave(DisconnectReason::ProtocolViolation);
                }
            }
            None if !self.am_choking && !self.fast.spoken => self.leave(DisconnectReason::ProtocolViolation),
            None if !self.am_choking => {
                self.refuse(now, request);
                self.on_unasked();
            }
            _ => {
                self.cost.charge(now, 0, self.usual_len());
                self.refuse(now, request);
            }
        }
    }

    /// Handles a cancel. "If a peer receives a cancel, it must send the piece or a reject" (BEP 6).
    pub(super) fn on_cancel_of_theirs(&mut self, now: Instant, request: RawRequest) {
        let RawRequest { piece, begin, len } = request;
        if let Some(range) = self.terms.geometry.parse_range(piece, begin, len) {
            self.cost.charge(now, 0, self.usual_len());
            let here = self.uploads.as_mut().map_or(0, |uploads| uploads.on_cancel(range));
            for _ in 0..here {
                self.refuse(now, request);
            }
        }
    }

    /// Allows a newcomer its first pieces, once it is known to be one (BEP 6). None while uploads are limited: thirty
    /// newcomers that share a slow line would have their first piece only when it has carried thirty, and nothing to
    /// trade until then (`swarm.32`).
    pub(super) fn give_fast_pieces(&mut self, now: Instant) {
        if !self.welcomed || !self.told_pieces || self.left || self.terms.max_up_bps.is_some() {
            return;
        }
        let from = (self.terms.info_hash, self.terms.ip);
        if self.ledger.is_spent(now, self.terms.ip) {
            return;
        }
        let given = self.fast.give(&self.terms.geometry, from, self.peer_have.ones(), |piece| self.have.has(piece));
        for piece in given {
            self.send(now, Message::AllowedFast(piece.get()));
        }
    }

    /// Whether we serve these bytes now.
    fn may_have(&mut self, now: Instant, range: PieceRange) -> bool {
        self.have.has(range.piece()) && (!self.am_choking || self.spend_allowance(now, range))
    }

    /// Spends the bytes that the peer and its network may have while choked. A peer that reconnects gets no new ones.
    fn spend_allowance(&mut self, now: Instant, range: PieceRange) -> bool {
        let ip = self.terms.ip;
        let may = !self.ledger.is_spent(now, ip) && self.fast.spend(range.piece(), range.len());
        if may {
            self.ledger.charge(now, ip, range.len());
        }
        may
    }

    /// Rejects a request, if BEP 6 is supported.
    fn refuse(&mut self, now: Instant, request: RawRequest) {
        if !self.fast.spoken || !self.welcomed {
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
