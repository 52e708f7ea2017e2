//! The rules of the peer book, one test for each, and random histories.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::logic::testing::base_instant;

const SECOND: Duration = Duration::from_secs(1);
const PUBLIC: PeerSource = PeerSource::Tracker { local: false };
const OURS: PeerId = PeerId(*b"-TA0100-oooooooooooo");

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Public addresses, each of another host.
fn hosts(count: u32) -> Vec<SocketAddr> {
    (0..count).map(|n| SocketAddr::new((0x0800_0000 + n * 7).to_be_bytes().into(), 6881)).collect()
}

fn id(byte: u8) -> PeerId {
    PeerId([byte; 20])
}

fn book() -> PeerBook {
    PeerBook::new(BookConfig::default(), 1)
}

/// A book with two connected addresses, both of which have delivered.
fn two_that_deliver() -> (Instant, PeerBook, Vec<SocketAddr>) {
    let (t0, mut book, addrs) = (base_instant(), book(), hosts(2));
    book.add(t0, &addrs, PUBLIC);
    for addr in dials(&mut book, t0) {
        book.on_connected(t0, addr);
        book.on_productive(addr);
    }
    (t0, book, addrs)
}

/// The addresses that are dialled now.
fn dials(book: &mut PeerBook, now: Instant) -> Vec<SocketAddr> {
    let mut dialled = Vec::new();
    while let Some(effect) = book.poll(now) {
        if let BookEffect::Dial { addr, .. } = effect {
            dialled.push(addr);
        }
    }
    dialled
}

/// Runs until `end` and ends every dial at once with `farewell`. Returns the times of the dials in seconds.
fn dial_times(book: &mut PeerBook, t0: Instant, end: u64, farewell: DisconnectReason, productive: bool) -> Vec<f64> {
    let (mut now, mut times) = (t0, Vec::new());
    while now <= t0 + SECOND * u32::try_from(end).unwrap() {
        for addr in dials(book, now) {
            times.push((now - t0).as_secs_f64());
            if farewell != DisconnectReason::Refused {
                book.on_connected(now, addr);
            }
            book.on_farewell(now, addr, farewell, productive);
        }
        let Some(next) = book.deadline() else { break };
        now = next.max(now);
    }
    times
}

fn gaps(times: &[f64]) -> Vec<f64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// T-19, T-21: which source may name which address.
#[test]
fn addresses_are_vetted_by_their_source() {
    let (near, person) = (PeerSource::Tracker { local: true }, PeerSource::Manual);
    let table = [
        ("8.8.8.8:6881", [true, true, true]),
        ("8.8.8.8:1024", [true, true, true]),
        ("8.8.8.8:1023", [false, true, true]),
        ("8.8.8.8:25", [false, true, true]),
        ("127.0.0.1:6881", [false, true, true]),
        ("[::1]:6881", [false, true, true]),
        ("[::ffff:127.0.0.1]:6881", [false, true, true]),
        ("10.1.2.3:6881", [false, true, true]),
        ("192.168.0.9:6881", [false, true, true]),
        ("169.254.169.254:8080", [false, true, true]),
        ("[fe80::1]:6881", [false, true, true]),
        ("[fd00::1]:6881", [false, true, true]),
        ("[2001:4860::1]:6881", [true, true, true]),
        ("224.0.0.1:6881", [false, false, false]),
        ("255.255.255.255:6881", [false, false, false]),
        ("0.0.0.0:6881", [false, false, false]),
        ("[::]:6881", [false, false, false]),
        ("8.8.8.8:0", [false, false, false]),
    ];
    for (text, want) in table {
        for (source, want) in [PUBLIC, near, person].into_iter().zip(want) {
            let outcome = book().add(base_instant(), &[addr(text)], source);
            assert_eq!((outcome.added, outcome.filtered), (usize::from(want), usize::from(!want)), "{text} {source:?}");
        }
        let mut open = PeerBook::new(BookConfig { allow_local: true, ..BookConfig::default() }, 1);
        assert_eq!(open.add(base_instant(), &[addr(text)], PUBLIC).added, usize::from(want[2]), "{text} allow_local");
    }
}

/// T-16, W-15: the counts of an answer.
#[test]
fn every_address_given_is_accounted_for() {
    let (t0, mut book) = (base_instant(), PeerBook::new(BookConfig { max_known: 5, ..BookConfig::default() }, 1));
    book.ban(t0, addr("9.9.9.9:9999"));
    let mut given = hosts(2);
    given.extend([addr("9.9.9.9:1234"), addr("127.0.0.1:6881"), given[0], addr("[::ffff:8.0.0.0]:6881")]);
    let outcome = book.add(t0, &given, PUBLIC);
    assert_eq!(outcome, AddOutcome { added: 2, known: 2, filtered: 1, banned: 1, full: 0 });
    let outcome = book.add(t0, &hosts(10), PUBLIC);
    assert_eq!(outcome, AddOutcome { added: 3, known: 2, filtered: 0, banned: 0, full: 5 });
}

/// P-01: 60 s times the failures, dropped after three; P-03: the same for a reset after the handshake.
#[test]
fn an_unproductive_address_is_tried_three_times_and_dropped() {
    for farewell in [
        DisconnectReason::Refused,
        DisconnectReason::Reset,
        DisconnectReason::HandshakeTimeout,
        DisconnectReason::Closed,
    ] {
        let (t0, mut book) = (base_instant(), book());
        book.add(t0, &hosts(1), PUBLIC);
        let times = dial_times(&mut book, t0, 100_000, farewell, false);
        assert_eq!(times.len(), 3, "{farewell}: {times:?}");
        let gaps = gaps(&times);
        assert!((48.0..=72.0).contains(&gaps[0]) && (96.0..=144.0).contains(&gaps[1]), "{farewell}: {gaps:?}");
        assert_eq!((book.census().resting, book.deadline()), (1, None));
    }
}

