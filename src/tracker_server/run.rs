//! One run of the tracker, from its first socket to its end: sockets, the list of torrents, the state file, signals,
//! the bounded stop.
//!
//! Files are read and written on the blocking pool while requests are answered, so that a slow disk does not delay
//! signals.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::keeper::{GetCounts, NewAllowList, SwarmKeeper};
use super::server::{ServerConfig, TrackerServer};
use super::state::{NotSaved, Restored, SAVE_EVERY, SwarmState, WallClock};
use crate::actors::kit::TreeRoot;
use crate::actors::kit::root::{arbiter_runtime, live};
use crate::actors::metrics::write_summary;
use crate::actors::policies;
use crate::logic::tracker_server::{AllowList, BadAllowList, DeskConfig, RegistryLimits, Stats};
use crate::net::sockets::Sockets;
use crate::net::{DatagramSocket, Listen, Net};
use crate::storage::regular;
use crate::storage::state_file::NoStateFile;
use crate::system::signals::{HangUp, SignalRequest, StopSignals};

/// 5 s for the whole stop, which should not take a tenth of that.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// 64 MiB: the hashes of 1.6 million torrents.
const MAX_ALLOW_LIST: u64 = 64 * 1024 * 1024;

/// The configuration of the tracker.
#[derive(Clone)]
pub struct TrackerServerConfig {
    /// The addresses where HTTP is served; with port 0 the system chooses the port.
    pub http: Vec<SocketAddr>,
    /// The addresses where UDP is served.
    pub udp: Vec<SocketAddr>,
    /// How often clients should announce.
    pub interval: Duration,
    /// Accepted requests a second of each host; 0: any number.
    pub rate: u32,
    /// The limits of swarms and peers.
    pub limits: RegistryLimits,
    /// The largest number of HTTP connections: as many as the process has descriptors for.
    pub max_connections: usize,
    /// The file that lists the allowed torrents, read again on SIGHUP; `None`: all torrents are allowed.
    pub allow: Option<PathBuf>,
    /// The file that keeps the swarms over a restart; `None`: they are not kept.
    pub state: Option<PathBuf>,
    /// The system's clock, to determine the age of that file.
    pub wall: WallClock,
    /// How often metrics are logged.
    pub metrics_every: Option<Duration>,
    /// The seed for random choices and hash tables.
    pub seed: u64,
    /// The secret that signs connection ids.
    pub secret: [u8; 32],
}

impl std::fmt::Debug for TrackerServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrackerServerConfig").field("http", &self.http).field("udp", &self.udp).finish_non_exhaustive()
    }
}

/// An event during the run of a tracker.
#[derive(Debug)]
pub enum ServerEvent {
    /// The tracker has opened its sockets.
    Listening {
        /// The addresses of HTTP.
        http: Vec<SocketAddr>,
        /// The addresses of UDP.
        udp: Vec<SocketAddr>,
        /// The number of allowed torrents, if there is a list.
        allowed: Option<usize>,
    },
    /// The list was read again: the number of its torrents, or the error because of which the old list stays.
    Reread(Result<usize, ServerTrouble>),
    /// The state file was read, with this result.
    Restored(PathBuf, Restored),
    /// The swarms could not be saved to the state file.
    NotSaved(PathBuf, NotSaved),
}

/// Why the tracker cannot start or continue.
#[derive(Debug, thiserror::Error)]
pub enum ServerTrouble {
    /// The runtime cannot be made.
    #[error("cannot start: {0}")]
    Runtime(#[from] io::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {at}: {error}; choose another address or port")]
    Listen {
        /// The configured address with its scheme.
        at: String,
        /// The error of the system.
        error: io::Error,
    },
    /// The list of torrents cannot be read.
    #[error("cannot read the list of torrents {}: {error}", path.display())]
    AllowFile {
        /// The path of the list.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The list of torrents is not valid.
    #[error("bad list of torrents {}: {error}", path.display())]
    AllowList {
        /// The path of the list.
        path: PathBuf,
        /// What is wrong with it.
        error: BadAllowList,
    },
    /// The state file cannot be used.
    #[error("cannot keep the swarms: {0}")]
    StateFile(#[from] NoStateFile),
    /// The supervision tree gave up, for this reason.
    #[error("the tracker gave up: {0}")]
    GaveUp(String),
}

/// Serves until SIGINT or SIGTERM. `tell` gets the events. Returns the final statistics, if there are any.
pub fn serve(config: &TrackerServerConfig, tell: &mut dyn FnMut(&ServerEvent)) -> Result<Option<Stats>, ServerTrouble> {
    live(arbiter_runtime()?, serve_on(&Sockets::any(), config, tell))
}

/// Serves on this network.
async fn serve_on(
    net: &Net,
    config: &TrackerServerConfig,
    tell: &mut dyn FnMut(&ServerEvent),
) -> Result<Option<Stats>, ServerTrouble> {
    let mut signals = StopSignals::new(HangUp::Reloads)?;
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
    let mut root = TreeRoot::start(server, policies::TRACKER_SERVER, config.seed);
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
            why = root.gave_up() => return Err(ServerTrouble::GaveUp(why)),
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
    root.stop(deadline.saturating_duration_since(Instant::now()), signals.stop()).await;
    write_summary();
    Ok(stats)
}

/// Reads the list of torrents and opens the state file, as configured.
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

/// A finished job.
enum Done {
    Reread(Result<AllowList, ServerTrouble>),
    Saved(Result<(), NotSaved>),
}

/// Jobs that run while requests are answered: at most one that reads the list and one that saves the swarms.
struct Chores {
    allow: Option<PathBuf>,
    state: Option<SwarmState>,
    keepers: watch::Receiver<Option<Addr<SwarmKeeper>>>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Done>>>>,
    is_saving: bool,
}

impl Chores {
    /// The address of the keeper; `None` before its first start.
    fn keeper(&self) -> Option<Addr<SwarmKeeper>> {
        self.keepers.borrow().clone()
    }

    /// Asks the keeper for its statistics; `None` if there is no keeper now.
    async fn survey(&self) -> Option<Stats> {
        self.keeper()?.send(GetCounts).await.ok()
    }

    /// Reads the state file into the keeper, if a state file is configured.
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
    async fn look_after(&mut self, signals: &mut StopSignals, tell: &mut dyn FnMut(&ServerEvent)) {
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
                request = signals.next() => match request {
                    SignalRequest::Stop => return,
                    SignalRequest::Reload => read_again = self.allow.is_some(),
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

    /// Begins to save, unless there is no state file or a save is running.
    fn save(&mut self) {
        if let (Some(state), Some(keeper), false) = (self.state.clone(), self.keeper(), self.is_saving) {
            self.is_saving = true;
            self.running.push(Box::pin(async { Done::Saved(state.save(keeper).await) }));
        }
    }

    /// Saves once more and waits for it. A state file that was never read is not overwritten.
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

    /// Finishes a job. A new list is sent to the keeper; if it could not be read, the old one stays in force.
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

/// Opens all sockets. Fails if one cannot be opened.
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

/// Reads the list of allowed torrents.
async fn read_allow_list(path: PathBuf) -> Result<AllowList, ServerTrouble> {
    let read = regular::read(path.clone(), MAX_ALLOW_LIST).await;
    let text = read.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
    let text = text.map_err(|error| ServerTrouble::AllowFile { path: path.clone(), error })?;
    AllowList::parse(&text).map_err(|error| ServerTrouble::AllowList { path, error })
}
