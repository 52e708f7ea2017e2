//! All swarms of the tracker, within limits.
//!
//! The registry knows addresses, ages and random choices. It knows no protocol, and of time only its ticks. When it is
//! full, some entries are drawn at random and the one whose network has most entries is removed (`networks`). The new
//! entry is removed instead if its own network has as many.

mod saved;

use std::cmp::Reverse;
use std::net::SocketAddr;

use hashbrown::HashTable;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::networks::{Loads, NetworkSite, burden};
use super::pool::{HashKey, Places, PoolLedger};
use super::sizes::Sizes;
use super::swarm::{Tally, TrackedSwarm, Visit, WantedPeers};
use super::ticks::Tick;
use crate::base::ids::InfoHash;
use crate::codec::tracker::{Event, ScrapeEntry};
pub(super) use saved::Return;

/// 16 entries are drawn when one must be removed: if a flood fills half of the table, one of its entries is among them
/// in all but one of 65,536 cases.
const DRAWN: usize = 16;

/// The limits of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistryLimits {
    /// Peers of all swarms.
    pub peers: usize,
    /// Swarms, including empty ones.
    pub swarms: usize,
    /// Peers of one swarm.
    pub peers_per_swarm: usize,
    /// Peers of one swarm with the same IPv4 address, or in the same /64 of IPv6.
    pub peers_per_host: usize,
    /// Peers of one swarm in the same /24 of IPv4, or in the same /48 of IPv6.
    pub peers_per_site: usize,
}

impl Default for RegistryLimits {
    /// About 300 MiB when everything is full. A router with more than 64 peers of one torrent is rare, and the largest
    /// known swarms have some 100,000. A site may have four full hosts: with more, ten honest peers of a swarm would
    /// be too few among those that one network invents.
    fn default() -> Self {
        let (peers_per_host, peers_per_site) = (64, 256);
        Self { peers: 4_000_000, swarms: 1_000_000, peers_per_swarm: 200_000, peers_per_host, peers_per_site }
    }
}

/// The timing of announces, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rhythm {
    /// A peer that announces again after this many ticks is confirmed.
    pub(super) confirm_after: u16,
    /// A peer that has not announced for more than this many ticks is overdue.
    pub(super) overdue_after: u16,
}

/// The counts of a swarm, and the peers that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwarmAnswer {
    /// The counts, with the requester.
    pub numbers: ScrapeEntry,
    /// The peers for the requester.
    pub peers: Vec<SocketAddr>,
}

/// The progress of the search for silent peers, which goes down through the swarms and, in each, through its peers.
#[derive(Debug, Default)]
struct Cursor {
    /// The swarms at this position and above have been checked.
    swarm: usize,
    /// The peers of the swarm below that, from this position up, have been checked. `None`: none yet.
    peer: Option<usize>,
}

/// All swarms of the tracker.
#[derive(Debug)]
pub struct Registry {
    limits: RegistryLimits,
    rhythm: Rhythm,
    /// The key of the hashes, and the number of peers of each network.
    ledger: PoolLedger,
    /// The number of swarms that each network has founded.
    founders: Loads,
    dice: SmallRng,
    #[expect(clippy::vec_box, reason = "a vector of a million swarms that grows would hold them twice")]
    swarms: Vec<Box<TrackedSwarm>>,
    /// Positions in `swarms` by info-hash.
    index: HashTable<u32>,
    /// The number of peers of each swarm, by the same positions.
    sizes: Sizes,
    /// The counts of all swarms.
    total: Tally,
    cursor: Cursor,
}

