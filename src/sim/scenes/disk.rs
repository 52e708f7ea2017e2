//! Section 5 of the catalogue: the disk, as far as a disk in memory can fail. The host layer tests short writes and
//! descriptors.

use std::io::ErrorKind;
use std::time::Duration;

use rand::RngExt;

use super::{fail, honest, scene, secs};
use crate::app::outcome::Ending;
use crate::sim::SimScene;
use crate::sim::plan::{ScenarioPlan, SimStep};
use crate::storage::memory::{Health, Operation};

/// The scenes of this file.
#[rustfmt::skip]
pub(super) const SCENES: &[SimScene] = &[
    scene("D-01.wait", &["D-01"], "full from the k-th write on, freed half a minute later", "", full_and_patient),
    scene("D-01.leave", &["D-01"], "full, the run ends, the same command goes on", "", full_and_gone),
    scene("D-02", &["D-02"], "no room for the record", "", |plan, _| failing(plan, Operation::Record, ErrorKind::StorageFull)),
    scene("D-03.once", &["D-03"], "the k-th write fails once", "", |plan, _| once(plan, Operation::Write, ErrorKind::Other)),
    scene("D-03.for-good", &["D-03"], "every write fails until somebody mends it", "", broken),
    scene("D-04", &["D-04"], "pieces that cannot be read at the start", "", unreadable),
    scene("D-05", &["D-05", "D-12"], "a sync fails, and the power goes", "", failed_sync),
    scene("D-07.slow", &["D-07"], "every operation takes 100 ms", "", |plan, _| slow(plan, Duration::from_millis(100))),
    scene("D-07.sync", &["D-07"], "every operation takes 5 s", "", |plan, _| slow(plan, secs(5))),
    scene("D-07.stall", &["D-07"], "the disk stalls for a minute", "", stall),
    scene("D-08", &["D-08"], "read-only for a while", "", |plan, _| failing(plan, Operation::Write, ErrorKind::ReadOnlyFilesystem)),
    scene("D-12", &["D-12"], "power cuts, at any moment", "", power_cuts),
    scene("D-13.torn", &["D-13"], "the record is torn", "", |plan, _| tampered(plan, |record| record.map(|bytes| bytes[..bytes.len() / 2].to_vec()))),
    scene("D-13.gone", &["D-13"], "the record is gone", "", |plan, _| tampered(plan, |_| None)),
    scene("D-13.empty", &["D-13"], "the record is empty", "", |plan, _| tampered(plan, |_| Some(Vec::new()))),
    scene("D-14", &["D-14"], "the record is of another version", "", |plan, _| tampered(plan, |record| record.map(of_the_future))),
];

fn swarm(plan: &mut ScenarioPlan) {
    plan.tracker("");
    honest(plan, 3, 64 * 1024);
    plan.within(secs(3 * 11 + 60));
}

fn health(operation: Operation, error: ErrorKind) -> Health {
    Health { failing: [(operation, error)].into(), ..Health::default() }
}

fn full_and_patient(plan: &mut ScenarioPlan, _: &str) {
    swarm(plan);
    let from = plan.moment(0.5, 9.0);
    plan.at(from, SimStep::Disk(health(Operation::Write, ErrorKind::StorageFull)));
    plan.at(from + secs(30), SimStep::Disk(Health::default()));
    // It resumes within 30 s after there is space again, and then needs the time for the rest.
    plan.within(from + secs(30 + 30 + 15));
    plan.expect(|observation| {
        if observation.runs.len() == 1 { Ok(()) } else { fail("it ended and had to be started again".to_owned()) }
    });
}

fn full_and_gone(plan: &mut ScenarioPlan, _: &str) {
    swarm(plan);
    plan.leave_when_full();
    let from = plan.moment(0.5, 9.0);
    plan.at(from, SimStep::Disk(health(Operation::Write, ErrorKind::StorageFull)));
    plan.at(from + secs(20), SimStep::Disk(Health::default()));
    plan.start_again_after(secs(5));
}

fn failing(plan: &mut ScenarioPlan, operation: Operation, error: ErrorKind) {
    swarm(plan);
    let from = plan.moment(0.5, 9.0);
    plan.at(from, SimStep::Disk(health(operation, error)));
    plan.at(from + secs(20), SimStep::Disk(Health::default()));
    plan.start_again_after(secs(5));
    plan.within(secs(3 * 11 + 90));
}

