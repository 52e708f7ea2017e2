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
    /// Run a peer with the given behaviour until Ctrl-C
    Peer(PeerArgs),
    /// Run a tracker with the given behaviour until Ctrl-C
    Tracker(FaultTrackerArgs),
    /// Run a relay with the given faults in front of an address until Ctrl-C
    Relay(RelayArgs),
}

/// `fault list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Show the words of behaviours and toxics instead of the catalogue
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
    /// The number of seeds, played one after the other
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seeds: u64,
    /// The number of scenarios that run at a time
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: u16,
    /// Print what the client logs in the simulator, with virtual time, to standard error
    #[arg(long)]
    pub trace: bool,
    /// Play layer `net` against this client instead of ours: a command line with {torrent}, {dir} and {port}
    #[arg(long, value_name = "CMD")]
    pub client: Option<Template>,
    /// The time in which each download on layer `net` must complete [default: the limit of the scenario]
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
    /// Words separated by commas, such as `corrupt=0.01,reset_every=300k`; without words an honest seed
    #[arg(long, default_value = "", value_name = "WORDS")]
    pub behaviour: Behaviour,
    /// Where to listen; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR:PORT")]
    pub at: SocketAddr,
    /// Serve this torrent, whose data is in --dir; without it a payload is made and written there
    #[arg(long, value_name = "FILE")]
    pub torrent: Option<PathBuf>,
    /// Where the data is, or is written
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// The size of the payload that is made
    #[arg(long, default_value = "16M", value_name = "SIZE", value_parser = payload_size)]
    pub size: u64,
    /// The seed of the payload and of all random numbers
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
    /// Words separated by commas, such as `interval=0,dead_peers=200`; without words an honest tracker
    #[arg(long, default_value = "", value_name = "WORDS")]
    pub behaviour: TrackerBehaviour,
    /// Where to listen; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR:PORT")]
    pub at: SocketAddr,
    /// Serve UDP instead of HTTP
    #[arg(long)]
    pub udp: bool,
    /// The seed of all random numbers
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
}

/// `fault relay`.
#[derive(Debug, clap::Args)]
pub struct RelayArgs {
    /// The address to which the relay connects
    #[arg(long, value_name = "ADDR:PORT")]
    pub to: SocketAddr,
    /// Words separated by commas, with toxiproxy's names, such as `latency=50ms,slicer:avg=64`; without words the relay
    /// changes nothing
    #[arg(long, default_value = "", value_name = "WORDS")]
    pub toxic: Toxics,
    /// Where to listen; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR:PORT")]
    pub at: SocketAddr,
    /// Relay datagrams instead of streams
    #[arg(long)]
    pub udp: bool,
    /// The seed of all random numbers
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
}