impl Registry {
    /// A registry without swarms. `seed` decides the random choices and the secret of the hashes.
    pub(super) fn new(limits: RegistryLimits, rhythm: Rhythm, seed: u64) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        Self {
            limits,
            rhythm,
            ledger: PoolLedger::new(HashKey::new(dice.random())),
            founders: Loads::new(),
            dice,
            swarms: Vec::new(),
            index: HashTable::new(),
            sizes: Sizes::default(),
            total: Tally::default(),
            cursor: Cursor::default(),
        }
    }

    /// The number of swarms, including empty ones.
    pub const fn swarms(&self) -> usize {
        self.swarms.len()
    }

    /// The counts of all peers, and the memory of the whole registry.
    pub fn total(&self) -> Tally {
        let of_swarms = self.swarms.capacity() * size_of::<Box<TrackedSwarm>>()
            + self.index.allocation_size()
            + self.sizes.capacity() * size_of::<u32>();
        Tally { bytes: self.total.bytes + of_swarms, ..self.total }
    }

    /// The counts of a swarm, if it is known.
    pub fn numbers(&self, info_hash: &InfoHash) -> Option<ScrapeEntry> {
        self.find(info_hash).map(|at| numbers(&self.swarms[at]))
    }

    /// Handles an announce: the peer joins, stays or leaves, and is named others.
    pub(super) fn hear(&mut self, info_hash: InfoHash, visit: &Visit, wanted: WantedPeers, now: Tick) -> SwarmAnswer {
        // A peer that cannot be dialled is answered and not listed, and a peer that leaves founds no swarm.
        let is_listed = visit.addr.port() != 0;
        let may_found = is_listed && visit.event != Event::Stopped;
        let founded = |registry: &mut Self| {
            let founder = NetworkSite::of(visit.addr.ip().to_canonical());
            registry.make_room_for_swarm(founder, now).then(|| registry.add(TrackedSwarm::new(info_hash, founder, now)))
        };
        let found = self.find(&info_hash).or_else(|| if may_found { founded(self) } else { None });
        let Some(at) = found else {
            return SwarmAnswer {
                numbers: ScrapeEntry { info_hash, complete: 0, incomplete: 0, downloaded: 0 },
                peers: Vec::new(),
            };
        };
        if is_listed {
            let places = self.places();
            if self.change(at, |swarm, ledger| swarm.hear(visit, now, &places, ledger)) {
                self.make_room_for_peer(at, visit.addr, now);
            }
        }
        let swarm = &self.swarms[at];
        let is_leaving = visit.event == Event::Stopped;
        let key = self.ledger.key;
        let peers = if is_leaving { Vec::new() } else { swarm.name(visit, wanted, key, &mut self.dice) };
        SwarmAnswer { numbers: numbers(swarm), peers }
    }

    /// Checks `budget` peers and removes those that have not announced for more than `max_age` ticks. Removes also
    /// empty swarms that have had no announce for as long, and swarms for which `keep` returns false. The next call
    /// continues where this one ends. After the last swarm a call ends early.
    pub(super) fn sweep(&mut self, (now, max_age): (Tick, u16), mut budget: usize, keep: impl Fn(&InfoHash) -> bool) {
        while budget > 0 {
            self.cursor.swarm = self.cursor.swarm.min(self.swarms.len());
            let Some(at) = self.cursor.swarm.checked_sub(1) else {
                self.cursor = Cursor { swarm: self.swarms.len(), peer: None };
                self.give_back_memory();
                return;
            };
            let swarm = &self.swarms[at];
            let below = self.cursor.peer.unwrap_or(usize::MAX).min(swarm.len());
            let is_silent = swarm.len() == 0 && swarm.touched.age(now) > max_age;
            if is_silent || !keep(&swarm.info_hash) {
                self.remove(at);
                self.cursor = Cursor { swarm: at, peer: None };
                budget -= 1;
                continue;
            }
            let end = self.change(at, |swarm, ledger| swarm.sweep(below, budget, (now, max_age), ledger));
            budget = budget.saturating_sub((below - end).max(1));
            self.cursor =
                if end == 0 { Cursor { swarm: at, peer: None } } else { Cursor { peer: Some(end), ..self.cursor } };
        }
    }

    /// Whether every count and every index agrees with the peers. Checks all of them.
    pub fn is_sound(&self) -> bool {
        let key = self.ledger.key;
        let (mut total, mut loads, mut founders) = (Tally::default(), Loads::new(), Loads::new());
        for swarm in &self.swarms {
            total.replace(Tally::default(), swarm.tally());
            founders.add(swarm.founder, key);
            swarm.sites().for_each(|site| loads.add(site, key));
        }
        let are_found = (0..).zip(&self.swarms).all(|(at, swarm)| self.find(&swarm.info_hash) == Some(at));
        let mut first = 0;
        let are_counted = self.swarms.iter().enumerate().all(|(at, swarm)| {
            let (from, to) = (first, first + swarm.len());
            first = to;
            swarm.len() == 0
                || [from, to - 1].map(|nth| self.sizes.find(nth)) == [0, to - 1 - from].map(|nth| Some((at, nth)))
        });
        let are_sound = self.swarms.iter().all(|swarm| swarm.is_sound(key));
        let are_charged = loads == self.ledger.loads && founders == self.founders;
        total == self.total
            && self.index.len() == self.swarms.len()
            && are_found
            && are_counted
            && are_sound
            && are_charged
    }

    /// The places for one host and one site.
    fn places(&self) -> Places {
        let RegistryLimits { peers_per_host: per_host, peers_per_site: per_site, .. } = self.limits;
        Places { per_host, per_site, confirm_after: self.rhythm.confirm_after }
    }

    /// The position of a swarm.
    fn find(&self, info_hash: &InfoHash) -> Option<usize> {
        let hash = self.ledger.key.hash(info_hash.as_bytes());
        let found = self.index.find(hash, |at| self.swarms[*at as usize].info_hash == *info_hash);
        found.map(|at| *at as usize)
    }

    /// Adds a swarm without peers. There must be room for it.
    fn add(&mut self, swarm: TrackedSwarm) -> usize {
        let at = self.swarms.len();
        let short = u32::try_from(at).expect("the limit of swarms is far below 32 bits");
        let key = self.ledger.key;
        self.founders.add(swarm.founder, key);
        self.total.replace(Tally::default(), swarm.tally());
        self.swarms.push(Box::new(swarm));
        self.sizes.push_empty();
        let swarms = &self.swarms;
        let rehash = |at: &u32| key.hash(swarms[*at as usize].info_hash.as_bytes());
        self.index.insert_unique(rehash(&short), short, rehash);
        at
    }

    /// Removes the swarm at this position. The last swarm takes its place.
    fn remove(&mut self, at: usize) {
        let key = self.ledger.key;
        let position_of = |swarm: &TrackedSwarm| key.hash(swarm.info_hash.as_bytes());
        let last = self.swarms.len() - 1;
        let (hash, hash_of_last) = (position_of(&self.swarms[at]), position_of(&self.swarms[last]));
        if let Ok(entry) = self.index.find_entry(hash, |position| *position as usize == at) {
            entry.remove();
        }
        if let Some(position) = self.index.find_mut(hash_of_last, |position| *position as usize == last) {
            *position = u32::try_from(at).unwrap_or(u32::MAX);
        }
        self.sizes.change(at, self.swarms[at].len(), self.swarms[last].len());
        self.sizes.pop();
        let gone = self.swarms.swap_remove(at);
        self.total.replace(gone.tally(), Tally::default());
        self.founders.remove(gone.founder, key);
        gone.sites().for_each(|site| self.ledger.loads.remove(site, key));
    }

    /// Changes one swarm and updates the sums.
    fn change<T>(&mut self, at: usize, change: impl FnOnce(&mut TrackedSwarm, &mut PoolLedger) -> T) -> T {
        let swarm = &mut self.swarms[at];
        let before = swarm.tally();
        let done = change(swarm, &mut self.ledger);
        let after = self.swarms[at].tally();
        self.sizes.change(at, before.peers(), after.peers());
        self.total.replace(before, after);
        done
    }

    /// Returns whether there is room for one more swarm of this founder. If the limit is reached, some swarms are
    /// drawn, and the one whose founder's network has most is removed if that is more than this founder's. A drawn
    /// swarm without peers is removed in any case.
    fn make_room_for_swarm(&mut self, founder: NetworkSite, now: Tick) -> bool {
        if self.swarms.len() < self.limits.swarms {
            return true;
        }
        let drawn = (0..DRAWN).map(|_| self.dice.random_range(0..self.swarms.len())).collect::<Vec<_>>();
        let rank = |at: &usize| {
            let swarm = &self.swarms[*at];
            (self.burden_of(swarm, now), Reverse(swarm.len()), Reverse(swarm.touched.age(now)), *at)
        };
        let Some((given_up, _, _, at)) = drawn.iter().map(rank).max() else { return false };
        let of_guest = burden(self.founders.of(founder, self.ledger.key) + 1, false, false);
        let has_room = given_up > of_guest;
        if has_room {
            self.remove(at);
        }
        has_room
    }

    /// How readily a swarm is removed for another one.
    fn burden_of(&self, swarm: &TrackedSwarm, now: Tick) -> u64 {
        if swarm.len() == 0 {
            return u64::MAX;
        }
        let is_overdue = swarm.touched.age(now) > self.rhythm.overdue_after;
        burden(self.founders.of(swarm.founder, self.ledger.key), swarm.is_established, is_overdue)
    }

    /// Called after `guest` joined swarm `at`. If there are too many peers in the swarm or in total, some of these are
    /// drawn, and the one whose network has most is removed if that is more than the guest's; otherwise the guest is
    /// removed.
    fn make_room_for_peer(&mut self, at: usize, guest: SocketAddr, now: Tick) {
        let len = self.swarms[at].len();
        let all = self.total.peers();
        let is_full_swarm = len > self.limits.peers_per_swarm;
        if !is_full_swarm && all <= self.limits.peers {
            return;
        }
        let key = self.ledger.key;
        let of_guest = (at, self.swarms[at].position(guest, key).unwrap_or(usize::MAX));
        let draw = |_| {
            if is_full_swarm {
                Some((at, self.dice.random_range(0..len)))
            } else {
                self.sizes.find(self.dice.random_range(0..all))
            }
        };
        let drawn: Vec<_> = (0..DRAWN).filter_map(draw).filter(|drawn| *drawn != of_guest).collect();
        let rank = |(at, nth): &(usize, usize)| {
            let (site, seen) = self.swarms[*at].look(*nth);
            let age = seen.age(now);
            let is_overdue = age > self.rhythm.overdue_after;
            (burden(self.ledger.loads.of(site, key), seen.is_confirmed(), is_overdue), Reverse(age), *at, *nth)
        };
        let load_of_guest = self.ledger.loads.of(NetworkSite::of(guest.ip().to_canonical()), key);
        match drawn.iter().map(rank).max() {
            Some((given_up, _, at, nth)) if given_up > burden(load_of_guest, false, false) => {
                self.change(at, |swarm, ledger| swarm.remove_at(nth, ledger));
            }
            _ => self.change(at, |swarm, ledger| swarm.remove(guest, ledger)),
        }
    }

    /// Returns memory after the number of swarms has shrunk.
    fn give_back_memory(&mut self) {
        let len = self.swarms.len();
        if self.swarms.capacity() > len.saturating_mul(4).max(64) {
            self.swarms.shrink_to(len * 2);
            self.sizes.shrink_to(len * 2);
            let (swarms, key) = (&self.swarms, self.ledger.key);
            self.index.shrink_to(len * 2, |at| key.hash(swarms[*at as usize].info_hash.as_bytes()));
        }
    }
}

/// The counts of a swarm, as for a scrape.
fn numbers(swarm: &TrackedSwarm) -> ScrapeEntry {
    let tally = swarm.tally();
    let short = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    ScrapeEntry {
        info_hash: swarm.info_hash,
        complete: short(tally.seeds()),
        incomplete: short(tally.peers() - tally.seeds()),
        downloaded: swarm.downloaded,
    }
}

#[cfg(test)]
mod tests;
