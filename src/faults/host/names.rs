//! Names that no disk takes as they are or that only look odd, and more files than descriptors (D-11, D-17).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ground::{HostFixture, MIB, Played};
use super::machine::{MachineNeed, SmallDisk};
use super::{HostScene, scene};
use crate::faults::scenario::ScenarioReport;
use crate::faults::torrent::Recipe;

/// Their scenes.
pub(super) const SCENES: &[HostScene] = &[
    scene(
        "D-11.names",
        &["D-11"],
        "names too long, too deep, odd, twins but for their case: all are there, the same way twice",
        &[],
        names,
    ),
    scene(
        "D-17.files",
        &["D-17"],
        "10,000 files and 64 descriptors",
        &[MachineNeed::Prlimit, MachineNeed::Mount],
        files,
    ),
];

/// Every file has as many bytes.
const SIZE: u64 = 5000;

fn names(program: &Path, report: &mut ScenarioReport) -> Played {
    let deep = vec!["d".repeat(250); 20].join("/");
    let listed = [
        "plain.bin".to_owned(),
        format!("{}.bin", "long".repeat(100)),
        format!("{}.bin", "ü".repeat(200)),
        format!("{deep}/file"),
        "Twin".to_owned(),
        "twin".to_owned(),
        "TWIN".to_owned(),
        "CON".to_owned(),
        "bidi\u{202e}fdp.exe".to_owned(),
        "control\u{1b}[2J".to_owned(),
        "dot.".to_owned(),
    ];
    let list: Vec<_> = listed.iter().map(|path| (path.as_str(), SIZE)).collect();
    let recipe = Recipe::folder("names", &list, 16 * 1024, &[]);
    let mut ground = HostFixture::of(recipe, SIZE * listed.len() as u64, program, report)?;
    // The referee knows no rule of renaming: the files are told apart by what is in them.
    ground.files.clear();
    let source = ground.source("")?;
    let run = ground.fetch().from(source.addr).run()?;
    ground.inject("odd names");
    ground.ended(&run, 0)?;
    let first = contents(&ground.out)?;
    for number in 0..listed.len() as u64 {
        let want = ground.harness.payload().read(number * SIZE, 5000);
        let is_there = first.values().filter(|bytes| **bytes == want).count() == 1;
        let name = &listed[usize::try_from(number).unwrap_or(0)];
        ground.check("I2", is_there, || format!("the file called {name:?} is not there once"))?;
    }
    ground.check("I2", first.len() == listed.len(), || format!("{} files for {}", first.len(), listed.len()))?;
    let again = ground.fetch().from(source.addr).run()?;
    ground.ended(&again, 0)?;
    let (fetched, checked) = (again.number("bytes_downloaded"), again.number("bytes_checked"));
    ground.check("I8", (fetched, checked) == (0, 0), || format!("{fetched} B came again, {checked} B were checked"))?;
    let second = contents(&ground.out)?;
    ground.check("I8", first == second, || "it maps names otherwise the second time".to_owned())
}

/// Every file below a folder but the state, and what is in it.
fn contents(folder: &Path) -> std::io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != ".tt-actors") {
                found.extend(contents(&path)?);
            }
        } else {
            found.insert(path.clone(), std::fs::read(path)?);
        }
    }
    Ok(found)
}

fn files(program: &Path, report: &mut ScenarioReport) -> Played {
    const FILES: u64 = 10_000;
    let listed: Vec<_> = (0..FILES).map(|number| format!("{:02}/{number}", number % 100)).collect();
    let list: Vec<_> = listed.iter().map(|path| (path.as_str(), 100)).collect();
    let recipe = Recipe::folder("many", &list, 16 * 1024, &[]);
    let mut ground = HostFixture::of(recipe, FILES * 100, program, report)?;
    // In memory: ten thousand syncs of a real disk are no part of the question.
    let disk = SmallDisk::mount(ground.beside("disk"), 128 * MIB)?;
    ground.out = disk.path().join("out");
    let source = ground.source("")?;
    let limited = ground.fetch().from(source.addr).behind(&["prlimit", "--nofile=64"]).start()?;
    ground.inject("64 descriptors");
    let run = limited.finish()?;
    ground.complete(&run)?;
    let most = run.finished.usage.descriptors;
    ground.note("descriptors", most as u64);
    ground.check("I5", most <= 64, || format!("{most} descriptors"))
}
