//! A whole torrent over a storage in memory and a peer in the test's hands, on a paused clock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::*;
use crate::actors::kit;
use crate::actors::kit::testing::with_actors;
use crate::actors::kit::{Lifecycle, SupervisedChild};
use crate::actors::peer_pool::PeersFound;
use crate::actors::testing::{FallOver, PIECE, Shelf, ShelfContent, geometry, give, torrent};
use crate::actors::view::TorrentPhase;
use crate::logic::peers::peer_book::PeerSource;
use crate::logic::torrent::lifecycle::CommandRefusal;
use crate::logic::torrent::seeding_goal::SeedingGoal;
use crate::net::testing::FakeNet;

/// Longer than any back-off on the way.
const PATIENCE: Duration = Duration::from_secs(600);

/// The parent.
struct Ear;

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<ChildEvent> for Ear {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, _: &mut Context<Self>) {
        assert!(matches!(event.event, Lifecycle::Started | Lifecycle::Ended { gave_up: false, .. }), "{event:?}");
    }
}

/// Do this with the torrent.
#[derive(Message)]
#[rtype(result = "()")]
struct With(fn(&Torrent));

impl Handler<With> for Torrent {
    type Result = ();

    fn handle(&mut self, With(act): With, _: &mut Ctx<Self>) {
        act(self);
    }
}

fn running(torrent: &Torrent) -> &Running {
    torrent.running.as_ref().unwrap()
}

struct Bench {
    torrent: SupervisedChild<Torrent>,
    views: watch::Receiver<TorrentView>,
    /// How many blocks each connection of the peer may give.
    allow: watch::Sender<u32>,
    /// How often the peer was dialled.
    dials: Rc<Cell<u32>>,
    /// The events that trackers were told, in turn.
    events: Rc<RefCell<Vec<String>>>,
}

/// The port of trackers; everything else that is dialled is a peer.
const TRACKER_PORT: u16 = 80;

/// A tracker that knows nobody: writes down the event of one announce and answers it.
async fn hear(mut far: DuplexStream, events: Rc<RefCell<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = far.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let event = head.split_once("event=").and_then(|(_, rest)| rest.split(['&', ' ']).next());
    events.borrow_mut().extend(event.map(str::to_owned));
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\nd8:intervali1800e5:peers0:e";
    let _told_or_gone = far.write_all(answer).await;
}

impl Bench {
    fn start(shelf: Arc<Shelf>) -> Self {
        Self::start_with(shelf, |_| {})
    }

    fn start_with(shelf: Arc<Shelf>, change: impl FnOnce(&mut TorrentConfig)) -> Self {
        let (net, mut arrives) = FakeNet::connected();
        let (allow, allowed) = watch::channel(0);
        let dials = Rc::new(Cell::new(0));
        let dialled = Rc::clone(&dials);
        let events = Rc::<RefCell<Vec<String>>>::default();
        let heard = Rc::clone(&events);
        spawn_local(async move {
            while let Some((to, far)) = arrives.recv().await {
                if to.port() == TRACKER_PORT {
                    spawn_local(hear(far, Rc::clone(&heard)));
                } else {
                    dialled.set(dialled.get() + 1);
                    spawn_local(give(far, allowed.clone()));
                }
            }
        });
        let (mut cfg, views) = torrent(shelf, net);
        change(&mut cfg);
        let torrent = kit::spawn(Torrent::new(cfg), policies::TORRENT, 1, Ear.start().recipient());
        Self { torrent, views, allow, dials, events }
    }

    fn allow(&self, blocks: u32) {
        self.allow.send_replace(blocks);
    }

    async fn until(&mut self, what: &str, is_so: impl FnMut(&TorrentView) -> bool) -> TorrentView {
        let seen = timeout(PATIENCE, self.views.wait_for(is_so)).await;
        seen.unwrap_or_else(|_elapsed| panic!("never {what}")).unwrap().clone()
    }

    async fn until_complete(&mut self) -> TorrentView {
        self.until("complete", |view| matches!(view.phase, TorrentPhase::Complete)).await
    }

