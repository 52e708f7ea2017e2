//! The state of a torrent on the disk, if it can be kept. The state helps the next start, but this start does not
//! require it: complete data can be used on a disk that is read-only or belongs to another user.

use std::path::{Path, PathBuf};

use crate::base::ids::InfoHash;
use crate::base::locked::Locked;
use crate::codec::resume::ResumeRecord;
use crate::storage::DiskTrouble;
use crate::storage::record::{FoundRecord, StateFolder, StateTrouble, peek};

/// The state folder of a torrent, or the reason why there is none.
#[derive(Debug)]
pub(super) struct DiskState {
    output: PathBuf,
    info_hash: InfoHash,
    /// The error if no state folder could be locked.
    folder: Locked<Result<StateFolder, DiskTrouble>>,
}

impl DiskState {
    /// Takes the lock. Fails if another process has it. If the lock cannot be made, the torrent has no state.
    pub(super) fn lock(output: &Path, info_hash: InfoHash) -> Result<Self, StateTrouble> {
        let folder = match StateFolder::lock(output, info_hash) {
            Err(StateTrouble::Disk(trouble)) => Err(trouble),
            Err(locked @ StateTrouble::Locked { .. }) => return Err(locked),
            Ok(folder) => Ok(folder),
        };
        Ok(Self { output: output.to_owned(), info_hash, folder: Locked::new(folder) })
    }

    /// Reads the record, even if it could not be replaced.
    pub(super) fn load(&self) -> FoundRecord {
        match &*self.folder.lock() {
            Ok(folder) => folder.load(),
            Err(_) => peek(&self.output, self.info_hash).found,
        }
    }

    /// Fails if there is no state, because writing needs a lock and a record. Tries to take the lock once more.
    pub(super) fn require(&self) -> Result<(), StateTrouble> {
        let mut folder = self.folder.lock();
        if folder.is_err() {
            *folder = Ok(StateFolder::lock(&self.output, self.info_hash)?);
        }
        Ok(())
    }

    /// Why no state can be kept; `None` if it can be kept.
    pub(super) fn missing(&self) -> Option<DiskTrouble> {
        self.folder.lock().as_ref().err().cloned()
    }

    /// Replaces the record. Does nothing if there is no state.
    pub(super) fn save(&self, record: &ResumeRecord, durable: bool) -> Result<(), DiskTrouble> {
        self.folder.lock().as_ref().map_or(Ok(()), |folder| folder.save(record, durable))
    }

    /// Removes the record.
    pub(super) fn forget(&self) {
        if let Ok(folder) = &*self.folder.lock() {
            folder.forget();
        }
    }
}
