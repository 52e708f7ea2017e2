//! The peer book of one torrent: decides which addresses are dialled, when, and how often.
//!
//! Back-off follows productivity (P-03, P-26). An address whose connection delivered at least one good block is
//! dialled again after about a second, for ever, and its failures are forgotten; only unproductive attempts grow the
//! back-off. After a reset that second is counted from the last dial, so that most of it is over. So a sole source
//! that resets every 300 kB still completes (W-02), and a dead address is not hammered (P-01, I7).
//!
//! The book knows no sockets and no actors. The pool tells it what happened, drains [`PeerBook::poll`] after each
//! call, and arms its timer to [`PeerBook::deadline`]. One seed and one history always give the same dials.
//!
//! The cost: a host that is the victim of false addresses is spared by a limit on dials per host (T-20). So several
//! honest peers behind one public address are tried one after another, at most three in ten minutes until one of them
//! delivers.

mod accepted;
mod bans;
mod canonical;
mod config;
mod dialling;
mod entry;
mod hosts;
mod panics;
mod queue;
#[cfg(test)]
mod tests;
mod turnover;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::base::disconnect::{DisconnectReason, RedialVerdict};
use crate::base::ids::PeerId;
use crate::logic::peers::address::canonical;
use accepted::Accepted;
use bans::Bans;
pub use config::{AddOutcome, BookConfig, BookEffect, Census, Inbound, PeerNeed, PeerSource, PeerStanding, Refusal};
use entry::{AddressState, BookEntry, PRODUCTIVE_BACKOFF, may_name};
use hosts::Hosts;
use panics::RecentPanics;
use queue::Queue;
use turnover::Turnover;
use window::Window;

/// With fewer than 30 connected or untried peers, addresses from more trackers are needed (W-10). Picked by eye:
/// trackers name 50 by default.
const ENOUGH: usize = 30;

/// Decides which addresses are dialled and which connections are kept. The head of this file states the rules.
#[derive(Debug)]
pub struct PeerBook {
    config: BookConfig,
    dice: SmallRng,
    /// Everything that is remembered, by address.
    entries: BTreeMap<SocketAddr, BookEntry>,
    /// The addresses that wait to be dialled.
    queue: Queue,
    /// Dial windows and dials under way of public hosts.
    hosts: Hosts,
    /// The connections that peers opened to us.
    accepted: Accepted,
    /// The address of each connected peer id: at most one connection to a peer (P-05).
    ids: BTreeMap<PeerId, SocketAddr>,
    bans: Bans,
    /// Dials under way.
    half_open: usize,
    /// Connections that we dialled.
    dialled: usize,
    /// Dialled connections to peers that ever delivered.
    proven_connected: usize,
    /// Addresses that were never dialled.
    untried: usize,
    panics: RecentPanics,
    turnover: Turnover,
    /// Whether the torrent is complete and seeding.
    seeding: bool,
    /// Effects that [`Self::poll`] has not returned yet.
    outbox: VecDeque<BookEffect>,
}

impl PeerBook {
    /// An empty book. `seed` decides every random choice.
    pub fn new(config: BookConfig, seed: u64) -> Self {
        Self {
            config,
            dice: SmallRng::seed_from_u64(seed),
            entries: BTreeMap::new(),
            queue: Queue::default(),
            hosts: Hosts::default(),
            accepted: Accepted::default(),
            ids: BTreeMap::new(),
            bans: Bans::default(),
            half_open: 0,
            dialled: 0,
            proven_connected: 0,
            untried: 0,
            panics: RecentPanics::default(),
            turnover: Turnover::default(),
            seeding: false,
            outbox: VecDeque::new(),
        }
    }

    /// A source named these addresses. Returns what became of each.
    pub fn add(&mut self, now: Instant, addrs: &[SocketAddr], source: PeerSource) -> AddOutcome {
        let strangers = addrs.iter().filter(|addr| !self.entries.contains_key(&canonical(**addr))).count();
        self.make_room(now, strangers);
        let mut outcome = AddOutcome::default();
        for addr in addrs {
            let addr = canonical(*addr);
            let count = if !may_name(source, addr, self.config.allow_local) {
                &mut outcome.filtered
            } else if self.bans.has(addr) {
                &mut outcome.banned
            } else if self.entries.contains_key(&addr) {
                self.name_again(now, addr, source);
                &mut outcome.known
            } else if self.is_full_for(source) {
                &mut outcome.full
            } else {
                self.insert(now, addr, source);
                &mut outcome.added
            };
            *count += 1;
        }
        outcome
    }

    /// Our external address. It decides the dial order of addresses that are named from now on (BEP 40).
    pub const fn set_external(&mut self, ours: SocketAddr) {
        self.config.external = Some(ours);
    }

