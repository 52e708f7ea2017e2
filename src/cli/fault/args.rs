//! The command line of `fault`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use globset::Glob;

use crate::base::units::{parse_bytes, parse_duration};
use crate::faults::behaviour::Behaviour;
use crate::faults::program::Template;
use crate::faults::relay::toxic::Toxics;
use crate::faults::scenario::Layer;
use crate::faults::tracker_behaviour::TrackerBehaviour;

/// `fault`.
#[derive(Debug, clap::Args)]
pub struct FaultArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: FaultVerb,
}

/// The verbs behind `fault`.
#[derive(Debug, Subcommand)]
pub enum FaultVerb {
    /// Show the catalogue: what goes wrong, and which scenarios try it
    List(ListArgs),
    /// Play scenarios; exits 0 when all held, 10 when an invariant broke, 11 when it did not complete, 12 after a crash
    Run(RunArgs),
    /// Run a peer that behaves as told, until Ctrl-C
    Peer(PeerArgs),
    /// Run a tracker that behaves as told, until Ctrl-C
    Tracker(FaultTrackerArgs),
    /// Run a toxic relay in front of an address, until Ctrl-C
    Relay(RelayArgs),
}

/// `fault list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// The words of behaviours and toxics instead
    #[arg(long)]
    pub words: bool,
}

/// `fault run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Only this layer
    #[arg(long, value_enum, value_name = "LAYER")]
    pub layer: Option<LayerArg>,
    /// Only scenarios whose name or entry matches (`P-14,T-0*`)
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    pub only: Vec<Glob>,
    /// The first seed
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
    /// So many seeds, one after the other
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seeds: u64,
    /// So many scenarios at a time
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: u16,
    /// Print what the client logs in the simulator, with virtual time, to standard error
    #[arg(long)]
    pub trace: bool,
    /// Put this client on the stage of layer `net` instead of ours: a command line with {torrent}, {dir} and {port}
    #[arg(long, value_name = "CMD")]
    pub client: Option<Template>,
    /// Give everything that is to complete on layer `net` this long
    #[arg(long, value_name = "T", value_parser = parse_duration)]
    pub limit: Option<Duration>,
}

/// `--layer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LayerArg {
    /// The actor tree in a simulator, on virtual time
    Sim,
    /// The program on real sockets
    Net,
    /// The program under system-call injection and limits
    Host,
}

impl From<LayerArg> for Layer {
    fn from(arg: LayerArg) -> Self {
        match arg {
            LayerArg::Sim => Self::Sim,
            LayerArg::Net => Self::Net,
            LayerArg::Host => Self::Host,
        }
    }
}

/// `fault peer`.
#[derive(Debug, clap::Args)]
pub struct PeerArgs {
    /// Words with commas between them: `corrupt=0.01,reset_every=300k`; none is an honest seed
    #[arg(long, default_value = "", value_name = "WORDS")]
    pub behaviour: Behaviour,
    /// Where to listen; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR:PORT")]
    pub at: SocketAddr,
    /// Serve this torrent, whose data is in --dir; without it a payload is made and written there
    #[arg(long, value_name = "FILE")]
    pub torrent: Option<PathBuf>,
    /// Where the data is, or goes
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// Bytes of the payload that is made
    #[arg(long, default_value = "16M", value_name = "SIZE", value_parser = payload_size)]
    pub size: u64,
    /// Decides the payload and every die
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
}

/// Parses a size from 1 byte to 16 GiB, which is more than a disk writes in reasonable time.
fn payload_size(text: &str) -> Result<u64, String> {
    let size = parse_bytes(text)?;
    if (1..=16 << 30).contains(&size) { Ok(size) } else { Err("1 byte to 16G".to_owned()) }
}

/// `fault tracker`.
#[derive(Debug, clap::Args)]
pub struct FaultTrackerArgs {
    /// Words with commas between them: `interval=0,dead_peers=200`; none is an honest tracker
    #[arg(long, default_value = "", value_name = "WORDS")]
    pub behaviour: TrackerBehaviour,
    /// Where to listen; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR:PORT")]
    pub at: SocketAddr,
    /// Over UDP instead of HTTP
    #[arg(long)]
    pub udp: bool,
    /// Decides every die
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
}

/// `fault relay`.
#[derive(Debug, clap::Args)]
pub struct RelayArgs {
    /// Where it leads
    #[arg(long, value_name = "ADDR:PORT")]
    pub to: SocketAddr,
    /// Words with commas between them, toxiproxy's names: `latency=50ms,slicer:avg=64`; none spoils nothing
    #[arg(long, default_value = "", value_name = "WORDS")]
    pub toxic: Toxics,
    /// Where to listen; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR:PORT")]
    pub at: SocketAddr,
    /// Datagrams instead of streams
    #[arg(long)]
    pub udp: bool,
    /// Decides every die
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
}
