//! One run, from its first actor to its last: placement, signals, time-outs, the bounded stop.

use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::arbiters::Arbiters;
use super::config::{Job, RunConfig};
use super::descriptors;
use super::hook::Hooks;
use super::outcome::{Ending, RunOutcome};
use super::stall::Stall;
use super::torrents::Torrents;
use crate::actors::kit::root::{arbiter_runtime, live};
use crate::actors::kit::{TreeRoot, TreeStop};
use crate::actors::listener::ListenerConfig;
use crate::actors::metrics::write_summary;
use crate::actors::policies;
use crate::actors::session::{Session, SessionConfig, StopTorrent};
use crate::actors::torrent::Aim;
use crate::actors::view::TorrentView;
use crate::net::sockets::Sockets;
use crate::net::{Listen, Net, listen};
use crate::storage::SharedStorage;
use crate::storage::buffers::Buffers;
use crate::storage::claims::Claims;
use crate::storage::disk::{Disk, DiskConfig};
use crate::storage::folder::Folders;
use crate::storage::room::Room;
use crate::system::signals::{HangUp, StopSignals};

/// The environment of a run. It is handed in, so that the same run works on sockets and files or in a simulator.
#[derive(Debug)]
pub struct Environment {
    /// The network. All traffic goes through it.
    pub net: Net,
    /// The arbiters besides this thread, on which torrents may live.
    pub arbiters: Arbiters,
    /// The storage of each torrent, in the order of the jobs.
    pub storages: Vec<SharedStorage>,
    /// Each message is a request of the user to stop: the first one stops the run cleanly, the second one at once.
    pub stops: mpsc::Receiver<()>,
}

/// Does a run on this machine. Fails if there are more torrents than descriptors. `observe` gets every view that is
/// published, with the number of its torrent.
pub fn run(config: &RunConfig, observe: &mut dyn FnMut(usize, &TorrentView)) -> std::io::Result<RunOutcome> {
    descriptors::take_all();
    descriptors::suffice_for(config.jobs.len(), config.arbiters).map_err(std::io::Error::other)?;
    let arbiters = Arbiters::start(config.arbiters, config.seed)?;
    live(arbiter_runtime()?, async {
        let shared = Shared::default();
        let storages = config.jobs.iter().map(|job| disk(config, job, &shared)).collect();
        let net = Sockets::only_by(config.bind, config.interface.as_deref());
        let ground = Environment { net, arbiters, storages, stops: forward(StopSignals::new(HangUp::Stops)?) };
        run_on(ground, config, observe).await
    })
}

/// Does a run in any environment. Must run where `spawn_local` works. Fails if the user named a port and it cannot be
/// listened on; without a named port the run continues without listening.
pub async fn run_on(
    ground: Environment,
    config: &RunConfig,
    observe: &mut dyn FnMut(usize, &TorrentView),
) -> std::io::Result<RunOutcome> {
    let began = Instant::now();
    let door = open_door(&ground.net, config).await?;
    let port = door.as_ref().and_then(|door| door.local_addr().ok()).map_or(0, |at| at.port());
    let mut torrents = Torrents::new(config);
    let session = Session::new(SessionConfig {
        listener: door.map(|door| ListenerConfig { door, places: config.descriptors().guests }),
        torrents: torrents.configs(config, &ground.net, ground.storages, &ground.arbiters.places(), port),
        hosts: ground.arbiters.hosts(),
        metrics_every: config.metrics_every,
        stop_timeout: config.shutdown_timeout,
        seed: config.seed,
    });
    let root = TreeRoot::start(session, policies::SESSION, config.seed);
    let (mut stops, mut arbiters) = (StopRequests(ground.stops), ground.arbiters);
    let mut hooks = Hooks::new(config.on_complete.as_ref(), &config.dir, config.jobs.len());
    let mut observe = |nth, view: &TorrentView| {
        hooks.on_view(nth, view);
        observe(nth, view);
    };
    watch_over(config, (&mut stops, &mut arbiters), &mut torrents, &mut observe, root).await;
    arbiters.end().await;
    hooks.finish(stops.next()).await;
    write_summary();
    Ok(RunOutcome::new(torrents.finish(), began.elapsed()))
}

