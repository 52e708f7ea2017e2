//! Devices that fail, lose what they were given, or take their time (D-03 to D-07).

use std::path::Path;
use std::time::Duration;

use rand::RngExt;

use super::fetch::ClientRun;
use super::ground::{Fall, HostFixture, MIB, PIECE, Played};
use super::leech::{Appetite, spawn_leech};
use super::machine::MachineNeed;
use super::syscall_faults::{SyscallFaults, When};
use super::{HostScene, order, scene};
use crate::base::units::Bytes;
use crate::faults::scenario::ScenarioReport;
use crate::faults::torrent::Recipe;

/// Their scenes.
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

/// Slow enough for two groups, so that there is a sync on the way.
const TWO_GROUPS: &str = "max_rate=1M";

/// What the log says of a trouble that is tried again.
const RESUMES: &str = "will resume by itself";

/// A fetch whose device begins to fail somewhere in the first quarter, and is well again as soon as the client has said
/// `told`. Not "the k-th call fails": strace counts by thread, so that would be one failure for each of them.
fn passing(ground: &mut HostFixture<'_>, trouble: &SyscallFaults, told: &str) -> Result<ClientRun, Fall> {
    let source = ground.source(TWO_GROUPS)?;
    let mut fetch = ground.fetch().from(source.addr).start()?;
    let first = ground.dice.random_range(1..=MIB);
    let has_begun = fetch.has(first)?;
    ground.check("I3", has_begun, || format!("it never had {first} B"))?;
    let tampering = ground.tamper(&fetch, trouble)?;
    let is_told = fetch.says(told)?;
    ground.check("I10", is_told, || format!("no line of the log says `{told}`"))?;
    ground.heal(tampering)?;
    let run = fetch.finish()?;
    ground.complete(&run)?;
    Ok(run)
}

fn once(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let run = passing(&mut ground, &SyscallFaults::default().fail("pwritev", "EIO", When::Always), RESUMES)?;
    let file = ground.data();
    ground.log_names(&run, &["cannot write ", &file.to_string_lossy(), "at byte ", RESUMES])
}

fn persistent(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let (source, nth) = (ground.source("")?, ground.dice.random_range(1..=6));
    let eio = SyscallFaults::default().fail("pwritev", "EIO", When::From(nth));
    let run = ground.fetch().from(source.addr).meddling(eio).run()?;
    ground.injected(&run)?;
    ground.ended(&run, 17)?;
    let file = ground.data();
    ground.error_names(&run, &["cannot write ", &file.to_string_lossy(), "at byte ", "Input/output error"])?;
    ground.heals().map(drop)
}

fn check(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    ground.heals()?;
    let source = ground.source("")?;
    let step = ground.dice.random_range(3..=9);
    // 0 is what the end of a file reads as.
    let sick = SyscallFaults::default().fail("pread64", "EIO", When::Every(2, step)).only(ground.data());
    let run = ground.fetch().from(source.addr).args(&["--verify"]).meddling(sick).run()?;
    ground.injected(&run)?;
    ground.complete(&run)?;
    let file = ground.data();
    ground.log_names(&run, &["cannot read ", &file.to_string_lossy(), "fetched again"])?;
    let short = SyscallFaults::default().answer("pread64", 0, When::Every(2, step)).only(ground.data());
    let run = ground.fetch().from(source.addr).args(&["--verify"]).meddling(short).run()?;
    ground.injected(&run)?;
    ground.complete(&run)
}

/// Every third read for a peer fails: it is given the rest, and nothing false.
fn upload(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    ground.stopped()?;
    let source = ground.source("max_rate=1M")?;
    let (leech, given) = spawn_leech(&ground.harness, 1, Appetite::Once)?;
    // What is not to be had at once is read by who can wait.
    let sick =
        SyscallFaults::default().fail("preadv2", "EAGAIN", When::Always).fail("pread64", "EIO", When::Every(2, 3));
    let sick = sick.only(ground.data());
    let run = ground.fetch().from(source.addr).from(leech).meddling(sick).run()?;
    ground.injected(&run)?;
    ground.complete(&run)?;
    let given = *given.borrow();
    ground.note("blocks asked for", given.asked);
    ground.note("blocks given", given.blocks);
    ground.check("I6", given.wrong == 0, || format!("{} of {} blocks were not right", given.wrong, given.blocks))?;
    let is_some = given.blocks > 0 && given.blocks < given.asked;
    ground.check("I6", is_some, || format!("{} of {} blocks were given", given.blocks, given.asked))?;
    let file = ground.data();
    ground.log_names(&run, &["cannot be read for a peer", &file.to_string_lossy(), "at byte "])
}

fn sync_once(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let run = passing(&mut ground, &SyscallFaults::default().fail("fdatasync", "EIO", When::Always), "sync failed")?;
    let file = ground.data();
    ground.log_names(&run, &["sync failed", &file.to_string_lossy()])?;
    let (claimed, all) = (ground.claimed()?, ground.offer.geometry.piece_count());
    ground.check("I8", claimed == all, || format!("{claimed} of {all} pieces are on record"))
}

