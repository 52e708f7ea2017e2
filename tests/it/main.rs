//! The black-box tests: the real binary against real trackers, real foreign clients and hostile ones, on loopback.
//!
//! Knows the command line's contract and the peers and trackers of `tt_actors::faults`; knows nothing of the actors. Every test that
//! moves bytes compares every byte. Each picks its own free ports, so they run beside each other; the heavy ones take a
//! lock and run one after the other.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test's helper fails loudly and waits in real time for real processes"
)]

/// `#[test]`: see `harness`.
#[macro_use]
extern crate tt_actors_test;

#[macro_use]
mod harness;
mod support;

mod arbiters;
mod cli;
mod corpus;
mod create;
mod demo;
mod disk;
mod exchange;
mod fault;
mod fault_host;
mod fault_sim;
mod hostile;
mod hostile_trackers;
mod interface;
mod logs;
mod on_complete;
mod places;
mod real_seeds;
mod real_torrents;
mod resume;
mod scrape;
mod seeding;
mod selection;
mod tidy;
mod tour;
mod tracker;
mod tracker_attack;

fn main() -> std::process::ExitCode {
    harness::main()
}
