//! [`StoredFiles`]: a torrent's files as one sequence of bytes, with vectored reads and writes across file borders and
//! few descriptors.
//!
//! Its methods block, and threads of the pool share it. Knows nothing of pieces and hashes.

mod locking;
mod syncing;
mod vetting;

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Advice, OFlags};

use super::claims::{Claimant, TakenBy};
use super::file_entry::FileSpec;
use super::folder::OutputFolder;
use super::open_files::{OpenFile, OpenFiles};
use super::part_file::Part;
use super::trouble::{DiskTrouble, TroubleKind};
use super::vectored::Slices;
use crate::base::locked::Locked;
use crate::codec::resume::Witness;
use crate::logic::disk::layout::{FileSpan, Layout};
pub use locking::LockMode;
use vetting::{Tracked, look_at};

/// 512 bytes: the unit of `st_blocks` on every file system (POSIX, sys/stat.h).
const STAT_BLOCK: u64 = 512;

/// The files of a torrent below an output folder.
#[derive(Debug)]
pub struct StoredFiles {
    folder: OutputFolder,
    specs: Vec<FileSpec>,
    layout: Layout,
    part: Option<Part>,
    open: OpenFiles,
    unsynced: Locked<Unsynced>,
    /// The state of each file, and of the part file after the last one.
    tracked: Vec<Tracked>,
    owner: Option<Owner>,
}

/// The torrent for which files are claimed.
#[derive(Debug)]
pub struct Owner {
    /// The torrent's claims among those of the run.
    pub claimant: Claimant,
    /// The output folder's path, without links.
    pub root: PathBuf,
}

/// What the next sync makes durable.
#[derive(Debug, Default)]
struct Unsynced {
    touched: BTreeSet<usize>,
    new_entries: BTreeSet<PathBuf>,
}

/// Why a file was not changed.
enum ChangeFailed {
    /// The file cannot be opened.
    Open(DiskTrouble),
    /// The file is open, and the change failed.
    Change(io::Error),
}

impl StoredFiles {
    /// The files of a torrent. Opens and makes none yet. `max_open` is the largest number of files that stay open
    /// (D-17); with 0 every job opens its files again.
    pub fn new(folder: OutputFolder, specs: Vec<FileSpec>, max_open: usize) -> Self {
        let layout = Layout::new(specs.iter().map(|spec| spec.len));
        let tracked = (0..=specs.len()).map(|_| Tracked::default()).collect();
        let open = OpenFiles::new(max_open);
        Self { folder, specs, layout, part: None, open, unsynced: Locked::default(), tracked, owner: None }
    }

    /// Adds a part file, which has the bytes of some files.
    #[must_use]
    pub fn with_part(self, part: Option<Part>) -> Self {
        Self { part, ..self }
    }

    /// Adds the owner, so that files are claimed among the torrents of the run.
    #[must_use]
    pub fn owned_by(self, owner: Owner) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// Claims a file for the torrent, before it is written or read for peers.
    pub fn claim(&self, file: usize, writes: bool) -> Result<(), DiskTrouble> {
        let Some(owner) = self.owner.as_ref().filter(|_| file != self.part_number()) else { return Ok(()) };
        let path = owner.root.join(&self.spec(file).path);
        owner.claimant.claim(&path, self.known(file), writes).map_err(|TakenBy(other)| {
            let reason =
                format!("the torrent `{other}` of this run has it too; give one of the two another folder with -d");
            DiskTrouble::taken(&self.shown_path(file), &reason)
        })
    }

    /// Lets other torrents and processes read the files, because everything is written.
    pub fn ease_claims(&self) {
        self.owner.iter().for_each(|owner| owner.claimant.ease());
        self.ease_locks();
    }

    /// The part file; `None` if there cannot be one.
    pub fn part(&self) -> Option<&Part> {
        self.part.as_ref()
    }

    /// The number of the part file, which follows that of the torrent's last file.
    pub fn part_number(&self) -> usize {
        self.specs.len()
    }

    /// The files, in the order of the torrent.
    pub fn specs(&self) -> &[FileSpec] {
        &self.specs
    }

    /// How the torrent's bytes are divided into files.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The output folder.
    pub fn folder(&self) -> &OutputFolder {
        &self.folder
    }

    /// The full path of a file, for messages.
    pub fn shown_path(&self, file: usize) -> PathBuf {
        self.folder.path().join(&self.spec(file).path)
    }

