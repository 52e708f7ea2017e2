//! Files under watch: who else has changed one, seen by its name and by its open handle.
//!
//! A change by another program shows in the length, the inode or the time of change of a file (`logic::disk::file_watch`). It is
//! looked for before each write, after each read for a peer, before the record, and before "complete" is said.
//!
//! Kernels from 6.13 on give each change that follows a look a time of its own (ext4, xfs, btrfs, tmpfs). Older ones
//! round to a tick of 1 to 10 ms: a change in the same tick as a write of ours goes unseen there.

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

/// 5 s between two looks for the name of a file that is read for peers: a file that was moved away or replaced still gives
/// the right bytes through its open handle, so this only bounds how long the seed speaks for a file that is not there.
const NAME_EVERY: Duration = Duration::from_secs(5);

/// One file under watch.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    /// Whose turn it is to change the file. The kernel lets one writer at a time into a file, and lets the others spin at its
    /// door. Held for as long as a write takes, by threads of the pool, which have nothing else to do meanwhile; so what is
    /// seen with this in hand is not half of a change of ours.
    pub(super) turn: Locked<()>,
    pub(super) lock: Locked<FileLock>,
    seen: Locked<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    watch: FileWatch,
    /// When the file was last looked for by its name.
    named: Option<Instant>,
}

impl Tracked {
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut FileWatch) -> T) -> T {
        act(&mut self.seen.lock().watch)
    }

    fn is_name_due(&self, now: Instant) -> bool {
        self.seen.lock().named.is_none_or(|named| now.duration_since(named) >= NAME_EVERY)
    }

    /// For a read that must not wait: nothing is in doubt, and the name was seen a moment ago.
    fn ticket_at_once(&self, now: Instant) -> Option<ReadTicket> {
        let seen = self.seen.lock();
        let named = seen.named.filter(|named| now.duration_since(*named) < NAME_EVERY);
        named.and_then(|_| seen.watch.ticket())
    }

    fn holds(&self, ticket: ReadTicket, after: Witness) -> bool {
        self.with(|watch| watch.holds(ticket, after))
    }
}

/// Looks at an open file.
pub(super) fn look_at(file: &File) -> io::Result<Witness> {
    Ok(witness(&file.metadata()?))
}

impl StoredFiles {
    /// These files are vouched for as they were seen, in the order of the torrent, and the part file last.
    pub fn vouch(&self, seen: impl IntoIterator<Item = Witness>) {
        for (tracked, now) in self.tracked.iter().zip(seen) {
            tracked.with(|watch| watch.on_found(now));
        }
    }

    /// What a file looked like when it was last seen.
    pub fn known(&self, file: usize) -> Witness {
        self.tracked[file].with(|watch| watch.known())
    }

    /// Fills `buffer` from `start` of the torrent with bytes for a peer: none that another program may have changed. Where
    /// one has, this fails with `Changed`, and its file is in doubt.
    pub fn read_vouched(&self, start: u64, buffer: &mut [u8]) -> Result<(), DiskTrouble> {
        self.each_place((start, Part::holds), buffer, |file, part, offset| self.read_watched(file, part, offset))
    }

    /// The same if that takes no waiting: the bytes lie in one file, which is open and was seen by its name a moment ago.
    pub fn read_at_once(&self, start: u64, buffer: &mut [u8]) -> bool {
        let mut places = self.places(start, buffer.len() as u64, Part::holds);
        let (Some(place), None) = (places.next(), places.next()) else { return false };
        let tracked = &self.tracked[place.file];
        let Some(ticket) = tracked.ticket_at_once(Instant::now()) else { return false };
        let Some(handle) = self.open.get(place.file, false) else { return false };
        handle.read_at_once(buffer, place.offset)
            && look_at(&handle.file).is_ok_and(|after| tracked.holds(ticket, after))
    }

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
        // A write of ours may have been under way.
        let _turn = tracked.turn.lock();
        let after = look()?;
        if tracked.holds(ticket, after) {
            return read.map_err(|error| self.read_trouble(file, &error).at(offset));
        }
        tracked.with(|watch| watch.on_seen(after));
        Err(self.changed("read", file))
    }

    /// Compares a file with what is known of it, by its name. `true` if what it holds is in doubt now.
    pub(super) fn look_by_name(&self, file: usize) -> Result<bool, DiskTrouble> {
        let tracked = &self.tracked[file];
        let _turn = tracked.turn.lock();
        let now = self.named(file)?;
        let mut seen = tracked.seen.lock();
        seen.named = Some(Instant::now());
        let before = seen.watch.known();
        seen.watch.on_seen(now);
        if (before.dev, before.ino) != (now.dev, now.ino) {
            // It leads to the one that was moved or replaced.
            self.open.close(file);
        }
        Ok(seen.watch.is_in_doubt())
    }

    /// What lies under a file's name. All zeros where there is no such file.
    fn named(&self, file: usize) -> Result<Witness, DiskTrouble> {
        match self.folder.look(&self.spec(file).path) {
            Ok(meta) => Ok(witness(&meta)),
            Err(error) if is_absence(&error) => Ok(Witness::default()),
            Err(error) => Err(self.trouble("open", file, &error, 0)),
        }
    }

    /// Looks for every file by its name and says which are in doubt; the part file has the number behind the last one. With
    /// `may_write` the output folder and files without bytes are made again where they are gone, and a file of ours that
    /// has grown is cut to its length.
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

    /// The files that are in doubt as far as it is known.
    pub fn doubtful(&self) -> Vec<usize> {
        (0..self.tracked.len()).filter(|file| self.tracked[*file].with(|watch| watch.is_in_doubt())).collect()
    }

    /// How many changes of a file by other programs were seen so far.
    pub fn changes(&self, file: usize) -> u32 {
        self.tracked[file].with(|watch| watch.changes())
    }

    /// The caller remembers which bytes of a file were in doubt after so many changes.
    pub fn on_doubt_noted(&self, file: usize, changes: u32) {
        self.tracked[file].with(|watch| watch.on_doubt_noted(changes));
        // What the record says of it is no longer so.
        self.touch(file);
    }

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
            // Nothing is lost with a file that has no bytes.
            self.tracked[file].with(|watch| watch.on_doubt_noted(watch.changes()));
        }
        Ok(in_doubt && len > 0)
    }

    /// Has the file a place of its own, or is it the part file and needed?
    fn is_on_disk(&self, file: usize) -> bool {
        if file == self.part_number() {
            return self.part.as_ref().is_some_and(Part::is_needed);
        }
        !self.spec(file).padding && !self.is_held(file)
    }

    pub(super) fn changed(&self, operation: &'static str, file: usize) -> DiskTrouble {
        DiskTrouble::changed(operation, &self.shown_path(file))
    }
}

/// There is no such file, or something else is where a folder should be that leads to it.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
