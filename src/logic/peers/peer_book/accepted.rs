//! The connections that strangers opened to us (P-28). Their ports are not listening ports; they are redialled only where
//! they say that they listen (BEP 10).
//!
//! When there is no place left, a newcomer takes that of another: first of a newcomer of its own network, so that whoever has
//! many addresses in one network competes with himself; then of a newcomer of the network that has most; then of a peer that
//! has proven itself long ago and does nothing any more. Who is being served, or serves us, loses its place only where its
//! network has more than its share.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::logic::peers::address::{Class, Subnet};

/// Two from one host (P-28): a second peer behind one address, or the same one coming back before we noticed its loss.
const PER_HOST: usize = 2;

/// 5 minutes without a block either way: longer than a turn of others (`choke`), which a peer may have to wait for.
const IDLE: Duration = Duration::from_secs(300);

/// A quarter of the places is what one network may have of peers that are at work, while others want them. Picked by eye.
const NETWORK_SHARE: usize = 4;

/// Eight peers of one network are never too many: a household or an office. Picked by eye.
const NETWORK_LEAST: usize = 8;

#[derive(Debug)]
struct Guest {
    since: Instant,
    delivered: bool,
    served: bool,
    /// When a block last went either way.
    active: Option<Instant>,
    listens: Option<u16>,
}

impl Guest {
    const fn is_proven(&self, seeding: bool) -> bool {
        self.delivered || (seeding && self.served)
    }
}

/// By their remote addresses.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    guests: BTreeMap<SocketAddr, Guest>,
    /// Nobody can give us anything any more: to take is all that a peer can do.
    seeding: bool,
}

impl Accepted {
    pub(super) fn insert(&mut self, now: Instant, addr: SocketAddr) {
        let guest = Guest { since: now, delivered: false, served: false, active: None, listens: None };
        self.guests.insert(addr, guest);
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, addr: SocketAddr) -> bool {
        self.guests.remove(&addr).is_some()
    }

    /// Where it can be dialled, if it is there and has said so.
    pub(super) fn listens(&self, addr: SocketAddr) -> Option<SocketAddr> {
        let port = self.guests.get(&addr)?.listens?;
        Some(SocketAddr::new(addr.ip(), port))
    }

    pub(super) fn note_port(&mut self, addr: SocketAddr, port: u16) {
        if let Some(guest) = self.guests.get_mut(&addr) {
            guest.listens = Some(port);
        }
    }

    /// All of them are gone.
    pub(super) fn clear(&mut self) {
        self.guests.clear();
    }

    /// Whether we have everything.
    pub(super) const fn set_seeding(&mut self, seeding: bool) {
        self.seeding = seeding;
    }

    /// It delivered; says whether it is one of ours.
    pub(super) fn prove(&mut self, addr: SocketAddr) -> bool {
        self.guests.get_mut(&addr).map(|guest| guest.delivered = true).is_some()
    }

    /// It has taken a block.
    pub(super) fn on_served(&mut self, now: Instant, addr: SocketAddr) {
        if let Some(guest) = self.guests.get_mut(&addr) {
            (guest.served, guest.active) = (true, Some(now));
        }
    }

    /// A block went either way lately.
    pub(super) fn on_active(&mut self, now: Instant, addr: SocketAddr) {
        if let Some(guest) = self.guests.get_mut(&addr) {
            guest.active = Some(now);
        }
    }

    pub(super) fn has(&self, addr: SocketAddr) -> bool {
        self.guests.contains_key(&addr)
    }

    pub(super) fn is_proven(&self, addr: SocketAddr) -> bool {
        self.guests.get(&addr).is_some_and(|guest| guest.is_proven(self.seeding))
    }

    pub(super) fn any_proven(&self) -> bool {
        self.guests.values().any(|guest| guest.delivered)
    }

    pub(super) fn len(&self) -> usize {
        self.guests.len()
    }

    pub(super) fn addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.guests.keys().copied()
    }

    /// Has its host its share already? This machine has no share: whoever connects from here is meant to.
    pub(super) fn is_host_full(&self, addr: SocketAddr) -> bool {
        let ports = SocketAddr::new(addr.ip(), 0)..=SocketAddr::new(addr.ip(), u16::MAX);
        Class::of_ip(addr.ip()) != Class::Loopback && self.guests.range(ports).count() >= PER_HOST
    }

    /// Takes out whoever has the least claim to its place beside a newcomer; nobody, if all have more.
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

/// Why a peer should keep its place, the least reason first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    NewcomerOfTheSameNetwork,
    Newcomer,
    Idle,
    AtWorkAmongTooMany,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A seed's guests: address, since which second, served in which second.
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
    fn who_has_the_least_claim_goes_first() {
        let all: &[(&str, u64, Option<u64>)] = &[
            ("1.0.0.1:1", 0, Some(399)),
            ("2.0.0.1:1", 1, Some(2)),
            ("3.0.0.1:1", 3, None),
            ("4.0.0.1:1", 2, None),
            ("4.0.0.2:1", 4, None),
            ("5.0.0.1:1", 5, None),
        ];
        let order = [
            ("5.0.0.9:1", "5.0.0.1:1"), // A newcomer of its own network.
            ("5.0.0.9:1", "4.0.0.1:1"), // The oldest newcomer of the network that has most.
            ("5.0.0.9:1", "3.0.0.1:1"), // One each now: the oldest.
            ("5.0.0.9:1", "4.0.0.2:1"),
            ("5.0.0.9:1", "2.0.0.1:1"), // Proven, and idle since.
        ];
        let now = base_instant() + Duration::from_secs(400);
        let mut accepted = guests(all);
        for (newcomer, goes) in order {
            assert_eq!(accepted.evict(now, addr(newcomer)), Some(addr(goes)), "{newcomer}");
        }
        assert_eq!(accepted.evict(now, addr("5.0.0.9:1")), None, "1.0.0.1 is being served");
        assert!(accepted.has(addr("1.0.0.1:1")));
    }

    /// Who serves itself with a hundred addresses of one network gives some of their places back.
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

    /// A leech that gives nothing has not earned its place while we could be given something.
    #[test]
    fn to_take_is_proof_at_a_seed_only() {
        let (t0, guest) = (base_instant(), addr("1.0.0.1:1"));
        let mut accepted = Accepted::default();
        accepted.insert(t0, guest);
        accepted.on_served(t0, guest);
        assert!(!accepted.is_proven(guest));
        accepted.set_seeding(true);
        assert!(accepted.is_proven(guest) && !accepted.any_proven(), "and yet it never delivered");
    }
}
