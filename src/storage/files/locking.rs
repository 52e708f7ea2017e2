//! A lock on each open file: no other process writes to a file that we write or read, if it asks for the lock as we do.
//!
//! The lock is a `flock`: it belongs to the open file, whatever name or link leads to it, and ends with it. Files that
//! are not open have no lock; `vetting` detects what happens to them meanwhile. On a file system without locks there
//! are none.

use std::sync::{Arc, Weak};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::super::open_files::OpenFile;
use super::super::trouble::{DiskTrouble, TroubleKind};
use super::StoredFiles;
use super::vetting::look_at;

/// The lock of one file.
#[derive(Debug, Default)]
pub(super) struct FileLock {
    mode: Option<LockMode>,
    /// The open file that holds the lock.
    holder: Weak<OpenFile>,
}

/// The kind of lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Keeps out processes that write, because we read.
    Shared,
    /// Keeps out all other processes, because we write.
    Exclusive,
}

impl FileLock {
    /// Locks a file that was just opened. Returns `false` if another process has the lock.
    fn take(&mut self, handle: &Arc<OpenFile>, mode: LockMode) -> bool {
        if let Some(own) = self.holder.upgrade().filter(|own| !Arc::ptr_eq(own, handle)) {
            // Otherwise our own older lock would refuse the new one.
            if let Err(error) = rustix::fs::flock(&own.file, FlockOperation::Unlock) {
                tracing::debug!(%error, "a lock was not given back");
            }
        }
        self.mode = Some(mode);
        self.holder = Arc::downgrade(handle);
        flock(handle, mode)
    }
}

/// Locks an open file without waiting. Returns `false` if another process has the lock.
fn flock(handle: &OpenFile, mode: LockMode) -> bool {
    let operation = match mode {
        LockMode::Shared => FlockOperation::NonBlockingLockShared,
        LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::fs::flock(&handle.file, operation) {
        Err(Errno::WOULDBLOCK) => false,
        // Some file systems have no locks; then no process can have one.
        Ok(()) | Err(_) => true,
    }
}

impl StoredFiles {
    /// Locks a file while it is open, and whenever it is opened again. A file that does not exist cannot be locked,
    /// which is not an error. Fails if another process has the lock.
    pub fn lock(&self, file: usize, mode: LockMode) -> Result<(), DiskTrouble> {
        let handle = match self.readable(file) {
            Err(trouble) if trouble.kind == TroubleKind::Missing => return Ok(()),
            opened => opened?,
        };
        self.take_lock(file, &handle, mode)
    }

    /// Renews the lock of a file that was opened again to be read. If another process has taken the lock meanwhile, its
    /// writes are detected when the file is read.
    pub(super) fn lock_again(&self, file: usize, handle: &Arc<OpenFile>) {
        let mut lock = self.tracked[file].lock.lock();
        if let Some(mode) = lock.mode
            && lock.holder.upgrade().is_none()
        {
            lock.take(handle, mode);
        }
    }

    /// Locks a file that was opened to be written.
    pub(super) fn lock_to_write(&self, file: usize, handle: &Arc<OpenFile>) -> Result<(), DiskTrouble> {
        self.take_lock(file, handle, LockMode::Exclusive)
    }

    /// Takes the lock. If another file of this torrent has it on the same inode, that one gives it up first.
    fn take_lock(&self, file: usize, handle: &Arc<OpenFile>, mode: LockMode) -> Result<(), DiskTrouble> {
        let is_ours = self.tracked[file].lock.lock().take(handle, mode)
            || (self.gave_up_locks_of(file, handle) && flock(handle, mode));
        if is_ours { Ok(()) } else { Err(self.taken(file)) }
    }

    /// Gives up the locks that other files of this torrent hold on the inode of `handle`: another program can have
    /// moved one file of the torrent to the name of another (D-22). Returns false if there were none.
    fn gave_up_locks_of(&self, file: usize, handle: &OpenFile) -> bool {
        let Ok(wanted) = look_at(&handle.file) else { return false };
        let others = self.tracked.iter().enumerate().filter(|(number, _)| *number != file);
        let holders = others.filter_map(|(_, tracked)| tracked.lock.lock().holder.upgrade());
        let is_same = |holder: &Arc<OpenFile>| {
            look_at(&holder.file).is_ok_and(|held| (held.dev, held.ino) == (wanted.dev, wanted.ino))
        };
        holders.filter(is_same).filter(|holder| rustix::fs::flock(&holder.file, FlockOperation::Unlock).is_ok()).count()
            > 0
    }

    /// Turns exclusive locks into shared ones, because everything is written: other processes may then read too.
    pub fn ease_locks(&self) {
        for tracked in &self.tracked {
            let mut lock = tracked.lock.lock();
            if lock.mode == Some(LockMode::Exclusive) {
                lock.mode = Some(LockMode::Shared);
                lock.holder.upgrade().into_iter().for_each(|handle| _ = flock(&handle, LockMode::Shared));
            }
        }
    }

    /// The error for a file that another process has locked.
    fn taken(&self, file: usize) -> DiskTrouble {
        let reason = "another process uses it and has locked it; wait for that process or stop it";
        DiskTrouble::taken(&self.shown_path(file), reason)
    }
}
