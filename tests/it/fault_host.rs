//! Layer `host` of the fault-injection harness, once, against the program under test: one test for each set of things that
//! scenes need, so that a machine without strace or root ignores what it cannot run and runs the rest.

use std::path::Path;

use tt_actors::faults::host::machine::{MachineNeed, SmallDisk};
use tt_actors::faults::host::{HostScene, run_all, scenes};
use tt_actors::faults::scenario::{RefereeVerdict, ScenarioReport};

use crate::support::client::tt;
use crate::support::{Lab, Needs, heavy};

/// What scenes need, as tests name it.
const SETS: &[(&[MachineNeed], &[Needs])] = &[
    (&[], &[]),
    (&[MachineNeed::Strace], &[Needs::Strace]),
    (&[MachineNeed::Mount], &[Needs::Mount]),
    (&[MachineNeed::Prlimit], &[Needs::Prlimit]),
    (&[MachineNeed::Prlimit, MachineNeed::Mount], &[Needs::Prlimit, Needs::Mount]),
];

/// Returns the seed: `TT_FAULT_SEED`, or 1.
fn seed() -> u64 {
    std::env::var("TT_FAULT_SEED").map_or(1, |text| text.parse().unwrap())
}

/// Runs all scenes with exactly these needs.
fn outlives(set: &[MachineNeed]) {
    let (_, needs) = SETS.iter().find(|(known, _)| *known == set).unwrap();
    let Some(_lab) = Lab::with(needs) else { return };
    let _alone = heavy();
    let (seed, command) = (seed(), tt());
    println!("seed {seed}");
    let of_set: Vec<&HostScene> = scenes().filter(|scene| scene.needs == set).collect();
    assert!(!of_set.is_empty(), "no scene needs {set:?}");
    let mut failed = Vec::new();
    run_all(&of_set, Path::new(command.get_program()), seed, |report: ScenarioReport| {
        println!("{} in {:?}: {}", report.about.name, report.took, report.verdict);
        if report.verdict != RefereeVerdict::Held {
            failed.push(format!("{}: {}\n  {}", report.about.name, report.verdict, report.replay()));
        }
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_program_outlives_faults_that_need_nothing_of_the_machine() {
    outlives(&[]);
}

#[test]
fn the_program_outlives_failing_system_calls() {
    outlives(&[MachineNeed::Strace]);
}

#[test]
fn the_program_outlives_small_disks() {
    outlives(&[MachineNeed::Mount]);
}

#[test]
fn the_program_outlives_limits_of_the_system() {
    outlives(&[MachineNeed::Prlimit]);
}

#[test]
fn the_program_outlives_limits_of_the_system_on_a_small_disk() {
    outlives(&[MachineNeed::Prlimit, MachineNeed::Mount]);
}

#[test]
fn every_scene_is_played_by_one_of_these_tests() {
    let left: Vec<_> = scenes().filter(|scene| !SETS.iter().any(|(set, _)| *set == scene.needs)).collect();
    assert!(left.is_empty(), "their needs have no test: {left:?}");
}

#[test]
fn a_small_disk_is_full_and_gone() {
    let Some(lab) = Lab::with(&[Needs::Mount]) else { return };
    let disk = SmallDisk::mount(lab.at("disk"), 1 << 20).unwrap();
    let inside = disk.path().join("x");
    disk.fill(900 << 10).unwrap();
    std::fs::write(&inside, vec![1; 512 << 10]).unwrap_err();
    disk.free().unwrap();
    std::fs::write(&inside, vec![1; 512 << 10]).unwrap();
    drop(disk);
    assert!(!inside.exists());
}
