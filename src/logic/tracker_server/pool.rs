//! The peers of one swarm and one address family: 8 bytes each for IPv4, 20 for IPv6, and an index when there are
//! many.
//!
//! Leeches come first, then seeds, so that "the leeches" and "all peers" are ranges to draw from. The pool does not
//! know other swarms. An address is a sequence of bytes as in compact peers (BEP 23, BEP 7). Its host is the part that
//! tells owners apart; its site is the part by which it is found and charged.

use std::hash::Hasher;
use std::ops::Range;

use hashbrown::HashTable;
use rand::rngs::SmallRng;
use rand::seq::index;
use rand::{RngExt, SeedableRng};

use super::networks::{Loads, NetworkSite};
use super::ticks::{LastAnnounce, Tick};
use crate::codec::compact::V4_LEN;

/// Up to 16 peers are searched faster than hashed, and most swarms have fewer.
const MAX_UNINDEXED: usize = 16;

/// The secret of the hashes, since strangers choose the addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct HashKey(u64, u64);

impl HashKey {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        Self(dice.random(), dice.random())
    }

    pub(super) fn hash(self, bytes: &[u8]) -> u64 {
        // SipHash of the secret and the bytes.
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher.write_u64(self.1);
        hasher.write(bytes);
        hasher.finish()
    }
}

/// The key of all hashes, and the number of entries of each network.
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

/// How many places of a swarm one host and one site may take, and when a peer is confirmed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) per_host: usize,
    pub(super) per_site: usize,
    /// A peer that announces again after this many ticks is confirmed.
    pub(super) confirm_after: u16,
}

/// What an announce says of a peer that stays.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerStatus {
    pub(super) is_seed: bool,
    /// Whether the announce says `completed`.
    pub(super) completes: bool,
}

/// The result of an announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted {
    /// Whether the peer was not listed before.
    pub(super) is_new: bool,
    /// Whether its download must be counted.
    pub(super) counts: bool,
    pub(super) is_confirmed: bool,
}

/// A listed peer.
#[derive(Debug, Clone, Copy)]
struct Member<const N: usize> {
    addr: [u8; N],
    seen: LastAnnounce,
}

/// The listed peers of one swarm and one family.
#[derive(Debug, Default)]
pub(super) struct Pool<const N: usize> {
    /// The leeches, then the seeds.
    members: Vec<Member<N>>,
    leeches: usize,
    /// Positions by the hash of their site. Empty while there are few peers.
    index: HashTable<u32>,
}

/// The part of an address that one owner has alone: all of an IPv4 address, the first half of an IPv6 address.
fn host<const N: usize>(addr: &[u8; N]) -> &[u8] {
    &addr[..if N == V4_LEN { 4 } else { 8 }]
}

/// The part of an address that is its [`NetworkSite`].
fn site_bytes<const N: usize>(addr: &[u8; N]) -> &[u8] {
    &addr[..if N == V4_LEN { 3 } else { 6 }]
}

/// The site of an address.
fn site<const N: usize>(addr: &[u8; N]) -> NetworkSite {
    match site_bytes(addr) {
        [a, b, c] => NetworkSite::V4([*a, *b, *c]),
        longer => NetworkSite::V6(std::array::from_fn(|nth| longer[nth])),
    }
}

