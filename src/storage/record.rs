//! The state folder: one record per torrent that says which pieces are safely on the disk, and a lock.
//!
//! A record is replaced whole: written beside, made durable, renamed, and its folder made durable; the one before stays
//! as `.prev`. A torn or foreign record is never trusted and never a reason to delete data (DESIGN 7.5).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::trouble::DiskTrouble;
use crate::base::ids::InfoHash;
use crate::codec::resume::{BadRecord, Record};

/// Inside the output folder.
const STATE_FOLDER: &str = ".tt-actors";

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
            synced.map_err(|error| DiskTrouble::new("sync", &self.folder, &error))?;
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
