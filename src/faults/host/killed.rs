//! Clients that die: at every boundary between data and record, and at any time (D-12, X-03, X-06).

use std::path::Path;
use std::time::Duration;

use rand::RngExt;
use rustix::process::Signal;

use super::ground::{Fall, HostFixture, MIB, PIECE, Played};
use super::machine::MachineNeed;
use super::syscall_faults::SyscallFaults;
use super::{HostScene, scene};
use crate::base::geometry::BLOCK_LEN;
use crate::base::units::Bytes;
use crate::faults::scenario::ScenarioReport;
use crate::faults::torrent::Recipe;

/// Their scenes.
pub(super) const SCENES: &[HostScene] = &[
    scene(
        "D-12.write",
        &["D-12"],
        "SIGKILL in front of the k-th write of data, three times",
        &[MachineNeed::Strace],
        write,
    ),
    scene(
        "D-12.sync",
        &["D-12"],
        "SIGKILL in front of the k-th sync of data, three times",
        &[MachineNeed::Strace],
        sync,
    ),
    scene(
        "D-12.record",
        &["D-12", "D-02"],
        "SIGKILL in front of the k-th step of a record, three times",
        &[MachineNeed::Strace],
        record,
    ),
    scene("X-03.kills", &["X-03"], "SIGKILL at any time, six times", &[], kills),
    scene(
        "X-06.abort",
        &["X-06"],
        "SIGABRT, what a panic within a panic ends with, at any time, three times",
        &[],
        aborts,
    ),
];

/// Slow enough for a group on the way, and for a kill to find it at work.
const SLOW: &str = "max_rate=1500k";

fn write(program: &Path, report: &mut ScenarioReport) -> Played {
    killed_at(program, report, "pwritev", 6)
}

fn sync(program: &Path, report: &mut ScenarioReport) -> Played {
    killed_at(program, report, "fdatasync", 2)
}

fn record(program: &Path, report: &mut ScenarioReport) -> Played {
    killed_at(program, report, "fsync,rename", 4)
}

/// Killed three times in front of one of the first `most` of these calls of a thread, and then left in peace.
fn killed_at(program: &Path, report: &mut ScenarioReport, calls: &'static str, most: u32) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let source = ground.source(SLOW)?;
    for _ in 0..3 {
        let nth = ground.dice.random_range(1..=most);
        let kill = SyscallFaults::default().kill(calls, nth);
        let run = ground.fetch().from(source.addr).meddling(kill).run()?;
        if run.finished.code() == 137 {
            ground.inject("SIGKILL");
            ground.take_in(&run);
            ground.claimed()?;
        } else {
            // There were fewer such calls in each thread: once more from the start.
            ground.complete(&run)?;
            std::fs::remove_dir_all(&ground.out)?;
        }
    }
    ground.heals().map(drop)
}

fn kills(program: &Path, report: &mut ScenarioReport) -> Played {
    ended_by(program, report, Signal::KILL, 6)
}

fn aborts(program: &Path, report: &mut ScenarioReport) -> Played {
    ended_by(program, report, Signal::ABORT, 3)
}

/// 2 s until it looks at what is there and takes up the rest.
const READY: Duration = Duration::from_secs(2);

/// 256 KiB fetched twice for each end at most, four times what is seen: what was on the wire and in open pieces. What was
/// written is found again.
const WASTE: u64 = 256 * 1024;

fn ended_by(program: &Path, report: &mut ScenarioReport, signal: Signal, times: u32) -> Played {
    // More than comes in the time of six lives.
    let mut ground = HostFixture::of(Recipe::single("payload.bin", PIECE, &[]), 12 * MIB, program, report)?;
    let source = ground.source(SLOW)?;
    let mut best = 0;
    for _ in 0..times {
        let mut fetch = ground.fetch().from(source.addr).start()?;
        let is_up = fetch.says("\"phase\":\"fetching\"")?;
        let ready = fetch.program.elapsed();
        ground.note("ms until ready", u64::try_from(ready.as_millis()).unwrap_or(u64::MAX));
        ground.check("I3", is_up && ready < READY, || format!("ready after {ready:?}, 2 s are due"))?;
        let time = ground.dice.random_range(50..1200);
        fetch.runs(Duration::from_millis(time))?;
        fetch.signal(signal)?;
        let run = fetch.finish()?;
        ground.inject(if signal == Signal::KILL { "SIGKILL" } else { "SIGABRT" });
        ground.ended(&run, 128 + signal.as_raw())?;
        best = keeps_what_was_had(&mut ground, best)?;
    }
    let given = source.stats().blocks * u64::from(BLOCK_LEN);
    let run = ground.heals()?;
    let waste = given.saturating_sub(run.number("bytes_kept"));
    ground.note("bytes fetched twice", waste);
    ground.check("I8", waste <= u64::from(times) * WASTE, || format!("{} were fetched twice", Bytes(waste)))
}

/// A record never has less than the one before it.
fn keeps_what_was_had(ground: &mut HostFixture<'_>, best: u32) -> Result<u32, Fall> {
    let claimed = ground.claimed()?;
    ground.check("I8", claimed >= best, || format!("{best} pieces were on record, now {claimed}"))?;
    Ok(claimed)
}
