//! Other programs at the client's files, and other torrents that want them (D-09, D-19, D-21).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::RngExt;

use super::fetch::ClientRun;
use super::ground::{HostFixture, LEN, PIECE, Played};
use super::{HostScene, scene};
use crate::faults::harness::Harness;
use crate::faults::payload::Payload;
use crate::faults::referee::judge_bytes;
use crate::faults::scenario::ScenarioReport;
use crate::faults::torrent::Recipe;

/// Their scenes.
pub(super) const SCENES: &[HostScene] = &[
    scene(
        "D-09.others",
        &["D-09", "D-22"],
        "the file is cut, grown, rewritten, removed, replaced while it is fetched",
        &[],
        meddled,
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

/// Slow enough that something is left to fetch when the first bytes are seen.
const SLOW: &str = "max_rate=2M";

fn writable(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}

/// Does something to the file when a part of it is there; it completes all the same.
fn disturbed(ground: &mut HostFixture<'_>, what: &str, deed: impl Fn(&HostFixture<'_>) -> io::Result<()>) -> Played {
    let source = ground.source(SLOW)?;
    let mut fetch = ground.fetch().from(source.addr).start()?;
    let has_begun = fetch.has(1)?;
    ground.check("I3", has_begun, || "no byte ever came".to_owned())?;
    deed(ground)?;
    ground.inject(what);
    let run = fetch.finish()?;
    ground.complete(&run)?;
    ground.harness.dismiss_peer(&source)?;
    Ok(())
}

/// What another program does to a file; the second path is free for its use.
pub(super) type FileDeed = fn(&Path, &Path) -> io::Result<()>;

/// What other programs do to a file, by name.
pub(super) const DEEDS: [(&str, FileDeed); 6] = [
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

fn meddled(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    for (what, deed) in DEEDS {
        disturbed(&mut ground, what, |ground| deed(&ground.data(), &ground.beside("elsewhere")))?;
        fs::remove_dir_all(&ground.out)?;
        fs::create_dir(&ground.out)?;
    }
    Ok(())
}

fn moved(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    disturbed(&mut ground, "output folder moved", |ground| fs::rename(&ground.out, ground.beside("elsewhere")))
}

/// Another torrent whose file has the same path.
fn rival(ground: &mut HostFixture<'_>) -> io::Result<PathBuf> {
    let payload = Payload::new(ground.dice.random(), LEN);
    let made = Recipe::single("payload.bin", PIECE, &[]).make(payload).map_err(io::Error::other)?;
    let path = ground.beside("rival.torrent");
    fs::write(&path, made.file)?;
    Ok(path)
}

/// It ended with 13 and says with whom the file is shared.
fn refused(ground: &mut HostFixture<'_>, run: &ClientRun, words: &str) -> Played {
    let code = run.finished.code();
    ground.check("I8", code == 13, || format!("ended with {code}, 13 is due: {}", run.last_words()))?;
    let is_said = run.finished.out.iter().chain(&run.finished.err).any(|line| line.contains(words));
    ground.check("I10", is_said, || format!("nobody says `{words}`: {}", run.last_words()))
}

/// Which of the two is first is left to chance.
fn one_run(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let recipe = ground.harness.recipe().clone();
    let rival = Harness::new(recipe, Payload::new(ground.dice.random(), LEN))?;
    let folder = ground.beside("rival");
    fs::create_dir(&folder)?;
    let torrent = rival.write_torrent(&folder, Vec::new())?;
    let (ours, theirs) = (ground.source(SLOW)?, rival.peer(rival.host(1), SLOW, 1)?);
    let run = ground.fetch().args(&[&torrent.to_string_lossy()]).from(ours.addr).from(theirs.addr).run()?;
    ground.inject("second torrent");
    ground.take_in(&run);
    refused(&mut ground, &run, "of this run has it too")?;
    let judge = |payload| judge_bytes(&ground.out, &ground.files, payload);
    let wrong = judge(ground.harness.payload()).and(judge(rival.payload()));
    wrong.map_or(Ok(()), |verdict| Err(verdict.into()))
}

fn two_processes(program: &Path, report: &mut ScenarioReport) -> Played {
    let mut ground = HostFixture::new(program, report)?;
    let (source, rival) = (ground.source(SLOW)?, rival(&mut ground)?);
    let mut first = ground.fetch().from(source.addr).start()?;
    let has_begun = first.has(1)?;
    ground.check("I3", has_begun, || "no byte ever came".to_owned())?;
    let second = ground.fetch_of(&rival).args(&["--overwrite"]).from(source.addr).run()?;
    ground.inject("second process");
    ground.take_in(&second);
    refused(&mut ground, &second, "another process")?;
    let run = first.finish()?;
    ground.complete(&run)
}
