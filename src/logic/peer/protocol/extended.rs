//! The extension protocol on one connection (BEP 10): both extended handshakes, and the small messages inside it (BEP
//! 11, BEP 21, BEP 54).
//!
//! Nothing that the peer says here is proven. It may limit our requests to this peer and name addresses to dial, and
//! nothing else depends on it.

use std::time::Instant;

use super::{Batch, Message, PeerEffect, PeerProtocol, SchedulerNotice};
use crate::base::bitfield::Bitfield;
use crate::base::disconnect::DisconnectReason;
use crate::base::geometry::PieceIndex;
use crate::codec::extended::{self, ExtendedHandshake, ExtendedMessage, Numbers, Pex};
use crate::logic::peer::uploads::MAX_QUEUED;
use crate::logic::peers::pex::{self, PexListener};

/// The name that we give ourselves: `tt-actors 0.1.0`.
const CLIENT: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

/// The extension protocol on one connection.
#[derive(Debug)]
pub(super) struct Extensions {
    /// Whether both handshakes have its bit.
    pub(super) spoken: bool,
    /// Whether the peer has sent its extended handshake.
    introduced: bool,
    /// The peer's numbers for extended messages.
    numbers: Numbers,
    /// Whether the peer downloads nothing (BEP 21).
    pub(super) upload_only: bool,
    /// How many pieces the peer has lost so far.
    lost: u32,
    /// Limits the peer exchange messages of the peer.
    ear: PexListener,
}

impl Extensions {
    pub(super) fn new(spoken: bool) -> Self {
        Self {
            spoken,
            introduced: false,
            numbers: Numbers::default(),
            upload_only: false,
            lost: 0,
            ear: PexListener::default(),
        }
    }
}

impl PeerProtocol {
    /// We have lost these pieces. If the peer does not understand `lt_donthave`, its requests for them are rejected or
    /// time out.
    pub fn on_pieces_lost(&mut self, now: Instant, pieces: &[PieceIndex]) {
        for piece in pieces {
            if self.us.pieces.remove(*piece) {
                self.tell_dont_have(now, *piece);
            }
        }
        self.settle();
    }

    /// Tells the peer of pieces that were lost while no scheduler ran.
    pub(super) fn tell_lost(&mut self, now: Instant, before: &Bitfield) {
        let lost: Vec<_> = before.pieces(&self.terms.geometry).filter(|piece| !self.us.pieces.has(*piece)).collect();
        for piece in lost {
            self.tell_dont_have(now, piece);
        }
    }

    /// Whether the peer understands `lt_donthave`.
    pub(super) fn understands_dont_have(&self) -> bool {
        self.extensions.numbers.dont_have.is_some_and(|id| id != extended::HANDSHAKE)
    }

    /// Sends `lt_donthave` for this piece.
    pub(super) fn send_dont_have(&mut self, now: Instant, piece: PieceIndex) {
        self.send_extended(now, self.extensions.numbers.dont_have, &ExtendedMessage::DontHave(piece.get()));
    }

    /// Sends the peer a peer exchange message, if it understands them (BEP 11).
    pub fn on_gossip(&mut self, now: Instant, pex: Pex) {
        if self.exchanges() && self.us.is_welcomed() {
            self.send_extended(now, self.extensions.numbers.pex, &ExtendedMessage::Pex(pex));
        }
    }

    /// Whether peers are exchanged. BEP 27: "a private torrent gets peers from its trackers only".
    const fn exchanges(&self) -> bool {
        self.extensions.spoken && self.terms.pex
    }

    /// Sends our extended handshake, after our bitfield.
    pub(super) fn introduce_in_full(&mut self, now: Instant) {
        if !self.extensions.spoken {
            return;
        }
        let ours = ExtendedHandshake {
            numbers: Numbers::ours(self.terms.pex),
            client: Some(CLIENT.into()),
            port: self.terms.listen_port,
            reqq: u32::try_from(MAX_QUEUED).ok(),
            your_ip: Some(self.terms.ip.to_canonical()),
            upload_only: self.us.pieces.shown().is_all().then_some(true),
        };
        let payload = ExtendedMessage::Handshake(ours).encode();
        self.send(now, Message::Extended { id: extended::HANDSHAKE, payload });
    }

    /// We have every piece now: a peer that understands `upload_only` knows that we want nothing (BEP 21).
    pub(super) fn tell_upload_only(&mut self, now: Instant) {
        self.send_extended(now, self.extensions.numbers.upload_only, &ExtendedMessage::UploadOnly(true));
    }

    /// Handles an extended message.
    pub(super) fn on_extended(&mut self, now: Instant, id: u8, payload: &[u8], batch: &mut Batch) {
        if id == extended::PEX && self.exchanges() && !self.extensions.ear.opens(now) {
            return;
        }
        let message = if self.extensions.spoken { extended::decode(id, payload).ok() } else { None };
        match message {
            Some(ExtendedMessage::Handshake(theirs)) => self.on_introduction(now, theirs),
            Some(ExtendedMessage::DontHave(number)) => self.on_dont_have(now, number, batch),
            Some(ExtendedMessage::UploadOnly(only)) => self.extensions.upload_only = only,
            Some(ExtendedMessage::Pex(pex)) if self.exchanges() => {
                let worth_trying = pex::worth_trying(&pex, self.us.pieces.shown().is_all());
                self.outbox.push(PeerEffect::PeersNamed(worth_trying));
            }
            Some(ExtendedMessage::Pex(_)) | None => self.on_unknown(now),
        }
    }

    /// Handles an extended handshake. "The handshake may be sent any number of times" (BEP 10); from the second one on
    /// each counts as an unknown message.
    fn on_introduction(&mut self, now: Instant, theirs: ExtendedHandshake) {
        if std::mem::replace(&mut self.extensions.introduced, true) {
            self.on_unknown(now);
        }
        self.extensions.numbers = self.extensions.numbers.updated_by(theirs.numbers);
        self.extensions.upload_only = theirs.upload_only.unwrap_or(self.extensions.upload_only);
        if let Some(reqq) = theirs.reqq {
            self.fetching.pipeline.on_reqq(reqq);
        }
        self.outbox.push(PeerEffect::Introduced(theirs));
    }

    /// Handles `lt_donthave`: "the peer no longer has that piece" (BEP 54). Losing a piece costs us more work than the
    /// peer, so once it has lost more pieces than there are, each one counts as an unknown message.
    fn on_dont_have(&mut self, now: Instant, number: u32, batch: &mut Batch) {
        let Some(piece) = self.terms.geometry.piece(number) else {
            return self.leave(DisconnectReason::ProtocolViolation);
        };
        if !self.them.on_lost(piece) {
            return self.on_unknown(now);
        }
        self.extensions.lost += 1;
        if self.extensions.lost > self.terms.geometry.piece_count() {
            self.on_unknown(now);
        }
        if self.us.is_welcomed() {
            self.report_haves(batch);
            self.outbox.report(SchedulerNotice::Lost(piece));
        }
    }

    /// Sends a message by the peer's number for it, or nothing if the peer has none.
    fn send_extended(&mut self, now: Instant, number: Option<u8>, message: &ExtendedMessage) {
        if let Some(id) = number.filter(|id| *id != extended::HANDSHAKE) {
            self.send(now, Message::Extended { id, payload: message.encode() });
        }
    }
}
