//! [`StateFile`]: the file in which our tracker saves its swarms. It is read once, then replaced as a whole again and
//! again.
//!
//! A new version is written as `FILE.new`, synced and renamed, and its folder is synced. `FILE.lock` is locked until
//! this value is dropped. Knows the checksum of the file, and nothing of its contents.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

use super::record::NO_LINK;
use super::regular::{off_thread, read_here};
use super::{DiskTrouble, Later};
use crate::codec::swarm_state::Seal;

/// Only the owner may read the file, because it has the addresses of peers.
const MODE: u32 = 0o600;

/// A locked state file. Clones share the same file.
#[derive(Debug, Clone)]
pub struct StateFile(Arc<Inner>);

/// The path of the file and its lock.
#[derive(Debug)]
struct Inner {
    path: PathBuf,
    _lock: File,
}

/// A new version of the file that is being written.
#[derive(Debug)]
pub struct StateDraft {
    file: File,
    seal: Seal,
}

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoStateFile {
    /// Another process uses it.
    #[error("another tracker uses {}; stop it, or name another file", .0.display())]
    Locked(PathBuf),
    /// The path is not a regular file.
    #[error("{} is no regular file; name another one", .0.display())]
    NotRegular(PathBuf),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

impl StateFile {
    /// Locks the file for this process, whether it exists or not. A symbolic link stands for its target.
    pub fn open(path: PathBuf) -> Later<Result<Self, NoStateFile>> {
        off_thread(move || {
            let path = std::fs::canonicalize(&path).unwrap_or(path);
            if std::fs::metadata(&path).is_ok_and(|meta| !meta.is_file()) {
                return Err(NoStateFile::NotRegular(path));
            }
            let at = beside(&path, "lock");
            let lock = options()
                .create(true)
                .custom_flags(NO_LINK)
                .open(&at)
                .map_err(|error| DiskTrouble::new("open", &at, &error))?;
            if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(NoStateFile::Locked(path));
            }
            Ok(Self(Arc::new(Inner { path, _lock: lock })))
        })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Reads the file if it has at most `most` bytes; `None` if it does not exist.
    pub fn read(&self, most: u64) -> Later<io::Result<Option<Vec<u8>>>> {
        let inner = Arc::clone(&self.0);
        off_thread(move || match read_here(&inner.path, most) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        })
    }

    /// Renames the file to `FILE.broken`. Returns the new path.
    pub fn set_aside(&self) -> Later<Result<PathBuf, DiskTrouble>> {
        let inner = Arc::clone(&self.0);
        off_thread(move || {
            let aside = beside(&inner.path, "broken");
            let renamed = std::fs::rename(&inner.path, &aside);
            renamed.map_err(|error| DiskTrouble::new("rename", &inner.path, &error))?;
            Ok(aside)
        })
    }

    /// Begins a new version. `saved_at` is in seconds since 1970.
    pub fn begin(&self, saved_at: u64) -> Later<Result<StateDraft, DiskTrouble>> {
        let inner = Arc::clone(&self.0);
        off_thread(move || {
            let (path, (seal, header)) = (beside(&inner.path, "new"), Seal::begin(saved_at));
            let made = make_anew(&path);
            let begun = made.and_then(|mut file| file.write_all(&header).map(|()| file));
            Ok(StateDraft { file: begun.map_err(|error| DiskTrouble::new("write", &path, &error))?, seal })
        })
    }

    /// Appends swarms to a new version.
    pub fn append(&self, mut draft: StateDraft, swarms: Vec<u8>) -> Later<Result<StateDraft, DiskTrouble>> {
        let inner = Arc::clone(&self.0);
        off_thread(move || {
            draft.seal.add(&swarms);
            let written = draft.file.write_all(&swarms);
            written.map_err(|error| DiskTrouble::new("write", &beside(&inner.path, "new"), &error))?;
            Ok(draft)
        })
    }

    /// Replaces the file by the new version. When this is done, it survives a power cut.
    pub fn replace(&self, draft: StateDraft) -> Later<Result<(), DiskTrouble>> {
        let inner = Arc::clone(&self.0);
        off_thread(move || {
            let (new, StateDraft { mut file, seal }) = (beside(&inner.path, "new"), draft);
            let trouble = |error: io::Error| DiskTrouble::new("write", &new, &error);
            file.write_all(&seal.end()).and_then(|()| file.sync_all()).map_err(trouble)?;
            std::fs::rename(&new, &inner.path).map_err(trouble)?;
            let folder = inner.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let synced = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
            synced.map_err(trouble)
        })
    }
}

/// The options with which files of the state are made.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE);
    options
}

/// Makes a file. Removes what is under its name: an unfinished draft, or a link that another user has planted.
fn make_anew(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    options().create_new(true).open(path)
}

/// The path of a file beside the state file, with `ending` added to its name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{ending}"));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::swarm_state::SavedState;

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
    }

    #[test]
    fn a_new_file_replaces_the_old_one_and_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("swarms");
        run(async {
            let file = StateFile::open(path.clone()).await.unwrap();
            assert!(matches!(StateFile::open(path.clone()).await, Err(NoStateFile::Locked(_))));
            assert_eq!(file.read(1000).await.unwrap(), None);
            for saved_at in [5, 6] {
                let draft = file.begin(saved_at).await.unwrap();
                let draft = file.append(draft, Vec::new()).await.unwrap();
                file.replace(draft).await.unwrap();
                let bytes = file.read(1000).await.unwrap().unwrap();
                assert_eq!(SavedState::read(&bytes).map(|state| state.saved_at()), Ok(saved_at));
            }
            assert!(file.read(40).await.is_err(), "longer than allowed");
            let unfinished = file.begin(7).await.unwrap();
            drop((unfinished, file));
            let file = StateFile::open(path.clone()).await.unwrap();
            let bytes = file.read(1000).await.unwrap().unwrap();
            assert_eq!(SavedState::read(&bytes).map(|state| state.saved_at()), Ok(6), "the old one is whole");
            let aside = file.set_aside().await.unwrap();
            assert_eq!((std::fs::read(aside).unwrap(), file.read(1000).await.unwrap()), (bytes, None));
        });
    }

    #[test]
    fn a_link_that_was_planted_beside_it_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("swarms"), dir.path().join("other"));
        std::fs::write(&other, "theirs").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join("swarms.new")).unwrap();
        run(async {
            let file = StateFile::open(path.clone()).await.unwrap();
            let draft = file.begin(5).await.unwrap();
            file.replace(draft).await.unwrap();
            drop(file);
            assert_eq!(std::fs::read(&other).unwrap(), b"theirs");
            std::fs::remove_file(dir.path().join("swarms.lock")).unwrap();
            std::os::unix::fs::symlink(&other, dir.path().join("swarms.lock")).unwrap();
            assert!(matches!(StateFile::open(path.clone()).await, Err(NoStateFile::Disk(_))));
        });
    }

    #[test]
    fn a_path_that_cannot_be_a_state_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        run(async {
            for path in [fifo, dir.path().to_owned()] {
                assert!(matches!(StateFile::open(path).await, Err(NoStateFile::NotRegular(_))));
            }
            let nowhere = dir.path().join("missing/swarms");
            assert!(matches!(StateFile::open(nowhere).await, Err(NoStateFile::Disk(_))));
        });
    }
}