/// I7: also when trackers name it again and again, at most three unproductive dials in any ten minutes.
#[test]
fn naming_a_dead_address_again_does_not_hammer_it() {
    for dead in [addr("8.0.0.1:6881"), addr("192.168.0.1:6881")] {
        let (t0, mut book) = (base_instant(), book());
        let mut dialled = Vec::new();
        for second in 0..7200 {
            let now = t0 + SECOND * second;
            book.add(now, &[dead], PeerSource::Tracker { local: true });
            for addr in dials(&mut book, now) {
                dialled.push(second);
                book.on_farewell(now, addr, DisconnectReason::Refused, false);
            }
        }
        assert!(dialled.windows(4).all(|four| four[3] - four[0] >= 600), "{dialled:?}");
        assert!(dialled.len() >= 30, "it gets its chances: {dialled:?}");
    }
}

/// P-26: back-off follows productivity; a sole source that resets for ever is redialled for ever.
#[test]
fn a_productive_address_is_redialled_after_a_second_for_ever() {
    let (t0, mut book) = (base_instant(), book());
    book.add(t0, &hosts(1), PUBLIC);
    let times = dial_times(&mut book, t0, 3000, DisconnectReason::Reset, true);
    assert!(times.len() > 2400, "{} dials", times.len());
    assert!(gaps(&times).iter().all(|gap| (0.8..=1.2).contains(gap)));
}

/// After a reset the address is dialled again at once, but no more than about once a second. A peer that closed the
/// connection had a reason.
#[test]
fn a_reset_is_followed_by_a_dial_a_second_after_the_last_one() {
    for (lived_ms, farewell, at_least_ms, at_most_ms) in [
        (0, DisconnectReason::Reset, 800, 1200),
        (500, DisconnectReason::Reset, 300, 700),
        (1200, DisconnectReason::Reset, 0, 0),
        (3_600_000, DisconnectReason::Reset, 0, 0),
        (1200, DisconnectReason::Closed, 800, 1200),
        (1200, DisconnectReason::Silent, 800, 1200),
    ] {
        for seed in 0..100 {
            let (t0, mut book) = (base_instant(), PeerBook::new(BookConfig::default(), seed));
            book.add(t0, &hosts(1), PUBLIC);
            let [only] = dials(&mut book, t0)[..] else { panic!("one is dialled") };
            book.on_connected(t0, only);
            let end = t0 + Duration::from_millis(lived_ms);
            book.on_farewell(end, only, farewell, true);
            let wait = (book.deadline().unwrap() - end).as_millis();
            assert!((at_least_ms..=at_most_ms).contains(&wait), "seed {seed}: {farewell} after {lived_ms}: {wait}");
        }
    }
}

/// The peer may not know yet that the connection is broken and refuses the new one: this is not counted as a failure.
#[test]
fn a_dial_at_once_that_is_refused_is_repeated_after_a_second() {
    let (t0, mut book, addrs) = two_that_deliver();
    let end = t0 + SECOND * 60;
    book.on_farewell(end, addrs[0], DisconnectReason::Reset, true);
    assert_eq!(dials(&mut book, end), [addrs[0]], "at once");
    let mut now = end;
    for at_most_ms in [1200, 72_000] {
        book.on_connected(now, addrs[0]);
        book.on_farewell(now, addrs[0], DisconnectReason::Closed, false);
        let wait = book.deadline().unwrap() - now;
        assert!(wait.as_millis() <= at_most_ms && wait >= Duration::from_millis(800), "{wait:?} of {at_most_ms} ms");
        now += wait;
        assert_eq!(dials(&mut book, now), [addrs[0]]);
    }
    assert!(now - end > SECOND * 40, "the second in a row is one");
}

#[test]
fn a_good_block_forgets_the_failures() {
    let (t0, mut book) = (base_instant(), book());
    book.add(t0, &hosts(1), PUBLIC);
    let mut now = t0;
    for nth in 0..30 {
        let effect = book.poll(now).unwrap();
        let BookEffect::Dial { addr, attempt, last, .. } = effect else { panic!("{effect:?}") };
        assert_eq!(attempt, nth + 1);
        assert_eq!(last, (nth > 0).then_some(DisconnectReason::Reset));
        book.on_connected(now, addr);
        if nth % 3 == 2 {
            book.on_productive(addr);
        }
        book.on_farewell(now, addr, DisconnectReason::Reset, false);
        now = book.deadline().unwrap();
    }
}

/// N-01, P-32: an address that delivered is never dropped; while no peer delivers it is tried about every 15 s.
#[test]
fn a_proven_address_is_found_again_within_half_a_minute() {
    let (t0, mut book) = (base_instant(), book());
    book.add(t0, &hosts(3), PUBLIC);
    for addr in dials(&mut book, t0) {
        book.on_connected(t0, addr);
        book.on_farewell(t0, addr, DisconnectReason::Silent, true);
    }
    let (mut now, mut times) = (t0, BTreeMap::<_, Vec<_>>::new());
    while now < t0 + SECOND * 3600 {
        now = book.deadline().unwrap();
        for addr in dials(&mut book, now) {
            times.entry(addr).or_default().push((now - t0).as_secs_f64());
            book.on_farewell(now, addr, DisconnectReason::Unreachable, false);
        }
    }
    assert_eq!(times.len(), 3);
    for times in times.values() {
        assert!(gaps(times).iter().all(|gap| *gap <= 18.0), "{times:?}");
        assert!(times.len() < 320, "{} dials in an hour", times.len());
    }
}

