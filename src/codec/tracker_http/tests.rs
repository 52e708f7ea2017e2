use super::server::*;
use super::*;
use crate::base::ids::PeerId;
use crate::codec::tracker::MAX_TEXT_LEN;
use proptest::prelude::*;

fn request() -> AnnounceRequest {
    AnnounceRequest {
        info_hash: InfoHash(*b"\x12\x34\x56\x78\x9a\xbc\xde\xf1\x23\x45\x67\x89\xab\xcd\xef\x12\x34\x56\x78\x9a"),
        peer_id: PeerId(*b"-TA0100-ab~d.f_h i+k"),
        port: 6881,
        uploaded: 1,
        downloaded: 2,
        left: u64::MAX,
        event: Event::Started,
        key: 0xbeef,
        num_want: 80,
        tracker_id: Some(b"a&b=c".to_vec()),
    }
}

/// The info-hash is the example in the specification wiki.
#[test]
fn an_announce_is_escaped_byte_by_byte() {
    let query = "info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A&peer_id=-TA0100-ab~d.f_h%20i%2Bk&port=6881\
                 &uploaded=1&downloaded=2&left=18446744073709551615&compact=1&numwant=80&key=0000beef&event=started\
                 &trackerid=a%26b%3Dc";
    for (base, before) in [
        ("http://t/announce", "http://t/announce?"),
        ("http://t/announce?", "http://t/announce?"),
        ("http://t/announce?passkey=x%20y", "http://t/announce?passkey=x%20y&"),
        ("http://t/announce?a=b&", "http://t/announce?a=b&"),
        ("http://t/announce#part?", "http://t/announce?"),
    ] {
        assert_eq!(announce_url(base, &request()), format!("{before}{query}"));
    }
    let paused = announce_url("http://t/announce", &AnnounceRequest { event: Event::Paused, ..request() });
    assert!(paused.contains("&event=paused&"), "BEP 21: {paused}");
}

/// The table in BEP 48.
#[test]
fn scrape_urls_follow_bep_48() {
    let swarm = [InfoHash(*b"aaaaaaaaaaaaaaaaaaaa")];
    let hash = "info_hash=aaaaaaaaaaaaaaaaaaaa";
    for (base, want) in [
        ("http://example.com/announce", Some("http://example.com/scrape?")),
        ("http://example.com/x/announce", Some("http://example.com/x/scrape?")),
        ("http://example.com/announce.php", Some("http://example.com/scrape.php?")),
        ("http://example.com/a", None),
        ("http://example.com/announce?x2%0644", Some("http://example.com/scrape?x2%0644&")),
        ("http://example.com/announce?x=2/4", None),
        ("http://example.com/x%064announce", None),
        ("announce", None),
    ] {
        assert_eq!(scrape_url(base, &swarm), want.map(|url| format!("{url}{hash}")), "{base}");
    }
    assert_eq!(scrape_url("http://t/announce", &[]), None);
    let two = scrape_url("http://t/announce", &[swarm[0], swarm[0]]).unwrap();
    assert_eq!(two, format!("http://t/scrape?{hash}&{hash}"));
}

fn peers_of(body: &[u8]) -> AnnounceReply {
    match parse_announce(body) {
        Ok(Reply::Peers(reply)) => reply,
        other => panic!("{}: {other:?}", body.escape_ascii()),
    }
}

/// W-12, T-15: no field is required, and odd values are kept as they are.
#[test]
fn missing_and_odd_fields_are_tolerated() {
    assert_eq!(peers_of(b"de"), AnnounceReply::default());
    for (sent, want) in [
        (&b"i-1e"[..], Some(-1)),
        (b"i0e", Some(0)),
        (b"i1e", Some(1)),
        (b"i2147483648e", Some(1 << 31)),
        (b"i9223372036854775808e", Some(i64::MAX)),
        (b"4:1800", None),
        (b"le", None),
    ] {
        assert_eq!(peers_of(&[b"d8:interval", sent, b"e"].concat()).interval, want, "{}", sent.escape_ascii());
    }
    let reply = peers_of(b"d8:completei-1e10:incompletei4294967296e5:peersi5e6:peers6dee");
    assert_eq!((reply.complete, reply.incomplete, reply.peers_named), (None, Some(u32::MAX), 0));
}

