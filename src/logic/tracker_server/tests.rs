use super::*;
use crate::base::ids::PeerId;
use crate::codec::swarm_state::{SavedSwarm, Seal};
use crate::codec::tracker::{Event, Reply};
use crate::codec::tracker_http::{ScrapeReply, announce_url, parse_announce, parse_scrape, scrape_url};
use crate::codec::tracker_udp::{
    UdpReply, decode_reply, encode_announce as udp_announce, encode_connect, encode_scrape as udp_scrape,
};
use crate::logic::testing::base_instant;
use proptest::prelude::*;

const US: &str = "198.51.100.7";

fn config() -> DeskConfig {
    DeskConfig {
        interval: DEFAULT_INTERVAL,
        rate: DEFAULT_RATE,
        limits: RegistryLimits::default(),
        allow: None,
        seed: 3,
        secret: [9; 32],
    }
}

fn request(swarm: u8, port: u16, event: Event, left: u64) -> AnnounceRequest {
    AnnounceRequest {
        info_hash: InfoHash([swarm; 20]),
        peer_id: PeerId(*b"-XX0000-abcdefghijkl"),
        port,
        uploaded: 0,
        downloaded: 0,
        left,
        event,
        key: 0,
        num_want: 50,
        tracker_id: None,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn query_of(request: &AnnounceRequest) -> String {
    announce_url("http://t/announce", request).split_once('?').unwrap().1.to_owned()
}

fn http(desk: &mut TrackerDesk, now: Instant, request: &AnnounceRequest, from: &str) -> Reply {
    parse_announce(&desk.on_announce(now, &query_of(request), ip(from))).unwrap()
}

#[track_caller]
fn peers(reply: Reply) -> AnnounceReply {
    match reply {
        Reply::Peers(reply) => reply,
        Reply::Failure(failure) => panic!("{failure:?}"),
    }
}

#[track_caller]
fn refusal(reply: Reply) -> TrackerFailure {
    match reply {
        Reply::Failure(failure) => failure,
        Reply::Peers(reply) => panic!("{reply:?}"),
    }
}

/// A whole exchange over UDP: a connection id, then the announce.
fn udp(desk: &mut TrackerDesk, now: Instant, request: &AnnounceRequest, from: &str) -> UdpReply {
    let id = connection_id(desk, now, from);
    let answer = desk.on_datagram(now, &udp_announce(id, 7, request), ip(from)).unwrap();
    decode_reply(&answer, 7, ip(from).to_canonical().is_ipv6()).unwrap()
}

fn connection_id(desk: &mut TrackerDesk, now: Instant, from: &str) -> u64 {
    let answer = desk.on_datagram(now, &encode_connect(5), ip(from)).unwrap();
    let UdpReply::Connected { connection_id } = decode_reply(&answer, 5, false).unwrap() else { panic!() };
    connection_id
}

#[track_caller]
fn announced(reply: UdpReply) -> AnnounceReply {
    let UdpReply::Announced(reply) = reply else { panic!("{reply:?}") };
    reply
}

#[test]
fn http_and_udp_are_one_swarm() {
    let now = base_instant();
    let mut desk = TrackerDesk::new(config(), now);
    peers(http(&mut desk, now, &request(1, 1000, Event::Started, 0), US));
    let over_udp = announced(udp(&mut desk, now, &request(1, 2000, Event::Started, 5), "198.51.100.8"));
    assert_eq!(over_udp.peers, [SocketAddr::new(ip(US), 1000)]);
    assert_eq!((over_udp.complete, over_udp.incomplete, over_udp.interval), (Some(1), Some(1), Some(1800)));
    let over_http = peers(http(&mut desk, now, &request(1, 1000, Event::Periodic, 0), US));
    assert_eq!(over_http.peers, ["198.51.100.8:2000".parse().unwrap()]);
    assert_eq!((over_http.interval, over_http.min_interval), (Some(1800), Some(900)));
    assert_eq!(over_http.external_ip, Some(ip(US)), "BEP 24");
    let stats = desk.stats(now);
    assert_eq!((stats.counts.announces_http, stats.counts.announces_udp, stats.counts.connects), (2, 1, 1));
    assert_eq!((stats.swarms, stats.peers.seeds_v4, stats.peers.leeches_v4, stats.counts.started), (1, 1, 1, 2));
}

/// W-11: 200 peers over UDP, none lost, and never more, so that the datagram is not fragmented.
#[test]
fn a_reply_over_udp_fits_a_packet() {
    let now = base_instant();
    for (from, most, longest) in [("198.51.100.7", 200, 1472), ("2001:db8::7", 67, 1232)] {
        let mut desk = TrackerDesk::new(config(), now);
        for nth in 0..300_u16 {
            let other = match ip(from) {
                IpAddr::V4(_) => format!("198.51.{}.{}", nth / 100, 100 + nth % 100),
                IpAddr::V6(_) => format!("2001:db8:0:{nth:x}::1"),
            };
            announced(udp(&mut desk, now, &request(1, 6881, Event::Started, 1), &other));
        }
        let id = connection_id(&mut desk, now, from);
        let everything = AnnounceRequest { num_want: u32::MAX, ..request(1, 1, Event::Started, 1) };
        let answer = desk.on_datagram(now, &udp_announce(id, 7, &everything), ip(from)).unwrap();
        let reply = announced(decode_reply(&answer, 7, ip(from).is_ipv6()).unwrap());
        assert_eq!((reply.peers.len(), reply.peers_named as usize, answer.len() <= longest), (most, most, true));
    }
}

/// An IPv4 client on a socket of both families counts as IPv4.
#[test]
fn a_mapped_address_is_ipv4() {
    let now = base_instant();
    let mut desk = TrackerDesk::new(config(), now);
    announced(udp(&mut desk, now, &request(1, 1000, Event::Started, 0), "::ffff:198.51.100.7"));
    let reply = announced(udp(&mut desk, now, &request(1, 2000, Event::Started, 1), "198.51.100.8"));
    assert_eq!(reply.peers, [SocketAddr::new(ip(US), 1000)]);
    // BEP 7: over HTTP peers of both families are named.
    let reply = peers(http(&mut desk, now, &request(1, 3000, Event::Started, 1), "2001:db8::1"));
    assert_eq!(reply.peers.len(), 2);
}

#[test]
fn without_a_connection_id_no_peer_is_listed_and_nothing_long_is_sent() {
    let now = base_instant();
    let mut desk = TrackerDesk::new(config(), now);
    let ours = connection_id(&mut desk, now, US);
    let announce = request(1, 1000, Event::Started, 0);
    let late = now + Duration::from_secs(200);
    let table = [
        ("never given out", now, US, 12345),
        ("issued to another address", now, "198.51.100.8", ours),
        ("given long ago", late, US, ours),
    ];
    for (what, at, from, id) in table {
        for datagram in
            [udp_announce(id, 7, &announce), udp_scrape(id, 7, &[announce.info_hash]), udp_scrape(id, 7, &[])]
        {
            let answer = desk.on_datagram(at, &datagram, ip(from)).unwrap_or_default();
            assert!(answer.len() <= datagram.len(), "{what}: {} bytes for {}", answer.len(), datagram.len());
            if !answer.is_empty() {
                assert!(matches!(decode_reply(&answer, 7, false), Ok(UdpReply::Error(_))), "{what}");
            }
        }
    }
    let stats = desk.stats(now);
    assert_eq!((stats.swarms, stats.counts.bad_connection_ids, stats.counts.announces_udp), (0, 9, 0));
    announced(udp(&mut desk, now, &announce, US));
    assert_eq!(desk.stats(now).swarms, 1);
}

/// W-13, W-35: several torrents in one scrape, over both protocols.
#[test]
fn a_scrape_counts_every_torrent_asked_for() {
    let now = base_instant();
    let mut desk = TrackerDesk::new(config(), now);
    for swarm in 1..=3 {
        for port in 1..=u16::from(swarm) {
            peers(http(&mut desk, now, &request(swarm, port, Event::Started, 0), US));
        }
        peers(http(&mut desk, now, &request(swarm, 100, Event::Started, 9), US));
        peers(http(&mut desk, now, &request(swarm, 100, Event::Completed, 0), US));
    }
    let swarms: Vec<_> = [1, 9, 3].into_iter().map(|swarm| InfoHash([swarm; 20])).collect();
    let id = connection_id(&mut desk, now, US);
    let answer = desk.on_datagram(now, &udp_scrape(id, 7, &swarms), ip(US)).unwrap();
    assert_eq!(decode_reply(&answer, 7, false), Ok(UdpReply::Scraped(vec![(2, 1, 0), (0, 0, 0), (4, 1, 0)])));
    let url = scrape_url("http://t/announce", &swarms).unwrap();
    let answer = desk.on_scrape(now, url.split_once('?').unwrap().1, ip(US));
    let Ok(ScrapeReply::Entries(entries)) = parse_scrape(&answer) else { panic!() };
    let numbers: Vec<_> =
        entries.iter().map(|entry| (entry.info_hash.0[0], entry.complete, entry.downloaded)).collect();
    assert_eq!(numbers, [(1, 2, 1), (3, 4, 1)], "unknown ones are left out");
    let Ok(ScrapeReply::Failure(_)) = parse_scrape(&desk.on_scrape(now, "", ip(US))) else { panic!("a scrape of all") };
}

/// `compact=0`, `numwant`, `no_peer_id`, and the events of BEP 3 and 21.
#[test]
fn the_parameters_of_a_query_are_obeyed() {
    let now = base_instant();
    let mut desk = TrackerDesk::new(config(), now);
    for port in 1..=60 {
        peers(http(&mut desk, now, &request(1, port, Event::Started, 1), US));
    }
    let base = query_of(&request(1, 1, Event::Periodic, 1)).replace("&numwant=50", "").replace("&compact=1", "");
    let table = [
        ("", 50, true),
        ("&numwant=3", 3, true),
        ("&numwant=0", 0, true),
        ("&numwant=-1", 50, true),
        ("&numwant=99999999999", 59, true),
        ("&compact=0&numwant=5", 5, false),
        ("&compact=0&no_peer_id=1&numwant=5", 5, false),
        ("&event=paused&numwant=5", 5, true),
        ("&event=stopped", 0, true),
    ];
    for (words, want, is_compact) in table {
        let body = desk.on_announce(now, &format!("{base}{words}"), ip(US));
        let reply = peers(parse_announce(&body).unwrap());
        assert_eq!(reply.peers.len(), want, "{words}");
        assert_eq!(!body.windows(8).any(|part| part == b"5:peersl"), is_compact, "{words}");
    }
}

#[test]
fn a_bad_query_is_told_what_is_bad() {
    let now = base_instant();
    let mut desk = TrackerDesk::new(config(), now);
    let good = query_of(&request(1, 1, Event::Periodic, 1));
    let table = [
        (String::new(), "missing info_hash"),
        (good.replace("&port=1&", "&port=65536&"), "invalid port"),
        (good.replace("&port=1&", "&port=abc&"), "invalid port"),
        (format!("{good}&peer_id=short"), "invalid peer_id"),
        (format!("{good}&info_hash=short"), "invalid info_hash"),
    ];
    for (query, want) in table {
        let reply = refusal(parse_announce(&desk.on_announce(now, &query, ip(US))).unwrap());
        assert_eq!(reply.reason, want, "{query}");
    }
    assert_eq!(desk.stats(now).counts.malformed, 5);
}

/// The numbers that opentracker gives for each of these, unless the last column says why ours differ: seeds, leeches.
#[test]
fn what_opentracker_serves_is_served() {
    let base = "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=7&uploaded=0&downloaded=0&left=5";
    let without = |name: &str| {
        let others = base.split('&').filter(|pair| !pair.starts_with(name));
        others.collect::<Vec<_>>().join("&")
    };
    let with = |pair: &str| format!("{}&{pair}", without(pair.split_once('=').unwrap().0));
    let table = [
        (base.to_owned(), (0, 1), ""),
        (with("left=0"), (1, 0), ""),
        (with("left=00"), (1, 0), ""),
        (with("left=+0"), (1, 0), ""),
        (with("left=%30"), (1, 0), ""),
        (without("left="), (0, 1), ""),
        (with("left=-1"), (0, 1), ""),
        (with("left=-5"), (0, 1), ""),
        (with("left=99999999999999999999999"), (0, 1), ""),
        (with("left="), (0, 1), "refused there"),
        (with("left=abc"), (0, 1), "a seed there: whatever is no number"),
        (with("left=5.5"), (0, 1), "a seed there"),
        (with("event=exploded"), (0, 1), ""),
        (with("event="), (0, 1), ""),
        (with("event=Completed"), (0, 1), ""),
        (with("event=complete"), (0, 1), ""),
        (with("event=paused"), (0, 1), ""),
        (without("port="), (0, 0), "listed with port 0 there, where it cannot be dialled"),
        (with("port=0"), (0, 0), "listed with port 0 there"),
        (with("port=-1"), (0, 0), "listed with port 65535 there"),
        (without("peer_id="), (0, 1), ""),
        (with("uploaded=-5"), (0, 1), ""),
        (with("uploaded=abc"), (0, 1), ""),
        (with("downloaded="), (0, 1), ""),
        (without("uploaded="), (0, 1), ""),
        (with("numwant=abc"), (0, 1), "refused there"),
        (with("compact=0"), (0, 1), "refused there"),
        (format!("{base}&supportcrypto&"), (0, 1), ""),
        (format!("{base}&&x=%zz"), (0, 1), ""),
        (format!("{base}&left=0"), (1, 0), "the last one counts"),
    ];
    for (query, want, _why) in table {
        let now = base_instant();
        let mut desk = TrackerDesk::new(config(), now);
        let reply = peers(parse_announce(&desk.on_announce(now, &query, ip(US))).unwrap());
        assert_eq!((reply.complete, reply.incomplete), (Some(want.0), Some(want.1)), "{query}");
    }
}

#[test]
fn an_address_that_a_client_gives_itself_is_accepted_from_neighbours_only() {
    let table = [
        ("198.51.100.7", "203.0.113.5", "198.51.100.7"),
        ("127.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("192.168.1.4", "203.0.113.5", "203.0.113.5"),
        ("fd00::4", "203.0.113.5", "203.0.113.5"),
        ("127.0.0.1", "0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "224.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
    ];
    for (from, claimed, want) in table {
        let now = base_instant();
        let mut desk = TrackerDesk::new(config(), now);
        let query = format!("{}&ip={claimed}", query_of(&request(1, 1000, Event::Started, 0)));
        peers(parse_announce(&desk.on_announce(now, &query, ip(from))).unwrap());
        let reply = peers(http(&mut desk, now, &request(1, 2000, Event::Started, 1), "198.51.100.99"));
        assert_eq!(reply.peers, [SocketAddr::new(ip(want), 1000)], "{from} says {claimed}");
    }
}

#[test]
fn only_listed_torrents_are_served() {
    let now = base_instant();
    let list = |swarm: u8| AllowList::parse(&InfoHash([swarm; 20]).to_string()).unwrap();
    let mut desk = TrackerDesk::new(DeskConfig { allow: Some(list(1)), ..config() }, now);
    peers(http(&mut desk, now, &request(1, 1, Event::Started, 0), US));
    let no = refusal(http(&mut desk, now, &request(2, 1, Event::Started, 0), US));
    assert_eq!((no.reason.as_str(), no.retry_in), ("unregistered torrent", Some(RetryIn::After(RETRY_UNREGISTERED))));
    assert_eq!(
        udp(&mut desk, now, &request(2, 1, Event::Started, 0), US),
        UdpReply::Error("unregistered torrent".to_owned())
    );
    desk.on_allow_list(Some(list(2)));
    peers(http(&mut desk, now, &request(2, 1, Event::Started, 0), US));
    refusal(http(&mut desk, now, &request(1, 1, Event::Started, 0), US));
    let id = connection_id(&mut desk, now, US);
    let answer = desk.on_datagram(now, &udp_scrape(id, 7, &[InfoHash([1; 20])]), ip(US)).unwrap();
    assert_eq!(decode_reply(&answer, 7, false), Ok(UdpReply::Scraped(vec![(0, 0, 0)])));
    for second in 1..=900 {
        desk.on_timeout(now + Duration::from_secs(second));
    }
    let stats = desk.stats(now);
    assert_eq!((stats.swarms, stats.allowed, stats.counts.unregistered), (1, Some(1), 3), "the old one is forgotten");
}

#[test]
fn a_host_with_too_many_requests_is_refused_over_http_and_ignored_over_udp() {
    let now = base_instant();
    let mut desk = TrackerDesk::new(DeskConfig { rate: 1, ..config() }, now);
    let announce = request(1, 1, Event::Started, 0);
    for _ in 0..10 {
        peers(http(&mut desk, now, &announce, US));
    }
    assert_eq!(refusal(http(&mut desk, now, &announce, US)).retry_in, Some(RetryIn::After(RETRY_TOO_FAST)));
    let id = connection_id(&mut desk, now, US);
    assert_eq!(desk.on_datagram(now, &udp_announce(id, 7, &announce), ip(US)), None);
    assert_eq!(desk.stats(now).counts.too_fast, 2);
    peers(http(&mut desk, now, &announce, "198.51.100.8"));
    for _ in 0..1000 {
        peers(http(&mut desk, now, &announce, "127.0.0.1"));
    }
    peers(http(&mut desk, now + Duration::from_secs(2), &announce, US));
}

/// The whole state file of a desk.
fn saved(desk: &TrackerDesk, now: Instant, saved_at: u64) -> Vec<u8> {
    let (mut seal, mut file) = Seal::begin(saved_at);
    let mut below = Some(usize::MAX);
    while let Some(at) = below {
        let (part, next) = desk.save(now, at);
        seal.add(&part);
        file.extend(part);
        below = next;
    }
    file.extend(seal.end());
    file
}

fn sorted(state: &SavedState<'_>) -> Vec<SavedSwarm> {
    let mut swarms: Vec<_> = state.swarms().collect();
    swarms.sort_by_key(|swarm| swarm.info_hash);
    for swarm in &mut swarms {
        swarm.v4.sort_by_key(|peer| peer.addr);
        swarm.v6.sort_by_key(|peer| peer.addr);
    }
    swarms
}

#[test]
fn swarms_survive_a_restart_and_grow_old_meanwhile() {
    let now = base_instant();
    let mut desk = TrackerDesk::new(config(), now);
    let later = now + Duration::from_secs(1000);
    for nth in 0..3 {
        let request = request(1, 1000 + nth, Event::Started, nth.into());
        peers(http(&mut desk, now, &request, &format!("198.51.{nth}.7")));
        announced(udp(&mut desk, later, &request, &format!("2001:db8:{nth}::7")));
    }
    let done = AnnounceRequest { event: Event::Completed, left: 0, ..request(1, 1001, Event::Started, 0) };
    peers(http(&mut desk, later, &done, "198.51.1.7"));
    peers(http(&mut desk, later, &request(2, 9, Event::Started, 0), US));
    let file = saved(&desk, later, 5000);
    let state = SavedState::read(&file).unwrap();
    // The three peers that announced only at the start expire first, except the one that completed.
    for (away, allow, want) in [
        (0, None, (7, 2)),
        (2580, None, (7, 2)),
        (2640, None, (5, 2)),
        (2640, Some(2), (1, 1)),
        (3640, None, (0, 0)),
        (u64::MAX, None, (0, 0)),
    ] {
        let list = |swarm: u8| AllowList::parse(&InfoHash([swarm; 20]).to_string()).unwrap();
        let mut again = TrackerDesk::new(DeskConfig { allow: allow.map(list), ..config() }, now);
        again.restore(now, &state, Duration::from_secs(away));
        let stats = again.stats(now);
        assert_eq!((stats.peers.peers(), stats.swarms), want, "{away} s, {allow:?}");
        assert!(again.registry.is_sound());
    }
    let mut again = TrackerDesk::new(config(), now);
    again.restore(now, &state, Duration::ZERO);
    again.restore(now, &state, Duration::ZERO);
    let again_saved = saved(&again, now, 5000);
    assert_eq!(sorted(&SavedState::read(&again_saved).unwrap()), sorted(&state), "each once, and as it was");
    let numbers = again.numbers(&InfoHash([1; 20])).unwrap();
    assert_eq!((numbers.complete, numbers.incomplete, numbers.downloaded), (3, 3, 1));
    peers(http(&mut again, now, &done, "198.51.1.7"));
    assert_eq!(again.numbers(&InfoHash([1; 20])).unwrap().downloaded, 1, "still counted once");
}

#[test]
fn a_restored_table_keeps_to_the_limits() {
    let now = base_instant();
    let mut desk = TrackerDesk::new(config(), now);
    for nth in 0..100_u8 {
        for port in 1..=20 {
            peers(http(&mut desk, now, &request(nth, port, Event::Started, 1), &format!("198.51.{nth}.{}", port % 3)));
        }
    }
    let file = saved(&desk, now, 0);
    assert!(
        file.len() as u64 <= longest_state(&RegistryLimits { peers: 2000, swarms: 100, ..RegistryLimits::default() })
    );
    let limits = RegistryLimits { peers: 300, swarms: 30, peers_per_swarm: 12, peers_per_host: 5, peers_per_site: 11 };
    let mut again = TrackerDesk::new(DeskConfig { limits, ..config() }, now);
    again.restore(now, &SavedState::read(&file).unwrap(), Duration::ZERO);
    let stats = again.stats(now);
    assert_eq!(
        (stats.swarms, stats.peers.peers(), again.registry.is_sound()),
        (28, 300, true),
        "eleven in each, and those left without any are not made"
    );
    let sizes = (70..100).filter_map(|nth| again.numbers(&InfoHash([nth; 20]))).map(|swarm| swarm.incomplete);
    assert!(sizes.max().unwrap() <= 11);
}

#[test]
fn silent_peers_are_forgotten_after_two_intervals_and_an_eighth() {
    let now = base_instant();
    let mut desk = TrackerDesk::new(DeskConfig { interval: Duration::from_secs(100), ..config() }, now);
    for port in 1..=20 {
        peers(http(&mut desk, now, &request(1, port, Event::Started, 1), US));
    }
    let mut until = |from: u64, to: u64| {
        for second in from..=to {
            desk.on_timeout(now + Duration::from_secs(second));
            assert!(desk.deadline() > now + Duration::from_secs(second));
        }
        desk.stats(now).peers.peers()
    };
    assert_eq!(until(1, 200), 20);
    assert_eq!(until(201, 260), 0);
}

#[test]
fn after_a_panic_a_sound_desk_keeps_its_peers() {
    let now = base_instant();
    let mut desk = TrackerDesk::new(config(), now);
    peers(http(&mut desk, now, &request(1, 1, Event::Started, 1), US));
    desk.recover(now);
    assert_eq!((desk.stats(now).peers.peers(), desk.stats(now).counts.announces_http), (1, 1));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_no_answer_is_longer_than_its_request(
        datagram in prop::collection::vec(any::<u8>(), 0..200), action in 0_u8..4, query in ".{0,200}",
    ) {
        let now = base_instant();
        let mut desk = TrackerDesk::new(config(), now);
        let typed = [&[0; 8][..], &[0, 0, 0, action], &datagram].concat();
        for datagram in [&datagram, &typed] {
            let answer = desk.on_datagram(now, datagram, ip(US)).unwrap_or_default();
            prop_assert!(answer.len() <= datagram.len());
        }
        let _any = (desk.on_announce(now, &query, ip(US)), desk.on_scrape(now, &query, ip(US)));
    }
}