#[test]
fn a_dead_proven_address_is_left_alone_while_others_deliver() {
    let (t0, mut book, addrs) = two_that_deliver();
    book.on_farewell(t0, addrs[0], DisconnectReason::Reset, true);
    let times = dial_times(&mut book, t0, 7200, DisconnectReason::Refused, false);
    assert!((10..25).contains(&times.len()), "{times:?}");
    assert!(gaps(&times).last().is_some_and(|gap| (480.0..=720.0).contains(gap)));
    // And when the last peer that delivers has left, the address is dialled again.
    let now = t0 + SECOND * 7200;
    book.on_farewell(now, addrs[1], DisconnectReason::Silent, true);
    assert!(book.deadline().is_some_and(|next| next <= now + SECOND * 2));
    let times = dial_times(&mut book, now, 40, DisconnectReason::Refused, false);
    assert!(times.len() >= 6, "both are tried: {times:?}");
}

#[test]
fn when_the_last_delivering_peer_was_an_accepted_one_proven_addresses_are_dialled() {
    let (t0, mut book) = (base_instant(), book());
    let guest = addr("7.7.7.7:50000");
    book.add(t0, &hosts(1), PUBLIC);
    assert_eq!(book.on_inbound(t0, guest), Inbound::Welcome);
    book.on_productive(guest);
    for addr in dials(&mut book, t0) {
        book.on_connected(t0, addr);
        book.on_farewell(t0, addr, DisconnectReason::Reset, true);
    }
    let times = dial_times(&mut book, t0, 3600, DisconnectReason::Refused, false);
    let now = t0 + SECOND * 3600;
    assert!(gaps(&times).last().is_some_and(|gap| *gap > 400.0), "another peer delivers: {times:?}");
    book.on_farewell(now, guest, DisconnectReason::Closed, true);
    assert!(book.deadline().is_some_and(|next| next <= now + SECOND * 18));
}

/// The back-off of a peer that the user named grows to a minute, and the peer is never dropped.
#[test]
fn a_manual_peer_is_never_dropped_for_being_unreachable() {
    let (t0, mut book) = (base_instant(), book());
    book.add(t0, &hosts(1), PeerSource::Manual);
    let times = dial_times(&mut book, t0, 3600, DisconnectReason::Refused, false);
    let gaps = gaps(&times);
    assert!((1.6..=2.4).contains(&gaps[0]), "{gaps:?}");
    assert!(gaps.iter().skip(6).all(|gap| (48.0..=72.0).contains(gap)), "{gaps:?}");
    assert!(times.len() > 50);
}

#[test]
fn a_peer_of_a_tracker_becomes_manual_when_the_user_names_it() {
    let (t0, mut book) = (base_instant(), book());
    book.add(t0, &hosts(1), PUBLIC);
    let _three = dial_times(&mut book, t0, 1000, DisconnectReason::Refused, false);
    assert_eq!(book.census().resting, 1);
    book.add(t0, &hosts(1), PeerSource::Manual);
    assert_eq!((book.census().resting, book.census().waiting), (0, 1));
}

/// T-18: at most 50 half-open dials; one honest peer among 200 addresses that never answer is tried within 30 s,
/// wherever it stands in the list.
#[test]
fn addresses_that_never_answer_do_not_keep_an_honest_peer_waiting() {
    for seed in 0..20 {
        let (t0, mut book) = (base_instant(), PeerBook::new(BookConfig::default(), seed));
        let honest = addr("9.8.7.6:6881");
        let mut addrs = hosts(200);
        addrs.push(honest);
        book.add(t0, &addrs, PUBLIC);
        let (mut open, mut now) = (BTreeSet::new(), t0);
        let reached = loop {
            while let Some(effect) = book.poll(now) {
                let BookEffect::Dial { addr, timeout, .. } = effect else { panic!("{effect:?}") };
                open.insert((now + timeout, addr));
            }
            assert!(open.len() <= 50);
            if open.iter().any(|(_, addr)| *addr == honest) {
                break now - t0;
            }
            let (until, dead) = open.pop_first().unwrap();
            now = until;
            book.on_farewell(now, dead, DisconnectReason::ConnectTimeout, false);
        };
        assert!(reached <= SECOND * 30, "seed {seed}: {reached:?}");
    }
}

/// T-18, second half: the honest peer is named when addresses that never answer already fill every slot.
#[test]
fn an_honest_peer_named_later_is_tried_within_half_a_minute() {
    for later in 0..120 {
        let (t0, mut book) = (base_instant(), book());
        book.add(t0, &hosts(200), PUBLIC);
        let honest = addr("9.8.7.6:6881");
        let (mut open, named_at) = (BTreeSet::new(), t0 + SECOND * later);
        let (mut now, mut named) = (t0, false);
        let reached = loop {
            if !named && now >= named_at {
                (named, now) = (true, now.max(named_at));
                book.add(now, &[honest], PUBLIC);
            }
            while let Some(effect) = book.poll(now) {
                let BookEffect::Dial { addr, timeout, .. } = effect else { panic!("{effect:?}") };
                open.insert((now + timeout, addr));
            }
            if open.iter().any(|(_, addr)| *addr == honest) {
                break now - named_at;
            }
            let ends = open.first().map(|(until, _)| *until);
            let wakes = [ends, book.deadline(), (!named).then_some(named_at)];
            now = wakes.into_iter().flatten().min().unwrap().max(now);
            while let Some((until, dead)) = open.first().copied().filter(|(until, _)| *until <= now) {
                open.remove(&(until, dead));
                book.on_farewell(now, dead, DisconnectReason::ConnectTimeout, false);
            }
        };
        assert!(reached <= SECOND * 30, "named after {later} s: {reached:?}");
    }
}