/// W-14, T-21, BEP 7.
#[test]
fn both_models_and_both_families_are_read() {
    let compact = b"d5:peers12:\x7f\0\0\x01\x1a\xe1\x7f\0\0\x01\x1a\xe16:peers618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50e";
    let reply = peers_of(compact);
    assert_eq!(reply.peers, ["127.0.0.1:6881".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap()]);
    assert_eq!(reply.peers_named, 3);
    let listed = b"d5:peersld2:ip9:127.0.0.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti6881eed2:ip3:::14:porti1ee\
        d2:ip5:[::2]4:porti2eed2:ip9:localhost4:porti1eed2:ip7:1.2.3.44:porti65536eed2:ip7:1.2.3.4ei5eee";
    let got: Vec<_> = peers_of(listed).peers.iter().map(ToString::to_string).collect();
    assert_eq!(got, ["127.0.0.1:6881", "[::1]:1", "[::2]:2"]);
    assert_eq!(peers_of(listed).peers_unreadable, 4, "a name, a port too large, no port, no dictionary");
}

/// Both lists are cut: the complete peers are used, as libtorrent does, and so is the rest of the reply.
#[test]
fn a_list_that_is_cut_short_names_the_peers_before_the_cut() {
    let body = b"d8:intervali900e5:peers9:\x7f\0\0\x01\x1a\xe1\x7f\0\x006:peers620:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50\x20\x01e";
    let reply = peers_of(body);
    assert_eq!(reply.peers, ["127.0.0.1:6881".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap()]);
    assert_eq!((reply.interval, reply.peers_named, reply.peers_unreadable), (Some(900), 2, 2));
}

/// T-05.
#[test]
fn garbage_is_refused() {
    assert!(matches!(parse_announce(b"<html><body>captive</body></html>"), Err(BadReply::Bencode(_))));
    assert!(matches!(parse_announce(b"d5:peers6:\x7f\0\0\x01"), Err(BadReply::Bencode(_))));
    assert_eq!(parse_announce(b"le"), Err(BadReply::NoDictionary));
    let len = MAX_TRACKER_REPLY + 1;
    assert_eq!(parse_announce(&vec![b'd'; len]), Err(BadReply::TooLarge { len }), "T-06");
    for len in 0..40 {
        let body = [format!("d5:peers{len}:").as_bytes(), &vec![1; len], b"e"].concat();
        let reply = peers_of(&body);
        let unreadable = u32::from(len % 6 != 0);
        assert_eq!((reply.peers_named as usize, reply.peers_unreadable), (len / 6, unreadable), "{len}");
    }
    assert_eq!(parse_scrape(b"de"), Err(BadReply::NoFiles));
}

/// T-09, T-10, BEP 31.
#[test]
fn failures_and_warnings_are_kept_short() {
    let long = [b"d14:failure reason2000:".to_vec(), vec![b'x'; 2000], b"e".to_vec()].concat();
    let Ok(Reply::Failure(failure)) = parse_announce(&long) else { panic!("no failure") };
    assert_eq!((failure.reason.len(), failure.retry_in), (MAX_TEXT_LEN, None));
    for (retry, want) in [
        (&b"i5e"[..], Some(RetryIn::After(Duration::from_secs(300)))),
        (b"1:5", Some(RetryIn::After(Duration::from_secs(300)))),
        (b"5:never", Some(RetryIn::Never)),
        (b"i-5e", None),
        (b"le", None),
        (b"i18446744073709551615e", Some(RetryIn::After(Duration::from_secs(u64::MAX)))),
    ] {
        let body = [b"d14:failure reason2:no8:retry in", retry, b"e"].concat();
        let want = TrackerFailure { reason: "no".to_owned(), retry_in: want };
        assert_eq!(parse_announce(&body), Ok(Reply::Failure(want)), "{}", retry.escape_ascii());
    }
    for (said, want) in [
        ("8:intervali1800e", Some(1800)),
        ("12:min intervali60e", Some(60)),
        ("8:intervali1800e12:min intervali3600e", Some(3600)),
        ("8:intervali60e8:retry ini5e", Some(300)),
        ("8:intervali1800e8:retry ini5e", Some(1800)),
        ("8:intervali0e", None),
        ("8:intervali-1e", None),
        ("8:interval4:soon", None),
    ] {
        let body = format!("d14:failure reason2:no{said}e");
        let want = TrackerFailure {
            reason: "no".to_owned(),
            retry_in: want.map(|secs| RetryIn::After(Duration::from_secs(secs))),
        };
        assert_eq!(parse_announce(body.as_bytes()), Ok(Reply::Failure(want)), "{said}");
    }
    let never = TrackerFailure { reason: "no".to_owned(), retry_in: Some(RetryIn::Never) };
    assert_eq!(parse_announce(b"d14:failure reason2:no8:intervali60e8:retry in5:nevere"), Ok(Reply::Failure(never)));
    let reply = peers_of(b"d15:warning message4:slow10:tracker id2:ab11:external ip4:\x01\x02\x03\x04e");
    assert_eq!(reply.warning.as_deref(), Some("slow"));
    assert_eq!(reply.tracker_id.as_deref(), Some(&b"ab"[..]));
    assert_eq!(reply.external_ip, Some(IpAddr::from([1, 2, 3, 4])));
}

