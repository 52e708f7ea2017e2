//! Detects changes of files by other programs, through the file's name and through its open handle.
//!
//! Such a change shows in the length, the inode or the modification time of a file (`logic::disk::file_watch`). The
//! files are compared before each write, after each read for a peer, before the record is written, and before
//! "complete" is reported.
//!
//! Kernels from 6.13 on give each change that follows a look a time of its own (ext4, xfs, btrfs, tmpfs). Older kernels
//! round to a tick of 1 to 10 ms: there a change in the same tick as one of our writes is not detected.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use tokio::time::Instant;

use super::super::part_file::Part;
use super::super::trouble::DiskTrouble;
use super::locking::FileLock;
use super::{StoredFiles, witness};
use crate::base::locked::Locked;
use crate::codec::resume::Witness;
use crate::logic::disk::file_watch::{FileWatch, ReadTicket};

/// 5 s between two looks at the name of a file that is read for peers. A file that was moved away or replaced still
/// gives the right bytes through its open handle, so this only bounds how long we seed a file that is no longer there.
const NAME_EVERY: Duration = Duration::from_secs(5);

/// One file, watched for changes.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    /// Held by the thread that changes the file. The kernel lets one writer at a time into a file and lets the others
    /// spin. It is held for the duration of a write, by threads of the pool, which have nothing else to do. While it is
    /// held, no change of ours is half done.
    pub(super) turn: Locked<()>,
    pub(super) lock: Locked<FileLock>,
    seen: Locked<Seen>,
}

/// What was last seen of a file.
#[derive(Debug, Default)]
struct Seen {
    watch: FileWatch,
    /// When the file was last looked at by its name.
    named: Option<Instant>,
}

impl Tracked {
    /// Calls `act` with the watch of the file.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut FileWatch) -> T) -> T {
        act(&mut self.seen.lock().watch)
    }

    /// Whether the file is to be looked at by its name before it is read.
    fn is_name_due(&self, now: Instant) -> bool {
        self.seen.lock().named.is_none_or(|named| now.duration_since(named) >= NAME_EVERY)
    }

    /// A ticket for a read that must not wait; `None` if something is in doubt or the name was not looked at recently.
    fn ticket_at_once(&self, now: Instant) -> Option<ReadTicket> {
        let seen = self.seen.lock();
        let named = seen.named.filter(|named| now.duration_since(*named) < NAME_EVERY);
        named.and_then(|_| seen.watch.ticket())
    }

    /// Whether bytes that were read with this ticket are right, if the file looks like `after` now.
    fn holds(&self, ticket: ReadTicket, after: Witness) -> bool {
        self.with(|watch| watch.holds(ticket, after))
    }
}

/// The witness of an open file.
pub(super) fn look_at(file: &File) -> io::Result<Witness> {
    Ok(witness(&file.metadata()?))
}

impl StoredFiles {
    /// Sets the known state of the files, in the order of the torrent, the part file last.
    pub fn vouch(&self, seen: impl IntoIterator<Item = Witness>) {
        for (tracked, now) in self.tracked.iter().zip(seen) {
            tracked.with(|watch| watch.on_found(now));
        }
    }

    /// The witness of a file when it was last seen.
    pub fn known(&self, file: usize) -> Witness {
        self.tracked[file].with(|watch| watch.known())
    }

    /// Fills `buffer` from offset `start` of the torrent with bytes for a peer. If another program may have changed a
    /// file, the read fails with `Changed` and the file is in doubt.
    pub fn read_vouched(&self, start: u64, buffer: &mut [u8]) -> Result<(), DiskTrouble> {
        self.each_place((start, Part::holds), buffer, |file, part, offset| self.read_watched(file, part, offset))
    }

    /// Fills `buffer` as [`Self::read_vouched`] does, if that needs no waiting: the bytes must be in one file that is
    /// open and whose name was looked at recently. Returns whether it did.
    pub fn read_at_once(&self, start: u64, buffer: &mut [u8]) -> bool {
        let mut places = self.places(start, buffer.len() as u64, Part::holds);
        let (Some(place), None) = (places.next(), places.next()) else { return false };
        let tracked = &self.tracked[place.file];
        let Some(ticket) = tracked.ticket_at_once(Instant::now()) else { return false };
        let Some(handle) = self.open.get(place.file, false) else { return false };
        handle.read_at_once(buffer, place.offset)
            && look_at(&handle.file).is_ok_and(|after| tracked.holds(ticket, after))
    }

