use std::net::SocketAddr;

use super::server::*;
use super::*;
use crate::base::ids::PeerId;
use proptest::prelude::*;

const TID: u32 = 0x0102_0304;

fn request() -> AnnounceRequest {
    AnnounceRequest {
        info_hash: InfoHash([0xaa; 20]),
        peer_id: PeerId([0xbb; 20]),
        port: 0x1ae1,
        uploaded: 3,
        downloaded: 1,
        left: 2,
        event: Event::Started,
        key: 0xdead_beef,
        num_want: u32::MAX,
        tracker_id: None,
    }
}

/// The offsets in BEP 15's tables.
#[test]
fn requests_are_laid_out_as_bep_15_says() {
    assert_eq!(encode_connect(TID), [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 1, 2, 3, 4]);
    let bytes = encode_announce(0x1122_3344_5566_7788, TID, &request());
    assert_eq!(bytes.len(), 98);
    assert_eq!(bytes[..16], [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0, 0, 0, 1, 1, 2, 3, 4]);
    assert_eq!((&bytes[16..36], &bytes[36..56]), (&[0xaa; 20][..], &[0xbb; 20][..]));
    assert_eq!((bytes[63], bytes[71], bytes[79], bytes[83]), (1, 2, 3, 2), "downloaded, left, uploaded, event");
    assert_eq!(bytes[84..], [0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef, 0xff, 0xff, 0xff, 0xff, 0x1a, 0xe1]);
    assert_eq!(encode_scrape(1, TID, &[InfoHash([7; 20]); 100]).len(), 16 + 74 * 20);
}

fn announced(peers: &[u8], ipv6: bool) -> Result<AnnounceReply, BadDatagram> {
    let head = [0, 0, 0, 1, 1, 2, 3, 4, 0, 0, 7, 8, 0, 0, 0, 5, 0, 0, 0, 9];
    match decode_reply(&[&head[..], peers].concat(), TID, ipv6)? {
        UdpReply::Announced(reply) => Ok(reply),
        other => panic!("{other:?}"),
    }
}

/// W-11: a datagram with more peers than any limit of BEP 15 is read completely; unusable addresses are only counted.
#[test]
fn two_hundred_peers_in_one_datagram_are_two_hundred() {
    for count in [0_u32, 1, 73, 74, 75, 199, 200, 201, 1500] {
        let peers: Vec<u8> = (1..=count).flat_map(|n| [&(n << 8).to_be_bytes()[..], &[0x1a, 0xe1]].concat()).collect();
        let reply = announced(&peers, false).unwrap();
        assert_eq!((reply.peers.len(), reply.peers_named), (count as usize, count));
        assert_eq!(reply.peers.last().map(SocketAddr::ip), (count > 0).then(|| (count << 8).to_be_bytes().into()));
    }
    let reply = announced(&[1, 2, 3, 4, 0, 1, 1, 2, 3, 4, 0, 1, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 1], false).unwrap();
    assert_eq!((reply.peers.len(), reply.peers_named), (1, 4), "a duplicate, a port 0 and an address 0.0.0.0");
    assert_eq!((reply.interval, reply.incomplete, reply.complete), (Some(0x708), Some(5), Some(9)));
}

/// W-14.
#[test]
fn peers_are_of_the_family_of_the_socket() {
    let peer = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80];
    assert_eq!(announced(&peer, true).unwrap().peers, ["[2001:db8::1]:80".parse().unwrap()]);
    assert_eq!(announced(&peer, false).unwrap().peers_named, 3);
    let cut = announced(&peer[..6], true).unwrap();
    assert_eq!((cut.peers_named, cut.peers_unreadable), (0, 1));
    let cut = announced(&peer[..15], false).unwrap();
    assert_eq!((cut.peers_named, cut.peers_unreadable), (2, 1), "what is whole is used");
}

/// T-12: every length from 0 to 64, every action.
#[test]
fn short_datagrams_are_dropped() {
    for len in 0..=64 {
        for action in 0..6_u8 {
            let mut datagram = [&[0, 0, 0, action, 1, 2, 3, 4][..], &[1; 56]].concat();
            datagram.truncate(len);
            let good = match (len, action) {
                (..8, _) | (_, 4..) => false,
                (_, 0) => len >= 16,
                (_, 1) => len >= 20,
                (_, 2) => len == 8 || len >= 20,
                _ => true,
            };
            assert_eq!(decode_reply(&datagram, TID, false).is_ok(), good, "{len} bytes of action {action}");
            assert_eq!(
                decode_request(&datagram),
                Err(if len < 16 { BadDatagram::TooShort { len } } else { BadDatagram::Action(0x0101_0101) })
            );
        }
    }
}

/// T-11.
#[test]
fn answers_to_something_else_are_dropped() {
    let other = encode_connected(TID ^ 1, 5);
    assert_eq!(decode_reply(&other, TID, false), Err(BadDatagram::Transaction { got: TID ^ 1, want: TID }));
    assert_eq!(decode_reply(&[0, 0, 0, 9, 1, 2, 3, 4], TID, false), Err(BadDatagram::Action(9)));
    let mut connect = encode_connect(TID);
    connect[0] = 1;
    assert_eq!(decode_request(&connect), Err(BadDatagram::Protocol));
}

