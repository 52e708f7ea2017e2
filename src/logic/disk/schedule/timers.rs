//! The timers of an open disk, by name. A timer is not stored: when it fires follows from the state
//! (`OpenDisk::due`), so no timer is left over from a state that has passed.

/// What an open disk waits for, in the order in which timers that are due together fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskTimer {
    /// Pieces were written: sync and record them, 2 to 10 s later or as soon as they are 16 MiB.
    Record,
    /// A sync failed: write the pieces in doubt anew, 1 s later.
    Rewrite,
    /// The disk is full and pieces wait: measure its free space, every 2 s.
    FreeSpace,
    /// The disk is in trouble and pieces wait: try one of them, after 1 or 30 s.
    Retry,
    /// A piece could not be read: hash it again, after 1 to 30 s.
    CheckAgain,
    /// Pieces wait for others to be hashed beside them: write them, after 2 ms.
    Batch,
}

impl DiskTimer {
    /// All of them, in the order in which they fire.
    pub(super) const ALL: [Self; 6] =
        [Self::Record, Self::Rewrite, Self::FreeSpace, Self::Retry, Self::CheckAgain, Self::Batch];
}
