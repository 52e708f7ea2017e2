//! Devices that fail, lose data, or are slow (D-03 to D-07).

use std::path::Path;
use std::time::Duration;

use rand::RngExt;

use super::fetch::ClientRun;
use super::fixture::{HostFixture, MIB, PIECE, SceneFailure, SceneResult};
use super::leech::{Appetite, spawn_leech};
use super::machine::MachineNeed;
use super::syscall_faults::{SyscallFaults, When};
use super::{HostScene, order, scene};
use crate::base::units::Bytes;
use crate::faults::scenario::ScenarioReport;
use crate::faults::torrent::Recipe;

/// The scenes of this file.
pub(super) const SCENES: &[HostScene] = &[
    scene("D-03.once", &["D-03"], "EIO at every write for a moment: it is tried again", &[MachineNeed::Strace], once),
    scene(
        "D-03.persistent",
        &["D-03"],
        "EIO from the k-th write on: exit 17 with file and byte, then it goes on",
        &[MachineNeed::Strace],
        persistent,
    ),
    scene(
        "D-04.check",
        &["D-04"],
        "EIO and early ends while what is there is hashed: fetched again",
        &[MachineNeed::Strace],
        check,
    ),
    scene(
        "D-04.upload",
        &["D-04"],
        "EIO at reads for a peer: it is given the rest, and nothing false",
        &[MachineNeed::Strace],
        upload,
    ),
    scene(
        "D-05.once",
        &["D-05"],
        "fdatasync fails for a moment: what that left in doubt is written anew",
        &[MachineNeed::Strace],
        sync_once,
    ),
    scene(
        "D-05.persistent",
        &["D-05"],
        "every fdatasync fails: exit 17, nothing is on record",
        &[MachineNeed::Strace],
        sync_persistent,
    ),
    scene(
        "D-05.killed",
        &["D-05"],
        "every fdatasync fails, then SIGKILL: nothing is on record",
        &[MachineNeed::Strace],
        sync_killed,
    ),
    scene(
        "D-05.order",
        &["D-05", "D-12"],
        "slow writes around a sync: no record before the bytes are synced",
        &[MachineNeed::Strace],
        synced_first,
    ),
    scene(
        "D-06.interrupted",
        &["D-06"],
        "EINTR and EAGAIN at many calls: nobody notices",
        &[MachineNeed::Strace],
        interrupted,
    ),
    scene(
        "D-06.nothing",
        &["D-06"],
        "writes that write nothing, for a moment: tried again",
        &[MachineNeed::Strace],
        writes_nothing,
    ),
    scene(
        "D-07.sync",
        &["D-07"],
        "every fdatasync takes 3 s: memory is bounded, no peer is lost",
        &[MachineNeed::Strace],
        slow_sync,
    ),
    scene(
        "D-07.write",
        &["D-07"],
        "every write takes 150 ms: memory is bounded, no peer is lost",
        &[MachineNeed::Strace],
        slow_write,
    ),
];

/// Slow enough for two write batches, so that there is a sync during the download.
const TWO_GROUPS: &str = "max_rate=1M";

/// What the log says about trouble that is retried.
const RESUMES: &str = "will resume by itself";

/// Runs a fetch whose device begins to fail in the first quarter of the download, and works again as soon as the
/// client's log says `message`. Failing "the k-th call" would not do: strace counts calls by thread, so that each
/// thread would see one failure.
fn passing(fixture: &mut HostFixture<'_>, trouble: &SyscallFaults, message: &str) -> Result<ClientRun, SceneFailure> {
    let source = fixture.source(TWO_GROUPS)?;
    let first = fixture.dice.random_range(1..=MIB);
    let mut fetch = fixture.started(fixture.fetch().from(source.addr), first)?;
    let tampering = fixture.tamper(&fetch, trouble)?;
    let is_told = fetch.says(message)?;
    fixture.check("I10", is_told, || format!("no line of the log says `{message}`"))?;
    fixture.heal(tampering)?;
    let run = fetch.finish()?;
    fixture.complete(&run)?;
    Ok(run)
}

fn once(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let run = passing(&mut fixture, &SyscallFaults::default().fail("pwritev", "EIO", When::Always), RESUMES)?;
    let file = fixture.data();
    fixture.log_names(&run, &["cannot write ", &file.to_string_lossy(), "at byte ", RESUMES])
}

