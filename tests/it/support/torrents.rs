//! Torrents made by foreign programs, and what libtorrent reads in them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::lab::{Lab, python};

/// A .torrent on the disk, with what libtorrent reads in it.
#[derive(Debug)]
pub(crate) struct Torrent {
    pub(crate) path: PathBuf,
    /// The payload it was made of: a file or a folder.
    pub(crate) source: PathBuf,
    /// Forty hexadecimal digits.
    pub(crate) info_hash: String,
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) pieces: u64,
    pub(crate) piece_length: u64,
    pub(crate) files: u64,
}

impl Torrent {
    /// Reads it with libtorrent: a second opinion on what we are going to print about it.
    pub(crate) fn read(path: PathBuf, source: &Path) -> Self {
        let text = run(Command::new(python().unwrap()).arg(script("read.py")).arg(&path));
        let read: Value = serde_json::from_str(&text).unwrap();
        let number = |key: &str| read[key].as_u64().unwrap();
        Self {
            path,
            source: source.to_owned(),
            info_hash: read["info_hash"].as_str().unwrap().to_owned(),
            name: read["name"].as_str().unwrap().to_owned(),
            bytes: number("bytes"),
            pieces: number("pieces"),
            piece_length: number("piece_length"),
            files: number("files"),
        }
    }

    /// Where its payload is after a fetch into `dir`.
    pub(crate) fn inside(&self, dir: &Path) -> PathBuf {
        dir.join(&self.name)
    }

    /// The folder that holds its payload: what a seed calls its save path.
    pub(crate) fn save_path(&self) -> &Path {
        self.source.parent().unwrap()
    }
}

/// Makes a torrent of a file or folder with libtorrent.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    source: &'a Path,
    args: Vec<String>,
}

impl<'a> Maker<'a> {
    pub(crate) fn of(source: &'a Path) -> Self {
        Self { source, args: Vec::new() }
    }

    pub(crate) fn piece_length(mut self, bytes: u64) -> Self {
        self.args.extend(["--piece-length".to_owned(), bytes.to_string()]);
        self
    }

    /// One more tier with these trackers.
    pub(crate) fn tier(mut self, urls: &[&str]) -> Self {
        self.args.extend(["--announce".to_owned(), urls.join(",")]);
        self
    }

    /// A switch of `make.py`.
    pub(crate) fn switch(mut self, switch: &str) -> Self {
        self.args.push(switch.to_owned());
        self
    }

    pub(crate) fn make(self, lab: &Lab) -> Torrent {
        let path = lab.at(&format!("{}.torrent", self.source.file_name().unwrap().display()));
        run(Command::new(python().unwrap()).arg(script("make.py")).arg(self.source).arg(&path).args(&self.args));
        Torrent::read(path, self.source)
    }
}

/// Makes a torrent with Transmission's own tool.
pub(crate) fn by_transmission(lab: &Lab, source: &Path, args: &[&str]) -> Torrent {
    let path = lab.at(&format!("{}.torrent", source.file_name().unwrap().display()));
    run(Command::new("transmission-create").arg("-o").arg(&path).args(args).arg(source));
    Torrent::read(path, source)
}

/// A Python script of `tests/peers`.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// Runs a program to its end and gives its standard output; its failure is the test's.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
