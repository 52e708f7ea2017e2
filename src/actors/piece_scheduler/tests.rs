//! A scheduler with test actors in place of the writer, the torrent and the peers.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::*;
use crate::actors::kit::testing::{Diary, with_actors};
use crate::actors::kit::{self, ChildEvent, Lifecycle, SupervisedChild};
use crate::actors::policies;
use crate::base::bitfield::Bitfield;
use crate::base::geometry::BlockAddr;
use crate::logic::disk::write_outcome::WriteOutcome;
use crate::logic::peer::received_block::ReceivedBlock;

/// Four pieces of two blocks.
fn geometry() -> Geometry {
    Geometry::new(4 * 32 * 1024, 32 * 1024).unwrap()
}

/// In place of the other actors. As the writer it has `have`, and answers a write only when told to.
struct Ear {
    diary: Diary,
    have: Option<Bitfield>,
}

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<HaveNow> for Ear {
    type Result = Option<Bitfield>;

    fn handle(&mut self, _: HaveNow, _: &mut Context<Self>) -> Self::Result {
        self.have.clone()
    }
}

impl Handler<WritePieces> for Ear {
    type Result = ();

    fn handle(&mut self, WritePieces { jobs, .. }: WritePieces, _: &mut Context<Self>) {
        self.diary.write(jobs.iter().fold("write".to_owned(), |text, job| format!("{text} {}", job.piece)));
    }
}

impl Handler<SchedulerNews> for Ear {
    type Result = ();

    fn handle(&mut self, news: SchedulerNews, _: &mut Context<Self>) {
        self.diary.write(match news {
            SchedulerNews::Ready => "ready",
            SchedulerNews::Completed { .. } => "completed",
            SchedulerNews::Liar { .. } => "liar",
            SchedulerNews::Acquitted { .. } => "acquitted",
            SchedulerNews::PieceSuspect { .. } => "suspect",
        });
    }
}

impl Handler<ChildEvent> for Ear {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, _: &mut Context<Self>) {
        match event.event {
            Lifecycle::Ended { gave_up, .. } => self.diary.write(if gave_up { "gave up" } else { "ended" }),
            Lifecycle::Restarting { expected, .. } => self.diary.write(format!("restarting, expected: {expected}")),
            Lifecycle::Started => {}
        }
    }
}

/// A peer that delivers the granted blocks when told to.
struct Peer {
    diary: Diary,
    granted: Vec<BlockAddr>,
    scheduler: Addr<PieceScheduler>,
}

impl Actor for Peer {
    type Context = Context<Self>;
}

impl Handler<PeerOrders> for Peer {
    type Result = ();

    fn handle(&mut self, orders: PeerOrders, _: &mut Context<Self>) {
        match orders {
            PeerOrders::Welcome(have) => self.diary.write(format!("welcome, {} had", have.ones())),
            PeerOrders::Grant(blocks) => self.granted.extend(blocks),
            PeerOrders::Cancel(blocks) => self.diary.write(format!("cancel {}", blocks.len())),
            PeerOrders::Interest(interested) => self.diary.write(format!("interest: {interested}")),
            PeerOrders::PiecesHad(pieces) => self.diary.write(format!("had {}", pieces.len())),
            PeerOrders::PiecesLost(pieces) => self.diary.write(format!("lost {}", pieces.len())),
        }
    }
}

const KEY: PeerKey = PeerKey(1);

#[derive(Message)]
#[rtype(result = "usize")]
struct Deliver;

impl Handler<Deliver> for Peer {
    type Result = usize;

    fn handle(&mut self, _: Deliver, _: &mut Context<Self>) -> usize {
        let data = |addr: BlockAddr| Bytes::from(vec![0; addr.len() as usize]);
        let blocks: Vec<_> = self.granted.drain(..).map(|addr| ReceivedBlock { addr, data: data(addr) }).collect();
        let count = blocks.len();
        self.scheduler.do_send(PeerReport { peer: KEY, word: PeerWord::Report(SchedulerNotice::Blocks(blocks)) });
        count
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

impl Handler<Panic> for PieceScheduler {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Ctx<Self>) {
        panic!("a bug");
    }
}

struct Bench {
    diary: Diary,
    scheduler: SupervisedChild<PieceScheduler>,
    peer: Addr<Peer>,
}

impl Bench {
    fn start(have: Option<Bitfield>) -> Self {
        let diary = Diary::default();
        let ear = Ear { diary: diary.clone(), have }.start();
        let scheduler = PieceScheduler::new(PieceSchedulerConfig {
            name: "test".to_owned(),
            geometry: geometry(),
            wanted: Arc::new(WantedPieces::everything(&geometry())),
            credit: 1 << 20,
            max_bps: None,
            seed: 1,
            disk: ear.clone().recipient(),
            have: ear.clone().recipient(),
            torrent: ear.clone().recipient(),
        });
        let scheduler = kit::spawn(scheduler, policies::PIECE_SCHEDULER, 1, ear.recipient());
        let peer = Peer { diary: diary.clone(), granted: Vec::new(), scheduler: scheduler.addr.clone() }.start();
        Self { diary, scheduler, peer }
    }

