//! Floor 6: the whole client in a simulator. A seed decides everything: the same seed gives the same events.
//!
//! | file | for |
//! |---|---|
//! | `plan` | what will happen: peers, trackers, and timed steps |
//! | `world` | runs a plan on turmoil's hosts, on virtual time |
//! | `net` | the network between the hosts |
//! | `trace` | the log of a run: its hash, and the events that the referee counts |
//! | `observation` | everything that was observed of a run |
//! | `referee` | checks the invariants |
//! | `scenes` | the scenarios of the catalogue |
//! | `swarm` | swarms of our own client, and how long they take |
//!
//! Knows `app` and `faults`. The client inside is unmodified and does not know that it is simulated. A simulation has
//! one thread and one arbiter, no real clock and no real file.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::faults::scenario::{About, RefereeVerdict, ScenarioReport};

pub mod net;
pub mod observation;
pub mod plan;
pub mod referee;
pub mod scenes;
pub mod swarm;
pub mod trace;
pub mod world;

use observation::SimObservation;
use plan::ScenarioPlan;
use trace::Trace;

/// A scenario: its name, and how its plan follows from the seed.
#[derive(Debug, Clone, Copy)]
pub struct SimScene {
    /// Its name, the catalogue entries that it covers, and its title.
    pub about: About,
    /// The behaviour of the hostile peer or tracker that the scene is about.
    pub words: &'static str,
    /// Fills in a plan, with the behaviour in `words`. The random numbers of the plan follow from the seed.
    pub build: fn(&mut ScenarioPlan, &'static str),
}

/// Runs a scene to its end. Returns the report, and the lines of the log if `keep` is set.
pub fn run_scene(scene: &SimScene, seed: u64, keep: bool) -> (ScenarioReport, Vec<String>) {
    let trace = Trace::new(keep);
    let mut report = ScenarioReport::new(scene.about, seed);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut plan = ScenarioPlan::new(seed);
        (scene.build)(&mut plan, scene.words);
        let stays_incomplete = plan.stays_incomplete;
        let criteria = std::mem::take(&mut plan.criteria);
        let observation = world::run(plan, &trace)?;
        report.verdict = referee::judge(&observation, stays_incomplete, &criteria);
        fill(&mut report, &observation);
        Ok::<_, String>(())
    }));
    match ran {
        Err(_panic) => report.verdict = RefereeVerdict::Crashed("a panic left the tree, or the scene".to_owned()),
        Ok(Err(error)) => report.verdict = RefereeVerdict::Crashed(error),
        Ok(Ok(())) => {}
    }
    report.events = Some(trace.hash());
    (report, trace.lines())
}

fn fill(report: &mut ScenarioReport, observation: &SimObservation) {
    report.took = observation.took;
    for restart in observation.trace.restarts() {
        *report.restarts.entry((restart.actor, restart.cause)).or_default() += 1;
    }
    let failures = observation.medium.failures();
    let disk = failures.into_iter().map(|(operation, count)| (format!("disk {operation:?}").to_lowercase(), count));
    let faults = [("lies", observation.lie_count()), ("panics", observation.panics.len() as u64)];
    let faults = faults.into_iter().map(|(name, count)| (name.to_owned(), count));
    report.injected = disk.chain(faults).filter(|(_, count)| *count > 0).collect();
    let view = observation.view();
    let observed = [
        ("runs", observation.runs.len() as u64),
        ("dials", observation.wires.dials().len() as u64),
        ("wasted_bytes", view.map_or(0, |view| view.bytes_wasted)),
        ("hash_failures", view.map_or(0, |view| view.hash_failures)),
        ("banned", observation.trace.count("peer sent bad data (banned)")),
        ("log_events", observation.trace.events()),
    ];
    report.observed = observed.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
}

#[cfg(test)]
mod tests;
