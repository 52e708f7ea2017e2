//! Other programs that change the files of a torrent: while it is fetched (D-09), while it is seeded (D-15), and at any
//! time (D-22). Whatever they do, the client says "complete" only when that is true (I2) and sends no peer a wrong byte
//! (I6).

use rand::RngExt;

use super::{fail, honest, scene, secs};
use crate::sim::SimScene;
use crate::sim::plan::{ScenarioPlan, SimStep};
use crate::storage::memory::Meddle;

/// Files of the torrent: few enough that each is changed often. No length is a multiple of a piece.
const FILES: u64 = 5;

/// The scenes of this file.
#[rustfmt::skip]
pub(super) const SCENES: &[SimScene] = &[
    scene("D-09.cut", &["D-09"], "a file is cut while it is fetched", "", |plan, _| fetched(plan, cut)),
    scene("D-09.grown", &["D-09"], "bytes are appended to a file while it is fetched", "", |plan, _| fetched(plan, grown)),
    scene("D-09.rewritten", &["D-09"], "a file is written to while it is fetched", "", |plan, _| fetched(plan, rewritten)),
    scene("D-09.removed", &["D-09"], "a file is removed or moved away while it is fetched", "", |plan, _| fetched(plan, removed)),
    scene("D-09.replaced", &["D-09"], "another file takes the place of one that is fetched", "", |plan, _| fetched(plan, replaced)),
    scene("D-09.swapped", &["D-09"], "two files change places while they are fetched", "", |plan, _| fetched(plan, swapped)),
    scene("D-15.cut", &["D-15"], "a file is cut while it is given to others", "", |plan, _| given(plan, cut)),
    scene("D-15.grown", &["D-15"], "bytes are appended to a file while it is given to others", "", |plan, _| given(plan, grown)),
    scene("D-15.rewritten", &["D-15"], "a file is written to while it is given to others", "", |plan, _| given(plan, rewritten)),
    scene("D-15.removed", &["D-15"], "a file is removed while it is given to others", "", |plan, _| given(plan, removed)),
    scene("D-15.replaced", &["D-15"], "another file takes the place of one that is given to others", "", |plan, _| given(plan, replaced)),
    scene("D-15.swapped", &["D-15"], "two files change places while they are given to others", "", |plan, _| given(plan, swapped)),
    scene("D-19.moved", &["D-19"], "the output folder is moved away or removed while it is fetched", "", |plan, _| fetched(plan, |_| Meddle::RemoveAll)),
    scene("D-19.seeding", &["D-19"], "the output folder is removed while it is given to others", "", |plan, _| given(plan, |_| Meddle::RemoveAll)),
    scene("D-22.any", &["D-22", "D-09", "D-15", "D-19"], "others do whatever they like to the files, whenever they like", "", anything),
];

fn file(plan: &mut ScenarioPlan) -> usize {
    plan.dice.random_range(0..usize::try_from(FILES).unwrap_or(1))
}

fn cut(plan: &mut ScenarioPlan) -> Meddle {
    Meddle::Truncate(file(plan), plan.dice.random_range(0..1000))
}

fn grown(plan: &mut ScenarioPlan) -> Meddle {
    Meddle::Grow(file(plan), plan.dice.random_range(1..100_000))
}

fn rewritten(plan: &mut ScenarioPlan) -> Meddle {
    Meddle::Rewrite(file(plan), plan.dice.random_range(0..1000), plan.dice.random_range(1..100_000))
}

fn removed(plan: &mut ScenarioPlan) -> Meddle {
    Meddle::Remove(file(plan))
}

fn replaced(plan: &mut ScenarioPlan) -> Meddle {
    Meddle::Replace(file(plan))
}

fn swapped(plan: &mut ScenarioPlan) -> Meddle {
    Meddle::Swap(file(plan), file(plan))
}

fn swarm(plan: &mut ScenarioPlan) {
    plan.tracker("");
    plan.files(FILES);
    honest(plan, 3, 64 * 1024);
}

fn fetched(plan: &mut ScenarioPlan, what: fn(&mut ScenarioPlan) -> Meddle) {
    swarm(plan);
    let (at, what) = (plan.moment(0.5, 10.5), what(plan));
    plan.at(at, SimStep::ChangeFiles(what));
    // Three times the fault-free time, twice: everything may have to be fetched again.
    plan.within(secs(2 * 3 * 11 + 60));
    plan.expect(
        |observation| if observation.runs.len() == 1 { Ok(()) } else { fail("it had to be started again".to_owned()) },
    );
}

fn given(plan: &mut ScenarioPlan, what: fn(&mut ScenarioPlan) -> Meddle) {
    swarm(plan);
    plan.seed_for(secs(60), 2);
    let (at, what) = (plan.moment(20.0, 50.0), what(plan));
    plan.at(at, SimStep::ChangeFiles(what));
    plan.within(secs(2 * 3 * 11 + 60 + 60));
}

/// Fewer changes in a row than make the client give up.
fn anything(plan: &mut ScenarioPlan, _: &str) {
    const CHANGES: [fn(&mut ScenarioPlan) -> Meddle; 7] =
        [cut, grown, rewritten, removed, replaced, swapped, |_| Meddle::RemoveAll];
    swarm(plan);
    if plan.dice.random() {
        plan.seed_for(secs(30), 2);
    }
    for _ in 0..plan.dice.random_range(1..8) {
        let what = CHANGES[plan.dice.random_range(0..CHANGES.len())](plan);
        let at = plan.moment(0.2, 45.0);
        plan.at(at, SimStep::ChangeFiles(what));
    }
    plan.within(secs(600));
}