    /// Reads from one file for a peer, and checks that no other program changed the file meanwhile.
    fn read_watched(&self, file: usize, buffer: &mut [u8], offset: u64) -> Result<(), DiskTrouble> {
        let tracked = &self.tracked[file];
        if tracked.is_name_due(Instant::now()) {
            self.look_by_name(file)?;
        }
        let Some(ticket) = tracked.with(|watch| watch.ticket()) else { return Err(self.changed("read", file)) };
        let handle = self.readable(file)?;
        let read = handle.file.read_exact_at(buffer, offset);
        let look = || look_at(&handle.file).map_err(|error| self.trouble("look at", file, &error, 0));
        if read.is_ok() && tracked.holds(ticket, look()?) {
            return Ok(());
        }
        // One of our own writes may have been in progress.
        let _turn = tracked.turn.lock();
        let after = look()?;
        if tracked.holds(ticket, after) {
            return read.map_err(|error| self.read_trouble(file, &error).at(offset));
        }
        tracked.with(|watch| watch.on_seen(after));
        Err(self.changed("read", file))
    }

    /// Compares the file under the file's name with what is known of it. Returns whether its bytes are in doubt now.
    pub(super) fn look_by_name(&self, file: usize) -> Result<bool, DiskTrouble> {
        let tracked = &self.tracked[file];
        let _turn = tracked.turn.lock();
        let now = self.named(file)?;
        let mut seen = tracked.seen.lock();
        seen.named = Some(Instant::now());
        let before = seen.watch.known();
        seen.watch.on_seen(now);
        if (before.dev, before.ino) != (now.dev, now.ino) {
            // The open handle leads to the file that was moved or replaced.
            self.open.close(file);
        }
        Ok(seen.watch.is_in_doubt())
    }

    /// The witness of the file under a name; all zeros if there is no such file.
    fn named(&self, file: usize) -> Result<Witness, DiskTrouble> {
        match self.folder.look(&self.spec(file).path) {
            Ok(meta) => Ok(witness(&meta)),
            Err(error) if is_absence(&error) => Ok(Witness::default()),
            Err(error) => Err(self.trouble("open", file, &error, 0)),
        }
    }

    /// Looks at every file by its name. Returns the numbers of those in doubt; the part file's number follows the last
    /// one. With `may_write` a missing output folder and missing files without bytes are made again, and a file of ours
    /// that has grown is cut to its length.
    pub fn vet(&self, may_write: bool) -> Result<Vec<usize>, DiskTrouble> {
        let renewed = self.folder.renew(may_write);
        if renewed.map_err(|error| DiskTrouble::new("open", self.folder.path(), &error))? {
            self.open.close_all();
        }
        let mut doubtful = Vec::new();
        for file in 0..self.tracked.len() {
            if self.is_on_disk(file) && self.vet_file(file, may_write)? {
                doubtful.push(file);
            }
        }
        Ok(doubtful)
    }

    /// The files that are in doubt, as far as is known without looking.
    pub fn doubtful(&self) -> Vec<usize> {
        (0..self.tracked.len()).filter(|file| self.tracked[*file].with(|watch| watch.is_in_doubt())).collect()
    }

    /// The number of changes of a file by other programs that were seen so far.
    pub fn changes(&self, file: usize) -> u32 {
        self.tracked[file].with(|watch| watch.changes())
    }

    /// The caller has noted the pieces of a file that are in doubt after this number of changes, so the file itself no
    /// longer is, unless it has changed since.
    pub fn on_doubt_noted(&self, file: usize, changes: u32) {
        self.tracked[file].with(|watch| watch.on_doubt_noted(changes));
        // The record no longer describes the file.
        self.touch(file);
    }

    /// Looks at one file by its name, and mends its length if that loses nothing. Returns whether it is in doubt.
    fn vet_file(&self, file: usize, may_write: bool) -> Result<bool, DiskTrouble> {
        let in_doubt = self.look_by_name(file)?;
        if file == self.part_number() {
            return Ok(in_doubt);
        }
        let (known, len) = (self.known(file), self.spec(file).len);
        if may_write && known.len > len {
            self.truncate(file)?;
        } else if may_write && len == 0 && known == Witness::default() {
            self.create(file)?;
        }
        if len == 0 {
            // A file without bytes cannot lose any.
            self.tracked[file].with(|watch| watch.on_doubt_noted(watch.changes()));
        }
        Ok(in_doubt && len > 0)
    }

    /// Whether the file is on the disk: it is stored by itself, or it is the part file and is needed.
    fn is_on_disk(&self, file: usize) -> bool {
        if file == self.part_number() {
            return self.part.as_ref().is_some_and(Part::is_needed);
        }
        !self.spec(file).padding && !self.is_in_part_file(file)
    }

    /// The error for a file that another program has changed.
    pub(super) fn changed(&self, operation: &'static str, file: usize) -> DiskTrouble {
        DiskTrouble::changed(operation, &self.shown_path(file))
    }
}

/// Whether the error means that the file does not exist, or that a component of its path is not a folder.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
