//! Disks that are full or read-only, and limits on the size of files (D-01, D-02, D-08, D-16).

use std::path::Path;
use std::time::Duration;

use rand::RngExt;

use super::fetch::{ClientRun, RunningFetch, Tampering};
use super::fixture::{HostFixture, MIB, SceneFailure, SceneResult};
use super::machine::{MachineNeed, SmallDisk};
use super::syscall_faults::{SyscallFaults, When};
use super::{HostScene, scene};
use crate::faults::scenario::ScenarioReport;

/// The scenes of this file.
#[rustfmt::skip]
pub(super) const SCENES: &[HostScene] = &[
    scene("D-01.write", &["D-01"], "ENOSPC from the k-th write on, k by seed: exit 9, then it goes on", &[MachineNeed::Strace], write),
    scene("D-01.start", &["D-01"], "a disk without room at the start: exit 9 with both numbers, nothing is left", &[MachineNeed::Mount], has_no_room),
    scene("D-01.start-wait", &["D-01"], "a disk without room at the start is freed: it has waited and begins by itself", &[MachineNeed::Mount], waits_for_room),
    scene("D-01.exit", &["D-01"], "a small disk fills on the way: exit 9, then it goes on", &[MachineNeed::Mount], fills),
    scene("D-01.wait", &["D-01"], "a small disk fills on the way and is freed: it waits and goes on by itself", &[MachineNeed::Mount], waits),
    scene("D-02.record", &["D-02"], "ENOSPC at every record: the data is whole all the same", &[MachineNeed::Strace], record),
    scene("D-02.healed", &["D-02"], "ENOSPC at some records: what they missed is on record later", &[MachineNeed::Strace], record_healed),
    scene("D-02.killed", &["D-02"], "ENOSPC at every record, then SIGKILL: what is there is found", &[MachineNeed::Strace], record_killed),
    scene("D-08.read-only", &["D-08"], "EROFS from the k-th write on, k by seed: exit 16, then it goes on", &[MachineNeed::Strace], read_only),
    scene("D-16.limit", &["D-16"], "a limit of file size (ulimit -f): exit 16 and no signal, then it goes on", &[MachineNeed::Prlimit], limited),
    scene("D-08.complete", &["D-08"], "complete data on a disk that is read-only: exit 0 without state, and one word about it", &[MachineNeed::Mount], complete_and_read_only),
    scene("D-08.denied", &["D-08"], "EACCES at the data file: exit 16, then it goes on", &[MachineNeed::Strace], denied),
];

fn write(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let from = When::From(fixture.dice.random_range(1..=6));
    let run = fails(&mut fixture, SyscallFaults::default().fail("pwritev", "ENOSPC", from), 9)?;
    let file = fixture.data();
    fixture.error_names(&run, &["disk full on ", &file.to_string_lossy(), " free"])?;
    goes_on(&mut fixture)
}

/// Runs a fetch with these faults, which must end with this exit code.
fn fails(fixture: &mut HostFixture<'_>, with_faults: SyscallFaults, code: i32) -> Result<ClientRun, SceneFailure> {
    let source = fixture.source("")?;
    let run = fixture.fetch().from(source.addr).with_faults(with_faults).run()?;
    fixture.injected(&run)?;
    fixture.ended(&run, code)?;
    Ok(run)
}

/// Runs the fetch again without faults: it keeps the pieces on record and completes.
fn goes_on(fixture: &mut HostFixture<'_>) -> SceneResult {
    let claimed = u64::from(fixture.claimed()?);
    let run = fixture.heals()?;
    let (kept, piece) = (run.number("bytes_kept"), u64::from(fixture.offer.geometry.nominal_piece_len()));
    fixture
        .check("I8", kept + piece > claimed * piece, || format!("{claimed} pieces were on record, {kept} B were kept"))
}

