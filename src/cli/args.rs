//! The command line as it was typed. `app::config` has what will be done.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::names::NamesArgs;
use super::selection::SelectArgs;
use crate::base::units::{parse_bytes, parse_duration};
use crate::logic::tracker_server::{DEFAULT_RATE, MAX_INTERVAL, RegistryLimits};
use crate::storage::Durability;

/// A BitTorrent client whose every moving part is a supervised actor.
#[derive(Debug, Parser)]
#[command(name = "tt-actors", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// How to talk.
    #[command(flatten)]
    pub global: Global,
}

/// Options of every verb.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// One JSON object per line on standard output; the last line is the result
    #[arg(long, global = true)]
    pub json: bool,
    /// Print errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Log more: -v for info, -vv for debug, -vvv for every message
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Log level: error, warn, info, debug, trace, or a filter as in `RUST_LOG`
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Write the log to this file instead of standard error
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// The form of log lines
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Download torrents; exits 0 when every byte is there and verified
    Fetch(Box<FetchArgs>),
    /// Make a .torrent of a file or a folder
    Create(super::create::args::CreateArgs),
    /// Upload complete data to others until interrupted; exits 32 when the data is incomplete
    Seed(Box<SeedArgs>),
    /// Show what a .torrent holds
    Info(InfoArgs),
    /// Check data against a .torrent; exits 32 when something is wrong
    Verify(VerifyArgs),
    /// Ask every tracker how many seeders, leechers and completed downloads it knows
    Scrape(ScrapeArgs),
    /// Run a tracker over HTTP and UDP until Ctrl-C
    Tracker(Box<TrackerArgs>),
    /// Download from honest and hostile peers on this machine and show each restart; needs no network and no files
    Demo(DemoArgs),
    /// Play faults that a client must survive, against this client or another one; run hostile servers
    #[cfg(feature = "faults")]
    Fault(Box<super::fault::args::FaultArgs>),
    /// Draw the supervision tree with its restart policies
    Tree,
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print a manual page
    Man(ManArgs),
}

/// `fetch`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct FetchArgs {
    /// .torrent files, http(s) URLs of them, or `-` for standard input
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<OsString>,
    /// Where to put the data
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// List the files with their numbers and stop; a star marks those that are selected
    #[arg(short, long)]
    pub list: bool,
    /// Which files to fetch; the others are never made
    #[command(flatten)]
    pub files: SelectArgs,
    /// Hash existing data first, even if the saved state says that it is unchanged
    #[arg(short = 'V', long)]
    pub verify: bool,
    /// Seed the torrent when it is complete, until interrupted
    #[arg(long)]
    pub seed: bool,
    /// How long to seed
    #[command(flatten)]
    pub goal: GoalArgs,
    /// Give up when no byte has arrived for this long (exit 5) [default: never]
    #[arg(long, value_name = "T", value_parser = parse_duration)]
    pub stall_timeout: Option<Duration>,
    /// What survives a power cut
    #[arg(long, value_enum, default_value_t = DurabilityArg::Safe, value_name = "LEVEL")]
    pub durability: DurabilityArg,
    /// What to do when the disk is full [default: exit for one torrent, wait for several]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub disk_full: Option<DiskFull>,
    /// Run this program, without a shell, for each torrent that is complete; it takes all arguments that follow, up to a
    /// `;` that stands alone
    #[arg(long, num_args = 1.., value_terminator = ";", allow_hyphen_values = true, value_names = ["PROGRAM", "ARG"])]
    pub on_complete: Vec<OsString>,
    /// Write over existing files, even if no byte of them belongs to the torrent
    #[arg(long)]
    pub overwrite: bool,
    /// The swarm
    #[command(flatten)]
    pub swarm: SwarmArgs,
}

/// `seed`.
#[derive(Debug, clap::Args)]
pub struct SeedArgs {
    /// .torrent files, http(s) URLs of them, or `-` for standard input
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<OsString>,
    /// Where the data is
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// Hash the data first, even if the saved state says that it is unchanged
    #[arg(short = 'V', long)]
    pub verify: bool,
    /// Announce each piece to one peer only and let the peers pass it on; for the only seed of a new torrent (BEP 16)
    #[arg(long)]
    pub super_seed: bool,
    /// How long to seed
    #[command(flatten)]
    pub goal: GoalArgs,
    /// The swarm
    #[command(flatten)]
    pub swarm: SwarmArgs,
}

