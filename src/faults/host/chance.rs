//! Other programs change the files of a torrent at random moments, while a leech requests all of it (D-22).
//!
//! The client says "complete" only when every byte on the disk is right (I2), and gives the leech no wrong byte (I6).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::fixture::{HostFixture, MIB, PIECE, SceneResult};
use super::leech::{Appetite, spawn_leech};
use super::others::FILE_CHANGES;
use super::{HostScene, scene};
use crate::faults::scenario::ScenarioReport;
use crate::faults::torrent::Recipe;

/// The scenes of this file.
pub(super) const SCENES: &[HostScene] = &[scene(
    "D-22.chance",
    &["D-22", "D-09", "D-15", "D-19"],
    "files are cut, rewritten, removed, exchanged at random moments, and a leech asks for them",
    &[],
    chance,
)];

/// Large and small files, none a multiple of a piece; the small ones share pieces.
const FILES: [(&str, u64); 5] =
    [("a", 2 * MIB + 777), ("b", 100), ("sub/c", 65_535), ("sub/d", MIB + 1), ("e", 40_000)];

/// Fewer than the eight checks in a row with a changed file that end a run.
const MOST_CHANGES: u32 = 6;

/// At this rate the pieces take 2 s.
const SLOW: &str = "max_rate=2M";

/// 1 s: a change so shortly before the end can come after the client's last look at the files. Then the next run must
/// notice it.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Each block about ten times in a second, and processor time for other scenes.
const LEECH_RATE: &str = "32M";

fn chance(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    let len = FILES.iter().map(|(_, len)| len).sum();
    let mut fixture = HostFixture::of(Recipe::folder("many", &FILES, PIECE, &[]), len, program, report)?;
    let source = fixture.source(SLOW)?;
    let (leech, given) = spawn_leech(&fixture.harness, 1, Appetite::Endless)?;
    let fetch = fixture.fetch().from(source.addr).from(leech).args(&["--max-upload-limit", LEECH_RATE]);
    let seeds: bool = fixture.dice.random();
    let fetch = if seeds { fetch.args(&["--seed", "--seed-time", "4s"]) } else { fetch };
    let mut fetch = fixture.started(fetch, 1)?;
    let mut last = Instant::now();
    for _ in 0..fixture.dice.random_range(1..=MOST_CHANGES) {
        let pause = Duration::from_millis(fixture.dice.random_range(0..2000));
        if fetch.ends_within(pause)? {
            break;
        }
        change_files(&mut fixture)?;
        last = Instant::now();
    }
    let run = fetch.finish()?;
    if last.elapsed() > LAST_LOOK {
        fixture.complete(&run)?;
    } else {
        fixture.take_in(&run);
        if !fixture.out.exists() {
            fs::create_dir(&fixture.out)?;
        }
        let again = fixture.fetch().from(source.addr).args(&["--overwrite"]).run()?;
        fixture.complete(&again)?;
    }
    let given = *given.borrow();
    fixture.note("blocks given", given.blocks);
    fixture.check("I6", given.wrong == 0, || format!("{} of {} blocks were wrong", given.wrong, given.blocks))
}

/// Changes one file, two files, or their folder.
fn change_files(fixture: &mut HostFixture<'_>) -> io::Result<()> {
    let names: Vec<PathBuf> = fixture.files.iter().map(|(path, _)| fixture.out.join(path)).collect();
    let (file, other) =
        (&names[fixture.dice.random_range(0..names.len())], &names[fixture.dice.random_range(0..names.len())]);
    let number: u32 = fixture.dice.random();
    let beside = fixture.beside(&format!("elsewhere-{number}"));
    let nth = fixture.dice.random_range(0..FILE_CHANGES.len() + 3);
    let (what, done) = match nth.checked_sub(FILE_CHANGES.len()) {
        None => (FILE_CHANGES[nth].0, FILE_CHANGES[nth].1(file, &beside)),
        Some(0) => ("exchanged", exchange(file, other)),
        Some(1) => ("folder moved away", fs::rename(&fixture.out, &beside)),
        Some(_) => ("folder removed", fs::remove_dir_all(&fixture.out)),
    };
    match done {
        Ok(()) => fixture.inject(what),
        // The file does not exist yet, or no longer.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}
