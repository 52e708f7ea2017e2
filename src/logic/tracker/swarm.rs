//! One swarm: its peers of both families and its count of downloads. Knows no other swarm and no limits but what it is
//! told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rand::rngs::SmallRng;

use super::pool::{Before, HashKey, Pool};
use super::ticks::Tick;
use crate::base::ids::InfoHash;
use crate::codec::compact::{V4_LEN, V6_LEN};
use crate::codec::tracker::Event;

/// What a peer says of itself, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// Where it can be dialled.
    pub addr: SocketAddr,
    /// Why it announces.
    pub event: Event,
    /// It has everything.
    pub is_seed: bool,
}

/// How many peers of which family may be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Only of the asker's family: a UDP tracker has no room for the other (BEP 15).
    SameFamily(usize),
    /// Of the asker's family first, then of the other (BEP 7).
    AnyFamily(usize),
}

/// Peers by what they are, and bytes: what is added up over all swarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// IPv4 peers that are not complete.
    pub leeches_v4: usize,
    /// IPv4 peers that are.
    pub seeds_v4: usize,
    /// IPv6 peers that are not complete.
    pub leeches_v6: usize,
    /// IPv6 peers that are.
    pub seeds_v6: usize,
    /// Memory they take.
    pub bytes: usize,
}

impl Tally {
    /// All of them.
    pub const fn peers(&self) -> usize {
        self.leeches_v4 + self.seeds_v4 + self.leeches_v6 + self.seeds_v6
    }

    /// Those that are complete.
    pub const fn seeds(&self) -> usize {
        self.seeds_v4 + self.seeds_v6
    }

    /// A part of the whole has changed.
    pub(super) const fn replace(&mut self, before: Self, after: Self) {
        self.leeches_v4 = self.leeches_v4 + after.leeches_v4 - before.leeches_v4;
        self.seeds_v4 = self.seeds_v4 + after.seeds_v4 - before.seeds_v4;
        self.leeches_v6 = self.leeches_v6 + after.leeches_v6 - before.leeches_v6;
        self.seeds_v6 = self.seeds_v6 + after.seeds_v6 - before.seeds_v6;
        self.bytes = self.bytes + after.bytes - before.bytes;
    }
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Swarm {
    pub(super) info_hash: InfoHash,
    v4: Pool<V4_LEN>,
    v6: Pool<V6_LEN>,
    /// Announces that said "completed".
    pub(super) downloaded: u32,
    /// The last announce.
    pub(super) touched: Tick,
}

/// An address in the form of its pool.
enum Key {
    V4([u8; V4_LEN]),
    V6([u8; V6_LEN]),
}

impl From<SocketAddr> for Key {
    fn from(addr: SocketAddr) -> Self {
        let [high, low] = addr.port().to_be_bytes();
        match addr.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                Self::V4([a, b, c, d, high, low])
            }
            IpAddr::V6(ip) => {
                let mut key = [0; V6_LEN];
                key[..16].copy_from_slice(&ip.octets());
                key[16..].copy_from_slice(&[high, low]);
                Self::V6(key)
            }
        }
    }
}

fn v4_addr([a, b, c, d, high, low]: [u8; V4_LEN]) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
}

fn v6_addr([ip @ .., high, low]: [u8; V6_LEN]) -> SocketAddr {
    let ip: [u8; 16] = ip;
    SocketAddr::from((Ipv6Addr::from(ip), u16::from_be_bytes([high, low])))
}

impl Swarm {
    pub(super) fn new(info_hash: InfoHash, now: Tick) -> Self {
        Self { info_hash, v4: Pool::default(), v6: Pool::default(), downloaded: 0, touched: now }
    }

    pub(super) const fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    pub(super) fn tally(&self) -> Tally {
        Tally {
            leeches_v4: self.v4.leeches(),
            seeds_v4: self.v4.seeds(),
            leeches_v6: self.v6.leeches(),
            seeds_v6: self.v6.seeds(),
            bytes: size_of::<Self>() + self.v4.bytes() + self.v6.bytes(),
        }
    }

