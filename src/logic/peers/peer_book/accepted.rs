//! The connections that peers opened to us (P-28). Their remote ports are not listening ports, so such a peer is
//! redialled only if it says where it listens (BEP 10).
//!
//! When no place is left, a new peer takes the place of another one. Candidates are, in this order: an unproven peer
//! of its own network, so that many addresses of one network compete with each other; an unproven peer of the network
//! with most connections; a proven peer that has been idle for long. A peer that uploads or downloads loses its place
//! only if its network has more than its share.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::logic::peers::address::{Class, Subnet};

/// Two from one host (P-28): a second peer behind one address, or the same peer reconnecting before we noticed its
/// loss.
const PER_HOST: usize = 2;

/// 5 minutes without a block in either direction: longer than a turn of other peers (`choke`), for which a peer may
/// have to wait.
const IDLE: Duration = Duration::from_secs(300);

/// While other peers want places, one network may have a quarter of them for active peers. Picked by eye.
const NETWORK_SHARE: usize = 4;

/// Eight peers of one network are always allowed: a household or an office. Picked by eye.
const NETWORK_LEAST: usize = 8;

/// An accepted connection.
#[derive(Debug)]
struct Guest {
    /// When it was accepted.
    since: Instant,
    /// Whether the peer ever delivered a good block.
    delivered: bool,
    /// Whether the peer ever downloaded a block.
    served: bool,
    /// When a block last went in either direction.
    active: Option<Instant>,
    /// The port on which the peer says it listens.
    listens: Option<u16>,
}

impl Guest {
    /// Whether the peer has earned its place: it delivered, or downloaded while we seed.
    const fn is_proven(&self, seeding: bool) -> bool {
        self.delivered || (seeding && self.served)
    }
}

/// The accepted connections by their remote addresses.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    guests: BTreeMap<SocketAddr, Guest>,
    /// Whether we have every wanted piece: then a peer can only download.
    seeding: bool,
}

impl Accepted {
    /// Adds a connection that was accepted now.
    pub(super) fn insert(&mut self, now: Instant, addr: SocketAddr) {
        let guest = Guest { since: now, delivered: false, served: false, active: None, listens: None };
        self.guests.insert(addr, guest);
    }

    /// Removes a connection. Returns whether it was there.
    pub(super) fn remove(&mut self, addr: SocketAddr) -> bool {
        self.guests.remove(&addr).is_some()
    }

    /// The address at which the peer of this connection says it listens.
    pub(super) fn listens(&self, addr: SocketAddr) -> Option<SocketAddr> {
        let port = self.guests.get(&addr)?.listens?;
        Some(SocketAddr::new(addr.ip(), port))
    }

    /// The peer says that it listens on this port.
    pub(super) fn note_port(&mut self, addr: SocketAddr, port: u16) {
        if let Some(guest) = self.guests.get_mut(&addr) {
            guest.listens = Some(port);
        }
    }

    /// Removes all connections.
    pub(super) fn clear(&mut self) {
        self.guests.clear();
    }

    /// Whether the torrent is complete and seeds.
    pub(super) const fn set_seeding(&mut self, seeding: bool) {
        self.seeding = seeding;
    }

    /// The peer delivered a good block. Returns whether the connection is an accepted one.
    pub(super) fn prove(&mut self, addr: SocketAddr) -> bool {
        self.guests.get_mut(&addr).map(|guest| guest.delivered = true).is_some()
    }

    /// The peer downloaded a block.
    pub(super) fn on_served(&mut self, now: Instant, addr: SocketAddr) {
        if let Some(guest) = self.guests.get_mut(&addr) {
            (guest.served, guest.active) = (true, Some(now));
        }
    }

    /// A block went in either direction lately.
    pub(super) fn on_active(&mut self, now: Instant, addr: SocketAddr) {
        if let Some(guest) = self.guests.get_mut(&addr) {
            guest.active = Some(now);
        }
    }

    /// Whether this connection is an accepted one.
    pub(super) fn has(&self, addr: SocketAddr) -> bool {
        self.guests.contains_key(&addr)
    }

    /// Whether the peer of this connection has earned its place.
    pub(super) fn is_proven(&self, addr: SocketAddr) -> bool {
        self.guests.get(&addr).is_some_and(|guest| guest.is_proven(self.seeding))
    }

    /// Whether any accepted peer has delivered a good block.
    pub(super) fn any_proven(&self) -> bool {
        self.guests.values().any(|guest| guest.delivered)
    }

    /// The number of accepted connections.
    pub(super) fn len(&self) -> usize {
        self.guests.len()
    }

