//! The payload of a race, its torrent and a folder for both, and the check that every byte has come.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::TempDir;
use tt_actors::faults::payload::Payload;
use tt_actors::faults::torrent::Recipe;

/// Bytes in a MiB, as an index and as a figure.
pub(crate) const MIB: usize = 1024 * 1024;
pub(crate) const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

const NAME: &str = "payload";
const PREFIX: &str = "tt-race-";

/// What a lean peer knows of the torrent.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) info_hash: [u8; 20],
    pub(crate) piece_len: usize,
    pub(crate) bytes: Bytes,
}

impl Content {
    pub(crate) fn pieces(&self) -> usize {
        self.bytes.len().div_ceil(self.piece_len)
    }

    /// Length of one piece: only the last may be shorter.
    pub(crate) fn length_of(&self, piece: usize) -> usize {
        self.piece_len.min(self.bytes.len() - piece * self.piece_len)
    }
}

/// How a payload is split into files and pieces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) mib: u64,
    pub(crate) piece_kib: u32,
    pub(crate) files: u64,
}

pub(crate) struct Lab {
    folder: TempDir,
    pub(crate) content: Content,
    /// Below the folder that a client writes to, in the order of the torrent.
    files: Vec<(PathBuf, usize)>,
}

impl Lab {
    /// Makes everything but the payload on a disk.
    pub(crate) fn new(dest: &Path, shape: Shape, announce: &[String]) -> Self {
        let folder = folder(dest);
        let each = shape.mib * MIB as u64 / shape.files;
        let payload = Payload::new(shape.mib, each * shape.files);
        let names: Vec<_> = (0..shape.files).map(|nth| format!("d{}/f{nth:05}.bin", nth % 10)).collect();
        let inside: Vec<_> = names.iter().map(|name| (name.as_str(), each)).collect();
        let (recipe, files) = if shape.files == 1 {
            (Recipe::single(NAME, shape.piece_kib * 1024, announce), vec![PathBuf::from(NAME)])
        } else {
            let paths = names.iter().map(|name| Path::new(NAME).join(name)).collect();
            (Recipe::folder(NAME, &inside, shape.piece_kib * 1024, announce), paths)
        };
        let torrent = recipe.make(payload).unwrap();
        fs::write(folder.path().join("t.torrent"), &torrent.file).unwrap();
        let content = Content {
            info_hash: torrent.offer.info_hash.0,
            piece_len: shape.piece_kib as usize * 1024,
            bytes: payload.read(0, usize::MAX).into(),
        };
        let each = usize::try_from(each).unwrap();
        Self { folder, content, files: files.into_iter().map(|path| (path, each)).collect() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn torrent(&self) -> PathBuf {
        self.path("t.torrent")
    }

    /// Writes the payload for clients that seed or hash it. Returns the folder that holds it.
    pub(crate) fn source(&self) -> PathBuf {
        let source = self.path("source");
        let mut rest = &self.content.bytes[..];
        for (path, len) in &self.files {
            let (mine, others) = rest.split_at(*len);
            fs::create_dir_all(source.join(path).parent().unwrap()).unwrap();
            fs::write(source.join(path), mine).unwrap();
            rest = others;
        }
        source
    }

    /// Makes an empty folder for a client.
    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir(&path).unwrap();
        path
    }

    /// Writes as much as the payload and deletes it: otherwise the first client to touch fresh memory would pay for it.
    pub(crate) fn warm(&self) {
        let path = self.path("warm");
        let mut file = File::create(&path).unwrap();
        for chunk in self.content.bytes.chunks(4 * MIB) {
            file.write_all(chunk).unwrap();
        }
        fs::remove_file(path).unwrap();
    }

    /// Compares every byte below `folder` with the payload.
    pub(crate) fn is_whole(&self, folder: &Path) -> bool {
        let mut rest = &self.content.bytes[..];
        self.files.iter().all(|(path, len)| {
            let (mine, others) = rest.split_at(*len);
            rest = others;
            same(&folder.join(path), mine)
        })
    }
}

/// A folder that is gone with its owner, and says whose it is.
pub(crate) fn folder(dest: &Path) -> TempDir {
    let prefix = format!("{PREFIX}{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir_in(dest).unwrap()
}

/// Removes what interrupted races have left in memory.
pub(crate) fn sweep(dest: &Path) {
    for entry in fs::read_dir(dest).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            println!("removing {}, left by a race that was interrupted", entry.path().display());
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

fn same(path: &Path, want: &[u8]) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let mut buffer = vec![0; MIB];
    let long_enough = file.metadata().is_ok_and(|found| found.len() == want.len() as u64);
    long_enough
        && want.chunks(MIB).all(|want| {
            let got = &mut buffer[..want.len()];
            file.read_exact(got).is_ok() && got == want
        })
}
