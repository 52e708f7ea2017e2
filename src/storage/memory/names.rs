//! The files of a simulated disk by their names, and changes of them by other programs.

use std::ops::Range;

use super::{Medium, State, pages_of};
use crate::codec::resume::Witness;
use crate::logic::disk::layout::Layout;

/// A name and the file under it. The file's bytes are a range of the disk's bytes.
#[derive(Debug)]
pub(super) struct MemoryName {
    range: Range<usize>,
    /// Another program has removed or moved the file.
    is_gone: bool,
    /// This program has made the file, and may not have written to it yet.
    pub(super) is_made: bool,
    ino: u64,
    /// The length of the file, if it is not that of the torrent.
    len: Option<u64>,
    mtime_ns: i64,
}

/// A file that has no name any more but is open in a program.
#[derive(Debug)]
pub(super) struct Nameless {
    bytes: Vec<u8>,
    mtime_ns: i64,
}

/// A change by another program. Numbers of files are taken modulo the number of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddle {
    /// Cuts a file to this many thousandths of its length.
    Truncate(usize, u64),
    /// Appends this many bytes.
    Grow(usize, u64),
    /// Overwrites bytes: the file, the start in thousandths of its length, and the number of bytes.
    Rewrite(usize, u64, u64),
    /// Removes a file or moves it away.
    Remove(usize),
    /// Replaces a file by another one.
    Replace(usize),
    /// Swaps the names of two files.
    Swap(usize, usize),
    /// Removes the output folder or moves it away.
    RemoveAll,
}

impl Medium {
    /// Makes this change now. A change to a file that does not exist has no effect.
    pub fn meddle(&self, what: Meddle) {
        let mut state = self.lock();
        let count = state.names.len();
        if count == 0 {
            return;
        }
        match what {
            Meddle::Truncate(file, thousandths) => state.truncate(file % count, thousandths),
            Meddle::Grow(file, by) => state.grow(file % count, by),
            Meddle::Rewrite(file, thousandths, len) => state.rewrite(file % count, thousandths, len),
            Meddle::Remove(file) => state.remove(file % count),
            Meddle::Replace(file) => state.replace(file % count),
            Meddle::Swap(one, other) => state.swap(one % count, other % count),
            Meddle::RemoveAll => (0..count).for_each(|file| state.remove(file)),
        }
    }

    /// The files that do not exist, or whose length is not that of the torrent.
    pub fn misfits(&self) -> Vec<usize> {
        let state = self.lock();
        let fits = |file: &usize| state.witness(*file).len == state.names[*file].range.len() as u64;
        (0..state.names.len()).filter(|file| !fits(file)).collect()
    }

    /// Sets the bytes that peers must get. From now on each read for a peer is compared with them.
    pub fn know(&self, truth: Vec<u8>) {
        self.lock().truth = Some(truth);
    }

    /// The number of reads for peers that returned wrong bytes.
    pub fn wrong_reads(&self) -> u64 {
        self.lock().wrong_reads
    }
}

impl State {
    /// Creates the names, when the first program uses the disk.
    pub(super) fn name_files(&mut self, layout: &Layout) {
        if !self.names.is_empty() {
            return;
        }
        for file in 0..layout.file_count() {
            let range = layout.file_range(file).unwrap_or_default();
            let at = |at: u64| usize::try_from(at).expect("a torrent that is simulated fits into memory");
            let range = at(range.start)..at(range.end);
            self.names.push(MemoryName {
                range,
                is_gone: false,
                is_made: false,
                ino: file as u64 + 1,
                len: None,
                mtime_ns: 0,
            });
        }
    }

    /// Advances the clock by one change.
    fn tick(&mut self) -> i64 {
        self.ticks += 1;
        self.ticks
    }

    /// An inode number that no file has had.
    fn new_ino(&mut self) -> u64 {
        self.tick().unsigned_abs() + self.names.len() as u64
    }

    /// The witness of a file. A file exists, in its full length, as soon as one of its pages was written.
    pub(super) fn witness(&self, file: usize) -> Witness {
        let name = &self.names[file];
        let has_page = || pages_of(&name.range).any(|page| self.pages[0][page]);
        let is_there = !name.is_gone && (name.is_made || has_page());
        let len = name.len.unwrap_or(name.range.len() as u64);
        if is_there { Witness { len, dev: 1, ino: name.ino, mtime_ns: name.mtime_ns } } else { Witness::default() }
    }

    /// The file that has this inode now.
    fn named_by(&self, ino: u64) -> Option<usize> {
        (0..self.names.len()).find(|file| self.names[*file].ino == ino && !self.names[*file].is_gone)
    }

    /// The witness of an open file.
    pub(super) fn witness_of(&self, ino: u64) -> Witness {
        match (self.named_by(ino), self.nameless.get(&ino)) {
            (Some(file), _) => self.witness(file),
            (None, Some(Nameless { bytes, mtime_ns })) => {
                Witness { len: bytes.len() as u64, dev: 1, ino, mtime_ns: *mtime_ns }
            }
            (None, None) => Witness::default(),
        }
    }

    /// Opens the file under a name; makes one if there is none. Returns its witness from before.
    pub(super) fn open(&mut self, file: usize) -> Witness {
        let now = self.witness(file);
        let len = self.names[file].range.len() as u64;
        if now == Witness::default() {
            let ino = if self.names[file].is_gone { self.new_ino() } else { self.names[file].ino };
            let mtime_ns = self.tick();
            let name = &mut self.names[file];
            (name.is_gone, name.is_made, name.ino, name.len, name.mtime_ns) = (false, true, ino, None, mtime_ns);
            return Witness { len: 0, dev: 1, ino, mtime_ns };
        }
        if now.len < len {
            self.names[file].len = None;
            self.names[file].mtime_ns = self.tick();
        }
        now
    }