/// T-16: the same peer ten thousand times, in 1 MiB of dictionaries.
#[test]
fn ten_thousand_duplicates_are_one_peer() {
    let peer = b"d2:ip9:127.0.0.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti6881ee";
    let reply = peers_of(&[&b"d5:peersl"[..], &peer.repeat(10_000), b"ee"].concat());
    assert_eq!((reply.peers.len(), reply.peers_named), (1, 10_000));
}

/// W-13.
#[test]
fn a_scrape_may_name_several_swarms() {
    let one = ScrapeEntry { info_hash: InfoHash([1; 20]), complete: 1, incomplete: 2, downloaded: 3 };
    let two = ScrapeEntry { info_hash: InfoHash([2; 20]), complete: 0, incomplete: 0, downloaded: 0 };
    assert_eq!(parse_scrape(&encode_scrape(&[two, one])), Ok(ScrapeReply::Entries(vec![one, two])));
    let failure = TrackerFailure { reason: "no".to_owned(), retry_in: Some(RetryIn::Never) };
    assert_eq!(parse_scrape(&encode_failure(&failure)), Ok(ScrapeReply::Failure(failure)));
    assert_eq!(parse_scrape(b"d5:filesd3:abcdeee"), Ok(ScrapeReply::Entries(vec![])));
}

#[test]
fn a_server_names_what_is_missing_or_wrong() {
    let good = "?info_hash=aaaaaaaaaaaaaaaaaaa%61&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1";
    let query = parse_query(good).unwrap();
    assert_eq!((query.request.num_want, query.compact, query.request.event), (DEFAULT_NUM_WANT, true, Event::Periodic));
    for (query, want) in [
        ("", BadQuery::Missing("info_hash")),
        ("info_hash=short", BadQuery::Invalid("info_hash")),
        ("info_hash=%6", BadQuery::Invalid("info_hash")),
        ("peer_id=short", BadQuery::Invalid("peer_id")),
        ("port=65536", BadQuery::Invalid("port")),
    ] {
        assert_eq!(parse_query(query), Err(want), "{query}");
    }
    let odd = parse_query(&format!("{good}&numwant=-1&key=zz&compact=0&no_peer_id=1&ip=1.2.3.4&&x")).unwrap();
    assert_eq!((odd.request.num_want, odd.compact, odd.no_peer_id), (DEFAULT_NUM_WANT, false, true));
    assert_eq!(odd.ip, Some(IpAddr::from([1, 2, 3, 4])));
    assert_eq!(parse_scrape_query("info_hash=x"), Err(BadQuery::Invalid("info_hash")));
}

