//! What each behaviour does on the wire, seen by a raw client over loopback.

use super::*;
use crate::base::ids::InfoHash;
use crate::faults::loopback::{ANY_PORT, run};
use crate::net::sockets::Sockets;

const HASH: [u8; 20] = [7; 20];

async fn start(behaviour: &str) -> (FaultyTracker, Rc<dyn DatagramSocket>) {
    let net = Sockets::any();
    let swarms = Swarms::default();
    swarms.add_seed(InfoHash(HASH), "10.0.0.1:258".parse().unwrap());
    let tracker = spawn_udp_tracker(&net, ANY_PORT, &swarms, behaviour.parse().unwrap(), 1).await.unwrap();
    (tracker, net.datagrams(ANY_PORT).await.unwrap())
}

fn connect() -> Vec<u8> {
    [0x0417_2710_1980_u64.to_be_bytes().as_slice(), &[0, 0, 0, 0], b"tid1"].concat()
}

fn announce(connection: &[u8]) -> Vec<u8> {
    let numbers = [0_u64, 5, 0].map(u64::to_be_bytes).concat();
    let tail = [2_u32, 0, 99, 50].map(u32::to_be_bytes).concat();
    [connection, &[0, 0, 0, 1], b"tid2", &HASH, &[8; 20], &numbers, &tail, &[0x1a, 0xe1]].concat()
}

fn scrape(connection: &[u8]) -> Vec<u8> {
    [connection, &[0, 0, 0, 2], b"tid3", &HASH, &[9; 20]].concat()
}

async fn ask(tracker: &FaultyTracker, socket: &Rc<dyn DatagramSocket>, datagram: &[u8]) -> (Vec<u8>, SocketAddr) {
    socket.send_to(datagram, tracker.addr()).await.unwrap();
    let mut buffer = vec![0; 1 << 16];
    let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
    (buffer[..len].to_vec(), from)
}

/// Returns the reply to an announce, after a connect.
async fn announced(behaviour: &str) -> Vec<u8> {
    let (tracker, socket) = start(behaviour).await;
    let (connected, _) = ask(&tracker, &socket, &connect()).await;
    ask(&tracker, &socket, &announce(&connected[8..])).await.0
}

#[test]
fn an_honest_tracker_connects_announces_and_scrapes() {
    run(async {
        let (tracker, socket) = start("").await;
        let (connected, from) = ask(&tracker, &socket, &connect()).await;
        assert_eq!((connected.len(), &connected[..8], from), (16, b"\0\0\0\0tid1".as_slice(), tracker.addr()));
        let (reply, _) = ask(&tracker, &socket, &announce(&connected[8..])).await;
        let numbers = [1800_u32, 1, 1].map(u32::to_be_bytes).concat();
        assert_eq!(reply, [b"\0\0\0\x01tid2", numbers.as_slice(), &[10, 0, 0, 1, 1, 2]].concat());
        let (reply, _) = ask(&tracker, &socket, &scrape(&connected[8..])).await;
        let numbers = [1_u32, 0, 1, 0, 0, 0].map(u32::to_be_bytes).concat();
        assert_eq!(reply, [b"\0\0\0\x02tid3", numbers.as_slice()].concat());
        let (reply, _) = ask(&tracker, &socket, &announce(b"stranger")).await;
        assert_eq!(reply[..8], *b"\0\0\0\x03tid2");
        assert_eq!(tracker.record().announces().count(), 2);
    });
}

#[test]
fn each_reply_word_yields_its_reply() {
    run(async {
        for (behaviour, at, want) in [
            ("interval=0", 8, 0_u32.to_be_bytes()),
            ("interval=-1", 8, u32::MAX.to_be_bytes()),
            ("interval=2147483648", 8, (1_u32 << 31).to_be_bytes()),
            ("interval=missing", 8, [0; 4]),
            ("failure=go\\x1b[", 8, *b"go\x1b["),
            ("failure=go\\x1b[", 0, [0, 0, 0, 3]),
        ] {
            assert_eq!(announced(behaviour).await[at..at + 4], want, "{behaviour}");
        }
        for (behaviour, len) in [
            ("no_peers", 20),
            ("length_lie", 27),
            ("no_peers,dead_peers=200", 20 + 1200),
            ("no_peers,dead_peers=65535", MAX_DATAGRAM_LEN),
        ] {
            assert_eq!(announced(behaviour).await.len(), len, "{behaviour}");
        }
    });
}

#[test]
fn connect_replies_can_be_wrong_too() {
    run(async {
        for (behaviour, want) in [
            ("wrong_tid", [&[0; 4], b"tid1".map(|byte| !byte).as_slice()].concat()),
            ("wrong_action", b"\xff\xff\xff\xfftid1".to_vec()),
            ("truncated=5", b"\0\0\0\0t".to_vec()),
        ] {
            let (tracker, socket) = start(behaviour).await;
            let (reply, _) = ask(&tracker, &socket, &connect()).await;
            assert_eq!(reply[..reply.len().min(8)], want, "{behaviour}");
        }
        let (tracker, socket) = start("other_port").await;
        let (_, from) = ask(&tracker, &socket, &connect()).await;
        assert_ne!(from, tracker.addr());
    });
}

#[test]
fn lost_announces_are_recorded_and_not_answered() {
    run(async {
        let (tracker, socket) = start("lose=2").await;
        let (connected, _) = ask(&tracker, &socket, &connect()).await;
        for _ in 0..2 {
            socket.send_to(&announce(&connected[8..]), tracker.addr()).await.unwrap();
        }
        let (reply, _) = ask(&tracker, &socket, &scrape(&connected[8..])).await;
        assert_eq!(&reply[4..8], b"tid3");
        let (reply, _) = ask(&tracker, &socket, &announce(&connected[8..])).await;
        assert_eq!(&reply[4..8], b"tid2");
        assert_eq!(tracker.record().announces().count(), 3);
    });
}

#[test]
fn a_hanging_tracker_records_and_sends_nothing() {
    run(async {
        let (tracker, socket) = start("hang").await;
        socket.send_to(&connect(), tracker.addr()).await.unwrap();
        socket.send_to(b"nonsense", tracker.addr()).await.unwrap();
        let record = tracker.watch().wait_for(|record| record.requests == 2).await.unwrap().clone();
        assert_eq!((record.heard[0].asked.clone(), record.heard[1].asked.clone()), (Asked::Connect, Asked::Nonsense));
        assert_eq!(record.bytes, 0);
    });
}

#[test]
fn words_of_the_other_transport_are_refused() {
    run(async {
        let swarms = Swarms::default();
        assert!(spawn_udp_tracker(&Sockets::any(), ANY_PORT, &swarms, "html".parse().unwrap(), 1).await.is_err());
    });
}
