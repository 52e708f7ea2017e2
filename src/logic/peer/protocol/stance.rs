//! The two bits of BEP 3 that we tell a peer: however often they change, only the last state counts.
//!
//! A peer that makes us change our mind faster than it reads is told the rest when it has read.

use super::Message;

/// The length of `choke` or `interested` on the wire: length and type.
const STATE_LEN: usize = 5;

/// At most eight of them wait for the socket: two changes of each state, twice. Picked by eye.
const MOST_UNSENT: usize = 8 * STATE_LEN;

/// The two bits, what the peer was told of them, and what it is owed.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the bits of BEP 3 are independent bits")]
pub(super) struct Stance {
    choking: bool,
    interested: bool,
    told_choking: bool,
    /// The interest that the peer was last told.
    told_interested: bool,
    /// Whether the peer was choked and does not know it: its earlier requests were dropped.
    owes_choke: bool,
    /// The most bytes of state messages that may wait for the socket.
    unsent: usize,
}

impl Stance {
    /// As every connection begins: we choke and want nothing.
    pub(super) const fn new() -> Self {
        Self {
            choking: true,
            interested: false,
            told_choking: true,
            told_interested: false,
            owes_choke: false,
            unsent: 0,
        }
    }

    pub(super) const fn am_choking(&self) -> bool {
        self.choking
    }

    pub(super) const fn am_interested(&self) -> bool {
        self.interested
    }

    /// False: that is no change.
    pub(super) fn set_choking(&mut self, choking: bool) -> bool {
        let is_change = std::mem::replace(&mut self.choking, choking) != choking;
        self.owes_choke |= is_change && choking;
        is_change
    }

    pub(super) const fn set_interested(&mut self, interested: bool) {
        self.interested = interested;
    }

    /// So many bytes still wait for the socket: there cannot be more of these messages among them.
    pub(super) fn on_sent(&mut self, unsent: usize) {
        self.unsent = self.unsent.min(unsent);
    }

    /// The next message that tells the peer of a change, as far as it has read what it was told before.
    pub(super) fn next(&mut self) -> Option<Message> {
        // A peer that is choked between two unchokes must know: what it asked for before will never come.
        self.owes_choke &= !self.told_choking;
        if self.unsent + STATE_LEN > MOST_UNSENT {
            return None;
        }
        let message = if self.owes_choke {
            (self.told_choking, self.owes_choke) = (true, false);
            Message::Choke
        } else if self.told_choking != self.choking {
            self.told_choking = self.choking;
            if self.choking { Message::Choke } else { Message::Unchoke }
        } else if self.told_interested != self.interested {
            self.told_interested = self.interested;
            if self.interested { Message::Interested } else { Message::NotInterested }
        } else {
            return None;
        };
        self.unsent += STATE_LEN;
        Some(message)
    }
}
