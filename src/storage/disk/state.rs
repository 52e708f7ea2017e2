//! The state of a torrent where it can be kept. It helps the next start and is no condition of this one: on a disk that is
//! read-only, or somebody else's, complete data is used all the same.

use std::path::{Path, PathBuf};

use crate::base::ids::InfoHash;
use crate::base::locked::Locked;
use crate::codec::resume::ResumeRecord;
use crate::storage::DiskTrouble;
use crate::storage::record::{FoundRecord, StateFolder, StateTrouble, peek};

/// See the head of the file.
#[derive(Debug)]
pub(super) struct DiskState {
    output: PathBuf,
    info_hash: InfoHash,
    /// Why there is none, where there is none.
    folder: Locked<Result<StateFolder, DiskTrouble>>,
}

impl DiskState {
    /// Takes the lock. Fails if another process has it; where no lock can be made, there is no state.
    pub(super) fn lock(output: &Path, info_hash: InfoHash) -> Result<Self, StateTrouble> {
        let folder = match StateFolder::lock(output, info_hash) {
            Err(StateTrouble::Disk(trouble)) => Err(trouble),
            Err(locked @ StateTrouble::Locked { .. }) => return Err(locked),
            Ok(folder) => Ok(folder),
        };
        Ok(Self { output: output.to_owned(), info_hash, folder: Locked::new(folder) })
    }

    /// The record, which may also be one that cannot be replaced.
    pub(super) fn load(&self) -> FoundRecord {
        match &*self.folder.lock() {
            Ok(folder) => folder.load(),
            Err(_) => peek(&self.output, self.info_hash).found,
        }
    }

    /// Something will be written: without a lock and a record that is not done. Tries once more.
    pub(super) fn require(&self) -> Result<(), StateTrouble> {
        let mut folder = self.folder.lock();
        if folder.is_err() {
            *folder = Ok(StateFolder::lock(&self.output, self.info_hash)?);
        }
        Ok(())
    }

    /// Why no state can be kept; `None` if it can.
    pub(super) fn missing(&self) -> Option<DiskTrouble> {
        self.folder.lock().as_ref().err().cloned()
    }

    /// Replaces the record, where there is a place for it.
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
