//! A tracker from its first socket to its end: sockets, the list of torrents, the state file, signals, the bounded stop.
//!
//! Files are read and written on the blocking pool while requests are answered, so that nothing a disk does keeps it from
//! hearing a signal.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::keeper::{GetCounts, NewAllowList, SwarmKeeper};
use super::server::{ServerConfig, TrackerServer};
use super::state::{NotSaved, Restored, SAVE_EVERY, SwarmState, WallClock};
use crate::actors::kit::{self, ActorExit};
use crate::actors::metrics::write_summary;
use crate::actors::policies;
use crate::logic::tracker_server::{AllowList, BadAllowList, DeskConfig, RegistryLimits, Stats};
use crate::net::sockets::Sockets;
use crate::net::{DatagramSocket, Listen, Net};
use crate::storage::regular;
use crate::storage::state_file::NoStateFile;

/// 5 s for the whole stop; nothing in it should take a tenth of one.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// 100 ms for jobs of the pool that are still under way at the end. A disk that hangs must not keep the program.
const LAST_JOBS: Duration = Duration::from_millis(100);

/// 64 MiB: the hashes of 1.6 million torrents.
const MAX_ALLOW_LIST: u64 = 64 * 1024 * 1024;

/// A tracker, everything decided.
#[derive(Clone)]
pub struct TrackerServerConfig {
    /// Where HTTP is served; port 0 lets the system choose.
    pub http: Vec<SocketAddr>,
    /// Where UDP is served.
    pub udp: Vec<SocketAddr>,
    /// How often clients are to announce.
    pub interval: Duration,
    /// Requests a second of each host; 0: any number.
    pub rate: u32,
    /// What it holds at most.
    pub limits: RegistryLimits,
    /// HTTP connections at most: as many as the process has descriptors for.
    pub max_connections: usize,
    /// The file that lists the torrents served, read again on SIGHUP; `None`: all torrents.
    pub allow: Option<PathBuf>,
    /// The file in which swarms survive a restart; `None`: they do not.
    pub state: Option<PathBuf>,
    /// Tells how old that file is.
    pub wall: WallClock,
    /// How often metrics go into the log.
    pub metrics_every: Option<Duration>,
    /// For dice and hashes.
    pub seed: u64,
    /// For connection ids.
    pub secret: [u8; 32],
}

impl std::fmt::Debug for TrackerServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrackerConfig").field("http", &self.http).field("udp", &self.udp).finish_non_exhaustive()
    }
}

/// What happens while it runs.
#[derive(Debug)]
pub enum ServerEvent {
    /// It serves here.
    Listening {
        /// HTTP.
        http: Vec<SocketAddr>,
        /// UDP.
        udp: Vec<SocketAddr>,
        /// Torrents on the list, if there is one.
        allowed: Option<usize>,
    },
    /// The list was read again: torrents on it, or why the old one stays.
    Reread(Result<usize, ServerTrouble>),
    /// The state file was looked at.
    Restored(PathBuf, Restored),
    /// The swarms could not be written to the state file.
    NotSaved(PathBuf, NotSaved),
}

