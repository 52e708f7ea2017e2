//! Races this client against others on this machine, and counts what it does. `cargo bench --bench race -- MODE --help`.
//!
//! ```text
//! cargo bench --bench race -- download --seeds 1,8,50     # wall, CPU and memory of a download
//! cargo bench --bench race -- seed --leeches 1,20         # CPU for each GiB given
//! cargo bench --bench race -- verify                      # GiB a second of hashing; the same for create
//! cargo bench --bench race -- first-piece                 # from the start to the first request and the first piece
//! cargo bench --bench race -- pieces                      # the same bytes in 1,024 and in 102,400 pieces
//! cargo bench --bench race -- counts --check              # syscalls, wake-ups, messages, copies, allocations, against counted.json
//! cargo bench --bench race -- idle                        # memory of idle peers, CPU of idle torrents
//! ```
//!
//! How it measures, and why, is in `docs/BENCHMARKS.md`. The other end of each client is lean: it lives in this process,
//! holds the payload in memory and speaks BEP 3 only. Who is not installed is left out and named.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a program that measures and stops when anything is odd"
)]

mod announce;
mod clients;
mod counts;
mod download;
mod figures;
mod first_piece;
mod hashing;
mod idle;
mod lab;
mod lean_leech;
mod lean_seed;
mod machine;
mod memory;
mod options;
mod perf;
mod process;
mod seeding;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

use options::{Mode, Options};

fn main() -> ExitCode {
    // Cargo says `--bench` to whatever it runs.
    let options = Options::parse_from(std::env::args_os().filter(|word| word != "--bench"));
    println!("{}", machine::described(&options.bin));
    process::raise_descriptors();
    lab::sweep(&options.dest);
    let well = match &options.mode {
        Mode::Download(race) => download::run(&options, race),
        Mode::Pieces(race) => download::run_pieces(&options, race),
        Mode::Seed(race) => seeding::run(&options, race),
        Mode::Verify(race) => hashing::run(&options, race, hashing::What::Verify),
        Mode::Create(race) => hashing::run(&options, race, hashing::What::Create),
        Mode::FirstPiece(race) => first_piece::run(&options, race),
        Mode::Counts(race) => counts::run(&options, race),
        Mode::Idle(race) => idle::run(&options, race),
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