    /// Writes `blocks`, one after the other, from offset `start` of the torrent.
    pub fn write(&self, start: u64, blocks: &[Bytes]) -> Result<(), DiskTrouble> {
        let len = blocks.iter().map(|block| block.len() as u64).sum();
        let mut rest = Slices::new(blocks);
        for FileSpan { file, offset, len } in self.places(start, len, Part::holds) {
            let slices = rest.take(usize::try_from(len).expect("a span lies inside buffers in memory"));
            if self.spec(file).padding {
                continue;
            }
            self.change(file, |handle| handle.write(slices, offset)).map_err(|failed| match failed {
                ChangeFailed::Open(trouble) => trouble,
                ChangeFailed::Change(error) => self.trouble("write", file, &error, len).at(offset),
            })?;
        }
        Ok(())
    }

    /// Fills `buffer` from offset `start` of the torrent. A file that is too short is an error of the kind `Missing`.
    pub fn read(&self, start: u64, buffer: &mut [u8]) -> Result<(), DiskTrouble> {
        self.read_where(start, buffer, Part::holds)
    }

    /// Fills `buffer` as [`Self::read`] does, but takes from the part file everything that it may have.
    pub fn read_strayed(&self, start: u64, buffer: &mut [u8]) -> Result<(), DiskTrouble> {
        self.read_where(start, buffer, Part::held_once)
    }

    /// Fills `buffer`; `in_part` says which files' bytes are read from the part file.
    fn read_where(&self, start: u64, buffer: &mut [u8], in_part: fn(&Part, usize) -> bool) -> Result<(), DiskTrouble> {
        self.each_place((start, in_part), buffer, |file, part, offset| {
            let handle = self.readable(file)?;
            handle.file.read_exact_at(part, offset).map_err(|error| self.read_trouble(file, &error).at(offset))
        })
    }

    /// Calls `fill` for each file that holds a part of `buffer`; padding is filled with zeros.
    fn each_place(
        &self,
        (start, in_part): (u64, fn(&Part, usize) -> bool),
        buffer: &mut [u8],
        mut fill: impl FnMut(usize, &mut [u8], u64) -> Result<(), DiskTrouble>,
    ) -> Result<(), DiskTrouble> {
        let mut rest = buffer;
        for FileSpan { file, offset, len } in self.places(start, rest.len() as u64, in_part) {
            let len = usize::try_from(len).expect("a span lies inside the buffer");
            let (part, tail) = rest.split_at_mut(len);
            rest = tail;
            if self.spec(file).padding {
                part.fill(0);
            } else {
                fill(file, part, offset)?;
            }
        }
        Ok(())
    }

    /// Tells the kernel that these bytes will be read soon.
    pub fn read_ahead(&self, bytes: Range<u64>) {
        for FileSpan { file, offset, len } in self.places(bytes.start, bytes.end - bytes.start, Part::holds) {
            if !self.spec(file).padding
                && let Ok(handle) = self.readable(file)
            {
                read_ahead(&handle.file, offset, len);
            }
        }
    }

    /// The length, device, inode and modification time of a file. `None` if it does not exist, is padding, or is kept
    /// in the part file.
    pub fn witness(&self, file: usize) -> Result<Option<Witness>, DiskTrouble> {
        if self.spec(file).padding || self.is_in_part_file(file) {
            return Ok(None);
        }
        match self.folder.open_file(&self.spec(file).path, OFlags::RDONLY) {
            Ok((_, meta)) => Ok(Some(witness(&meta))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.trouble("open", file, &error, 0)),
        }
    }

