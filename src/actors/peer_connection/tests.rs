//! A connection whose far end the test holds, with test actors in place of pool, scheduler and writer.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::sleep;

use bytes::Bytes;

use super::*;
use crate::actors::kit::testing::{Diary, with_actors};
use crate::actors::kit::{self, ChildEvent, Lifecycle, SupervisedChild};
use crate::base::safe::Safe;
use crate::codec::wire::{Decoder, Message as Wire, RawRequest};
use crate::logic::peer::protocol::PeerView;
use crate::net::testing::FakeNet;

const INFO_HASH: InfoHash = InfoHash([1; 20]);
const OUR_ID: PeerId = PeerId([2; 20]);
const THEIR_ID: PeerId = PeerId([3; 20]);

/// Eight pieces of one block.
fn geometry() -> Geometry {
    Geometry::new(8 * 16 * 1024, 16 * 1024).unwrap()
}

fn block(piece: u32) -> BlockAddr {
    geometry().block(geometry().piece(piece).unwrap(), 0).unwrap()
}

/// In place of the other actors.
struct Ear(Diary);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<PeerNews> for Ear {
    type Result = ();

    fn handle(&mut self, PeerNews { news, .. }: PeerNews, _: &mut Context<Self>) {
        self.0.write(match news {
            PeerEvent::Connected => "connected".to_owned(),
            PeerEvent::Handshaken(id) => format!("handshaken: {}", id == THEIR_ID),
            PeerEvent::Delivered => "delivered".to_owned(),
            PeerEvent::Served => "served".to_owned(),
            PeerEvent::Named(addrs) => format!("names {}", addrs.len()),
            PeerEvent::Introduced(theirs) => format!("says {}", Safe::new(&theirs.client.unwrap_or_default())),
            PeerEvent::Interested(interested) => format!("wants: {interested}"),
            PeerEvent::View(PeerView { outstanding: 0, .. }) => return,
            PeerEvent::View(view) => format!("{} outstanding", view.outstanding),
            PeerEvent::Ready => "ready".to_owned(),
            PeerEvent::Has(pieces) => format!("has {}", pieces.len()),
            PeerEvent::Left(farewell) => format!("left: {farewell}"),
        });
    }
}

impl Handler<PeerReport> for Ear {
    type Result = ();

    fn handle(&mut self, PeerReport { word, .. }: PeerReport, _: &mut Context<Self>) {
        self.0.write(match word {
            PeerWord::Joined { .. } => "joined".to_owned(),
            PeerWord::Left => "gone".to_owned(),
            PeerWord::Report(SchedulerNotice::Depth(depth)) => format!("depth: {}", depth > 0),
            PeerWord::Report(SchedulerNotice::Blocks(blocks)) => format!("{} blocks", blocks.len()),
            PeerWord::Report(SchedulerNotice::Bitfield(set)) => format!("has {}", set.ones()),
            PeerWord::Report(SchedulerNotice::Have(pieces)) => format!("got {}", pieces.len()),
            PeerWord::Report(SchedulerNotice::Lost(piece)) => format!("lost {piece}"),
            PeerWord::Report(SchedulerNotice::Within(pieces)) => {
                format!("within {}", pieces.map_or(0, |pieces| pieces.len()))
            }
            PeerWord::Report(SchedulerNotice::Returned(blocks)) => format!("{} returned", blocks.len()),
        });
    }
}

/// Piece 0 can be read, others cannot.
impl Handler<ReadRanges> for Ear {
    type Result = Vec<Option<Bytes>>;

    fn handle(&mut self, ReadRanges(ranges): ReadRanges, _: &mut Context<Self>) -> Self::Result {
        let bytes = |range: &PieceRange| (range.piece().get() == 0).then(|| vec![7; range.len() as usize].into());
        ranges.iter().map(bytes).collect()
    }
}

impl Handler<ChildEvent> for Ear {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, _: &mut Context<Self>) {
        if let Lifecycle::Ended { .. } = event.event {
            self.0.write("ended");
        }
    }
}

