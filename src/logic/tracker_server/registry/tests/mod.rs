//! The registry by tables and against a model of plain maps. Floods are in `floods`.

mod floods;

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

/// A peer is confirmed after 15 minutes and overdue after half an hour.
const RHYTHM: Rhythm = Rhythm { confirm_after: 112, overdue_after: 226 };

fn new_registry(limits: RegistryLimits, seed: u64) -> Registry {
    Registry::new(limits, RHYTHM, seed)
}

fn visit(addr: SocketAddr, event: Event, is_seed: bool) -> Visit {
    Visit { addr, event, is_seed }
}

fn hear(registry: &mut Registry, addr: SocketAddr, event: Event, is_seed: bool, most: usize) -> SwarmAnswer {
    registry.hear(A, &visit(addr, event, is_seed), WantedPeers::AnyFamily(most), tick(0))
}

fn counts(registry: &Registry) -> (u32, u32, u32) {
    registry.numbers(&A).map_or((0, 0, 0), |swarm| (swarm.complete, swarm.incomplete, swarm.downloaded))
}

#[test]
fn peers_come_complete_and_go() {
    let mut registry = new_registry(RegistryLimits::default(), 1);
    let table = [
        (v4(1), Event::Started, false, (0, 1, 0)),
        (v4(2), Event::Started, true, (1, 1, 0)),
        (v6(1), Event::Started, false, (1, 2, 0)),
        (v4(1), Event::Periodic, false, (1, 2, 0)),
        (v4(1), Event::Completed, true, (2, 1, 1)),
        // Announced twice, counted once.
        (v4(1), Event::Completed, true, (2, 1, 1)),
        // The peer found damaged data and downloads it again: this is no second download.
        (v4(1), Event::Periodic, false, (1, 2, 1)),
        (v4(1), Event::Completed, true, (2, 1, 1)),
        // It announces `completed` although it lacks a piece.
        (v4(1), Event::Completed, false, (1, 2, 1)),
        (v4(1), Event::Completed, false, (1, 2, 1)),
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
fn no_peer_is_named_to_itself_and_no_seed_to_a_seed() {
    let mut registry = new_registry(RegistryLimits::default(), 1);
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

/// The same members in the order of another list, for a readable failure when sets are compared.
trait SortedLike {
    fn sorted_like(self, other: &[SocketAddr]) -> Vec<SocketAddr>;
}

impl SortedLike for Vec<SocketAddr> {
    fn sorted_like(mut self, other: &[SocketAddr]) -> Self {
        self.sort_by_key(|addr| other.iter().position(|of_other| of_other == addr).unwrap_or(usize::MAX));
        self
    }
}

/// BEP 7: peers of the other family fill the remaining places; a UDP reply (BEP 15) has no room for them.
#[test]
fn the_askers_family_comes_first() {
    let mut registry = new_registry(RegistryLimits::default(), 1);
    for nth in 0..10 {
        hear(&mut registry, v4(nth), Event::Started, false, 0);
        hear(&mut registry, v6(nth), Event::Started, false, 0);
    }
    let table = [
        (v4(0), WantedPeers::AnyFamily(12), (9, 3)),
        (v6(0), WantedPeers::AnyFamily(12), (3, 9)),
        (v4(0), WantedPeers::SameFamily(12), (9, 0)),
        (v6(0), WantedPeers::SameFamily(12), (0, 9)),
        (v4(0), WantedPeers::AnyFamily(4), (4, 0)),
    ];
    for (addr, wanted, want) in table {
        let named = registry.hear(A, &visit(addr, Event::Periodic, false), wanted, tick(0)).peers;
        let of_v4 = named.iter().filter(|peer| peer.is_ipv4()).count();
        assert_eq!((of_v4, named.len() - of_v4), want, "{addr} {wanted:?}");
    }
}

/// Each of 99 other peers is named 1,000 times on average in 9,900 answers of ten; five standard deviations are 150.
#[test]
fn every_peer_is_equally_likely_to_be_named() {
    let mut registry = new_registry(RegistryLimits::default(), 7);
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
fn a_peer_that_cannot_be_dialled_is_answered_and_not_listed() {
    let mut registry = new_registry(RegistryLimits::default(), 1);
    hear(&mut registry, v4(1), Event::Started, true, 0);
    let nowhere = SocketAddr::new(v4(2).ip(), 0);
    assert_eq!(hear(&mut registry, nowhere, Event::Started, false, 50).peers, [v4(1)]);
    assert_eq!(counts(&registry), (1, 0, 0));
    let mut empty = new_registry(RegistryLimits::default(), 1);
    hear(&mut empty, v4(1), Event::Stopped, true, 50);
    hear(&mut empty, nowhere, Event::Started, true, 50);
    assert_eq!(empty.swarms(), 0, "no swarm for those");
}

#[test]
fn silent_peers_are_forgotten_and_then_their_swarm() {
    let mut registry = new_registry(RegistryLimits::default(), 1);
    for nth in 0..1000 {
        let swarm = InfoHash([u8::try_from(nth % 7).unwrap(); 20]);
        let addr = if nth % 2 == 0 { v4(nth) } else { v6(nth) };
        let at = if nth % 5 == 0 { 40 } else { 0 };
        registry.hear(swarm, &visit(addr, Event::Started, nth % 3 == 0), WantedPeers::AnyFamily(0), tick(at));
    }
    let sweep_all = |registry: &mut Registry, now: u64| {
        for _ in 0..3000 {
            registry.sweep((tick(now), 8), 1, |_| true);
            assert!(registry.total().peers() <= 1000);
        }
        assert!(registry.is_sound());
        (registry.total().peers(), registry.swarms())
    };
    assert_eq!(sweep_all(&mut registry, 60), (1000, 7), "all of them within a minute");
    assert_eq!(sweep_all(&mut registry, 80), (200, 7));
    assert_eq!(sweep_all(&mut registry, 170), (0, 0));
    assert!(registry.total().bytes < 4096, "{} bytes are left", registry.total().bytes);
}

#[test]
fn swarms_that_are_no_longer_served_are_removed() {
    let mut registry = new_registry(RegistryLimits::default(), 1);
    for nth in 0..20 {
        let swarm = InfoHash([nth; 20]);
        registry.hear(swarm, &visit(v4(1), Event::Started, true), WantedPeers::AnyFamily(0), tick(0));
    }
    (0..10).for_each(|_| registry.sweep((tick(0), 30), 10, |swarm| swarm.0[0] % 2 == 0));
    assert_eq!((registry.swarms(), registry.total().peers(), registry.is_sound()), (10, 10, true));
    assert!(registry.numbers(&InfoHash([2; 20])).is_some() && registry.numbers(&InfoHash([3; 20])).is_none());
}

#[test]
fn one_host_has_no_more_places_than_allowed_and_its_oldest_goes() {
    let mut registry = new_registry(RegistryLimits { peers_per_host: 3, ..RegistryLimits::default() }, 1);
    let at = |host: SocketAddr, port| SocketAddr::new(host.ip(), port);
    let neighbour = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(_) => addr,
        IpAddr::V6(ip) => SocketAddr::from((std::net::Ipv6Addr::from(ip.to_bits() + 1), addr.port())),
    };
    for base in [v4(1), v6(1)] {
        for port in 1..=10 {
            let addr = if port % 2 == 0 { at(base, port) } else { neighbour(at(base, port)) };
            let seen = tick(u64::from(port) * 8);
            registry.hear(A, &visit(addr, Event::Started, false), WantedPeers::AnyFamily(0), seen);
        }
    }
    let others = registry.hear(A, &visit(v4(2), Event::Started, false), WantedPeers::AnyFamily(50), tick(100)).peers;
    let ports: BTreeSet<_> = others.iter().map(|peer| (peer.is_ipv4(), peer.port())).collect();
    assert_eq!(ports, [(true, 8), (true, 9), (true, 10), (false, 8), (false, 9), (false, 10)].into());
}

/// For each peer: whether it is a seed, and whether it ever was one or its download was counted.
type Peers = BTreeMap<SocketAddr, (bool, bool)>;

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
    /// Compares every number and answer with a model of plain maps.
    #[test]
    fn counts_and_answers_are_right_after_any_events(steps in steps(), seed: u64) {
        let mut registry = new_registry(RegistryLimits::default(), seed);
        let mut model: BTreeMap<u8, (Peers, u32)> = BTreeMap::new();
        for step in &steps {
            let visit = visit(step.addr, step.event, step.is_seed);
            let heard = registry.hear(InfoHash([step.swarm; 20]), &visit, WantedPeers::AnyFamily(step.most), tick(0));
            let (peers, downloaded) = model.entry(step.swarm).or_default();
            if step.event == Event::Stopped {
                peers.remove(&step.addr);
            } else {
                let completes = step.event == Event::Completed;
                let was_counted = peers.get(&step.addr).is_some_and(|(_, counted)| *counted);
                peers.insert(step.addr, (step.is_seed, was_counted || completes || step.is_seed));
                *downloaded += u32::from(completes && !was_counted);
            }
            let seeds = peers.values().filter(|(is_seed, _)| *is_seed).count();
            let numbers = (heard.numbers.complete as usize, heard.numbers.incomplete as usize, heard.numbers.downloaded);
            prop_assert_eq!(numbers, (seeds, peers.len() - seeds, *downloaded));
            let eligible = |peer: &SocketAddr, is_seed: &bool| *peer != step.addr && !(step.is_seed && *is_seed);
            let others = peers.iter().filter(|(peer, (is_seed, _))| eligible(peer, is_seed)).count();
            let want = if step.event == Event::Stopped { 0 } else { others.min(step.most) };
            prop_assert_eq!(heard.peers.len(), want);
            prop_assert_eq!(heard.peers.iter().collect::<BTreeSet<_>>().len(), want);
            for peer in &heard.peers {
                prop_assert!(peers.get(peer).is_some_and(|(is_seed, _)| eligible(peer, is_seed)), "{} is named", peer);
            }
        }
        prop_assert!(registry.is_sound());
        let total: usize = model.values().map(|(peers, _)| peers.len()).sum();
        prop_assert_eq!(registry.total().peers(), total);
    }

    /// Tight limits with sweeps in between: never more than allowed, never a wrong count.
    #[test]
    fn no_limit_is_ever_passed(steps in steps(), seed: u64, budget in 1_usize..20) {
        let limits = RegistryLimits { peers: 40, swarms: 3, peers_per_swarm: 25, peers_per_host: 2, peers_per_site: 9 };
        let mut registry = new_registry(limits, seed);
        for (nth, step) in (0_u64..).zip(&steps) {
            let visit = visit(step.addr, step.event, step.is_seed);
            let now = tick(nth);
            let heard = registry.hear(InfoHash([step.swarm; 20]), &visit, WantedPeers::AnyFamily(step.most), now);
            prop_assert!(!heard.peers.contains(&step.addr));
            prop_assert!(registry.total().peers() <= limits.peers && registry.swarms() <= limits.swarms);
            prop_assert!((heard.numbers.complete + heard.numbers.incomplete) as usize <= limits.peers_per_swarm);
            registry.sweep((now, 40), budget, |swarm| swarm.0[0] != 2 || nth % 50 != 0);
        }
        prop_assert!(registry.is_sound());
    }
}