/// T-20: 200 ports of one host count as one host: three dials in ten minutes, one at a time.
#[test]
fn a_victims_host_is_dialled_three_times_in_ten_minutes() {
    let (t0, mut book) = (base_instant(), book());
    let ports: Vec<_> = (2000..2200).map(|port| SocketAddr::new([9, 9, 9, 9].into(), port)).collect();
    book.add(t0, &ports, PUBLIC);
    let mut times = Vec::new();
    for second in 0..3000 {
        let now = t0 + SECOND * second;
        let dialled = dials(&mut book, now);
        assert!(dialled.len() <= 1, "one at a time: {dialled:?}");
        for addr in dialled {
            times.push(second);
            book.on_farewell(now, addr, DisconnectReason::Refused, false);
        }
    }
    assert!(times.windows(4).all(|four| four[3] - four[0] >= 600), "{times:?}");
    assert!(times.len() >= 12, "{times:?}");
}

#[test]
fn many_peers_on_one_local_host_are_all_dialled_at_once() {
    let (t0, mut book) = (base_instant(), book());
    let ports: Vec<_> = (2000..2040).map(|port| SocketAddr::new([127, 0, 0, 1].into(), port)).collect();
    book.add(t0, &ports, PeerSource::Tracker { local: true });
    assert_eq!(dials(&mut book, t0).len(), 40);
}

#[test]
fn a_host_that_delivered_is_no_victim() {
    let (t0, mut book) = (base_instant(), book());
    let ports: Vec<_> = (2000..2010).map(|port| SocketAddr::new([9, 9, 9, 9].into(), port)).collect();
    book.add(t0, &ports, PUBLIC);
    let (mut now, mut tried) = (t0, BTreeSet::new());
    while now < t0 + SECOND * 120 {
        for addr in dials(&mut book, now) {
            tried.insert(addr);
            book.on_connected(now, addr);
            book.on_productive(addr);
        }
        now += SECOND;
    }
    assert_eq!(tried.len(), 10);
}

#[test]
fn limits_on_connections_hold() {
    let config = BookConfig { max_connected: 5, max_half_open: 3, ..BookConfig::default() };
    let (t0, mut book) = (base_instant(), PeerBook::new(config, 1));
    book.add(t0, &hosts(20), PUBLIC);
    let first = dials(&mut book, t0);
    assert_eq!((first.len(), book.deadline()), (3, None));
    for addr in &first {
        book.on_connected(t0, *addr);
    }
    let second = dials(&mut book, t0);
    assert_eq!(second.len(), 2, "3 connected and 2 under way are 5");
    book.on_connected(t0, second[0]);
    assert_eq!(dials(&mut book, t0), []);
    book.on_farewell(t0, first[0], DisconnectReason::Closed, false);
    assert_eq!(dials(&mut book, t0).len(), 1);
    let census = book.census();
    assert_eq!((census.connected, census.half_open, census.tried, census.reached), (3, 2, 6, 4));
}

/// T-17: at most one dial to ourselves, and our neighbours behind the same address are not banned with us.
#[test]
fn we_dial_ourselves_at_most_once() {
    let (t0, mut book) = (base_instant(), book());
    let (ourselves, neighbour) = (addr("9.9.9.9:6881"), addr("9.9.9.9:6882"));
    book.add(t0, &[ourselves], PUBLIC);
    assert_eq!(dials(&mut book, t0), [ourselves]);
    book.on_connected(t0, ourselves);
    assert_eq!(book.on_handshake(t0, ourselves, OURS, OURS), Err(DisconnectReason::Ourselves));
    book.on_farewell(t0, ourselves, DisconnectReason::Ourselves, false);
    assert_eq!(
        book.add(t0, &[ourselves, neighbour], PUBLIC),
        AddOutcome { added: 1, banned: 1, ..AddOutcome::default() }
    );
    assert_eq!(dials(&mut book, t0 + SECOND * 3600), [neighbour]);
}

/// P-05: the same peer id twice: the older connection stays, and the other address is used when it has ended.
#[test]
fn a_second_connection_to_a_peer_is_refused_and_kept_in_mind() {
    let (t0, mut book) = (base_instant(), book());
    let addrs = hosts(2);
    book.add(t0, &addrs, PUBLIC);
    for addr in dials(&mut book, t0) {
        book.on_connected(t0, addr);
    }
    assert_eq!(book.on_handshake(t0, addrs[0], id(1), OURS), Ok(()));
    assert_eq!(book.on_handshake(t0, addrs[0], id(1), OURS), Ok(()), "saying it twice is no second connection");
    assert_eq!(book.on_handshake(t0, addrs[1], id(1), OURS), Err(DisconnectReason::Duplicate));
    book.on_farewell(t0, addrs[1], DisconnectReason::Duplicate, false);
    assert_eq!(dials(&mut book, t0 + SECOND * 100), []);
    let now = t0 + SECOND * 100;
    book.on_farewell(now, addrs[0], DisconnectReason::Closed, false);
    assert_eq!(dials(&mut book, now + SECOND * 10), [addrs[1]], "the other way to it");
}

