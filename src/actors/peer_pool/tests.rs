//! A pool whose peers are in the test's hands.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::*;
use crate::actors::kit;
use crate::actors::kit::testing::{Diary, with_actors};
use crate::actors::policies;
use crate::codec::extended::PEX;
use crate::codec::wire::Handshake;
use crate::codec::wire::Message;
use crate::net::testing::{Arrived, FakeNet};

const INFO_HASH: InfoHash = InfoHash([1; 20]);
const OUR_ID: PeerId = PeerId([2; 20]);

/// In place of the scheduler, the writer and the torrent.
struct Ear(Diary);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<PeerReport> for Ear {
    type Result = ();

    fn handle(&mut self, PeerReport { peer, word }: PeerReport, _: &mut Context<Self>) {
        match word {
            PeerWord::Joined { addr, .. } => self.0.write(format!("{peer} joins from {addr}")),
            PeerWord::Left => self.0.write(format!("{peer} left")),
            PeerWord::Report(_) => {}
        }
    }
}

impl Handler<ReadRanges> for Ear {
    type Result = Vec<Option<Bytes>>;

    fn handle(&mut self, _: ReadRanges, _: &mut Context<Self>) -> Self::Result {
        Vec::new()
    }
}

impl Handler<PeersNeeded> for Ear {
    type Result = ();

    fn handle(&mut self, PeersNeeded(need): PeersNeeded, _: &mut Context<Self>) {
        self.0.write(format!("need: {need:?}"));
    }
}

impl Handler<Changed> for Ear {
    type Result = ();

    fn handle(&mut self, _: Changed, _: &mut Context<Self>) {}
}

impl Handler<ChildEvent> for Ear {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, _: &mut Context<Self>) {
        if let Lifecycle::Ended { .. } = event.event {
            self.0.write("pool ended");
        }
    }
}

/// A bug.
#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

impl Handler<Panic> for PeerPool {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Ctx<Self>) {
        panic!("a bug");
    }
}

impl Handler<Panic> for PeerConnection {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Ctx<Self>) {
        panic!("a bug");
    }
}

struct Bench {
    diary: Diary,
    pool: SupervisedChild<PeerPool>,
}

impl Bench {
    fn over(net: Net) -> Self {
        let diary = Diary::default();
        let ear = Ear(diary.clone()).start();
        let pool = PeerPool::new(PeerPoolConfig {
            listen_port: None,
            pex: true,
            super_seed: false,
            name: "test".to_owned(),
            net,
            limits: RateLimits::default(),
            info_hash: INFO_HASH,
            our_id: OUR_ID,
            geometry: Geometry::new(1 << 20, 1 << 14).unwrap(),
            book: BookConfig { allow_local: true, ..BookConfig::default() },
            seed: 1,
            scheduler: ear.clone().recipient(),
            disk: ear.clone().recipient(),
            torrent: ear.clone().recipient(),
            stirred: ear.clone().recipient(),
        });
        let pool = kit::spawn(pool, policies::PEER_POOL, 1, ear.recipient());
        Self { diary, pool }
    }

    fn names(&self, addrs: &[&str]) {
        let addrs = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
        self.pool.addr.do_send(PeersFound { addrs, source: PeerSource::Manual });
    }

    async fn passes(&self, secs: u64) -> Vec<String> {
        sleep(Duration::from_secs(secs)).await;
        self.diary.read()
    }

    async fn survey(&self) -> PoolSurvey {
        self.pool.addr.send(SurveyPool).await.unwrap().unwrap()
    }
}

/// The next one who is dialled, after the handshakes.
async fn next(arrives: &mut mpsc::Receiver<Arrived>, id: u8) -> (SocketAddr, DuplexStream) {
    let (addr, mut far) = arrives.recv().await.unwrap();
    let theirs = Handshake { reserved: [0; 8], info_hash: INFO_HASH, peer_id: PeerId([id; 20]) };
    far.write_all(&theirs.encode()).await.unwrap();
    far.read_exact(&mut [0; Handshake::LEN]).await.unwrap();
    (addr, far)
}

/// Restarts of connections so far in this process with this cause; each test has causes of its own.
fn restarts(cause: &str) -> u64 {
    let of_cause = |(kind, found, _): &&(&str, _, u64)| *kind == "PeerConnection" && *found == cause;
    kit::restarts_by_cause().iter().find(of_cause).map_or(0, |(_, _, count)| *count)
}

