//! Other programs do anything to the files of a torrent at any moment, while a leech asks for all of it (D-22).
//!
//! "Complete" is said only when every byte is right on the disk (I2), and the leech is given no wrong byte (I6).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::ground::{HostFixture, MIB, PIECE, Played};
use super::leech::{Appetite, spawn_leech};
use super::others::DEEDS;
use super::{HostScene, scene};
use crate::faults::scenario::ScenarioReport;
use crate::faults::torrent::Recipe;

/// Its scene.
pub(super) const SCENES: &[HostScene] = &[scene(
    "D-22.chance",
    &["D-22", "D-09", "D-15", "D-19"],
    "files are cut, rewritten, removed, exchanged at random moments, and a leech asks for them",
    &[],
    chance,
)];

/// Large files and small ones, none a multiple of a piece; the small ones share their pieces.
const FILES: [(&str, u64); 5] =
    [("a", 2 * MIB + 777), ("b", 100), ("sub/c", 65_535), ("sub/d", MIB + 1), ("e", 40_000)];

/// Fewer than the eight dirty looks in a row that end a run.
const MOST_DEEDS: u32 = 6;

/// The pieces take 2 s to come.
const SLOW: &str = "max_rate=2M";

/// 1 s: what is done to the files so shortly before the end can come after the client's last look at them. Then the next
/// run has to see it.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Every block about ten times in a second, and time for other scenes.
const LEECH_RATE: &str = "32M";

fn chance(program: &Path, report: &mut ScenarioReport) -> Played {
    let len = FILES.iter().map(|(_, len)| len).sum();
    let mut ground = HostFixture::of(Recipe::folder("many", &FILES, PIECE, &[]), len, program, report)?;
    let source = ground.source(SLOW)?;
    let (leech, given) = spawn_leech(&ground.harness, 1, Appetite::Endless)?;
    let fetch = ground.fetch().from(source.addr).from(leech).args(&["--max-upload-limit", LEECH_RATE]);
    let seeds: bool = ground.dice.random();
    let fetch = if seeds { fetch.args(&["--seed", "--seed-time", "4s"]) } else { fetch };
    let mut fetch = fetch.start()?;
    let has_begun = fetch.has(1)?;
    ground.check("I3", has_begun, || "no byte ever came".to_owned())?;
    let mut last = Instant::now();
    for _ in 0..ground.dice.random_range(1..=MOST_DEEDS) {
        let pause = Duration::from_millis(ground.dice.random_range(0..2000));
        if fetch.ends_within(pause)? {
            break;
        }
        meddle(&mut ground)?;
        last = Instant::now();
    }
    let run = fetch.finish()?;
    if last.elapsed() > LAST_LOOK {
        ground.complete(&run)?;
    } else {
        ground.take_in(&run);
        if !ground.out.exists() {
            fs::create_dir(&ground.out)?;
        }
        let again = ground.fetch().from(source.addr).args(&["--overwrite"]).run()?;
        ground.complete(&again)?;
    }
    let given = *given.borrow();
    ground.note("blocks given", given.blocks);
    ground.check("I6", given.wrong == 0, || format!("{} of {} blocks were wrong", given.wrong, given.blocks))
}

/// Does something to one file, to two, or to their folder.
fn meddle(ground: &mut HostFixture<'_>) -> io::Result<()> {
    let names: Vec<PathBuf> = ground.files.iter().map(|(path, _)| ground.out.join(path)).collect();
    let (file, other) =
        (&names[ground.dice.random_range(0..names.len())], &names[ground.dice.random_range(0..names.len())]);
    let number: u32 = ground.dice.random();
    let beside = ground.beside(&format!("elsewhere-{number}"));
    let nth = ground.dice.random_range(0..DEEDS.len() + 3);
    let (what, done) = match nth.checked_sub(DEEDS.len()) {
        None => (DEEDS[nth].0, DEEDS[nth].1(file, &beside)),
        Some(0) => ("exchanged", exchange(file, other)),
        Some(1) => ("folder moved away", fs::rename(&ground.out, &beside)),
        Some(_) => ("folder removed", fs::remove_dir_all(&ground.out)),
    };
    match done {
        Ok(()) => ground.inject(what),
        // The file is not there yet, or not any more.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}
