//! Other programs that change the client's files, and other torrents with the same files (D-09, D-19, D-21).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::RngExt;

use super::fetch::ClientRun;
use super::fixture::{HostFixture, LEN, PIECE, SceneResult};
use super::{HostScene, scene};
use crate::faults::harness::Harness;
use crate::faults::payload::Payload;
use crate::faults::referee::judge_bytes;
use crate::faults::scenario::ScenarioReport;
use crate::faults::torrent::Recipe;

/// The scenes of this file.
pub(super) const SCENES: &[HostScene] = &[
    scene(
        "D-09.others",
        &["D-09", "D-22"],
        "the file is cut, grown, rewritten, removed, replaced while it is fetched",
        &[],
        changed,
    ),
    scene("D-19.moved", &["D-19"], "the output folder is moved away while it is fetched", &[], moved),
    scene(
        "D-20.run",
        &["D-20"],
        "two torrents of one run want one file: one is right, the other is refused",
        &[],
        one_run,
    ),
    scene(
        "D-21.processes",
        &["D-21"],
        "two processes want one file: the second is refused, the first is right",
        &[],
        two_processes,
    ),
];

/// Slow enough that something is left to fetch when the first bytes are there.
const SLOW: &str = "max_rate=2M";

fn writable(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}

/// Changes the file when a part of it is there. The fetch must complete all the same.
fn disturbed(
    fixture: &mut HostFixture<'_>,
    what: &str,
    change: impl Fn(&HostFixture<'_>) -> io::Result<()>,
) -> SceneResult {
    let source = fixture.source(SLOW)?;
    let fetch = fixture.started(fixture.fetch().from(source.addr), 1)?;
    change(fixture)?;
    fixture.inject(what);
    let run = fetch.finish()?;
    fixture.complete(&run)?;
    fixture.harness.stop_peer(&source)?;
    Ok(())
}

/// A change that another program makes to a file. The second path is free for its use.
pub(super) type FileChange = fn(&Path, &Path) -> io::Result<()>;

/// The changes that other programs make, by name.
pub(super) const FILE_CHANGES: [(&str, FileChange); 6] = [
    ("cut", |data, _| writable(data)?.set_len(1000)),
    ("grown", |data, _| writable(data)?.set_len(fs::metadata(data)?.len() + 4321)),
    ("rewritten", |data, _| writable(data)?.write_all_at(&[0xa5; 9000], 100)),
    ("removed", |data, _| fs::remove_file(data)),
    ("moved away", |data, beside| fs::rename(data, beside)),
    ("replaced", |data, beside| {
        let len = fs::metadata(data)?.len();
        fs::write(beside, vec![7; usize::try_from(len).unwrap_or(1)])?;
        fs::rename(beside, data)
    }),
];

fn changed(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    for (what, change) in FILE_CHANGES {
        disturbed(&mut fixture, what, |fixture| change(&fixture.data(), &fixture.beside("elsewhere")))?;
        fs::remove_dir_all(&fixture.out)?;
        fs::create_dir(&fixture.out)?;
    }
    Ok(())
}

fn moved(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    disturbed(&mut fixture, "output folder moved", |fixture| fs::rename(&fixture.out, fixture.beside("elsewhere")))
}

/// Makes another torrent whose file has the same path. Returns the path of its .torrent.
fn rival(fixture: &mut HostFixture<'_>) -> io::Result<PathBuf> {
    let payload = Payload::new(fixture.dice.random(), LEN);
    let made = Recipe::single("payload.bin", PIECE, &[]).make(payload).map_err(io::Error::other)?;
    let path = fixture.beside("rival.torrent");
    fs::write(&path, made.file)?;
    Ok(path)
}

/// Checks that a run ended with 13 and that its output contains `words`, which say who owns the file.
fn refused(fixture: &mut HostFixture<'_>, run: &ClientRun, words: &str) -> SceneResult {
    let code = run.finished.code();
    fixture.check("I8", code == 13, || format!("ended with {code}, 13 is due: {}", run.last_words()))?;
    let is_said = run.finished.out.iter().chain(&run.finished.err).any(|line| line.contains(words));
    fixture.check("I10", is_said, || format!("nobody says `{words}`: {}", run.last_words()))
}

/// Which of the two torrents starts first is left to chance.
fn one_run(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let recipe = fixture.harness.recipe().clone();
    let rival = Harness::new(recipe, Payload::new(fixture.dice.random(), LEN))?;
    let folder = fixture.beside("rival");
    fs::create_dir(&folder)?;
    let torrent = rival.write_torrent(&folder, Vec::new())?;
    let (ours, theirs) = (fixture.source(SLOW)?, rival.peer(rival.host(1), SLOW, 1)?);
    let run = fixture.fetch().args(&[&torrent.to_string_lossy()]).from(ours.addr).from(theirs.addr).run()?;
    fixture.inject("second torrent");
    fixture.take_in(&run);
    refused(&mut fixture, &run, "of this run has it too")?;
    let judge = |payload| judge_bytes(&fixture.out, &fixture.files, payload);
    let wrong = judge(fixture.harness.payload()).and(judge(rival.payload()));
    wrong.map_or(Ok(()), |verdict| Err(verdict.into()))
}

fn two_processes(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let mut fixture = HostFixture::new(program, report)?;
    let (source, rival) = (fixture.source(SLOW)?, rival(&mut fixture)?);
    let first = fixture.started(fixture.fetch().from(source.addr), 1)?;
    let second = fixture.fetch_of(&rival).args(&["--overwrite"]).from(source.addr).run()?;
    fixture.inject("second process");
    fixture.take_in(&second);
    refused(&mut fixture, &second, "another process")?;
    let run = first.finish()?;
    fixture.complete(&run)
}
