//! What each behaviour does on the wire, seen by a raw client over loopback.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;
use crate::faults::loopback::{ANY_PORT, run};
use crate::faults::payload::Payload;
use crate::faults::torrent::{MadeTorrent, Recipe};
use crate::net::BoxStream;
use crate::net::sockets::Sockets;

/// Two pieces and a bit; the last block is 10 bytes, the bitfield has five spare bits.
const LEN: u64 = 2 * 32768 + 16384 + 10;

fn torrent() -> MadeTorrent {
    Recipe::single("x", 32768, &[]).make(Payload::new(1, LEN)).unwrap()
}

async fn peer_like(behaviour: &str) -> FaultyPeer {
    spawn_peer(&Sockets::any(), ANY_PORT, torrent().offer, behaviour.parse().unwrap(), 1).await.unwrap()
}

fn hello() -> [u8; 68] {
    let mut bytes = [b'c'; 68];
    bytes[..20].copy_from_slice(b"\x13BitTorrent protocol");
    bytes[20..28].fill(0);
    bytes[28..48].copy_from_slice(torrent().offer.info_hash.as_bytes());
    bytes
}

/// Connects and sends a handshake.
async fn call(peer: &FaultyPeer) -> BoxStream {
    let mut stream = Sockets::any().connect(peer.addr()).await.unwrap();
    stream.write_all(&hello()).await.unwrap();
    stream
}

/// Connects, sends a handshake and reads the answer.
async fn meet(peer: &FaultyPeer) -> (BoxStream, [u8; 68]) {
    let mut stream = call(peer).await;
    let mut theirs = [0; 68];
    stream.read_exact(&mut theirs).await.unwrap();
    (stream, theirs)
}

