//! Layer 3 of the harness: the real program on this machine under system-call injection, on small disks, under limits
//! and signals.
//!
//! A scene is a row of a table and a function in the file of its kind. `fixture` has its surroundings, `fetch` starts
//! the client, `syscall_faults` configures strace, `machine` mounts disks, and `record` reads the client's records. If
//! the machine lacks what a scene needs, the scene is skipped with the reason.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use tokio::time::Instant;

use super::scenario::{About, Layer, RefereeVerdict, ScenarioReport};
use fixture::{SceneFailure, SceneResult};
use machine::MachineNeed;

pub mod fetch;
pub mod fixture;
pub mod leech;
pub mod machine;
pub mod record;
pub mod syscall_faults;

mod broken;
mod chance;
mod full;
mod killed;
mod names;
mod order;
mod others;
mod process;
mod records;

/// One scene: its name, what it needs, and the function that runs it.
#[derive(Debug, Clone, Copy)]
pub struct HostScene {
    /// Its name, the catalogue entries that it covers, and its title.
    pub about: About,
    /// What the machine must have.
    pub needs: &'static [MachineNeed],
    run: fn(&Path, &mut ScenarioReport) -> SceneResult,
}

const fn scene(
    name: &'static str,
    covers: &'static [&'static str],
    title: &'static str,
    needs: &'static [MachineNeed],
    run: fn(&Path, &mut ScenarioReport) -> SceneResult,
) -> HostScene {
    HostScene { about: About { name, covers, title, layer: Layer::Host }, needs, run }
}

/// Returns all scenes.
pub fn scenes() -> impl Iterator<Item = &'static HostScene> {
    [
        full::SCENES,
        broken::SCENES,
        killed::SCENES,
        records::SCENES,
        names::SCENES,
        others::SCENES,
        chance::SCENES,
        process::SCENES,
    ]
    .into_iter()
    .flatten()
}

/// Runs a scene with the program at this path. All random numbers follow from `seed`.
pub fn run_scene(scene: &HostScene, program: &Path, seed: u64) -> ScenarioReport {
    let began = Instant::now();
    let mut report = ScenarioReport::new(scene.about, seed);
    report.verdict = match scene.needs.iter().find_map(|need| need.missing()) {
        Some(why) => RefereeVerdict::Skipped(why),
        None => match (scene.run)(program, &mut report) {
            Ok(()) => RefereeVerdict::Held,
            Err(SceneFailure::Verdict(verdict)) => verdict,
            Err(SceneFailure::Machine(error)) => RefereeVerdict::Crashed(format!("the harness: {error}")),
        },
    };
    report.took = began.elapsed();
    report
}

/// Four scenes at a time: most of them wait for a slow peer or a clock.
const SIDE_BY_SIDE: usize = 4;

/// Runs scenes in parallel and calls `heard` with each report as it comes.
pub fn run_all(scenes: &[&HostScene], program: &Path, seed: u64, mut heard: impl FnMut(ScenarioReport)) {
    let next = AtomicUsize::new(0);
    let (sender, reports) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE.min(scenes.len()) {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                while let Some(scene) = scenes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // The receiver is gone only if the thread that reads it panicked.
                    drop(sender.send(run_scene(scene, program, seed)));
                }
            });
        }
        drop(sender);
        reports.iter().for_each(&mut heard);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::catalogue::ENTRIES;

    #[test]
    fn every_scene_covers_entries_and_is_named_for_the_first() {
        let mut names = std::collections::BTreeSet::new();
        for HostScene { about, .. } in scenes() {
            assert!(names.insert(about.name), "{} is there twice", about.name);
            assert_eq!(about.name.split('.').next(), about.covers.first().copied(), "{}", about.name);
            for id in about.covers {
                let entry = ENTRIES.iter().find(|entry| entry.id == *id).unwrap();
                assert_eq!(entry.why_not, None, "{} covers {id}", about.name);
            }
        }
    }

    fn falls(_: &Path, _: &mut ScenarioReport) -> SceneResult {
        Err(RefereeVerdict::NotLive("never".to_owned()).into())
    }

    fn stumbles(_: &Path, _: &mut ScenarioReport) -> SceneResult {
        Err(std::io::Error::other("no room").into())
    }

    #[test]
    fn a_failure_is_the_verdict_and_a_failing_machine_is_no_success() {
        let scenes = [scene("X-01.a", &["X-01"], "", &[], falls), scene("X-01.b", &["X-01"], "", &[], stumbles)];
        let mut verdicts = Vec::new();
        run_all(&scenes.each_ref(), Path::new("x"), 7, |report| verdicts.push((report.seed, report.verdict)));
        verdicts.sort_by_key(|(_, verdict)| verdict.exit_code());
        let crashed = RefereeVerdict::Crashed("the harness: no room".to_owned());
        assert_eq!(verdicts, [(7, RefereeVerdict::NotLive("never".to_owned())), (7, crashed)]);
    }
}