/// How long a complete torrent is given to others; the first limit that is reached ends it.
#[derive(Debug, clap::Args)]
pub struct GoalArgs {
    /// Seed until R times the torrent's size was uploaded in this run
    #[arg(long, value_name = "R", value_parser = ratio)]
    pub seed_ratio: Option<f64>,
    /// Seed for this long; with --seed-ratio, until either limit is reached
    #[arg(long, value_name = "T", value_parser = parse_duration)]
    pub seed_time: Option<Duration>,
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse::<f64>().ok().filter(|ratio| ratio.is_finite() && *ratio >= 0.0);
    ratio.ok_or_else(|| "a number such as 1 or 2.5".to_owned())
}

/// How to meet others: what `fetch` and `seed` share.
#[derive(Debug, clap::Args)]
pub struct SwarmArgs {
    /// What files are called
    #[command(flatten)]
    pub names: NamesArgs,
    /// Listen on this port [default: 6881, then the next free one up to 6889, then any]
    #[arg(short, long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Use only this local address; a connection that cannot leave from it fails
    #[arg(long, value_name = "ADDR")]
    pub bind: Option<IpAddr>,
    /// Use only this network device for every socket; while it does not exist nothing is sent and no name is looked up
    /// (needs root or `CAP_NET_RAW`)
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// The most connected peers of a torrent
    #[arg(long, default_value_t = 80, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_peers: u16,
    /// What may be moved
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Ask this tracker too (repeatable)
    #[arg(long, value_name = "URL")]
    pub tracker: Vec<String>,
    /// Leave out trackers whose URL matches (repeatable; `*` leaves out all)
    #[arg(long, value_name = "GLOB")]
    pub exclude_tracker: Vec<String>,
    /// Connect to this peer (repeatable)
    #[arg(long, value_name = "ADDR:PORT")]
    pub peer: Vec<SocketAddr>,
    /// The number of threads over which torrents are spread [default: one for each processor, and no more than torrents]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub arbiters: Option<u16>,
    /// Keep `.tt-actors/HASH.resume` of a torrent that is complete and no longer seeded, so that the next start hashes nothing
    #[arg(long)]
    pub keep_state: bool,
    /// The longest time that a stop may take
    #[arg(long, default_value = "5s", value_name = "T", value_parser = parse_duration)]
    pub shutdown_timeout: Duration,
    /// Write actor metrics to the log this often [default: 10s with --log-file, else never]
    #[arg(long, value_name = "T", value_parser = parse_duration)]
    pub metrics_interval: Option<Duration>,
}

/// Limits of every verb that talks with peers.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct LimitArgs {
    /// The most bytes a second to read from peers, over all torrents (K, M, G; 0 is no limit)
    #[arg(long, default_value = "0", hide_default_value = true, value_name = "RATE", value_parser = parse_bytes)]
    pub max_download_limit: u64,
    /// The most bytes a second to write to peers, over all torrents (K, M, G; 0 is no limit)
    #[arg(long, default_value = "0", hide_default_value = true, value_name = "RATE", value_parser = parse_bytes)]
    pub max_upload_limit: u64,
}

impl LimitArgs {
    /// Returns the limits in bytes a second, from peers and to peers; `None` for no limit.
    pub fn bps(self) -> (Option<u64>, Option<u64>) {
        let some = |bps| Some(bps).filter(|bps| *bps > 0);
        (some(self.max_download_limit), some(self.max_upload_limit))
    }
}

/// `--durability`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DurabilityArg {
    /// Data is synced to stable storage before the record names it
    Safe,
    /// The record is synced; the system decides when the data is
    Relaxed,
    /// Nothing is synced
    Off,
}

impl From<DurabilityArg> for Durability {
    fn from(arg: DurabilityArg) -> Self {
        match arg {
            DurabilityArg::Safe => Self::Safe,
            DurabilityArg::Relaxed => Self::Relaxed,
            DurabilityArg::Off => Self::Off,
        }
    }
}

/// `--disk-full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DiskFull {
    /// Exit with code 9; the state is safe
    Exit,
    /// Wait, and continue when there is space again
    Wait,
}

