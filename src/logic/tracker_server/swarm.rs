//! One swarm of the tracker: its peers of both families, its count of downloads, and the network that founded it. It
//! does not know other swarms.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rand::rngs::SmallRng;

use super::networks::NetworkSite;
use super::pool::{HashKey, Noted, PeerStatus, Places, Pool, PoolLedger};
use super::registry::Return;
use super::ticks::{LastAnnounce, Tick};
use crate::base::ids::InfoHash;
use crate::codec::compact::{V4_LEN, V6_LEN};
use crate::codec::swarm_state::{SavedNetwork, SavedPeer, SavedSwarm};
use crate::codec::tracker::Event;

/// The parts of an announce that matter to the swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// The address of the peer.
    pub addr: SocketAddr,
    /// The event of the announce.
    pub event: Event,
    /// Whether the peer has every piece.
    pub is_seed: bool,
}

/// How many peers to name, and of which family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedPeers {
    /// Only peers of the requester's family: a UDP reply has no room for the other (BEP 15).
    SameFamily(usize),
    /// Peers of the requester's family first, then of the other (BEP 7).
    AnyFamily(usize),
}

/// Counts of peers, and the memory they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// IPv4 peers that are not complete.
    pub leeches_v4: usize,
    /// IPv4 peers that are complete.
    pub seeds_v4: usize,
    /// IPv6 peers that are not complete.
    pub leeches_v6: usize,
    /// IPv6 peers that are complete.
    pub seeds_v6: usize,
    /// Memory in bytes.
    pub bytes: usize,
}

impl Tally {
    /// The number of peers.
    pub const fn peers(&self) -> usize {
        self.leeches_v4 + self.seeds_v4 + self.leeches_v6 + self.seeds_v6
    }

    /// The number of complete peers.
    pub const fn seeds(&self) -> usize {
        self.seeds_v4 + self.seeds_v6
    }

    /// Replaces the counts of a part that has changed.
    pub(super) const fn replace(&mut self, before: Self, after: Self) {
        self.leeches_v4 = self.leeches_v4 + after.leeches_v4 - before.leeches_v4;
        self.seeds_v4 = self.seeds_v4 + after.seeds_v4 - before.seeds_v4;
        self.leeches_v6 = self.leeches_v6 + after.leeches_v6 - before.leeches_v6;
        self.seeds_v6 = self.seeds_v6 + after.seeds_v6 - before.seeds_v6;
        self.bytes = self.bytes + after.bytes - before.bytes;
    }
}

/// A swarm of the tracker.
#[derive(Debug)]
pub(super) struct TrackedSwarm {
    pub(super) info_hash: InfoHash,
    v4: Pool<V4_LEN>,
    v6: Pool<V6_LEN>,
    /// Announces with `completed`, one for each listed peer.
    pub(super) downloaded: u32,
    /// When the last announce came.
    pub(super) touched: Tick,
    /// The network of the first peer. The swarm is charged to it.
    pub(super) founder: NetworkSite,
    /// Whether peers of two networks have met here, or a peer has announced again after the minimum interval.
    pub(super) is_established: bool,
}

/// An address in the form in which its pool stores it.
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

/// A peer in the form of the state file.
fn saved_peer<const N: usize>((addr, is_seed, seen): (&[u8; N], bool, LastAnnounce), now: Tick) -> SavedPeer<N> {
    let (is_confirmed, is_counted) = (seen.is_confirmed(), seen.is_counted());
    SavedPeer { addr: *addr, age: seen.age(now), is_seed, is_confirmed, is_counted }
}

/// The mark of a saved peer, unless it has expired.
fn seen<const N: usize>(saved: &SavedPeer<N>, back: Return) -> Option<LastAnnounce> {
    let tick = back.tick(saved.age)?;
    Some(LastAnnounce::first(tick).confirmed(saved.is_confirmed).counted(saved.is_counted))
}

impl TrackedSwarm {
    /// A swarm without peers.
    pub(super) fn new(info_hash: InfoHash, founder: NetworkSite, now: Tick) -> Self {
        let (v4, v6) = (Pool::default(), Pool::default());
        Self { info_hash, v4, v6, downloaded: 0, touched: now, founder, is_established: false }
    }

    /// The number of peers.
    pub(super) const fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// The counts of this swarm.
    pub(super) fn tally(&self) -> Tally {
        Tally {
            leeches_v4: self.v4.leeches(),
            seeds_v4: self.v4.seeds(),
            leeches_v6: self.v6.leeches(),
            seeds_v6: self.v6.seeds(),
            bytes: size_of::<Self>() + self.v4.bytes() + self.v6.bytes(),
        }
    }

