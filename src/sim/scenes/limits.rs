//! Our own rate limits: they hold, and no peer is punished for the delay that they cause.

use super::{fail, honest, never_banned, scene, secs};
use crate::sim::SimScene;
use crate::sim::observation::SimObservation;
use crate::sim::plan::ScenarioPlan;

/// The scenes of this file.
#[rustfmt::skip]
pub(super) const SCENES: &[SimScene] = &[
    scene("limit.down", &[], "three fast seeds and a limit", "", |plan, _| limited(plan, 3, 64 * 1024)),
    scene("limit.trickle", &[], "thirty seeds and a limit of a block in four seconds", "", |plan, _| limited(plan, 30, 4 * 1024)),
];

/// The limit alone decides how long the download takes. No peer counts as late, snubbing or silent because the client
/// does not read.
fn limited(plan: &mut ScenarioPlan, seeds: u64, bps: u64) {
    plan.payload(1024 * 1024, 32 * 1024);
    plan.tracker("");
    let seeds = honest(plan, seeds, 1024 * 1024);
    plan.max_download(bps);
    let ideal = secs(plan.bytes / bps);
    plan.within(3 * ideal + secs(30));
    plan.expect(never_banned(seeds));
    // One second to find the seeds.
    plan.expect(move |observation| match observation.took {
        took if (ideal.mul_f64(0.99)..ideal.mul_f64(1.02) + secs(1)).contains(&took) => Ok(()),
        took => fail(format!("took {took:.1?}, and the limit alone {ideal:.1?}")),
    });
    plan.expect(nobody_is_blamed);
}

fn nobody_is_blamed(observation: &SimObservation) -> Result<(), crate::faults::scenario::RefereeVerdict> {
    match observation.trace.restarts().first() {
        Some(restart) => fail(format!("we did not read, and yet {restart:?}")),
        None => Ok(()),
    }
}
