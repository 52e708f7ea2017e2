//! Signals, and a process that lacks something: descriptors, processor time, a reader of its output (X-01, X-02, X-07,
//! X-09 to X-11).

use std::path::Path;
use std::time::Duration;

use rand::RngExt;
use rustix::process::Signal;

use super::fetch::LIMIT;
use super::fixture::{HostFixture, MIB, PIECE, SceneResult};
use super::full::is_full;
use super::machine::{MachineNeed, SmallDisk};
use super::{HostScene, scene};
use crate::faults::harness::Knows;
use crate::faults::scenario::ScenarioReport;
use crate::faults::torrent::Recipe;

/// The scenes of this file.
#[rustfmt::skip]
pub(super) const SCENES: &[HostScene] = &[
    scene("X-01.stop", &["X-01"], "SIGINT and SIGTERM: exit 7 in time, `stopped` is told, nothing is checked again", &[], stops),
    scene("X-01.hangup", &["X-01"], "SIGHUP, twice as from a closed terminal: exit 7 in good order; under nohup it completes", &[], hangs_up),
    scene("X-02.twice", &["X-02"], "a second SIGINT while a tracker hangs: exit 130 at once", &[], twice),
    scene("X-07.descriptors", &["X-07"], "64 descriptors, 120 peers, 300 files: it completes, and waits without spinning", &[MachineNeed::Prlimit], descriptors),
    scene("X-09.suspended", &["X-09"], "SIGSTOP for 6 s: nobody is given up for it", &[], suspended),
    scene("X-10.unheard", &["X-10"], "outputs closed, or nobody behind them: it completes", &[], unheard),
    scene("X-10.log", &["X-10"], "the log file's disk is full: it completes", &[MachineNeed::Mount], log_full),
    scene("X-11.starved", &["X-11"], "a twentieth of the processor: it completes, nobody is given up for it", &[], starved),
];

/// 15 s from the signal to the end (X-01).
const STOP: Duration = Duration::from_secs(15);

