//! [`DiskTrouble`]: a failed operation of the file system. The caller decides what follows from it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::safe::Safe;
use crate::base::units::Bytes;

/// The kinds of failures that policies distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TroubleKind {
    /// There is no space or no quota (D-01, D-16). Goes away when there is space again.
    Full,
    /// A file would be longer than this process or the file system allows (D-16). More space does not help.
    TooLong,
    /// Writing is not permitted: permissions, a read-only file system (D-08).
    ReadOnly,
    /// The folder or the file does not exist (D-09, D-10).
    Missing,
    /// Another program has changed the file, or keeps changing it (D-09, D-15).
    Changed,
    /// Another torrent or another process uses the file (D-20, D-21).
    Taken,
    /// The device failed (D-03, D-04), or any other error.
    Io,
}

/// The name of the operation that makes data durable.
pub const SYNC: &str = "sync";

/// One failed operation: what was tried, on which path, and why it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskTrouble {
    /// The kind that policies act on.
    pub kind: TroubleKind,
    /// The operation: `write`, `open`, `sync`.
    pub operation: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The offset in the file, if it is known.
    pub offset: Option<u64>,
    /// If the disk is full: the free bytes of the file system, and all bytes that are still to be written there.
    pub space: Option<(u64, u64)>,
    /// The system's own text.
    pub reason: String,
}

impl DiskTrouble {
    /// The failure for an error of the system.
    pub fn new(operation: &'static str, path: &Path, error: &io::Error) -> Self {
        Self {
            kind: kind_of(error),
            operation,
            path: path.to_path_buf(),
            offset: None,
            space: None,
            reason: reason_of(error),
        }
    }

    /// The failure for a file that another program has changed, so that its bytes must be hashed again first.
    pub fn changed(operation: &'static str, path: &Path) -> Self {
        let reason = "another program has changed it".to_owned();
        Self { kind: TroubleKind::Changed, operation, path: path.to_path_buf(), offset: None, space: None, reason }
    }

    /// The failure for a file that another torrent or process uses; `reason` says which.
    pub fn taken(path: &Path, reason: &str) -> Self {
        Self { kind: TroubleKind::Taken, reason: reason.to_owned(), ..Self::changed("use", path) }
    }

    /// Whether data was not synced, so that what was written before may never reach the disk (D-05).
    pub fn leaves_data_in_doubt(&self) -> bool {
        self.operation == SYNC
    }

    /// Adds the offset in the file.
    #[must_use]
    pub fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }
}

/// The system's text; for EFBIG a text that names the limit that was reached.
fn reason_of(error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::FileTooLarge {
        return error.to_string();
    }
    match rustix::process::getrlimit(rustix::process::Resource::Fsize).current {
        Some(limit) => format!("this process may write files of up to {} (ulimit -f)", Bytes(limit)),
        None => "the file system takes no file that long".to_owned(),
    }
}

/// The kind of an error of the system.
fn kind_of(error: &io::Error) -> TroubleKind {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => TroubleKind::Full,
        Kind::FileTooLarge => TroubleKind::TooLong,
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => TroubleKind::ReadOnly,
        Kind::NotFound | Kind::StaleNetworkFileHandle | Kind::NotADirectory => TroubleKind::Missing,
        _ => TroubleKind::Io,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_fall_into_kinds() {
        let table = [
            (28, TroubleKind::Full),
            (122, TroubleKind::Full),
            (27, TroubleKind::TooLong),
            (13, TroubleKind::ReadOnly),
            (30, TroubleKind::ReadOnly),
            (2, TroubleKind::Missing),
            (116, TroubleKind::Missing),
            (5, TroubleKind::Io),
        ];
        for (code, want) in table {
            let trouble = DiskTrouble::new("write", Path::new("/x"), &io::Error::from_raw_os_error(code));
            assert_eq!(trouble.kind, want, "errno {code}");
        }
    }

    #[test]
    fn the_text_says_what_and_where() {
        let full = DiskTrouble::new("write", Path::new("/x"), &io::Error::from_raw_os_error(28));
        let full = DiskTrouble { space: Some((0, 1 << 30)), ..full };
        assert_eq!(full.to_string(), "disk full on /x: need 1.0 GiB more, 0 B free");
        let broken = DiskTrouble::new("write", Path::new("/x\x1b"), &io::Error::from_raw_os_error(5)).at(7);
        assert_eq!(broken.to_string(), "cannot write /x\\u{1b} at byte 7: Input/output error (os error 5)");
        assert!(!broken.leaves_data_in_doubt());
        assert!(DiskTrouble { operation: SYNC, ..broken }.leaves_data_in_doubt());
    }
}