    /// Takes a visit in. Who stops is gone; who completes is counted, once as long as it stays listed.
    pub(super) fn hear(&mut self, visit: &Visit, now: Tick, per_host: usize, key: HashKey) {
        self.touched = now;
        if visit.event == Event::Stopped {
            self.remove(visit.addr, key);
            return;
        }
        let before = match Key::from(visit.addr) {
            Key::V4(addr) => self.v4.put(addr, visit.is_seed, now, per_host, key),
            Key::V6(addr) => self.v6.put(addr, visit.is_seed, now, per_host, key),
        };
        let has_completed = visit.event == Event::Completed && before != Before::Seed;
        self.downloaded = self.downloaded.saturating_add(u32::from(has_completed));
    }

    /// Takes a peer out, if it is in.
    pub(super) fn remove(&mut self, addr: SocketAddr, key: HashKey) {
        match Key::from(addr) {
            Key::V4(addr) => self.v4.remove(&addr, key),
            Key::V6(addr) => self.v6.remove(&addr, key),
        }
    }

    /// Makes room in the larger family, but not at the expense of `guest`.
    pub(super) fn evict(&mut self, guest: SocketAddr, now: Tick, key: HashKey, dice: &mut SmallRng) {
        let (guest_v4, guest_v6) = match Key::from(guest) {
            Key::V4(addr) => (self.v4.position(&addr, key), None),
            Key::V6(addr) => (None, self.v6.position(&addr, key)),
        };
        let others = |len: usize, guest: Option<usize>| len - usize::from(guest.is_some());
        if others(self.v4.len(), guest_v4) >= others(self.v6.len(), guest_v6) {
            self.v4.evict(now, guest_v4, key, dice);
        } else {
            self.v6.evict(now, guest_v6, key, dice);
        }
    }

    /// Peers for somebody: never itself; seeds get no seeds, who would have nothing to say to each other.
    pub(super) fn name(&self, asker: &Visit, wanted: Wanted, key: HashKey, dice: &mut SmallRng) -> Vec<SocketAddr> {
        let (most, other_too) = match wanted {
            Wanted::SameFamily(most) => (most, false),
            Wanted::AnyFamily(most) => (most, true),
        };
        let mut named = Vec::with_capacity(most.min(self.len()));
        match Key::from(asker.addr) {
            Key::V4(addr) => {
                self.name_v4(Some(&addr), asker.is_seed, most, key, dice, &mut named);
                if other_too {
                    self.name_v6(None, asker.is_seed, most - named.len(), key, dice, &mut named);
                }
            }
            Key::V6(addr) => {
                self.name_v6(Some(&addr), asker.is_seed, most, key, dice, &mut named);
                if other_too {
                    self.name_v4(None, asker.is_seed, most - named.len(), key, dice, &mut named);
                }
            }
        }
        named
    }

    fn name_v4(
        &self,
        asker: Option<&[u8; V4_LEN]>,
        to_seed: bool,
        most: usize,
        key: HashKey,
        dice: &mut SmallRng,
        named: &mut Vec<SocketAddr>,
    ) {
        let except = asker.and_then(|addr| self.v4.position(addr, key));
        let among = if to_seed { self.v4.leeching() } else { self.v4.all() };
        named.extend(self.v4.sample(among, except, most, dice).map(|addr| v4_addr(*addr)));
    }

    fn name_v6(
        &self,
        asker: Option<&[u8; V6_LEN]>,
        to_seed: bool,
        most: usize,
        key: HashKey,
        dice: &mut SmallRng,
        named: &mut Vec<SocketAddr>,
    ) {
        let except = asker.and_then(|addr| self.v6.position(addr, key));
        let among = if to_seed { self.v6.leeching() } else { self.v6.all() };
        named.extend(self.v6.sample(among, except, most, dice).map(|addr| v6_addr(*addr)));
    }

    /// Forgets who was silent for too long, going down from position `below` of all. Says how far it came.
    pub(super) fn sweep(&mut self, below: usize, budget: usize, age: (Tick, u16), key: HashKey) -> usize {
        let v4_len = self.v4.len();
        if below > v4_len {
            v4_len + self.v6.sweep(below - v4_len, budget, age, key)
        } else {
            self.v4.sweep(below, budget, age, key)
        }
    }

    pub(super) fn is_sound(&self, key: HashKey) -> bool {
        self.v4.is_sound(key) && self.v6.is_sound(key)
    }
}
