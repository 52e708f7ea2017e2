//! Layer `host` of the fault-injection harness, once, against the program under test.

use std::io::Write;
use std::path::Path;

use tt_actors::faults::host::{Scene, play_all, scenes};
use tt_actors::faults::scenario::{Report, Verdict};

use crate::support::client::tt;
use crate::support::heavy;

/// Which dice: `TT_FAULT_SEED`, or always the same.
fn seed() -> u64 {
    std::env::var("TT_FAULT_SEED").map_or(1, |text| text.parse().unwrap())
}

/// A machine without root or strace skips what needs them, and says so; where `TT_REQUIRE_PEERS=1` asks for all it fails.
#[test]
fn the_program_outlives_every_fault_of_the_machine() {
    let _alone = heavy();
    let (seed, command) = (seed(), tt());
    println!("seed {seed}");
    let all: Vec<&Scene> = scenes().collect();
    let (mut failed, mut skipped) = (Vec::new(), Vec::new());
    play_all(&all, Path::new(command.get_program()), seed, |report: Report| {
        println!("{} in {:?}: {}", report.about.name, report.took, report.verdict);
        let line = format!("{}: {}\n  {}", report.about.name, report.verdict, report.replay());
        match report.verdict {
            Verdict::Held => {}
            Verdict::Skipped(_) => skipped.push(line),
            _ => failed.push(line),
        }
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    if !skipped.is_empty() {
        let line = format!("SKIPPED SCENES:\n{}\n", skipped.join("\n"));
        assert!(std::env::var("TT_REQUIRE_PEERS").as_deref() != Ok("1"), "{line}");
        // Not `eprintln!`: the test harness keeps that to itself when a test passes.
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
}
