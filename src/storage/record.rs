//! The state folder: for each torrent a record of the pieces that are durable on the disk, and a lock.
//!
//! A record is replaced as a whole: the new one is written beside the old one, made durable and renamed, and the folder
//! is made durable; the old one stays as `.prev`. A torn or foreign record is never trusted, and never a reason to
//! delete data (D-13).
//!
//! The lock file exists as long as the lock is held, and the folder is removed with the last file in it. After taking a
//! lock a process checks that the lock file still has its name, because the previous holder may have removed it in
//! between. Symbolic links are not followed here, so nothing is written through a link that another user puts in the
//! place of our files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::trouble::DiskTrouble;
use crate::base::ids::InfoHash;
use crate::base::locked::Locked;
use crate::codec::resume::{BadRecord, ResumeRecord};
pub use crate::logic::disk::trouble::StateTrouble;

/// The name of the state folder inside the output folder.
pub(super) const STATE_FOLDER: &str = ".tt-actors";

/// 100 tries: each time the lock file vanishes between opening and locking, because another process has ended in
/// between.
const LOCK_TRIES: u32 = 100;

/// 64 MiB: a record of two million pieces and a hundred thousand files has less than 16 MiB.
const MAX_RECORD: u64 = 64 * 1024 * 1024;

/// The locked state of a torrent. The lock is held until this value is dropped.
#[derive(Debug)]
pub struct StateFolder {
    folder: PathBuf,
    info_hash: InfoHash,
    /// The open lock file, which holds the lock.
    lock: Locked<File>,
}

/// Why there is no record to go by.
#[derive(Debug, thiserror::Error)]
pub enum NoRecord {
    /// No record exists.
    #[error("there is no resume record")]
    Absent,
    /// The file cannot be read.
    #[error("the resume record cannot be read: {0}")]
    Unreadable(String),
    /// The record is torn, or of another version (D-13, D-14).
    #[error("the resume record is not usable: {0}")]
    Bad(#[from] BadRecord),
    /// The record belongs to another torrent.
    #[error("the resume record is of another torrent ({0})")]
    OtherTorrent(InfoHash),
}

/// The result of reading a record.
#[derive(Debug)]
pub enum FoundRecord {
    /// There is no record, so nothing is known.
    Nothing,
    /// A record. The error is that of the newest record if this one is the previous one.
    Record(Box<ResumeRecord>, Option<NoRecord>),
    /// There are only records that cannot be trusted, for this reason.
    Unusable(NoRecord),
}

impl StateFolder {
    /// Takes the torrent's lock in the state folder. Makes the folder if it does not exist.
    pub fn lock(output: &Path, info_hash: InfoHash) -> Result<Self, StateTrouble> {
        let lock = Locked::new(take_lock(output, info_hash)?);
        Ok(Self { folder: output.join(STATE_FOLDER), info_hash, lock })
    }

    /// Makes a folder again that was removed or moved away, and takes the lock in it.
    fn renew(&self) -> Result<(), DiskTrouble> {
        let output = self.folder.parent().unwrap_or(Path::new(""));
        std::fs::create_dir_all(output).map_err(|error| DiskTrouble::new("create", output, &error))?;
        let lock = take_lock(output, self.info_hash).map_err(|trouble| match trouble {
            StateTrouble::Disk(trouble) => trouble,
            locked @ StateTrouble::Locked { .. } => {
                DiskTrouble::new("record in", &self.folder, &io::Error::other(locked.to_string()))
            }
        })?;
        *self.lock.lock() = lock;
        Ok(())
    }

    /// Reads the newest record that is complete.
    pub fn load(&self) -> FoundRecord {
        load_from(&self.folder, self.info_hash)
    }

    /// Removes the record, because nothing in it is needed any more.
    pub fn forget(&self) {
        for ending in ["resume.new", "resume.prev", "resume"] {
            match std::fs::remove_file(self.path(ending)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::debug!(%error, "record stays"),
                _gone => {}
            }
        }
    }

    /// Replaces the record. With `durable` the record survives a power cut once this has returned.
    pub fn save(&self, record: &ResumeRecord, durable: bool) -> Result<(), DiskTrouble> {
        let (path, new, prev) = (self.path("resume"), self.path("resume.new"), self.path("resume.prev"));
        let trouble = |error: io::Error| DiskTrouble::new("write", &new, &error);
        let create = || OpenOptions::new().write(true).create(true).truncate(true).custom_flags(NO_LINK).open(&new);
        let mut file = match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.renew()?;
                create().map_err(trouble)?
            }
            made => made.map_err(trouble)?,
        };
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

