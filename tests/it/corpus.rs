//! The committed corpus of the fuzz targets, replayed without a fuzzer (layer L0 of the faults).
//!
//! What a fuzzer finds is put there under a name that says what it is: `good-..` must be accepted, `bad-..` refused,
//! anything else must only break no promise.

#![expect(clippy::unwrap_used, reason = "a corpus that cannot be read is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use tt_actors::codec::entry;

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn every_way_in_keeps_its_promises() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, enter) in entry::ALL {
        let inputs = sorted(&corpus.join(target));
        let (good, bad) = ("good-", "bad-");
        for prefix in [good, bad] {
            assert!(inputs.iter().any(|path| name(path).starts_with(prefix)), "{target} has no {prefix} input");
        }
        for path in inputs {
            let accepted = enter(&fs::read(&path).unwrap());
            assert!(!(accepted && name(&path).starts_with(bad)), "{} is accepted", path.display());
            assert!(accepted || !name(&path).starts_with(good), "{} is refused", path.display());
        }
    }
}

#[test]
fn every_folder_has_its_target_and_every_target_its_program() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut targets: Vec<_> = entry::ALL.iter().map(|(target, _enter)| *target).collect();
    targets.sort_unstable();
    assert_eq!(sorted(&fuzz.join("corpus")).iter().map(|path| name(path)).collect::<Vec<_>>(), targets);
    let programs: Vec<_> = targets.iter().map(|target| format!("{target}.rs")).collect();
    assert_eq!(sorted(&fuzz.join("fuzz_targets")).iter().map(|path| name(path)).collect::<Vec<_>>(), programs);
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for target in targets {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is not built");
    }
}