/// Draws at most `most` different positions of a range, without `except`. Every set of positions is equally likely.
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

    /// The heap memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.members.capacity() * size_of::<Member<N>>() + self.index.allocation_size()
    }

    /// The range of all peers.
    pub(super) const fn all(&self) -> Range<usize> {
        0..self.members.len()
    }

    /// The range of the peers that are not complete.
    pub(super) const fn leeching(&self) -> Range<usize> {
        0..self.leeches
    }

    /// The position of an address, if it is listed.
    pub(super) fn position(&self, addr: &[u8; N], key: HashKey) -> Option<usize> {
        let mut found = None;
        self.visit_site(addr, key, |at| {
            if self.members[at].addr == *addr {
                found = Some(at);
            }
        });
        found
    }

    /// Handles an announce: lists the address, or updates it. Host and site have a limited number of places. If they
    /// are full, the oldest unconfirmed entry of the host or site is removed, or else its oldest entry.
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

    /// The peer at this position announces again. A download is counted once while the peer stays listed, and never
    /// for a peer that joined as a seed.
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

    /// Lists an address that is not listed.
    pub(super) fn insert(&mut self, addr: [u8; N], is_seed: bool, seen: LastAnnounce, ledger: &mut PoolLedger) {
        ledger.loads.add(site(&addr), ledger.key);
        self.push(Member { addr, seen }, ledger.key);
        if !is_seed {
            self.uncomplete(self.members.len() - 1, ledger.key);
        }
    }

    /// Lists an address of an earlier run, if it is not listed and its host and site have a place. Returns whether it
    /// did.
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

    /// Removes an address, if it is listed.
    pub(super) fn remove(&mut self, addr: &[u8; N], ledger: &mut PoolLedger) {
        if let Some(at) = self.position(addr, ledger.key) {
            self.remove_at(at, ledger);
        }
    }

    /// The site of the peer at this position, and its last announce.
    pub(super) fn look(&self, at: usize) -> (NetworkSite, LastAnnounce) {
        (site(&self.members[at].addr), self.members[at].seen)
    }

    /// All peers: the address, whether it is a seed, and its last announce.
    pub(super) fn members(&self) -> impl ExactSizeIterator<Item = (&[u8; N], bool, LastAnnounce)> {
        self.members.iter().enumerate().map(|(at, member)| (&member.addr, at >= self.leeches, member.seen))
    }

    /// Draws at most `most` addresses of a range, without the one at `except`. Every set of addresses is equally
    /// likely.
    pub(super) fn sample(
        &self,
        among: Range<usize>,
        except: Option<usize>,
        most: usize,
        dice: &mut SmallRng,
    ) -> impl Iterator<Item = &[u8; N]> {
        draw(among, except, most, dice).map(|at| &self.members[at].addr)
    }

    /// Removes peers that last announced more than `max_age` ticks ago, from position `below` down, checking at most
    /// `budget` peers. Returns the position it reached; 0 is the end.
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
            // The peer that takes a freed place comes from above, where all peers have been checked.
            if self.members[at].seen.age(now) > max_age {
                self.remove_at(at, ledger);
            }
        }
        if end == 0 {
            self.give_back_memory(ledger.key);
        }
        end
    }

    /// Whether the index matches the list.
    pub(super) fn is_sound(&self, key: HashKey) -> bool {
        let found = |at: &usize| self.position(&self.members[*at].addr, key) == Some(*at);
        let indexed = self.index.is_empty() || self.index.len() == self.members.len();
        let needed = self.members.len() <= MAX_UNINDEXED || !self.index.is_empty();
        self.leeches <= self.members.len() && indexed && needed && self.all().all(|at| found(&at))
    }

    /// Calls `visit` with the position of every peer of the same site.
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

    /// The hash of the peer at this position.
    fn hash_at(&self, at: usize, key: HashKey) -> u64 {
        key.hash(site_bytes(&self.members[at].addr))
    }

    /// Adds a peer at the end.
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

    /// Moves a leech to the seeds.
    fn complete(&mut self, at: usize, key: HashKey) {
        self.leeches -= 1;
        self.swap(at, self.leeches, key);
    }

    /// Moves a seed to the leeches.
    fn uncomplete(&mut self, at: usize, key: HashKey) {
        self.swap(at, self.leeches, key);
        self.leeches += 1;
    }

    /// Removes the peer at this position. Another peer takes its place.
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

    /// Swaps two peers, in the index too.
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

    /// Changes the index entry with position `from` to position `to`. `usize::MAX` stands for no position.
    fn point(&mut self, hash: u64, from: usize, to: usize) {
        let short = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        if let Some(position) = self.index.find_mut(hash, |position| *position == short(from)) {
            *position = short(to);
        }
    }

    /// Returns memory, so that a swarm that was once large does not keep its size.
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
