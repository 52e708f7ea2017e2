use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;

fn handshake(payload: &[u8]) -> ExtendedHandshake {
    match decode(HANDSHAKE, payload) {
        Ok(ExtendedMessage::Handshake(handshake)) => handshake,
        other => panic!("{}: {other:?}", payload.escape_ascii()),
    }
}

fn pex(payload: &[u8]) -> Pex {
    match decode(PEX, payload) {
        Ok(ExtendedMessage::Pex(pex)) => pex,
        other => panic!("{}: {other:?}", payload.escape_ascii()),
    }
}

/// The example of BEP 10, and what libtorrent 2.1 sends.
#[test]
fn handshakes_of_real_clients_are_understood() {
    let bep = handshake(b"d1:md11:LT_metadatai1e6:\xb5T_PEXi2ee1:pi6881e1:v13:\xc2\xb5Torrent 1.2e");
    assert_eq!((bep.numbers, bep.port), (Numbers::default(), Some(6881)));
    assert_eq!(bep.client.as_deref(), Some("µTorrent 1.2".as_bytes()));
    let libtorrent = handshake(
        b"d12:complete_agoi1e1:md11:lt_donthavei7e10:share_modei8e11:upload_onlyi3e12:ut_holepunchi4e11:ut_metadatai2e6:ut_pexi1ee13:metadata_sizei345e4:reqqi500e11:upload_onlyi1e1:v18:libtorrent/2.1.1.06:yourip4:\x7f\0\0\x01e",
    );
    let want = ExtendedHandshake {
        numbers: Numbers { pex: Some(1), upload_only: Some(3), dont_have: Some(7) },
        client: Some(b"libtorrent/2.1.1.0".to_vec()),
        port: None,
        reqq: Some(500),
        your_ip: Some([127, 0, 0, 1].into()),
        upload_only: Some(true),
    };
    assert_eq!(libtorrent, want);
}

/// P-24.
#[test]
fn values_out_of_range_count_as_missing() {
    let nothing = ExtendedHandshake::default();
    let table: [&[u8]; 12] = [
        b"de",
        b"d1:m1:xe",
        b"d1:md6:ut_pexi256eee",
        b"d1:md6:ut_pexi-1eee",
        b"d1:pi0ee",
        b"d1:pi65536ee",
        b"d1:p4:6881e",
        b"d4:reqqi0ee",
        b"d4:reqqi-2147483648ee",
        b"d6:yourip3:abce",
        b"d11:upload_only1:1e",
        b"d1:vi1ee",
    ];
    for payload in table {
        assert_eq!(handshake(payload), nothing, "{}", payload.escape_ascii());
    }
    assert_eq!(handshake(b"d4:reqqi9223372036854775807ee").reqq, Some(u32::MAX));
    assert_eq!(handshake(b"d1:md6:ut_pexi0eee").numbers.pex, Some(0));
    let name = [b"d1:v100000:".to_vec(), vec![b'x'; 100_000], b"e".to_vec()].concat();
    assert_eq!(handshake(&name).client.unwrap().len(), MAX_CLIENT_LEN);
    let mapped = handshake(b"d6:yourip16:\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01e");
    assert_eq!(mapped.your_ip, Some([127, 0, 0, 1].into()));
}

/// P-24.
#[test]
fn a_payload_that_is_no_dictionary_is_refused() {
    let deep = [b"d1:m".to_vec(), vec![b'l'; 10_000]].concat();
    for payload in [&b""[..], b"le", b"i1e", b"d", &deep] {
        for id in [HANDSHAKE, PEX] {
            assert!(decode(id, payload).is_err(), "{}", payload.escape_ascii());
        }
    }
    assert_eq!(decode(2, b"de"), Err(BadExtended::Unknown(2)));
    for payload in [&b"de "[..], b"d1:pi1e1:pi2ee", b"d1:pi01ee"] {
        assert!(decode(HANDSHAKE, payload).is_ok(), "what libtorrent takes: {}", payload.escape_ascii());
    }
}

#[test]
fn a_later_handshake_adds_to_an_earlier_one() {
    let first = Numbers { pex: Some(1), upload_only: Some(3), dont_have: None };
    let later = Numbers { pex: Some(0), upload_only: None, dont_have: Some(7) };
    let want = Numbers { pex: Some(0), upload_only: Some(3), dont_have: Some(7) };
    assert_eq!(first.updated_by(later), want);
    assert_eq!(Numbers::ours(false).pex, None, "BEP 27");
}