    /// The torrent is complete and seeds from now on: an accepted peer now proves itself by downloading.
    pub const fn on_complete(&mut self) {
        self.seeding = true;
        self.accepted.set_seeding(true);
    }

    /// The torrent lacks pieces again: seeds whose connections were closed because both sides were complete are
    /// dialled again.
    pub fn on_incomplete(&mut self, now: Instant) {
        self.seeding = false;
        self.accepted.set_seeding(false);
        self.recall_seeds(now);
    }

    /// An accepted peer says on which port it listens. It is dialled there after its connection has ended.
    pub fn on_listens(&mut self, addr: SocketAddr, port: u16) {
        self.accepted.note_port(canonical(addr), port);
    }

    /// A dial has succeeded. The handshake is still to come.
    pub fn on_connected(&mut self, now: Instant, addr: SocketAddr) {
        let addr = canonical(addr);
        let Some(entry) = self.entries.get_mut(&addr).filter(|entry| entry.state == AddressState::Dialling) else {
            return;
        };
        entry.state = AddressState::Connected;
        entry.reached = true;
        self.proven_connected += usize::from(entry.proven);
        self.half_open -= 1;
        self.dialled += 1;
        self.hosts.release(addr);
        self.turnover.on_joined(now, addr);
    }

    /// A peer sent its peer id in the handshake. Returns an error with the reason to close the connection if the peer
    /// is ourselves (T-17) or is connected already (P-05).
    ///
    /// The older connection stays, so that no peer can push out another by using its id; the newer one replaces it
    /// only if it alone leads to an address that has delivered before. When two peers dial each other at the same
    /// moment, the connection opened by the peer with the greater id stays, which both ends decide alike.
    pub fn on_handshake(
        &mut self,
        _now: Instant,
        addr: SocketAddr,
        id: PeerId,
        ours: PeerId,
    ) -> Result<(), DisconnectReason> {
        let addr = canonical(addr);
        if id == ours {
            return Err(DisconnectReason::Ourselves);
        }
        if let Some(entry) = self.entries.get_mut(&addr) {
            entry.id = Some(id);
        }
        match self.ids.get(&id).copied() {
            Some(older) if older != addr && !self.gives_way(older, addr, id < ours) => {
                return Err(DisconnectReason::Duplicate);
            }
            Some(older) if older != addr => {
                self.outbox.push_back(BookEffect::Close { addr: older, farewell: DisconnectReason::Duplicate });
            }
            _ => {}
        }
        self.ids.insert(id, addr);
        Ok(())
    }

    /// An accepted peer has downloaded its first block.
    pub fn on_served(&mut self, now: Instant, addr: SocketAddr) {
        self.accepted.on_served(now, canonical(addr));
    }

    /// Blocks went to or came from an accepted peer since the last call.
    pub fn on_active(&mut self, now: Instant, addr: SocketAddr) {
        self.accepted.on_active(now, canonical(addr));
    }