fn has_no_room(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let (mut fixture, disk) = on_small_disk(program, report)?;
    disk.fill(8 * MIB - fixture.dice.random_range(2 * MIB..7 * MIB / 2))?;
    let source = fixture.source("")?;
    let run = fixture.fetch().from(source.addr).run()?;
    fixture.inject("disk full");
    fixture.ended(&run, 9)?;
    let place = disk.path().to_string_lossy().into_owned();
    fixture.error_names(&run, &["disk full on ", &place, "need 4.0 MiB more", " free"])?;
    let left = std::fs::read_dir(&fixture.out)?.count();
    fixture.check("I2", left == 0, || format!("{left} entries are left"))?;
    disk.free()?;
    goes_on(&mut fixture)
}

fn waits_for_room(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let (mut fixture, disk) = on_small_disk(program, report)?;
    disk.fill(8 * MIB - fixture.dice.random_range(2 * MIB..7 * MIB / 2))?;
    let source = fixture.source("")?;
    let fetch = fixture.fetch().from(source.addr).args(&["--disk-full", "wait"]).start()?;
    goes_on_by_itself(&mut fixture, &disk, fetch)
}

/// Returns a fixture whose output folder is on an empty disk of 8 MiB.
fn on_small_disk<'a>(
    program: &'a Path,
    report: &'a mut ScenarioReport,
) -> Result<(HostFixture<'a>, SmallDisk), SceneFailure> {
    let mut fixture = HostFixture::new(program, report)?;
    let disk = SmallDisk::mount(fixture.beside("disk"), 8 * MIB)?;
    fixture.out = disk.path().join("out");
    std::fs::create_dir(&fixture.out)?;
    Ok((fixture, disk))
}

/// Starts a slow fetch on a small disk and fills the disk when a part of the torrent is there.
fn is_filled(fixture: &mut HostFixture<'_>, disk: &SmallDisk, args: &[&str]) -> Result<RunningFetch, SceneFailure> {
    let source = fixture.source("max_rate=1M")?;
    let part = fixture.dice.random_range(1..2 * MIB);
    let fetch = fixture.started(fixture.fetch().from(source.addr).args(args), part)?;
    disk.fill(8 * MIB).or_else(|error| if is_full(&error) { Ok(()) } else { Err(error) })?;
    fixture.inject("disk full");
    Ok(fetch)
}

fn fills(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let (mut fixture, disk) = on_small_disk(program, report)?;
    let run = is_filled(&mut fixture, &disk, &[])?.finish()?;
    fixture.ended(&run, 9)?;
    fixture.error_names(&run, &["disk full on ", &disk.path().to_string_lossy(), "MiB more, ", " free"])?;
    disk.free()?;
    goes_on(&mut fixture)
}

fn waits(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let (mut fixture, disk) = on_small_disk(program, report)?;
    let fetch = is_filled(&mut fixture, &disk, &["--disk-full", "wait"])?;
    goes_on_by_itself(&mut fixture, &disk, fetch)
}

fn goes_on_by_itself(fixture: &mut HostFixture<'_>, disk: &SmallDisk, mut fetch: RunningFetch) -> SceneResult {
    let is_told = fetch.says("; will resume by itself")?;
    fixture.inject("disk full");
    fixture.check("I10", is_told, || "nothing says that it will resume by itself".to_owned())?;
    let freed = fetch.program.elapsed();
    disk.free()?;
    let run = fetch.finish()?;
    fixture.complete(&run)?;
    let waited = run.finished.took.saturating_sub(freed);
    fixture.note("seconds to resume", waited.as_secs());
    fixture
        .check("I3", waited < Duration::from_secs(30), || format!("{waited:?} after there was space, 30 s are due"))?;
    let checked = run.number("bytes_checked");
    fixture.check("I8", checked == 0, || format!("{checked} B were checked again"))?;
    fixture.log_names(&run, &["disk full on ", "need ", " free"])
}

