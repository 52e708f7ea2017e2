//! `FileSpec`: what the storage has to know of a file.

use std::path::PathBuf;

use crate::codec::metainfo::{FileEntry, Metainfo};

/// One file of the torrent.
#[derive(Debug, Clone)]
pub struct FileSpec {
    /// Below the output folder.
    pub path: PathBuf,
    /// Length in bytes.
    pub len: u64,
    /// All zeros and never made on disk (BEP 47).
    pub padding: bool,
}

/// The files of a torrent as the storage sees them.
pub fn specs_of(metainfo: &Metainfo) -> Vec<FileSpec> {
    let spec =
        |file: &FileEntry| FileSpec { path: file.path.as_path().to_path_buf(), len: file.len, padding: file.padding };
    metainfo.info.files.iter().map(spec).collect()
}
