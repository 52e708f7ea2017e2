//! Who is in which swarm: all of them, within limits.
//!
//! Knows addresses, ages and dice; knows no protocol, no clock but its ticks, and no reason to refuse anybody. When it
//! is full, somebody old goes: of a swarm a peer not heard of for long, of all swarms a small one.

use std::net::SocketAddr;

use hashbrown::HashTable;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::pool::HashKey;
use super::swarm::{Swarm, Tally, Visit, Wanted};
use super::ticks::Tick;
use crate::base::ids::InfoHash;
use crate::codec::tracker::{Event, ScrapeEntry};

/// 16 swarms are drawn when one has to go.
const EVICTION_TRIES: usize = 16;

/// What the registry holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Peers in all.
    pub peers: usize,
    /// Swarms, also those that are empty now.
    pub swarms: usize,
    /// Peers of one swarm.
    pub peers_per_swarm: usize,
    /// Peers of one swarm with the same IPv4 address, or in the same /64 of IPv6.
    pub peers_per_host: usize,
}

impl Default for Limits {
    /// About 300 MiB when everything is full. A router with more than 64 peers of one torrent behind it is rare, the
    /// largest swarms of the wild have some 100,000.
    fn default() -> Self {
        Self { peers: 4_000_000, swarms: 1_000_000, peers_per_swarm: 200_000, peers_per_host: 64 }
    }
}

/// What is known of a swarm, and whom it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its numbers, the visitor counted in.
    pub numbers: ScrapeEntry,
    /// Peers for the visitor.
    pub peers: Vec<SocketAddr>,
}

/// Where the search for silent peers is: it goes down through swarms and, in each, through peers.
#[derive(Debug, Default)]
struct Cursor {
    /// Swarms from this one up have been seen.
    swarm: usize,
    /// Peers of the swarm below that from this one up have been seen; `None`: none yet.
    peer: Option<usize>,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Registry {
    limits: Limits,
    key: HashKey,
    dice: SmallRng,
    #[expect(clippy::vec_box, reason = "a vector of a million swarms that grows would hold them twice")]
    swarms: Vec<Box<Swarm>>,
    /// Positions by info-hash.
    index: HashTable<u32>,
    total: Tally,
    cursor: Cursor,
}

impl Registry {
    /// Without swarms. `seed` is for the dice and the secret of the hashes.
    pub fn new(limits: Limits, seed: u64) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let key = HashKey::new(dice.random());
        let (swarms, index) = (Vec::new(), HashTable::new());
        Self { limits, key, dice, swarms, index, total: Tally::default(), cursor: Cursor::default() }
    }

    /// Swarms, also those that are empty now.
    pub const fn swarms(&self) -> usize {
        self.swarms.len()
    }

    /// Everybody, and the memory of it all.
    pub fn total(&self) -> Tally {
        let of_swarms = self.swarms.capacity() * size_of::<Box<Swarm>>() + self.index.allocation_size();
        Tally { bytes: self.total.bytes + of_swarms, ..self.total }
    }

    /// The numbers of a swarm, if it is known.
    pub fn numbers(&self, info_hash: &InfoHash) -> Option<ScrapeEntry> {
        self.find(info_hash).map(|at| numbers(&self.swarms[at]))
    }

    /// A peer comes, says that it is still there, or goes; others are named to it.
    pub(super) fn hear(&mut self, info_hash: InfoHash, visit: &Visit, wanted: Wanted, now: Tick) -> Heard {
        // Who cannot be dialled is answered, not listed; and a swarm is not made by one who goes.
        let is_listed = visit.addr.port() != 0;
        let found = self.find(&info_hash);
        let found =
            if is_listed && visit.event != Event::Stopped { found.or_else(|| self.add(info_hash, now)) } else { found };
        let Some(at) = found else {
            return Heard {
                numbers: ScrapeEntry { info_hash, complete: 0, incomplete: 0, downloaded: 0 },
                peers: Vec::new(),
            };
        };
        if is_listed {
            let (key, per_host) = (self.key, self.limits.peers_per_host);
            self.change(at, |swarm, _dice| swarm.hear(visit, now, per_host, key));
            self.make_room(at, visit.addr, now);
        }
        let swarm = &self.swarms[at];
        let is_leaving = visit.event == Event::Stopped;
        let peers = if is_leaving { Vec::new() } else { swarm.name(visit, wanted, self.key, &mut self.dice) };
        Heard { numbers: numbers(swarm), peers }
    }

