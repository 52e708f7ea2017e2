//! The state folder: one record per torrent that says which pieces are safely on the disk, and a lock.
//!
//! A record is replaced whole: written beside, made durable, renamed, and its folder made durable; the one before stays
//! as `.prev`. A torn or foreign record is never trusted and never a reason to delete data (D-13).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::trouble::DiskTrouble;
use crate::base::ids::InfoHash;
use crate::codec::resume::{BadRecord, Record};

/// Inside the output folder.
pub(super) const STATE_FOLDER: &str = ".tt-actors";

/// A record of two million pieces and a hundred thousand files is under 16 MiB.
const MAX_RECORD: u64 = 64 * 1024 * 1024;

/// The lock of a torrent's state, held as long as this lives.
#[derive(Debug)]
pub struct StateFolder {
    folder: PathBuf,
    info_hash: InfoHash,
    _lock: File,
}

/// Why the state could not be had.
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

/// Why there is no record to go by.
#[derive(Debug, thiserror::Error)]
pub enum NoRecord {
    /// There is none.
    #[error("there is no resume record")]
    Absent,
    /// It cannot be read.
    #[error("the resume record cannot be read: {0}")]
    Unreadable(String),
    /// It is torn, or of another version (D-13, D-14).
    #[error("the resume record is not usable: {0}")]
    Bad(#[from] BadRecord),
    /// It speaks of another torrent.
    #[error("the resume record is of another torrent ({0})")]
    OtherTorrent(InfoHash),
}

/// What was found in place of a record.
#[derive(Debug)]
pub enum Found {
    /// No record: nothing is known.
    Nothing,
    /// A record, and whether it is the previous one because the newest was not whole.
    Record(Box<Record>, Option<NoRecord>),
    /// No record that can be trusted, and why.
    Unusable(NoRecord),
}

impl StateFolder {
    /// Makes the folder if need be and takes the torrent's lock in it.
    pub fn lock(output: &Path, info_hash: InfoHash) -> Result<Self, StateTrouble> {
        let folder = output.join(STATE_FOLDER);
        let trouble = |error: io::Error| DiskTrouble::new("create", &folder, &error);
        std::fs::create_dir_all(&folder).map_err(trouble)?;
        let path = folder.join(format!("{info_hash}.lock"));
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut lock = open.map_err(|error| DiskTrouble::new("open", &path, &error))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            let read = (&mut lock).take(20).read_to_string(&mut holder);
            let known = read.is_ok() && holder.trim().bytes().all(|b| b.is_ascii_digit()) && !holder.trim().is_empty();
            let holder = if known { holder.trim().to_owned() } else { "unknown".to_owned() };
            return Err(StateTrouble::Locked { holder, folder });
        }
        // The number is a courtesy to whoever finds the lock taken; without space for it the lock holds all the same.
        let named = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(lock, "{}", std::process::id()));
        if let Err(error) = named {
            tracing::debug!(%error, "lock file does not name its holder");
        }
        Ok(Self { folder, info_hash, _lock: lock })
    }

    /// The newest record that is whole.
    pub fn load(&self) -> Found {
        match (self.read(&self.path("resume")), self.read(&self.path("resume.prev"))) {
            (Ok(record), _) => Found::Record(Box::new(record), None),
            (Err(reason), Ok(record)) => Found::Record(Box::new(record), Some(reason)),
            (Err(NoRecord::Absent), Err(NoRecord::Absent)) => Found::Nothing,
            (Err(NoRecord::Absent), Err(reason)) | (Err(reason), Err(_)) => Found::Unusable(reason),
        }
    }

    /// Replaces the record. With `durable` it survives a power cut once this has returned.
    pub fn save(&self, record: &Record, durable: bool) -> Result<(), DiskTrouble> {
        let (path, new, prev) = (self.path("resume"), self.path("resume.new"), self.path("resume.prev"));
        let trouble = |error: io::Error| DiskTrouble::new("write", &new, &error);
        let mut file = File::create(&new).map_err(trouble)?;
        file.write_all(&record.encode()).map_err(trouble)?;
        if durable {
            file.sync_all().map_err(trouble)?;
        }
        match std::fs::rename(&path, &prev) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DiskTrouble::new("rename", &path, &error));
            }
            _ => {}
        }
        std::fs::rename(&new, &path).map_err(|error| DiskTrouble::new("rename", &new, &error))?;
        if durable {
            let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| DiskTrouble::new("record in", &self.folder, &error))?;
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<Record, NoRecord> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(NoRecord::Absent),
            Err(error) => return Err(NoRecord::Unreadable(error.to_string())),
        };
        let mut bytes = Vec::new();
        file.take(MAX_RECORD).read_to_end(&mut bytes).map_err(|error| NoRecord::Unreadable(error.to_string()))?;
        let record = Record::decode(&bytes)?;
        if record.info_hash != self.info_hash {
            return Err(NoRecord::OtherTorrent(record.info_hash));
        }
        Ok(record)
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.info_hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bitfield::Bitfield;
    use crate::codec::resume::Witness;

    const OURS: InfoHash = InfoHash([1; 20]);
    const OTHER: InfoHash = InfoHash([2; 20]);

    fn record(info_hash: InfoHash, downloaded: u64) -> Record {
        Record {
            info_hash,
            pieces: 9,
            have: Bitfield::all(9),
            files: Vec::new(),
            part: Witness::default(),
            downloaded,
            uploaded: 0,
            clean: true,
        }
    }

    fn state() -> (tempfile::TempDir, StateFolder) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFolder::lock(dir.path(), OURS).unwrap();
        (dir, state)
    }

    fn cut(path: &Path) {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    }

    #[test]
    fn the_newest_record_counts() {
        for durable in [true, false] {
            let (_dir, state) = state();
            assert!(matches!(state.load(), Found::Nothing));
            for downloaded in 1..4 {
                state.save(&record(OURS, downloaded), durable).unwrap();
                assert!(matches!(state.load(), Found::Record(found, None) if *found == record(OURS, downloaded)));
            }
        }
    }

    #[test]
    fn a_torn_record_gives_way_to_the_one_before_it() {
        let (_dir, state) = state();
        state.save(&record(OURS, 1), true).unwrap();
        state.save(&record(OURS, 2), true).unwrap();
        cut(&state.path("resume"));
        let Found::Record(found, Some(NoRecord::Bad(BadRecord::Torn))) = state.load() else {
            panic!("{:?}", state.load())
        };
        assert_eq!(found.downloaded, 1);
        cut(&state.path("resume.prev"));
        assert!(matches!(state.load(), Found::Unusable(NoRecord::Bad(BadRecord::Torn))));
    }

    /// Killed at each step of a save: beside, away, in place.
    #[test]
    fn a_save_that_stops_half_way_leaves_a_record() {
        let (_dir, state) = state();
        state.save(&record(OURS, 1), true).unwrap();
        std::fs::write(state.path("resume.new"), "half").unwrap();
        assert!(matches!(state.load(), Found::Record(found, None) if found.downloaded == 1));
        std::fs::rename(state.path("resume"), state.path("resume.prev")).unwrap();
        assert!(matches!(state.load(), Found::Record(found, Some(NoRecord::Absent)) if found.downloaded == 1));
        state.save(&record(OURS, 2), true).unwrap();
        assert!(matches!(state.load(), Found::Record(found, None) if found.downloaded == 2));
    }

    #[test]
    fn a_record_of_another_torrent_is_not_ours() {
        let (_dir, state) = state();
        std::fs::write(state.path("resume"), record(OTHER, 1).encode()).unwrap();
        assert!(matches!(state.load(), Found::Unusable(NoRecord::OtherTorrent(OTHER))));
        std::fs::write(state.path("resume"), "nonsense").unwrap();
        assert!(matches!(state.load(), Found::Unusable(NoRecord::Bad(BadRecord::Torn))));
        std::fs::remove_file(state.path("resume")).unwrap();
        std::fs::create_dir(state.path("resume")).unwrap();
        assert!(matches!(state.load(), Found::Unusable(NoRecord::Unreadable(_))));
    }

    /// D-18.
    #[test]
    fn the_lock_has_one_holder_and_names_him() {
        let (dir, state) = state();
        let refused = StateFolder::lock(dir.path(), OURS).unwrap_err();
        assert!(matches!(&refused, StateTrouble::Locked { holder, .. } if *holder == std::process::id().to_string()));
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        let other = StateFolder::lock(dir.path(), OTHER);
        assert!(other.is_ok(), "another torrent in the same folder has its own");
        std::fs::write(state.path("lock"), "\x1b[2J").unwrap();
        let refused = StateFolder::lock(dir.path(), OURS).unwrap_err();
        assert!(matches!(refused, StateTrouble::Locked { holder, .. } if holder == "unknown"));
        drop(state);
        assert!(StateFolder::lock(dir.path(), OURS).is_ok(), "it goes with its holder");
    }

    #[test]
    fn a_state_folder_that_cannot_be_made_is_trouble() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(STATE_FOLDER), "a file").unwrap();
        assert!(matches!(StateFolder::lock(dir.path(), OURS), Err(StateTrouble::Disk(_))));
    }
}
