use super::*;
use crate::base::ids::{InfoHash, PeerId};
use proptest::prelude::*;

const PIECES: u32 = 1000;

fn decode_all(decoder: &mut Decoder, buffer: &mut BytesMut) -> Result<Vec<Message>, BadMessage> {
    let mut messages = Vec::new();
    while let Some(message) = decoder.decode(buffer)? {
        messages.push(message);
    }
    Ok(messages)
}

fn decode_one(bytes: &[u8]) -> Result<Option<Message>, BadMessage> {
    Decoder::new(PIECES).decode(&mut BytesMut::from(bytes))
}

fn handshake() -> Handshake {
    Handshake {
        reserved: [0, 0, 0, 0, 0, 0x10, 0, 0x05],
        info_hash: InfoHash([7; 20]),
        peer_id: PeerId(*b"-TA0100-abcdefghijkl"),
    }
}

#[test]
fn a_handshake_is_laid_out_as_bep_3_says() {
    let bytes = handshake().encode();
    assert_eq!(&bytes[..20], b"\x13BitTorrent protocol");
    assert_eq!(&bytes[20..28], [0, 0, 0, 0, 0, 0x10, 0, 5]);
    assert_eq!(&bytes[28..48], [7; 20]);
    assert_eq!(&bytes[48..], b"-TA0100-abcdefghijkl");
}

/// P-04.
#[test]
fn a_handshake_is_refused_at_its_first_wrong_byte() {
    let good = handshake().encode();
    for len in 0..68 {
        assert_eq!(Handshake::decode(&good[..len]), Ok(None), "{len}");
    }
    assert_eq!(Handshake::decode(&[&good[..], b"more"].concat()), Ok(Some(handshake())));
    for at in 0..20 {
        let mut bad = good;
        bad[at] ^= 0x20;
        assert_eq!(Handshake::decode(&bad[..=at]), Err(BadHandshake), "{at}");
        assert_eq!(Handshake::decode(&bad), Err(BadHandshake), "{at}");
    }
    assert_eq!(Handshake::decode(b"GET / HTTP/1.1\r\n"), Err(BadHandshake));
}

/// W-09.
#[test]
fn reserved_bits_have_names() {
    assert_eq!(features(&handshake().reserved), ["extension protocol", "DHT", "Fast"]);
    assert_eq!(features(&[0; 8]), [""; 0]);
    assert_eq!(features(&[0xff; 8]).len(), 9);
}

/// P-07, P-09, P-10: every type with every length that matters; five bytes are enough for the decoder to decide.
#[test]
fn lengths_are_judged_by_type_before_anything_is_buffered() {
    let bits = PIECES.div_ceil(8);
    let fixed = [(0, 0), (1, 0), (2, 0), (3, 0), (4, 4), (5, bits), (6, 12), (8, 12), (9, 2), (13, 4), (14, 0)];
    let more = [(15, 0), (16, 12), (17, 4)];
    for (id, want) in fixed.into_iter().chain(more) {
        for len in [0, 1, 2, 3, 4, 5, 11, 12, 13, bits - 1, bits, bits + 1, 1 << 19] {
            let mut head = BytesMut::new();
            put_head(&mut head, id, len);
            let refused = decode_one(&head) == Err(BadMessage::Length { id, len });
            assert_eq!(refused, len != want, "type {id} with {len} bytes");
        }
    }
    let ranges = [(7, 8, 8 + MAX_REQUEST_LEN), (20, 1, MAX_EXTENDED_LEN), (10, 0, MAX_FRAME_LEN - 1)];
    for (id, least, most) in ranges {
        for len in [0, 1, 7, 8, 9, 1000, most - 1, most, most + 1] {
            let mut head = BytesMut::new();
            put_head(&mut head, id, len);
            let is_good = (least..=most).contains(&len);
            assert_eq!(decode_one(&head).is_ok(), is_good, "type {id} with {len} bytes");
        }
    }
    for len in [MAX_FRAME_LEN + 1, 0x7fff_ffff, u32::MAX] {
        assert_eq!(decode_one(&len.to_be_bytes()), Err(BadMessage::TooLong { len }));
    }
}

/// P-19.
#[test]
fn pieces_beyond_the_end_are_refused() {
    for (id, message) in [
        (HAVE, Message::Have(PIECES)),
        (SUGGEST, Message::Suggest(PIECES)),
        (ALLOWED_FAST, Message::AllowedFast(PIECES)),
    ] {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        assert_eq!(decode_one(&bytes), Err(BadMessage::NoSuchPiece { id, piece: PIECES, pieces: PIECES }));
    }
}

/// BEP 9: peers may say what they have before the metadata came.
#[test]
fn without_content_any_bitfield_is_taken_up_to_its_limit() {
    let bitfield = |len: u32| {
        let mut bytes = BytesMut::new();
        Message::Bitfield(vec![0; len as usize].into()).encode(&mut bytes);
        bytes
    };
    let mut decoder = Decoder::without_content();
    for len in [0, 1, 777, MAX_BITFIELD_LEN] {
        assert!(
            matches!(decoder.decode(&mut bitfield(len)), Ok(Some(Message::Bitfield(bits))) if bits.len() == len as usize)
        );
    }
    let len = MAX_BITFIELD_LEN + 1;
    assert_eq!(Decoder::without_content().decode(&mut bitfield(len)), Err(BadMessage::Length { id: BITFIELD, len }));
    let have = |piece| {
        let mut bytes = BytesMut::new();
        Message::Have(piece).encode(&mut bytes);
        bytes
    };
    assert_eq!(decoder.decode(&mut have(MAX_PIECES - 1)), Ok(Some(Message::Have(MAX_PIECES - 1))));
    let refused = BadMessage::NoSuchPiece { id: HAVE, piece: MAX_PIECES, pieces: MAX_PIECES };
    assert_eq!(Decoder::without_content().decode(&mut have(MAX_PIECES)), Err(refused));
    decoder.set_pieces(PIECES);
    assert_eq!(
        decoder.decode(&mut have(PIECES)),
        Err(BadMessage::NoSuchPiece { id: HAVE, piece: PIECES, pieces: PIECES })
    );
    assert!(decoder.decode(&mut bitfield(777)).is_err());
}

