//! [`FileSpec`]: what the storage knows of a file.

use std::path::PathBuf;

use crate::codec::metainfo::{FileEntry, Metainfo};

/// A file of the torrent.
#[derive(Debug, Clone)]
pub struct FileSpec {
    /// The path below the output folder.
    pub path: PathBuf,
    /// The length in bytes.
    pub len: u64,
    /// The file is padding: all zeros and never on the disk (BEP 47).
    pub padding: bool,
}

/// The files of a torrent, in its order.
pub fn specs_of(metainfo: &Metainfo) -> Vec<FileSpec> {
    let spec =
        |file: &FileEntry| FileSpec { path: file.path.as_path().to_path_buf(), len: file.len, padding: file.padding };
    metainfo.info.files.iter().map(spec).collect()
}
