//! Disk trouble as values: an operation of the file system failed, or a torrent's files cannot be worked on.
//!
//! `storage` makes these values, the machines of this folder decide what follows from them. Touches no file.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::base::safe::{Safe, shown_path};
use crate::base::units::Bytes;

/// What kind of trouble, as far as policies tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TroubleKind {
    /// No space or no quota (D-01, D-16). Goes away when space returns.
    Full,
    /// A file would be longer than this process or the file system allows (D-16). Space does not help.
    TooLong,
    /// Not writable: permissions, a read-only file system (D-08).
    ReadOnly,
    /// The folder or the file is gone (D-09, D-10).
    Missing,
    /// Another program has changed the file, or keeps changing it (D-09, D-15).
    Changed,
    /// Another torrent or another process uses the file (D-20, D-21).
    Taken,
    /// The device failed (D-03, D-04), or anything else.
    Io,
}

/// The operation that makes data durable.
pub const SYNC: &str = "sync";

/// One failed operation: what, where, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskTrouble {
    /// The kind that policies act on.
    pub kind: TroubleKind,
    /// What was tried: `write`, `open`, `sync`.
    pub operation: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// Where in the file, where that is known.
    pub offset: Option<u64>,
    /// Bytes free on the file system, and bytes that are still to be written there in all, when it is full.
    pub space: Option<(u64, u64)>,
    /// The system's own words.
    pub reason: String,
}

impl DiskTrouble {
    /// Another program has changed the file, so that its bytes must be hashed again before they are used.
    pub fn changed(operation: &'static str, path: &Path) -> Self {
        let reason = "another program has changed it".to_owned();
        Self { kind: TroubleKind::Changed, operation, path: path.to_path_buf(), offset: None, space: None, reason }
    }

    /// Another torrent or process uses the file; `reason` names it.
    pub fn taken(path: &Path, reason: &str) -> Self {
        Self { kind: TroubleKind::Taken, reason: reason.to_owned(), ..Self::changed("use", path) }
    }

    /// A sync of data failed: what was written before it may never reach the disk (D-05).
    pub fn leaves_data_in_doubt(&self) -> bool {
        self.operation == SYNC
    }

    /// The same trouble with its offset in the file, in bytes.
    #[must_use]
    pub fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }
}

impl fmt::Display for DiskTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display().to_string();
        let path = Safe::new(&path).at_most(400);
        match (self.kind, self.space) {
            (TroubleKind::Full, Some((free, wanted))) => {
                write!(f, "disk full on {path}: need {} more, {} free", Bytes(wanted), Bytes(free))
            }
            (TroubleKind::Full, None) => write!(f, "disk full on {path}: {}", self.reason),
            (TroubleKind::TooLong, _) => write!(f, "cannot write {path}: {}", self.reason),
            (TroubleKind::ReadOnly | TroubleKind::Changed | TroubleKind::Taken, _) => {
                write!(f, "cannot {} {path}: {}", self.operation, self.reason)
            }
            (TroubleKind::Missing, _) => {
                write!(f, "cannot {} {path}: it is not there ({})", self.operation, self.reason)
            }
            (TroubleKind::Io, _) => match self.offset {
                Some(offset) => write!(f, "cannot {} {path} at byte {offset}: {}", self.operation, self.reason),
                None => write!(f, "cannot {} {path}: {}", self.operation, self.reason),
            },
        }
    }
}

impl std::error::Error for DiskTrouble {}

/// Why the state folder of a torrent cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateTrouble {
    /// Another process works on the same torrent in the same folder (D-18).
    #[error("another tt-actors (process {holder}) is at work on this torrent in {}; wait for it or stop it", folder.display())]
    Locked {
        /// Its process id, as it wrote it.
        holder: String,
        /// The state folder.
        folder: PathBuf,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

/// Why a torrent's files cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum OpenTrouble {
    /// Something that is not this torrent's lies where a file should go.
    #[error(
        "{} would be overwritten: {why}; move it away, choose another folder with -d, or say --overwrite",
        shown_path(path)
    )]
    WouldOverwrite {
        /// The file in the way.
        path: PathBuf,
        /// How it is known not to be the torrent's.
        why: String,
    },
    /// All of the torrent's bytes are in a file, and more, and no file may be changed.
    #[error("{} is {len} bytes long and should be {should}; seed changes no file: cut it with `truncate -s {should}`", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
        /// The length that the torrent says.
        should: u64,
    },
    /// The state is locked by another process, or the disk failed at it.
    #[error(transparent)]
    State(#[from] StateTrouble),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

impl OpenTrouble {
    /// The trouble of a full disk; `None` if the start failed for another reason.
    pub fn full_disk(&self) -> Option<&DiskTrouble> {
        let (Self::Disk(trouble) | Self::State(StateTrouble::Disk(trouble))) = self else { return None };
        Some(trouble).filter(|trouble| trouble.kind == TroubleKind::Full)
    }
}