    /// Handles an announce. A peer that stops is removed. A peer that completes is counted, once while it stays
    /// listed. Returns whether the peer is new in the list.
    pub(super) fn hear(&mut self, visit: &Visit, now: Tick, places: &Places, ledger: &mut PoolLedger) -> bool {
        self.touched = now;
        if visit.event == Event::Stopped {
            self.remove(visit.addr, ledger);
            return false;
        }
        let word = PeerStatus { is_seed: visit.is_seed, completes: visit.event == Event::Completed };
        let Noted { is_new, counts, is_confirmed } = match Key::from(visit.addr) {
            Key::V4(addr) => self.v4.put(addr, word, now, places, ledger),
            Key::V6(addr) => self.v6.put(addr, word, now, places, ledger),
        };
        self.downloaded = self.downloaded.saturating_add(u32::from(counts));
        self.is_established |= is_confirmed || NetworkSite::of(visit.addr.ip().to_canonical()) != self.founder;
        is_new
    }

    /// Removes a peer, if it is listed.
    pub(super) fn remove(&mut self, addr: SocketAddr, ledger: &mut PoolLedger) {
        match Key::from(addr) {
            Key::V4(addr) => self.v4.remove(&addr, ledger),
            Key::V6(addr) => self.v6.remove(&addr, ledger),
        }
    }

    /// The position of this peer among all peers of the swarm.
    pub(super) fn position(&self, addr: SocketAddr, key: HashKey) -> Option<usize> {
        match Key::from(addr) {
            Key::V4(addr) => self.v4.position(&addr, key),
            Key::V6(addr) => self.v6.position(&addr, key).map(|at| self.v4.len() + at),
        }
    }

    /// The site of the peer at this position, and its last announce.
    pub(super) fn look(&self, at: usize) -> (NetworkSite, LastAnnounce) {
        at.checked_sub(self.v4.len()).map_or_else(|| self.v4.look(at), |at| self.v6.look(at))
    }

    /// Removes the peer at this position.
    pub(super) fn remove_at(&mut self, at: usize, ledger: &mut PoolLedger) {
        match at.checked_sub(self.v4.len()) {
            Some(at) => self.v6.remove_at(at, ledger),
            None => self.v4.remove_at(at, ledger),
        }
    }

    /// The sites of all peers.
    pub(super) fn sites(&self) -> impl Iterator<Item = NetworkSite> {
        (0..self.len()).map(|at| self.look(at).0)
    }

    /// Draws peers for the requester: never itself, and no seeds for a seed, since they need nothing of each other.
    pub(super) fn name(
        &self,
        asker: &Visit,
        wanted: WantedPeers,
        key: HashKey,
        dice: &mut SmallRng,
    ) -> Vec<SocketAddr> {
        let (most, other_too) = match wanted {
            WantedPeers::SameFamily(most) => (most, false),
            WantedPeers::AnyFamily(most) => (most, true),
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

    /// Appends up to `most` drawn IPv4 peers, without the requester.
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

    /// Appends up to `most` drawn IPv6 peers, without the requester.
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

    /// The swarm in the form of the state file.
    pub(super) fn saved(&self, now: Tick) -> SavedSwarm {
        let founder = match self.founder {
            NetworkSite::V4(prefix) => SavedNetwork::V4(prefix),
            NetworkSite::V6(prefix) => SavedNetwork::V6(prefix),
        };
        SavedSwarm {
            info_hash: self.info_hash,
            downloaded: self.downloaded,
            age: self.touched.age(now),
            is_established: self.is_established,
            founder,
            v4: self.v4.members().map(|member| saved_peer(member, now)).collect(),
            v6: self.v6.members().map(|member| saved_peer(member, now)).collect(),
        }
    }

    /// Lists the peers of a saved swarm that have not expired, can be dialled and have a place: at most `free` of
    /// them.
    pub(super) fn restore(
        &mut self,
        saved: &SavedSwarm,
        free: usize,
        back: Return,
        places: &Places,
        ledger: &mut PoolLedger,
    ) {
        let mut left = free;
        for peer in saved.v4.iter().filter(|peer| v4_addr(peer.addr).port() != 0) {
            if let Some(seen) = seen(peer, back).filter(|_| left > 0) {
                left -= usize::from(self.v4.restore(peer.addr, peer.is_seed, seen, places, ledger));
            }
        }
        // An IPv4 address mapped into IPv6 belongs to the IPv4 pool and is dropped here.
        let is_v6 = |addr: SocketAddr| addr.port() != 0 && addr.ip().to_canonical().is_ipv6();
        for peer in saved.v6.iter().filter(|peer| is_v6(v6_addr(peer.addr))) {
            if let Some(seen) = seen(peer, back).filter(|_| left > 0) {
                left -= usize::from(self.v6.restore(peer.addr, peer.is_seed, seen, places, ledger));
            }
        }
    }

    /// Removes peers that were silent for too long, from position `below` down. Returns the position it reached.
    pub(super) fn sweep(&mut self, below: usize, budget: usize, age: (Tick, u16), ledger: &mut PoolLedger) -> usize {
        let v4_len = self.v4.len();
        if below > v4_len {
            v4_len + self.v6.sweep(below - v4_len, budget, age, ledger)
        } else {
            self.v4.sweep(below, budget, age, ledger)
        }
    }

    /// Whether every index is right.
    pub(super) fn is_sound(&self, key: HashKey) -> bool {
        self.v4.is_sound(key) && self.v6.is_sound(key)
    }
}
