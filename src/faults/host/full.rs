//! Disks that are full, or must not be written, and files that may not be long (D-01, D-02, D-08, D-16).

use std::path::Path;
use std::time::Duration;

use rand::RngExt;

use super::fetch::{ClientRun, Fetching, Tampering};
use super::ground::{Fall, HostFixture, MIB, Played};
use super::machine::{MachineNeed, SmallDisk};
use super::syscall_faults::{SyscallFaults, When};
use super::{HostScene, scene};
use crate::faults::scenario::ScenarioReport;

/// Their scenes.
pub(super) const SCENES: &[HostScene] = &[
    scene(
        "D-01.write",
        &["D-01"],
        "ENOSPC from the k-th write on, k by seed: exit 9, then it goes on",
        &[MachineNeed::Strace],
        write,
    ),
    scene(
        "D-01.start",
        &["D-01"],
        "a disk without room at the start: exit 9 with both numbers, nothing is left",
        &[MachineNeed::Mount],
        has_no_room,
    ),
    scene(
        "D-01.start-wait",
        &["D-01"],
        "a disk without room at the start is freed: it has waited and begins by itself",
        &[MachineNeed::Mount],
        waits_for_room,
    ),
    scene(
        "D-01.exit",
        &["D-01"],
        "a small disk fills on the way: exit 9, then it goes on",
        &[MachineNeed::Mount],
        fills,
    ),
    scene(
        "D-01.wait",
        &["D-01"],
        "a small disk fills on the way and is freed: it waits and goes on by itself",
        &[MachineNeed::Mount],
        waits,
    ),
    scene(
        "D-02.record",
        &["D-02"],
        "ENOSPC at every record: the data is whole all the same",
        &[MachineNeed::Strace],
        record,
    ),
    scene(
        "D-02.healed",
        &["D-02"],
        "ENOSPC at some records: what they missed is on record later",
        &[MachineNeed::Strace],
        record_healed,
    ),
    scene(
        "D-02.killed",
        &["D-02"],
        "ENOSPC at every record, then SIGKILL: what is there is found",
        &[MachineNeed::Strace],
        record_killed,
    ),
    scene(
        "D-08.read-only",
        &["D-08"],
        "EROFS from the k-th write on, k by seed: exit 16, then it goes on",
        &[MachineNeed::Strace],
        read_only,
    ),
    scene(
        "D-16.limit",
        &["D-16"],
        "a limit of file size (ulimit -f): exit 16 and no signal, then it goes on",
        &[MachineNeed::Prlimit],
        limited,
    ),
    scene(
        "D-08.complete",
        &["D-08"],
        "complete data on a disk that is read-only: exit 0 without state, and one word about it",
        &[MachineNeed::Mount],
        complete_and_read_only,
    ),
    scene(
        "D-08.denied",
        &["D-08"],
        "EACCES at the data file: exit 16, then it goes on",
        &[MachineNeed::Strace],
        denied,
    ),
];

fn write(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let from = When::From(ground.dice.random_range(1..=6));
    let run = fails(&mut ground, SyscallFaults::default().fail("pwritev", "ENOSPC", from), 9)?;
    let file = ground.data();
    ground.error_names(&run, &["disk full on ", &file.to_string_lossy(), " free"])?;
    goes_on(&mut ground)
}

/// A run that this ends.
fn fails(ground: &mut HostFixture<'_>, meddling: SyscallFaults, code: i32) -> Result<ClientRun, Fall> {
    let source = ground.source("")?;
    let run = ground.fetch().from(source.addr).meddling(meddling).run()?;
    ground.injected(&run)?;
    ground.ended(&run, code)?;
    Ok(run)
}

/// What is on record is kept: the rest comes, and it completes.
fn goes_on(ground: &mut HostFixture<'_>) -> Played {
    let claimed = u64::from(ground.claimed()?);
    let run = ground.heals()?;
    let (kept, piece) = (run.number("bytes_kept"), u64::from(ground.offer.geometry.nominal_piece_len()));
    ground
        .check("I8", kept + piece > claimed * piece, || format!("{claimed} pieces were on record, {kept} B were kept"))
}

