//! What a process does with its memory: the bytes that it copies inside itself, and its allocations, counted by `memory.c`
//! in the place of libc.
//!
//! Copies by the kernel are not among them, nor those of a few bytes that a compiler writes out in place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::lab::folder;

const SOURCE: &str = include_str!("memory.c");

/// No call for a loop: it would be a call of itself.
const FLAGS: [&str; 5] = ["-O1", "-shared", "-fPIC", "-fno-builtin", "-fno-tree-loop-distribute-patterns"];

/// The counter, compiled, and where it writes to.
pub(crate) struct Counter(TempDir);

/// The counts of a process that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) bytes_copied: f64,
    pub(crate) allocations: f64,
}

impl Counter {
    /// Where there is no C compiler there is no linker for Rust either.
    pub(crate) fn compiled() -> Self {
        // Not where the payload is: nothing may be run from some memories.
        let counter = Self(folder(Path::new(env!("CARGO_TARGET_TMPDIR"))));
        let source = counter.0.path().join("memory.c");
        fs::write(&source, SOURCE).unwrap();
        let compiled = Command::new("cc").args(FLAGS).arg("-o").arg(counter.library()).arg(source).status().unwrap();
        assert!(compiled.success(), "cc: {compiled}");
        counter
    }

    /// Makes the process of this command count.
    pub(crate) fn load_into(&self, command: &mut Command) {
        fs::remove_file(self.out()).unwrap_or_default();
        command.env("LD_PRELOAD", self.library()).env("MEMORY_TO", self.out());
    }

    fn library(&self) -> PathBuf {
        self.0.path().join("memory.so")
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("counts")
    }

    /// Returns the counts of the process, once it has ended.
    pub(crate) fn read(&self) -> Memory {
        let text = fs::read_to_string(self.out()).unwrap_or_else(|error| panic!("nothing was counted: {error}"));
        let mut counts = text.split_whitespace().map(|count| count.parse().unwrap());
        let mut next = || counts.next().unwrap();
        Memory { bytes_copied: next(), allocations: next() }
    }
}
