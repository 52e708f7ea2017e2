//! The dial queue: addresses that wait for their back-off, and addresses that may be dialled, in the order of their
//! turns.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use super::entry::{AddressState, BookEntry};

/// The sort key of an address that may be dialled: the time at which it became due plus a handicap, then the highest
/// rank. So better candidates go first, and every address has its turn.
type Turn = (Instant, Reverse<u32>, SocketAddr);

/// Both queues. The [`AddressState`] of an entry says in which one it is and under which time.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeSet<(Instant, SocketAddr)>,
    ready: BTreeSet<Turn>,
}

impl Queue {
    /// Queues the address to be dialled from `until` on. The entry must not be queued.
    pub(super) fn park(&mut self, addr: SocketAddr, entry: &mut BookEntry, until: Instant) {
        entry.state = AddressState::Waiting(until);
        self.waiting.insert((until, addr));
    }

    /// Takes the address out of its queue, if it is in one.
    pub(super) fn remove(&mut self, addr: SocketAddr, entry: &BookEntry) {
        match entry.state {
            AddressState::Waiting(due) => self.waiting.remove(&(due, addr)),
            AddressState::Ready(at) => self.ready.remove(&(at, Reverse(entry.rank), addr)),
            _ => false,
        };
    }

    /// Makes every address that is due ready to be dialled.
    pub(super) fn wake(&mut self, now: Instant, entries: &mut BTreeMap<SocketAddr, BookEntry>) {
        while let Some((due, addr)) = self.waiting.first().copied().filter(|(due, _)| *due <= now) {
            self.waiting.remove(&(due, addr));
            let Some(entry) = entries.get_mut(&addr) else { continue };
            let at = due + entry.handicap();
            entry.state = AddressState::Ready(at);
            self.ready.insert((at, Reverse(entry.rank), addr));
        }
    }

    /// Takes out the address whose turn is next.
    pub(super) fn pop_ready(&mut self) -> Option<SocketAddr> {
        self.ready.pop_first().map(|(_, _, addr)| addr)
    }

    /// The addresses that may be dialled, in the order of their turns.
    pub(super) fn ready(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.ready.iter().map(|(_, _, addr)| *addr)
    }

    /// The number of addresses that may be dialled.
    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// The number of queued addresses.
    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.waiting.len()
    }

    /// The time of the first turn among the ready addresses, and the time at which the next waiting one is due.
    pub(super) fn next(&self) -> (Option<Instant>, Option<Instant>) {
        (self.ready.first().map(|(at, ..)| *at), self.waiting.first().map(|(due, _)| *due))
    }
}