struct Bench {
    diary: Diary,
    far: Option<DuplexStream>,
    connection: SupervisedChild<PeerConnection>,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Bench {
    /// A dialled connection whose handshake has been sent.
    async fn start() -> Self {
        let (net, mut arrives) = FakeNet::connected();
        let mut bench = Self::over(net);
        bench.far = Some(arrives.recv().await.unwrap().1);
        let mut ours = [0; Handshake::LEN];
        bench.far().read_exact(&mut ours).await.unwrap();
        let want = Handshake { reserved: Handshake::OURS, ..handshake(INFO_HASH, OUR_ID) };
        assert_eq!(Handshake::decode(&ours), Ok(Some(want)));
        bench
    }

    fn over(net: Net) -> Self {
        let diary = Diary::default();
        let ear = Ear(diary.clone()).start();
        let connection = PeerConnection::new(PeerConfig {
            key: PeerKey(1),
            addr: "192.0.2.1:6881".parse().unwrap(),
            connect_timeout: Duration::from_secs(15),
            shared: Rc::new(SharedConfig {
                net,
                staging: Staging::default(),
                limits: RateLimits::default(),
                given: UploadCounts::default(),
                ledger: GrantCounts::default(),
                info_hash: INFO_HASH,
                our_id: OUR_ID,
                listen_port: None,
                pex: true,
                super_seed: false,
                geometry: geometry(),
                scheduler: ear.clone().recipient(),
                pool: ear.clone().recipient(),
                disk: ear.clone().recipient(),
            }),
        });
        let connection = kit::spawn_temporary(connection, Arc::new(ear.recipient()));
        Self { diary, far: None, connection, decoder: Decoder::new(8), buffer: BytesMut::new() }
    }

    /// Handshakes are exchanged, and the scheduler has welcomed the peer.
    async fn welcomed(have: Bitfield) -> Self {
        Self::welcomed_as([0; 8], have).await
    }

    /// The same with a peer that has these reserved bits.
    async fn welcomed_as(reserved: [u8; 8], have: Bitfield) -> Self {
        let mut bench = Self::start().await;
        bench.says(&Handshake { reserved, ..handshake(INFO_HASH, THEIR_ID) }.encode()).await;
        assert_eq!(bench.passes(1).await, ["connected", "handshaken: true", "joined"]);
        bench.connection.addr.do_send(PeerOrders::Welcome(have));
        bench
    }

    fn far(&mut self) -> &mut DuplexStream {
        self.far.as_mut().unwrap()
    }

    async fn says(&mut self, bytes: &[u8]) {
        self.far().write_all(bytes).await.unwrap();
    }

    async fn sends(&mut self, messages: &[Wire]) {
        let mut bytes = BytesMut::new();
        for message in messages {
            message.encode(&mut bytes);
        }
        self.says(&bytes).await;
    }

    /// The next message that arrives at the far end.
    async fn hears(&mut self) -> Wire {
        loop {
            if let Some(message) = self.decoder.decode(&mut self.buffer).unwrap() {
                return message;
            }
            let far = self.far.as_mut().unwrap();
            assert!(far.read_buf(&mut self.buffer).await.unwrap() > 0, "the connection is closed");
        }
    }

    async fn passes(&self, secs: u64) -> Vec<String> {
        sleep(Duration::from_secs(secs)).await;
        self.diary.read()
    }
}

fn handshake(info_hash: InfoHash, peer_id: PeerId) -> Handshake {
    Handshake { reserved: [0; 8], info_hash, peer_id }
}

fn request(piece: u32) -> Wire {
    Wire::Request(RawRequest { piece, begin: 0, len: 16 * 1024 })
}

#[tokio::test(start_paused = true)]
async fn blocks_are_asked_for_and_come() {
    with_actors(async {
        let mut bench = Bench::welcomed(Bitfield::none(8)).await;
        bench.sends(&[Wire::HaveAll, Wire::Unchoke]).await;
        assert_eq!(bench.passes(1).await, ["has 8"]);
        bench.connection.addr.do_send(PeerOrders::Interest(true));
        assert_eq!(bench.hears().await, Wire::Interested);
        assert_eq!(bench.passes(1).await, ["depth: true"]);
        bench.connection.addr.do_send(PeerOrders::Grant(vec![block(3), block(4)]));
        assert_eq!((bench.hears().await, bench.hears().await), (request(3), request(4)));
        bench.connection.addr.do_send(ReportPeerView);
        assert!(bench.passes(1).await.contains(&"2 outstanding".to_owned()));
        bench.sends(&[Wire::Piece { piece: 4, begin: 0, data: vec![0; 16 * 1024].into() }]).await;
        assert_eq!(bench.passes(1).await, ["delivered", "1 blocks", "depth: true"]);
        bench.connection.addr.do_send(PeerOrders::Cancel(vec![block(3)]));
        assert_eq!(bench.hears().await.name(), "cancel");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_with_blocks_that_can_be_read() {
    with_actors(async {
        let mut bench = Bench::welcomed(Bitfield::all(8)).await;
        assert_eq!(bench.hears().await, Wire::Bitfield(Bytes::from_static(&[0xff])));
        bench.sends(&[Wire::Interested, request(0)]).await;
        assert_eq!(bench.passes(1).await, ["wants: true"]);
        bench.connection.addr.do_send(ChokeDecision { choke: false });
        assert_eq!(bench.hears().await, Wire::Unchoke, "what was asked before it is dropped");
        bench.sends(&[request(1), request(0), request(2)]).await;
        let block = Wire::Piece { piece: 0, begin: 0, data: vec![7; 16 * 1024].into() };
        assert_eq!(bench.hears().await, block, "never zeros in place of what cannot be read");
        bench.sends(&[request(1)]).await;
        bench.sends(&[request(0)]).await;
        assert_eq!(bench.hears().await, block);
    })
    .await;
}

/// BEP 6, D-04: extended handshake and failed reads.
#[tokio::test(start_paused = true)]
async fn a_peer_with_extensions_is_sent_our_handshake_and_rejects_for_failed_reads() {
    with_actors(async {
        let mut bench = Bench::welcomed_as(Handshake::OURS, Bitfield::all(8)).await;
        assert_eq!(bench.hears().await, Wire::HaveAll);
        assert_eq!(bench.hears().await.name(), "extended");
        bench.sends(&[Wire::Extended { id: 0, payload: b"d1:v7:no more"[..].into() }]).await;
        bench.sends(&[Wire::Extended { id: 0, payload: b"d1:v7:no moree"[..].into() }]).await;
        assert_eq!(bench.passes(1).await, ["says no more"], "once: the first was damaged");
        bench.connection.addr.do_send(ChokeDecision { choke: false });
        assert_eq!(bench.hears().await, Wire::Unchoke);
        bench.sends(&[request(1)]).await;
        assert_eq!(bench.hears().await.name(), "reject request");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_end_is_told_to_the_pool_once() {
    type Deed = (&'static str, Vec<u8>, bool, u64, &'static str);
    let hello = |info_hash, id| handshake(info_hash, id).encode().to_vec();
    let ours = hello(INFO_HASH, THEIR_ID);
    let table: Vec<Deed> = vec![
        ("nothing is said", Vec::new(), false, 10, "handshake-timeout"),
        ("half a handshake", ours[..40].to_vec(), false, 10, "handshake-timeout"),
        ("another torrent", hello(InfoHash([9; 20]), THEIR_ID), false, 0, "bad-handshake"),
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), false, 0, "bad-handshake"),
        ("our own id", hello(INFO_HASH, OUR_ID), false, 0, "ourselves"),
        ("closed at once", Vec::new(), true, 0, "closed"),
        ("closed after the handshake", ours.clone(), true, 0, "closed"),
        ("silence after the handshake", ours.clone(), false, 120, "silent"),
        ("a huge length", [&ours[..], &[0xff; 8]].concat(), false, 0, "protocol-violation"),
        (
            "a piece that is not there",
            [&ours[..], &[0, 0, 0, 5, 4, 0, 0, 0, 8]].concat(),
            false,
            0,
            "protocol-violation",
        ),
    ];
    with_actors(async {
        for (what, bytes, closes, secs, want) in table {
            let mut bench = Bench::start().await;
            bench.says(&bytes).await;
            if closes {
                bench.far = None;
            }
            if secs > 0 {
                let early = bench.passes(secs - 1).await;
                assert!(!early.iter().any(|line| line.starts_with("left")), "{what}: {early:?}");
            }
            let mut heard = bench.passes(2).await;
            assert_eq!(heard.split_off(heard.len() - 2), [format!("left: {want}"), "ended".to_owned()], "{what}");
            assert!(!heard.iter().any(|line| line.starts_with("left")), "{what}: {heard:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_fails_or_takes_too_long_is_an_end_too() {
    with_actors(async {
        let bench = Bench::over(FakeNet::failing(Some(std::io::ErrorKind::ConnectionRefused)));
        assert_eq!(bench.passes(1).await, ["left: refused", "ended"]);
        let bench = Bench::over(FakeNet::failing(None));
        assert_eq!(bench.passes(14).await, [""; 0]);
        assert_eq!(bench.passes(2).await, ["left: connect-timeout", "ended"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_told_to_and_reports_its_end_once() {
    with_actors(async {
        let bench = Bench::welcomed(Bitfield::none(8)).await;
        bench.connection.addr.do_send(Leave(DisconnectReason::BadData));
        bench.connection.addr.do_send(Leave(DisconnectReason::Evicted));
        bench.connection.stop();
        assert_eq!(bench.passes(1).await, ["left: bad-data", "ended"]);
        let bench = Bench::welcomed(Bitfield::none(8)).await;
        bench.connection.stop();
        assert_eq!(bench.passes(1).await, ["left: shutdown", "ended"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn it_introduces_itself_to_a_new_scheduler() {
    with_actors(async {
        let mut bench = Bench::welcomed(Bitfield::none(8)).await;
        bench.sends(&[Wire::HaveAll]).await;
        assert_eq!(bench.passes(1).await, ["has 8"]);
        bench.connection.addr.do_send(Introduce);
        bench.connection.addr.do_send(PeerOrders::Welcome(Bitfield::none(8)));
        assert_eq!(bench.passes(1).await, ["joined", "has 8"]);
    })
    .await;
}

/// P-21: a peer that takes nothing is closed after a minute.
#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_closed() {
    with_actors(async {
        let mut bench = Bench::welcomed(Bitfield::all(8)).await;
        bench.sends(&[Wire::Interested]).await;
        bench.connection.addr.do_send(ChokeDecision { choke: false });
        bench.passes(1).await;
        for _ in 0..6 {
            bench.sends(&(0..50).map(|_| request(0)).collect::<Vec<_>>()).await;
            bench.passes(1).await;
        }
        assert_eq!(bench.passes(50).await, [""; 0]);
        let heard = bench.passes(12).await;
        assert_eq!(heard, ["left: write-stalled", "ended"]);
    })
    .await;
}