const ALICE: &str = "192.0.2.1:6881";
const BOB: &str = "192.0.2.2:6882";

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_a_recorded_restart() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net);
        bench.names(&[ALICE]);
        for nth in 0..4 {
            let (addr, far) = next(&mut arrives, 9).await;
            assert_eq!(addr.to_string(), ALICE);
            sleep(Duration::from_secs(1)).await;
            assert_eq!(restarts("closed"), nth, "the first is no restart");
            drop(far);
        }
        let heard = bench.passes(1).await;
        let peers: Vec<_> = heard.iter().filter(|line| line.starts_with('#')).collect();
        let want = ["#0 joins from 192.0.2.1:6881", "#0 left", "#1 joins from 192.0.2.1:6881", "#1 left"];
        assert_eq!(peers[..4], want);
        assert!(bench.survey().await.next_dial.is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dials_that_fail_come_with_a_growing_back_off_and_no_end() {
    with_actors(async {
        let bench = Bench::over(FakeNet::failing(Some(std::io::ErrorKind::HostUnreachable)));
        bench.names(&[ALICE]);
        bench.passes(600).await;
        let early = restarts("unreachable");
        assert!((2..=20).contains(&early), "{early} in ten minutes");
        bench.passes(6000).await;
        assert!(restarts("unreachable") > early, "a peer that a person named is never dropped");
        assert_eq!(bench.survey().await.census.connected, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_banned_liar_is_closed_and_never_dialled_again() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net);
        bench.names(&[ALICE, BOB]);
        let (first, mut far) = next(&mut arrives, 8).await;
        let (_, _second) = next(&mut arrives, 9).await;
        bench.passes(1).await;
        let piece = Geometry::new(1, 1).unwrap().last_piece();
        bench.pool.addr.do_send(Ban { addr: first, piece });
        assert_eq!(far.read(&mut [0; 100]).await.unwrap(), 0, "closed");
        assert!(bench.passes(1).await.iter().any(|line| line.ends_with("left")));
        bench.pool.addr.do_send(PeersFound { addrs: vec![first], source: PeerSource::Manual });
        bench.passes(100).await;
        assert!(arrives.try_recv().is_err());
        let survey = bench.survey().await;
        assert_eq!((survey.census.connected, survey.census.banned, survey.peers.len()), (1, 1, 1));
    })
    .await;
}

/// T-17, P-05.
#[tokio::test(start_paused = true)]
async fn ourselves_and_the_same_peer_twice_are_not_kept() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net);
        bench.names(&[ALICE, BOB]);
        let (_, _first) = next(&mut arrives, 9).await;
        bench.passes(1).await;
        let (_, mut second) = next(&mut arrives, 9).await;
        assert_eq!(second.read(&mut [0; 100]).await.unwrap(), 0);
        bench.names(&["192.0.2.3:1"]);
        let (_, mut mirror) = next(&mut arrives, 2).await;
        assert_eq!(mirror.read(&mut [0; 100]).await.unwrap(), 0);
        bench.passes(100).await;
        assert!(arrives.try_recv().is_err(), "neither is dialled again");
        assert_eq!(bench.survey().await.peers.len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_one_connection_reaches_no_other() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net);
        bench.names(&[ALICE, BOB]);
        let (_, _first) = next(&mut arrives, 8).await;
        let (_, mut second) = next(&mut arrives, 9).await;
        bench.passes(1).await;
        let (tell, told) = tokio::sync::oneshot::channel();
        bench.pool.addr.do_send(PanicFirst(tell));
        told.await.unwrap();
        let heard = bench.passes(5).await;
        assert!(heard.contains(&"#0 left".to_owned()) && !heard.contains(&"#1 left".to_owned()), "{heard:?}");
        let again = next(&mut arrives, 8).await;
        assert_eq!(again.0.to_string(), ALICE);
        assert!(restarts("panicked") > 0);
        assert!(futures_util::FutureExt::now_or_never(second.read_u8()).is_none(), "the other one is still open");
    })
    .await;
}

/// Makes the oldest connection panic.
#[derive(Message)]
#[rtype(result = "()")]
struct PanicFirst(tokio::sync::oneshot::Sender<()>);

impl Handler<PanicFirst> for PeerPool {
    type Result = ();