fn complete_and_read_only(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let (mut fixture, disk) = on_small_disk(program, report)?;
    fixture.heals()?;
    for has_record in [true, false] {
        if !has_record {
            std::fs::remove_dir_all(fixture.out.join(".tt-actors"))?;
        }
        disk.make_read_only()?;
        for args in [&[][..], &["--seed-time", "0s"]] {
            let run = fixture.fetch().args(args).run()?;
            fixture.complete(&run)?;
            let (fetched, checked) = (run.number("bytes_downloaded"), run.number("bytes_checked"));
            fixture.check("I8", fetched == 0, || format!("all was there, {fetched} B were fetched again"))?;
            fixture.check("I8", (checked == 0) == has_record, || format!("{checked} B were checked"))?;
            let warnings =
                run.output.logged("no state can be kept here, the next start hashes everything again").count();
            fixture.check("I10", warnings == 1, || format!("{warnings} times it was said that there is no state"))?;
        }
        disk.make_writable()?;
    }
    fixture.inject("a read-only disk");
    Ok(())
}

/// Starts a slow fetch. When a part of the torrent is there, every later write of the record fails.
fn unrecorded(fixture: &mut HostFixture<'_>) -> Result<(RunningFetch, Tampering), SceneFailure> {
    let source = fixture.source("max_rate=700k")?;
    let mut fetch = fixture.started(fixture.fetch().from(source.addr), 1)?;
    let full = SyscallFaults::default().fail("write", "ENOSPC", When::Always).only(fixture.new_record());
    let tampering = fixture.tamper(&fetch, &full)?;
    let is_told = fetch.says("not recorded")?;
    fixture.check("I10", is_told, || "nothing says that pieces are not recorded".to_owned())?;
    Ok((fetch, tampering))
}

fn record(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let (fetch, tampering) = unrecorded(&mut fixture)?;
    let run = fetch.finish()?;
    fixture.heal(tampering)?;
    fixture.complete(&run)?;
    let record = fixture.new_record();
    fixture.log_names(&run, &["not recorded", &record.to_string_lossy()])?;
    let warnings = run.output.logged("pieces are written but not recorded").count();
    fixture.check("I10", warnings == 1, || format!("{warnings} times it was said that pieces are not recorded"))?;
    let again = fixture.heals()?;
    let fetched = again.number("bytes_downloaded");
    fixture.check("I8", fetched == 0, || format!("all was there, {fetched} B were fetched again"))
}

fn record_healed(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let (fetch, tampering) = unrecorded(&mut fixture)?;
    fixture.heal(tampering)?;
    let run = fetch.finish()?;
    fixture.complete(&run)?;
    let (claimed, all) = (fixture.claimed()?, fixture.offer.geometry.piece_count());
    fixture.check("I8", claimed == all, || format!("{claimed} of {all} pieces are on record"))
}

fn record_killed(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let (mut fetch, tampering) = unrecorded(&mut fixture)?;
    let half = fixture.harness.payload().len() / 2;
    let is_there = fetch.has(half)?;
    fixture.check("I3", is_there, || "it never had a half".to_owned())?;
    fetch.kill()?;
    fixture.heal(tampering)?;
    fixture.inject("SIGKILL");
    fixture.claimed()?;
    let run = fixture.heals()?;
    let kept = run.number("bytes_kept");
    fixture.check("I8", kept >= half, || format!("a half was there, {kept} B were kept"))
}

fn limited(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let source = fixture.source("")?;
    let run = fixture.fetch().from(source.addr).behind(&["prlimit", "--fsize=1048576"]).run()?;
    fixture.inject("a limit of file size");
    fixture.ended(&run, 16)?;
    let file = fixture.data();
    fixture.error_names(&run, &["cannot write ", &file.to_string_lossy(), "1.0 MiB (ulimit -f)"])?;
    goes_on(&mut fixture)
}

fn read_only(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let from = When::From(fixture.dice.random_range(1..=6));
    let run = fails(&mut fixture, SyscallFaults::default().fail("pwritev", "EROFS", from), 16)?;
    let file = fixture.data();
    fixture.error_names(&run, &["cannot write ", &file.to_string_lossy(), "Read-only file system"])?;
    goes_on(&mut fixture)
}

fn denied(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let run = fails(&mut fixture, SyscallFaults::default().fail("openat2", "EACCES", When::Always), 16)?;
    let file = fixture.data();
    fixture.error_names(&run, &["cannot open ", &file.to_string_lossy(), "Permission denied"])?;
    goes_on(&mut fixture)
}

/// Tells whether the error says that no space is left.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::StorageFull
}