/// P-05: a peer that steals a peer id cannot push out its owner, nor lock out an owner that has delivered.
#[test]
fn a_stolen_id_is_worth_little() {
    let (t0, mut book) = (base_instant(), book());
    let (owner, thief) = (hosts(1)[0], addr("7.7.7.7:50000"));
    book.add(t0, &[owner], PUBLIC);
    assert_eq!(dials(&mut book, t0), [owner]);
    book.on_connected(t0, owner);
    book.on_handshake(t0, owner, id(1), OURS).unwrap();
    book.on_productive(owner);
    assert_eq!(book.on_inbound(t0, thief), Inbound::Welcome);
    assert_eq!(book.on_handshake(t0, thief, id(1), OURS), Err(DisconnectReason::Duplicate));
    book.on_farewell(t0, thief, DisconnectReason::Duplicate, false);
    book.on_farewell(t0, owner, DisconnectReason::Reset, true);
    assert_eq!(book.on_inbound(t0, thief), Inbound::Welcome);
    assert_eq!(book.on_handshake(t0, thief, id(1), OURS), Ok(()));
    let now = t0 + SECOND * 2;
    assert_eq!(dials(&mut book, now), [owner]);
    book.on_connected(now, owner);
    assert_eq!(book.on_handshake(now, owner, id(1), OURS), Ok(()));
    assert_eq!(book.poll(now), Some(BookEffect::Close { addr: thief, farewell: DisconnectReason::Duplicate }));
}

/// Two peers dial each other at the same moment: both keep the connection that the peer with the greater id opened.
#[test]
fn crossed_connections_are_resolved_alike_at_both_ends() {
    for low_dials_first in [true, false] {
        let kept = |ours: PeerId, theirs: PeerId, outgoing_first: bool| {
            let (t0, mut book) = (base_instant(), book());
            let (out, inn) = (addr("9.9.9.9:6881"), addr("9.9.9.9:50000"));
            book.add(t0, &[out], PUBLIC);
            assert_eq!(dials(&mut book, t0), [out]);
            book.on_connected(t0, out);
            assert_eq!(book.on_inbound(t0, inn), Inbound::Welcome);
            let order = if outgoing_first { [out, inn] } else { [inn, out] };
            assert_eq!(book.on_handshake(t0, order[0], theirs, ours), Ok(()));
            let second = book.on_handshake(t0, order[1], theirs, ours);
            let stays = if second.is_ok() { order[1] } else { order[0] };
            assert_eq!(book.poll(t0).is_some(), second.is_ok(), "the one that goes is closed");
            stays == out
        };
        let (low, high) = (id(1), id(2));
        for first in [true, false] {
            assert!(!kept(low, high, first ^ low_dials_first), "the lower id keeps what came in");
            assert!(kept(high, low, first ^ low_dials_first), "the higher id keeps what it dialled");
        }
    }
}

/// P-14: a liar is closed, refused and not dialled; on this machine this holds for its port only.
#[test]
fn a_liar_is_banned_with_its_host() {
    let (t0, mut book) = (base_instant(), book());
    let (liar, same, here) = (addr("9.9.9.9:6881"), addr("9.9.9.9:7000"), addr("127.0.0.1:6881"));
    book.add(t0, &[liar, here], PeerSource::Tracker { local: true });
    book.on_inbound(t0, same);
    for addr in dials(&mut book, t0) {
        book.on_connected(t0, addr);
    }
    book.ban(t0, liar);
    book.ban(t0, here);
    let mut closed = Vec::new();
    while let Some(effect) = book.poll(t0) {
        let BookEffect::Close { addr, farewell } = effect else { panic!("{effect:?}") };
        assert_eq!(farewell, DisconnectReason::BadData);
        closed.push(addr);
        book.on_farewell(t0, addr, farewell, true);
    }
    assert_eq!(closed.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([liar, same, here]));
    assert_eq!(book.on_inbound(t0, addr("9.9.9.9:1")), Inbound::Refused(Refusal::Banned));
    assert_eq!(book.on_inbound(t0, addr("127.0.0.1:1")), Inbound::Welcome);
    assert_eq!(book.add(t0, &[liar, same, here], PeerSource::Manual).banned, 3);
    assert_eq!(dials(&mut book, t0 + SECOND * 10_000), []);
    assert_eq!((book.census().banned, book.census().connected), (2, 1));
}

/// The verdicts of `base::disconnect` for an address that never delivered.
#[test]
fn farewells_are_followed_by_their_verdicts() {
    let table = [
        (DisconnectReason::BadHandshake, false),
        (DisconnectReason::BothSeeds, false),
        (DisconnectReason::Ourselves, false),
        (DisconnectReason::BadData, false),
        (DisconnectReason::Refused, true),
        (DisconnectReason::Evicted, true),
        (DisconnectReason::ProtocolViolation, true),
        (DisconnectReason::Panicked, true),
        (DisconnectReason::Shutdown, true),
        (DisconnectReason::Duplicate, true),
    ];
    for (farewell, again) in table {
        let (t0, mut book) = (base_instant(), book());
        book.add(t0, &hosts(1), PUBLIC);
        for addr in dials(&mut book, t0) {
            book.on_connected(t0, addr);
            book.on_farewell(t0, addr, farewell, false);
        }
        assert_eq!(!dials(&mut book, t0 + SECOND * 100).is_empty(), again, "{farewell}");
    }
}