fn persistent(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let (source, nth) = (fixture.source("")?, fixture.dice.random_range(1..=6));
    let eio = SyscallFaults::default().fail("pwritev", "EIO", When::From(nth));
    let run = fixture.fetch().from(source.addr).with_faults(eio).run()?;
    fixture.injected(&run)?;
    fixture.ended(&run, 17)?;
    let file = fixture.data();
    fixture.error_names(&run, &["cannot write ", &file.to_string_lossy(), "at byte ", "Input/output error"])?;
    fixture.heals().map(drop)
}

fn check(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    fixture.heals()?;
    let source = fixture.source("")?;
    let step = fixture.dice.random_range(3..=9);
    // A return value of 0 looks like the end of the file.
    let sick = SyscallFaults::default().fail("pread64", "EIO", When::Every(2, step)).only(fixture.data());
    let run = fixture.fetch().from(source.addr).args(&["--verify"]).with_faults(sick).run()?;
    fixture.injected(&run)?;
    fixture.complete(&run)?;
    let file = fixture.data();
    fixture.log_names(&run, &["cannot read ", &file.to_string_lossy(), "fetched again"])?;
    let short = SyscallFaults::default().answer("pread64", 0, When::Every(2, step)).only(fixture.data());
    let run = fixture.fetch().from(source.addr).args(&["--verify"]).with_faults(short).run()?;
    fixture.injected(&run)?;
    fixture.complete(&run)
}

/// Every third read for an upload fails: the leech gets the other blocks, and no false ones.
fn upload(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    fixture.stopped()?;
    let source = fixture.source("max_rate=1M")?;
    let (leech, given) = spawn_leech(&fixture.harness, 1, Appetite::Once)?;
    // A block that is not in the page cache is read on the blocking pool.
    let sick =
        SyscallFaults::default().fail("preadv2", "EAGAIN", When::Always).fail("pread64", "EIO", When::Every(2, 3));
    let sick = sick.only(fixture.data());
    let run = fixture.fetch().from(source.addr).from(leech).with_faults(sick).run()?;
    fixture.injected(&run)?;
    fixture.complete(&run)?;
    let given = *given.borrow();
    fixture.note("blocks asked for", given.asked);
    fixture.note("blocks given", given.blocks);
    fixture.check("I6", given.wrong == 0, || format!("{} of {} blocks were not right", given.wrong, given.blocks))?;
    let is_some = given.blocks > 0 && given.blocks < given.asked;
    fixture.check("I6", is_some, || format!("{} of {} blocks were given", given.blocks, given.asked))?;
    let file = fixture.data();
    fixture.log_names(&run, &["cannot be read for a peer", &file.to_string_lossy(), "at byte "])
}

fn sync_once(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let run = passing(&mut fixture, &SyscallFaults::default().fail("fdatasync", "EIO", When::Always), "sync failed")?;
    let file = fixture.data();
    fixture.log_names(&run, &["sync failed", &file.to_string_lossy()])?;
    let (claimed, all) = (fixture.claimed()?, fixture.offer.geometry.piece_count());
    fixture.check("I8", claimed == all, || format!("{claimed} of {all} pieces are on record"))
}

fn sync_persistent(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let source = fixture.source("")?;
    let eio = SyscallFaults::default().fail("fdatasync", "EIO", When::Always);
    let run = fixture.fetch().from(source.addr).with_faults(eio).run()?;
    fixture.injected(&run)?;
    fixture.ended(&run, 17)?;
    let file = fixture.data();
    fixture.error_names(&run, &["cannot sync ", &file.to_string_lossy(), "Input/output error"])?;
    nothing_on_record(&mut fixture)?;
    fixture.heals().map(drop)
}

/// After a failed sync it is unknown what is on the disk, so the record must not claim any piece.
fn nothing_on_record(fixture: &mut HostFixture<'_>) -> SceneResult {
    let claimed = fixture.claimed()?;
    fixture.check("I1", claimed == 0, || format!("{claimed} pieces are on record, none was synced"))
}

