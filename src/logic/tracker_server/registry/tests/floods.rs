//! Floods of invented torrents and peers: earlier entries stay, and new peers of other networks are listed.

use super::*;

/// A table that a flood of a few hundred entries fills.
const SMALL: RegistryLimits =
    RegistryLimits { peers: 600, swarms: 200, peers_per_swarm: 150, peers_per_host: 64, peers_per_site: 140 };

/// The seconds after which a returning peer is confirmed; no peer is ever overdue.
const LATER: u64 = 1000;

fn torrent(name: u32) -> InfoHash {
    let mut hash = [7; 20];
    hash[..4].copy_from_slice(&name.to_be_bytes());
    InfoHash(hash)
}

/// An honest client, each in a network of its own.
fn honest(nth: u16) -> SocketAddr {
    let [high, low] = nth.to_be_bytes();
    if nth.is_multiple_of(3) {
        SocketAddr::from(([0x2a00 + nth, 0xdb8, 1, 2, 0, 0, 0, 1], 6881))
    } else {
        SocketAddr::from(([high + 80, low, 3, 4], 6881))
    }
}

/// A flooding host, with any port.
fn flooder(host: u16, port: u16) -> SocketAddr {
    if host.is_multiple_of(2) {
        SocketAddr::from(([203, 0, u8::try_from(host % 256).unwrap(), 9], port))
    } else {
        SocketAddr::from(([0x2001, 0xdb8, host, 1, 0, 0, 0, port], 6881))
    }
}

fn announce(registry: &mut Registry, name: u32, addr: SocketAddr, secs: u64) -> Vec<SocketAddr> {
    registry.hear(torrent(name), &visit(addr, Event::Periodic, true), WantedPeers::AnyFamily(0), tick(secs));
    let asker = SocketAddr::from(([192, 0, 2, 1], 0));
    registry.hear(torrent(name), &visit(asker, Event::Periodic, false), WantedPeers::AnyFamily(200), tick(secs)).peers
}

fn is_listed(registry: &Registry, name: u32, addr: SocketAddr) -> bool {
    let at = registry.find(&torrent(name));
    at.is_some_and(|at| registry.swarms[at].position(addr, registry.ledger.key).is_some())
}

#[test]
fn ten_peers_of_a_new_torrent_meet_while_one_host_has_filled_the_table() {
    let limits = RegistryLimits { peers: 2000, ..RegistryLimits::default() };
    let mut registry = new_registry(limits, 3);
    (0..3000).for_each(|name| drop(announce(&mut registry, name, flooder(2, 1), 0)));
    assert_eq!(registry.total().peers(), 2000);
    for nth in 0..10 {
        let peers = announce(&mut registry, 99_999, honest(nth), 8);
        assert_eq!(peers.len(), usize::from(nth) + 1, "the one that came last is listed with those before it");
    }
    assert!((0..10).all(|nth| is_listed(&registry, 99_999, honest(nth))) && registry.is_sound());
}

/// The same flood before the seeds are confirmed, and after.
#[test]
fn a_flood_of_names_leaves_every_lone_seed() {
    for confirmed in [false, true] {
        let mut registry = new_registry(RegistryLimits { swarms: 1000, ..RegistryLimits::default() }, 5);
        for nth in 0..20 {
            announce(&mut registry, u32::from(nth), honest(nth), 0);
            if confirmed {
                announce(&mut registry, u32::from(nth), honest(nth), LATER);
            }
        }
        (1000..9000).for_each(|name| drop(announce(&mut registry, name, flooder(2, 1), LATER)));
        assert_eq!(registry.swarms(), 1000);
        let left = (0..20).filter(|nth| is_listed(&registry, (*nth).into(), honest(*nth))).count();
        assert_eq!((left, registry.is_sound()), (20, true), "confirmed: {confirmed}");
    }
}

#[test]
fn one_network_cannot_hide_the_peers_of_a_swarm() {
    let mut registry = new_registry(RegistryLimits::default(), 7);
    (0..10).for_each(|nth| drop(announce(&mut registry, 1, honest(nth), 0)));
    for host in 0..250 {
        for port in 1..=64 {
            announce(&mut registry, 1, SocketAddr::from(([203, 0, 113, host], port)), 8);
        }
    }
    let at = registry.find(&torrent(1)).unwrap();
    assert_eq!(registry.swarms[at].len(), 10 + RegistryLimits::default().peers_per_site);
    assert!((0..10).all(|nth| is_listed(&registry, 1, honest(nth))) && registry.is_sound());
}

