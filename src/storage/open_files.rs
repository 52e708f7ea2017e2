//! [`OpenFiles`]: a limited number of files that stay open between jobs (D-17), and operations on one of them.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::cached_read::Promptness;
use super::vectored::write_all_at;
use crate::base::locked::Locked;

/// An open file.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    /// Determined when the file is opened, on a thread of the pool: on a file system that hangs even this may block.
    promptness: Promptness,
}

impl OpenFile {
    pub(super) fn new(file: File) -> Self {
        let promptness = Promptness::of(&file);
        Self { file, promptness }
    }

    /// Writes all of the slices.
    pub(super) fn write(&self, slices: Vec<IoSlice<'_>>, offset: u64) -> io::Result<()> {
        write_all_at(&self.file, slices, offset)
    }

    /// Fills `buffer` if that needs no waiting. Returns whether it did.
    pub(super) fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> bool {
        self.promptness.fills(buffer, &self.file, offset)
    }
}

/// The files that are kept open, by their numbers in the torrent.
#[derive(Debug)]
pub(super) struct OpenFiles {
    most: usize,
    kept: Locked<Kept>,
}

/// The files that are open, and the order of their last use.
#[derive(Debug, Default)]
struct Kept {
    slots: HashMap<usize, Slot>,
    /// The files by the time of their last use, the oldest first.
    uses: BTreeMap<u64, usize>,
    clock: u64,
}

impl Kept {
    /// Marks a file as used now. `before` is the time of its last use.
    fn touch(&mut self, file: usize, before: Option<u64>) -> u64 {
        before.map(|before| self.uses.remove(&before));
        self.clock += 1;
        self.uses.insert(self.clock, file);
        self.clock
    }

    /// Keeps a file, one of at most `most`. Returns those that are to be closed for it.
    fn put(&mut self, number: usize, handle: &Arc<OpenFile>, (writable, most): (bool, usize)) -> [Option<Slot>; 2] {
        let before = self.slots.remove(&number);
        let used = self.touch(number, before.as_ref().map(|slot| slot.used));
        let is_full = self.slots.len() >= most;
        let oldest =
            if is_full { self.uses.pop_first().and_then(|(_, oldest)| self.slots.remove(&oldest)) } else { None };
        self.slots.insert(number, Slot { handle: Arc::clone(handle), used, writable });
        [before, oldest]
    }
}

/// One file that is kept open.
#[derive(Debug)]
struct Slot {
    handle: Arc<OpenFile>,
    /// When the file was last used, by the clock of [`Kept`].
    used: u64,
    /// The file is open for writing and has its full length.
    writable: bool,
}

impl OpenFiles {
    /// An empty collection for at most `most` files.
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: Locked::default() }
    }

    /// An open file; one that is open for writing if `to_write`. `None` if it is not kept open.
    pub(super) fn get(&self, file: usize, to_write: bool) -> Option<Arc<OpenFile>> {
        let mut kept = self.kept.lock();
        let before = kept.slots.get(&file).filter(|slot| slot.writable || !to_write)?.used;
        let used = kept.touch(file, Some(before));
        let slot = kept.slots.get_mut(&file)?;
        slot.used = used;
        Some(Arc::clone(&slot.handle))
    }

    /// Keeps a file open, in place of the one that was least recently used.
    ///
    /// Files are examined and closed without the lock, because a disk that hangs may block that for long, and reads
    /// that must not wait take the lock.
    pub(super) fn keep(&self, number: usize, file: File, writable: bool) -> Arc<OpenFile> {
        let handle = Arc::new(OpenFile::new(file));
        self.put(number, &handle, writable);
        handle
    }

    /// Keeps a file as [`Self::keep`] does; the file may be in use already.
    pub(super) fn put(&self, number: usize, handle: &Arc<OpenFile>, writable: bool) {
        if self.most == 0 {
            return;
        }
        let closed = self.kept.lock().put(number, handle, (writable, self.most));
        drop(closed);
    }

    /// Closes a file. A job that uses the file keeps it until the job ends.
    pub(super) fn close(&self, file: usize) {
        let mut kept = self.kept.lock();
        let closed = kept.slots.remove(&file);
        if let Some(slot) = &closed {
            kept.uses.remove(&slot.used);
        }
        drop(kept);
        drop(closed);
    }

    /// Closes all files. A job that uses a file keeps it until the job ends.
    pub(super) fn close_all(&self) {
        let closed = std::mem::take(&mut *self.kept.lock());
        drop(closed);
    }

    /// The number of files that are kept open.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.lock().slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> File {
        tempfile::tempfile().unwrap()
    }

    #[test]
    fn the_least_recently_used_file_is_closed() {
        let files = OpenFiles::new(3);
        for number in [1, 2, 3] {
            files.keep(number, file(), number == 2);
        }
        assert!(files.get(1, false).is_some());
        files.keep(4, file(), true);
        let open = |to_write| (1..=4).filter(|number| files.get(*number, to_write).is_some()).collect::<Vec<_>>();
        assert_eq!(open(false), [1, 3, 4], "2 was the oldest");
        assert_eq!(open(true), [4], "the others were opened to be read");
        files.keep(3, file(), true);
        assert_eq!((files.len(), open(true)), (3, vec![3, 4]), "opened again, for writing");
        files.close_all();
        assert_eq!((files.len(), open(false)), (0, vec![]));
    }

    #[test]
    fn with_a_limit_of_zero_no_file_is_kept_open() {
        let files = OpenFiles::new(0);
        let handle = files.keep(1, file(), true);
        handle.write(vec![IoSlice::new(b"abc")], 0).unwrap();
        assert!(files.get(1, false).is_none() && files.len() == 0);
    }
}