    async fn passes(&self, secs: u64) -> Vec<String> {
        sleep(Duration::from_secs(secs)).await;
        self.diary.read()
    }

    fn says(&self, word: PeerWord) {
        self.scheduler.addr.do_send(PeerReport { peer: KEY, word });
    }

    /// Joins a seed that takes all orders.
    async fn joins(&self) -> Vec<String> {
        let (addr, orders) = ("192.0.2.1:1".parse().unwrap(), self.peer.clone().recipient());
        self.says(PeerWord::Joined { addr, orders });
        self.says(PeerWord::Report(SchedulerNotice::Bitfield(Bitfield::all(4))));
        self.says(PeerWord::Report(SchedulerNotice::Depth(100)));
        sleep(Duration::from_millis(10)).await;
        self.diary.read()
    }

    /// Acknowledges these pieces.
    async fn written(&self, pieces: std::ops::Range<u32>) -> Vec<String> {
        let written = pieces.map(|number| (geometry().piece(number).unwrap(), WriteOutcome::Durable)).collect();
        self.scheduler.addr.do_send(PiecesWritten(written));
        sleep(Duration::from_millis(10)).await;
        self.diary.read()
    }

    async fn pieces_had(&self) -> u32 {
        self.scheduler.addr.send(GetProgress).await.unwrap().unwrap().pieces_have
    }
}

#[tokio::test(start_paused = true)]
async fn pieces_are_granted_written_and_had() {
    with_actors(async {
        let bench = Bench::start(Some(Bitfield::none(4)));
        assert_eq!(bench.passes(1).await, ["ready"]);
        assert_eq!(bench.joins().await, ["welcome, 0 had", "interest: true"]);
        assert_eq!(bench.peer.send(Deliver).await.unwrap(), 8);
        let mut writes = bench.passes(1).await.join(" ").replace("write ", "");
        writes = {
            let mut pieces: Vec<_> = writes.split(' ').collect();
            pieces.sort_unstable();
            pieces.join(" ")
        };
        assert_eq!(writes, "0 1 2 3");
        assert_eq!(bench.written(0..3).await, ["had 3"]);
        assert_eq!(bench.pieces_had().await, 3);
        let mut last = bench.written(3..4).await;
        last.sort();
        assert_eq!(last, ["completed", "had 1", "interest: false"]);
    })
    .await;
}

/// Only pieces that were not written yet are lost, and they are requested again.
#[tokio::test(start_paused = true)]
async fn a_restarted_scheduler_starts_from_what_the_writer_has() {
    with_actors(async {
        let mut have = Bitfield::none(4);
        have.set(geometry().piece(0).unwrap());
        let bench = Bench::start(Some(have));
        bench.passes(1).await;
        bench.joins().await;
        assert_eq!(bench.peer.send(Deliver).await.unwrap(), 6);
        bench.passes(1).await;
        bench.scheduler.addr.do_send(Panic);
        assert_eq!(bench.passes(5).await, ["restarting, expected: false", "ready"]);
        // The answer of the writer to what the incarnation before had sent.
        assert_eq!(bench.written(1..2).await, [""; 0]);
        let mut again = bench.joins().await;
        again.sort();
        assert_eq!(again, ["interest: true", "welcome, 1 had"]);
        assert!(bench.peer.send(Deliver).await.unwrap() >= 4);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn while_paused_nothing_is_granted() {
    with_actors(async {
        let bench = Bench::start(Some(Bitfield::none(4)));
        bench.passes(1).await;
        bench.scheduler.addr.do_send(Pause(true));
        bench.joins().await;
        assert_eq!(bench.peer.send(Deliver).await.unwrap(), 0);
        bench.scheduler.addr.do_send(Pause(false));
        bench.passes(1).await;
        assert_eq!(bench.peer.send(Deliver).await.unwrap(), 8);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pieces_that_the_disk_lost_are_requested_again() {
    with_actors(async {
        let bench = Bench::start(Some(Bitfield::none(4)));
        bench.passes(1).await;
        bench.joins().await;
        bench.peer.send(Deliver).await.unwrap();
        bench.passes(1).await;
        bench.scheduler.addr.do_send(DiskLost);
        bench.says(PeerWord::Report(SchedulerNotice::Depth(100)));
        bench.passes(1).await;
        assert_eq!(bench.peer.send(Deliver).await.unwrap(), 8);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_a_writer_that_has_a_bitfield_it_gives_up() {
    with_actors(async {
        let bench = Bench::start(None);
        let heard = bench.passes(120).await;
        assert_eq!(heard.last().unwrap(), "gave up");
        assert_eq!(heard.iter().filter(|line| *line == "restarting, expected: false").count(), 5);
    })
    .await;
}