    /// The ranges of a file that hold data, not holes. Empty if the file does not exist.
    pub fn data_extents(&self, file: usize) -> Result<Vec<Range<u64>>, DiskTrouble> {
        if self.is_in_part_file(file) {
            return Ok(Vec::new());
        }
        let (opened, meta) = match self.folder.open_file(&self.spec(file).path, OFlags::RDONLY) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.trouble("open", file, &error, 0)),
        };
        Ok(extents(&opened, meta.len()))
    }

    /// Bytes that this process may still write in the output folder; `None` if the file system does not tell.
    pub fn free(&self) -> Option<u64> {
        let fs = rustix::fs::statvfs(self.folder.path()).ok().filter(|fs| fs.f_blocks > 0)?;
        let blocks = if rustix::process::geteuid().is_root() { fs.f_bfree } else { fs.f_bavail };
        Some(blocks.saturating_mul(fs.f_frsize))
    }

    /// Bytes that the file occupies on the disk, which may differ from its length.
    pub fn allocated(&self, file: usize) -> Result<u64, DiskTrouble> {
        match self.folder.open_file(&self.spec(file).path, OFlags::RDONLY) {
            Ok((_, meta)) => Ok(meta.blocks().saturating_mul(STAT_BLOCK)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(self.trouble("open", file, &error, 0)),
        }
    }

    /// Makes the files without bytes. No write of a piece would make them.
    pub fn create_empty_files(&self) -> Result<(), DiskTrouble> {
        for (file, spec) in self.specs.iter().enumerate() {
            if spec.len == 0 && !spec.padding && !self.is_in_part_file(file) && self.known(file) == Witness::default() {
                self.create(file)?;
            }
        }
        Ok(())
    }

    /// Makes an empty file if the file does not exist.
    fn create(&self, file: usize) -> Result<(), DiskTrouble> {
        self.change(file, |_| Ok(())).map_err(|failed| self.cause(failed, "create", file))
    }

    /// Cuts a file to the length that the torrent has. The user has agreed to lose the rest.
    pub fn truncate(&self, file: usize) -> Result<(), DiskTrouble> {
        let len = self.specs[file].len;
        self.change(file, |handle| handle.file.set_len(len)).map_err(|failed| self.cause(failed, "truncate", file))
    }

    /// Changes a file. A change that another program made before is detected, not taken for ours.
    fn change(&self, file: usize, change: impl FnOnce(&OpenFile) -> io::Result<()>) -> Result<(), ChangeFailed> {
        let tracked = &self.tracked[file];
        let _turn = tracked.turn.lock();
        let handle = self.writable(file).map_err(ChangeFailed::Open)?;
        let before = look_at(&handle.file).map_err(ChangeFailed::Change)?;
        tracked.with(|watch| watch.on_seen(before));
        let changed = change(&handle);
        let after = look_at(&handle.file).map_err(ChangeFailed::Change)?;
        tracked.with(|watch| watch.on_own_change(after));
        // Only after the write: a sync that began during the write would clear the note and miss the bytes.
        self.touch(file);
        changed.map_err(ChangeFailed::Change)
    }

    /// The error of a failed change.
    fn cause(&self, failed: ChangeFailed, operation: &'static str, file: usize) -> DiskTrouble {
        match failed {
            ChangeFailed::Open(trouble) => trouble,
            ChangeFailed::Change(error) => self.trouble(operation, file, &error, 0),
        }
    }

    /// A file of the torrent, or the part file.
    fn spec(&self, file: usize) -> &FileSpec {
        match &self.part {
            Some(part) if file == self.part_number() => &part.spec,
            _ => &self.specs[file],
        }
    }

    /// Whether a file's bytes are kept in the part file.
    pub fn is_in_part_file(&self, file: usize) -> bool {
        self.part.as_ref().is_some_and(|part| part.holds(file))
    }

    /// The places of the torrent's bytes: in their own files, or in the part file if it has them.
    fn places(&self, start: u64, len: u64, in_part: fn(&Part, usize) -> bool) -> impl Iterator<Item = FileSpan> + '_ {
        self.layout.spans(start, len).flat_map(move |span| {
            let part = self.part.as_ref().filter(|part| in_part(part, span.file));
            let own = part.is_none().then_some(span);
            let at = self.layout.file_range(span.file).map_or(0, |range| range.start + span.offset);
            let runs = part.into_iter().flat_map(move |part| part.map.runs(at, span.len));
            let kept = runs.map(|(offset, len)| FileSpan { file: self.part_number(), offset, len });
            own.into_iter().chain(kept)
        })
    }

    /// The open file for reading. Opens it if it is not kept open.
    fn readable(&self, file: usize) -> Result<Arc<OpenFile>, DiskTrouble> {
        if let Some(handle) = self.open.get(file, false) {
            return Ok(handle);
        }
        let opened = self.with_room(|| self.folder.open_file(&self.spec(file).path, OFlags::RDONLY));
        let (opened, _) = opened.map_err(|error| self.trouble("open", file, &error, 0))?;
        let handle = self.open.keep(file, opened, false);
        self.lock_again(file, &handle);
        Ok(handle)
    }

    /// The open file for writing, locked, claimed and with its full length. Makes it if it does not exist.
    fn writable(&self, file: usize) -> Result<Arc<OpenFile>, DiskTrouble> {
        if let Some(handle) = self.open.get(file, true) {
            return Ok(handle);
        }
        let opened = self.with_room(|| self.open_or_create(file));
        let handle = opened.map_err(|error| self.trouble("open", file, &error, self.spec(file).len))?;
        // A file without bytes may be used by several torrents, and the part file by this torrent only.
        if self.spec(file).len > 0 {
            self.lock_to_write(file, &handle)?;
            self.claim(file, true)?;
        }
        self.lengthen(file, &handle.file)
            .map_err(|error| self.trouble("lengthen", file, &error, self.spec(file).len))?;
        self.open.put(file, &handle, true);
        Ok(handle)
    }

    /// Opens a file. If no descriptor is left, because peers have taken them all, the files that are kept open
    /// are closed and it is tried once more.
    fn with_room<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match open() {
            Err(error) if is_crowded(&error) => {
                self.open.close_all();
                open()
            }
            opened => opened,
        }
    }

    /// Opens a file for writing; makes it and the folders above it if they do not exist.
    fn open_or_create(&self, file: usize) -> io::Result<Arc<OpenFile>> {
        let FileSpec { path, .. } = self.spec(file);
        let open = |flags| self.folder.open_file(path, OFlags::RDWR | flags);
        let opened = match open(OFlags::CREATE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.folder.renew(true)?;
                self.folder.create_parents(path)?;
                open(OFlags::CREATE)
            }
            // Some kernels refuse O_CREAT for an existing file of another user in a shared folder.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(OFlags::empty()).or(Err(error)),
            opened => opened,
        };
        let (opened, meta) = opened?;
        self.tracked[file].with(|watch| watch.on_opened_to_write(witness(&meta)));
        if meta.len() == 0 {
            self.remember_entry(path);
        }
        Ok(Arc::new(OpenFile::new(opened)))
    }

    /// Extends a file that is open for writing to its full length, with a hole.
    fn lengthen(&self, file: usize, opened: &File) -> io::Result<()> {
        let len = self.spec(file).len;
        if opened.metadata()?.len() < len {
            opened.set_len(len)?;
            let now = look_at(opened)?;
            self.tracked[file].with(|watch| watch.on_own_change(now));
        }
        Ok(())
    }

    /// Notes that the next sync must include the file.
    fn touch(&self, file: usize) {
        self.unsynced.lock().touched.insert(file);
    }

    /// Notes the folders of a file that may be new: their entries must be made durable for the file to survive a power
    /// cut.
    fn remember_entry(&self, path: &Path) {
        let mut unsynced = self.unsynced.lock();
        for folder in path.ancestors().skip(1) {
            if unsynced.new_entries.contains(folder) {
                break;
            }
            unsynced.new_entries.insert(folder.to_path_buf());
        }
    }

    /// The error of an operation on a file. On a full disk it has the free and the `wanted` bytes.
    fn trouble(&self, operation: &'static str, file: usize, error: &io::Error, wanted: u64) -> DiskTrouble {
        let trouble = DiskTrouble::new(operation, &self.shown_path(file), error);
        match trouble.kind {
            TroubleKind::Full => DiskTrouble { space: self.free().map(|free| (free, wanted)), ..trouble },
            _ => trouble,
        }
    }

    /// The error of a read; a file that is too short counts as missing.
    fn read_trouble(&self, file: usize, error: &io::Error) -> DiskTrouble {
        let trouble = self.trouble("read", file, error, 0);
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return DiskTrouble {
                kind: TroubleKind::Missing,
                reason: "the file is shorter than it should be".to_owned(),
                ..trouble
            };
        }
        trouble
    }
}

