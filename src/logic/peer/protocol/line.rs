//! The line to one peer: when something last went over it, and what waits for the socket.
//!
//! Knows times and lengths; no messages.

use std::time::{Duration, Instant};

use crate::base::limits::{KEEP_ALIVE_EVERY, SILENCE_TIMEOUT};

/// One minute without the socket taking a byte of what we have for it (P-21).
const WRITE_STALL: Duration = Duration::from_secs(60);

/// A minute without reading what we say, blocks aside: as without taking a byte (P-21).
const DEAF: Duration = Duration::from_secs(60);

/// 192 KiB of messages that are not blocks, and its bitfield, wait for the socket at most before the peer is heard again. All
/// that can be under way to a peer that reads is less: 70 KiB of requests, 34 KiB of rejects, 32 KiB of `have`s.
const MOST_TALK: usize = 192 * 1024;

/// The clocks of one connection.
#[derive(Debug)]
pub(super) struct Line {
    last_heard: Instant,
    last_sent: Instant,
    /// Since when the socket has taken nothing of what waits for it.
    stalled_since: Option<Instant>,
    /// Since when the peer has not read what we say.
    deaf_since: Option<Instant>,
    /// Bytes that wait for the socket.
    unsent: usize,
}

/// What the time that has passed means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineTimeout {
    /// Nothing came for [`SILENCE_TIMEOUT`].
    Silent,
    /// The peer does not read.
    WriteStalled,
    /// We have said nothing for [`KEEP_ALIVE_EVERY`].
    KeepAlive,
}

impl Line {
    pub(super) const fn new(now: Instant) -> Self {
        Self { last_heard: now, last_sent: now, stalled_since: None, deaf_since: None, unsent: 0 }
    }

    /// Messages came.
    pub(super) const fn on_heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// Until `until` it was our own limit that kept us from reading.
    pub(super) fn on_unread(&mut self, until: Instant) {
        self.last_heard = self.last_heard.max(until);
    }

    /// A message is queued.
    pub(super) const fn on_message(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// A block of so many bytes is queued.
    pub(super) const fn on_block(&mut self, now: Instant, len: usize) {
        self.last_sent = now;
        self.unsent += len;
    }

    /// The socket took bytes; `unsent` still wait.
    pub(super) fn on_sent(&mut self, now: Instant, taken: usize, unsent: usize) {
        self.unsent = unsent;
        self.stalled_since = match (unsent, taken) {
            (0, _) => None,
            (_, 0) => self.stalled_since.or(Some(now)),
            _ => Some(now),
        };
    }

    /// Bytes that wait for the socket.
    pub(super) const fn unsent(&self) -> usize {
        self.unsent
    }

    /// Is the peer to be read now, while so many bytes of messages, blocks aside, wait for its socket? `bitfield`: the
    /// length of ours.
    pub(super) fn is_heard(&mut self, now: Instant, talk: usize, bitfield: usize) -> bool {
        let is_heard = talk <= MOST_TALK + bitfield;
        if is_heard {
            self.deaf_since = None;
        } else {
            self.deaf_since.get_or_insert(now);
        }
        is_heard
    }

    /// What the time that has passed means, if anything.
    pub(super) fn timeout(&self, now: Instant) -> Option<LineTimeout> {
        let is_over = |since: Option<Instant>, span| since.is_some_and(|since| now >= since + span);
        if now >= self.last_heard + SILENCE_TIMEOUT {
            Some(LineTimeout::Silent)
        } else if is_over(self.stalled_since, WRITE_STALL) || is_over(self.deaf_since, DEAF) {
            Some(LineTimeout::WriteStalled)
        } else {
            (now >= self.last_sent + KEEP_ALIVE_EVERY).then_some(LineTimeout::KeepAlive)
        }
    }

    /// When [`Self::timeout`] may mean something.
    pub(super) fn deadline(&self) -> Instant {
        let quiet = (self.last_heard + SILENCE_TIMEOUT).min(self.last_sent + KEEP_ALIVE_EVERY);
        let stalled = self.stalled_since.map(|since| since + WRITE_STALL);
        let deaf = self.deaf_since.map(|since| since + DEAF);
        [stalled, deaf].into_iter().flatten().fold(quiet, Instant::min)
    }
}
