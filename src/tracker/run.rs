//! A tracker from its first socket to its end: sockets, the list of torrents, signals, the bounded stop.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

use super::keeper::{NewAllowList, Survey, SwarmKeeper};
use super::server::{ServerConfig, TrackerServer};
use crate::actors::kit::{self, Exit};
use crate::actors::metrics::write_summary;
use crate::actors::policies;
use crate::logic::tracker::{AllowList, BadAllowList, DeskConfig, Limits, Stats};
use crate::net::sockets::Sockets;
use crate::net::{Datagrams, Listen, Net};

/// 5 s for the whole stop; nothing in it should take a tenth of one.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// 64 MiB: the hashes of 1.6 million torrents.
const MAX_ALLOW_LIST: u64 = 64 * 1024 * 1024;

/// A tracker, everything decided.
#[derive(Clone)]
pub struct TrackerConfig {
    /// Where HTTP is served; port 0 lets the system choose.
    pub http: Vec<SocketAddr>,
    /// Where UDP is served.
    pub udp: Vec<SocketAddr>,
    /// How often clients are to announce.
    pub interval: Duration,
    /// Requests a second of each host; 0: any number.
    pub rate: u32,
    /// What it holds at most.
    pub limits: Limits,
    /// HTTP connections at most: as many as the process has descriptors for.
    pub max_connections: usize,
    /// The file that lists the torrents served, read again on SIGHUP; `None`: all torrents.
    pub allow: Option<PathBuf>,
    /// How often metrics go into the log.
    pub metrics_every: Option<Duration>,
    /// For dice and hashes.
    pub seed: u64,
    /// For connection ids.
    pub secret: [u8; 32],
}

impl std::fmt::Debug for TrackerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrackerConfig").field("http", &self.http).field("udp", &self.udp).finish_non_exhaustive()
    }
}

/// What happens while it runs.
#[derive(Debug)]
pub enum News {
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
    Reread(Result<usize, Trouble>),
}

/// Why it cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
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
    /// The supervision tree gave up.
    #[error("the tracker gave up: {0}")]
    GaveUp(String),
}

/// Serves until SIGINT or SIGTERM; `tell` hears the news. Gives what was done.
pub fn serve(config: &TrackerConfig, tell: &mut dyn FnMut(&News)) -> Result<Option<Stats>, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve_on(&Sockets::any(), config, tell))
}

async fn serve_on(net: &Net, config: &TrackerConfig, tell: &mut dyn FnMut(&News)) -> Result<Option<Stats>, Trouble> {
    let mut signals = Signals::new()?;
    let allow = config.allow.as_deref().map(read_allow_list).transpose()?;
    let allowed = allow.as_ref().map(AllowList::len);
    let (http, udp) = open(net, config).await?;
    let addresses = |of: &mut dyn Iterator<Item = SocketAddr>| of.collect::<Vec<_>>();
    let listening = News::Listening {
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
    tell(&listening);
    loop {
        let wish = tokio::select! {
            biased;
            exit = &mut end => return Err(gave_up(exit.ok())),
            wish = signals.next() => wish,
        };
        match (wish, &config.allow) {
            (Wish::Stop, _) => break,
            (Wish::Reread, None) => {}
            (Wish::Reread, Some(path)) => tell(&News::Reread(reread(path, keepers.borrow().as_ref()))),
        }
    }
    let last = keepers.borrow().clone();
    let stats = match last {
        Some(keeper) => keeper.send(Survey).await.ok(),
        None => None,
    };
    root.stop();
    tokio::select! {
        biased;
        _exit = &mut end => {}
        () = sleep_until(Instant::now() + STOP_TIMEOUT) => tracing::warn!("stop took too long and was cut short"),
    }
    write_summary();
    Ok(stats)
}

type HttpSockets = Vec<(Rc<dyn Listen>, SocketAddr)>;
type UdpSockets = Vec<(Rc<dyn Datagrams>, SocketAddr)>;

/// All sockets, or none.
async fn open(net: &Net, config: &TrackerConfig) -> Result<(HttpSockets, UdpSockets), Trouble> {
    let trouble = |scheme, at| move |error| Trouble::Listen { at: format!("{scheme}://{at}"), error };
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

/// The list as it is now goes to the keeper; one that cannot be read leaves the old one in force.
fn reread(path: &Path, keeper: Option<&Addr<SwarmKeeper>>) -> Result<usize, Trouble> {
    let allow = read_allow_list(path)?;
    let len = allow.len();
    if let Some(keeper) = keeper {
        keeper.do_send(NewAllowList(allow));
    }
    Ok(len)
}

fn read_allow_list(path: &Path) -> Result<AllowList, Trouble> {
    use std::io::Read;
    let read = || {
        let mut text = String::new();
        let read = std::fs::File::open(path)?.take(MAX_ALLOW_LIST + 1).read_to_string(&mut text)?;
        if read as u64 > MAX_ALLOW_LIST {
            return Err(io::Error::other("it has more than 64 MiB"));
        }
        Ok(text)
    };
    let text = read().map_err(|error| Trouble::AllowFile { path: path.to_owned(), error })?;
    AllowList::parse(&text).map_err(|error| Trouble::AllowList { path: path.to_owned(), error })
}

fn gave_up(exit: Option<Exit>) -> Trouble {
    Trouble::GaveUp(exit.map_or_else(|| "the root is gone".to_owned(), |exit| exit.to_string()))
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
