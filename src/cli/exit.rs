//! Exit codes: those of aria2, where it has one for the case.

use std::fmt;
use std::process::ExitCode;

use crate::actors::view::TorrentFailure;
use crate::storage::record::StateTrouble;
use crate::storage::{DiskTrouble, OpenTrouble, TroubleKind};

/// The exit code of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ProgramExit {
    /// Everything was done.
    Complete = 0,
    /// A failure without a code of its own.
    Unknown = 1,
    /// The command line is invalid.
    Usage = 2,
    /// A file or an address does not exist.
    NotFound = 3,
    /// No byte came for as long as `--stall-timeout` says.
    Stalled = 5,
    /// The network failed.
    Network = 6,
    /// Stopped by the user; the same command line goes on later.
    Interrupted = 7,
    /// The disk is full.
    DiskFull = 9,
    /// Another process is at work on the same torrent in the same folder.
    Locked = 11,
    /// A file is in the way.
    WouldOverwrite = 13,
    /// A file cannot be opened.
    CannotOpen = 15,
    /// A file cannot be made or written.
    CannotCreate = 16,
    /// The disk failed.
    Io = 17,
    /// The torrent cannot be parsed.
    BadTorrent = 25,
    /// The torrent is unsafe or broken.
    UnsafeTorrent = 26,
    /// The data is not what the torrent says.
    HashMismatch = 32,
    /// The supervision tree gave up.
    GaveUp = 70,
    /// Stopped by a second signal.
    Killed = 130,
}

impl From<ProgramExit> for ExitCode {
    fn from(exit: ProgramExit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed: a sentence and an exit code.
#[derive(Debug)]
pub struct Problem {
    /// The exit code.
    pub exit: ProgramExit,
    /// What happened, where, and what the user can do next.
    pub text: String,
}

impl Problem {
    /// Makes a problem of an exit code and a sentence.
    pub fn new(exit: ProgramExit, text: impl fmt::Display) -> Self {
        Self { exit, text: text.to_string() }
    }
}

impl From<&DiskTrouble> for ProgramExit {
    fn from(trouble: &DiskTrouble) -> Self {
        match (trouble.kind, trouble.operation) {
            (TroubleKind::Full, _) => Self::DiskFull,
            (TroubleKind::Taken, _) => Self::WouldOverwrite,
            (TroubleKind::ReadOnly | TroubleKind::TooLong, _) | (_, "create") => Self::CannotCreate,
            (TroubleKind::Missing, _) | (_, "open") => Self::CannotOpen,
            (TroubleKind::Io | TroubleKind::Changed, _) => Self::Io,
        }
    }
}

impl From<&TorrentFailure> for ProgramExit {
    fn from(failure: &TorrentFailure) -> Self {
        match failure {
            TorrentFailure::GaveUp(_) => Self::GaveUp,
            TorrentFailure::Incomplete { .. } => Self::HashMismatch,
            TorrentFailure::Disk(trouble) => trouble.into(),
            TorrentFailure::Open(trouble) => match &**trouble {
                OpenTrouble::WouldOverwrite { .. } => Self::WouldOverwrite,
                OpenTrouble::TooLong { .. } => Self::HashMismatch,
                OpenTrouble::State(StateTrouble::Locked { .. }) => Self::Locked,
                OpenTrouble::State(StateTrouble::Disk(trouble)) | OpenTrouble::Disk(trouble) => trouble.into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::sync::Arc;

    fn trouble(kind: TroubleKind, operation: &'static str) -> DiskTrouble {
        DiskTrouble { kind, operation, path: PathBuf::from("/x"), offset: None, space: None, reason: String::new() }
    }

    /// The exit codes of the README, which are those of aria2 where it has one.
    #[test]
    fn every_failure_has_its_exit_code() {
        let open = |trouble| TorrentFailure::Open(Arc::new(trouble));
        let overwrite = OpenTrouble::WouldOverwrite { path: "/x".into(), why: String::new() };
        let locked = StateTrouble::Locked { holder: "1".to_owned(), folder: "/x".into() };
        let table = [
            (TorrentFailure::Disk(trouble(TroubleKind::Full, "write")), 9),
            (TorrentFailure::Disk(trouble(TroubleKind::Full, "open")), 9),
            (TorrentFailure::Disk(trouble(TroubleKind::TooLong, "open")), 16),
            (open(locked.into()), 11),
            (open(overwrite), 13),
            (TorrentFailure::Disk(trouble(TroubleKind::Missing, "open")), 15),
            (TorrentFailure::Disk(trouble(TroubleKind::Io, "open")), 15),
            (TorrentFailure::Disk(trouble(TroubleKind::ReadOnly, "open")), 16),
            (open(StateTrouble::Disk(trouble(TroubleKind::Io, "create")).into()), 16),
            (TorrentFailure::Disk(trouble(TroubleKind::Io, "write")), 17),
            (TorrentFailure::GaveUp("a bug".to_owned()), 70),
        ];
        for (failure, want) in table {
            assert_eq!(ProgramExit::from(&failure) as u8, want, "{failure:?}");
        }
    }
}
