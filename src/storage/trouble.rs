//! Errors of the system as disk trouble. What follows from a trouble is decided in `logic::disk`.

use std::io;
use std::path::Path;

use crate::base::units::Bytes;
pub use crate::logic::disk::trouble::{DiskTrouble, SYNC, TroubleKind};

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
