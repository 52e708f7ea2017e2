//! A relay between an echo server and a caller, on real sockets.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::*;
use crate::faults::loopback::{ANY_PORT, run};
use crate::net::sockets::Sockets;
use crate::net::{BoxStream, Net};

/// 50 ms: twenty times the round trip on loopback. Silence can only be seen by waiting.
const SILENCE: Duration = Duration::from_millis(50);

/// Starts a server that sends back what it receives. Returns its address.
async fn echo(net: &Net) -> SocketAddr {
    let listener = net.listen(ANY_PORT).await.unwrap();
    let addr = listener.local_addr().unwrap();
    spawn_local(async move {
        loop {
            let (stream, _from) = listener.accept().await.unwrap();
            let (mut read, mut write) = tokio::io::split(stream);
            spawn_local(async move {
                drop(tokio::io::copy(&mut read, &mut write).await);
                drop(write.shutdown().await);
            });
        }
    });
    addr
}

async fn relayed(toxics: &str) -> (Relay, BoxStream) {
    let net = Sockets::any();
    let to = echo(&net).await;
    let relay = spawn_tcp_relay(&net, ANY_PORT, to, toxics.parse().unwrap(), 1).await.unwrap();
    let stream = net.connect(relay.addr()).await.unwrap();
    (relay, stream)
}

async fn round(stream: &mut BoxStream, len: usize) -> std::io::Result<()> {
    let sent: Vec<u8> = (0..len).map(|nth| u8::try_from(nth % 251).unwrap()).collect();
    let mut got = vec![0; len];
    let (mut read, mut write) = tokio::io::split(stream);
    let (written, back) = tokio::join!(write.write_all(&sent), read.read_exact(&mut got));
    written?;
    back?;
    assert_eq!(sent, got);
    Ok(())
}

#[test]
fn without_toxics_every_byte_and_the_end_pass() {
    run(async {
        for toxics in ["", "latency=5ms,latency:jitter=5ms", "slicer:avg=64,slicer:variation=63", "bandwidth=10M"] {
            let (relay, mut stream) = relayed(toxics).await;
            round(&mut stream, 200_000).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof, "{toxics}");
            assert_eq!((relay.stats.borrow().up, relay.stats.borrow().down), (200_000, 200_000), "{toxics}");
        }
    });
}

#[test]
fn a_stall_delays_everything_and_loses_nothing() {
    run(async {
        let (relay, mut stream) = relayed("stall").await;
        stream.write_all(b"hello").await.unwrap();
        assert!(timeout(SILENCE, stream.read_u8()).await.is_err());
        relay.set(Toxics::default());
        let mut got = [0; 5];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");
    });
}

#[test]
fn a_toxic_of_one_direction_spares_the_other() {
    run(async {
        let (relay, mut stream) = relayed("stall,stream=downstream").await;
        stream.write_all(b"hello").await.unwrap();
        relay.watch().wait_for(|stats| stats.up == 5).await.unwrap();
        assert!(timeout(SILENCE, stream.read_u8()).await.is_err());
        assert_eq!(relay.stats.borrow().down, 0);
    });
}

#[test]
fn a_timeout_throws_away_and_a_limit_cuts() {
    run(async {
        let (relay, mut stream) = relayed("timeout=0ms").await;
        stream.write_all(b"hello").await.unwrap();
        relay.watch().wait_for(|stats| stats.lost == 5).await.unwrap();
        let (relay, mut stream) = relayed("limit_data=1000,stream=downstream").await;
        assert!(round(&mut stream, 2000).await.is_err());
        relay.watch().wait_for(|stats| (stats.down, stats.cut) == (1000, 1)).await.unwrap();
    });
}

#[test]
fn a_reset_toxic_also_resets_open_connections() {
    run(async {
        let (relay, mut stream) = relayed("").await;
        round(&mut stream, 10).await.unwrap();
        relay.set("reset_peer=1ms".parse().unwrap());
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn datagrams_pass_both_ways_or_are_lost() {
    run(async {
        let net = Sockets::any();
        let far = net.datagrams(ANY_PORT).await.unwrap();
        let relay = spawn_udp_relay(&net, ANY_PORT, far.local_addr().unwrap(), "latency=1ms".parse().unwrap(), 1)
            .await
            .unwrap();
        let near = net.datagrams(ANY_PORT).await.unwrap();
        near.send_to(b"there", relay.addr()).await.unwrap();
        let mut buffer = [0; 100];
        let (len, from) = far.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..len], b"there");
        far.send_to(b"back", from).await.unwrap();
        let (len, from) = near.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..len], from), (&b"back"[..], relay.addr()));
        relay.set("stall".parse().unwrap());
        near.send_to(b"gone", relay.addr()).await.unwrap();
        relay.watch().wait_for(|stats| stats.lost == 4).await.unwrap();
        let sliced = spawn_udp_relay(&net, ANY_PORT, relay.addr(), "slicer:avg=1".parse().unwrap(), 1).await;
        assert!(sliced.is_err());
    });
}
