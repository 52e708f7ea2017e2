//! The choke and interest that we tell the peer, and the interest that it tells us (BEP 3). However often they change,
//! only the last state counts.
//!
//! If our state changes faster than the peer reads, it is sent the last state when it has read. If the peer's interest
//! changes all the time, the choker is told of a limited number of changes.

use std::time::{Duration, Instant};

use super::{Message, PeerEffect, PeerProtocol};
use crate::logic::peers::choke::ROUND;

/// The length of `choke` or `interested` on the wire: length and type.
const STATE_LEN: usize = 5;

/// At most eight of them wait for the socket: two changes of each state, twice. Picked by eye.
const MOST_UNSENT: usize = 8 * STATE_LEN;

/// 20 changes of interest in a round of the choker: a leech that has nearly everything changes with each piece that we
/// complete.
const CHANGES_A_ROUND: u32 = 20;

/// What the peer was told and is still to be told.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the bits of BEP 3 are independent bits")]
pub(super) struct Stance {
    /// The choke that the peer was last told.
    told_choking: bool,
    /// The interest that the peer was last told.
    told_interested: bool,
    /// Whether the peer was choked and does not know it: its earlier requests were dropped.
    owes_choke: bool,
    /// The most bytes of state messages that may wait for the socket.
    unsent: usize,
    /// The peer's interest as the choker was told.
    peer_interested: bool,
    /// Changes told to the choker in the present round.
    changes: u32,
    /// When the present round began.
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

    /// `unsent` bytes wait for the socket: the state messages among them cannot be more.
    pub(super) fn on_sent(&mut self, unsent: usize) {
        self.unsent = self.unsent.min(unsent);
    }

    /// The peer's interest as the choker was told.
    pub(super) const fn peer_interested(&self) -> bool {
        self.peer_interested
    }

    /// Whether one more message may be sent now.
    const fn has_room(&self) -> bool {
        self.unsent + STATE_LEN <= MOST_UNSENT
    }

    /// When the present round of the choker ends.
    fn round_ends(&self) -> Instant {
        self.since + ROUND
    }
}

impl PeerProtocol {
    /// Tells the peer whether we choke it and are interested in it, if it has read the earlier messages.
    pub(super) fn tell_stance(&mut self, now: Instant) {
        if !self.welcomed {
            return;
        }
        // A peer that was choked between two unchokes must be told: its earlier requests are not answered.
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

    /// We choke the peer from now on, and it must be told.
    pub(super) const fn owe_choke(&mut self) {
        self.stance.owes_choke = true;
    }

    /// Sends a state message if there is room. Returns whether it was sent.
    fn tell_state(&mut self, now: Instant, message: Message) -> bool {
        let has_room = self.stance.has_room();
        if has_room {
            self.stance.unsent += STATE_LEN;
            self.send(now, message);
        }
        has_room
    }

    /// Tells the choker the peer's present interest, if the limit of changes allows it.
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

    /// When the choker may be told of the next change. `None` if there is none to tell.
    pub(super) fn interest_due(&self) -> Option<Instant> {
        (self.stance.peer_interested != self.peer_interested).then(|| self.stance.round_ends())
    }
}

/// A peer that reads none of our messages for a minute, blocks aside, is closed, like one whose socket takes no byte
/// (P-21).
const DEAF: Duration = Duration::from_secs(60);

/// The most bytes of messages other than blocks, beside the bitfield, that may wait for the socket while the peer is
/// read: 192 KiB. A peer that reads never has that much outstanding: 70 KiB of requests, 34 KiB of rejects, 32 KiB of
/// `have`s.
const MOST_TALK: usize = 192 * 1024;

/// Since when a peer has not read our messages.
#[derive(Debug, Default)]
pub(super) struct Deafness {
    since: Option<Instant>,
}

/// When the peer is closed. `None` while it reads.
impl Deafness {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + DEAF)
    }
}

impl PeerProtocol {
    /// Whether to read from the peer now, while `talk` bytes of messages other than blocks wait for its socket. Its
    /// messages cause answers and work. So a peer that does not read is not read, and a peer with too many small
    /// requests is read later.
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