    /// Looks at `budget` peers and forgets those not heard of for more than `max_age` ticks, with swarms that nobody came
    /// to for as long and those that are not to be kept. The next call goes on where this one ends; after the last swarm
    /// a call ends early.
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
            let key = self.key;
            let end = self.change(at, |swarm, _dice| swarm.sweep(below, budget, (now, max_age), key));
            budget = budget.saturating_sub((below - end).max(1));
            self.cursor =
                if end == 0 { Cursor { swarm: at, peer: None } } else { Cursor { peer: Some(end), ..self.cursor } };
        }
    }

    /// Whether every count and every index says what the peers say. Looks at all of them.
    pub fn is_sound(&self) -> bool {
        let mut total = Tally::default();
        for swarm in &self.swarms {
            total.replace(Tally::default(), swarm.tally());
        }
        let are_found = (0..).zip(&self.swarms).all(|(at, swarm)| self.find(&swarm.info_hash) == Some(at));
        let are_sound = self.swarms.iter().all(|swarm| swarm.is_sound(self.key));
        total == self.total && self.index.len() == self.swarms.len() && are_found && are_sound
    }

    fn find(&self, info_hash: &InfoHash) -> Option<usize> {
        let hash = self.key.hash(info_hash.as_bytes());
        let found = self.index.find(hash, |at| self.swarms[*at as usize].info_hash == *info_hash);
        found.map(|at| *at as usize)
    }

    /// A new swarm; a small one goes when there are too many.
    fn add(&mut self, info_hash: InfoHash, now: Tick) -> Option<usize> {
        if self.swarms.len() >= self.limits.swarms {
            let drawn = (0..EVICTION_TRIES).filter_map(|_| self.draw()).collect::<Vec<_>>();
            let rank = |at: &usize| (self.swarms[*at].len(), u16::MAX - self.swarms[*at].touched.age(now));
            let smallest = drawn.into_iter().min_by_key(rank)?;
            self.remove(smallest);
        }
        let at = self.swarms.len();
        let short = u32::try_from(at).ok()?;
        let (swarm, key) = (Box::new(Swarm::new(info_hash, now)), self.key);
        self.total.replace(Tally::default(), swarm.tally());
        self.swarms.push(swarm);
        let swarms = &self.swarms;
        let rehash = |at: &u32| key.hash(swarms[*at as usize].info_hash.as_bytes());
        self.index.insert_unique(rehash(&short), short, rehash);
        Some(at)
    }

    fn remove(&mut self, at: usize) {
        let position_of = |swarm: &Swarm| self.key.hash(swarm.info_hash.as_bytes());
        let last = self.swarms.len() - 1;
        let (hash, hash_of_last) = (position_of(&self.swarms[at]), position_of(&self.swarms[last]));
        if let Ok(entry) = self.index.find_entry(hash, |position| *position as usize == at) {
            entry.remove();
        }
        if let Some(position) = self.index.find_mut(hash_of_last, |position| *position as usize == last) {
            *position = u32::try_from(at).unwrap_or(u32::MAX);
        }
        let gone = self.swarms.swap_remove(at);
        self.total.replace(gone.tally(), Tally::default());
    }

    /// Changes one swarm and keeps the total right.
    fn change<T>(&mut self, at: usize, change: impl FnOnce(&mut Swarm, &mut SmallRng) -> T) -> T {
        let swarm = &mut self.swarms[at];
        let before = swarm.tally();
        let done = change(swarm, &mut self.dice);
        self.total.replace(before, self.swarms[at].tally());
        done
    }

    /// After `guest` came into swarm `at`: its own swarm makes room, or any other if the guest is alone in it, or
    /// else the guest goes.
    fn make_room(&mut self, at: usize, guest: SocketAddr, now: Tick) {
        let len = self.swarms[at].len();
        let is_full = self.total.peers() > self.limits.peers;
        if len <= self.limits.peers_per_swarm && !is_full {
            return;
        }
        let key = self.key;
        let elsewhere = if len > 1 { Some(at) } else { self.draw_another(at) };
        match elsewhere {
            Some(at) => self.change(at, |swarm, dice| swarm.evict(guest, now, key, dice)),
            None => self.change(at, |swarm, _dice| swarm.remove(guest, key)),
        }
    }

    /// A swarm with peers that is not this one, if the lot finds one.
    fn draw_another(&mut self, at: usize) -> Option<usize> {
        let drawn = |tries: &mut Self| tries.draw().filter(|other| *other != at && tries.swarms[*other].len() > 0);
        (0..EVICTION_TRIES).find_map(|_| drawn(self))
    }

    fn draw(&mut self) -> Option<usize> {
        (!self.swarms.is_empty()).then(|| self.dice.random_range(0..self.swarms.len()))
    }

    fn give_back_memory(&mut self) {
        let len = self.swarms.len();
        if self.swarms.capacity() > len.saturating_mul(4).max(64) {
            self.swarms.shrink_to(len * 2);
            let (swarms, key) = (&self.swarms, self.key);
            self.index.shrink_to(len * 2, |at| key.hash(swarms[*at as usize].info_hash.as_bytes()));
        }
    }
}