fn has_no_room(program: &Path, report: &mut ScenarioReport) -> Played {
    let (mut ground, disk) = on_small_disk(program, report)?;
    disk.fill(8 * MIB - ground.dice.random_range(2 * MIB..7 * MIB / 2))?;
    let source = ground.source("")?;
    let run = ground.fetch().from(source.addr).run()?;
    ground.inject("disk full");
    ground.ended(&run, 9)?;
    let place = disk.path().to_string_lossy().into_owned();
    ground.error_names(&run, &["disk full on ", &place, "need 4.0 MiB more", " free"])?;
    let left = std::fs::read_dir(&ground.out)?.count();
    ground.check("I2", left == 0, || format!("{left} entries are left"))?;
    disk.free()?;
    goes_on(&mut ground)
}

fn waits_for_room(program: &Path, report: &mut ScenarioReport) -> Played {
    let (mut ground, disk) = on_small_disk(program, report)?;
    disk.fill(8 * MIB - ground.dice.random_range(2 * MIB..7 * MIB / 2))?;
    let source = ground.source("")?;
    let fetch = ground.fetch().from(source.addr).args(&["--disk-full", "wait"]).start()?;
    goes_on_by_itself(&mut ground, &disk, fetch)
}

/// A disk of 8 MiB, with nothing on it yet.
fn on_small_disk<'a>(program: &'a Path, report: &'a mut ScenarioReport) -> Result<(HostFixture<'a>, SmallDisk), Fall> {
    let mut ground = HostFixture::new(program, report)?;
    let disk = SmallDisk::mount(ground.beside("disk"), 8 * MIB)?;
    ground.out = disk.path().join("out");
    std::fs::create_dir(&ground.out)?;
    Ok((ground, disk))
}

/// A slow run on a small disk, with a part of it there, when somebody takes the rest of the disk.
fn is_filled(ground: &mut HostFixture<'_>, disk: &SmallDisk, args: &[&str]) -> Result<Fetching, Fall> {
    let source = ground.source("max_rate=1M")?;
    let mut fetch = ground.fetch().from(source.addr).args(args).start()?;
    let part = ground.dice.random_range(1..2 * MIB);
    let has_part = fetch.has(part)?;
    ground.check("I3", has_part, || format!("it never had {part} B"))?;
    disk.fill(8 * MIB).or_else(|error| if is_full(&error) { Ok(()) } else { Err(error) })?;
    ground.inject("disk full");
    Ok(fetch)
}

fn fills(program: &Path, report: &mut ScenarioReport) -> Played {
    let (mut ground, disk) = on_small_disk(program, report)?;
    let run = is_filled(&mut ground, &disk, &[])?.finish()?;
    ground.ended(&run, 9)?;
    ground.error_names(&run, &["disk full on ", &disk.path().to_string_lossy(), "MiB more, ", " free"])?;
    disk.free()?;
    goes_on(&mut ground)
}

fn waits(program: &Path, report: &mut ScenarioReport) -> Played {
    let (mut ground, disk) = on_small_disk(program, report)?;
    let fetch = is_filled(&mut ground, &disk, &["--disk-full", "wait"])?;
    goes_on_by_itself(&mut ground, &disk, fetch)
}

fn goes_on_by_itself(ground: &mut HostFixture<'_>, disk: &SmallDisk, mut fetch: Fetching) -> Played {
    let is_told = fetch.says("; will resume by itself")?;
    ground.inject("disk full");
    ground.check("I10", is_told, || "nothing says that it will resume by itself".to_owned())?;
    let freed = fetch.program.elapsed();
    disk.free()?;
    let run = fetch.finish()?;
    ground.complete(&run)?;
    let waited = run.finished.took.saturating_sub(freed);
    ground.note("seconds to resume", waited.as_secs());
    ground
        .check("I3", waited < Duration::from_secs(30), || format!("{waited:?} after there was space, 30 s are due"))?;
    let checked = run.number("bytes_checked");
    ground.check("I8", checked == 0, || format!("{checked} B were checked again"))?;
    ground.log_names(&run, &["disk full on ", "need ", " free"])
}