/// Asks the kernel to read ahead. It is a hint: if the file system refuses it, the read itself gets the bytes.
pub fn read_ahead(file: &File, offset: u64, len: u64) {
    if let Err(error) = rustix::fs::fadvise(file, offset, NonZeroU64::new(len), Advice::WillNeed) {
        tracing::debug!(%error, "no reading ahead");
    }
}

/// Whether the error says that no descriptor is left, in this process or on this machine.
fn is_crowded(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error).is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE))
}

/// The witness of a file's metadata.
fn witness(meta: &Metadata) -> Witness {
    let mtime_ns = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
    Witness { len: meta.len(), dev: meta.dev(), ino: meta.ino(), mtime_ns }
}

/// The ranges with data, by `SEEK_DATA` and `SEEK_HOLE`. A file system without holes has data everywhere.
fn extents(file: &File, len: u64) -> Vec<Range<u64>> {
    use rustix::fs::SeekFrom;
    let mut found = Vec::new();
    let mut at = 0;
    while at < len {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(_) => {
                found.push(at..len);
                break;
            }
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap_or(len).max(start + 1);
        found.push(start..end.min(len));
        at = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX_OPEN: usize = 10;

    fn files_of(lens: &[u64]) -> (tempfile::TempDir, StoredFiles) {
        let dir = tempfile::tempdir().unwrap();
        let folder = OutputFolder::open(dir.path()).unwrap();
        let spec = |(nth, len): (usize, &u64)| FileSpec {
            path: format!("d{}/f{nth}", nth % 2).into(),
            len: *len,
            padding: nth == 2,
        };
        let specs = lens.iter().enumerate().map(spec).collect();
        (dir, StoredFiles::new(folder, specs, MAX_OPEN))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Any division into blocks, any file borders: the bytes written are read back; padding reads as zeros.
        #[test]
        fn writes_come_back(lens in prop::collection::vec(0u64..300, 1..8), cuts in prop::collection::vec(1usize..90, 1..8), start in 0u64..200) {
            let (_dir, files) = files_of(&lens);
            let total: u64 = lens.iter().sum();
            let blocks: Vec<Bytes> = cuts.iter().enumerate().map(|(n, len)| Bytes::from(vec![u8::try_from(n + 1).unwrap(); *len])).collect();
            let len: u64 = cuts.iter().map(|c| *c as u64).sum();
            prop_assume!(start + len <= total);
            files.write(start, &blocks).unwrap();
            let mut back = vec![0xee; usize::try_from(len).unwrap()];
            files.read(start, &mut back).unwrap();
            let mut want = blocks.concat();
            let pad_start: u64 = lens.iter().take(2).sum();
            let pad_end = pad_start + lens.get(2).copied().unwrap_or(0);
            for (at, byte) in (start..).zip(want.iter_mut()) {
                if (pad_start..pad_end).contains(&at) { *byte = 0; }
            }
            prop_assert_eq!(back, want);
            files.sync().unwrap();
            prop_assert!(files.forgo_sync().unwrap().is_empty());
        }
    }

    #[test]
    fn more_files_than_descriptors_can_be_used() {
        for max_open in [MAX_OPEN, 0] {
            let (_dir, files) = files_of(&[1; 400]);
            let files = StoredFiles { open: OpenFiles::new(max_open), ..files };
            for round in 0..2u8 {
                for at in (0..400).filter(|at| *at != 2) {
                    files.write(at, &[Bytes::copy_from_slice(&[round])]).unwrap();
                }
            }
            assert!(files.open.len() <= max_open);
            let mut back = [9; 400];
            files.read(0, &mut back).unwrap();
            assert!(back.iter().enumerate().all(|(at, byte)| *byte == u8::from(at != 2)));
            files.sync().unwrap();
        }
    }

    #[test]
    fn holes_are_not_data() {
        let (_dir, files) = files_of(&[1 << 20]);
        files.write(512 * 1024, &[Bytes::from(vec![1; 4096])]).unwrap();
        let extents = files.data_extents(0).unwrap();
        assert!(extents.iter().any(|range| range.contains(&(512 * 1024))));
        assert!(extents.iter().map(|range| range.end - range.start).sum::<u64>() < 1 << 20, "{extents:?}");
    }

    #[test]
    fn a_missing_or_short_file_is_trouble_with_its_path() {
        let (dir, files) = files_of(&[100]);
        let trouble = files.read(0, &mut [0; 10]).unwrap_err();
        assert_eq!(trouble.kind, TroubleKind::Missing);
        files.write(0, &[Bytes::from_static(b"0123456789")]).unwrap();
        std::fs::OpenOptions::new().write(true).open(dir.path().join("d0/f0")).unwrap().set_len(5).unwrap();
        let trouble = files.read(0, &mut [0; 10]).unwrap_err();
        assert_eq!((trouble.kind, trouble.offset), (TroubleKind::Missing, Some(0)));
        assert!(trouble.to_string().contains("d0/f0"), "{trouble}");
    }
}