/// P-28: a flood of inbound connections neither pushes out peers that deliver nor stops our own dials.
#[test]
fn a_flood_of_strangers_takes_only_unproven_places() {
    let config = BookConfig { max_connected: 20, ..BookConfig::default() };
    let (t0, mut book) = (base_instant(), PeerBook::new(config, 1));
    let honest: Vec<_> = hosts(4).into_iter().map(|addr| SocketAddr::new(addr.ip(), 40_000)).collect();
    for addr in &honest {
        assert_eq!(book.on_inbound(t0, *addr), Inbound::Welcome);
        book.on_productive(*addr);
    }
    let (mut open, mut refused) = (BTreeSet::new(), 0);
    for n in 0..5000u32 {
        let now = t0 + Duration::from_millis(u64::from(n) * 2);
        let flood = SocketAddr::new((0x1400_0000 + n).to_be_bytes().into(), 50_000);
        match book.on_inbound(now, flood) {
            Inbound::Welcome => assert!(open.insert(flood)),
            Inbound::Refused(_) => refused += 1,
        }
        while let Some(effect) = book.poll(now) {
            let BookEffect::Close { addr, farewell } = effect else { panic!("{effect:?}") };
            assert!(open.remove(&addr), "only a stranger is evicted: {addr}");
            book.on_farewell(now, addr, farewell, false);
        }
        assert!(open.len() <= 6);
    }
    assert_eq!((open.len(), refused), (6, 0));
    book.add(t0, &hosts(30), PUBLIC);
    assert_eq!(dials(&mut book, t0 + SECOND * 11).len(), 10, "the other half is for our own dials");
}

#[test]
fn one_host_gets_two_accepted_connections() {
    let (t0, mut book) = (base_instant(), book());
    let come = |book: &mut PeerBook, port| book.on_inbound(t0, SocketAddr::new([9, 9, 9, 9].into(), port));
    assert_eq!(come(&mut book, 1), Inbound::Welcome);
    assert_eq!(come(&mut book, 2), Inbound::Welcome);
    assert_eq!(come(&mut book, 3), Inbound::Refused(Refusal::PerHost));
    book.on_farewell(t0, addr("9.9.9.9:1"), DisconnectReason::Closed, true);
    assert_eq!(come(&mut book, 3), Inbound::Welcome);
    assert_eq!(dials(&mut book, t0 + SECOND * 100), [], "accepted connections are not redialled");
}

#[test]
fn too_many_panics_hold_all_dials_for_half_a_minute() {
    let (t0, mut book) = (base_instant(), book());
    book.add(t0, &hosts(100), PUBLIC);
    let panicking = dials(&mut book, t0);
    for addr in &panicking[..21] {
        book.on_farewell(t0, *addr, DisconnectReason::Panicked, false);
    }
    assert_eq!(book.poll(t0), Some(BookEffect::Held { pause: panics::PAUSE }));
    assert_eq!(book.poll(t0), None);
    assert_eq!(book.deadline(), Some(t0 + panics::PAUSE));
    assert_eq!(dials(&mut book, t0 + panics::PAUSE).len(), 21);
}

#[test]
fn after_a_restart_of_the_pool_every_peer_is_dialled_again() {
    let (t0, mut book) = (base_instant(), book());
    book.add(t0, &hosts(30), PUBLIC);
    for addr in dials(&mut book, t0).into_iter().take(20) {
        book.on_connected(t0, addr);
    }
    book.on_inbound(t0, addr("9.9.9.9:1"));
    book.on_pool_restarted(t0);
    assert_eq!((book.census().connected, book.census().half_open, book.census().waiting), (0, 0, 30));
    assert_eq!(dials(&mut book, t0 + SECOND * 2).len(), 30);
}

#[test]
fn tried_and_failed_addresses_make_room_for_new_ones() {
    let (t0, mut book) = (base_instant(), PeerBook::new(BookConfig { max_known: 100, ..BookConfig::default() }, 1));
    book.add(t0, &hosts(100), PUBLIC);
    assert_eq!(book.add(t0, &[addr("9.9.9.9:9999")], PUBLIC).full, 1, "the untried are no worse");
    let _tried = dial_times(&mut book, t0, 1000, DisconnectReason::BadHandshake, false);
    let later = t0 + SECOND * 1000;
    assert_eq!(book.add(later, &[addr("9.9.9.9:9999")], PUBLIC).added, 1);
    assert_eq!(book.census().known, 100);
}

#[test]
fn peers_are_needed_until_enough_are_connected_or_untried() {
    let (t0, mut book) = (base_instant(), book());
    assert_eq!(book.need(), PeerNeed::Alone);
    book.add(t0, &hosts(40), PUBLIC);
    assert_eq!(book.need(), PeerNeed::Enough, "untried ones");
    let mut dialled = dials(&mut book, t0);
    let last = dialled.pop().unwrap();
    for addr in dialled {
        book.on_farewell(t0, addr, DisconnectReason::Refused, false);
    }
    assert_eq!(book.need(), PeerNeed::Anybody, "nobody has delivered");
    book.on_connected(t0, last);
    assert_eq!(book.need(), PeerNeed::Anybody, "nor has the one that is connected");
    book.on_productive(last);
    assert_eq!(book.need(), PeerNeed::More);
    book.on_farewell(t0, last, DisconnectReason::Reset, true);
    assert_eq!(book.need(), PeerNeed::Alone);
    book.on_complete();
    assert_eq!(book.need(), PeerNeed::Anybody, "a seed is found by whoever comes");
}