async fn take(stream: &mut BoxStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// Closes the sending side and returns what the peer still sends.
async fn rest(mut stream: BoxStream) -> Vec<u8> {
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

fn request(piece: u32, begin: u32, len: u32) -> Vec<u8> {
    [vec![0, 0, 0, 13, 6], [piece, begin, len].map(u32::to_be_bytes).concat()].concat()
}

fn block(piece: u32, begin: u32, len: u32) -> Vec<u8> {
    let head = [(len + 9).to_be_bytes().as_slice(), &[7], &piece.to_be_bytes(), &begin.to_be_bytes()].concat();
    let start = u64::from(piece) * 32768 + u64::from(begin);
    [head, Payload::new(1, LEN).read(start, len as usize)].concat()
}

const INTERESTED: &[u8] = &[0, 0, 0, 1, 2];
const UNCHOKE: &[u8] = &[0, 0, 0, 1, 1];
const CHOKE: &[u8] = &[0, 0, 0, 1, 0];
const BITFIELD: &[u8] = &[0, 0, 0, 2, 5, 0b1110_0000];

#[test]
fn an_honest_seed_gives_every_byte() {
    run(async {
        let peer = peer_like("").await;
        let (mut stream, theirs) = meet(&peer).await;
        assert_eq!(theirs[..48], hello()[..48]);
        assert_eq!(&theirs[48..56], b"-FT0100-");
        assert_eq!(take(&mut stream, BITFIELD.len()).await, BITFIELD);
        stream.write_all(INTERESTED).await.unwrap();
        assert_eq!(take(&mut stream, UNCHOKE.len()).await, UNCHOKE);
        let blocks = [(0, 0, 16384), (0, 16384, 16384), (1, 0, 32768), (2, 0, 16384), (2, 16384, 10)];
        let asked: Vec<u8> = blocks.iter().flat_map(|b| request(b.0, b.1, b.2)).collect();
        stream.write_all(&asked).await.unwrap();
        let want: Vec<u8> = blocks.iter().flat_map(|b| block(b.0, b.1, b.2)).collect();
        assert!(take(&mut stream, want.len()).await == want);
        let stats = peer.stats();
        assert_eq!((stats.connections, stats.handshakes, stats.requests, stats.blocks), (1, 1, 5, 5));
        assert_eq!((stats.lies, stats.resets, stats.closes), (0, 0, 0));
        assert_eq!(stats.bytes, (68 + BITFIELD.len() + UNCHOKE.len() + want.len()) as u64);
    });
}

#[test]
fn each_opening_word_yields_its_opening() {
    let haves: Vec<u8> = (0..3).flat_map(|piece| [0, 0, 0, 5, 4, 0, 0, 0, piece]).collect();
    let late = [&haves[..9], BITFIELD].concat();
    let unknown = b"\0\0\0\x0b\x15unheard of\0\0\0\x0b\x63unheard of";
    let table: [(&str, Vec<u8>); 17] = [
        ("", BITFIELD.to_vec()),
        ("no_bitfield", vec![]),
        ("have_only", haves),
        ("have_all", vec![0, 0, 0, 1, 14]),
        ("bad_bitfield", vec![0, 0, 0, 3, 5, 0b1110_0000, 0]),
        ("short_bitfield", vec![0, 0, 0, 1, 5]),
        ("twice_bitfield", BITFIELD.repeat(2)),
        ("late_bitfield", late),
        ("bitfield_after_have_all", [&[0, 0, 0, 1, 14], BITFIELD].concat()),
        ("spare_bits", vec![0, 0, 0, 2, 5, 0b1110_0001]),
        ("partial=0", vec![0, 0, 0, 2, 5, 0]),
        ("partial=0,lie_have", BITFIELD.to_vec()),
        ("bad_have", [BITFIELD, &[0, 0, 0, 5, 4, 0, 0, 0, 3]].concat()),
        ("bad_suggest", [BITFIELD, &[0, 0, 0, 5, 13, 0, 0, 0, 3]].concat()),
        ("bad_allowed_fast", [BITFIELD, &[0, 0, 0, 5, 17, 0, 0, 0, 3]].concat()),
        ("choke_first", [BITFIELD, CHOKE].concat()),
        ("unknown_ids=21+99", [BITFIELD, unknown].concat()),
    ];
    run(async {
        for (behaviour, opening) in table {
            let peer = peer_like(behaviour).await;
            let (mut stream, _) = meet(&peer).await;
            stream.write_all(INTERESTED).await.unwrap();
            assert_eq!(rest(stream).await, [&opening, UNCHOKE].concat(), "{behaviour}");
        }
    });
}

#[test]
fn each_handshake_word_yields_its_handshake() {
    run(async {
        let mut other_hash = hello();
        other_hash[28..48].iter_mut().for_each(|byte| *byte = !*byte);
        let peer = peer_like("wrong_hash").await;
        let (_, theirs) = meet(&peer).await;
        assert_eq!(theirs[28..48], other_hash[28..48]);
        let peer = peer_like("wrong_protocol").await;
        let (_, theirs) = meet(&peer).await;
        assert_ne!(theirs[..20], hello()[..20]);
        let peer = peer_like("own_id").await;
        let (_, theirs) = meet(&peer).await;
        assert_eq!(theirs[48..], hello()[48..]);
        let peer = peer_like("id=MG-3.01").await;
        let (_, theirs) = meet(&peer).await;
        assert_eq!(&theirs[48..55], b"MG-3.01");
        let peer = peer_like("slow_handshake=1ms").await;
        let (_, theirs) = meet(&peer).await;
        assert_eq!(theirs[..20], hello()[..20]);
        let peer = peer_like("").await;
        let mut stream = Sockets::any().connect(peer.addr()).await.unwrap();
        stream.write_all(&other_hash).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(peer.stats().handshakes, 0);
    });
}

#[test]
fn resets_come_at_their_byte_and_are_resets() {
    run(async {
        for after in [1, 5, 17, 777, 20_000, 60_000] {
            let peer = peer_like(&format!("reset_every={after}")).await;
            for round in 1..=2 {
                let (mut stream, _) = meet(&peer).await;
                stream.write_all(INTERESTED).await.unwrap();
                let asked: Vec<u8> = [request(0, 0, 32768), request(1, 0, 32768)].concat();
                // A reset may already be on its way.
                drop(stream.write_all(&asked).await);
                let mut bytes = Vec::new();
                let end = stream.read_to_end(&mut bytes).await.unwrap_err();
                assert_eq!((end.kind(), bytes.len()), (io::ErrorKind::ConnectionReset, after), "{after}");
                assert_eq!(peer.watch().wait_for(|stats| stats.resets >= round).await.unwrap().resets, round);
            }
        }
        let peer = peer_like("reset_on_handshake").await;
        let (mut stream, _) = meet(&peer).await;
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn an_orderly_end_comes_at_its_byte() {
    run(async {
        let peer = peer_like("close_after=40").await;
        let (mut stream, _) = meet(&peer).await;
        stream.write_all(&[INTERESTED, &request(0, 0, 16384)].concat()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, [BITFIELD, UNCHOKE, &block(0, 0, 16384)].concat()[..40]);
        drop(stream);
        peer.watch().wait_for(|stats| stats.closes == 1).await.unwrap();
    });
}

#[test]
fn a_silent_peer_and_a_choking_peer_never_answer() {
    run(async {
        let asked = [INTERESTED, &request(0, 0, 16384)].concat();
        let table = [
            ("silent", vec![]),
            ("never_unchoke", BITFIELD.to_vec()),
            ("choke_forever", [BITFIELD, CHOKE].concat()),
            ("snub_after=0", [BITFIELD, UNCHOKE].concat()),
            ("snub_after=1", [BITFIELD, UNCHOKE, &block(0, 0, 16384)].concat()),
        ];
        for (behaviour, want) in table {
            let peer = peer_like(behaviour).await;
            let mut stream = call(&peer).await;
            stream.write_all(&[asked.clone(), request(1, 0, 16384)].concat()).await.unwrap();
            let heard = rest(stream).await;
            assert!(heard.get(68..).unwrap_or_default() == want, "{behaviour}");
            assert_eq!(peer.watch().wait_for(|stats| stats.lost == 1).await.unwrap().connections, 1);
        }
    });
}

#[test]
fn flapping_unchokes_and_chokes_in_turn() {
    run(async {
        let peer = peer_like("flap=1000").await;
        let (mut stream, _) = meet(&peer).await;
        assert_eq!(take(&mut stream, BITFIELD.len() + 20).await, [BITFIELD, UNCHOKE, CHOKE, UNCHOKE, CHOKE].concat());
    });
}

#[test]
fn a_huge_message_is_sent_as_long_as_it_is_read() {
    run(async {
        let peer = peer_like("huge_length=4G").await;
        let (mut stream, _) = meet(&peer).await;
        assert_eq!(take(&mut stream, 6 + 5).await[6..], [0xff, 0xff, 0xff, 0xff, 7]);
        for _ in 0..100 {
            assert!(take(&mut stream, 10_000).await.iter().all(|byte| *byte == 0));
        }
        let peer = peer_like("huge_length=100000").await;
        let (stream, _) = meet(&peer).await;
        assert_eq!(rest(stream).await.len(), 6 + 4 + 100_000);
    });
}

#[test]
fn floods_have_the_size_that_was_asked_for() {
    run(async {
        let peer = peer_like("request_flood=2500,request_len=2G").await;
        let (mut stream, _) = meet(&peer).await;
        let flood = take(&mut stream, 6 + 5 + 2500 * 17).await;
        assert_eq!(flood[6..11], *INTERESTED);
        assert_eq!(flood[11 + 17..11 + 34], request(1, 0, 1 << 31));
        let peer = peer_like("unrequested=3,duplicate=1").await;
        let (mut stream, _) = meet(&peer).await;
        stream.write_all(INTERESTED).await.unwrap();
        let blocks = [block(0, 0, 16384), block(0, 16384, 16384), block(1, 0, 16384)];
        let want = [BITFIELD.to_vec(), UNCHOKE.to_vec(), blocks.map(|block| block.repeat(2)).concat()].concat();
        assert!(rest(stream).await == want);
    });
}

#[test]
fn a_liar_rejects_what_it_said_to_have() {
    run(async {
        let peer = peer_like("partial=0,lie_have").await;
        let (mut stream, _) = meet(&peer).await;
        stream.write_all(&[INTERESTED, &request(2, 0, 16384)].concat()).await.unwrap();
        let mut reject = request(2, 0, 16384);
        reject[4] = 16;
        assert_eq!(rest(stream).await, [BITFIELD, UNCHOKE, &reject].concat());
        assert_eq!(peer.stats().lies, 1);
    });
}

#[test]
fn an_invalid_message_ends_only_its_connection() {
    run(async {
        let peer = peer_like("").await;
        let nonsense =
            [request(3, 0, 16384), request(2, 16384, 11), request(0, 0, 0), vec![0xff; 5], vec![0, 0, 0, 2, 6]];
        for (nth, bytes) in (1..).zip(nonsense) {
            let (mut stream, _) = meet(&peer).await;
            stream.write_all(&[INTERESTED, &bytes].concat()).await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();
            peer.watch().wait_for(|stats| stats.lost == nth).await.unwrap();
        }
        meet(&peer).await;
    });
}

#[test]
fn a_rate_limits_all_connections_together() {
    run(async {
        let peer = peer_like("max_rate=1M,slice=1000").await;
        let start = Instant::now();
        let fetch = async || {
            let (mut stream, _) = meet(&peer).await;
            stream.write_all(&[INTERESTED, &request(0, 0, 32768)].concat()).await.unwrap();
            rest(stream).await
        };
        let (one, two) = tokio::join!(fetch(), fetch());
        assert!(one == two && one == [BITFIELD, UNCHOKE, &block(0, 0, 32768)].concat());
        assert!(start.elapsed() >= Duration::from_millis(60), "64 KiB at 1 MiB/s took {:?}", start.elapsed());
    });
}

#[test]
fn the_same_seed_tells_the_same_lies() {
    run(async {
        let mut heard = Vec::new();
        for _ in 0..2 {
            let peer = peer_like("corrupt=0.5,partial=0.5,have_all").await;
            let (mut stream, theirs) = meet(&peer).await;
            let asked: Vec<u8> = (0..5).flat_map(|nth| request(nth / 2, nth % 2 * 16384, 10)).collect();
            stream.write_all(&[INTERESTED, &asked].concat()).await.unwrap();
            heard.push((theirs, rest(stream).await));
        }
        assert_eq!(heard[0], heard[1]);
    });
}

#[test]
fn a_stopped_peer_is_gone() {
    run(async {
        let peer = peer_like("").await;
        let (mut stream, _) = meet(&peer).await;
        let at = peer.addr();
        peer.stop().await;
        assert_eq!(Sockets::any().connect(at).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let mut bytes = Vec::new();
        drop(stream.read_to_end(&mut bytes).await);
    });
}
