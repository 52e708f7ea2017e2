//! The part file: bytes of files that are not there, which came with pieces of files that are.
//!
//! One file beside the record, sparse, its form given by [`PartMap`]. To [`super::files::StoredFiles`] it is one more file,
//! behind the torrent's own. Knows which files have their bytes in it in this run, and which may have some from before;
//! not which bytes are right: only hashes tell.

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
    /// Files whose bytes are kept in it.
    held: Vec<bool>,
    /// Files that have a place of their own now, and perhaps bytes in here of a time when they had none.
    strayed: Vec<bool>,
}

impl Part {
    /// `held` and `strayed` for each file, in the order of the torrent.
    pub fn new(torrent: (InfoHash, Geometry, &Layout), held: Vec<bool>, strayed: Vec<bool>) -> Self {
        let (info_hash, geometry, layout) = torrent;
        let spec = FileSpec { path: path(info_hash), len: 0, padding: false };
        Self { spec, map: PartMap::new(geometry, layout), held, strayed }
    }

    /// Are this file's bytes kept in it?
    pub fn holds(&self, file: usize) -> bool {
        self.held.get(file).copied().unwrap_or(false)
    }

    /// Are they, or were they in an earlier run?
    pub fn held_once(&self, file: usize) -> bool {
        self.holds(file) || self.strayed.get(file).copied().unwrap_or(false)
    }

    /// Does any file need it?
    pub fn is_needed(&self) -> bool {
        self.held.contains(&true)
    }

    /// Might any file find something in it that it has not itself?
    pub fn has_strays(&self) -> bool {
        self.strayed.contains(&true)
    }
}

/// Below the output folder.
pub fn path(info_hash: InfoHash) -> PathBuf {
    PathBuf::from(STATE_FOLDER).join(format!("{info_hash}.part"))
}
