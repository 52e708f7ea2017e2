//! Section 7 of the catalogue: the network. And a run without faults, for comparison.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{done_by, fail, honest, never_banned, restarted, scene, secs};
use crate::sim::SimScene;
use crate::sim::plan::{CLIENT, ScenarioPlan, SimStep};

/// The scenes of this file.
#[rustfmt::skip]
pub(super) const SCENES: &[SimScene] = &[
    scene("calm", &[], "nothing goes wrong", "", calm),
    scene("N-01.second", &["N-01"], "nothing passes for a second", "", |plan, _| partition(plan, 1)),
    scene("N-01.minute", &["N-01"], "nothing passes for a minute", "", |plan, _| partition(plan, 60)),
    scene("N-01.ten", &["N-01"], "nothing passes for ten minutes", "", |plan, _| partition(plan, 600)),
    scene("N-02.out", &["N-02"], "what we send is lost", "", |plan, _| one_way(plan, true)),
    scene("N-02.in", &["N-02"], "what they send is lost", "", |plan, _| one_way(plan, false)),
    scene("N-10", &["N-10"], "a log-in page answers for the tracker, for ten minutes", "html", captive_portal),
    scene("N-03", &["N-03"], "half of the peers are clogged, in turns", "", swizzle),
];

fn swarm(plan: &mut ScenarioPlan) -> (Ipv4Addr, Vec<Ipv4Addr>) {
    let tracker = plan.tracker("");
    let seeds = honest(plan, 3, 64 * 1024);
    plan.within(secs(3 * 11 + 30));
    plan.expect(never_banned(seeds.clone()));
    (tracker, seeds)
}

fn calm(plan: &mut ScenarioPlan, _: &str) {
    swarm(plan);
    plan.expect(done_by(secs(15)));
    plan.expect(|observation| match observation.trace.restarts().len() {
        0 => Ok(()),
        _ => fail(format!("nothing went wrong, and yet {:?}", observation.trace.restarts())),
    });
}

/// The client is complete within the limit after the partition has healed, whatever the partition did to the
/// connections.
fn partition(plan: &mut ScenarioPlan, lasts: u64) {
    let (tracker, seeds) = swarm(plan);
    let from = plan.moment(1.0, 8.0);
    for host in seeds.into_iter().chain([tracker]) {
        plan.at(from, SimStep::Hold(host));
        plan.at(from + secs(lasts), SimStep::Release(host));
    }
    plan.within(from + secs(lasts) + secs(30 + 3 * 11));
}

fn one_way(plan: &mut ScenarioPlan, out: bool) {
    let (_, seeds) = swarm(plan);
    let from = plan.moment(1.0, 8.0);
    for seed in seeds {
        let (from_ip, to_ip) = if out { (CLIENT, seed) } else { (seed, CLIENT) };
        plan.at(from, SimStep::Cut { from: from_ip, to: to_ip });
        plan.at(from + secs(150), SimStep::Mend { from: from_ip, to: to_ip });
    }
    plan.within(from + secs(150) + secs(60 + 3 * 11));
    plan.expect(restarted("PeerConnection", "silent"));
}

/// A minute after the captive portal is gone, the client asks the tracker again. No tracker is disabled for good.
fn captive_portal(plan: &mut ScenarioPlan, words: &'static str) {
    let tracker = plan.tracker_of_lives(&[words, ""]);
    honest(plan, 3, 64 * 1024);
    plan.at(secs(600), SimStep::Stop(tracker));
    plan.at(secs(600) + Duration::from_millis(100), SimStep::Start(tracker));
    plan.within(secs(600 + 60 + 15));
    plan.expect(restarted("HttpTracker", "bad-reply"));
}

/// Every 5 s another half of the peers stalls. The client takes at most twice the usual time, and the time for what a
/// stalled peer held.
fn swizzle(plan: &mut ScenarioPlan, _: &str) {
    plan.tracker("");
    let seeds = honest(plan, 6, 32 * 1024);
    for round in 0..6 {
        let clogged = seeds.iter().enumerate().filter(|(nth, _)| (nth + round) % 2 == 0);
        for (_, seed) in clogged {
            plan.at(secs(2 + 5 * round as u64), SimStep::Hold(*seed));
            plan.at(secs(2 + 5 * round as u64) + Duration::from_millis(4900), SimStep::Release(*seed));
        }
    }
    plan.within(secs(3 * 11 + 30));
    plan.expect(done_by(secs(45)));
    plan.expect(never_banned(seeds));
}
