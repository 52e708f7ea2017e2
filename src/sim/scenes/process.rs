//! Section 6 of the catalogue: the process. It is killed, told to stop, or suspended.

use std::time::Duration;

use super::{fail, honest, scene, secs};
use crate::app::outcome::Ending;
use crate::sim::SimScene;
use crate::sim::plan::{ScenarioPlan, SimStep};

/// The scenes of this file.
#[rustfmt::skip]
pub(super) const SCENES: &[SimScene] = &[
    scene("X-01", &["X-01"], "told to stop, started again", "", told_to_stop),
    scene("X-02", &["X-02"], "told to stop twice", "", told_twice),
    scene("X-03", &["X-03"], "killed ten times, at any moment", "", killed),
    scene("X-09.nap", &["X-09"], "the machine sleeps for ten minutes", "", |plan, _| sleeps(plan, secs(600))),
    scene("X-09.year", &["X-09"], "the clock jumps by a year", "", |plan, _| sleeps(plan, secs(365 * 86_400))),
];

/// Data that was there is neither checked nor fetched again.
fn told_to_stop(plan: &mut ScenarioPlan, _: &str) {
    plan.tracker("");
    honest(plan, 3, 64 * 1024);
    let at = plan.moment(1.0, 9.0);
    plan.at(at, SimStep::UserStop);
    plan.at(at + secs(16), SimStep::Restart);
    plan.within(at + secs(16 + 33 + 30));
    plan.expect(|observation| {
        let [first, second] = &observation.runs[..] else {
            return fail(format!("{} runs, not two", observation.runs.len()));
        };
        let had = first.view.as_ref().map_or(0, |view| view.bytes_have);
        let checked = second.view.as_ref().map_or(0, |view| view.bytes_checked);
        match &first.ended {
            Some((_, Ending::Interrupted)) if second.kept >= had && checked == 0 => Ok(()),
            ended => fail(format!("{ended:?}; had {had}, kept {}, checked {checked}", second.kept)),
        }
    });
}

fn told_twice(plan: &mut ScenarioPlan, _: &str) {
    plan.tracker("hang_after=1");
    (0..3).for_each(|_| _ = plan.known_peer("max_rate=64k"));
    let at = plan.moment(1.0, 9.0);
    plan.at(at, SimStep::UserStop);
    plan.at(at + Duration::from_millis(200), SimStep::UserStop);
    plan.start_again_after(secs(1));
    plan.within(at + secs(3 * 11 + 60));
}

/// Each kill costs what was under way. The next run finds what was written.
fn killed(plan: &mut ScenarioPlan, _: &str) {
    plan.tracker("");
    honest(plan, 3, 64 * 1024);
    let mut at = Duration::ZERO;
    for _ in 0..10 {
        at += plan.moment(0.2, 3.0);
        plan.at(at, SimStep::Kill);
        at += Duration::from_millis(500);
        plan.at(at, SimStep::Restart);
    }
    plan.within(at + secs(3 * 11 + 30));
    plan.expect(|observation| {
        let lost = observation.runs.windows(2).find(|two| {
            let had = two[0].view.as_ref().map_or(0, |view| view.bytes_have);
            two[1].kept < had && two[1].view.as_ref().is_some_and(|view| view.bytes_have > 0)
        });
        match lost {
            Some(two) => {
                fail(format!("had {:?}, kept {}", two[0].view.as_ref().map(|view| view.bytes_have), two[1].kept))
            }
            None => Ok(()),
        }
    });
}

fn sleeps(plan: &mut ScenarioPlan, nap: Duration) {
    plan.tracker("");
    let seeds = honest(plan, 3, 64 * 1024);
    let at = plan.moment(1.0, 9.0);
    plan.at(at, SimStep::Suspend(nap));
    plan.within(secs(3 * 11 + 60));
    plan.expect(super::never_banned(seeds));
}
