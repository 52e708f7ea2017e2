//! The peers of one swarm and one family: 8 bytes each for IPv4, 20 for IPv6, and an index when there are many.
//!
//! Leeches stand first, then seeds, so that "a leech" and "anybody" are ranges to draw from. Knows no other swarm; an
//! address is a run of bytes as in compact peers (BEP 23, BEP 7), its host the part that tells owners apart, its site the
//! part by which it is found and charged.

use std::hash::Hasher;
use std::ops::Range;

use hashbrown::HashTable;
use rand::rngs::SmallRng;
use rand::seq::index;
use rand::{RngExt, SeedableRng};

use super::networks::{Loads, NetworkSite};
use super::ticks::{LastAnnounce, Tick};
use crate::codec::compact::V4_LEN;

/// 16 peers are looked through faster than hashed, and most swarms have fewer.
const MAX_UNINDEXED: usize = 16;

/// The secret of the hashes: addresses are chosen by strangers.
#[derive(Debug, Clone, Copy)]
pub(super) struct HashKey(u64, u64);

impl HashKey {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        Self(dice.random(), dice.random())
    }

    pub(super) fn hash(self, bytes: &[u8]) -> u64 {
        // SipHash of a secret and the bytes.
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher.write_u64(self.1);
        hasher.write(bytes);
        hasher.finish()
    }
}

/// The hash of all tables, and what each network holds of this one.
#[derive(Debug)]
pub(super) struct PoolLedger {
    pub(super) key: HashKey,
    pub(super) loads: Loads,
}

impl PoolLedger {
    pub(super) fn new(key: HashKey) -> Self {
        Self { key, loads: Loads::new() }
    }
}

/// How many places of a swarm one network may take, and when a peer counts as confirmed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) per_host: usize,
    pub(super) per_site: usize,
    /// A peer is confirmed that announces again after so many ticks.
    pub(super) confirm_after: u16,
}

/// What an announce says of a peer that stays.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerStatus {
    pub(super) is_seed: bool,
    /// It says that it has just completed.
    pub(super) completes: bool,
}