fn complete_and_read_only(program: &Path, report: &mut ScenarioReport) -> Played {
    let (mut ground, disk) = on_small_disk(program, report)?;
    ground.heals()?;
    for has_record in [true, false] {
        if !has_record {
            std::fs::remove_dir_all(ground.out.join(".tt-actors"))?;
        }
        disk.make_read_only()?;
        for args in [&[][..], &["--seed-time", "0s"]] {
            let run = ground.fetch().args(args).run()?;
            ground.complete(&run)?;
            let (fetched, checked) = (run.number("bytes_downloaded"), run.number("bytes_checked"));
            ground.check("I8", fetched == 0, || format!("all was there, {fetched} B were fetched again"))?;
            ground.check("I8", (checked == 0) == has_record, || format!("{checked} B were checked"))?;
            let told = run.told.logged("no state can be kept here, the next start hashes everything again").count();
            ground.check("I10", told == 1, || format!("{told} times it was said that there is no state"))?;
        }
        disk.make_writable()?;
    }
    ground.inject("a read-only disk");
    Ok(())
}

/// A slow run, a part of it there, whose records fail from now on.
fn unrecorded(ground: &mut HostFixture<'_>) -> Result<(Fetching, Tampering), Fall> {
    let source = ground.source("max_rate=700k")?;
    let mut fetch = ground.fetch().from(source.addr).start()?;
    let has_begun = fetch.has(1)?;
    ground.check("I3", has_begun, || "no byte ever came".to_owned())?;
    let full = SyscallFaults::default().fail("write", "ENOSPC", When::Always).only(ground.new_record());
    let tampering = ground.tamper(&fetch, &full)?;
    let is_told = fetch.says("not recorded")?;
    ground.check("I10", is_told, || "nothing says that pieces are not recorded".to_owned())?;
    Ok((fetch, tampering))
}

fn record(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let (fetch, tampering) = unrecorded(&mut ground)?;
    let run = fetch.finish()?;
    ground.heal(tampering)?;
    ground.complete(&run)?;
    let record = ground.new_record();
    ground.log_names(&run, &["not recorded", &record.to_string_lossy()])?;
    let told = run.told.logged("pieces are written but not recorded").count();
    ground.check("I10", told == 1, || format!("{told} times it was said that pieces are not recorded"))?;
    let again = ground.heals()?;
    let fetched = again.number("bytes_downloaded");
    ground.check("I8", fetched == 0, || format!("all was there, {fetched} B were fetched again"))
}

fn record_healed(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let (fetch, tampering) = unrecorded(&mut ground)?;
    ground.heal(tampering)?;
    let run = fetch.finish()?;
    ground.complete(&run)?;
    let (claimed, all) = (ground.claimed()?, ground.offer.geometry.piece_count());
    ground.check("I8", claimed == all, || format!("{claimed} of {all} pieces are on record"))
}

fn record_killed(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let (mut fetch, tampering) = unrecorded(&mut ground)?;
    let half = ground.harness.payload().len() / 2;
    let is_there = fetch.has(half)?;
    ground.check("I3", is_there, || "it never had a half".to_owned())?;
    fetch.kill()?;
    ground.heal(tampering)?;
    ground.inject("SIGKILL");
    ground.claimed()?;
    let run = ground.heals()?;
    let kept = run.number("bytes_kept");
    ground.check("I8", kept >= half, || format!("a half was there, {kept} B were kept"))
}

fn limited(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let source = ground.source("")?;
    let run = ground.fetch().from(source.addr).behind(&["prlimit", "--fsize=1048576"]).run()?;
    ground.inject("a limit of file size");
    ground.ended(&run, 16)?;
    let file = ground.data();
    ground.error_names(&run, &["cannot write ", &file.to_string_lossy(), "1.0 MiB (ulimit -f)"])?;
    goes_on(&mut ground)
}

fn read_only(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let from = When::From(ground.dice.random_range(1..=6));
    let run = fails(&mut ground, SyscallFaults::default().fail("pwritev", "EROFS", from), 16)?;
    let file = ground.data();
    ground.error_names(&run, &["cannot write ", &file.to_string_lossy(), "Read-only file system"])?;
    goes_on(&mut ground)
}

fn denied(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let run = fails(&mut ground, SyscallFaults::default().fail("openat2", "EACCES", When::Always), 16)?;
    let file = ground.data();
    ground.error_names(&run, &["cannot open ", &file.to_string_lossy(), "Permission denied"])?;
    goes_on(&mut ground)
}

/// Whether there is no space any more.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::StorageFull
}
