//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::clients::Kind;

/// Races this client against others on this machine, and counts what it does
#[derive(Debug, Parser)]
#[command(name = "race", disable_version_flag = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) mode: Mode,

    /// The client under test
    #[arg(long, global = true, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_tt-actors"))]
    pub(crate) bin: PathBuf,

    /// Where payloads go and clients write; in memory, so that no disk decides
    #[arg(long, global = true, value_name = "DIR", default_value = "/dev/shm")]
    pub(crate) dest: PathBuf,

    /// A run that takes longer has failed
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) timeout: u64,

    /// One JSON object for each line of the table too
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Wall, CPU and memory of a download
    Download(Download),
    /// CPU for each GiB that is given to lean leeches
    Seed(Seed),
    /// GiB a second of checking what is there
    Verify(Hash),
    /// GiB a second of making a torrent
    Create(Hash),
    /// From the start of the process to the first request and the first piece
    FirstPiece(FirstPiece),
    /// The same bytes in few and in many pieces
    Pieces(Pieces),
    /// Syscalls, wake-ups, messages, copied bytes and allocations for each GiB
    Counts(Counts),
    /// Memory of idle peers, CPU of idle torrents
    Idle(Idle),
}

#[derive(Debug, Args)]
pub(crate) struct Rounds {
    /// Rounds that count; one more is run first and dropped
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,

    /// Who takes part
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    pub(crate) clients: Vec<Kind>,
}

#[derive(Debug, Args)]
pub(crate) struct Download {
    #[command(flatten)]
    pub(crate) rounds: Rounds,

    /// Of the payload
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub(crate) size: u64,

    /// Length of a piece
    #[arg(long, value_name = "KIB", default_value_t = 1024)]
    pub(crate) piece: u32,

    /// Files of equal length in ten folders
    #[arg(long, default_value_t = 1)]
    pub(crate) files: u64,

    /// Lean seeds, as in 1,8,50: a race for each number
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub(crate) seeds: Vec<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Seed {
    #[command(flatten)]
    pub(crate) rounds: Rounds,

    /// Of the payload; each leech takes all of it
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub(crate) size: u64,

    /// Length of a piece
    #[arg(long, value_name = "KIB", default_value_t = 1024)]
    pub(crate) piece: u32,

    /// Lean leeches, as in 1,20: a race for each number
    #[arg(long, value_delimiter = ',', default_value = "1,20")]
    pub(crate) leeches: Vec<u32>,

    /// Blocks that each leech asks for at a time
    #[arg(long, default_value_t = 256)]
    pub(crate) window: usize,

    /// Compare every byte in every round, not in the dropped one alone
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Hash {
    #[command(flatten)]
    pub(crate) rounds: Rounds,

    /// Of the payload
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    pub(crate) size: u64,

    /// Length of a piece
    #[arg(long, value_name = "KIB", default_value_t = 1024)]
    pub(crate) piece: u32,
}

#[derive(Debug, Args)]
pub(crate) struct FirstPiece {
    #[command(flatten)]
    pub(crate) rounds: Rounds,

    /// Of the payload
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub(crate) size: u64,

    /// Length of a piece
    #[arg(long, value_name = "KIB", default_value_t = 256)]
    pub(crate) piece: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Pieces {
    #[command(flatten)]
    pub(crate) rounds: Rounds,

    /// Of the payload, a multiple of 25: 1600 MiB are 102,400 pieces of 16 KiB or 1,024 of 1600 KiB
    #[arg(long, value_name = "MIB", default_value_t = 1600)]
    pub(crate) size: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Counts {
    /// Times that everything is counted; the least of each count is told
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,

    /// Of the payload
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub(crate) size: u64,

    /// Length of a piece
    #[arg(long, value_name = "KIB", default_value_t = 1024)]
    pub(crate) piece: u32,

    /// Exit with 1 if a count is more than FACTOR times what benches/race/counted.json says (1.25)
    #[arg(long, value_name = "FACTOR", num_args = 0..=1, require_equals = true, default_missing_value = "1.25")]
    pub(crate) check: Option<f64>,

    /// Count what these copy and allocate too, each while it fetches the same
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CLIENTS")]
    pub(crate) beside: Vec<Kind>,
}

#[derive(Debug, Args)]
pub(crate) struct Idle {
    /// Connections that do nothing
    #[arg(long, default_value_t = 1000)]
    pub(crate) peers: u32,

    /// Small torrents in one session; 0 leaves this part out
    #[arg(long, default_value_t = 10_000)]
    pub(crate) torrents: u32,

    /// How long idleness is watched
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) watch: u64,
}