/// P-10, W-04: messages that `BBtor`, `BitWombat` and others send are skipped, and the next message is read.
#[test]
fn unknown_messages_stream_by_without_being_buffered() {
    let mut decoder = Decoder::new(PIECES);
    let mut buffer = BytesMut::new();
    put_head(&mut buffer, 21, 1_000_000);
    for _ in 0..999 {
        buffer.extend_from_slice(&[0xaa; 1000]);
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
        assert!(buffer.is_empty());
    }
    assert_eq!(decoder.need(), 1000);
    buffer.extend_from_slice(&[0xaa; 1000]);
    Message::Unchoke.encode(&mut buffer);
    let got = decode_all(&mut decoder, &mut buffer);
    assert_eq!(got, Ok(vec![Message::Unknown { id: 21, len: 1_000_000 }, Message::Unchoke]));
}

#[test]
fn block_data_is_a_slice_of_the_buffer() {
    let mut buffer = BytesMut::new();
    Message::Piece { piece: 1, begin: 2, data: Bytes::from(vec![9; 16384]) }.encode(&mut buffer);
    let start = buffer.as_ptr();
    let Ok(Some(Message::Piece { data, .. })) = Decoder::new(PIECES).decode(&mut buffer) else { panic!("no piece") };
    assert_eq!(data.as_ptr(), start.wrapping_add(13));
}

#[test]
fn the_header_of_a_piece_is_the_beginning_of_the_message() {
    let mut whole = BytesMut::new();
    Message::Piece { piece: 5, begin: 16384, data: Bytes::from_static(b"data") }.encode(&mut whole);
    assert_eq!(&whole[..], [&encode_piece_header(5, 16384, 4)[..], b"data"].concat());
    assert_eq!(&whole[..], b"\0\0\0\x0d\x07\0\0\0\x05\0\0\x40\0data");
}

fn any_message() -> impl Strategy<Value = Message> {
    let raw = || any::<(u32, u32, u32)>().prop_map(|(piece, begin, len)| RawRequest { piece, begin, len });
    let data = |least| prop::collection::vec(any::<u8>(), least..50).prop_map(Bytes::from);
    let unknown =
        any::<u8>().prop_filter("known", |id| matches!(Decoder::new(PIECES).judge(*id, 0), Ok(Judgement::Unknown)));
    prop_oneof![
        Just(Message::KeepAlive),
        Just(Message::Choke),
        Just(Message::Unchoke),
        Just(Message::Interested),
        Just(Message::NotInterested),
        (0..PIECES).prop_map(Message::Have),
        prop::collection::vec(any::<u8>(), 125).prop_map(|bits| Message::Bitfield(bits.into())),
        raw().prop_map(Message::Request),
        (any::<(u32, u32)>(), data(0)).prop_map(|((piece, begin), data)| Message::Piece { piece, begin, data }),
        raw().prop_map(Message::Cancel),
        any::<u16>().prop_map(Message::Port),
        (0..PIECES).prop_map(Message::Suggest),
        Just(Message::HaveAll),
        Just(Message::HaveNone),
        raw().prop_map(Message::Reject),
        (0..PIECES).prop_map(Message::AllowedFast),
        (any::<u8>(), data(0)).prop_map(|(id, payload)| Message::Extended { id, payload }),
        (unknown, 0_u32..50).prop_map(|(id, len)| Message::Unknown { id, len }),
    ]
}

proptest! {
    #[test]
    fn a_handshake_survives(reserved: [u8; 8], hash: [u8; 20], id: [u8; 20]) {
        let handshake = Handshake { reserved, info_hash: InfoHash(hash), peer_id: PeerId(id) };
        prop_assert_eq!(Handshake::decode(&handshake.encode()), Ok(Some(handshake)));
    }

    /// P-27, W-25: the same messages are decoded, no bytes are left, and `need` never asks for more than the rest of
    /// the stream.
    #[test]
    fn a_stream_may_be_cut_anywhere(
        messages in prop::collection::vec(any_message(), 0..20),
        cuts in prop::collection::vec(1_usize..40, 1..200),
    ) {
        let mut stream = BytesMut::new();
        for message in &messages {
            message.encode(&mut stream);
        }
        let mut decoder = Decoder::new(PIECES);
        let (mut buffer, mut got) = (BytesMut::new(), Vec::new());
        let mut cuts = cuts.into_iter().cycle();
        while !stream.is_empty() {
            let cut = cuts.next().unwrap().min(stream.len());
            buffer.extend_from_slice(&stream.split_to(cut));
            got.extend(decode_all(&mut decoder, &mut buffer).unwrap());
            prop_assert!(decoder.need() > 0);
            prop_assert!(stream.is_empty() || decoder.need() <= stream.len());
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(got, messages);
    }

    #[test]
    fn no_bytes_make_it_panic(chunks in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0), 0_u8..24, any::<u8>()], 0..60), 0..10)) {
        let mut decoder = Decoder::new(PIECES);
        let mut buffer = BytesMut::new();
        for chunk in &chunks {
            buffer.extend_from_slice(chunk);
            if decode_all(&mut decoder, &mut buffer).is_err() {
                break;
            }
        }
        let _any = Handshake::decode(&chunks.concat());
    }
}