fn sync_persistent(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let source = ground.source("")?;
    let eio = SyscallFaults::default().fail("fdatasync", "EIO", When::Always);
    let run = ground.fetch().from(source.addr).meddling(eio).run()?;
    ground.injected(&run)?;
    ground.ended(&run, 17)?;
    let file = ground.data();
    ground.error_names(&run, &["cannot sync ", &file.to_string_lossy(), "Input/output error"])?;
    nothing_on_record(&mut ground)?;
    ground.heals().map(drop)
}

/// After a sync that failed nobody knows what the disk has, so the record must not say that anything is there.
fn nothing_on_record(ground: &mut HostFixture<'_>) -> Played {
    let claimed = ground.claimed()?;
    ground.check("I1", claimed == 0, || format!("{claimed} pieces are on record, none was synced"))
}

fn sync_killed(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let source = ground.source(TWO_GROUPS)?;
    let eio = SyscallFaults::default().fail("fdatasync", "EIO", When::Always);
    let mut fetch = ground.fetch().from(source.addr).meddling(eio).start()?;
    let is_told = fetch.says("sync failed")?;
    ground.check("I10", is_told, || "nothing says that a sync failed".to_owned())?;
    let more = Duration::from_millis(ground.dice.random_range(0..3000));
    fetch.runs(more)?;
    let run = fetch.kill_all()?;
    ground.take_in(&run);
    ground.injected(&run)?;
    nothing_on_record(&mut ground)?;
    ground.heals().map(drop)
}

/// Files of one piece each: what a sync misses of one, no later write makes up for.
fn synced_first(program: &Path, report: &mut ScenarioReport) -> Played {
    let names: Vec<_> = (0..40).map(|number| format!("{number}.bin")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), u64::from(PIECE))).collect();
    let recipe = Recipe::folder("many", &files, PIECE, &[]);
    let mut ground = HostFixture::of(recipe, 40 * u64::from(PIECE), program, report)?;
    let source = ground.source("max_rate=1M")?;
    let slow =
        SyscallFaults::default().delay("pwritev", Duration::from_millis(150), When::Always).watch("fdatasync,rename");
    let run = ground.fetch().from(source.addr).meddling(slow).run()?;
    ground.injected(&run)?;
    ground.complete(&run)?;
    let unsynced = order::unsynced(&run.trace);
    ground.check("I1", unsynced.is_empty(), || format!("on record, and not synced since the last write: {unsynced:?}"))
}

fn interrupted(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let source = ground.source("")?;
    let (first, step) = (ground.dice.random_range(1..=3), ground.dice.random_range(2..=4));
    let often = SyscallFaults::default().fail("pwritev", "EINTR", When::Every(first, step)).fail(
        "fdatasync,openat2",
        "EINTR",
        When::Nth(1),
    );
    let run = ground.fetch().from(source.addr).meddling(often).run()?;
    ground.injected(&run)?;
    ground.complete(&run)?;
    nobody_notices(&mut ground, &run)?;
    let reads = SyscallFaults::default().fail("pread64", "EINTR", When::Every(first, step)).only(ground.data());
    let run = ground.fetch().args(&["--verify"]).meddling(reads).run()?;
    ground.injected(&run)?;
    ground.complete(&run)?;
    std::fs::remove_dir_all(&ground.out)?;
    let again = SyscallFaults::default().fail("pwritev", "EAGAIN", When::Every(first, step));
    let run = ground.fetch().from(source.addr).meddling(again).run()?;
    ground.injected(&run)?;
    ground.complete(&run)?;
    nobody_notices(&mut ground, &run)
}

fn nobody_notices(ground: &mut HostFixture<'_>, run: &ClientRun) -> Played {
    let troubles = run.told.logged("disk trouble, will resume by itself").count();
    ground.check("I10", troubles == 0, || format!("{troubles} times it took an interruption for a broken disk"))
}

fn writes_nothing(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    passing(&mut ground, &SyscallFaults::default().answer("pwritev", 0, When::Always), RESUMES).map(drop)
}

/// 256 MiB (I5): 64 MiB between request and disk, and the program itself.
const MEMORY: u64 = 256 * MIB;

fn slow_sync(program: &Path, report: &mut ScenarioReport) -> Played {
    slow(
        program,
        report,
        "max_rate=2M",
        SyscallFaults::default().delay("fdatasync", Duration::from_secs(3), When::Always),
    )
}

fn slow_write(program: &Path, report: &mut ScenarioReport) -> Played {
    slow(program, report, "", SyscallFaults::default().delay("pwritev", Duration::from_millis(150), When::Always))
}

fn slow(program: &Path, report: &mut ScenarioReport, words: &str, meddling: SyscallFaults) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let source = ground.source(words)?;
    let mut fetch = ground.fetch().from(source.addr).meddling(meddling).start()?;
    let peak = fetch.peak_memory()?;
    let run = fetch.finish()?;
    ground.injected(&run)?;
    ground.complete(&run)?;
    ground.note("peak KiB", peak / 1024);
    ground.check("I5", peak < MEMORY, || format!("{} of memory", Bytes(peak)))?;
    let connections = source.stats().connections;
    ground.check("I3", connections == 1, || format!("{connections} connections to the one source"))
}