/// `info`.
#[derive(Debug, clap::Args)]
pub struct InfoArgs {
    /// A .torrent file, or `-` for standard input
    pub file: OsString,
    /// Print the magnet link and nothing else
    #[arg(long)]
    pub magnet: bool,
    /// What files are called
    #[command(flatten)]
    pub names: NamesArgs,
}

/// `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// A .torrent file, or `-` for standard input
    pub file: OsString,
    /// Where the data is
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// Which files to check
    #[command(flatten)]
    pub files: SelectArgs,
    /// What files are called
    #[command(flatten)]
    pub names: NamesArgs,
}

/// `scrape`.
#[derive(Debug, clap::Args)]
pub struct ScrapeArgs {
    /// .torrent files, http(s) URLs of them, or `-` for standard input
    #[arg(required = true)]
    pub file: Vec<OsString>,
    /// Ask this tracker too (repeatable)
    #[arg(long, value_name = "URL")]
    pub tracker: Vec<String>,
}

/// `tracker`.
#[derive(Debug, clap::Args)]
pub struct TrackerArgs {
    /// Serve HTTP at this address (repeatable; port 0 lets the system choose; `[::]:6969` is both families)
    /// [default without --udp: 0.0.0.0:6969]
    #[arg(long, value_name = "ADDR:PORT")]
    pub http: Vec<SocketAddr>,
    /// Serve UDP at this address (repeatable) [default without --http: 0.0.0.0:6969]
    #[arg(long, value_name = "ADDR:PORT")]
    pub udp: Vec<SocketAddr>,
    /// How often clients are asked to announce; a client that has not announced for two intervals is removed
    #[arg(long, default_value = "30m", value_name = "T", value_parser = announce_interval)]
    pub interval: Duration,
    /// Serve only the torrents in this file, one info-hash on each line; SIGHUP reads it again
    #[arg(long, value_name = "FILE")]
    pub allow: Option<PathBuf>,
    /// Save the swarms in this file; it is read at the start and written every five minutes and at the end
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// The most requests a second from one host (IPv6: one /64), with a burst of ten seconds' worth; 0 is no limit
    #[arg(long, default_value_t = DEFAULT_RATE, value_name = "N")]
    pub max_rate: u32,
    /// The most torrents; when it is reached, the network that holds most of them makes room
    #[arg(long, default_value_t = RegistryLimits::default().swarms, value_name = "N", value_parser = count)]
    pub max_torrents: usize,
    /// The most peers over all torrents; when it is reached, the network that holds most of them makes room
    #[arg(long, default_value_t = RegistryLimits::default().peers, value_name = "N", value_parser = count)]
    pub max_peers: usize,
    /// Write actor metrics to the log this often [default: never]
    #[arg(long, value_name = "T", value_parser = parse_duration)]
    pub metrics_interval: Option<Duration>,
}

fn announce_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if (Duration::from_secs(1)..=MAX_INTERVAL).contains(&interval) { Ok(interval) } else { Err("1s to 12h".to_owned()) }
}

/// Parses a count up to 100 million, which is far below what indices of 32 bits can address.
fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=100_000_000).contains(count)).ok_or_else(|| "1 to 100000000".to_owned())
}

/// `demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// The size of the payload; the peers' rates follow it, so that the demo always takes a few seconds
    #[arg(long, default_value = "64M", value_name = "SIZE", value_parser = demo_size)]
    pub size: u64,
    /// The seed of all random numbers; the same seed gives the same payload and the same peers [default: random]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Put the result in this folder and keep it
    #[arg(short, long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Keep the temporary folder with the result
    #[arg(long)]
    pub keep: bool,
}

/// From 1 MiB, below which a peer's share of a second is less than a block, to 16 GiB, which is more than a disk writes
/// in time.
const DEMO_SIZES: std::ops::RangeInclusive<u64> = 1 << 20..=16 << 30;

fn demo_size(text: &str) -> Result<u64, String> {
    let size = parse_bytes(text)?;
    if DEMO_SIZES.contains(&size) { Ok(size) } else { Err("1M to 16G".to_owned()) }
}

/// `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: Shell,
}

/// `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The verb to describe [default: the whole program]
    pub verb: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_options_stand_on_both_sides_of_the_verb() {
        for line in [["tt-actors", "--json", "info", "x"], ["tt-actors", "info", "--json", "x"]] {
            assert!(Args::parse_from(line).global.json);
        }
    }
}