fn any_request() -> impl Strategy<Value = AnnounceRequest> {
    let events = [Event::Periodic, Event::Started, Event::Completed, Event::Stopped];
    let id = prop::option::of(prop::collection::vec(any::<u8>(), 1..20));
    (any::<([u8; 20], [u8; 20], u16, u64, u64, u64, u32, u32)>(), 0_usize..4, id).prop_map(
        move |(all, event, tracker_id)| {
            let (info_hash, peer_id, port, uploaded, downloaded, left, key, num_want) = all;
            AnnounceRequest {
                info_hash: InfoHash(info_hash),
                peer_id: PeerId(peer_id),
                port,
                uploaded,
                downloaded,
                left,
                event: events[event],
                key,
                num_want,
                tracker_id,
            }
        },
    )
}

proptest! {
    #[test]
    fn an_announce_survives_its_url(request in any_request()) {
        let url = announce_url("http://t/announce", &request);
        let (_base, query) = url.split_once('?').unwrap();
        prop_assert_eq!(parse_query(query).unwrap().request, request);
    }

    #[test]
    fn a_reply_survives_its_body(
        numbers: (Option<i64>, Option<i64>, Option<u32>, Option<u32>, Option<u32>),
        peers in prop::collection::btree_set(any::<([u8; 4], u16)>(), 0..50),
        peers6 in prop::collection::btree_set(any::<([u8; 16], u16)>(), 0..50),
        id in prop::option::of(prop::collection::vec(any::<u8>(), 1..9)),
        warning: Option<String>,
        external_ip: Option<IpAddr>,
        compact: bool,
    ) {
        let (interval, min_interval, complete, incomplete, downloaded) = numbers;
        let mut reply = AnnounceReply {
            interval, min_interval, complete, incomplete, downloaded, tracker_id: id, warning, external_ip,
            ..AnnounceReply::default()
        };
        reply.take_peers(peers.into_iter().map(SocketAddr::from).chain(peers6.into_iter().map(SocketAddr::from)));
        reply.peers_named = u32::try_from(reply.peers.len()).unwrap();
        let body = encode_announce(&reply, compact);
        let Reply::Peers(mut got) = parse_announce(&body).unwrap() else { panic!("a failure") };
        // One list holds both families; two compact lists do not keep their order.
        got.peers.sort_unstable();
        reply.peers.sort_unstable();
        prop_assert_eq!(got, reply);
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200), text: String) {
        for body in [body.clone(), [&b"d5:peers"[..], &body, b"e"].concat()] {
            let _any = (parse_announce(&body), parse_scrape(&body));
        }
        let _any = (parse_query(&text), parse_scrape_query(&text), scrape_url(&text, &[InfoHash([0; 20])]));
        let _url = announce_url(&text, &request());
    }
}

/// Replies as scripts print them, which libtorrent accepts too: bytes after the reply, a key twice, odd numbers, and
/// before it the byte order mark of PHP.
#[test]
fn replies_are_read_as_scripts_print_them() {
    let replies: [&[u8]; 8] = [
        b"d8:intervali900e5:peers6:\x01\x02\x03\x04\x1a\xe1e\n",
        b"d8:intervali900e5:peers6:\x01\x02\x03\x04\x1a\xe1e<!-- 3 ms -->",
        b"\r\n d8:intervali900e5:peers6:\x01\x02\x03\x04\x1a\xe1e",
        b"\xef\xbb\xbfd8:intervali900e5:peers6:\x01\x02\x03\x04\x1a\xe1e",
        b"d8:intervali900e8:intervali5e5:peers6:\x01\x02\x03\x04\x1a\xe1e",
        b"d8:intervali900e5:peers6:\x01\x02\x03\x04\x1a\xe15:peers0:e",
        b"d8:intervali0900e5:peers06:\x01\x02\x03\x04\x1a\xe1e",
        b"d8:intervali900e5:peersld2:ip7:1.2.3.44:porti06881eeee",
    ];
    for body in replies {
        let Ok(Reply::Peers(reply)) = parse_announce(body) else { panic!("{}", body.escape_ascii()) };
        assert_eq!(reply.interval, Some(900), "{}", body.escape_ascii());
        assert_eq!(reply.peers, ["1.2.3.4:6881".parse().unwrap()], "{}", body.escape_ascii());
    }
    let scrape = b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei07eeee\n";
    let Ok(ScrapeReply::Entries(entries)) = parse_scrape(scrape) else { panic!("no scrape") };
    assert_eq!(entries[0].complete, 7);
}