/// Opens the listening socket; `None` if no port can be listened on and the user named none.
async fn open_door(net: &Net, config: &RunConfig) -> std::io::Result<Option<Rc<dyn Listen>>> {
    match (listen::open(net, config.bind, config.port).await, config.port) {
        (Ok(door), _) => Ok(Some(door)),
        (Err(error), Some(port)) => {
            let what = format!("cannot listen on port {port}: {error}; choose another one, or none for any");
            Err(std::io::Error::new(error.kind(), what))
        }
        (Err(error), None) => {
            tracing::warn!(%error, "no port can be listened on, nobody can come by himself");
            Ok(None)
        }
    }
}

/// Runs until every torrent has ended, nothing is received any more, or the user asks to stop. Then stops the actors
/// within the time-out.
async fn watch_over(
    config: &RunConfig,
    (stops, arbiters): (&mut StopRequests, &mut Arbiters),
    torrents: &mut Torrents,
    observe: &mut dyn FnMut(usize, &TorrentView),
    mut root: TreeRoot<Session>,
) {
    let mut stall = Stall::new(config.stall_timeout);
    let mut news = torrents.news();
    let interrupted = loop {
        tokio::select! {
            biased;
            why = root.gave_up() => return torrents.end_all(&Ending::GaveUp(why)),
            () = stops.next() => break true,
            () = arbiters.lost() => {
                torrents.end_all(&Ending::GaveUp("an arbiter is gone".to_owned()));
                break false;
            }
            () = stall.elapsed() => {
                torrents.end_all(&Ending::Stalled(config.stall_timeout.unwrap_or_default()));
                break false;
            }
            nth = news.recv() => {
                let Some(nth) = nth else { return torrents.end_all(&Ending::GaveUp(root.gave_up().await)) };
                let view = torrents.look(nth);
                stall.on_view(nth, &view);
                observe(nth, &view);
                if torrents.judge(nth, &view) {
                    if torrents.all_ended() {
                        break false;
                    }
                    root.addr().do_send(StopTorrent(nth));
                }
            }
        }
    };
    if interrupted {
        torrents.end_all(&Ending::Interrupted);
    }
    // Only a user who has asked for the stop can ask for it again.
    let again = async { if interrupted { stops.next().await } else { pending().await } };
    if root.stop(config.shutdown_timeout, again).await == TreeStop::Interrupted {
        torrents.kill_interrupted();
    }
}

/// What the disks of all torrents of a run share.
#[derive(Default)]
struct Shared {
    buffers: Buffers,
    folders: Folders,
    room: Room,
    claims: Claims,
}

/// The storage of one torrent in the output folder.
fn disk(config: &RunConfig, job: &Job, shared: &Shared) -> SharedStorage {
    let disk = DiskConfig {
        folder: config.dir.clone(),
        durability: config.durability,
        overwrite: config.overwrite,
        may_write: matches!(config.aim, Aim::Fetch { .. }),
        verify: config.verify,
        max_open: config.descriptors().files,
        select: job.select.clone(),
        buffers: shared.buffers.clone(),
        folders: shared.folders.clone(),
        room: shared.room.clone(),
        keep_state: config.keep_state,
        claims: shared.claims.clone(),
    };
    Arc::new(Disk::new(&job.metainfo, disk))
}

/// Turns signals into requests to stop, as long as the receiver exists.
fn forward(mut signals: StopSignals) -> mpsc::Receiver<()> {
    let (request, stops) = mpsc::channel(2);
    spawn_local(async move {
        loop {
            signals.stop().await;
            if request.send(()).await.is_err() {
                break;
            }
        }
    });
    stops
}

/// The user's requests to stop. Waits for ever when the channel is closed.
struct StopRequests(mpsc::Receiver<()>);

impl StopRequests {
    /// Waits for the next request.
    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::actors::torrent::Aim;
    use crate::actors::view::TorrentFailure;
    use crate::app::arbiters::testing::fell;
    use crate::app::outcome::TorrentOutcome;
    use crate::codec::metainfo::Metainfo;
    use crate::logic::torrent::seeding_goal::SeedingGoal;
    use crate::storage::OpenTrouble;