fn stops(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let tracker = fixture.harness.http_tracker("", Knows::TheSwarm)?;
    for signal in [Signal::INT, Signal::TERM] {
        let source = fixture.source("max_rate=1M")?;
        let part = fixture.dice.random_range(1..3 * MIB);
        let fetch = fixture.fetch().from(source.addr).args(&["--tracker", &tracker.url]);
        let fetch = fixture.started(fetch, part)?;
        fetch.signal(signal)?;
        let signalled = fetch.program.elapsed();
        let run = fetch.finish()?;
        fixture.inject(if signal == Signal::INT { "SIGINT" } else { "SIGTERM" });
        fixture.ended(&run, 7)?;
        let took = run.finished.took.saturating_sub(signalled);
        fixture.note("ms to stop", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        fixture.check("I3", took < STOP, || format!("it took {took:?} to stop, 15 s are due"))?;
        let events = tracker.events();
        let is_told = events.iter().any(|event| event == "stopped");
        fixture.check("I7", is_told, || format!("the tracker was told {events:?}"))?;
        resumes_unchecked(&mut fixture, part)?;
    }
    Ok(())
}

/// Completes a fetch that was stopped, which must keep at least `part` bytes and check none. Then removes the output
/// folder.
fn resumes_unchecked(fixture: &mut HostFixture<'_>, part: u64) -> SceneResult {
    let run = fixture.heals()?;
    let (kept, checked) = (run.number("bytes_kept"), run.number("bytes_checked"));
    fixture.check("I8", checked == 0 && kept >= part, || format!("{kept} B were kept, {checked} B checked"))?;
    std::fs::remove_dir_all(&fixture.out)?;
    Ok(())
}

fn hangs_up(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let source = fixture.source("max_rate=1M")?;
    let fetch = fixture.started(fixture.fetch().from(source.addr), MIB)?;
    // The kernel sends one SIGHUP, and the shell another.
    fetch.signal(Signal::HUP)?;
    fetch.signal(Signal::HUP)?;
    let run = fetch.finish()?;
    fixture.inject("SIGHUP");
    fixture.ended(&run, 7)?;
    resumes_unchecked(&mut fixture, MIB)?;
    let ignoring = ["sh", "-c", r#"trap '' HUP; exec "$@""#, "sh"];
    let fetch = fixture.started(fixture.fetch().from(source.addr).behind(&ignoring), MIB)?;
    fetch.signal(Signal::HUP)?;
    let run = fetch.finish()?;
    fixture.complete(&run)
}

fn twice(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    // The tracker answers the first announce, so that `stopped` is due, and nothing after it.
    let tracker = fixture.harness.http_tracker("hang_after=1", Knows::TheSwarm)?;
    let source = fixture.source("max_rate=1M")?;
    let fetch = fixture.fetch().from(source.addr).args(&["--tracker", &tracker.url]);
    let mut fetch = fixture.started(fetch, MIB)?;
    fixture.check("I3", !tracker.events().is_empty(), || "the tracker got no announce".to_owned())?;
    fetch.signal(Signal::INT)?;
    let is_over = fetch.program.watch(Duration::from_millis(300))?.is_some();
    fixture.check("I3", !is_over, || "it did not wait for the tracker".to_owned())?;
    fetch.signal(Signal::INT)?;
    let signalled = fetch.program.elapsed();
    let run = fetch.finish()?;
    fixture.inject("SIGINT twice");
    fixture.ended(&run, 130)?;
    let took = run.finished.took.saturating_sub(signalled);
    fixture.check("I3", took < Duration::from_secs(1), || format!("it took {took:?} after the second signal"))?;
    fixture.heals().map(drop)
}

fn descriptors(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let names: Vec<_> = (0..300).map(|number| format!("{number}.bin")).collect();
    let list: Vec<_> = names.iter().map(|name| (name.as_str(), 16 * 1024)).collect();
    let recipe = Recipe::folder("many", &list, PIECE, &[]);
    let mut fixture = HostFixture::of(recipe, 300 * 16 * 1024, program, report)?;
    let tracker = fixture.harness.http_tracker("", Knows::TheSwarm)?;
    for _ in 0..120 {
        let silent = fixture.source("silent")?;
        fixture.harness.list(silent.addr)?;
    }
    let mut fetch = fixture.fetch().args(&["--tracker", &tracker.url]).behind(&["prlimit", "--nofile=64"]).start()?;
    fixture.inject("64 descriptors");
    let is_up = fetch.says("\"phase\":\"fetching\"")?;
    fixture.check("I3", is_up, || "it never began".to_owned())?;
    fetch.runs(Duration::from_secs(1))?;
    let (before, from) = (fetch.program.usage().cpu, fetch.program.elapsed());
    fetch.runs(Duration::from_secs(4))?;
    let used = fetch.program.usage().cpu.saturating_sub(before);
    let percent = 100 * used.as_millis() / (fetch.program.elapsed().saturating_sub(from)).as_millis().max(1);
    fixture.note("percent of a processor", u64::try_from(percent).unwrap_or(u64::MAX));
    fixture.check("I5", percent <= 20, || format!("{percent} % of a processor while it waits"))?;
    drop(fetch);
    let honest = fixture.source("")?;
    let again = fixture.fetch().from(honest.addr).args(&["--tracker", &tracker.url]);
    let run = again.behind(&["prlimit", "--nofile=64"]).run()?;
    fixture.complete(&run)?;
    let most = run.finished.usage.descriptors;
    fixture.note("descriptors", most as u64);
    let troubles = run.output.logged("disk trouble, will resume by itself").count();
    fixture.check("I5", troubles == 0, || format!("{troubles} times there was no descriptor for a file"))
}

fn suspended(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let source = fixture.source("max_rate=1M")?;
    let mut fetch = fixture.started(fixture.fetch().from(source.addr), MIB)?;
    fetch.signal(Signal::STOP)?;
    fetch.runs(Duration::from_secs(6))?;
    fetch.signal(Signal::CONT)?;
    fixture.inject("SIGSTOP");
    let run = fetch.finish()?;
    fixture.complete(&run)?;
    source_was_kept(&mut fixture, source.stats().connections)
}

fn source_was_kept(fixture: &mut HostFixture<'_>, connections: u64) -> SceneResult {
    fixture.note("connections", connections);
    fixture.check("I3", connections == 1, || format!("{connections} connections to the one source"))
}

fn unheard(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let source = fixture.source("max_rate=2M")?;
    let shells = [
        ("outputs closed", r#"exec "$@" >&- 2>&-"#),
        // Both outputs go into a pipe without a reader; the exit code comes through a file.
        ("nobody listens", r#"{ "$@"; echo $? >&3; } 2>&1 3>"$CODE" | :; exit "$(cat "$CODE")""#),
        ("full device", r#"exec "$@" >/dev/full 2>/dev/full"#),
    ];
    let code = fixture.beside("code");
    for (name, script) in shells {
        let code = format!("CODE={}", code.display());
        let run = fixture.fetch().from(source.addr).behind(&["env", &code, "sh", "-c", script, "sh"]).run()?;
        fixture.inject(name);
        fixture.complete(&run)?;
        std::fs::remove_dir_all(&fixture.out)?;
    }
    Ok(())
}

fn log_full(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let disk = SmallDisk::mount(fixture.beside("disk"), MIB)?;
    let log = disk.path().join("log");
    std::fs::write(&log, "")?;
    disk.fill(2 * MIB).or_else(|error| if is_full(&error) { Ok(()) } else { Err(error) })?;
    let source = fixture.source("max_rate=2M")?;
    let to_log = ["--log-file", &log.to_string_lossy(), "--log-level", "trace"];
    let run = fixture.fetch().from(source.addr).args(&to_log).run()?;
    fixture.inject("log disk full");
    fixture.complete(&run)
}

/// The client runs for 5 ms of every 100 ms.
const SHARE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(95));

fn starved(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let source = fixture.source("")?;
    let mut fetch = fixture.fetch().from(source.addr).start()?;
    fixture.inject("a twentieth of the processor");
    while fetch.program.watch(SHARE.0)?.is_none() && fetch.program.elapsed() < LIMIT {
        fetch.signal(Signal::STOP)?;
        fetch.runs(SHARE.1)?;
        fetch.signal(Signal::CONT)?;
    }
    let run = fetch.finish()?;
    fixture.complete(&run)?;
    source_was_kept(&mut fixture, source.stats().connections)
}