    fn handle(&mut self, PanicFirst(done): PanicFirst, _: &mut Ctx<Self>) {
        let first = *self.connections.keys().next().unwrap();
        self.tell(first, Panic);
        done.send(()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_book_survives_a_panic_of_the_pool() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net);
        bench.names(&[ALICE, BOB]);
        let (_, mut first) = next(&mut arrives, 8).await;
        let (_, mut second) = next(&mut arrives, 9).await;
        bench.passes(1).await;
        bench.pool.addr.do_send(Panic);
        assert_eq!(
            first.read(&mut [0; 10]).await.unwrap() + second.read(&mut [0; 10]).await.unwrap(),
            0,
            "both closed"
        );
        let (_, _first) = next(&mut arrives, 8).await;
        let (_, _second) = next(&mut arrives, 9).await;
        let heard = bench.passes(5).await;
        let peers: Vec<_> = heard.iter().filter(|line| line.starts_with('#')).collect();
        assert_eq!(peers[..2], ["#0 left", "#1 left"], "{heard:?}");
        assert!(peers[2].starts_with("#2 joins") && peers[3].starts_with("#3 joins"), "{heard:?}");
        assert_eq!(bench.survey().await.census.connected, 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_ends_the_connections_and_then_the_pool() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let mut bench = Bench::over(net);
        bench.names(&[ALICE, BOB]);
        let (_, mut first) = next(&mut arrives, 8).await;
        let (_, _second) = next(&mut arrives, 9).await;
        bench.passes(1).await;
        bench.pool.stop();
        bench.pool.control.ended().await;
        assert_eq!(first.read(&mut [0; 10]).await.unwrap(), 0);
        let mut heard = bench.passes(1).await;
        heard.sort();
        assert_eq!(heard, ["#0 left", "#1 left", "pool ended"]);
        assert!(arrives.try_recv().is_err(), "nobody is dialled any more");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_torrent_hears_how_much_peers_are_needed_when_that_changes() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net);
        assert_eq!(bench.passes(60).await, ["need: Alone"]);
        let addrs: Vec<SocketAddr> = (1..=100).map(|n| SocketAddr::new([192, 0, 2, n].into(), 6881)).collect();
        bench.pool.addr.do_send(PeersFound { addrs, source: PeerSource::Manual });
        let heard = bench.passes(1).await;
        assert!(heard.iter().filter(|line| line.starts_with("need")).count() <= 1, "{heard:?}");
        drop(arrives.try_recv());
    })
    .await;
}

/// P-28: who comes by himself is talked to like anybody else, is counted, and is not dialled when he has gone.
#[tokio::test(start_paused = true)]
async fn a_peer_that_comes_by_itself_is_taken_in_and_never_dialled() {
    with_actors(async {
        let bench = Bench::over(FakeNet::failing(Some(std::io::ErrorKind::ConnectionRefused)));
        let addr = ALICE.parse().unwrap();
        let arrive = |id| {
            let (stream, far) = crate::net::testing::pipe(1000);
            let theirs = Handshake { reserved: [0; 8], info_hash: INFO_HASH, peer_id: PeerId([id; 20]) };
            bench.pool.addr.do_send(PeerArrived { stream, addr, theirs });
            far
        };
        let mut far = arrive(9);
        let mut said = [0; Handshake::LEN];
        far.read_exact(&mut said).await.unwrap();
        let said = Handshake::decode(&said).unwrap().unwrap();
        assert_eq!((said.info_hash, said.peer_id), (INFO_HASH, OUR_ID));
        assert_eq!(bench.passes(1).await, ["need: Alone", "need: Anybody", "#0 joins from 192.0.2.1:6881"]);
        assert_eq!(arrive(8).read(&mut [0]).await.unwrap(), 0, "the same address twice");
        assert_eq!(bench.survey().await.census.inbound, 1);
        drop(far);
        assert_eq!(bench.passes(100).await, ["#0 left", "need: Alone"]);
        let census = bench.survey().await.census;
        assert_eq!((census.inbound, census.connected, census.tried), (0, 0, 0));
        let mut ourselves = arrive(OUR_ID.0[0]);
        timeout(Duration::from_secs(1), ourselves.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    })
    .await;
}

/// BEP 11.
#[tokio::test(start_paused = true)]
async fn whom_a_peer_names_is_dialled() {
    with_actors(async {
        let (net, mut arrives) = FakeNet::connected();
        let bench = Bench::over(net);
        bench.names(&[ALICE]);
        let (addr, mut far) = arrives.recv().await.unwrap();
        assert_eq!(addr.to_string(), ALICE);
        let theirs = Handshake { reserved: Handshake::OURS, info_hash: INFO_HASH, peer_id: PeerId([8; 20]) };
        far.write_all(&theirs.encode()).await.unwrap();
        let mut said = BytesMut::new();
        let payload = Bytes::from_static(b"d5:added6:\xc0\x00\x02\x02\x1a\xe2e");
        Message::Extended { id: PEX, payload }.encode(&mut said);
        far.write_all(&said).await.unwrap();
        assert_eq!(arrives.recv().await.unwrap().0.to_string(), BOB);
    })
    .await;
}
