//! The two bits of BEP 3 that we tell a peer, and the one that it tells us: however often they change, only the last state
//! counts.
//!
//! A peer that makes us change our mind faster than it reads is told the rest when it has read. A peer that changes its own
//! mind all the time is listened to, and the choker hears of it no more often than it can use.

use std::time::{Duration, Instant};

use super::{Message, PeerEffect, PeerProtocol};
use crate::logic::peers::choke::ROUND;

/// `choke` or `interested` on the wire: length and type.
const STATE_LEN: usize = 5;

/// Eight of them wait for the socket at most: two changes of each bit and as many again. Picked by eye.
const MOST_UNSENT: usize = 8 * STATE_LEN;

/// 20 changes of interest in a round of the choker: a leech that has nearly everything changes with each piece that we get.
const CHANGES_A_ROUND: u32 = 20;

/// What was told, and what is owed.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the bits of BEP 3 are independent bits")]
pub(super) struct Stance {
    told_choking: bool,
    told_interested: bool,
    /// The peer was choked meanwhile and does not know: what it had asked for is forgotten.
    owes_choke: bool,
    unsent: usize,
    /// The peer's interest as the choker knows it.
    peer_interested: bool,
    changes: u32,
    since: Instant,
}

impl Stance {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            told_choking: true,
            told_interested: false,
            owes_choke: false,
            unsent: 0,
            peer_interested: false,
            changes: 0,
            since: now,
        }
    }

    /// So many bytes still wait for the socket: there cannot be more of these messages among them.
    pub(super) fn on_sent(&mut self, unsent: usize) {
        self.unsent = self.unsent.min(unsent);
    }

    /// The peer's interest, as the choker knows it.
    pub(super) const fn peer_interested(&self) -> bool {
        self.peer_interested
    }

    const fn has_room(&self) -> bool {
        self.unsent + STATE_LEN <= MOST_UNSENT
    }

    fn round_ends(&self) -> Instant {
        self.since + ROUND
    }
}

impl PeerProtocol {
    /// Tells whether we choke the peer and are interested in it, as far as it has read what it was told before.
    pub(super) fn tell_stance(&mut self, now: Instant) {
        if !self.welcomed {
            return;
        }
        // Whoever is choked between two unchokes must know: what it asked for before will never come.
        self.stance.owes_choke &= !self.stance.told_choking;
        if self.stance.owes_choke && self.tell_state(now, Message::Choke) {
            (self.stance.told_choking, self.stance.owes_choke) = (true, false);
        }
        let choke = if self.am_choking { Message::Choke } else { Message::Unchoke };
        let is_due = self.stance.told_choking != self.am_choking && !self.stance.owes_choke;
        if is_due && self.tell_state(now, choke) {
            self.stance.told_choking = self.am_choking;
        }
        let interest = if self.am_interested { Message::Interested } else { Message::NotInterested };
        if self.stance.told_interested != self.am_interested && self.tell_state(now, interest) {
            self.stance.told_interested = self.am_interested;
        }
    }

    /// We choke the peer from now on.
    pub(super) const fn owe_choke(&mut self) {
        self.stance.owes_choke = true;
    }

    fn tell_state(&mut self, now: Instant, message: Message) -> bool {
        let has_room = self.stance.has_room();
        if has_room {
            self.stance.unsent += STATE_LEN;
            self.send(now, message);
        }
        has_room
    }

    /// Tells the choker what the peer says at last, if it may hear of one more change now.
    pub(super) fn tell_interest_of_theirs(&mut self, now: Instant) {
        if now >= self.stance.round_ends() {
            (self.stance.since, self.stance.changes) = (now, 0);
        }
        if self.stance.peer_interested != self.peer_interested && self.stance.changes < CHANGES_A_ROUND {
            self.stance.changes += 1;
            self.stance.peer_interested = self.peer_interested;
            self.effects.push_back(PeerEffect::PeerInterested(self.peer_interested));
        }
    }

    /// When the choker may hear of the next change.
    pub(super) fn interest_due(&self) -> Option<Instant> {
        (self.stance.peer_interested != self.peer_interested).then(|| self.stance.round_ends())
    }
}

/// A minute without reading what we say, blocks aside: as without taking a byte (P-21).
const DEAF: Duration = Duration::from_secs(60);

/// 192 KiB of messages that are not blocks, and its bitfield, wait for the socket at most before the peer is heard again. All
/// that can be under way to a peer that reads is less: 70 KiB of requests, 34 KiB of rejects, 32 KiB of `have`s.
const MOST_TALK: usize = 192 * 1024;

/// Since when a peer has not read what we say.
#[derive(Debug, Default)]
pub(super) struct Deafness {
    since: Option<Instant>,
}

impl Deafness {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + DEAF)
    }
}

impl PeerProtocol {
    /// Is the peer to be read now, while so many bytes of messages, blocks aside, wait for its socket? What it sends makes
    /// answers, and costs us work: so whoever does not read is not read, and whoever asks for too many small things is read
    /// later.
    pub fn may_read(&mut self, now: Instant, talk: usize) -> bool {
        let most = MOST_TALK + self.have.as_bytes().len();
        if talk <= most {
            self.deafness.since = None;
        } else if self.deafness.since.is_none() {
            self.deafness.since = Some(now);
        }
        talk <= most && self.cost.held_until().is_none_or(|until| until <= now)
    }
}