#[test]
fn with_our_address_known_the_dial_order_is_that_of_bep_40() {
    let ours = addr("123.213.32.10:6881");
    let config = BookConfig { max_half_open: 1, external: Some(ours), ..BookConfig::default() };
    let (t0, mut book) = (base_instant(), PeerBook::new(config, 1));
    book.add(t0, &hosts(30), PUBLIC);
    let mut order = Vec::new();
    while let Some(BookEffect::Dial { addr, .. }) = book.poll(t0) {
        order.push(canonical::priority(ours, addr));
        book.on_farewell(t0, addr, DisconnectReason::BothSeeds, false);
    }
    assert_eq!(order.len(), 30);
    assert!(order.is_sorted_by(|a, b| a >= b), "{order:?}");
}

/// An event in the random history below.
#[derive(Debug, Clone)]
enum Act {
    Add(Vec<u8>, bool),
    Connect(u8),
    Greet(u8, u8),
    Prove(u8),
    Leave(u8, u8, bool),
    Accept(u8),
    Ban(u8),
    Restart,
    Pass(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (prop::collection::vec(any::<u8>(), 0..20), any::<bool>()).prop_map(|(a, m)| Act::Add(a, m)),
        4 => any::<u8>().prop_map(Act::Connect),
        3 => (any::<u8>(), 0u8..12).prop_map(|(a, b)| Act::Greet(a, b)),
        2 => any::<u8>().prop_map(Act::Prove),
        6 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(a, f, p)| Act::Leave(a, f, p)),
        2 => any::<u8>().prop_map(Act::Accept),
        1 => (0u8..40).prop_map(Act::Ban),
        1 => Just(Act::Restart),
        5 => (0u16..400).prop_map(Act::Pass),
    ]
}

/// Few hosts, several ports on each, some of them local.
fn place(n: u8) -> SocketAddr {
    let host = if n.is_multiple_of(3) { [127, 0, 0, 1] } else { [8, 0, 0, n % 16] };
    SocketAddr::new(host.into(), 2000 + u16::from(n / 16))
}

const FAREWELLS: [DisconnectReason; 8] = [
    DisconnectReason::Refused,
    DisconnectReason::Reset,
    DisconnectReason::ConnectTimeout,
    DisconnectReason::BadHandshake,
    DisconnectReason::Duplicate,
    DisconnectReason::Panicked,
    DisconnectReason::BadData,
    DisconnectReason::Shutdown,
];

/// Plays a history and checks every invariant after each event. Returns the dials.
fn live(acts: &[Act], seed: u64) -> Result<Vec<SocketAddr>, TestCaseError> {
    let mut life = Life::new(seed);
    for act in acts {
        life.act(act)?;
        life.drain()?;
        life.judge()?;
    }
    Ok(life.history)
}

/// A peer book in a random life, and the connections that a pool would have.
struct Life {
    now: Instant,
    book: PeerBook,
    dialling: BTreeSet<SocketAddr>,
    connected: BTreeSet<SocketAddr>,
    guests: BTreeSet<SocketAddr>,
    /// Every address that was dialled, in order.
    history: Vec<SocketAddr>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let config = BookConfig { max_connected: 8, max_half_open: 4, max_known: 30, ..BookConfig::default() };
        let (dialling, connected, guests) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self {
            now: base_instant(),
            book: PeerBook::new(config, seed),
            dialling,
            connected,
            guests,
            history: Vec::new(),
        }
    }

    /// Forgets a connection in whatever state it was.
    fn drop_connection(&mut self, addr: SocketAddr) {
        self.dialling.remove(&addr);
        self.connected.remove(&addr);
        self.guests.remove(&addr);
    }

    /// Performs one act.
    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        let now = self.now;
        let nth = |set: &BTreeSet<SocketAddr>, n: u8| set.iter().nth(usize::from(n) % set.len().max(1)).copied();
        match act {
            Act::Add(which, manual) => {
                let source = if *manual { PeerSource::Manual } else { PeerSource::Tracker { local: true } };
                let addrs: Vec<_> = which.iter().map(|n| place(*n)).collect();
                let o = self.book.add(now, &addrs, source);
                prop_assert_eq!(o.added + o.known + o.filtered + o.banned + o.full, addrs.len());
            }
            Act::Connect(n) => {
                if let Some(addr) = nth(&self.dialling, *n) {
                    self.book.on_connected(now, addr);
                    self.dialling.remove(&addr);
                    self.connected.insert(addr);
                }
            }
            Act::Greet(n, who) => {
                let able: BTreeSet<_> = self.connected.union(&self.guests).copied().collect();
                if let Some(addr) = nth(&able, *n)
                    && let Err(farewell) = self.book.on_handshake(now, addr, id(*who), id(11))
                {
                    self.book.on_farewell(now, addr, farewell, false);
                    self.drop_connection(addr);
                }
            }
            Act::Prove(n) => self.book.on_productive(place(*n)),
            Act::Leave(n, why, productive) => {
                let open: BTreeSet<_> =
                    self.dialling.iter().chain(&self.connected).chain(&self.guests).copied().collect();
                if let Some(addr) = nth(&open, *n) {
                    let productive = *productive && !self.dialling.contains(&addr);
                    self.book.on_farewell(now, addr, FAREWELLS[usize::from(*why) % FAREWELLS.len()], productive);
                    self.drop_connection(addr);
                }
            }
            Act::Accept(n) => {
                let addr = SocketAddr::new(place(*n).ip(), 60_000 + u16::from(*n));
                if !self.guests.contains(&addr) && self.book.on_inbound(now, addr) == Inbound::Welcome {
                    self.guests.insert(addr);
                }
            }
            Act::Ban(n) => self.book.ban(now, place(*n)),
            Act::Restart => {
                self.book.on_pool_restarted(now);
                self.dialling.clear();
                self.connected.clear();
                self.guests.clear();
            }
            Act::Pass(secs) => self.now += SECOND * u32::from(*secs),
        }
        Ok(())
    }

    /// Performs every effect of the book.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        while let Some(effect) = self.book.poll(self.now) {
            match effect {
                BookEffect::Dial { addr, .. } => {
                    prop_assert!(!self.connected.contains(&addr), "{} is connected", addr);
                    prop_assert!(self.dialling.insert(addr), "{} is dialled twice at once", addr);
                    self.history.push(addr);
                }
                BookEffect::Close { addr, farewell } => {
                    self.book.on_farewell(self.now, addr, farewell, false);
                    self.drop_connection(addr);
                }
                BookEffect::Held { .. } => {}
            }
        }
        Ok(())
    }

    /// Compares the counts of the book with the connections, and both with the limits.
    fn judge(&self) -> Result<(), TestCaseError> {
        let Self { now, book, dialling, connected, guests, .. } = self;
        let census = book.census();
        prop_assert_eq!(census.half_open, dialling.len());
        prop_assert_eq!(census.connected, connected.len() + guests.len());
        prop_assert!(dialling.len() <= 4 && dialling.len() + connected.len() + guests.len() <= 8, "{:?}", census);
        prop_assert_eq!(census.waiting + census.resting + dialling.len() + connected.len(), census.known);
        prop_assert_eq!(book.untried, book.entries.values().filter(|entry| entry.attempts == 0).count());
        let proven = connected.iter().filter(|addr| book.entries[addr].proven).count();
        prop_assert_eq!(book.proven_connected, proven);
        prop_assert!(book.deadline().is_none_or(|next| next > *now), "a drained book has nothing due");
        Ok(())
    }
}

