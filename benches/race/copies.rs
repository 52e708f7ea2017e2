//! The bytes that a process copies inside itself, whoever copies them: counted by `copies.c` in the place of libc.
//!
//! Copies by the kernel are not among them, nor those of a few bytes that a compiler writes out in place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("copies.c");

/// No call for a loop: it would be a call of itself.
const FLAGS: [&str; 5] = ["-O1", "-shared", "-fPIC", "-fno-builtin", "-fno-tree-loop-distribute-patterns"];

/// The counter, compiled.
pub(crate) struct Copies(PathBuf);

impl Copies {
    /// Where there is no C compiler there is no linker for Rust either.
    pub(crate) fn compiled(folder: &Path) -> Self {
        let (source, library) = (folder.join("copies.c"), folder.join("copies.so"));
        fs::write(&source, SOURCE).unwrap();
        let compiled = Command::new("cc").args(FLAGS).arg("-o").arg(&library).arg(source).status().unwrap();
        assert!(compiled.success(), "cc: {compiled}");
        Self(library)
    }

    /// Has the command counted; the sum is in `out` when it has ended.
    pub(crate) fn count(&self, command: &mut Command, out: &Path) {
        fs::remove_file(out).unwrap_or_default();
        command.env("LD_PRELOAD", &self.0).env("COPIES_TO", out);
    }

    /// The sum.
    pub(crate) fn read(out: &Path) -> f64 {
        let text = fs::read_to_string(out).unwrap_or_else(|error| panic!("no copies were counted: {error}"));
        text.trim().parse().unwrap()
    }
}