    /// The peer delivered a good block: from now on it is proven and is not dropped. May be called more than once.
    pub fn on_productive(&mut self, addr: SocketAddr) {
        let addr = canonical(addr);
        if self.accepted.prove(addr) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&addr).filter(|entry| entry.state == AddressState::Connected) else {
            return;
        };
        if !entry.proven || entry.fails > 0 {
            self.proven_connected += usize::from(!entry.proven);
            (entry.proven, entry.fails, entry.window) = (true, 0, Window::default());
            self.hosts.pardon(addr);
        }
    }

    /// A dial or a connection ended. `productive`: it delivered at least one good block.
    pub fn on_farewell(&mut self, now: Instant, addr: SocketAddr, farewell: DisconnectReason, productive: bool) {
        let addr = canonical(addr);
        if farewell == DisconnectReason::Panicked && self.panics.count(now) {
            self.outbox.push_back(BookEffect::Held { pause: panics::PAUSE });
        }
        self.ids.retain(|_, at| *at != addr);
        self.turnover.on_left(addr);
        let listens = self.accepted.listens(addr);
        let was_accepted = self.accepted.remove(addr);
        if farewell.verdict() == RedialVerdict::Ban && !(was_accepted && farewell == DisconnectReason::Ourselves) {
            self.bans.put(addr, farewell);
        }
        if productive && !was_accepted {
            self.on_productive(addr);
        }
        if !was_accepted && self.leave(addr) {
            self.settle(now, addr, farewell, productive);
        }
        // An accepted peer that was closed to make room for an untried address is not added as an untried address
        // itself.
        let comes_back = farewell.verdict() == RedialVerdict::Retry && farewell != DisconnectReason::GivesWay;
        if let Some(listens) = listens.filter(|_| comes_back) {
            self.add(now, &[listens], PeerSource::Itself);
        }
        if self.is_lonely() {
            self.hurry_the_proven(now);
        }
    }

    /// A peer connected to us (P-28). If all places are taken, the accepted connection with the least claim to its
    /// place is closed for it, or else the peer that has been useless for longest.
    pub fn on_inbound(&mut self, now: Instant, addr: SocketAddr) -> Inbound {
        let addr = canonical(addr);
        if self.bans.has(addr) {
            return Inbound::Refused(Refusal::Banned);
        }
        if self.is_open(addr) || self.accepted.has(addr) {
            return Inbound::Refused(Refusal::Duplicate);
        }
        if self.accepted.is_host_full(addr) {
            return Inbound::Refused(Refusal::PerHost);
        }
        // Half of the places are kept for addresses that we dial, so that a flood never stops our own dials.
        let is_half = self.accepted.len() >= self.config.max_connected.div_ceil(2);
        if is_half || self.free_places() == 0 {
            let (evicted, farewell) = match self.accepted.evict(now, addr) {
                None => (self.useless_for_newcomer(now, is_half), DisconnectReason::GivesWay),
                evicted => (evicted, DisconnectReason::Evicted),
            };
            let Some(addr) = evicted else { return Inbound::Refused(Refusal::Full) };
            self.outbox.push_back(BookEffect::Close { addr, farewell });
        }
        self.accepted.insert(now, addr);
        self.turnover.on_joined(now, addr);
        Inbound::Welcome
    }

    /// The address sent bad data (P-14): it is closed, and neither dialled nor accepted again in this run. The ban
    /// holds for the whole host, but on a loopback address for the port only, since many peers may live there.
    pub fn ban(&mut self, _now: Instant, addr: SocketAddr) {
        let addr = canonical(addr);
        self.bans.put(addr, DisconnectReason::BadData);
        let mut closing: Vec<_> = self.accepted.addrs().filter(|at| self.bans.has(*at)).collect();
        let banned: Vec<_> = self.entries.keys().copied().filter(|at| self.bans.has(*at)).collect();
        for at in banned {
            if self.is_open(at) { closing.push(at) } else { self.forget(at) }
        }
        let close = |addr| BookEffect::Close { addr, farewell: DisconnectReason::BadData };
        self.outbox.extend(closing.into_iter().map(close));
    }

    /// The evidence against the address is withdrawn (P-15): it may be dialled again, like any address that was vetted
    /// before.
    pub fn pardon(&mut self, now: Instant, addr: SocketAddr) {
        self.bans.lift(canonical(addr));
        self.add(now, &[addr], PeerSource::Tracker { local: true });
    }

    /// The pool was restarted: every connection is gone, through no fault of the peers.
    pub fn on_pool_restarted(&mut self, now: Instant) {
        self.ids.clear();
        self.accepted.clear();
        self.turnover = Turnover::default();
        let open: Vec<_> = self.entries.keys().copied().filter(|addr| self.is_open(*addr)).collect();
        for addr in open {
            self.leave(addr);
            let wait = self.jittered(PRODUCTIVE_BACKOFF);
            self.wait(now, addr, wait);
        }
    }

    /// Returns the next effect, or `None`. Never two dials at once to one address, never more dials than the limits
    /// allow.
    pub fn poll(&mut self, now: Instant) -> Option<BookEffect> {
        self.queue.wake(now, &mut self.entries);
        self.turn_over(now);
        if let Some(effect) = self.outbox.pop_front() {
            return Some(effect);
        }
        while self.has_slot(now) {
            let addr = self.queue.pop_ready()?;
            match self.obstacle(now, addr) {
                Some(until) => self.park(addr, until),
                None => return Some(self.dial(now, addr)),
            }
        }
        None
    }

    /// When to call [`Self::poll`] although no event occurred: the next address is due and a slot is free for it, or
    /// the turnover is due.
    pub fn deadline(&self) -> Option<Instant> {
        if self.half_open >= self.config.max_half_open || self.free_places() == 0 {
            return self.turnover.next_look().filter(|_| self.is_turnover_possible());
        }
        // After a drained poll, addresses are ready only while dialling is paused.
        let (ready, waiting) = self.queue.next();
        let held = self.panics.held_until();
        match (ready, held) {
            (Some(_), Some(held)) => Some(held),
            (Some(ready), None) => Some(ready),
            (None, held) => waiting.max(waiting.and(held)),
        }
    }

    /// How much the torrent needs more addresses: it compares the connected, dialled and untried peers with `ENOUGH`
    /// (W-10).
    pub fn need(&self) -> PeerNeed {
        let there = self.connected() + self.half_open + self.untried;
        let short = there < ENOUGH.min(self.config.max_connected);
        match (short, self.is_lonely()) {
            (false, _) => PeerNeed::Enough,
            (true, false) => PeerNeed::More,
            // A peer that wants our data finds us by an announce of its own.
            (true, true) if there == 0 && !self.seeding => PeerNeed::Alone,
            (true, true) => PeerNeed::Anybody,
        }
    }

    /// The counts for `why`, metrics and progress. Walks the whole book, so call it for a report and not for every
    /// message.
    pub fn census(&self) -> Census {
        let count = |has: fn(&BookEntry) -> bool| self.entries.values().filter(|entry| has(entry)).count();
        Census {
            known: self.entries.len(),
            tried: count(|entry| entry.attempts > 0),
            reached: count(|entry| entry.reached),
            connected: self.connected(),
            inbound: self.accepted.len(),
            half_open: self.half_open,
            waiting: self.queue.len(),
            resting: count(|entry| matches!(entry.state, AddressState::Dropped | AddressState::Forgotten)),
            banned: self.bans.len(),
        }
    }

    /// The number of open connections.
    fn connected(&self) -> usize {
        self.dialled + self.accepted.len()
    }

    /// How many more connections may be opened.
    fn free_places(&self) -> usize {
        self.config.max_connected.saturating_sub(self.connected() + self.half_open)
    }

    /// Whether another dial may start now.
    fn has_slot(&self, now: Instant) -> bool {
        let held = self.panics.held_until().is_some_and(|until| until > now);
        !held && self.half_open < self.config.max_half_open && self.free_places() > 0
    }

    /// Whether the address is being dialled or was dialled and is connected.
    fn is_open(&self, addr: SocketAddr) -> bool {
        self.entries.get(&addr).is_some_and(BookEntry::is_open)
    }

    /// Whether no connected peer has ever delivered.
    fn is_lonely(&self) -> bool {
        self.proven_connected == 0 && !self.accepted.any_proven()
    }

    /// Whether the peer at this address has ever delivered.
    fn is_proven(&self, addr: SocketAddr) -> bool {
        self.accepted.is_proven(addr) || self.entries.get(&addr).is_some_and(|entry| entry.proven)
    }

    /// Adds a new address, to be dialled at once.
    fn insert(&mut self, now: Instant, addr: SocketAddr, source: PeerSource) {
        let rank = match self.config.external {
            Some(ours) => canonical::priority(ours, addr),
            None => self.dice.random(),
        };
        let mut entry = BookEntry::new(source, rank);
        self.queue.park(addr, &mut entry, now);
        self.entries.insert(addr, entry);
        self.untried += 1;
    }

    /// A known address is named once more. If the user names it, it becomes a manual one. A dropped address is tried
    /// again once its window allows it.
    fn name_again(&mut self, now: Instant, addr: SocketAddr, source: PeerSource) {
        let Some(entry) = self.entries.get_mut(&addr) else { return };
        if source == PeerSource::Manual {
            entry.source = source;
        }
        let is_free = entry.window.opens_at(now).is_none() || entry.source == PeerSource::Manual;
        if entry.state == AddressState::Dropped && is_free {
            entry.fails = 0;
            self.wait(now, addr, Duration::ZERO);
        }
    }

    /// Forgets the least promising tried addresses, so that `coming` new ones fit.
    fn make_room(&mut self, now: Instant, coming: usize) {
        let excess = (self.entries.len() + coming).saturating_sub(self.config.max_known);
        if excess == 0 {
            return;
        }
        let mut worst: Vec<_> =
            self.entries.iter().filter_map(|(addr, entry)| Some((entry.worth(now)?, *addr))).collect();
        worst.sort_unstable();
        for (_, addr) in worst.into_iter().take(excess) {
            self.forget(addr);
        }
    }

    /// Whether the book takes no more addresses of this source. Addresses named by peers fill at most a quarter of it
    /// (P-22).
    fn is_full_for(&self, source: PeerSource) -> bool {
        let named_by_peers =
            || self.entries.values().filter(|entry| matches!(entry.source, PeerSource::Peer(_))).count();
        match source {
            PeerSource::Manual => false,
            PeerSource::Peer(_) if named_by_peers() >= self.config.max_known / 4 => true,
            _ => self.entries.len() >= self.config.max_known,
        }
    }

    /// Removes an address from the book. Not for open connections.
    fn forget(&mut self, addr: SocketAddr) {
        if let Some(entry) = self.entries.remove(&addr) {
            self.queue.remove(addr, &entry);
            self.untried -= usize::from(entry.attempts == 0);
        }
    }

    /// Whether the connection to `older` is closed for a newer one of the same peer. `ours_wins`: our peer id is the
    /// greater.
    fn gives_way(&self, older: SocketAddr, newer: SocketAddr, ours_wins: bool) -> bool {
        if self.is_proven(older) || self.is_proven(newer) {
            return !self.is_proven(older);
        }
        let older_is_ours = !self.accepted.has(older);
        let crossed = older_is_ours == self.accepted.has(newer);
        crossed && older.ip() == newer.ip() && older_is_ours != ours_wins
    }
}