proptest! {
    /// For any events in any order: never two dials at once to one address, limits and counts hold, and the same seed
    /// dials the same addresses.
    #[test]
    fn a_random_history_keeps_the_rules(acts in prop::collection::vec(act(), 0..150), seed in any::<u64>()) {
        let once = live(&acts, seed)?;
        prop_assert_eq!(once, live(&acts, seed)?);
    }

    /// However few the slots are and whichever addresses are preferred, each address is dialled in the end.
    #[test]
    fn every_address_has_its_turn(slots in 1usize..4, flapping in 0usize..6, seed in any::<u64>()) {
        let config = BookConfig { max_half_open: slots, ..BookConfig::default() };
        let (mut now, mut book) = (base_instant(), PeerBook::new(config, seed));
        let (addrs, mut tried) = (hosts(60), BTreeSet::new());
        book.add(now, &addrs, PUBLIC);
        for _step in 0..2000 {
            let Some(BookEffect::Dial { addr, .. }) = book.poll(now) else {
                let Some(next) = book.deadline() else { break };
                now = now.max(next);
                continue;
            };
            tried.insert(addr);
            book.on_connected(now, addr);
            let flaps = addrs.iter().position(|other| *other == addr).unwrap() < flapping;
            book.on_farewell(now, addr, DisconnectReason::Reset, flaps);
            now += Duration::from_millis(300);
        }
        prop_assert_eq!(tried.len(), 60);
    }
}

/// T-19, BEP 11: a peer may name public addresses and those of its own kind of network.
#[test]
fn a_peer_names_addresses_of_its_own_kind_of_network() {
    use crate::logic::peers::address::Class;
    let table = [
        ("8.8.8.8:6881", [true, true, true]),
        ("8.8.8.8:80", [false, false, false]),
        ("192.168.0.9:6881", [false, true, false]),
        ("127.0.0.1:6881", [false, false, true]),
        ("127.0.0.1:80", [false, false, false]),
        ("224.0.0.1:6881", [false, false, false]),
    ];
    for (text, want) in table {
        for (teller, want) in [Class::Global, Class::Private, Class::Loopback].into_iter().zip(want) {
            let outcome = book().add(base_instant(), &[addr(text)], PeerSource::Peer(teller));
            assert_eq!(outcome.added == 1, want, "{text} by {teller:?}");
        }
    }
}

/// P-22: a flood of addresses from peers leaves room for those from trackers.
#[test]
fn peers_fill_a_quarter_of_the_book() {
    use crate::logic::peers::address::Class;
    let (t0, mut book) = (base_instant(), PeerBook::new(BookConfig { max_known: 40, ..BookConfig::default() }, 1));
    let outcome = book.add(t0, &hosts(100), PeerSource::Peer(Class::Global));
    assert_eq!((outcome.added, outcome.full), (10, 90));
    assert_eq!(book.add(t0, &hosts(200)[100..], PUBLIC).added, 30);
}

/// BEP 10: `p`, the port on which an accepted peer listens.
#[test]
fn an_accepted_peer_that_left_is_dialled_where_it_said_it_listens() {
    let (t0, guest) = (base_instant(), addr("8.8.8.8:50123"));
    let gone = |farewell| {
        let mut book = book();
        assert_eq!(book.on_inbound(t0, guest), Inbound::Welcome);
        book.on_listens(guest, 6881);
        assert_eq!(dials(&mut book, t0), []);
        book.on_farewell(t0, guest, farewell, false);
        dials(&mut book, t0)
    };
    assert_eq!(gone(DisconnectReason::Reset), [addr("8.8.8.8:6881")]);
    assert_eq!(gone(DisconnectReason::Duplicate), [], "it is connected otherwise");
    assert_eq!(gone(DisconnectReason::BadData), []);
}
