//! The peers of one swarm and one family: 8 bytes each for IPv4, 20 for IPv6, and an index when there are many.
//!
//! Leeches stand first, then seeds, so that "a leech" and "anybody" are ranges to draw from. Knows no events and no
//! swarms; an address is a run of bytes as in compact peers (BEP 23, BEP 7), its host the part that tells owners apart.

use std::hash::Hasher;
use std::ops::Range;

use hashbrown::HashTable;
use rand::rngs::SmallRng;
use rand::seq::index;
use rand::{RngExt, SeedableRng};

use super::ticks::Tick;
use crate::codec::compact::V4_LEN;

/// 16 peers are looked through faster than hashed, and most swarms have fewer.
const MAX_UNINDEXED: usize = 16;

/// 8 candidates: the oldest of them is, 9 times in 10, among the oldest quarter of all.
const EVICTION_TRIES: usize = 8;

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

#[derive(Debug, Clone, Copy)]
struct Member<const N: usize> {
    addr: [u8; N],
    seen: Tick,
}

/// What an address was before it was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Unknown,
    Leech,
    Seed,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Pool<const N: usize> {
    /// Leeches, then seeds.
    members: Vec<Member<N>>,
    leeches: usize,
    /// Positions by the hash of their host. Empty while there are few.
    index: HashTable<u32>,
}

/// The part of an address that one owner has to himself: all of an IPv4 address, the first half of an IPv6 one.
fn host<const N: usize>(addr: &[u8; N]) -> &[u8] {
    &addr[..if N == V4_LEN { 4 } else { 8 }]
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
        self.visit_host(addr, key, |at| {
            if self.members[at].addr == *addr {
                found = Some(at);
            }
        });
        found
    }

    /// Lists an address, or hears of it again. A host has at most `per_host` of them: beyond that its oldest one goes.
    pub(super) fn put(&mut self, addr: [u8; N], is_seed: bool, now: Tick, per_host: usize, key: HashKey) -> Before {
        let (mut found, mut oldest, mut of_host) = (None, None, 0_usize);
        self.visit_host(&addr, key, |at| {
            let member = &self.members[at];
            of_host += 1;
            if member.addr == addr {
                found = Some(at);
            }
            let age = member.seen.age(now);
            if oldest.is_none_or(|(most, _)| age > most) {
                oldest = Some((age, at));
            }
        });
        if let Some(at) = found {
            let before = if at < self.leeches { Before::Leech } else { Before::Seed };
            self.members[at].seen = now;
            match (before, is_seed) {
                (Before::Leech, true) => self.complete(at, key),
                (Before::Seed, false) => self.uncomplete(at, key),
                _ => {}
            }
            return before;
        }
        if let Some((_age, at)) = oldest.filter(|_| of_host >= per_host) {
            self.remove_at(at, key);
        }
        self.push(Member { addr, seen: now }, key);
        if !is_seed {
            self.uncomplete(self.members.len() - 1, key);
        }
        Before::Unknown
    }

    /// Takes an address out, if it is in.
    pub(super) fn remove(&mut self, addr: &[u8; N], key: HashKey) {
        if let Some(at) = self.position(addr, key) {
            self.remove_at(at, key);
        }
    }

    /// Makes room: of some drawn by lot the one that was not heard of for longest goes, never that at `except`.
    pub(super) fn evict(&mut self, now: Tick, except: Option<usize>, key: HashKey, dice: &mut SmallRng) {
        let drawn = draw(self.all(), except, EVICTION_TRIES, dice);
        if let Some(at) = drawn.max_by_key(|at| self.members[*at].seen.age(now)) {
            self.remove_at(at, key);
        }
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
    pub(super) fn sweep(&mut self, below: usize, budget: usize, (now, max_age): (Tick, u16), key: HashKey) -> usize {
        let mut at = below.min(self.members.len());
        let end = at.saturating_sub(budget);
        while at > end {
            at -= 1;
            // Who takes a freed place comes from above, where everybody has been looked at.
            if self.members[at].seen.age(now) > max_age {
                self.remove_at(at, key);
            }
        }
        if end == 0 {
            self.give_back_memory(key);
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

    fn visit_host(&self, addr: &[u8; N], key: HashKey, mut visit: impl FnMut(usize)) {
        if self.index.is_empty() {
            (0..self.members.len()).filter(|at| host(&self.members[*at].addr) == host(addr)).for_each(visit);
            return;
        }
        for at in self.index.iter_hash(key.hash(host(addr))) {
            let at = *at as usize;
            if host(&self.members[at].addr) == host(addr) {
                visit(at);
            }
        }
    }

    fn hash_at(&self, at: usize, key: HashKey) -> u64 {
        key.hash(host(&self.members[at].addr))
    }

    fn push(&mut self, member: Member<N>, key: HashKey) {
        let at = u32::try_from(self.members.len()).expect("a swarm is limited to far fewer");
        self.members.push(member);
        let members = &self.members;
        let rehash = |at: &u32| key.hash(host(&members[*at as usize].addr));
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

    fn remove_at(&mut self, mut at: usize, key: HashKey) {
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
            self.index.shrink_to(len * 2, |at| key.hash(host(&members[*at as usize].addr)));
        }
    }
}
