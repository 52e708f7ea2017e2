//! The other half: what the peer asks of us, and when it may.

use std::time::Instant;

use super::{Conversation, Message};
use crate::base::farewell::Farewell;
use crate::base::limits::MAX_REQUEST_LEN;
use crate::codec::wire::RawRequest;

impl Conversation {
    /// The choker has decided. Before the welcome the peer is not told: the bitfield comes first.
    pub fn on_choke_decision(&mut self, now: Instant, choke: bool) {
        if self.am_choking != choke {
            self.am_choking = choke;
            if self.welcomed {
                self.send(now, if choke { Message::Choke } else { Message::Unchoke });
            }
            if choke {
                self.uploads.on_choke();
            }
        }
        self.settle();
    }

    /// A read that was asked for came back, and `sent` bytes of it were queued for the socket: none if it failed.
    pub fn on_read(&mut self, now: Instant, sent: usize) {
        self.uploads.on_read();
        if sent > 0 {
            self.last_sent = now;
            self.unsent += sent;
            self.up.add(now, sent as u64);
            self.sent += sent as u64;
        }
        self.settle();
    }

    /// Requests while choked are dropped without a word: they crossed our choke on the way. So are those for pieces we
    /// lack. What is out of bounds, or more than the queue holds, is a violation (P-20, P-21).
    pub(super) fn on_request(&mut self, RawRequest { piece, begin, len }: RawRequest) {
        if self.am_choking {
            return;
        }
        let range = self.geometry.parse_range(piece, begin, len).filter(|range| range.len() <= MAX_REQUEST_LEN);
        let Some(range) = range else {
            return self.leave(Farewell::ProtocolViolation);
        };
        if self.have.has(range.piece()) && self.uploads.on_request(range).is_err() {
            self.leave(Farewell::ProtocolViolation);
        }
    }
}
