//! File names that no disk takes unchanged or that look odd, and more files than descriptors (D-11, D-17).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::fixture::{HostFixture, MIB, SceneResult};
use super::machine::{MachineNeed, SmallDisk};
use super::{HostScene, scene};
use crate::faults::scenario::ScenarioReport;
use crate::faults::torrent::Recipe;

/// The scenes of this file.
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

/// The length of every file, in bytes.
const SIZE: u64 = 5000;

fn names(program: &Path, report: &mut ScenarioReport) -> SceneResult {
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
    let mut fixture = HostFixture::of(recipe, SIZE * listed.len() as u64, program, report)?;
    // The referee does not know the client's rules for renaming, so files are identified by their contents.
    fixture.files.clear();
    let source = fixture.source("")?;
    let run = fixture.fetch().from(source.addr).run()?;
    fixture.inject("odd names");
    fixture.ended(&run, 0)?;
    let first = contents(&fixture.out)?;
    for number in 0..listed.len() as u64 {
        let want = fixture.harness.payload().read(number * SIZE, 5000);
        let is_there = first.values().filter(|bytes| **bytes == want).count() == 1;
        let name = &listed[usize::try_from(number).unwrap_or(0)];
        fixture.check("I2", is_there, || format!("the file called {name:?} is not there once"))?;
    }
    fixture.check("I2", first.len() == listed.len(), || format!("{} files for {}", first.len(), listed.len()))?;
    let again = fixture.fetch().from(source.addr).run()?;
    fixture.ended(&again, 0)?;
    let (fetched, checked) = (again.number("bytes_downloaded"), again.number("bytes_checked"));
    fixture
        .check("I8", (fetched, checked) == (0, 0), || format!("{fetched} B came again, {checked} B were checked"))?;
    let second = contents(&fixture.out)?;
    fixture.check("I8", first == second, || "it maps names otherwise the second time".to_owned())
}

/// Returns every file below a folder but the state, with its contents.
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

fn files(program: &Path, report: &mut ScenarioReport) -> SceneResult {
    const FILES: u64 = 10_000;
    let listed: Vec<_> = (0..FILES).map(|number| format!("{:02}/{number}", number % 100)).collect();
    let list: Vec<_> = listed.iter().map(|path| (path.as_str(), 100)).collect();
    let recipe = Recipe::folder("many", &list, 16 * 1024, &[]);
    let mut fixture = HostFixture::of(recipe, FILES * 100, program, report)?;
    // In memory: the time for ten thousand syncs of a real disk is not part of the test.
    let disk = SmallDisk::mount(fixture.beside("disk"), 128 * MIB)?;
    fixture.out = disk.path().join("out");
    let source = fixture.source("")?;
    let limited = fixture.fetch().from(source.addr).behind(&["prlimit", "--nofile=64"]).start()?;
    fixture.inject("64 descriptors");
    let run = limited.finish()?;
    fixture.complete(&run)?;
    let most = run.finished.usage.descriptors;
    fixture.note("descriptors", most as u64);
    fixture.check("I5", most <= 64, || format!("{most} descriptors"))
}