    /// The remote addresses of all accepted connections.
    pub(super) fn addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.guests.keys().copied()
    }

    /// Whether the host has all its connections. Loopback addresses have no limit: a connection from this machine is
    /// intended.
    pub(super) fn is_host_full(&self, addr: SocketAddr) -> bool {
        let ports = SocketAddr::new(addr.ip(), 0)..=SocketAddr::new(addr.ip(), u16::MAX);
        Class::of_ip(addr.ip()) != Class::Loopback && self.guests.range(ports).count() >= PER_HOST
    }

    /// Removes the connection with the least claim to its place beside a new one from `newcomer`. `None` if all have a
    /// better claim.
    pub(super) fn evict(&mut self, now: Instant, newcomer: SocketAddr) -> Option<SocketAddr> {
        let mut of_network: BTreeMap<Subnet, usize> = BTreeMap::new();
        for addr in self.guests.keys() {
            *of_network.entry(Subnet::of(addr.ip())).or_default() += 1;
        }
        let own = Subnet::of(newcomer.ip());
        let share = (self.guests.len() / NETWORK_SHARE).max(NETWORK_LEAST);
        let claim = |(addr, guest): (&SocketAddr, &Guest)| {
            let network = Subnet::of(addr.ip());
            let others = of_network.get(&network).copied().unwrap_or(0);
            let is_idle = guest.active.unwrap_or(guest.since) + IDLE <= now;
            let claim = match guest.is_proven(self.seeding) {
                false if network == own => Claim::NewcomerOfTheSameNetwork,
                false => Claim::Newcomer,
                true if is_idle && self.seeding => Claim::Idle,
                true if network != own && others > share => Claim::AtWorkAmongTooMany,
                true => return None,
            };
            Some((claim, Reverse(others), guest.since, *addr))
        };
        let (.., addr) = self.guests.iter().filter_map(claim).min()?;
        self.guests.remove(&addr);
        Some(addr)
    }
}

/// Why a peer should keep its place, the weakest claim first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// Unproven, and of the network of the new peer.
    NewcomerOfTheSameNetwork,
    /// Unproven.
    Newcomer,
    /// Proven, and idle for [`IDLE`] while we seed.
    Idle,
    /// Proven and active, and of a network with more than its share.
    AtWorkAmongTooMany,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// The accepted peers of a seed: address, the second of the connection, the second of the last download.
    fn guests(table: &[(&str, u64, Option<u64>)]) -> Accepted {
        let (t0, mut accepted) = (base_instant(), Accepted::default());
        accepted.set_seeding(true);
        for (at, since, served) in table {
            accepted.insert(t0 + Duration::from_secs(*since), addr(at));
            if let Some(served) = served {
                accepted.on_served(t0 + Duration::from_secs(*served), addr(at));
            }
        }
        accepted
    }

    #[test]
    fn the_peer_with_the_least_claim_is_closed_first() {
        let all: &[(&str, u64, Option<u64>)] = &[
            ("1.0.0.1:1", 0, Some(399)),
            ("2.0.0.1:1", 1, Some(2)),
            ("3.0.0.1:1", 3, None),
            ("4.0.0.1:1", 2, None),
            ("4.0.0.2:1", 4, None),
            ("5.0.0.1:1", 5, None),
        ];
        let order = [
            ("5.0.0.9:1", "5.0.0.1:1"), // An unproven peer of its own network.
            ("5.0.0.9:1", "4.0.0.1:1"), // The oldest unproven peer of the network with most connections.
            ("5.0.0.9:1", "3.0.0.1:1"), // One unproven peer each now: the oldest.
            ("5.0.0.9:1", "4.0.0.2:1"),
            ("5.0.0.9:1", "2.0.0.1:1"), // Proven, and idle since then.
        ];
        let now = base_instant() + Duration::from_secs(400);
        let mut accepted = guests(all);
        for (newcomer, goes) in order {
            assert_eq!(accepted.evict(now, addr(newcomer)), Some(addr(goes)), "{newcomer}");
        }
        assert_eq!(accepted.evict(now, addr("5.0.0.9:1")), None, "1.0.0.1 is being served");
        assert!(accepted.has(addr("1.0.0.1:1")));
    }

    /// A person with a hundred active addresses in one network loses some of their places.
    #[test]
    fn a_network_has_its_share_of_places_and_no_more() {
        let (t0, mut accepted) = (base_instant(), guests(&[]));
        for n in 0..60_u16 {
            let at = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], 1));
            accepted.insert(t0, at);
            accepted.on_served(t0, at);
        }
        assert_eq!(accepted.evict(t0, addr("[2001:db8::ffff]:1")), None, "not for one of its own");
        for n in 0..60_u8 {
            let newcomer = SocketAddr::from(([n + 1, 0, 0, 1], 1));
            let Some(evicted) = accepted.evict(t0, newcomer) else {
                assert_eq!(n, 45, "the network has a quarter of sixty");
                return;
            };
            assert!(evicted.is_ipv6());
            accepted.insert(t0, newcomer);
            accepted.on_served(t0, newcomer);
        }
        panic!("nothing is left of it");
    }

    /// While downloading, a leech that uploads nothing to us has not earned its place.
    #[test]
    fn downloading_proves_a_peer_at_a_seed_only() {
        let (t0, guest) = (base_instant(), addr("1.0.0.1:1"));
        let mut accepted = Accepted::default();
        accepted.insert(t0, guest);
        accepted.on_served(t0, guest);
        assert!(!accepted.is_proven(guest));
        accepted.set_seeding(true);
        assert!(accepted.is_proven(guest) && !accepted.any_proven(), "and yet it never delivered");
    }
}