    /// A torrent of one file `x` with three bytes, `abc`.
    fn torrent() -> Metainfo {
        let mut file = b"d4:infod6:lengthi3e4:name1:x12:piece lengthi16384e6:pieces20:".to_vec();
        file.extend(b"\xa9\x99\x3e\x36\x47\x06\x81\x6a\xba\x3e\x25\x71\x78\x50\xc2\x6c\x9c\xd0\xd8\x9dee");
        Metainfo::parse(&file).unwrap()
    }

    fn fetched(there: Option<&str>, change: impl FnOnce(&mut RunConfig)) -> (TorrentOutcome, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        if let Some(content) = there {
            std::fs::write(dir.path().join("x"), content).unwrap();
        }
        let mut config = RunConfig::new(vec![Job::new(torrent())], dir.path().to_path_buf());
        change(&mut config);
        let outcome = run(&config, &mut |_, _| {}).unwrap();
        let [only] = <[TorrentOutcome; 1]>::try_from(outcome.torrents).unwrap();
        (only, std::fs::read_to_string(dir.path().join("x")).ok())
    }

    #[test]
    fn data_that_is_there_is_not_fetched() {
        let (only, _) = fetched(Some("abc"), |_| {});
        assert!(matches!(only.ending, Ending::Complete), "{:?}", only.ending);
        assert_eq!((only.view.bytes_kept, only.view.bytes_checked, only.view.bytes_received), (3, 3, 0));
    }

    #[test]
    fn a_file_of_another_program_ends_the_run_and_is_not_changed() {
        let (only, left) = fetched(Some("xyz"), |_| {});
        let Ending::Failed(TorrentFailure::Open(trouble)) = &only.ending else { panic!("{:?}", only.ending) };
        assert!(matches!(&**trouble, OpenTrouble::WouldOverwrite { .. }), "{trouble}");
        assert_eq!(left.as_deref(), Some("xyz"));
    }

    #[test]
    fn a_download_without_any_peer_stalls() {
        let limit = Duration::from_millis(50);
        let (only, left) = fetched(None, |config| config.stall_timeout = Some(limit));
        assert!(matches!(only.ending, Ending::Stalled(stalled) if stalled == limit), "{:?}", only.ending);
        assert_eq!(left, None);
    }

    #[test]
    fn missing_data_is_not_fetched_in_order_to_seed() {
        let seed = |config: &mut RunConfig| config.aim = Aim::Seed(SeedingGoal::default());
        let (only, left) = fetched(None, seed);
        let Ending::Failed(TorrentFailure::Incomplete { have: 0, total: 3 }) = only.ending else {
            panic!("{:?}", only.ending)
        };
        assert_eq!(left, None);
    }

    #[test]
    fn seeding_ends_when_its_goal_is_reached() {
        let goal = SeedingGoal { time: Some(Duration::ZERO), ratio: None };
        let (only, _) = fetched(Some("abc"), |config| config.aim = Aim::Seed(goal));
        assert!(matches!(only.ending, Ending::Complete), "{:?}", only.ending);
    }

    #[test]
    fn a_lost_arbiter_ends_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let config = RunConfig::new(vec![Job::new(torrent())], dir.path().to_owned());
        let arbiters = Arbiters::start(2, 1).unwrap();
        let outcome = crate::net::testing::run(async {
            fell(&arbiters.places()[1]).await;
            let storages = vec![disk(&config, &config.jobs[0], &Shared::default())];
            let ground = Environment { net: Sockets::any(), arbiters, storages, stops: mpsc::channel(1).1 };
            run_on(ground, &config, &mut |_, _| {}).await.unwrap()
        });
        let Ending::GaveUp(why) = &outcome.torrents[0].ending else { panic!("{:?}", outcome.torrents[0].ending) };
        assert_eq!(why, "an arbiter is gone");
    }

    #[test]
    fn a_taken_port_that_was_named_is_an_error_with_advice() {
        let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let config = RunConfig { port: Some(port), ..RunConfig::new(vec![Job::new(torrent())], dir.path().to_owned()) };
        let error = run(&config, &mut |_, _| {}).unwrap_err().to_string();
        assert!(error.contains(&format!("cannot listen on port {port}")), "{error}");
    }
}
