//! What will be done: everything decided, nothing left to look up.

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
    /// Announce URLs by tier, the user's additions and exclusions applied.
    pub tiers: Vec<Vec<String>>,
    /// Which files are wanted, in the order of the torrent; `None`: all of them.
    pub select: Option<Vec<bool>>,
}

impl Job {
    /// All of it, with the trackers that the torrent names.
    pub fn new(metainfo: Metainfo) -> Self {
        Self { tiers: metainfo.tiers.clone(), metainfo, select: None }
    }

    /// What is wanted of it.
    pub fn wanted(&self) -> WantedPieces {
        let Info { geometry, files, .. } = &*self.metainfo.info;
        let layout = Layout::new(files.iter().map(|file| file.len));
        let of_files = |select: &Vec<bool>| WantedPieces::of_files(geometry, &layout, select);
        self.select.as_ref().map_or_else(|| WantedPieces::everything(geometry), of_files)
    }
}

/// A run: some torrents, fetched or given to others.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub struct RunConfig {
    /// What to work on, each torrent once.
    pub jobs: Vec<Job>,
    /// What for.
    pub aim: Aim,
    /// Hide from peers what is there and name it piece by piece (BEP 16).
    pub super_seed: bool,
    /// Threads that share the torrents.
    pub arbiters: usize,
    /// Where the data is, or goes.
    pub dir: PathBuf,
    /// The port to listen on; `None`: the first free one of the usual ones, then any.
    pub port: Option<u16>,
    /// The only local address to use.
    pub bind: Option<IpAddr>,
    /// The only network device to use.
    pub interface: Option<String>,
    /// Hash everything that is there first.
    pub verify: bool,
    /// Files in the way may be written over.
    pub overwrite: bool,
    /// Connected peers of a torrent at most.
    pub max_peers: usize,
    /// Bytes a second read from peers, over all torrents; without a limit if not told.
    pub max_down_bps: Option<u64>,
    /// Bytes a second written to peers.
    pub max_up_bps: Option<u64>,
    /// Peers that the user named, for every torrent.
    pub peers: Vec<SocketAddr>,
    /// Give up when no byte has come for this long.
    pub stall_timeout: Option<Duration>,
    /// The longest a stop may take.
    pub shutdown_timeout: Duration,
    /// What survives a power cut.
    pub durability: Durability,
    /// Wait for a full disk to have space again.
    pub wait_for_space: bool,
    /// The state of a torrent stays when nothing in it is needed any more.
    pub keep_state: bool,
    /// The program to run for each torrent that is complete.
    pub on_complete: Option<CompletionHook>,
    /// How often metrics go into the log.
    pub metrics_every: Option<Duration>,
    /// For all dice: who we are, jitter, the order of trackers and pieces.
    pub seed: u64,
}

impl RunConfig {
    /// A fetch as the command line has it when nothing is said.
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

    /// Who gets how many of the descriptors of this process.
    pub(super) fn descriptors(&self) -> Descriptors {
        Descriptors::of_this_process(self.jobs.len(), self.arbiters)
    }

    /// Our name in the swarm, one per run.
    pub fn our_id(&self) -> PeerId {
        use rand::{RngExt, SeedableRng};
        PeerId::ours(SmallRng::seed_from_u64(self.seed).random())
    }
}

/// Seconds since 1970 by the clock on the wall; 0 before that.
pub fn wall_clock() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "it is injected from here")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Dice from the system; from the process id where it has none.
pub fn seed_from_system() -> u64 {
    SysRng.try_next_u64().unwrap_or_else(|_no_dice| u64::from(std::process::id()))
}

/// A secret from the system; without one nothing is to be signed.
pub fn secret_from_system() -> Result<[u8; 32], impl std::error::Error> {
    let mut secret = [0; 32];
    SysRng.try_fill_bytes(&mut secret).map(|()| secret)
}
