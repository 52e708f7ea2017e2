//! The configuration of a run. Everything is decided; nothing has to be looked up.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::{SmallRng, SysRng};

use super::descriptors::Descriptors;
use super::hook::CompletionHook;
use crate::actors::torrent::Aim;
use crate::base::ids::PeerId;
use crate::codec::metainfo::{Info, Metainfo};
use crate::logic::disk::layout::Layout;
use crate::logic::torrent::selection::WantedPieces;
use crate::storage::Durability;

/// One torrent of a run.
#[derive(Debug, Clone)]
pub struct Job {
    /// The torrent.
    pub metainfo: Metainfo,
    /// Announce URLs by tier, with the user's additions and without the user's exclusions.
    pub tiers: Vec<Vec<String>>,
    /// Whether each file is wanted, in the order of the torrent; `None`: all files.
    pub select: Option<Vec<bool>>,
}

impl Job {
    /// A job for all files of a torrent, with the torrent's own trackers.
    pub fn new(metainfo: Metainfo) -> Self {
        Self { tiers: metainfo.tiers.clone(), metainfo, select: None }
    }

    /// The pieces that are wanted.
    pub fn wanted(&self) -> WantedPieces {
        let Info { geometry, files, .. } = &*self.metainfo.info;
        let layout = Layout::new(files.iter().map(|file| file.len));
        let of_files = |select: &Vec<bool>| WantedPieces::of_files(geometry, &layout, select);
        self.select.as_ref().map_or_else(|| WantedPieces::everything(geometry), of_files)
    }
}

/// A run that fetches or seeds torrents.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub struct RunConfig {
    /// The torrents, each once.
    pub jobs: Vec<Job>,
    /// Whether the run fetches or seeds.
    pub aim: Aim,
    /// Hide from peers which pieces are there, and announce them one by one (BEP 16).
    pub super_seed: bool,
    /// The number of threads that share the torrents.
    pub arbiters: usize,
    /// The folder where the data is, or where it is written.
    pub dir: PathBuf,
    /// The port to listen on; `None`: the first free one of the usual ports, else any.
    pub port: Option<u16>,
    /// The only local address to use.
    pub bind: Option<IpAddr>,
    /// The only network device to use.
    pub interface: Option<String>,
    /// Hash everything that is on the disk first.
    pub verify: bool,
    /// Files that are in the way may be overwritten.
    pub overwrite: bool,
    /// The largest number of connected peers of a torrent.
    pub max_peers: usize,
    /// The limit of bytes a second read from peers, for all torrents together; `None`: no limit.
    pub max_down_bps: Option<u64>,
    /// The limit of bytes a second written to peers, for all torrents together; `None`: no limit.
    pub max_up_bps: Option<u64>,
    /// Peers that the user named, for every torrent.
    pub peers: Vec<SocketAddr>,
    /// Give up when no byte was received for this long.
    pub stall_timeout: Option<Duration>,
    /// The longest time that a stop may take.
    pub shutdown_timeout: Duration,
    /// What must survive a power cut.
    pub durability: Durability,
    /// Wait for a full disk to have space again.
    pub wait_for_space: bool,
    /// Keep the state of a torrent even when nothing in it is needed any more.
    pub keep_state: bool,
    /// The program to run for each complete torrent.
    pub on_complete: Option<CompletionHook>,
    /// How often metrics are logged.
    pub metrics_every: Option<Duration>,
    /// The seed of all random choices: our peer id, jitter, the order of trackers and pieces.
    pub seed: u64,
}

impl RunConfig {
    /// A fetch with the defaults of the command line.
    pub fn new(jobs: Vec<Job>, dir: PathBuf) -> Self {
        Self {
            jobs,
            aim: Aim::Fetch { then: None },
            super_seed: false,
            arbiters: 1,
            dir,
            port: None,
            bind: None,
            interface: None,
            verify: false,
            overwrite: false,
            max_peers: 80,
            max_down_bps: None,
            max_up_bps: None,
            peers: Vec::new(),
            stall_timeout: None,
            shutdown_timeout: Duration::from_secs(5),
            durability: Durability::Safe,
            wait_for_space: false,
            keep_state: false,
            on_complete: None,
            metrics_every: None,
            seed: seed_from_system(),
        }
    }

    /// The shares of this process's file descriptors.
    pub(super) fn descriptors(&self) -> Descriptors {
        Descriptors::of_this_process(self.jobs.len(), self.arbiters)
    }

    /// Our peer id, one per run.
    pub fn our_id(&self) -> PeerId {
        use rand::{RngExt, SeedableRng};
        PeerId::ours(SmallRng::seed_from_u64(self.seed).random())
    }
}

/// Seconds since 1970 by the system's clock; 0 before 1970.
pub fn wall_clock() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "it is injected from here")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A random seed from the system; the process id if the system gives none.
pub fn seed_from_system() -> u64 {
    SysRng.try_next_u64().unwrap_or_else(|_no_dice| u64::from(std::process::id()))
}

/// A random secret from the system. Fails if the system gives none, because signatures need a real secret.
pub fn secret_from_system() -> Result<[u8; 32], impl std::error::Error> {
    let mut secret = [0; 32];
    SysRng.try_fill_bytes(&mut secret).map(|()| secret)
}
