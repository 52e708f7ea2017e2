//! Floor 6: the whole client in a simulator. One seed decides everything; the same seed gives the same events.
//!
//! | file | for |
//! |---|---|
//! | `plan` | what is going to happen: who is there, what is done to whom and when |
//! | `world` | plays a plan on turmoil's hosts, on virtual time |
//! | `net` | the network that the hosts have |
//! | `trace` | what was logged: a hash of it, and what a referee counts |
//! | `seen` | all that was seen of a run |
//! | `referee` | the invariants |
//! | `scenes` | the scenarios of the catalogue |
//! | `swarm` | whole swarms of our own client, and how long they take |
//!
//! Knows `app` and `faults`; the client inside is unmodified and does not know that it is simulated. One thread a
//! simulation, one arbiter, no real clock, no real file.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::faults::scenario::{About, RefereeVerdict, ScenarioReport};

pub mod net;
pub mod plan;
pub mod referee;
pub mod scenes;
pub mod seen;
pub mod swarm;
pub mod trace;
pub mod world;

use plan::ScenarioPlan;
use seen::SimSeen;
use trace::Trace;

/// A scenario: what it is about, and how its plan follows from the dice.
#[derive(Debug, Clone, Copy)]
pub struct SimScene {
    /// What it is called and covers.
    pub about: About,
    /// How whoever it is about behaves.
    pub words: &'static str,
    /// Fills in a plan whose dice are the seed's, with somebody who behaves as the words say.
    pub build: fn(&mut ScenarioPlan, &'static str),
}

/// Plays a scene to its end. `keep` the log's lines, for whoever wants to read them.
pub fn play(scene: &SimScene, seed: u64, keep: bool) -> (ScenarioReport, Vec<String>) {
    let trace = Trace::new(keep);
    let mut report = ScenarioReport::new(scene.about, seed);
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut plan = ScenarioPlan::new(seed);
        (scene.build)(&mut plan, scene.words);
        let stays_incomplete = plan.stays_incomplete;
        let criteria = std::mem::take(&mut plan.criteria);
        let seen = world::play(plan, &trace)?;
        report.verdict = referee::judge(&seen, stays_incomplete, &criteria);
        fill(&mut report, &seen);
        Ok::<_, String>(())
    }));
    match played {
        Err(_panic) => report.verdict = RefereeVerdict::Crashed("a panic left the tree, or the scene".to_owned()),
        Ok(Err(error)) => report.verdict = RefereeVerdict::Crashed(error),
        Ok(Ok(())) => {}
    }
    report.events = Some(trace.hash());
    (report, trace.lines())
}

fn fill(report: &mut ScenarioReport, seen: &SimSeen) {
    report.took = seen.took;
    for restart in seen.trace.restarts() {
        *report.restarts.entry((restart.actor, restart.cause)).or_default() += 1;
    }
    let failures = seen.medium.failures();
    let disk = failures.into_iter().map(|(operation, count)| (format!("disk {operation:?}").to_lowercase(), count));
    let faults = [("lies", seen.lies_told()), ("panics", seen.panics.len() as u64)];
    let faults = faults.into_iter().map(|(name, count)| (name.to_owned(), count));
    report.injected = disk.chain(faults).filter(|(_, count)| *count > 0).collect();
    let view = seen.view();
    let observed = [
        ("runs", seen.runs.len() as u64),
        ("dials", seen.wires.dials().len() as u64),
        ("wasted_bytes", view.map_or(0, |view| view.bytes_wasted)),
        ("hash_failures", view.map_or(0, |view| view.hash_failures)),
        ("banned", seen.trace.count("peer sent bad data (banned)")),
        ("log_events", seen.trace.events()),
    ];
    report.observed = observed.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
}

#[cfg(test)]
mod tests;