fn numbers(swarm: &Swarm) -> ScrapeEntry {
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
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::logic::testing::base_instant;
    use std::time::Duration;

    const A: InfoHash = InfoHash([1; 20]);

    fn v4(nth: u16) -> SocketAddr {
        let [high, low] = nth.to_be_bytes();
        SocketAddr::from(([10, 0, high, low], 6881))
    }

    fn v6(nth: u16) -> SocketAddr {
        SocketAddr::from(([0x2001, 0xdb8, 0, nth, 0, 0, 0, 1], 6881))
    }

    fn tick(secs: u64) -> Tick {
        let epoch = base_instant();
        Tick::at(epoch, epoch + Duration::from_secs(secs))
    }

    fn visit(addr: SocketAddr, event: Event, is_seed: bool) -> Visit {
        Visit { addr, event, is_seed }
    }

    fn hear(registry: &mut Registry, addr: SocketAddr, event: Event, is_seed: bool, most: usize) -> Heard {
        registry.hear(A, &visit(addr, event, is_seed), Wanted::AnyFamily(most), tick(0))
    }

    fn counts(registry: &Registry) -> (u32, u32, u32) {
        registry.numbers(&A).map_or((0, 0, 0), |swarm| (swarm.complete, swarm.incomplete, swarm.downloaded))
    }

    #[test]
    fn peers_come_complete_and_go() {
        let mut registry = Registry::new(Limits::default(), 1);
        let table = [
            (v4(1), Event::Started, false, (0, 1, 0)),
            (v4(2), Event::Started, true, (1, 1, 0)),
            (v6(1), Event::Started, false, (1, 2, 0)),
            (v4(1), Event::Periodic, false, (1, 2, 0)),
            (v4(1), Event::Completed, true, (2, 1, 1)),
            // Said twice, counted once.
            (v4(1), Event::Completed, true, (2, 1, 1)),
            // It found a hole in its data.
            (v4(1), Event::Periodic, false, (1, 2, 1)),
            (v4(2), Event::Stopped, true, (0, 2, 1)),
            (v4(2), Event::Stopped, true, (0, 2, 1)),
            (v6(1), Event::Stopped, false, (0, 1, 1)),
            (v4(1), Event::Stopped, false, (0, 0, 1)),
        ];
        for (nth, (addr, event, is_seed, want)) in table.into_iter().enumerate() {
            hear(&mut registry, addr, event, is_seed, 50);
            assert_eq!(counts(&registry), want, "after step {nth}");
            assert!(registry.is_sound(), "after step {nth}");
        }
    }

    #[test]
    fn nobody_hears_of_itself_and_seeds_hear_of_no_seeds() {
        let mut registry = Registry::new(Limits::default(), 1);
        for nth in 0..10 {
            hear(&mut registry, v4(nth), Event::Started, nth < 4, 0);
            hear(&mut registry, v6(nth), Event::Started, nth < 4, 0);
        }
        let to_seed = hear(&mut registry, v4(0), Event::Periodic, true, 50).peers;
        assert_eq!(to_seed, (4..10).map(v4).chain((4..10).map(v6)).collect::<Vec<_>>().sorted_like(&to_seed));
        let to_leech = hear(&mut registry, v6(9), Event::Periodic, false, 50).peers;
        assert_eq!(to_leech.len(), 19);
        assert!(!to_leech.contains(&v6(9)));
        assert!(hear(&mut registry, v4(0), Event::Stopped, true, 50).peers.is_empty());
    }

    /// The same members in the order of another list, for comparing sets with a readable failure.
    trait SortedLike {
        fn sorted_like(self, other: &[SocketAddr]) -> Vec<SocketAddr>;
    }

    impl SortedLike for Vec<SocketAddr> {
        fn sorted_like(mut self, other: &[SocketAddr]) -> Self {
            self.sort_by_key(|addr| other.iter().position(|of_other| of_other == addr).unwrap_or(usize::MAX));
            self
        }
    }

    /// BEP 7: peers of the other family fill what is left; BEP 15 has no room for them.
    #[test]
    fn the_askers_family_comes_first() {
        let mut registry = Registry::new(Limits::default(), 1);
        for nth in 0..10 {
            hear(&mut registry, v4(nth), Event::Started, false, 0);
            hear(&mut registry, v6(nth), Event::Started, false, 0);
        }
        let table = [
            (v4(0), Wanted::AnyFamily(12), (9, 3)),
            (v6(0), Wanted::AnyFamily(12), (3, 9)),
            (v4(0), Wanted::SameFamily(12), (9, 0)),
            (v6(0), Wanted::SameFamily(12), (0, 9)),
            (v4(0), Wanted::AnyFamily(4), (4, 0)),
        ];
        for (addr, wanted, want) in table {
            let named = registry.hear(A, &visit(addr, Event::Periodic, false), wanted, tick(0)).peers;
            let of_v4 = named.iter().filter(|peer| peer.is_ipv4()).count();
            assert_eq!((of_v4, named.len() - of_v4), want, "{addr} {wanted:?}");
        }
    }

    /// Each of 99 others is named 1,000 times on average in 9,900 answers of ten; five deviations are 150.
    #[test]
    fn everybody_is_as_likely_to_be_named_as_anybody_else() {
        let mut registry = Registry::new(Limits::default(), 7);
        for nth in 0..100 {
            hear(&mut registry, v4(nth), Event::Started, nth % 3 == 0, 0);
        }
        let mut named = BTreeMap::new();
        for _ in 0..9_900 {
            let heard = hear(&mut registry, v4(50), Event::Periodic, false, 10);
            assert_eq!(heard.peers.iter().collect::<BTreeSet<_>>().len(), 10);
            for peer in heard.peers {
                *named.entry(peer).or_insert(0_i32) += 1;
            }
        }
        assert_eq!(named.len(), 99);
        assert!(named.values().all(|times| (times - 1000).abs() < 150), "{named:?}");
    }

    #[test]
    fn who_cannot_be_dialled_is_answered_and_not_listed() {
        let mut registry = Registry::new(Limits::default(), 1);
        hear(&mut registry, v4(1), Event::Started, true, 0);
        let nowhere = SocketAddr::new(v4(2).ip(), 0);
        assert_eq!(hear(&mut registry, nowhere, Event::Started, false, 50).peers, [v4(1)]);
        assert_eq!(counts(&registry), (1, 0, 0));
        let mut empty = Registry::new(Limits::default(), 1);
        hear(&mut empty, v4(1), Event::Stopped, true, 50);
        hear(&mut empty, nowhere, Event::Started, true, 50);
        assert_eq!(empty.swarms(), 0, "no swarm for those");
    }

    #[test]
    fn silent_peers_are_forgotten_and_then_their_swarm() {
        let mut registry = Registry::new(Limits::default(), 1);
        for nth in 0..1000 {
            let swarm = InfoHash([u8::try_from(nth % 7).unwrap(); 20]);
            let addr = if nth % 2 == 0 { v4(nth) } else { v6(nth) };
            let at = if nth % 5 == 0 { 40 } else { 0 };
            registry.hear(swarm, &visit(addr, Event::Started, nth % 3 == 0), Wanted::AnyFamily(0), tick(at));
        }
        let sweep_all = |registry: &mut Registry, now: u64| {
            for _ in 0..3000 {
                registry.sweep((tick(now), 30), 1, |_| true);
                assert!(registry.total().peers() <= 1000);
            }
            assert!(registry.is_sound());
            (registry.total().peers(), registry.swarms())
        };
        assert_eq!(sweep_all(&mut registry, 60), (1000, 7), "all of them within 60 s");
        assert_eq!(sweep_all(&mut registry, 90), (200, 7));
        assert_eq!(sweep_all(&mut registry, 170), (0, 0));
        assert!(registry.total().bytes < 4096, "{} bytes are left", registry.total().bytes);
    }

    #[test]
    fn swarms_that_are_no_longer_wanted_go() {
        let mut registry = Registry::new(Limits::default(), 1);
        for nth in 0..20 {
            let swarm = InfoHash([nth; 20]);
            registry.hear(swarm, &visit(v4(1), Event::Started, true), Wanted::AnyFamily(0), tick(0));
        }
        (0..10).for_each(|_| registry.sweep((tick(0), 30), 10, |swarm| swarm.0[0] % 2 == 0));
        assert_eq!((registry.swarms(), registry.total().peers(), registry.is_sound()), (10, 10, true));
        assert!(registry.numbers(&InfoHash([2; 20])).is_some() && registry.numbers(&InfoHash([3; 20])).is_none());
    }

    #[test]
    fn one_host_has_no_more_places_than_allowed_and_its_oldest_goes() {
        let mut registry = Registry::new(Limits { peers_per_host: 3, ..Limits::default() }, 1);
        let at = |host: SocketAddr, port| SocketAddr::new(host.ip(), port);
        let neighbour = |addr: SocketAddr| match addr.ip() {
            IpAddr::V4(_) => addr,
            IpAddr::V6(ip) => SocketAddr::from((std::net::Ipv6Addr::from(ip.to_bits() + 1), addr.port())),
        };
        for base in [v4(1), v6(1)] {
            for port in 1..=10 {
                let addr = if port % 2 == 0 { at(base, port) } else { neighbour(at(base, port)) };
                let seen = tick(u64::from(port) * 2);
                registry.hear(A, &visit(addr, Event::Started, false), Wanted::AnyFamily(0), seen);
            }
        }
        let others = registry.hear(A, &visit(v4(2), Event::Started, false), Wanted::AnyFamily(50), tick(30)).peers;
        let ports: BTreeSet<_> = others.iter().map(|peer| (peer.is_ipv4(), peer.port())).collect();
        assert_eq!(ports, [(true, 8), (true, 9), (true, 10), (false, 8), (false, 9), (false, 10)].into());
    }

    #[derive(Debug, Clone, Copy)]
    struct Step {
        swarm: u8,
        addr: SocketAddr,
        event: Event,
        is_seed: bool,
        most: usize,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let event = prop_oneof![
            4 => Just(Event::Started),
            4 => Just(Event::Periodic),
            2 => Just(Event::Completed),
            3 => Just(Event::Stopped)
        ];
        let addr = (any::<bool>(), 0_u16..60).prop_map(|(of_v4, nth)| if of_v4 { v4(nth) } else { v6(nth) });
        let step = (0_u8..4, addr, event, any::<bool>(), 0_usize..30);
        let step = step.prop_map(|(swarm, addr, event, is_seed, most)| Step { swarm, addr, event, is_seed, most });
        prop::collection::vec(step, 0..600)
    }

    proptest! {
        /// Beside a model that is nothing but maps: every number, every answer.
        #[test]
        fn counts_and_answers_are_right_after_any_events(steps in steps(), seed: u64) {
            let mut registry = Registry::new(Limits::default(), seed);
            let mut model: BTreeMap<u8, (BTreeMap<SocketAddr, bool>, u32)> = BTreeMap::new();
            for step in &steps {
                let visit = visit(step.addr, step.event, step.is_seed);
                let heard = registry.hear(InfoHash([step.swarm; 20]), &visit, Wanted::AnyFamily(step.most), tick(0));
                let (peers, downloaded) = model.entry(step.swarm).or_default();
                if step.event == Event::Stopped {
                    peers.remove(&step.addr);
                } else {
                    let before = peers.insert(step.addr, step.is_seed);
                    *downloaded += u32::from(step.event == Event::Completed && before != Some(true));
                }
                let seeds = peers.values().filter(|is_seed| **is_seed).count();
                let numbers = (heard.numbers.complete as usize, heard.numbers.incomplete as usize, heard.numbers.downloaded);
                prop_assert_eq!(numbers, (seeds, peers.len() - seeds, *downloaded));
                let eligible = |peer: &SocketAddr, is_seed: &bool| *peer != step.addr && !(step.is_seed && *is_seed);
                let others = peers.iter().filter(|(peer, is_seed)| eligible(peer, is_seed)).count();
                let want = if step.event == Event::Stopped { 0 } else { others.min(step.most) };
                prop_assert_eq!(heard.peers.len(), want);
                prop_assert_eq!(heard.peers.iter().collect::<BTreeSet<_>>().len(), want);
                for peer in &heard.peers {
                    prop_assert!(peers.get(peer).is_some_and(|is_seed| eligible(peer, is_seed)), "{} is named", peer);
                }
            }
            prop_assert!(registry.is_sound());
            let total: usize = model.values().map(|(peers, _)| peers.len()).sum();
            prop_assert_eq!(registry.total().peers(), total);
        }

        /// Tight limits, sweeps in between: never more than allowed, never a wrong count.
        #[test]
        fn no_limit_is_ever_passed(steps in steps(), seed: u64, budget in 1_usize..20) {
            let limits = Limits { peers: 40, swarms: 3, peers_per_swarm: 25, peers_per_host: 2 };
            let mut registry = Registry::new(limits, seed);
            for (nth, step) in (0_u64..).zip(&steps) {
                let visit = visit(step.addr, step.event, step.is_seed);
                let now = tick(nth);
                let heard = registry.hear(InfoHash([step.swarm; 20]), &visit, Wanted::AnyFamily(step.most), now);
                prop_assert!(!heard.peers.contains(&step.addr));
                prop_assert!(registry.total().peers() <= limits.peers && registry.swarms() <= limits.swarms);
                prop_assert!((heard.numbers.complete + heard.numbers.incomplete) as usize <= limits.peers_per_swarm);
                registry.sweep((now, 40), budget, |swarm| swarm.0[0] != 2 || nth % 50 != 0);
            }
            prop_assert!(registry.is_sound());
        }
    }
}