/// What came of an announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted {
    /// It was not listed before.
    pub(super) is_new: bool,
    /// Its download is to be counted.
    pub(super) counts: bool,
    pub(super) is_confirmed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Member<const N: usize> {
    addr: [u8; N],
    seen: LastAnnounce,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Pool<const N: usize> {
    /// Leeches, then seeds.
    members: Vec<Member<N>>,
    leeches: usize,
    /// Positions by the hash of their site. Empty while there are few.
    index: HashTable<u32>,
}

/// The part of an address that one owner has to himself: all of an IPv4 address, the first half of an IPv6 one.
fn host<const N: usize>(addr: &[u8; N]) -> &[u8] {
    &addr[..if N == V4_LEN { 4 } else { 8 }]
}

/// The part of an address that is its [`NetworkSite`].
fn site_bytes<const N: usize>(addr: &[u8; N]) -> &[u8] {
    &addr[..if N == V4_LEN { 3 } else { 6 }]
}

fn site<const N: usize>(addr: &[u8; N]) -> NetworkSite {
    match site_bytes(addr) {
        [a, b, c] => NetworkSite::V4([*a, *b, *c]),
        longer => NetworkSite::V6(std::array::from_fn(|nth| longer[nth])),
    }
}

/// At most `most` different positions of a range, without `except`, each set of them as likely as any other.
fn draw(
    among: Range<usize>,
    except: Option<usize>,
    most: usize,
    dice: &mut SmallRng,
) -> impl Iterator<Item = usize> + use<> {
    let except = except.filter(|at| among.contains(at));
    let others = among.len() - usize::from(except.is_some());
    let drawn = index::sample(dice, others, most.min(others));
    drawn.into_iter().map(move |nth| {
        let at = among.start + nth;
        at + usize::from(except.is_some_and(|except| at >= except))
    })
}

impl<const N: usize> Pool<N> {
    pub(super) const fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) const fn leeches(&self) -> usize {
        self.leeches
    }

    pub(super) const fn seeds(&self) -> usize {
        self.members.len() - self.leeches
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.members.capacity() * size_of::<Member<N>>() + self.index.allocation_size()
    }

    /// Everybody.
    pub(super) const fn all(&self) -> Range<usize> {
        0..self.members.len()
    }

    /// Those that are not complete.
    pub(super) const fn leeching(&self) -> Range<usize> {
        0..self.leeches
    }

    pub(super) fn position(&self, addr: &[u8; N], key: HashKey) -> Option<usize> {
        let mut found = None;
        self.visit_site(addr, key, |at| {
            if self.members[at].addr == *addr {
                found = Some(at);
            }
        });
        found
    }

    /// Lists an address, or hears of it again. A host and a site have so many places at most: beyond that one of theirs
    /// goes that is not confirmed, the oldest one first, or else the oldest of all.
    pub(super) fn put(
        &mut self,
        addr: [u8; N],
        word: PeerStatus,
        now: Tick,
        places: &Places,
        ledger: &mut PoolLedger,
    ) -> Noted {
        let mut found = None;
        let (mut host_first, mut of_host) = (None, 0_usize);
        let (mut site_first, mut of_site) = (None, 0_usize);
        self.visit_site(&addr, ledger.key, |at| {
            let member = &self.members[at];
            if member.addr == addr {
                found = Some(at);
            }
            let rank = (!member.seen.is_confirmed(), member.seen.age(now), at);
            of_site += 1;
            site_first = site_first.max(Some(rank));
            if host(&member.addr) == host(&addr) {
                of_host += 1;
                host_first = host_first.max(Some(rank));
            }
        });
        if let Some(at) = found {
            return self.hear_again(at, word, now, places.confirm_after, ledger.key);
        }
        let full_host = host_first.filter(|_| of_host >= places.per_host);
        if let Some((_, _, at)) = full_host.or(site_first.filter(|_| of_site >= places.per_site)) {
            self.remove_at(at, ledger);
        }
        let seen = LastAnnounce::first(now).counted(word.is_seed || word.completes);
        self.insert(addr, word.is_seed, seen, ledger);
        Noted { is_new: true, counts: word.completes, is_confirmed: false }
    }

    /// The peer at this position announces again. A download is counted once as long as the peer stays listed, and never
    /// of one that came as a seed.
    fn hear_again(&mut self, at: usize, word: PeerStatus, now: Tick, confirm_after: u16, key: HashKey) -> Noted {
        let before = self.members[at].seen;
        let counts = word.completes && !before.is_counted();
        let seen = before.confirmed(before.age(now) >= confirm_after).again(now).counted(counts || word.is_seed);
        self.members[at].seen = seen;
        match (at < self.leeches, word.is_seed) {
            (true, true) => self.complete(at, key),
            (false, false) => self.uncomplete(at, key),
            _ => {}
        }
        Noted { is_new: false, counts, is_confirmed: seen.is_confirmed() }
    }

    /// Lists an address that is not in.
    pub(super) fn insert(&mut self, addr: [u8; N], is_seed: bool, seen: LastAnnounce, ledger: &mut PoolLedger) {
        ledger.loads.add(site(&addr), ledger.key);
        self.push(Member { addr, seen }, ledger.key);
        if !is_seed {
            self.uncomplete(self.members.len() - 1, ledger.key);
        }
    }

    /// Lists an address that was listed in an earlier run, if it is not in and its host and its site have places. Says
    /// whether it is.
    pub(super) fn restore(
        &mut self,
        addr: [u8; N],
        is_seed: bool,
        seen: LastAnnounce,
        places: &Places,
        ledger: &mut PoolLedger,
    ) -> bool {
        let (mut is_in, mut of_host, mut of_site) = (false, 0_usize, 0_usize);
        self.visit_site(&addr, ledger.key, |at| {
            let other = &self.members[at].addr;
            is_in |= *other == addr;
            of_host += usize::from(host(other) == host(&addr));
            of_site += 1;
        });
        let has_place = !is_in && of_host < places.per_host && of_site < places.per_site;
        if has_place {
            self.insert(addr, is_seed, seen, ledger);
        }
        has_place
    }

    /// Takes an address out, if it is in.
    pub(super) fn remove(&mut self, addr: &[u8; N], ledger: &mut PoolLedger) {
        if let Some(at) = self.position(addr, ledger.key) {
            self.remove_at(at, ledger);
        }
    }

    /// The site of the peer at this position, and when it was heard of.
    pub(super) fn look(&self, at: usize) -> (NetworkSite, LastAnnounce) {
        (site(&self.members[at].addr), self.members[at].seen)
    }

    /// Every address, whether it is a seed, and when it was heard of.
    pub(super) fn members(&self) -> impl ExactSizeIterator<Item = (&[u8; N], bool, LastAnnounce)> {
        self.members.iter().enumerate().map(|(at, member)| (&member.addr, at >= self.leeches, member.seen))
    }

    /// At most `most` addresses of a range, without that at `except`, each set of them as likely as any other.
    pub(super) fn sample(
        &self,
        among: Range<usize>,
        except: Option<usize>,
        most: usize,
        dice: &mut SmallRng,
    ) -> impl Iterator<Item = &[u8; N]> {
        draw(among, except, most, dice).map(|at| &self.members[at].addr)
    }

    /// Removes who was last heard of more than `max_age` ticks ago, going down from position `below` for at most
    /// `budget` members. Says how far it came: 0 is the end.
    pub(super) fn sweep(
        &mut self,
        below: usize,
        budget: usize,
        (now, max_age): (Tick, u16),
        ledger: &mut PoolLedger,
    ) -> usize {
        let mut at = below.min(self.members.len());
        let end = at.saturating_sub(budget);
        while at > end {
            at -= 1;
            // Who takes a freed place comes from above, where everybody has been looked at.
            if self.members[at].seen.age(now) > max_age {
                self.remove_at(at, ledger);
            }
        }
        if end == 0 {
            self.give_back_memory(ledger.key);
        }
        end
    }

    /// Whether the index says what the members say.
    pub(super) fn is_sound(&self, key: HashKey) -> bool {
        let found = |at: &usize| self.position(&self.members[*at].addr, key) == Some(*at);
        let indexed = self.index.is_empty() || self.index.len() == self.members.len();
        let needed = self.members.len() <= MAX_UNINDEXED || !self.index.is_empty();
        self.leeches <= self.members.len() && indexed && needed && self.all().all(|at| found(&at))
    }

    fn visit_site(&self, addr: &[u8; N], key: HashKey, mut visit: impl FnMut(usize)) {
        let is_near = |at: &usize| site_bytes(&self.members[*at].addr) == site_bytes(addr);
        if self.index.is_empty() {
            (0..self.members.len()).filter(is_near).for_each(visit);
            return;
        }
        for at in self.index.iter_hash(key.hash(site_bytes(addr))) {
            let at = *at as usize;
            if is_near(&at) {
                visit(at);
            }
        }
    }

    fn hash_at(&self, at: usize, key: HashKey) -> u64 {
        key.hash(site_bytes(&self.members[at].addr))
    }

    fn push(&mut self, member: Member<N>, key: HashKey) {
        let at = u32::try_from(self.members.len()).expect("a swarm is limited to far fewer");
        if at == 0 {
            // Most swarms of a large tracker have one peer.
            self.members.reserve_exact(1);
        }
        self.members.push(member);
        let members = &self.members;
        let rehash = |at: &u32| key.hash(site_bytes(&members[*at as usize].addr));
        if !self.index.is_empty() {
            self.index.insert_unique(rehash(&at), at, rehash);
        } else if members.len() > MAX_UNINDEXED {
            for at in 0..=at {
                self.index.insert_unique(rehash(&at), at, rehash);
            }
        }
    }

    /// A leech becomes a seed.
    fn complete(&mut self, at: usize, key: HashKey) {
        self.leeches -= 1;
        self.swap(at, self.leeches, key);
    }

    /// A seed becomes a leech.
    fn uncomplete(&mut self, at: usize, key: HashKey) {
        self.swap(at, self.leeches, key);
        self.leeches += 1;
    }

    /// Takes the peer at this position out; another one takes its place.
    pub(super) fn remove_at(&mut self, mut at: usize, ledger: &mut PoolLedger) {
        let key = ledger.key;
        ledger.loads.remove(site(&self.members[at].addr), key);
        if at < self.leeches {
            self.complete(at, key);
            at = self.leeches;
        }
        let last = self.members.len() - 1;
        self.swap(at, last, key);
        if let Ok(entry) = self.index.find_entry(self.hash_at(last, key), |position| *position as usize == last) {
            entry.remove();
        }
        self.members.pop();
        if self.members.is_empty() {
            self.index = HashTable::new();
        }
    }

    fn swap(&mut self, a: usize, b: usize, key: HashKey) {
        if a == b {
            return;
        }
        if !self.index.is_empty() {
            let (hash_a, hash_b) = (self.hash_at(a, key), self.hash_at(b, key));
            self.point(hash_a, a, usize::MAX);
            self.point(hash_b, b, a);
            self.point(hash_a, usize::MAX, b);
        }
        self.members.swap(a, b);
    }

    /// Whoever the index had at `from` is at `to`. `usize::MAX` is nowhere.
    fn point(&mut self, hash: u64, from: usize, to: usize) {
        let short = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        if let Some(position) = self.index.find_mut(hash, |position| *position == short(from)) {
            *position = short(to);
        }
    }

    /// A swarm that was large once does not keep its size for ever.
    fn give_back_memory(&mut self, key: HashKey) {
        let len = self.members.len();
        if self.members.capacity() <= len.saturating_mul(4).max(8) {
            return;
        }
        self.members.shrink_to(len * 2);
        if len <= MAX_UNINDEXED {
            self.index = HashTable::new();
        } else {
            let members = &self.members;
            self.index.shrink_to(len * 2, |at| key.hash(site_bytes(&members[*at as usize].addr)));
        }
    }
}
