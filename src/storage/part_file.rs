//! The part file: it has bytes of files that are not wanted, which arrived in pieces that they share with wanted files.
//!
//! It is one sparse file beside the record, laid out by [`PartMap`]. For [`super::files::StoredFiles`] it is one more
//! file, after the torrent's own. A [`Part`] knows which files have their bytes in it in this run, and which may have
//! left some there before; only hashes tell which of the bytes are right.

use std::path::PathBuf;

use super::file_entry::FileSpec;
use super::record::STATE_FOLDER;
use crate::base::geometry::Geometry;
use crate::base::ids::InfoHash;
use crate::logic::disk::layout::Layout;
use crate::logic::disk::part_file_layout::PartMap;

/// The part file of a torrent.
#[derive(Debug, Clone)]
pub struct Part {
    pub(super) spec: FileSpec,
    pub(super) map: PartMap,
    /// Whether each file's bytes are kept in the part file.
    held: Vec<bool>,
    /// Whether each file is stored by itself now, but may have bytes in the part file from a time when it was not.
    strayed: Vec<bool>,
}

impl Part {
    /// The part file of a torrent. `held` and `strayed` have a value for each file, in the order of the torrent.
    pub fn new(torrent: (InfoHash, Geometry, &Layout), held: Vec<bool>, strayed: Vec<bool>) -> Self {
        let (info_hash, geometry, layout) = torrent;
        let spec = FileSpec { path: path(info_hash), len: 0, padding: false };
        Self { spec, map: PartMap::new(geometry, layout), held, strayed }
    }

    /// Whether this file's bytes are kept in the part file.
    pub fn holds(&self, file: usize) -> bool {
        self.held.get(file).copied().unwrap_or(false)
    }

    /// Whether this file's bytes are kept in the part file, or may have been in an earlier run.
    pub fn held_once(&self, file: usize) -> bool {
        self.holds(file) || self.strayed.get(file).copied().unwrap_or(false)
    }

    /// Whether any file's bytes are kept in the part file.
    pub fn is_needed(&self) -> bool {
        self.held.contains(&true)
    }

    /// Whether any file may have bytes in the part file that it lacks itself.
    pub fn has_strays(&self) -> bool {
        self.strayed.contains(&true)
    }
}

/// The path of the part file below the output folder.
pub fn path(info_hash: InfoHash) -> PathBuf {
    PathBuf::from(STATE_FOLDER).join(format!("{info_hash}.part"))
}