    /// The path of a file of this torrent's state.
    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.info_hash))
    }
}

/// Takes the lock; tries again if the lock file was removed meanwhile.
fn take_lock(output: &Path, info_hash: InfoHash) -> Result<File, StateTrouble> {
    for _ in 0..LOCK_TRIES {
        if let Some(lock) = try_lock(output, info_hash)? {
            return Ok(lock);
        }
    }
    let error = io::Error::other("another process removes the lock file again and again");
    Err(DiskTrouble::new("lock", &lock_path(output, info_hash), &error).into())
}

/// Tries to take the lock. `None` if the file or the folder was removed between opening and locking.
fn try_lock(output: &Path, info_hash: InfoHash) -> Result<Option<File>, StateTrouble> {
    let folder = output.join(STATE_FOLDER);
    make_folder(&folder).map_err(|error| DiskTrouble::new("create", &folder, &error))?;
    let path = lock_path(output, info_hash);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(NO_LINK).open(&path);
    let mut lock = match open {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| DiskTrouble::new("open", &path, &error))?,
    };
    let exclusive = || rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
    // Tried twice, because a process that only checks the lock (`peek`) holds it for a moment.
    match exclusive().or_else(|_| exclusive()) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(StateTrouble::Locked { holder: holder_of(&mut lock), folder }),
        Err(error) => return Err(DiskTrouble::new("lock", &path, &error.into()).into()),
    }
    if !has_name(&lock, &path) {
        return Ok(None);
    }
    // The number only informs a process that finds the lock taken. The lock holds even if it cannot be written.
    let named = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(lock, "{}", std::process::id()));
    if let Err(error) = named {
        tracing::debug!(%error, "lock file does not name its holder");
    }
    Ok(Some(lock))
}

impl Drop for StateFolder {
    /// Removes the lock file while it is still locked, so that no other process can have the lock. The folder stays if
    /// anything is in it.
    fn drop(&mut self) {
        let path = self.path("lock");
        if has_name(&self.lock.lock(), &path)
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::debug!(%error, "lock file stays");
        }
        if let Err(error) = std::fs::remove_dir(&self.folder) {
            tracing::debug!(%error, "state folder stays");
        }
    }
}

/// The state of a torrent, as read without the lock.
#[derive(Debug)]
pub struct Peek {
    /// The record.
    pub found: FoundRecord,
    /// The process id of the process that has the lock; `None` if no process has it.
    pub holder: Option<String>,
}

/// Reads the state of a torrent without taking its lock. Writes nothing.
pub fn peek(output: &Path, info_hash: InfoHash) -> Peek {
    let path = lock_path(output, info_hash);
    let holder = OpenOptions::new().read(true).custom_flags(NO_LINK).open(&path).ok().and_then(|mut lock| {
        let shared = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared);
        (shared == Err(Errno::WOULDBLOCK)).then(|| holder_of(&mut lock))
    });
    Peek { found: load_from(&output.join(STATE_FOLDER), info_hash), holder }
}

/// Flags for opening our own files: a link in the place of a file is an error, and a pipe without a writer does not
/// block.
pub(super) const NO_LINK: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();

/// The path of a torrent's lock file.
fn lock_path(output: &Path, info_hash: InfoHash) -> PathBuf {
    output.join(STATE_FOLDER).join(format!("{info_hash}.lock"))
}

/// Makes the state folder. The output folder must exist.
fn make_folder(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let is_link = std::fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_symlink());
    if is_link {
        Err(io::Error::other("it is a symbolic link, and state is not written through links"))
    } else {
        Ok(())
    }
}

/// Whether this path leads to the open file.
fn has_name(file: &File, path: &Path) -> bool {
    let named = std::fs::symlink_metadata(path);
    file.metadata().is_ok_and(|ours| named.is_ok_and(|named| (ours.dev(), ours.ino()) == (named.dev(), named.ino())))
}