/// T-15: the sign of an interval is kept.
#[test]
fn intervals_are_signed() {
    for (interval, want) in [(-1, -1), (0, 0), (1 << 40, i64::from(i32::MAX)), (i64::MIN, i64::from(i32::MIN))] {
        let reply = AnnounceReply { interval: Some(interval), ..AnnounceReply::default() };
        let Ok(UdpReply::Announced(got)) = decode_reply(&encode_announced(TID, &reply, false), TID, false) else {
            panic!("no answer");
        };
        assert_eq!(got.interval, Some(want));
    }
}

proptest! {
    #[test]
    fn requests_survive(
        numbers: (u64, u32, u16, u64, u64, u64, u32, u32), hashes: ([u8; 20], [u8; 20]), event in 0_usize..4,
        swarms in prop::collection::vec(any::<[u8; 20]>(), 0..=MAX_SCRAPE), options in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let (connection_id, transaction_id, port, uploaded, downloaded, left, key, num_want) = numbers;
        let event = [Event::Periodic, Event::Started, Event::Completed, Event::Stopped][event];
        let request = AnnounceRequest {
            info_hash: InfoHash(hashes.0), peer_id: PeerId(hashes.1), port, uploaded, downloaded, left, event, key,
            num_want, tracker_id: None,
        };
        let bytes = [encode_announce(connection_id, transaction_id, &request), options].concat();
        prop_assert_eq!(decode_request(&bytes), Ok(UdpRequest::Announce { connection_id, transaction_id, request }));
        for len in 0..98 {
            prop_assert_eq!(decode_request(&bytes[..len]), Err(BadDatagram::TooShort { len }));
        }
        let swarms: Vec<_> = swarms.into_iter().map(InfoHash).collect();
        let bytes = encode_scrape(connection_id, transaction_id, &swarms);
        prop_assert_eq!(decode_request(&bytes), Ok(UdpRequest::Scrape { connection_id, transaction_id, swarms }));
        prop_assert_eq!(decode_request(&encode_connect(transaction_id)), Ok(UdpRequest::Connect { transaction_id }));
    }

    #[test]
    fn replies_survive(
        tid: u32, connection_id: u64, numbers: (i32, u32, u32), swarms in prop::collection::vec(any::<(u32, u32, u32)>(), 0..=MAX_SCRAPE),
        peers in prop::collection::btree_set(any::<([u8; 4], u16)>(), 0..300), text in "\\PC{0,200}",
    ) {
        let connected = UdpReply::Connected { connection_id };
        prop_assert_eq!(decode_reply(&encode_connected(tid, connection_id), tid, false), Ok(connected));
        let mut reply = AnnounceReply {
            interval: Some(numbers.0.into()), complete: Some(numbers.1), incomplete: Some(numbers.2),
            ..AnnounceReply::default()
        };
        reply.take_peers(peers.into_iter().map(SocketAddr::from));
        reply.peers_named = u32::try_from(reply.peers.len()).unwrap();
        prop_assert_eq!(decode_reply(&encode_announced(tid, &reply, false), tid, false), Ok(UdpReply::Announced(reply)));
        prop_assert_eq!(decode_reply(&encode_scraped(tid, &swarms), tid, false), Ok(UdpReply::Scraped(swarms)));
        prop_assert_eq!(decode_reply(&encode_error(tid, &text), tid, false), Ok(UdpReply::Error(text)));
    }

    #[test]
    fn no_bytes_make_it_panic(datagram in prop::collection::vec(any::<u8>(), 0..200), tid: u32, ipv6: bool) {
        let _any = (decode_reply(&datagram, tid, ipv6), decode_request(&datagram));
        let answer = [&tid.to_be_bytes()[..], &datagram].concat();
        for action in 0..4 {
            let _any = decode_reply(&[&[0, 0, 0, action][..], &answer].concat(), tid, ipv6);
        }
    }
}

/// BEP 41: the URL is `udp://tracker.example.com:80/dir?auth=x`. Our own server must ignore the added bytes.
#[test]
fn the_path_of_the_url_follows_an_announce() {
    let bare = encode_announce(1, 2, &request());
    let with = |url_data: &str| {
        let mut packet = bare.clone();
        put_url_data(&mut packet, url_data);
        packet
    };
    assert_eq!(with(""), bare);
    assert_eq!(with("/dir?a=x"), [&bare[..], b"\x02\x08/dir?a=x"].concat());
    let long = "x".repeat(300);
    let packet = with(&long);
    let options = &packet[bare.len()..];
    assert_eq!((options[0], options[1], options[257], options[258], options.len()), (2, 255, 2, 45, 304));
    for url_data in ["/dir", &long] {
        assert_eq!(decode_request(&with(url_data)), decode_request(&bare));
    }
}
