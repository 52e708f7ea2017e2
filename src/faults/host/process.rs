//! Signals, and a process that is short of something: descriptors, time, somebody who listens (X-01, X-02, X-07, X-09 to
//! X-11).

use std::path::Path;
use std::time::Duration;

use rand::RngExt;
use rustix::process::Signal;

use super::fetch::LIMIT;
use super::full::is_full;
use super::ground::{HostFixture, MIB, PIECE, Played};
use super::machine::{MachineNeed, SmallDisk};
use super::{HostScene, scene};
use crate::faults::harness::Knows;
use crate::faults::scenario::ScenarioReport;
use crate::faults::torrent::Recipe;

/// Their scenes.
pub(super) const SCENES: &[HostScene] = &[
    scene(
        "X-01.stop",
        &["X-01"],
        "SIGINT and SIGTERM: exit 7 in time, `stopped` is told, nothing is checked again",
        &[],
        stops,
    ),
    scene(
        "X-01.hangup",
        &["X-01"],
        "SIGHUP, twice as from a closed terminal: exit 7 in good order; under nohup it completes",
        &[],
        hangs_up,
    ),
    scene("X-02.twice", &["X-02"], "a second SIGINT while a tracker hangs: exit 130 at once", &[], twice),
    scene(
        "X-07.descriptors",
        &["X-07"],
        "64 descriptors, 120 peers, 300 files: it completes, and waits without spinning",
        &[MachineNeed::Prlimit],
        descriptors,
    ),
    scene("X-09.suspended", &["X-09"], "SIGSTOP for 6 s: nobody is given up for it", &[], suspended),
    scene("X-10.unheard", &["X-10"], "outputs closed, or nobody behind them: it completes", &[], unheard),
    scene("X-10.log", &["X-10"], "the log file's disk is full: it completes", &[MachineNeed::Mount], log_full),
    scene(
        "X-11.starved",
        &["X-11"],
        "a twentieth of the processor: it completes, nobody is given up for it",
        &[],
        starved,
    ),
];

/// 15 s (X-01).
const STOP: Duration = Duration::from_secs(15);

