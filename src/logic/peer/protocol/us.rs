//! Our side of one connection: what we have as far as the peer is to believe it, and what the peer was told of us.
//!
//! Knows no messages but the two bits of BEP 3, and nothing of the peer.

use super::Message;
use super::haves::Haves;
use super::stance::Stance;
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;

/// What we have said to the peer, and what we have to say.
#[derive(Debug)]
pub(super) struct Us {
    pub(super) pieces: OurPieces,
    pub(super) haves: Haves,
    stance: Stance,
    welcomed: bool,
}

impl Us {
    /// Of a torrent of so many pieces. The peer is told nothing before [`Self::on_welcome`].
    pub(super) fn new(pieces: u32) -> Self {
        Self { pieces: OurPieces::none(pieces), haves: Haves::default(), stance: Stance::new(), welcomed: false }
    }

    /// A scheduler has taken the peer in. True: it is not the first one.
    pub(super) const fn on_welcome(&mut self) -> bool {
        std::mem::replace(&mut self.welcomed, true)
    }

    /// The peer may be told what we have.
    pub(super) const fn is_welcomed(&self) -> bool {
        self.welcomed
    }

    /// So many bytes still wait for the socket.
    pub(super) fn on_sent(&mut self, unsent: usize) {
        self.haves.on_sent(unsent);
        self.stance.on_sent(unsent);
    }

    /// We do not answer the peer's requests.
    pub(super) const fn am_choking(&self) -> bool {
        self.stance.am_choking()
    }

    /// The peer has something that we want.
    pub(super) const fn am_interested(&self) -> bool {
        self.stance.am_interested()
    }

    /// We choke the peer from now on, or no longer. False: that is no change.
    pub(super) fn set_choking(&mut self, choking: bool) -> bool {
        self.stance.set_choking(choking)
    }

    /// We want something of the peer from now on, or no longer.
    pub(super) const fn set_interested(&mut self, interested: bool) {
        self.stance.set_interested(interested);
    }

    /// The next of the two bits that the peer is to be told, until there is none. None before the welcome.
    pub(super) fn next_stance(&mut self) -> Option<Message> {
        if self.welcomed { self.stance.next() } else { None }
    }
}

/// Which pieces we have.
#[derive(Debug)]
pub(super) struct OurPieces {
    /// What the peer is to believe.
    shown: Bitfield,
    /// All that we have, where that is more than the peer is to believe (BEP 16).
    hidden: Option<Box<Bitfield>>,
}

impl OurPieces {
    fn none(count: u32) -> Self {
        Self { shown: Bitfield::none(count), hidden: None }
    }

    /// We have these. `hide`: the peer is to believe that we have only what it was named so far. Gives what the peer was
    /// to believe before.
    pub(super) fn replace(&mut self, have: Bitfield, hide: bool) -> Bitfield {
        if !hide {
            return std::mem::replace(&mut self.shown, have);
        }
        let named = match &self.hidden {
            None => Bitfield::none(have.piece_count()),
            Some(_) => self.shown.clone(),
        };
        self.hidden = Some(Box::new(have));
        std::mem::replace(&mut self.shown, named)
    }

    /// We have got this piece. False: the peer is not to know.
    pub(super) fn add(&mut self, piece: PieceIndex) -> bool {
        let known = self.hidden.as_mut().map_or(&mut self.shown, |hidden| &mut **hidden);
        known.set(piece);
        self.hidden.is_none()
    }

    /// We have lost this piece. True: the peer believes that we have it.
    pub(super) fn remove(&mut self, piece: PieceIndex) -> bool {
        if let Some(hidden) = &mut self.hidden {
            hidden.clear(piece);
        }
        self.shown.clear(piece)
    }

    /// The peer is to be named this hidden piece (BEP 16). False: we lack it, or the peer was named it before.
    pub(super) fn name(&mut self, piece: PieceIndex) -> bool {
        self.hidden.as_ref().is_some_and(|hidden| hidden.has(piece)) && self.shown.set(piece)
    }

    /// What the peer is to believe that we have.
    pub(super) const fn shown(&self) -> &Bitfield {
        &self.shown
    }

    /// The peer may ask for this piece.
    pub(super) fn has(&self, piece: PieceIndex) -> bool {
        self.shown.has(piece)
    }

    /// We have every piece, whatever the peer believes.
    pub(super) fn is_complete(&self) -> bool {
        self.hidden.as_ref().map_or(self.shown.is_all(), |hidden| hidden.is_all())
    }
}