/// The process id that the holder of a lock has written into the lock file.
fn holder_of(lock: &mut File) -> String {
    let mut holder = String::new();
    let read = lock.take(20).read_to_string(&mut holder);
    let holder = holder.trim();
    let is_known = read.is_ok() && !holder.is_empty() && holder.bytes().all(|b| b.is_ascii_digit());
    if is_known { holder.to_owned() } else { "unknown".to_owned() }
}

/// Reads the newest record that is complete.
fn load_from(folder: &Path, info_hash: InfoHash) -> FoundRecord {
    let read = |ending| read_record(&folder.join(format!("{info_hash}.{ending}")), info_hash);
    match (read("resume"), read("resume.prev")) {
        (Ok(record), _) => FoundRecord::Record(Box::new(record), None),
        (Err(reason), Ok(record)) => FoundRecord::Record(Box::new(record), Some(reason)),
        (Err(NoRecord::Absent), Err(NoRecord::Absent)) => FoundRecord::Nothing,
        (Err(NoRecord::Absent), Err(reason)) | (Err(reason), Err(_)) => FoundRecord::Unusable(reason),
    }
}

/// Reads one record and checks that it belongs to the torrent.
fn read_record(path: &Path, info_hash: InfoHash) -> Result<ResumeRecord, NoRecord> {
    let file = match OpenOptions::new().read(true).custom_flags(NO_LINK).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(NoRecord::Absent);
        }
        Err(error) => return Err(NoRecord::Unreadable(error.to_string())),
    };
    let mut bytes = Vec::new();
    file.take(MAX_RECORD).read_to_end(&mut bytes).map_err(|error| NoRecord::Unreadable(error.to_string()))?;
    let record = ResumeRecord::decode(&bytes)?;
    if record.info_hash != info_hash {
        return Err(NoRecord::OtherTorrent(record.info_hash));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bitfield::Bitfield;
    use crate::codec::resume::Witness;

    const OURS: InfoHash = InfoHash([1; 20]);
    const OTHER: InfoHash = InfoHash([2; 20]);

    fn record(info_hash: InfoHash, downloaded: u64) -> ResumeRecord {
        ResumeRecord {
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
            assert!(matches!(state.load(), FoundRecord::Nothing));
            for downloaded in 1..4 {
                state.save(&record(OURS, downloaded), durable).unwrap();
                assert!(matches!(state.load(), FoundRecord::Record(found, None) if *found == record(OURS, downloaded)));
            }
        }
    }

    #[test]
    fn a_torn_record_gives_way_to_the_one_before_it() {
        let (_dir, state) = state();
        state.save(&record(OURS, 1), true).unwrap();
        state.save(&record(OURS, 2), true).unwrap();
        cut(&state.path("resume"));
        let FoundRecord::Record(found, Some(NoRecord::Bad(BadRecord::Torn))) = state.load() else {
            panic!("{:?}", state.load())
        };
        assert_eq!(found.downloaded, 1);
        cut(&state.path("resume.prev"));
        assert!(matches!(state.load(), FoundRecord::Unusable(NoRecord::Bad(BadRecord::Torn))));
    }

    /// A process is killed after each step of a save: the new file, the old one moved away, the new one in place.
    #[test]
    fn a_save_that_stops_half_way_leaves_a_record() {
        let (_dir, state) = state();
        state.save(&record(OURS, 1), true).unwrap();
        std::fs::write(state.path("resume.new"), "half").unwrap();
        assert!(matches!(state.load(), FoundRecord::Record(found, None) if found.downloaded == 1));
        std::fs::rename(state.path("resume"), state.path("resume.prev")).unwrap();
        assert!(matches!(state.load(), FoundRecord::Record(found, Some(NoRecord::Absent)) if found.downloaded == 1));
        state.save(&record(OURS, 2), true).unwrap();
        assert!(matches!(state.load(), FoundRecord::Record(found, None) if found.downloaded == 2));
    }

    #[test]
    fn a_record_of_another_torrent_is_not_ours() {
        let (_dir, state) = state();
        std::fs::write(state.path("resume"), record(OTHER, 1).encode()).unwrap();
        assert!(matches!(state.load(), FoundRecord::Unusable(NoRecord::OtherTorrent(OTHER))));
        std::fs::write(state.path("resume"), "nonsense").unwrap();
        assert!(matches!(state.load(), FoundRecord::Unusable(NoRecord::Bad(BadRecord::Torn))));
        std::fs::remove_file(state.path("resume")).unwrap();
        std::fs::create_dir(state.path("resume")).unwrap();
        assert!(matches!(state.load(), FoundRecord::Unusable(NoRecord::Unreadable(_))));
    }

    /// D-18.
    #[test]
    fn the_lock_has_one_holder_and_names_it() {
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

    fn entries(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn the_folder_goes_with_the_last_file_in_it() {
        let (dir, state) = state();
        let other = StateFolder::lock(dir.path(), OTHER).unwrap();
        state.save(&record(OURS, 1), false).unwrap();
        drop(state);
        assert_eq!(entries(&dir.path().join(STATE_FOLDER)), 2, "a record, and the lock of the other torrent");
        let state = StateFolder::lock(dir.path(), OURS).unwrap();
        state.save(&record(OURS, 2), false).unwrap();
        state.forget();
        assert!(matches!(state.load(), FoundRecord::Nothing));
        drop(state);
        assert_eq!(entries(&dir.path().join(STATE_FOLDER)), 1, "the lock of the other torrent");
        drop(other);
        assert_eq!(entries(dir.path()), 0);
    }

    /// Many processes use one folder in turn: at most one has the lock at a time, and a lock file without its name is
    /// not taken.
    #[test]
    fn a_lock_file_that_is_removed_in_between_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let inside = std::sync::atomic::AtomicU32::new(0);
        let come_and_go = || {
            let mut taken = 0;
            while taken < 200 {
                match StateFolder::lock(dir.path(), OURS) {
                    Ok(state) => {
                        use std::sync::atomic::Ordering::SeqCst;
                        assert_eq!(inside.fetch_add(1, SeqCst), 0, "two have the lock");
                        assert!(state.path("lock").exists(), "the lock has lost its name");
                        inside.fetch_sub(1, SeqCst);
                        taken += 1;
                    }
                    Err(StateTrouble::Locked { .. }) => std::thread::yield_now(),
                    Err(trouble) => panic!("{trouble}"),
                }
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(come_and_go)));
        assert_eq!(entries(dir.path()), 0);
    }

    #[test]
    fn a_peek_takes_no_lock_and_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(peek(dir.path(), OURS), Peek { found: FoundRecord::Nothing, holder: None }));
        assert_eq!(entries(dir.path()), 0, "it makes nothing");
        let state = StateFolder::lock(dir.path(), OURS).unwrap();
        state.save(&record(OURS, 5), false).unwrap();
        let seen = peek(dir.path(), OURS);
        assert!(matches!(seen.found, FoundRecord::Record(found, None) if found.downloaded == 5));
        assert_eq!(seen.holder, Some(std::process::id().to_string()));
        assert!(peek(dir.path(), OTHER).holder.is_none());
        drop(state);
        assert!(matches!(peek(dir.path(), OURS), Peek { found: FoundRecord::Record(..), holder: None }));
        assert!(StateFolder::lock(dir.path(), OURS).is_ok());
    }

    /// S-02: a user who can write to the folder cannot make us write elsewhere.
    #[test]
    fn state_is_not_written_through_links() {
        let canary = tempfile::tempdir().unwrap();
        std::fs::write(canary.path().join("file"), "untouched").unwrap();
        let link = |at: PathBuf, to: &Path| std::os::unix::fs::symlink(to, at).unwrap();
        let dir = tempfile::tempdir().unwrap();
        link(dir.path().join(STATE_FOLDER), canary.path());
        assert!(matches!(StateFolder::lock(dir.path(), OURS), Err(StateTrouble::Disk(_))));
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(STATE_FOLDER)).unwrap();
        link(lock_path(dir.path(), OURS), &canary.path().join("file"));
        assert!(matches!(StateFolder::lock(dir.path(), OURS), Err(StateTrouble::Disk(_))));
        let (_dir, state) = state();
        link(state.path("resume.new"), &canary.path().join("file"));
        assert!(state.save(&record(OURS, 1), false).is_err());
        assert_eq!(std::fs::read_to_string(canary.path().join("file")).unwrap(), "untouched");
        assert_eq!(entries(canary.path()), 1);
    }

    #[test]
    fn a_state_folder_that_cannot_be_made_is_trouble() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(STATE_FOLDER), "a file").unwrap();
        assert!(matches!(StateFolder::lock(dir.path(), OURS), Err(StateTrouble::Disk(_))));
    }
}