fn stops(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let tracker = ground.harness.http_tracker("", Knows::TheSwarm)?;
    for signal in [Signal::INT, Signal::TERM] {
        let source = ground.source("max_rate=1M")?;
        let mut fetch = ground.fetch().from(source.addr).args(&["--tracker", &tracker.url]).start()?;
        let part = ground.dice.random_range(1..3 * MIB);
        let has_part = fetch.has(part)?;
        ground.check("I3", has_part, || format!("it never had {part} B"))?;
        fetch.signal(signal)?;
        let told = fetch.program.elapsed();
        let run = fetch.finish()?;
        ground.inject(if signal == Signal::INT { "SIGINT" } else { "SIGTERM" });
        ground.ended(&run, 7)?;
        let took = run.finished.took.saturating_sub(told);
        ground.note("ms to stop", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        ground.check("I3", took < STOP, || format!("it took {took:?} to stop, 15 s are due"))?;
        let events = tracker.events();
        let is_told = events.iter().any(|event| event == "stopped");
        ground.check("I7", is_told, || format!("the tracker was told {events:?}"))?;
        let run = ground.heals()?;
        let (kept, checked) = (run.number("bytes_kept"), run.number("bytes_checked"));
        ground.check("I8", checked == 0 && kept >= part, || format!("{kept} B were kept, {checked} B checked"))?;
        std::fs::remove_dir_all(&ground.out)?;
    }
    Ok(())
}

fn hangs_up(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let source = ground.source("max_rate=1M")?;
    let mut fetch = ground.fetch().from(source.addr).start()?;
    let has_part = fetch.has(MIB)?;
    ground.check("I3", has_part, || "it never had a part".to_owned())?;
    // The kernel sends one, and the shell another.
    fetch.signal(Signal::HUP)?;
    fetch.signal(Signal::HUP)?;
    let run = fetch.finish()?;
    ground.inject("SIGHUP");
    ground.ended(&run, 7)?;
    let run = ground.heals()?;
    let (kept, checked) = (run.number("bytes_kept"), run.number("bytes_checked"));
    ground.check("I8", checked == 0 && kept >= MIB, || format!("{kept} B were kept, {checked} B checked"))?;
    std::fs::remove_dir_all(&ground.out)?;
    let ignoring = ["sh", "-c", r#"trap '' HUP; exec "$@""#, "sh"];
    let mut fetch = ground.fetch().from(source.addr).behind(&ignoring).start()?;
    let has_part = fetch.has(MIB)?;
    ground.check("I3", has_part, || "it never had a part under nohup".to_owned())?;
    fetch.signal(Signal::HUP)?;
    let run = fetch.finish()?;
    ground.complete(&run)
}

fn twice(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    // Answers the first announce, so that `stopped` is due, and nothing after it.
    let tracker = ground.harness.http_tracker("hang_after=1", Knows::TheSwarm)?;
    let source = ground.source("max_rate=1M")?;
    let mut fetch = ground.fetch().from(source.addr).args(&["--tracker", &tracker.url]).start()?;
    let has_part = fetch.has(MIB)?;
    ground.check("I3", has_part && !tracker.events().is_empty(), || "it never had a part".to_owned())?;
    fetch.signal(Signal::INT)?;
    let is_over = fetch.program.watch(Duration::from_millis(300))?.is_some();
    ground.check("I3", !is_over, || "it did not wait for the tracker".to_owned())?;
    fetch.signal(Signal::INT)?;
    let told = fetch.program.elapsed();
    let run = fetch.finish()?;
    ground.inject("SIGINT twice");
    ground.ended(&run, 130)?;
    let took = run.finished.took.saturating_sub(told);
    ground.check("I3", took < Duration::from_secs(1), || format!("it took {took:?} after the second signal"))?;
    ground.heals().map(drop)
}

fn descriptors(program: &Path, report: &mut ScenarioReport) -> Played {
    let names: Vec<_> = (0..300).map(|number| format!("{number}.bin")).collect();
    let list: Vec<_> = names.iter().map(|name| (name.as_str(), 16 * 1024)).collect();
    let recipe = Recipe::folder("many", &list, PIECE, &[]);
    let mut ground = HostFixture::of(recipe, 300 * 16 * 1024, program, report)?;
    let tracker = ground.harness.http_tracker("", Knows::TheSwarm)?;
    for _ in 0..120 {
        let silent = ground.source("silent")?;
        ground.harness.list(silent.addr)?;
    }
    let mut fetch = ground.fetch().args(&["--tracker", &tracker.url]).behind(&["prlimit", "--nofile=64"]).start()?;
    ground.inject("64 descriptors");
    let is_up = fetch.says("\"phase\":\"fetching\"")?;
    ground.check("I3", is_up, || "it never began".to_owned())?;
    fetch.runs(Duration::from_secs(1))?;
    let (before, from) = (fetch.program.usage().cpu, fetch.program.elapsed());
    fetch.runs(Duration::from_secs(4))?;
    let used = fetch.program.usage().cpu.saturating_sub(before);
    let percent = 100 * used.as_millis() / (fetch.program.elapsed().saturating_sub(from)).as_millis().max(1);
    ground.note("percent of a processor", u64::try_from(percent).unwrap_or(u64::MAX));
    ground.check("I5", percent <= 20, || format!("{percent} % of a processor while it waits"))?;
    drop(fetch);
    let honest = ground.source("")?;
    let again = ground.fetch().from(honest.addr).args(&["--tracker", &tracker.url]);
    let run = again.behind(&["prlimit", "--nofile=64"]).run()?;
    ground.complete(&run)?;
    let most = run.finished.usage.descriptors;
    ground.note("descriptors", most as u64);
    let troubles = run.told.logged("disk trouble, will resume by itself").count();
    ground.check("I5", troubles == 0, || format!("{troubles} times there was no descriptor for a file"))
}

fn suspended(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let source = ground.source("max_rate=1M")?;
    let mut fetch = ground.fetch().from(source.addr).start()?;
    let has_part = fetch.has(MIB)?;
    ground.check("I3", has_part, || "it never had a part".to_owned())?;
    fetch.signal(Signal::STOP)?;
    fetch.runs(Duration::from_secs(6))?;
    fetch.signal(Signal::CONT)?;
    ground.inject("SIGSTOP");
    let run = fetch.finish()?;
    ground.complete(&run)?;
    nobody_is_given_up(&mut ground, source.stats().connections)
}

fn nobody_is_given_up(ground: &mut HostFixture<'_>, connections: u64) -> Played {
    ground.note("connections", connections);
    ground.check("I3", connections == 1, || format!("{connections} connections to the one source"))
}

fn unheard(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let source = ground.source("max_rate=2M")?;
    let shells = [
        ("outputs closed", r#"exec "$@" >&- 2>&-"#),
        // Both ends in a pipe that nobody reads; what it ends with is the shell's code.
        ("nobody listens", r#"{ "$@"; echo $? >&3; } 2>&1 3>"$CODE" | :; exit "$(cat "$CODE")""#),
        ("full device", r#"exec "$@" >/dev/full 2>/dev/full"#),
    ];
    let code = ground.beside("code");
    for (name, script) in shells {
        let code = format!("CODE={}", code.display());
        let run = ground.fetch().from(source.addr).behind(&["env", &code, "sh", "-c", script, "sh"]).run()?;
        ground.inject(name);
        ground.complete(&run)?;
        std::fs::remove_dir_all(&ground.out)?;
    }
    Ok(())
}

fn log_full(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let disk = SmallDisk::mount(ground.beside("disk"), MIB)?;
    let log = disk.path().join("log");
    std::fs::write(&log, "")?;
    disk.fill(2 * MIB).or_else(|error| if is_full(&error) { Ok(()) } else { Err(error) })?;
    let source = ground.source("max_rate=2M")?;
    let to_log = ["--log-file", &log.to_string_lossy(), "--log-level", "trace"];
    let run = ground.fetch().from(source.addr).args(&to_log).run()?;
    ground.inject("log disk full");
    ground.complete(&run)
}

/// 5 ms of every 100 ms.
const SHARE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(95));

fn starved(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let source = ground.source("")?;
    let mut fetch = ground.fetch().from(source.addr).start()?;
    ground.inject("a twentieth of the processor");
    while fetch.program.watch(SHARE.0)?.is_none() && fetch.program.elapsed() < LIMIT {
        fetch.signal(Signal::STOP)?;
        fetch.runs(SHARE.1)?;
        fetch.signal(Signal::CONT)?;
    }
    let run = fetch.finish()?;
    ground.complete(&run)?;
    nobody_is_given_up(&mut ground, source.stats().connections)
}