    /// Cuts a file that has grown to its length.
    pub(super) fn cut(&mut self, file: usize) {
        self.names[file].len = None;
        self.names[file].mtime_ns = self.tick();
    }

    /// Writes to an open file.
    pub(super) fn write_to(&mut self, ino: u64, offset: usize, bytes: &[u8]) {
        let mtime_ns = self.tick();
        if let Some(file) = self.named_by(ino) {
            let name = &mut self.names[file];
            name.mtime_ns = mtime_ns;
            let end = (offset + bytes.len()) as u64;
            name.len = name.len.map(|len| len.max(end)).filter(|len| *len != name.range.len() as u64);
            // Files that were swapped may have other lengths.
            let start = name.range.start + offset;
            let place = start.min(name.range.end)..(start + bytes.len()).min(name.range.end);
            self.put(place.start, &bytes[..place.len()]);
        } else if let Some(nameless) = self.nameless.get_mut(&ino) {
            nameless.mtime_ns = mtime_ns;
            let end = offset + bytes.len();
            nameless.bytes.resize(nameless.bytes.len().max(end), 0);
            nameless.bytes[offset..end].copy_from_slice(bytes);
        }
    }

    /// Reads from an open file; `None` if the file is too short.
    pub(super) fn read_from(&self, ino: u64, offset: usize, len: usize) -> Option<Vec<u8>> {
        let Some(file) = self.named_by(ino) else {
            return self.nameless.get(&ino)?.bytes.get(offset..offset + len).map(<[u8]>::to_vec);
        };
        let MemoryName { range, .. } = &self.names[file];
        let is_inside = (offset + len) as u64 <= self.witness(file).len && offset + len <= range.len();
        is_inside.then(|| self.cache[range.start + offset..range.start + offset + len].to_vec())
    }

    /// Whether a file exists under its name.
    fn is_there(&self, file: usize) -> bool {
        self.witness(file) != Witness::default()
    }

    /// The bytes of a file, without those beyond the torrent's length.
    fn bytes_of(&self, file: usize) -> Vec<u8> {
        let range = self.names[file].range.clone();
        let len = usize::try_from(self.witness(file).len).unwrap_or(usize::MAX).min(range.len());
        self.cache[range.start..range.start + len].to_vec()
    }

    /// Puts bytes of another program into a file. A power cut leaves them once the file is synced, whoever syncs it.
    fn fill(&mut self, file: usize, bytes: &[u8]) {
        let range = self.names[file].range.clone();
        let len = bytes.len().min(range.len());
        self.cache[range.start..range.start + len].copy_from_slice(&bytes[..len]);
        self.cache[range.start + len..range.end].fill(0);
        pages_of(&range).for_each(|page| self.pages[0][page] = true);
        self.unsynced.push(range);
    }

    fn truncate(&mut self, file: usize, thousandths: u64) {
        if self.is_there(file) {
            let len = self.witness(file).len * thousandths / 1000;
            let mut bytes = self.bytes_of(file);
            bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
            self.fill(file, &bytes);
            self.names[file].len = Some(len);
            self.names[file].mtime_ns = self.tick();
        }
    }

    fn grow(&mut self, file: usize, by: u64) {
        if self.is_there(file) {
            self.names[file].len = Some(self.witness(file).len + by);
            self.names[file].mtime_ns = self.tick();
        }
    }

    fn rewrite(&mut self, file: usize, thousandths: u64, len: u64) {
        if self.is_there(file) {
            let mut bytes = self.bytes_of(file);
            let at = bytes.len() as u64 * thousandths / 1000;
            let [at, len] = [at, len].map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
            bytes.iter_mut().skip(at).take(len).for_each(|byte| *byte = !*byte);
            self.fill(file, &bytes);
            self.names[file].mtime_ns = self.tick();
        }
    }

    fn remove(&mut self, file: usize) {
        if self.is_there(file) {
            let name = &self.names[file];
            let nameless = Nameless { bytes: self.bytes_of(file), mtime_ns: name.mtime_ns };
            self.nameless.insert(name.ino, nameless);
            self.names[file].is_gone = true;
            let range = self.names[file].range.clone();
            self.cache[range].fill(0);
        }
    }

    fn replace(&mut self, file: usize) {
        if self.is_there(file) {
            let bytes: Vec<u8> = self.bytes_of(file).iter().map(|byte| !*byte).collect();
            self.remove(file);
            self.fill(file, &bytes);
            let (ino, mtime_ns) = (self.new_ino(), self.tick());
            let name = &mut self.names[file];
            (name.is_gone, name.ino, name.len, name.mtime_ns) = (false, ino, None, mtime_ns);
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        if one == other || !self.is_there(one) || !self.is_there(other) {
            return;
        }
        let [first, second] = [one, other].map(|file| (self.bytes_of(file), self.witness(file)));
        for (file, (bytes, was)) in [(one, second), (other, first)] {
            self.fill(file, &bytes);
            let name = &mut self.names[file];
            (name.ino, name.mtime_ns) = (was.ino, was.mtime_ns);
            name.len = Some(was.len).filter(|len| *len != name.range.len() as u64);
        }
    }
}
