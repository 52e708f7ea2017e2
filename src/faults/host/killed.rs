//! Clients that are killed: at every boundary between data and record, and at random times (D-12, X-03, X-06).

use std::path::Path;
use std::time::Duration;

use rand::RngExt;
use rustix::process::Signal;

use super::fixture::{HostFixture, MIB, PIECE, SceneFailure, SceneResult};
use super::machine::MachineNeed;
use super::syscall_faults::SyscallFaults;
use super::{HostScene, scene};
use crate::base::geometry::BLOCK_LEN;
use crate::base::units::Bytes;
use crate::faults::scenario::ScenarioReport;
use crate::faults::torrent::Recipe;

/// The scenes of this file.
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

/// Slow enough for a write batch during the download, and for a kill to interrupt it.
const SLOW: &str = "max_rate=1500k";

fn write(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    killed_at(program, report, "pwritev", 6)
}

fn sync(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    killed_at(program, report, "fdatasync", 2)
}

fn record(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    killed_at(program, report, "fsync,rename", 4)
}

/// Kills the client three times, each time in front of one of the first `most` of these calls of a thread. Then lets it
/// complete.
fn killed_at(program: &Path, report: &mut ScenarioReport, calls: &'static str, most: u32) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let source = fixture.source(SLOW)?;
    for _ in 0..3 {
        let nth = fixture.dice.random_range(1..=most);
        let kill = SyscallFaults::default().kill(calls, nth);
        let run = fixture.fetch().from(source.addr).with_faults(kill).run()?;
        if run.finished.code() == 137 {
            fixture.inject("SIGKILL");
            fixture.take_in(&run);
            fixture.claimed()?;
        } else {
            // No thread made that many calls: start again from an empty folder.
            fixture.complete(&run)?;
            std::fs::remove_dir_all(&fixture.out)?;
        }
    }
    fixture.heals().map(drop)
}

fn kills(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    ended_by(program, report, Signal::KILL, 6)
}

fn aborts(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    ended_by(program, report, Signal::ABORT, 3)
}

/// 2 s from the start until it has checked what is there and goes on.
const READY: Duration = Duration::from_secs(2);

/// At most 256 KiB are fetched twice for each kill, four times what was seen: what was on the wire and in open pieces.
/// Written pieces are found again.
const WASTE: u64 = 256 * 1024;

fn ended_by(program: &Path, report: &mut ScenarioReport, signal: Signal, times: u32) -> SceneResult {
    // More bytes than six runs can fetch before they are killed.
    let mut fixture = HostFixture::of(Recipe::single("payload.bin", PIECE, &[]), 12 * MIB, program, report)?;
    let source = fixture.source(SLOW)?;
    let mut best = 0;
    for _ in 0..times {
        let mut fetch = fixture.fetch().from(source.addr).start()?;
        let is_up = fetch.says("\"phase\":\"fetching\"")?;
        let ready = fetch.program.elapsed();
        fixture.note("ms until ready", u64::try_from(ready.as_millis()).unwrap_or(u64::MAX));
        fixture.check("I3", is_up && ready < READY, || format!("ready after {ready:?}, 2 s are due"))?;
        let time = fixture.dice.random_range(50..1200);
        fetch.runs(Duration::from_millis(time))?;
        fetch.signal(signal)?;
        let run = fetch.finish()?;
        fixture.inject(if signal == Signal::KILL { "SIGKILL" } else { "SIGABRT" });
        fixture.ended(&run, 128 + signal.as_raw())?;
        best = keeps_what_was_had(&mut fixture, best)?;
    }
    let given = source.stats().blocks * u64::from(BLOCK_LEN);
    let run = fixture.heals()?;
    let waste = given.saturating_sub(run.number("bytes_kept"));
    fixture.note("bytes fetched twice", waste);
    fixture.check("I8", waste <= u64::from(times) * WASTE, || format!("{} were fetched twice", Bytes(waste)))
}

/// Checks that the record claims at least as many pieces as the one before it. Returns the number of pieces.
fn keeps_what_was_had(fixture: &mut HostFixture<'_>, best: u32) -> Result<u32, SceneFailure> {
    let claimed = fixture.claimed()?;
    fixture.check("I8", claimed >= best, || format!("{best} pieces were on record, now {claimed}"))?;
    Ok(claimed)
}
