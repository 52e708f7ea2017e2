//! panics, injected at one generic point of every actor.

use std::collections::BTreeMap;

use rand::RngExt;

use super::{fail, honest, restarted, scene, secs};
use crate::actors::kit::injection::InjectionSite;
use crate::app::outcome::Ending;
use crate::faults::scenario::RefereeVerdict;
use crate::sim::SimScene;
use crate::sim::observation::SimObservation;
use crate::sim::plan::ScenarioPlan;

/// The scenes of this file.
#[rustfmt::skip]
pub(super) const SCENES: &[SimScene] = &[
    scene("X-04.first", &["X-04"], "a panic at the first message of one site; the seed says which", "", |plan, _| nth_site(plan, 1)),
    scene("X-04.later", &["X-04"], "a panic at a later message of one site", "", later),
    scene("X-05.tracker", &["X-05"], "a tracker panics at everything", "", looping_tracker),
    scene("X-05.scheduler", &["X-05"], "the scheduler panics at everything", "", looping_scheduler),
];

/// 64: more than the number of sites, so that seeds 0 to 63 cover every one.
const SITES: u64 = 64;

/// A plan in which every kind of actor gets messages: HTTP and UDP trackers, seeds, a peer that requests, one that
/// leaves, one that lies.
pub(super) fn lively(plan: &mut ScenarioPlan) {
    plan.tracker("");
    plan.udp_tracker("");
    honest(plan, 2, 64 * 1024);
    plan.peer("max_rate=64k,request_flood=20,have_only");
    plan.peer("max_rate=64k,reset_every=200k");
    plan.peer("max_rate=64k,corrupt=0.02");
    plan.within(secs(180));
}

fn nth_site(plan: &mut ScenarioPlan, nth_message: u64) {
    lively(plan);
    let target = plan.seed % SITES;
    let mut observation: BTreeMap<InjectionSite, (u64, u64)> = BTreeMap::new();
    plan.panic_where(move |site| {
        let fresh = observation.len() as u64;
        let (nth_site, messages) = observation.entry(site).or_insert((fresh, 0));
        *messages += 1;
        *nth_site == target && *messages == nth_message
    });
    plan.expect(contained);
}

fn later(plan: &mut ScenarioPlan, _: &str) {
    let nth = plan.dice.random_range(2..20);
    nth_site(plan, nth);
}

/// Checks that there are as many abnormal restarts as panics. An actor that panics at its `Goodbye` has ended and is
/// not started again. The peer book decides when a connection starts again, so that for connections the ends are
/// counted.
pub(super) fn contained(observation: &SimObservation) -> Result<(), RefereeVerdict> {
    let panics = observation.panics.iter().filter(|site| site.message != "Goodbye");
    let (of_peers, of_others): (Vec<&InjectionSite>, Vec<&InjectionSite>) =
        panics.partition(|site| site.actor == "PeerConnection");
    let restarts = observation.trace.restarts();
    let restarts = restarts.iter().filter(|restart| !restart.expected && restart.actor != "PeerConnection").count();
    let gone = observation.trace.said("peer gone", "cause=panicked");
    let late = observation.late_panics;
    let is_so = |seen_of: usize, injected: usize| (injected..=injected + late).contains(&seen_of);
    if is_so(restarts, of_others.len()) && is_so(gone, of_peers.len()) {
        return Ok(());
    }
    let how = format!(
        "{restarts} abnormal restarts, {gone} peers gone after panics of {of_others:?}, {of_peers:?} and {late} late ones"
    );
    Err(RefereeVerdict::Broke { invariant: "I10", how })
}

/// The tracker that always panics is disabled. The other trackers and the download go on.
fn looping_tracker(plan: &mut ScenarioPlan, _: &str) {
    plan.tracker("");
    plan.udp_tracker("");
    honest(plan, 3, 16 * 1024);
    plan.panic_where(|site| site.actor == "HttpTracker");
    plan.within(secs(3 * 43 + 30));
    plan.expect(restarted("HttpTracker", "panic"));
}

/// The restart budget of the scheduler is spent, then that of the torrent. The run ends with an error, and the same
/// command completes.
fn looping_scheduler(plan: &mut ScenarioPlan, _: &str) {
    plan.tracker("");
    honest(plan, 3, 64 * 1024);
    let from: u32 = plan.dice.random_range(0..200);
    let mut messages = 0;
    // After forty panics the bug is gone, as if the program had been replaced.
    plan.panic_where(move |site| {
        messages += u32::from(site.actor == "PieceScheduler");
        site.actor == "PieceScheduler" && messages > from && messages < from + 40
    });
    plan.start_again_after(secs(5));
    plan.within(secs(600));
    plan.expect(|observation| match observation.runs.first().and_then(|run| run.ended.as_ref()) {
        Some((_, Ending::Failed(_) | Ending::GaveUp(_))) if observation.runs.len() > 1 => Ok(()),
        ended => fail(format!("a scheduler that always panics, and the first run ended {ended:?}")),
    });
}
