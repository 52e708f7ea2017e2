//! The extension protocol on one connection (BEP 10): who we are and who the peer says it is, and the small messages
//! that are spoken inside it (BEP 21, BEP 54).
//!
//! Nothing that is said here is proven. It may limit what we ask of this peer and name addresses to try; it opens nothing.

use std::time::Instant;

use super::{Batch, Message, PeerEffect, PeerProtocol, SchedulerNotice};
use crate::base::bitfield::Bitfield;
use crate::base::disconnect::DisconnectReason;
use crate::base::geometry::PieceIndex;
use crate::codec::extended::{self, ExtendedHandshake, ExtendedMessage, Numbers, Pex};
use crate::logic::peer::uploads::MAX_QUEUED;
use crate::logic::peers::pex::{self, PexListener};

/// What we call ourselves: `tt-actors 0.1.0`.
const CLIENT: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

/// BEP 10 on one connection.
#[derive(Debug)]
pub(super) struct Extensions {
    /// Both handshakes have the bit.
    pub(super) spoken: bool,
    /// The peer has introduced itself.
    introduced: bool,
    /// How it numbers its messages.
    numbers: Numbers,
    /// It will take nothing from us (BEP 21).
    pub(super) upload_only: bool,
    /// Pieces that it has lost so far.
    lost: u32,
    /// How its peer exchange is listened to.
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
    /// Pieces that we had and have lost. A peer that has no word for it will be rejected, or wait in vain.
    pub fn on_pieces_lost(&mut self, now: Instant, pieces: &[PieceIndex]) {
        for piece in pieces {
            if let Some(hidden) = &mut self.hidden {
                hidden.clear(*piece);
            }
            if self.have.clear(*piece) {
                self.tell_dont_have(now, *piece);
            }
        }
        self.settle();
    }

    /// What was lost while there was no scheduler to say so.
    pub(super) fn tell_lost(&mut self, now: Instant, before: &Bitfield) {
        let lost: Vec<_> = before.pieces(&self.terms.geometry).filter(|piece| !self.have.has(*piece)).collect();
        for piece in lost {
            self.tell_dont_have(now, piece);
        }
    }

    pub(super) fn understands_dont_have(&self) -> bool {
        self.extensions.numbers.dont_have.is_some_and(|id| id != extended::HANDSHAKE)
    }

    pub(super) fn send_dont_have(&mut self, now: Instant, piece: PieceIndex) {
        self.send_extended(now, self.extensions.numbers.dont_have, &ExtendedMessage::DontHave(piece.get()));
    }

    /// Whom else we know, if the peer has a word for it (BEP 11).
    pub fn on_gossip(&mut self, now: Instant, pex: Pex) {
        if self.exchanges() && self.welcomed {
            self.send_extended(now, self.extensions.numbers.pex, &ExtendedMessage::Pex(pex));
        }
    }

    /// BEP 27: "a private torrent gets peers from its trackers only".
    const fn exchanges(&self) -> bool {
        self.extensions.spoken && self.terms.pex
    }

    /// Who we are, behind our bitfield.
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
            upload_only: self.have.is_all().then_some(true),
        };
        let payload = ExtendedMessage::Handshake(ours).encode();
        self.send(now, Message::Extended { id: extended::HANDSHAKE, payload });
    }

    /// We have everything now: who understands it need not wait for our interest (BEP 21).
    pub(super) fn tell_upload_only(&mut self, now: Instant) {
        self.send_extended(now, self.extensions.numbers.upload_only, &ExtendedMessage::UploadOnly(true));
    }

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
                let worth_trying = pex::worth_trying(&pex, self.have.is_all());
                self.effects.push_back(PeerEffect::PeersNamed(worth_trying));
            }
            Some(ExtendedMessage::Pex(_)) | None => self.on_unknown(now),
        }
    }

    /// "The handshake may be sent any number of times" (BEP 10); from the second on it counts with what we do not know.
    fn on_introduction(&mut self, now: Instant, theirs: ExtendedHandshake) {
        if std::mem::replace(&mut self.extensions.introduced, true) {
            self.on_unknown(now);
        }
        self.extensions.numbers = self.extensions.numbers.updated_by(theirs.numbers);
        self.extensions.upload_only = theirs.upload_only.unwrap_or(self.extensions.upload_only);
        if let Some(reqq) = theirs.reqq {
            self.pipeline.on_reqq(reqq);
        }
        self.effects.push_back(PeerEffect::Introduced(theirs));
    }

    /// "The peer no longer has that piece" (BEP 54). Who loses more than there is loses it again and again, and that costs
    /// us more than it: those count with what we do not know.
    fn on_dont_have(&mut self, now: Instant, number: u32, batch: &mut Batch) {
        let Some(piece) = self.terms.geometry.piece(number) else {
            return self.leave(DisconnectReason::ProtocolViolation);
        };
        if !self.peer_have.clear(piece) {
            return self.on_unknown(now);
        }
        self.extensions.lost += 1;
        if self.extensions.lost > self.terms.geometry.piece_count() {
            self.on_unknown(now);
        }
        if self.welcomed {
            self.report_haves(batch);
            self.effects.push_back(PeerEffect::Report(SchedulerNotice::Lost(piece)));
        }
    }

    /// By the peer's number for it; not at all, if it has none.
    fn send_extended(&mut self, now: Instant, number: Option<u8>, message: &ExtendedMessage) {
        if let Some(id) = number.filter(|id| *id != extended::HANDSHAKE) {
            self.send(now, Message::Extended { id, payload: message.encode() });
        }
    }
}