#[test]
fn single_values_have_a_fixed_length() {
    assert_eq!(decode(DONT_HAVE, &[0, 0, 1, 0]), Ok(ExtendedMessage::DontHave(256)));
    assert_eq!(decode(UPLOAD_ONLY, &[1]), Ok(ExtendedMessage::UploadOnly(true)));
    for (id, payload) in [(DONT_HAVE, &[0; 3][..]), (DONT_HAVE, &[0; 5]), (UPLOAD_ONLY, &[]), (UPLOAD_ONLY, &[0, 0])] {
        assert_eq!(decode(id, payload), Err(BadExtended::Length { id, len: payload.len() }));
    }
}

#[test]
fn peers_come_with_their_flags() {
    let payload = b"d5:added12:\x0a\0\0\x01\x1a\xe1\x0a\0\0\x02\x1a\xe27:added.f1:\x126:added618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x507:dropped6:\x0a\0\0\x03\0\x01e";
    let Pex { added, dropped, named } = pex(payload);
    let peer = |addr: &str, flags| PexPeer { addr: addr.parse().unwrap(), flags };
    let seed = flag::SEED | flag::REACHABLE;
    assert_eq!(added, [peer("10.0.0.1:6881", seed), peer("10.0.0.2:6882", 0), peer("[2001:db8::1]:80", 0)]);
    assert_eq!((dropped, named), (vec!["10.0.0.3:1".parse::<SocketAddr>().unwrap()], 4));
}

/// P-22.
#[test]
fn a_flood_of_peers_is_cut() {
    for (key, each) in [("5:added", 6), ("6:added6", 18), ("7:dropped", 6), ("8:dropped6", 18)] {
        let len = each * 5000;
        let payload = [format!("d{key}{len}:").into_bytes(), vec![1; len], b"e".to_vec()].concat();
        let Pex { added, dropped, named } = pex(&payload);
        assert_eq!((added.len() + dropped.len(), named), (MAX_PEX, 5000), "{key}");
        let cut = [format!("d{key}{}:", len - 1).into_bytes(), vec![1; len - 1], b"e".to_vec()].concat();
        assert_eq!(pex(&cut).named, 4999, "{key}: of a list that is cut short the whole peers are used");
    }
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>().prop_map(|ip| ip.to_canonical())
}

fn any_extended() -> impl Strategy<Value = ExtendedMessage> {
    let numbers = any::<(Option<u8>, Option<u8>, Option<u8>)>();
    let client = prop::option::of(prop::collection::vec(any::<u8>(), 0..=MAX_CLIENT_LEN));
    let rest = (prop::option::of(1..=u16::MAX), prop::option::of(1..=u32::MAX), prop::option::of(any_ip()));
    let handshake = (numbers, client, rest, any::<Option<bool>>()).prop_map(|(numbers, client, rest, upload_only)| {
        let (port, reqq, your_ip) = rest;
        let numbers = Numbers { pex: numbers.0, upload_only: numbers.1, dont_have: numbers.2 };
        ExtendedMessage::Handshake(ExtendedHandshake { numbers, client, port, reqq, your_ip, upload_only })
    });
    let addrs = || prop::collection::vec((any_ip(), any::<u16>()).prop_map(SocketAddr::from), 0..50);
    let pex = (addrs(), any::<u8>(), addrs()).prop_map(|(mut added, flags, mut dropped)| {
        // IPv4 goes first.
        added.sort_by_key(SocketAddr::is_ipv6);
        dropped.sort_by_key(SocketAddr::is_ipv6);
        let named = added.len() + dropped.len();
        let added = added.into_iter().map(|addr| PexPeer { addr, flags }).collect();
        ExtendedMessage::Pex(Pex { added, dropped, named })
    });
    prop_oneof![
        handshake,
        pex,
        any::<u32>().prop_map(ExtendedMessage::DontHave),
        any::<bool>().prop_map(ExtendedMessage::UploadOnly)
    ]
}

fn number(message: &ExtendedMessage) -> u8 {
    match message {
        ExtendedMessage::Handshake(_) => HANDSHAKE,
        ExtendedMessage::Pex(_) => PEX,
        ExtendedMessage::DontHave(_) => DONT_HAVE,
        ExtendedMessage::UploadOnly(_) => UPLOAD_ONLY,
    }
}

proptest! {
    #[test]
    fn messages_survive(message in any_extended()) {
        prop_assert_eq!(decode(number(&message), &message.encode()), Ok(message));
    }

    #[test]
    fn no_bytes_make_it_panic(id in 0_u8..9, payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let _any = decode(id, &payload);
    }

    /// One byte of a good message is changed.
    #[test]
    fn no_damage_makes_it_panic(message in any_extended(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut payload = message.encode().to_vec();
        if !payload.is_empty() {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let _any = decode(number(&message), &payload);
    }
}
