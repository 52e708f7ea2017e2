//! Our own rate limits: they hold, and what they hold up is nobody's fault.

use super::{fail, honest, never_banned, scene, secs};
use crate::sim::SimScene;
use crate::sim::plan::ScenarioPlan;
use crate::sim::seen::SimSeen;

/// See the head of the file.
#[rustfmt::skip]
pub(super) const SCENES: &[SimScene] = &[
    scene("limit.down", &[], "three fast seeds and a limit", "", |plan, _| limited(plan, 3, 64 * 1024)),
    scene("limit.trickle", &[], "thirty seeds and a limit of a block in four seconds", "", |plan, _| limited(plan, 30, 4 * 1024)),
];

/// The limit alone decides how long it takes; nobody is taken for late, snubbing or silent because we do not read.
fn limited(plan: &mut ScenarioPlan, seeds: u64, bps: u64) {
    plan.payload(1024 * 1024, 32 * 1024);
    plan.tracker("");
    let seeds = honest(plan, seeds, 1024 * 1024);
    plan.max_download(bps);
    let ideal = secs(plan.bytes / bps);
    plan.within(3 * ideal + secs(30));
    plan.expect(never_banned(seeds));
    // A second to find them.
    plan.expect(move |seen| match seen.took {
        took if (ideal.mul_f64(0.99)..ideal.mul_f64(1.02) + secs(1)).contains(&took) => Ok(()),
        took => fail(format!("took {took:.1?}, and the limit alone {ideal:.1?}")),
    });
    plan.expect(nobody_is_blamed);
}

fn nobody_is_blamed(seen: &SimSeen) -> Result<(), crate::faults::scenario::RefereeVerdict> {
    match seen.trace.restarts().first() {
        Some(restart) => fail(format!("we did not read, and yet {restart:?}")),
        None => Ok(()),
    }
}