#[test]
fn a_confirmed_peer_survives_the_neighbours_behind_its_address() {
    let mut registry = new_registry(RegistryLimits::default(), 7);
    let us = SocketAddr::from(([203, 0, 113, 5], 6881));
    announce(&mut registry, 1, us, 0);
    announce(&mut registry, 1, us, LATER);
    (1..1000).for_each(|port| drop(announce(&mut registry, 1, SocketAddr::new(us.ip(), port), LATER + 8)));
    assert!(is_listed(&registry, 1, us));
}

/// Without a flood: the first peers stay while they announce, and then make room.
#[test]
fn in_a_table_full_of_honest_peers_the_overdue_make_room() {
    let limits = RegistryLimits { peers: 100, ..RegistryLimits::default() };
    let mut registry = new_registry(limits, 9);
    (0..100).for_each(|nth| drop(announce(&mut registry, u32::from(nth), honest(nth), 0)));
    announce(&mut registry, 500, honest(500), 8);
    assert!(!is_listed(&registry, 500, honest(500)) && is_listed(&registry, 7, honest(7)));
    announce(&mut registry, 500, honest(500), 2000);
    assert!(is_listed(&registry, 500, honest(500)));
    assert_eq!((registry.total().peers(), registry.is_sound()), (100, true));
}

/// A million such torrents take 248 MiB.
#[test]
fn a_torrent_with_a_lone_seed_takes_at_most_260_bytes() {
    let mut registry = new_registry(RegistryLimits::default(), 1);
    (0..1 << 14).for_each(|name| drop(announce(&mut registry, name, honest(4), 0)));
    let bytes = registry.total().bytes / (1 << 14);
    assert!(bytes <= 260, "{bytes}");
}

#[derive(Debug, Clone, Copy)]
enum Target {
    /// A torrent that no other peer has.
    New(u32),
    /// A torrent of the honest peers.
    Theirs(u32),
    /// A torrent that the whole flood shares.
    Common,
}

fn floods() -> impl Strategy<Value = Vec<(u16, u16, Target)>> {
    let target = prop_oneof![
        2 => any::<u32>().prop_map(|name| Target::New(1_000_000 + name % 1_000_000)),
        2 => (0_u32..30).prop_map(Target::Theirs),
        1 => Just(Target::Common),
    ]
    .boxed();
    let hosts = 1_u16..40;
    hosts.prop_flat_map(move |hosts| prop::collection::vec((0..hosts, 1_u16..2000, target.clone()), 2000..3000))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A flood from up to 40 hosts into new torrents, into the honest peers' torrents and into one torrent: every
    /// honest peer that was listed before still is, and every new honest peer of another network is listed.
    #[test]
    fn honest_peers_are_listed_after_any_flood(
        swarms in prop::collection::vec(1_u16..10, 1..12), confirmed: bool, flood in floods(), seed: u64,
    ) {
        let mut registry = new_registry(SMALL, seed);
        let owners = (0_u32..).zip(&swarms).flat_map(|(name, size)| (0..*size).map(move |_| name));
        let peers: Vec<_> = owners.zip(0_u16..).map(|(name, nth)| (name, honest(nth))).collect();
        for (name, addr) in &peers {
            announce(&mut registry, *name, *addr, 0);
            if confirmed {
                announce(&mut registry, *name, *addr, LATER);
            }
        }
        for (nth, (host, port, target)) in (0_u64..).zip(flood) {
            let name = match target {
                Target::New(name) => name,
                Target::Theirs(nth) => nth % u32::try_from(swarms.len()).unwrap(),
                Target::Common => 999_999,
            };
            announce(&mut registry, name, flooder(host, port), LATER + nth / 8);
        }
        prop_assert!(registry.is_sound());
        let lost: Vec<_> = peers.iter().filter(|(name, addr)| !is_listed(&registry, *name, *addr)).collect();
        prop_assert!(lost.is_empty(), "{lost:?} of {} are gone", peers.len());
        for nth in 200..230_u16 {
            let name = if nth.is_multiple_of(2) { 0 } else { 2_000_000 + u32::from(nth) };
            announce(&mut registry, name, honest(nth), LATER + 400);
            prop_assert!(is_listed(&registry, name, honest(nth)), "{}", honest(nth));
        }
        prop_assert!(registry.total().peers() <= SMALL.peers && registry.swarms() <= SMALL.swarms);
    }
}
