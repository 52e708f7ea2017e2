//! Dialled addresses in the book: whether one may be dialled now, and what follows when its connection ends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::PeerBook;
use super::config::BookEffect;
use super::entry::{AddressState, BookEntry, LONELY_CAP, PRODUCTIVE_BACKOFF};
use crate::base::disconnect::{DisconnectReason, RedialVerdict};
use crate::base::limits::CONNECT_TIMEOUT;

/// 5 s for a first dial while more candidates wait than slots are free: SYN retries at 1 and 3 s fit in, and 50 slots
/// try 200 addresses that never answer in 20 s (T-18 asks for an honest peer within 30 s).
const CROWDED_TIMEOUT: Duration = Duration::from_secs(5);

/// A fifth to either side: addresses that were lost together are not dialled again in one burst.
const JITTER: f64 = 0.2;

/// 5 s until an address is considered again whose host is being dialled, or whose peer is connected from another
/// address.
const LATER: Duration = Duration::from_secs(5);

impl PeerBook {
    /// Returns when to consider the address again, if it may not be dialled now.
    pub(super) fn obstacle(&self, now: Instant, addr: SocketAddr) -> Option<Instant> {
        let entry = self.entries.get(&addr)?;
        let twin = entry.id.and_then(|id| self.ids.get(&id));
        let is_served = twin.is_some_and(|twin| self.is_proven(*twin) || !entry.proven);
        if is_served || self.accepted.has(addr) {
            return Some(now + LATER);
        }
        if entry.is_trusted() {
            return None;
        }
        if self.hosts.is_dialling(addr) {
            return Some(now + LATER);
        }
        entry.window.opens_at(now).max(self.hosts.opens_at(now, addr))
    }

    /// Starts a dial to an address for which [`Self::obstacle`] is `None`.
    pub(super) fn dial(&mut self, now: Instant, addr: SocketAddr) -> BookEffect {
        let crowded = self.queue.ready_len() >= self.config.max_half_open.saturating_sub(self.half_open);
        self.half_open += 1;
        self.hosts.charge(now, addr);
        let entry = self.entries.get_mut(&addr).expect("what is ready is in the book");
        self.untried -= usize::from(entry.attempts == 0);
        entry.state = AddressState::Dialling;
        entry.attempts = entry.attempts.saturating_add(1);
        entry.dialled = Some(now);
        entry.window.charge(now);
        let timeout = if crowded && entry.attempts == 1 { CROWDED_TIMEOUT } else { CONNECT_TIMEOUT };
        BookEffect::Dial { addr, attempt: entry.attempts, last: entry.last, backoff: entry.backoff, timeout }
    }

    /// Takes an open connection out of the counts. Returns false if there was none.
    pub(super) fn leave(&mut self, addr: SocketAddr) -> bool {
        let Some(entry) = self.entries.get(&addr) else { return false };
        match entry.state {
            AddressState::Dialling => {
                self.half_open -= 1;
                self.hosts.release(addr);
            }
            AddressState::Connected => {
                self.dialled -= 1;
                self.proven_connected -= usize::from(entry.proven);
            }
            _ => return false,
        }
        true
    }

    /// Decides what follows for an address whose connection has just ended.
    pub(super) fn settle(&mut self, now: Instant, addr: SocketAddr, farewell: DisconnectReason, productive: bool) {
        let lonely = self.is_lonely();
        let Some(entry) = self.entries.get_mut(&addr) else { return };
        entry.last = Some(farewell);
        if self.bans.has(addr) {
            entry.state = AddressState::Forgotten;
            return self.forget(addr);
        }
        let wait = match farewell {
            // A stop says nothing about the address. A duplicate is a second address of a connected peer, which is of
            // use when the first one is gone. Both cases override the verdict `Forget` and cost one dial.
            DisconnectReason::Shutdown | DisconnectReason::Duplicate => PRODUCTIVE_BACKOFF,
            _ if farewell.verdict() == RedialVerdict::Forget => {
                entry.state = AddressState::Forgotten;
                return;
            }
            _ if productive => PRODUCTIVE_BACKOFF,
            // The peer was dialled at once after a reset and may still have held the broken connection for a living
            // one.
            _ if entry.proven && entry.backoff < PRODUCTIVE_BACKOFF / 2 => PRODUCTIVE_BACKOFF,
            _ => {
                entry.fails = entry.fails.saturating_add(1);
                let Some(wait) = entry.backoff_after_failure(lonely) else {
                    entry.state = AddressState::Dropped;
                    return;
                };
                wait
            }
        };
        let broke = productive && farewell == DisconnectReason::Reset;
        let lived = entry.dialled.filter(|_| broke).map_or(Duration::ZERO, |dialled| now - dialled);
        let wait = self.jittered(wait).saturating_sub(lived);
        self.wait(now, addr, wait);
    }

    /// No connected peer delivers any more: addresses that once delivered do not wait for minutes (N-01, P-32).
    pub(super) fn hurry_the_proven(&mut self, now: Instant) {
        let latest = now + LONELY_CAP.mul_f64(1.0 + JITTER);
        let is_slow = |entry: &BookEntry| matches!(entry.state, AddressState::Waiting(due) if due > latest);
        let slow = self.entries.iter().filter(|(_, entry)| entry.proven && is_slow(entry));
        for addr in slow.map(|(addr, _)| *addr).collect::<Vec<_>>() {
            self.queue.remove(addr, &self.entries[&addr]);
            let wait = self.jittered(LONELY_CAP);
            self.wait(now, addr, wait);
        }
    }

    /// Dials the seeds again that were closed because both sides were complete.
    pub(super) fn recall_seeds(&mut self, now: Instant) {
        let was_let_go = |entry: &BookEntry| {
            entry.state == AddressState::Forgotten && entry.last == Some(DisconnectReason::BothSeeds)
        };
        let seeds = self.entries.iter().filter(|(_, entry)| was_let_go(entry));
        for addr in seeds.map(|(addr, _)| *addr).collect::<Vec<_>>() {
            let wait = self.jittered(PRODUCTIVE_BACKOFF);
            self.wait(now, addr, wait);
        }
    }

    /// Queues the address to be dialled after this back-off.
    pub(super) fn wait(&mut self, now: Instant, addr: SocketAddr, backoff: Duration) {
        if let Some(entry) = self.entries.get_mut(&addr) {
            entry.backoff = backoff;
        }
        self.park(addr, now + backoff);
    }

    /// Queues the address to be dialled from `until` on.
    pub(super) fn park(&mut self, addr: SocketAddr, until: Instant) {
        if let Some(entry) = self.entries.get_mut(&addr) {
            self.queue.park(addr, entry, until);
        }
    }

    /// Changes a back-off by a random part of up to [`JITTER`].
    pub(super) fn jittered(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(self.dice.random_range(1.0 - JITTER..=1.0 + JITTER))
    }
}
