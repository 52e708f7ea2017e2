//! A session with several torrents over storages in memory, on a paused clock.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::*;
use crate::actors::kit::testing::with_actors;
use crate::actors::kit::{ActorExit, SupervisedChild};
use crate::actors::testing::{Shelf, ShelfContent, torrent};
use crate::actors::torrent::{PauseTorrent, RecheckTorrent, ResumeTorrent, SetSeedingGoal};
use crate::actors::view::TorrentView;
use crate::logic::torrent::seeding_goal::SeedingGoal;
use crate::net::testing::FakeNet;

/// Longer than all back-offs of all restarts together.
const PATIENCE: Duration = Duration::from_secs(3600);

type End = tokio::sync::oneshot::Receiver<ActorExit>;

fn start(shelves: &[ShelfContent]) -> (SupervisedChild<Session>, End, Vec<watch::Receiver<TorrentView>>) {
    let torrents = shelves.iter().map(|found| torrent(Shelf::with(*found), FakeNet::failing(None)));
    let (torrents, views) = torrents.unzip();
    let (root, end) = kit::spawn_root(Session::new(config(torrents)), policies::SESSION, 1);
    (root, end, views)
}

fn config(torrents: Vec<TorrentConfig>) -> SessionConfig {
    SessionConfig {
        listener: None,
        torrents,
        hosts: Vec::new(),
        metrics_every: None,
        stop_timeout: Duration::from_secs(5),
        seed: 1,
    }
}

#[tokio::test(start_paused = true)]
async fn a_torrent_that_gives_up_is_published_as_failed_and_the_others_live() {
    with_actors(async {
        let (root, mut end, mut views) = start(&[ShelfContent::Panic, ShelfContent::Everything, ShelfContent::Nothing]);
        let failed = timeout(PATIENCE, views[0].wait_for(|view| matches!(view.phase, TorrentPhase::Failed(_)))).await;
        let TorrentPhase::Failed(failure) = failed.unwrap().unwrap().phase.clone() else { panic!("just seen") };
        let TorrentFailure::GaveUp(why) = &failure else { panic!("{failure}") };
        assert!(why.contains("DiskWriter gave up") && why.contains("the shelf fell over"), "{why}");
        assert!(matches!(views[1].borrow().phase, TorrentPhase::Complete));
        assert!(matches!(views[2].borrow().phase, TorrentPhase::Fetching));
        assert!(end.try_recv().is_err(), "the session lives");
        let seen = views[2].borrow_and_update().bytes_total;
        timeout(PATIENCE, views[2].changed()).await.unwrap().unwrap();
        assert_eq!(views[2].borrow().bytes_total, seen, "and its torrent is still published");
        root.stop();
        assert_eq!(timeout(PATIENCE, end).await.unwrap(), Ok(ActorExit::Normal));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_without_torrents_ends_when_told_to() {
    with_actors(async {
        let (root, mut end, _views) = start(&[]);
        assert!(timeout(PATIENCE, &mut end).await.is_err());
        root.stop();
        assert_eq!(end.await, Ok(ActorExit::Normal));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_session_starts_its_torrents_anew() {
    #[derive(Message)]
    #[rtype(result = "()")]
    struct FallOver;

    impl Handler<FallOver> for Session {
        type Result = ();

        fn handle(&mut self, _: FallOver, _: &mut Ctx<Self>) {
            panic!("as the test wants it");
        }
    }

    with_actors(async {
        let shelf = Shelf::with(ShelfContent::Nothing);
        let (torrent, mut views) = torrent(Arc::clone(&shelf), FakeNet::failing(None));
        let (root, mut end) = kit::spawn_root(Session::new(config(vec![torrent])), policies::SESSION, 1);
        timeout(PATIENCE, views.wait_for(|view| matches!(view.phase, TorrentPhase::Fetching))).await.unwrap().unwrap();
        root.addr.do_send(FallOver);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(shelf.opened.load(Relaxed), 2);
        timeout(PATIENCE, views.changed()).await.unwrap().unwrap();
        assert!(matches!(views.borrow().phase, TorrentPhase::Fetching), "{:?}", views.borrow().phase);
        assert!(end.try_recv().is_err());
        for _ in 0..4 {
            root.addr.do_send(FallOver);
        }
        let last = timeout(PATIENCE, end).await.unwrap().unwrap();
        assert!(matches!(last, ActorExit::Panic { .. }), "{last}");
    })
    .await;
}

/// W-35: one torrent is done with, the others go on.
#[tokio::test(start_paused = true)]
async fn a_dismissed_torrent_ends_and_the_others_go_on() {
    with_actors(async {
        let (root, mut end, mut views) = start(&[ShelfContent::Nothing, ShelfContent::Nothing]);
        for views in &mut views {
            timeout(PATIENCE, views.wait_for(|view| matches!(view.phase, TorrentPhase::Fetching)))
                .await
                .unwrap()
                .unwrap();
        }
        root.addr.do_send(StopTorrent(0));
        root.addr.do_send(StopTorrent(7));
        sleep(Duration::from_secs(10)).await;
        views.iter_mut().for_each(watch::Receiver::mark_unchanged);
        sleep(Duration::from_secs(10)).await;
        let lives: Vec<_> = views.iter().map(|views| views.has_changed().unwrap()).collect();
        assert_eq!(lives, [false, true]);
        assert!(end.try_recv().is_err());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_command_goes_to_the_torrent_with_its_info_hash() {
    with_actors(async {
        let mut torrents: Vec<_> =
            (0..2).map(|_| torrent(Shelf::with(ShelfContent::Nothing), FakeNet::failing(None))).collect();
        torrents[1].0.info_hash = InfoHash([9; 20]);
        let (torrents, mut views): (Vec<_>, Vec<_>) = torrents.into_iter().unzip();
        let (root, _end) = kit::spawn_root(Session::new(config(torrents)), policies::SESSION, 1);
        for views in &mut views {
            let fetches = views.wait_for(|view| matches!(view.phase, TorrentPhase::Fetching));
            timeout(PATIENCE, fetches).await.unwrap().unwrap();
        }
        let known = InfoHash([9; 20]);
        let pause = |info_hash| root.addr.send(CommandTorrent { info_hash, command: PauseTorrent });
        assert_eq!(pause(InfoHash([7; 20])).await.unwrap(), Err(CommandRefusal::NoSuchTorrent));
        assert_eq!(pause(known).await.unwrap(), Ok(()));
        assert_eq!(pause(known).await.unwrap(), Err(CommandRefusal::AlreadyPaused));
        let paused = views[1].wait_for(|view| matches!(view.phase, TorrentPhase::Paused));
        timeout(PATIENCE, paused).await.unwrap().unwrap();
        assert!(matches!(views[0].borrow().phase, TorrentPhase::Fetching), "the other one goes on");

        let goal = SetSeedingGoal(Some(SeedingGoal::default()));
        assert_eq!(root.addr.send(CommandTorrent { info_hash: known, command: goal }).await.unwrap(), Ok(()));
        let resume = CommandTorrent { info_hash: known, command: ResumeTorrent };
        assert_eq!(root.addr.send(resume).await.unwrap(), Ok(()));
        let recheck = CommandTorrent { info_hash: known, command: RecheckTorrent };
        assert_eq!(root.addr.send(recheck).await.unwrap(), Ok(()));

        root.addr.do_send(StopTorrent(1));
        assert_eq!(pause(known).await.unwrap(), Err(CommandRefusal::Stopping));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(pause(known).await.unwrap(), Err(CommandRefusal::NoSuchTorrent), "it has ended");
    })
    .await;
}