/// Why it cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerTrouble {
    /// The runtime cannot be made.
    #[error("cannot start: {0}")]
    Runtime(#[from] io::Error),
    /// An address cannot be had.
    #[error("cannot listen on {at}: {error}; choose another address or port")]
    Listen {
        /// As it was wished for, with its scheme.
        at: String,
        /// Why.
        error: io::Error,
    },
    /// The list cannot be read.
    #[error("cannot read the list of torrents {}: {error}", path.display())]
    AllowFile {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The list is none.
    #[error("bad list of torrents {}: {error}", path.display())]
    AllowList {
        /// Where it is.
        path: PathBuf,
        /// Why.
        error: BadAllowList,
    },
    /// The state file cannot be used at all.
    #[error("cannot keep the swarms: {0}")]
    StateFile(#[from] NoStateFile),
    /// The supervision tree gave up.
    #[error("the tracker gave up: {0}")]
    GaveUp(String),
}

/// Serves until SIGINT or SIGTERM; `tell` hears the news. Gives what was done.
pub fn serve(config: &TrackerServerConfig, tell: &mut dyn FnMut(&ServerEvent)) -> Result<Option<Stats>, ServerTrouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = LocalSet::new().block_on(&runtime, serve_on(&Sockets::any(), config, tell));
    runtime.shutdown_timeout(LAST_JOBS);
    served
}

async fn serve_on(
    net: &Net,
    config: &TrackerServerConfig,
    tell: &mut dyn FnMut(&ServerEvent),
) -> Result<Option<Stats>, ServerTrouble> {
    let mut signals = Signals::new()?;
    let files = tokio::select! {
        biased;
        () = signals.stop() => return Ok(None),
        files = open_files(config) => files,
    };
    let (allow, state) = files?;
    let allowed = allow.as_ref().map(AllowList::len);
    let (http, udp) = open(net, config).await?;
    let addresses = |of: &mut dyn Iterator<Item = SocketAddr>| of.collect::<Vec<_>>();
    let listening = ServerEvent::Listening {
        http: addresses(&mut http.iter().map(|(_, at)| *at)),
        udp: addresses(&mut udp.iter().map(|(_, at)| *at)),
        allowed,
    };
    let (keeper, keepers) = watch::channel(None);
    let desk = DeskConfig {
        interval: config.interval,
        rate: config.rate,
        limits: config.limits,
        allow,
        seed: config.seed,
        secret: config.secret,
    };
    let server = TrackerServer::new(ServerConfig {
        desk,
        max_connections: (config.max_connections / http.len().max(1)).max(1),
        http,
        udp,
        metrics_every: config.metrics_every,
        stop_timeout: STOP_TIMEOUT / 5,
        keeper,
    });
    let (root, mut end) = kit::spawn_root(server, policies::TRACKER_SERVER, config.seed);
    let (allow, running) = (config.allow.clone(), FuturesUnordered::new());
    let mut chores = Chores { allow, state, keepers, running, is_saving: false };
    let stopped = tokio::select! {
        biased;
        () = signals.stop() => true,
        () = chores.restore(tell) => false,
    };
    tell(&listening);
    if !stopped {
        tokio::select! {
            biased;
            exit = &mut end => return Err(gave_up(exit.ok())),
            () = chores.look_after(&mut signals, tell) => {}
        }
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    let last_save = timeout_at(deadline - STOP_TIMEOUT / 5, chores.save_at_the_end(stopped, tell));
    tokio::select! {
        biased;
        () = signals.stop() => {}
        saved = last_save => if saved.is_err() {
            tracing::warn!("the swarms could not be written in time, the state file is an older one");
        },
    }
    let stats = chores.survey().await;
    root.stop();
    tokio::select! {
        biased;
        _exit = &mut end => {}
        () = sleep_until(deadline) => tracing::warn!("stop took too long and was cut short"),
    }
    write_summary();
    Ok(stats)
}

/// The list and the state file, where they are wished for.
async fn open_files(config: &TrackerServerConfig) -> Result<(Option<AllowList>, Option<SwarmState>), ServerTrouble> {
    let allow = match config.allow.clone() {
        Some(path) => Some(read_allow_list(path).await?),
        None => None,
    };
    let state = match &config.state {
        Some(path) => Some(SwarmState::open(path, config.wall, &config.limits).await?),
        None => None,
    };
    Ok((allow, state))
}

/// What has been read or written.
enum Done {
    Reread(Result<AllowList, ServerTrouble>),
    Saved(Result<(), NotSaved>),
}

/// What is done on the side while requests are answered: at most one reading of the list and one writing of the swarms.
struct Chores {
    allow: Option<PathBuf>,
    state: Option<SwarmState>,
    keepers: watch::Receiver<Option<Addr<SwarmKeeper>>>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Done>>>>,
    is_saving: bool,
}

impl Chores {
    fn keeper(&self) -> Option<Addr<SwarmKeeper>> {
        self.keepers.borrow().clone()
    }

    /// What the tracker has done and holds.
    async fn survey(&self) -> Option<Stats> {
        self.keeper()?.send(GetCounts).await.ok()
    }

    /// Reads the state file, if there is to be one.
    async fn restore(&mut self, tell: &mut dyn FnMut(&ServerEvent)) {
        let Some(state) = &self.state else { return };
        let Ok(keeper) = self.keepers.wait_for(Option::is_some).await.map(|keeper| keeper.clone()) else { return };
        let Some(keeper) = keeper else { return };
        let (restored, path) = (state.restore(&keeper).await, state.path().to_owned());
        if matches!(restored, Restored::Broken(_, Err(_))) {
            self.state = None;
        }
        tell(&ServerEvent::Restored(path, restored));
    }

    /// Until a signal says stop.
    async fn look_after(&mut self, signals: &mut Signals, tell: &mut dyn FnMut(&ServerEvent)) {
        let (mut is_reading, mut read_again, mut save_at) = (false, false, Instant::now() + SAVE_EVERY);
        loop {
            if read_again && !is_reading {
                (is_reading, read_again) = (true, false);
                if let Some(path) = self.allow.clone() {
                    self.running.push(Box::pin(async { Done::Reread(read_allow_list(path).await) }));
                }
            }
            tokio::select! {
                biased;
                wish = signals.next() => match wish {
                    Wish::Stop => return,
                    Wish::Reread => read_again = self.allow.is_some(),
                },
                Some(done) = self.running.next() => {
                    is_reading &= !matches!(done, Done::Reread(_));
                    self.on_done(done, tell);
                }
                () = sleep_until(save_at) => {
                    save_at = Instant::now() + SAVE_EVERY;
                    self.save();
                }
            }
        }
    }

    /// Begins to write, unless there is nothing to write to or it is being written.
    fn save(&mut self) {
        if let (Some(state), Some(keeper), false) = (self.state.clone(), self.keeper(), self.is_saving) {
            self.is_saving = true;
            self.running.push(Box::pin(async { Done::Saved(state.save(keeper).await) }));
        }
    }

    /// Writes a last time, and waits for it. What was never read is not overwritten.
    async fn save_at_the_end(&mut self, is_unread: bool, tell: &mut dyn FnMut(&ServerEvent)) {
        if is_unread {
            return;
        }
        while let Some(done) = self.running.next().await {
            self.on_done(done, tell);
        }
        self.save();
        while let Some(done) = self.running.next().await {
            self.on_done(done, tell);
        }
    }

    /// The list as it is now goes to the keeper; one that cannot be read leaves the old one in force.
    fn on_done(&mut self, done: Done, tell: &mut dyn FnMut(&ServerEvent)) {
        self.is_saving &= !matches!(done, Done::Saved(_));
        match (done, &self.state) {
            (Done::Reread(Ok(allow)), _) => {
                let len = allow.len();
                if let Some(keeper) = self.keeper() {
                    keeper.do_send(NewAllowList(allow));
                }
                tell(&ServerEvent::Reread(Ok(len)));
            }
            (Done::Reread(Err(trouble)), _) => tell(&ServerEvent::Reread(Err(trouble))),
            (Done::Saved(Err(why)), Some(state)) => tell(&ServerEvent::NotSaved(state.path().to_owned(), why)),
            (Done::Saved(_), _) => {}
        }
    }
}

type HttpSockets = Vec<(Rc<dyn Listen>, SocketAddr)>;
type UdpSockets = Vec<(Rc<dyn DatagramSocket>, SocketAddr)>;

/// All sockets, or none.
async fn open(net: &Net, config: &TrackerServerConfig) -> Result<(HttpSockets, UdpSockets), ServerTrouble> {
    let trouble = |scheme, at| move |error| ServerTrouble::Listen { at: format!("{scheme}://{at}"), error };
    let (mut http, mut udp) = (Vec::new(), Vec::new());
    for at in &config.http {
        let listener: Rc<dyn Listen> = Rc::from(net.listen(*at).await.map_err(trouble("http", at))?);
        let at = listener.local_addr().map_err(trouble("http", at))?;
        http.push((listener, at));
    }
    for at in &config.udp {
        let socket = net.datagrams(*at).await.map_err(trouble("udp", at))?;
        let at = socket.local_addr().map_err(trouble("udp", at))?;
        udp.push((socket, at));
    }
    Ok((http, udp))
}

async fn read_allow_list(path: PathBuf) -> Result<AllowList, ServerTrouble> {
    let read = regular::read(path.clone(), MAX_ALLOW_LIST).await;
    let text = read.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
    let text = text.map_err(|error| ServerTrouble::AllowFile { path: path.clone(), error })?;
    AllowList::parse(&text).map_err(|error| ServerTrouble::AllowList { path, error })
}

fn gave_up(exit: Option<ActorExit>) -> ServerTrouble {
    ServerTrouble::GaveUp(exit.map_or_else(|| "the root is gone".to_owned(), |exit| exit.to_string()))
}

/// SIGINT and SIGTERM end it, SIGHUP makes it read its list again.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Until it is told to stop; what else is wished for meanwhile is dropped.
    async fn stop(&mut self) {
        while let Wish::Reread = self.next().await {}
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.hang_up.recv() => Wish::Reread,
        }
    }
}

/// What the user wants.
enum Wish {
    Stop,
    Reread,
}