    async fn command<C>(&self, command: C) -> Result<(), CommandRefusal>
    where
        C: Message<Result = Result<(), CommandRefusal>> + Send + 'static,
        Torrent: Handler<C>,
    {
        self.torrent.addr.send(command).await.unwrap()
    }

    fn heard(&self) -> Vec<String> {
        self.events.borrow().clone()
    }

    fn with(&self, act: fn(&Torrent)) {
        self.torrent.addr.do_send(With(act));
    }

    async fn stop(mut self) {
        self.torrent.stop();
        timeout(PATIENCE, self.torrent.control.ended()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_worked_on_are_published_as_a_failure() {
    with_actors(async {
        let mut bench = Bench::start(Shelf::with(ShelfContent::Trouble));
        let view = bench.until("failed", |view| matches!(view.phase, TorrentPhase::Failed(_))).await;
        let TorrentPhase::Failed(failure @ TorrentFailure::Open(_)) = view.phase else { panic!("{:?}", view.phase) };
        assert!(failure.to_string().contains("/shelf"), "{failure}");
        bench.with(|torrent| assert!(torrent.running.is_none(), "nobody else was started"));
        bench.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_all_there_is_published_and_nobody_is_asked() {
    with_actors(async {
        let mut bench = Bench::start(Shelf::with(ShelfContent::Everything));
        let view = bench.until_complete().await;
        assert_eq!((view.bytes_have, view.bytes_kept, view.bytes_received), (4 * PIECE, 4 * PIECE, 0));
        bench.with(|torrent| assert!(torrent.running.is_none()));
        bench.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_download_is_published_as_it_grows() {
    with_actors(async {
        let mut bench = Bench::start(Shelf::with(ShelfContent::Nothing));
        bench.allow(4);
        let half = bench.until("half", |view| view.bytes_received == 2 * PIECE).await;
        assert!(matches!(half.phase, TorrentPhase::Fetching), "{:?}", half.phase);
        assert_eq!((half.swarm.peers.len(), half.pieces_nobody_has), (1, 0));
        bench.allow(8);
        let whole = bench.until_complete().await;
        assert_eq!((whole.bytes_have, whole.bytes_received, whole.bytes_wasted), (4 * PIECE, 4 * PIECE, 0));
        bench.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_torrent_that_nobody_asks_for_looks_at_itself_for_a_reason_only() {
    with_actors(async {
        let time = Duration::from_secs(1500);
        let mut bench = Bench::start_with(Shelf::with(ShelfContent::Everything), |cfg| {
            cfg.peers.clear();
            cfg.aim = Aim::Seed(SeedingGoal { time: Some(time), ratio: None });
        });
        let began = Instant::now();
        bench.until("seeding", |view| matches!(view.phase, TorrentPhase::Seeding)).await;
        sleep(Duration::from_secs(5)).await;
        bench.views.mark_unchanged();
        sleep(Duration::from_secs(1000)).await;
        assert!(!bench.views.has_changed().unwrap(), "{:?}", bench.views.borrow());
        bench.with(|torrent| {
            let addrs = vec!["192.0.2.1:6881".parse().unwrap()];
            running(torrent).pool.do_send(PeersFound { addrs, source: PeerSource::Manual });
        });
        let named = Instant::now();
        bench.until("dialled", |view| view.swarm.census.known == 1).await;
        assert!(named.elapsed() <= Duration::from_secs(1), "{:?}", named.elapsed());
        bench.until_complete().await;
        let whole = began.elapsed();
        assert!(whole >= time && whole < time + Duration::from_secs(2), "{whole:?}");
        bench.stop().await;
    })
    .await;
}

/// The scheduler's own counters begin anew; those of the torrent do not.
#[tokio::test(start_paused = true)]
async fn a_restart_of_the_scheduler_forgets_no_byte() {
    with_actors(async {
        let mut bench = Bench::start(Shelf::with(ShelfContent::Nothing));
        bench.allow(4);
        bench.until("half", |view| view.bytes_received == 2 * PIECE).await;
        bench.with(|torrent| running(torrent).scheduler.do_send(FallOver));
        for _second in 0..5 {
            sleep(Duration::from_secs(1)).await;
            assert!(bench.views.borrow().bytes_received >= 2 * PIECE, "{:?}", bench.views.borrow());
        }
        bench.allow(100);
        let view = bench.until_complete().await;
        let again = view.bytes_received - 2 * PIECE;
        assert!((2 * PIECE..=4 * PIECE).contains(&again), "{again} bytes after the restart");
        assert_eq!(view.bytes_have, 4 * PIECE);
        bench.stop().await;
    })
    .await;
}

/// Each is told of the others again, and the download goes on: over the same connection, unless the pool has lost it.
#[tokio::test(start_paused = true)]
async fn a_restart_of_any_child_leaves_the_download_going() {
    type SceneFailure = (&'static str, u32, fn(&Torrent));
    let falls: [SceneFailure; 4] = [
        ("PieceScheduler", 1, |torrent| running(torrent).scheduler.do_send(FallOver)),
        ("PeerPool", 2, |torrent| running(torrent).pool.do_send(FallOver)),
        ("TrackerSupervisor", 1, |torrent| running(torrent).trackers.do_send(FallOver)),
        ("DiskWriter", 1, |torrent| torrent.tell_disk(FallOver)),
    ];
    for (who, dials, fall) in falls {
        with_actors(async {
            let mut bench = Bench::start(Shelf::with(ShelfContent::Nothing));
            bench.allow(3);
            bench.until("a piece", |view| view.bytes_have >= PIECE).await;
            bench.with(fall);
            sleep(Duration::from_secs(5)).await;
            bench.allow(100);
            let view = bench.until_complete().await;
            assert_eq!((view.bytes_have, view.hash_failures), (4 * PIECE, 0), "{who}");
            assert_eq!(bench.dials.get(), dials, "{who}");
            bench.stop().await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_restarted_writer_has_lost_is_fetched_again() {
    with_actors(async {
        let shelf = Shelf::with(ShelfContent::Nothing);
        shelf.panics.store(2, Relaxed);
        let mut bench = Bench::start(Arc::clone(&shelf));
        bench.allow(100);
        let view = bench.until_complete().await;
        assert_eq!((shelf.panics.load(Relaxed), view.bytes_have), (0, geometry().total_len()));
        assert!(view.bytes_received >= 5 * PIECE, "{}", view.bytes_received);
        bench.stop().await;
    })
    .await;
}

fn with_tracker(cfg: &mut TorrentConfig) {
    cfg.tiers = vec![vec!["http://192.0.2.80/announce".to_owned()]];
}

#[tokio::test(start_paused = true)]
async fn a_pause_closes_the_peers_and_what_is_there_is_kept() {
    with_actors(async {
        let shelf = Shelf::with(ShelfContent::Nothing);
        let mut bench = Bench::start_with(Arc::clone(&shelf), with_tracker);
        bench.allow(4);
        bench.until("half", |view| view.bytes_have == 2 * PIECE).await;
        assert_eq!(bench.command(ResumeTorrent).await, Err(CommandRefusal::NotPaused));
        assert_eq!(bench.command(PauseTorrent).await, Ok(()));
        let view = bench.until("without peers", |view| view.swarm.peers.is_empty()).await;
        assert!(matches!(view.phase, TorrentPhase::Paused), "{:?}", view.phase);
        assert_eq!((view.bytes_have, view.down_bps), (2 * PIECE, 0));
        assert_eq!(view.why.unwrap().text, "paused");
        assert_eq!(bench.command(PauseTorrent).await, Err(CommandRefusal::AlreadyPaused));
        assert_eq!(bench.heard(), ["started", "stopped"]);
        bench.allow(100);
        sleep(Duration::from_secs(5)).await;
        bench.views.mark_unchanged();
        sleep(Duration::from_secs(1000)).await;
        assert!(!bench.views.has_changed().unwrap(), "{:?}", bench.views.borrow());
        bench.with(|torrent| assert!(torrent.running.is_none()));

        assert_eq!(bench.command(ResumeTorrent).await, Ok(()));
        let view = bench.until_complete().await;
        assert_eq!((view.bytes_have, view.bytes_received), (4 * PIECE, 4 * PIECE));
        assert_eq!((shelf.opened.load(Relaxed), bench.dials.get()), (1, 2), "nothing was opened or hashed again");
        bench.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_torrent_ends_when_told_to() {
    with_actors(async {
        let mut bench = Bench::start_with(Shelf::with(ShelfContent::Nothing), with_tracker);
        bench.until("fetching", |view| !view.swarm.peers.is_empty()).await;
        assert_eq!(bench.command(PauseTorrent).await, Ok(()));
        let events = Rc::clone(&bench.events);
        bench.stop().await;
        assert_eq!(*events.borrow(), ["started", "stopped"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_recheck_hashes_everything_and_fetches_what_is_wrong() {
    with_actors(async {
        let shelf = Shelf::with(ShelfContent::Nothing);
        let mut bench = Bench::start_with(Arc::clone(&shelf), |cfg| {
            cfg.aim = Aim::Fetch { then: Some(SeedingGoal::default()) };
            with_tracker(cfg);
        });
        bench.allow(100);
        bench.until("seeding", |view| matches!(view.phase, TorrentPhase::Seeding)).await;
        shelf.spoiled.store(1, Relaxed);
        bench.allow(0);
        assert_eq!(bench.command(RecheckTorrent).await, Ok(()));
        assert_eq!(bench.command(RecheckTorrent).await, Err(CommandRefusal::AlreadyChecking));
        bench.until("opened again", |view| matches!(view.phase, TorrentPhase::Opening)).await;
        assert_eq!(bench.command(RecheckTorrent).await, Err(CommandRefusal::AlreadyChecking));
        let view = bench.until("fetching", |view| matches!(view.phase, TorrentPhase::Fetching)).await;
        assert_eq!((view.bytes_have, view.bytes_done), (3 * PIECE, 3 * PIECE));
        bench.allow(100);
        let view = bench.until("seeding again", |view| matches!(view.phase, TorrentPhase::Seeding)).await;
        assert_eq!((view.bytes_have, view.bytes_received), (4 * PIECE, 5 * PIECE));
        assert_eq!((view.bytes_kept, shelf.rechecked.load(Relaxed)), (0, 1));
        sleep(Duration::from_secs(1)).await;
        bench.stop().await;
        let recorded = shelf.recorded.lock().clone().unwrap();
        assert!(recorded.have.is_all() && recorded.clean);
        assert_eq!(recorded.received, PIECE, "the record that was opened anew had the rest");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_torrent_that_failed_is_opened_again_on_resume() {
    with_actors(async {
        let shelf = Shelf::with(ShelfContent::Trouble);
        let mut bench = Bench::start(Arc::clone(&shelf));
        bench.until("failed", |view| matches!(view.phase, TorrentPhase::Failed(_))).await;
        assert_eq!(bench.command(PauseTorrent).await, Err(CommandRefusal::Failed));
        assert_eq!(bench.command(ResumeTorrent).await, Ok(()));
        sleep(Duration::from_secs(1)).await;
        assert!(matches!(bench.views.borrow().phase, TorrentPhase::Failed(_)), "{:?}", bench.views.borrow().phase);
        assert_eq!(shelf.opened.load(Relaxed), 2);
        bench.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_complete_torrent_is_seeded_once_it_is_given_a_goal_and_its_record_is_kept_till_then() {
    with_actors(async {
        let shelf = Shelf::with(ShelfContent::Everything);
        let mut bench = Bench::start(Arc::clone(&shelf));
        bench.until_complete().await;
        let goal = SeedingGoal { time: Some(Duration::from_secs(60)), ratio: None };
        let began = Instant::now();
        assert_eq!(bench.command(SetSeedingGoal(Some(goal))).await, Ok(()));
        bench.until("seeding", |view| matches!(view.phase, TorrentPhase::Seeding)).await;
        bench.with(|torrent| assert!(torrent.running.is_some()));
        bench.until_complete().await;
        assert!(began.elapsed() >= Duration::from_secs(60), "{:?}", began.elapsed());
        assert_eq!(bench.command(SetSeedingGoal(Some(SeedingGoal::default()))).await, Ok(()));
        bench.until("seeding", |view| matches!(view.phase, TorrentPhase::Seeding)).await;
        bench.stop().await;
        assert!(!shelf.recorded.lock().as_ref().unwrap().done, "it is not done with: the record is needed");
    })
    .await;
}
