//! The scenarios of the catalogue, by its sections, and the mixes.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::SimScene;
use super::plan::ScenarioPlan;
use super::seen::SimSeen;
use crate::faults::scenario::{About, Layer, RefereeVerdict};

mod disk;
mod limits;
mod meddling;
mod mixes;
mod network;
mod panics;
mod peers;
mod process;
mod trackers;

/// All of them, the mixes last.
pub fn all() -> impl Iterator<Item = &'static SimScene> {
    let sections = [trackers::SCENES, peers::SCENES, disk::SCENES, process::SCENES, panics::SCENES, network::SCENES];
    sections.into_iter().flatten().chain(meddling::SCENES).chain(limits::SCENES).chain(mixes::SCENES)
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

/// So many honest seeds that every tracker names, each with so many bytes a second.
fn honest(plan: &mut ScenarioPlan, peers: u64, rate: u64) -> Vec<Ipv4Addr> {
    (0..peers).map(|_| plan.peer(&format!("max_rate={rate}"))).collect()
}

/// None of these was ever banned.
fn never_banned(honest: Vec<Ipv4Addr>) -> impl Fn(&SimSeen) -> Result<(), RefereeVerdict> {
    move |seen| match honest.iter().find(|ip| seen.is_banned(**ip)) {
        Some(ip) => fail(format!("{ip} is honest and was banned")),
        None => Ok(()),
    }
}

/// This kind of actor was restarted for this cause, at least once.
fn restarted(actor: &'static str, cause: &'static str) -> impl Fn(&SimSeen) -> Result<(), RefereeVerdict> {
    move |seen| match seen.restarts(actor, cause) {
        0 => Err(RefereeVerdict::Broke { invariant: "I10", how: format!("no restart of {actor} for `{cause}`") }),
        _ => Ok(()),
    }
}

/// The scene's own criterion does not hold.
fn fail(how: String) -> Result<(), RefereeVerdict> {
    Err(RefereeVerdict::Broke { invariant: "criterion", how })
}

/// It must be over sooner than the limit of the scene.
fn done_by(limit: Duration) -> impl Fn(&SimSeen) -> Result<(), RefereeVerdict> {
    move |seen| if seen.took <= limit { Ok(()) } else { fail(format!("took {:?}, not {limit:?}", seen.took)) }
}
