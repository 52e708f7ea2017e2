//! A run from its first actor to its last: placement, signals, time-outs, the bounded stop.

use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep_until};

use super::config::FetchConfig;
use super::descriptors::Descriptors;
use super::outcome::{Ending, Outcome};
use crate::actors::kit::{self, Exit, Handle};
use crate::actors::metrics::write_summary;
use crate::actors::policies;
use crate::actors::session::{Session, SessionConfig};
use crate::actors::torrent::TorrentConfig;
use crate::actors::view::{Phase, TorrentView};
use crate::logic::peer_book::BookConfig;
use crate::net::Net;
use crate::net::sockets::Sockets;
use crate::net::throttle::Limits;
use crate::storage::SharedStorage;
use crate::storage::disk::{Disk, DiskConfig};

/// 64 MiB between a request and the disk (D-07), and never less than four pieces.
const CREDIT: u64 = 64 * 1024 * 1024;

/// What a run stands on. All of it is handed in, so that the same run goes on sockets and files or in a simulator.
#[derive(Debug)]
pub struct Ground {
    /// The only way out.
    pub net: Net,
    /// Where the bytes go.
    pub storage: SharedStorage,
    /// Each message is a wish of the user to stop: the first ends the run in good order, the second at once.
    pub stops: mpsc::Receiver<()>,
}

/// Runs a download to its end, on this machine. `observe` sees every view that is published.
pub fn fetch(config: &FetchConfig, observe: &mut dyn FnMut(&TorrentView)) -> std::io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = LocalSet::new().block_on(&runtime, async {
        let ground = Ground { net: network(config), storage: disk(config), stops: Signals::new()?.forward() };
        Ok(fetch_on(ground, config, observe).await)
    });
    // A disk that hangs must not keep the program: what it holds up is not acknowledged.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

/// Runs a download to its end, on whatever ground. Must run where `spawn_local` works.
pub async fn fetch_on(ground: Ground, config: &FetchConfig, observe: &mut dyn FnMut(&TorrentView)) -> Outcome {
    let began = Instant::now();
    let mut stops = Stops(ground.stops);
    let (torrent, mut views) = torrent_config(config, ground.net, ground.storage);
    let session = Session::new(SessionConfig {
        torrents: vec![torrent],
        metrics_every: config.metrics_every,
        stop_timeout: config.shutdown_timeout,
        seed: config.seed,
    });
    let (root, end) = kit::spawn_root(session, policies::SESSION, config.seed);
    let ending = watch_over(config, &mut stops, &mut views, observe, (root, end)).await;
    write_summary();
    let view = views.borrow().clone();
    Outcome::new(ending, view, began.elapsed())
}

/// Until the torrent is complete, has failed, stalls, or the user has had enough; then the bounded stop.
async fn watch_over(
    config: &FetchConfig,
    stops: &mut Stops,
    views: &mut watch::Receiver<TorrentView>,
    observe: &mut dyn FnMut(&TorrentView),
    (root, mut end): (Handle<Session>, oneshot::Receiver<Exit>),
) -> Ending {
    let mut stall = Stall::new(config.stall_timeout);
    let ending = loop {
        tokio::select! {
            biased;
            exit = &mut end => return gave_up(exit.ok()),
            () = stops.next() => break Ending::Interrupted,
            () = stall.elapsed() => break Ending::Stalled(config.stall_timeout.unwrap_or_default()),
            changed = views.changed() => {
                if changed.is_err() {
                    return gave_up(end.await.ok());
                }
                let view = views.borrow_and_update().clone();
                stall.on_view(&view);
                observe(&view);
                match view.phase {
                    Phase::Complete => break Ending::Complete,
                    Phase::Failed(failure) => break Ending::Failed(failure),
                    Phase::Opening | Phase::Checking { .. } | Phase::Fetching => {}
                }
            }
        }
    };
    root.stop();
    let deadline = Instant::now() + config.shutdown_timeout;
    tokio::select! {
        biased;
        _exit = &mut end => ending,
        () = stops.next(), if matches!(ending, Ending::Interrupted) => Ending::Killed,
        () = sleep_until(deadline) => {
            tracing::warn!(limit_s = config.shutdown_timeout.as_secs(), "stop took too long and was cut short");
            ending
        }
    }
}

fn gave_up(exit: Option<Exit>) -> Ending {
    Ending::GaveUp(exit.map_or_else(|| "the root is gone".to_owned(), |exit| exit.to_string()))
}

fn torrent_config(
    config: &FetchConfig,
    net: Net,
    storage: SharedStorage,
) -> (TorrentConfig, watch::Receiver<TorrentView>) {
    let metainfo = &config.metainfo;
    let descriptors = Descriptors::of_this_process();
    let piece_len = u64::from(metainfo.geometry.nominal_piece_len());
    let view = TorrentView::new(metainfo.name.clone(), metainfo.info_hash, metainfo.geometry.total_len());
    let (view, views) = watch::channel(view);
    let torrent = TorrentConfig {
        name: metainfo.name.clone(),
        info_hash: metainfo.info_hash,
        geometry: metainfo.geometry,
        tiers: config.tiers.clone(),
        private: metainfo.private,
        peers: config.peers.clone(),
        our_id: config.our_id(),
        port: config.port,
        net,
        limits: Limits::new(config.max_down_bps, config.max_up_bps),
        storage,
        patient_disk: config.wait_for_space,
        credit: CREDIT.max(4 * piece_len),
        book: BookConfig { max_connected: config.max_peers.min(descriptors.peers), ..BookConfig::default() },
        // Trackers and disk are the two that can hang, and both must fit into the whole.
        stop_timeout: config.shutdown_timeout.mul_f64(0.45),
        seed: config.seed,
        view: Arc::new(view),
    };
    (torrent, views)
}

