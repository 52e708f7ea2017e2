//! The scenarios of the catalogue, by its sections, and the mixes.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::SimScene;
use super::observation::SimObservation;
use super::plan::ScenarioPlan;
use crate::faults::scenario::{About, Layer, RefereeVerdict};

mod disk;
mod limits;
mod mixes;
mod network;
mod other_programs;
mod panics;
mod peers;
mod process;
mod trackers;

/// Returns all scenes, the mixes last.
pub fn all() -> impl Iterator<Item = &'static SimScene> {
    let sections = [trackers::SCENES, peers::SCENES, disk::SCENES, process::SCENES, panics::SCENES, network::SCENES];
    sections.into_iter().flatten().chain(other_programs::SCENES).chain(limits::SCENES).chain(mixes::SCENES)
}

const fn scene(
    name: &'static str,
    covers: &'static [&'static str],
    title: &'static str,
    words: &'static str,
    build: fn(&mut ScenarioPlan, &'static str),
) -> SimScene {
    SimScene { about: About { name, covers, title, layer: Layer::Sim }, words, build }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Adds honest seeds that every tracker names, each with this many bytes a second. Returns their addresses.
fn honest(plan: &mut ScenarioPlan, peers: u64, rate: u64) -> Vec<Ipv4Addr> {
    (0..peers).map(|_| plan.peer(&format!("max_rate={rate}"))).collect()
}

/// The criterion that none of these peers was banned.
fn never_banned(honest: Vec<Ipv4Addr>) -> impl Fn(&SimObservation) -> Result<(), RefereeVerdict> {
    move |observation| match honest.iter().find(|ip| observation.is_banned(**ip)) {
        Some(ip) => fail(format!("{ip} is honest and was banned")),
        None => Ok(()),
    }
}

/// The criterion that this kind of actor was restarted for this cause at least once.
fn restarted(actor: &'static str, cause: &'static str) -> impl Fn(&SimObservation) -> Result<(), RefereeVerdict> {
    move |observation| match observation.restarts(actor, cause) {
        0 => Err(RefereeVerdict::Broke { invariant: "I10", how: format!("no restart of {actor} for `{cause}`") }),
        _ => Ok(()),
    }
}

/// Returns the verdict on a criterion that does not hold.
fn fail(how: String) -> Result<(), RefereeVerdict> {
    Err(RefereeVerdict::Broke { invariant: "criterion", how })
}

/// The criterion that the simulation ended before `limit`.
fn done_by(limit: Duration) -> impl Fn(&SimObservation) -> Result<(), RefereeVerdict> {
    move |observation| {
        if observation.took <= limit { Ok(()) } else { fail(format!("took {:?}, not {limit:?}", observation.took)) }
    }
}