fn once(plan: &mut ScenarioPlan, operation: Operation, error: ErrorKind) {
    swarm(plan);
    let nth = plan.dice.random_range(1..60);
    plan.at(Duration::from_millis(100), SimStep::Strike(operation, nth, error));
    plan.expect(
        |observation| if observation.runs.len() == 1 { Ok(()) } else { fail("one failed write ended it".to_owned()) },
    );
}

/// The run ends with an error. The same command completes after the disk was repaired.
fn broken(plan: &mut ScenarioPlan, _: &str) {
    swarm(plan);
    let from = plan.moment(0.5, 8.0);
    plan.at(from, SimStep::Disk(health(Operation::Write, ErrorKind::Other)));
    plan.at(from + secs(60), SimStep::Disk(Health::default()));
    plan.start_again_after(secs(20));
    plan.within(from + secs(60 + 3 * 11 + 30));
    plan.expect(|observation| match observation.runs.first().and_then(|run| run.ended.as_ref()) {
        Some((_, Ending::Failed(_))) => Ok(()),
        ended => fail(format!("the disk is broken, and the first run ended {ended:?}")),
    });
}

fn unreadable(plan: &mut ScenarioPlan, _: &str) {
    swarm(plan);
    let killed = plan.moment(3.0, 8.0);
    plan.at(killed, SimStep::Kill);
    plan.at(killed, SimStep::Tamper(|_| None));
    let nth = plan.dice.random_range(1..10);
    plan.at(killed + secs(1), SimStep::Strike(Operation::Read, nth, ErrorKind::Other));
    plan.at(killed + secs(1), SimStep::Restart);
}

/// Data whose sync failed is lost in the power cut, and the record never claimed it.
fn failed_sync(plan: &mut ScenarioPlan, _: &str) {
    swarm(plan);
    let nth = plan.dice.random_range(1..4);
    plan.at(Duration::from_millis(100), SimStep::Strike(Operation::Sync, nth, ErrorKind::Other));
    let cut = plan.moment(5.0, 14.0);
    plan.at(cut, SimStep::PowerCut);
    plan.at(cut + secs(1), SimStep::Restart);
    // The sync that fails may be that of the second run, which then ends with an error.
    plan.start_again_after(secs(5));
}

fn slow(plan: &mut ScenarioPlan, delay: Duration) {
    swarm(plan);
    plan.at(Duration::ZERO, SimStep::Disk(Health { delay, ..Health::default() }));
    plan.within(secs(3 * 11 + 60) + 10 * delay);
    // A slow disk causes back-pressure and no time-outs: no peer is lost.
    plan.expect(|observation| match observation.trace.restarts().len() {
        0 => Ok(()),
        _ => fail(format!("a slow disk cost {:?}", observation.trace.restarts())),
    });
}

fn stall(plan: &mut ScenarioPlan, _: &str) {
    swarm(plan);
    plan.at(secs(4), SimStep::Disk(Health { delay: secs(60), ..Health::default() }));
    plan.at(secs(5), SimStep::Disk(Health::default()));
    plan.within(secs(4 + 60 + 3 * 11));
}

fn power_cuts(plan: &mut ScenarioPlan, _: &str) {
    swarm(plan);
    let mut at = Duration::ZERO;
    for _ in 0..5 {
        at += plan.moment(0.5, 5.0);
        plan.at(at, SimStep::PowerCut);
        at += secs(1);
        plan.at(at, SimStep::Restart);
    }
    plan.within(at + secs(3 * 11 + 30));
}

fn tampered(plan: &mut ScenarioPlan, tamper: fn(Option<Vec<u8>>) -> Option<Vec<u8>>) {
    swarm(plan);
    let killed = plan.moment(5.0, 9.0);
    plan.at(killed, SimStep::Kill);
    plan.at(killed, SimStep::Tamper(tamper));
    plan.at(killed + secs(1), SimStep::Restart);
    // The run after must not start from zero when there is data.
    plan.expect(|observation| match observation.runs.get(1) {
        Some(run) if run.kept > 0 => Ok(()),
        run => fail(format!("the second run kept {:?} bytes of what was there", run.map(|run| run.kept))),
    });
}

fn of_the_future(bytes: Vec<u8>) -> Vec<u8> {
    let text = b"7:versioni1e";
    let at = bytes.windows(text.len()).position(|window| window == text);
    let mut bytes = bytes;
    if let Some(at) = at {
        bytes[at + text.len() - 2] = b'9';
    }
    bytes
}
