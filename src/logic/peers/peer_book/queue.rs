//! Who is dialled next: addresses that wait for their time, and those whose time has come, in the order of their turns.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use super::entry::{AddressState, BookEntry};

/// The place of an address among those that may be dialled: earliest first, then the highest rank. The time is that of
/// being due plus a handicap, so better candidates go first and yet everybody's turn comes.
type Turn = (Instant, Reverse<u32>, SocketAddr);

/// Both queues; an entry's [`AddressState`] says in which it is, and under what time.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeSet<(Instant, SocketAddr)>,
    ready: BTreeSet<Turn>,
}

impl Queue {
    /// To be dialled from `until` on. The entry must not be queued.
    pub(super) fn park(&mut self, addr: SocketAddr, entry: &mut BookEntry, until: Instant) {
        entry.state = AddressState::Waiting(until);
        self.waiting.insert((until, addr));
    }

    pub(super) fn remove(&mut self, addr: SocketAddr, entry: &BookEntry) {
        match entry.state {
            AddressState::Waiting(due) => self.waiting.remove(&(due, addr)),
            AddressState::Ready(at) => self.ready.remove(&(at, Reverse(entry.rank), addr)),
            _ => false,
        };
    }

    /// Everything that is due may be dialled.
    pub(super) fn wake(&mut self, now: Instant, entries: &mut BTreeMap<SocketAddr, BookEntry>) {
        while let Some((due, addr)) = self.waiting.first().copied().filter(|(due, _)| *due <= now) {
            self.waiting.remove(&(due, addr));
            let Some(entry) = entries.get_mut(&addr) else { continue };
            let at = due + entry.handicap();
            entry.state = AddressState::Ready(at);
            self.ready.insert((at, Reverse(entry.rank), addr));
        }
    }

    /// Takes out whose turn it is.
    pub(super) fn pop_ready(&mut self) -> Option<SocketAddr> {
        self.ready.pop_first().map(|(_, _, addr)| addr)
    }

    /// Those that may be dialled, in the order of their turns.
    pub(super) fn ready(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.ready.iter().map(|(_, _, addr)| *addr)
    }

    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.waiting.len()
    }

    /// The time of the next turn among the ready, and of the next one to become ready.
    pub(super) fn next(&self) -> (Option<Instant>, Option<Instant>) {
        (self.ready.first().map(|(at, ..)| *at), self.waiting.first().map(|(due, _)| *due))
    }
}