fn sync_killed(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let source = fixture.source(TWO_GROUPS)?;
    let eio = SyscallFaults::default().fail("fdatasync", "EIO", When::Always);
    let mut fetch = fixture.fetch().from(source.addr).with_faults(eio).start()?;
    let is_told = fetch.says("sync failed")?;
    fixture.check("I10", is_told, || "nothing says that a sync failed".to_owned())?;
    let more = Duration::from_millis(fixture.dice.random_range(0..3000));
    fetch.runs(more)?;
    let run = fetch.kill_all()?;
    fixture.take_in(&run);
    fixture.injected(&run)?;
    nothing_on_record(&mut fixture)?;
    fixture.heals().map(drop)
}

/// Files of one piece each: if a sync misses a file, no later write makes up for it.
fn synced_first(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let names: Vec<_> = (0..40).map(|number| format!("{number}.bin")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), u64::from(PIECE))).collect();
    let recipe = Recipe::folder("many", &files, PIECE, &[]);
    let mut fixture = HostFixture::of(recipe, 40 * u64::from(PIECE), program, report)?;
    let source = fixture.source("max_rate=1M")?;
    let slow =
        SyscallFaults::default().delay("pwritev", Duration::from_millis(150), When::Always).watch("fdatasync,rename");
    let run = fixture.fetch().from(source.addr).with_faults(slow).run()?;
    fixture.injected(&run)?;
    fixture.complete(&run)?;
    let unsynced = order::unsynced(&run.trace);
    fixture.check("I1", unsynced.is_empty(), || format!("on record, and not synced since the last write: {unsynced:?}"))
}

fn interrupted(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let source = fixture.source("")?;
    let (first, step) = (fixture.dice.random_range(1..=3), fixture.dice.random_range(2..=4));
    let often = SyscallFaults::default().fail("pwritev", "EINTR", When::Every(first, step)).fail(
        "fdatasync,openat2",
        "EINTR",
        When::Nth(1),
    );
    let run = fixture.fetch().from(source.addr).with_faults(often).run()?;
    fixture.injected(&run)?;
    fixture.complete(&run)?;
    nobody_notices(&mut fixture, &run)?;
    let reads = SyscallFaults::default().fail("pread64", "EINTR", When::Every(first, step)).only(fixture.data());
    let run = fixture.fetch().args(&["--verify"]).with_faults(reads).run()?;
    fixture.injected(&run)?;
    fixture.complete(&run)?;
    std::fs::remove_dir_all(&fixture.out)?;
    let again = SyscallFaults::default().fail("pwritev", "EAGAIN", When::Every(first, step));
    let run = fixture.fetch().from(source.addr).with_faults(again).run()?;
    fixture.injected(&run)?;
    fixture.complete(&run)?;
    nobody_notices(&mut fixture, &run)
}

fn nobody_notices(fixture: &mut HostFixture<'_>, run: &ClientRun) -> SceneResult {
    let troubles = run.output.logged("disk trouble, will resume by itself").count();
    fixture.check("I10", troubles == 0, || format!("{troubles} times it took an interruption for a broken disk"))
}

fn writes_nothing(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    passing(&mut fixture, &SyscallFaults::default().answer("pwritev", 0, When::Always), RESUMES).map(drop)
}

/// 256 MiB (I5): 64 MiB between request and disk, and the program itself.
const MEMORY: u64 = 256 * MIB;

fn slow_sync(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    slow(
        program,
        report,
        "max_rate=2M",
        SyscallFaults::default().delay("fdatasync", Duration::from_secs(3), When::Always),
    )
}

fn slow_write(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    slow(program, report, "", SyscallFaults::default().delay("pwritev", Duration::from_millis(150), When::Always))
}

fn slow(program: &Path, report: &mut ScenarioReport, words: &str, with_faults: SyscallFaults) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let source = fixture.source(words)?;
    let mut fetch = fixture.fetch().from(source.addr).with_faults(with_faults).start()?;
    let peak = fetch.peak_memory()?;
    let run = fetch.finish()?;
    fixture.injected(&run)?;
    fixture.complete(&run)?;
    fixture.note("peak KiB", peak / 1024);
    fixture.check("I5", peak < MEMORY, || format!("{} of memory", Bytes(peak)))?;
    let connections = source.stats().connections;
    fixture.check("I3", connections == 1, || format!("{connections} connections to the one source"))
}