fn network(config: &FetchConfig) -> Net {
    config.bind.map_or_else(Sockets::any, Sockets::bound_to)
}

fn disk(config: &FetchConfig) -> SharedStorage {
    let disk = DiskConfig {
        folder: config.dir.clone(),
        durability: config.durability,
        overwrite: config.overwrite,
        verify: config.verify,
        max_open: Descriptors::of_this_process().files,
    };
    Rc::new(Disk::new(&config.metainfo, disk))
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// As wishes to stop, as long as somebody listens.
    fn forward(mut self) -> mpsc::Receiver<()> {
        let (wish, stops) = mpsc::channel(2);
        spawn_local(async move {
            loop {
                self.next().await;
                if wish.send(()).await.is_err() {
                    break;
                }
            }
        });
        stops
    }
}

/// The user's wishes to stop; when nobody is left to wish, there is none.
struct Stops(mpsc::Receiver<()>);

impl Stops {
    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            pending::<()>().await;
        }
    }
}

/// The clock of `--stall-timeout`: it runs while fetching and starts anew with every byte.
struct Stall {
    limit: Option<Duration>,
    received: u64,
    since: Instant,
}

impl Stall {
    fn new(limit: Option<Duration>) -> Self {
        Self { limit, received: 0, since: Instant::now() }
    }

    fn on_view(&mut self, view: &TorrentView) {
        if view.bytes_received != self.received || !matches!(view.phase, Phase::Fetching) {
            (self.received, self.since) = (view.bytes_received, Instant::now());
        }
    }

    async fn elapsed(&self) {
        match self.limit {
            Some(limit) => sleep_until(self.since + limit).await,
            None => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::view::Failure;
    use crate::codec::metainfo::Metainfo;
    use crate::storage::OpenTrouble;

    /// One file `x` of three bytes, `abc`.
    fn torrent() -> Metainfo {
        let mut file = b"d4:infod6:lengthi3e4:name1:x12:piece lengthi16384e6:pieces20:".to_vec();
        file.extend(b"\xa9\x99\x3e\x36\x47\x06\x81\x6a\xba\x3e\x25\x71\x78\x50\xc2\x6c\x9c\xd0\xd8\x9dee");
        Metainfo::parse(&file).unwrap()
    }

    fn fetched(there: Option<&str>, change: impl FnOnce(&mut FetchConfig)) -> (Outcome, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        if let Some(content) = there {
            std::fs::write(dir.path().join("x"), content).unwrap();
        }
        let mut config = FetchConfig::new(torrent(), dir.path().to_path_buf());
        change(&mut config);
        let outcome = fetch(&config, &mut |_| {}).unwrap();
        (outcome, std::fs::read_to_string(dir.path().join("x")).ok())
    }

    #[test]
    fn what_is_there_already_is_not_fetched() {
        let (outcome, _) = fetched(Some("abc"), |_| {});
        assert!(matches!(outcome.ending, Ending::Complete), "{:?}", outcome.ending);
        assert_eq!((outcome.view.bytes_kept, outcome.view.bytes_checked, outcome.view.bytes_received), (3, 3, 0));
    }

    #[test]
    fn somebody_elses_file_ends_it_untouched() {
        let (outcome, left) = fetched(Some("xyz"), |_| {});
        let Ending::Failed(Failure::Open(trouble)) = &outcome.ending else { panic!("{:?}", outcome.ending) };
        assert!(matches!(&**trouble, OpenTrouble::WouldOverwrite { .. }), "{trouble}");
        assert_eq!(left.as_deref(), Some("xyz"));
    }

    #[test]
    fn a_download_without_any_peer_stalls() {
        let limit = Duration::from_millis(50);
        let (outcome, left) = fetched(None, |config| config.stall_timeout = Some(limit));
        assert!(matches!(outcome.ending, Ending::Stalled(stalled) if stalled == limit), "{:?}", outcome.ending);
        assert_eq!(left, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_stall_clock_runs_only_while_nothing_comes() {
        let limit = Duration::from_secs(60);
        let mut stall = Stall::new(Some(limit));
        let mut view = TorrentView::new("x".to_owned(), torrent().info_hash, 3);
        let mut seen = async |phase, received, secs| {
            (view.phase, view.bytes_received) = (phase, received);
            stall.on_view(&view);
            tokio::time::timeout(Duration::from_secs(secs), stall.elapsed()).await.is_ok()
        };
        let checking = || Phase::Checking { done: 0, total: 1, reason: None };
        assert!(!seen(checking(), 0, 59).await);
        assert!(!seen(checking(), 0, 59).await, "it is the disk that takes its time");
        assert!(!seen(Phase::Fetching, 1, 59).await);
        assert!(!seen(Phase::Fetching, 2, 59).await, "a byte came");
        assert!(seen(Phase::Fetching, 2, 2).await);
        let never = tokio::time::timeout(Duration::from_secs(1_000_000), Stall::new(None).elapsed()).await;
        assert!(never.is_err());
    }
}
