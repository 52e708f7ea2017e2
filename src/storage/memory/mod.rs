//! [`Storage`] in memory: simulates a disk and its failures, without a thread and on any clock.
//!
//! A [`Medium`] is the disk: it outlives the program that writes to it, can be made to fail, and knows what a power cut
//! would leave. A [`Memory`] is one program's use of it. The caller decides what fails, and when.

mod names;
mod program;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use sha1::{Digest, Sha1};
use tokio::time::sleep;

use super::check::hash_of_zeros;
use super::{DiskTrouble, Inventory, Later, OpenTrouble, PieceJob, PieceOutcome, Snapshot, Storage};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex, PieceRange};
use crate::base::ids::InfoHash;
use crate::base::locked::Locked;
use crate::codec::metainfo::{Metainfo, PieceHashes};
use crate::codec::resume::{BadRecord, ResumeRecord};
use crate::logic::disk::layout::Layout;
use crate::logic::disk::resume::{Present, RecordTrust, RecordedTorrent, TrustReason, trust};
pub use names::Meddle;
use names::{MemoryName, Nameless};
use program::DiskProgram;

/// 4 KiB: the unit that a file system writes or loses.
const PAGE: usize = 4096;

/// The path in errors of this storage.
const PLACE: &str = "memory";

/// The kinds of operations of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Writing the bytes of a piece.
    Write,
    /// Reading bytes for a peer or for hashing.
    Read,
    /// Making written bytes durable.
    Sync,
    /// Replacing the record.
    Record,
}

/// The condition of a disk.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// The operations that fail, each with its error, until this is changed.
    pub failing: BTreeMap<Operation, io::ErrorKind>,
    /// The duration of every operation.
    pub delay: Duration,
}

/// A disk with one torrent on it. Clones share the same disk.
#[derive(Debug, Clone)]
pub struct Medium(Arc<Locked<State>>);

/// The contents and the condition of a disk.
#[derive(Debug)]
struct State {
    /// The bytes that a read returns.
    cache: Vec<u8>,
    /// The bytes that a power cut leaves.
    durable: Vec<u8>,
    /// The ranges written since the last sync.
    unsynced: Vec<Range<usize>>,
    /// Whether each page was ever written: as a read sees it, and as a power cut leaves it.
    pages: [Vec<bool>; 2],
    record: Option<Vec<u8>>,
    previous: Option<Vec<u8>>,
    records: u64,
    health: Health,
    /// For each operation a countdown and an error: the n-th operation from now fails once.
    strikes: BTreeMap<Operation, (u64, io::ErrorKind)>,
    failures: BTreeMap<Operation, u64>,
    /// The files, in the order of the torrent. Empty until a program uses the disk.
    names: Vec<MemoryName>,
    nameless: BTreeMap<u64, Nameless>,
    /// The number of changes of files so far. Serves as the clock of their times.
    ticks: i64,
    truth: Option<Vec<u8>>,
    wrong_reads: u64,
}

impl Medium {
    /// An empty disk of `len` bytes without failures.
    pub fn new(len: u64) -> Self {
        let len = usize::try_from(len).expect("a torrent that is simulated fits into memory");
        let pages = vec![false; len.div_ceil(PAGE)];
        Self(Arc::new(Locked::new(State {
            cache: vec![0; len],
            durable: vec![0; len],
            unsynced: Vec::new(),
            pages: [pages.clone(), pages],
            record: None,
            previous: None,
            records: 0,
            health: Health::default(),
            strikes: BTreeMap::new(),
            failures: BTreeMap::new(),
            names: Vec::new(),
            nameless: BTreeMap::new(),
            ticks: 0,
            truth: None,
            wrong_reads: 0,
        })))
    }

    /// A disk on which the whole content is durable, without a record.
    pub fn holding(content: Vec<u8>) -> Self {
        let medium = Self::new(content.len() as u64);
        {
            let mut state = medium.lock();
            state.pages.iter_mut().flatten().for_each(|page| *page = true);
            (state.durable, state.cache) = (content.clone(), content);
        }
        medium
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Changes the condition of the disk.
    pub fn change(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.lock().health);
    }

    /// Makes the `nth` operation of this kind from now fail once; 1 is the next one.
    pub fn strike(&self, operation: Operation, nth: u64, error: io::ErrorKind) {
        self.lock().strikes.insert(operation, (nth, error));
    }

    /// The number of operations that failed so far, by kind.
    pub fn failures(&self) -> BTreeMap<Operation, u64> {
        self.lock().failures.clone()
    }

    /// Cuts the power. `survives` is asked for each page that was not synced whether the page was written.
    pub fn cut_power(&self, mut survives: impl FnMut() -> bool) {
        let mut state = self.lock();
        for range in std::mem::take(&mut state.unsynced) {
            for page in pages_of(&range) {
                if survives() {
                    state.harden(page);
                }
            }
        }
        let State { cache, durable, pages: [seen, hard], .. } = &mut *state;
        cache.clone_from(durable);
        seen.clone_from(hard);
        state.names.iter_mut().for_each(|name| name.is_made = false);
    }

    /// Flips one bit of what a read returns.
    #[cfg(test)]
    fn rot(&self, at: usize) {
        self.lock().cache[at] ^= 1;
    }

    /// Replaces the bytes of the record, as another program might. With `None` the record is removed, and so is the
    /// previous one.
    pub fn tamper_with_record(&self, tamper: impl FnOnce(Option<Vec<u8>>) -> Option<Vec<u8>>) {
        let mut state = self.lock();
        state.record = tamper(state.record.take());
        if state.record.is_none() {
            state.previous = None;
        }
    }

    /// The bytes and the record that a power cut would leave if no unsynced page survived.
    pub fn durable(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let state = self.lock();
        (state.durable.clone(), state.record.clone())
    }

    /// How often the record was replaced.
    pub fn records(&self) -> u64 {
        self.lock().records
    }

    /// The bytes that a program reads.
    pub fn visible(&self) -> Vec<u8> {
        self.lock().cache.clone()
    }
}

/// The pages that a range of bytes touches.
fn pages_of(range: &Range<usize>) -> Range<usize> {
    range.start / PAGE..range.end.div_ceil(PAGE)
}

impl State {
    /// Makes a page durable.
    fn harden(&mut self, page: usize) {
        let bytes = page * PAGE..((page + 1) * PAGE).min(self.cache.len());
        self.durable[bytes.clone()].copy_from_slice(&self.cache[bytes]);
        self.pages[1][page] = self.pages[0][page];
    }

    /// Fails if the operation must fail, and counts the failure.
    fn attempt(&mut self, operation: Operation) -> Result<(), DiskTrouble> {
        let mut error = self.health.failing.get(&operation).copied();
        if let Some((left, strike)) = self.strikes.get_mut(&operation) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                error = Some(*strike);
                self.strikes.remove(&operation);
            }
        }
        let Some(error) = error else { return Ok(()) };
        *self.failures.entry(operation).or_default() += 1;
        Err(DiskTrouble::new(word_for(operation), Path::new(PLACE), &io::Error::from(error)))
    }

    /// Stores bytes that a program has written.
    fn put(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let place = at..at + bytes.len();
        self.cache[place.clone()].copy_from_slice(bytes);
        pages_of(&place).for_each(|page| self.pages[0][page] = true);
        self.unsynced.push(place);
    }

    /// Syncs, or fails. A failed sync counts its pages as clean, and a later sync does not write them (as in Linux).
    /// Every second one of these pages loses what was written.
    fn sync(&mut self) -> Result<(), DiskTrouble> {
        let attempted = self.attempt(Operation::Sync);
        for range in std::mem::take(&mut self.unsynced) {
            for page in pages_of(&range) {
                if attempted.is_ok() {
                    self.harden(page);
                } else if page % 2 == 0 {
                    let bytes = page * PAGE..((page + 1) * PAGE).min(self.cache.len());
                    let kept = self.durable[bytes.clone()].to_vec();
                    self.cache[bytes].copy_from_slice(&kept);
                }
            }
        }
        attempted
    }

    /// Replaces the record; the old one stays as the previous one.
    fn save(&mut self, record: &ResumeRecord) -> Result<(), DiskTrouble> {
        self.attempt(Operation::Record)?;
        self.records += 1;
        self.previous = self.record.replace(record.encode());
        Ok(())
    }
}

/// The name of an operation in errors.
const fn word_for(operation: Operation) -> &'static str {
    match operation {
        Operation::Write => "write",
        Operation::Read => "read",
        Operation::Sync => "sync",
        Operation::Record => "record",
    }
}

/// The storage of a torrent on a [`Medium`].
#[derive(Debug, Clone)]
pub struct Memory {
    medium: Medium,
    torrent: Arc<Shape>,
    program: Arc<Locked<DiskProgram>>,
}

/// What the storage knows of the torrent.
#[derive(Debug)]
struct Shape {
    info_hash: InfoHash,
    geometry: Geometry,
    hashes: PieceHashes,
    layout: Layout,
}

impl Memory {
    /// Makes the storage. Touches no file yet. The medium must be as long as the torrent.
    pub fn new(metainfo: &Metainfo, medium: Medium) -> Self {
        let shape = Shape {
            info_hash: metainfo.info.info_hash,
            geometry: metainfo.info.geometry,
            hashes: metainfo.info.hashes.clone(),
            layout: Layout::new(metainfo.info.files.iter().map(|file| file.len)),
        };
        Self { medium, torrent: Arc::new(shape), program: Arc::default() }
    }

    /// Waits for the delay of the disk, then runs the job.
    fn run<T: 'static>(&self, job: impl FnOnce(&Shape, &mut State, &mut DiskProgram) -> T + 'static) -> Later<T> {
        let Self { medium, torrent, program } = self.clone();
        let delay = medium.lock().health.delay;
        Box::pin(async move {
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let (mut state, mut program) = (medium.lock(), program.lock());
            if !program.has_begun() {
                state.name_files(&torrent.layout);
                program.begin(&state);
            }
            job(&torrent, &mut state, &mut program)
        })
    }
}

impl Storage for Memory {
    fn open(&self) -> Later<Result<Inventory, OpenTrouble>> {
        self.run(|shape, state, program| {
            program.begin(state);
            Ok(shape.look(state))
        })
    }

    fn open_to_recheck(&self) -> Later<Result<Inventory, OpenTrouble>> {
        self.run(|shape, state, program| {
            program.begin(state);
            Ok(shape.look_at_everything(state))
        })
    }

    fn check(&self, pieces: Vec<PieceIndex>) -> Later<Vec<(PieceIndex, Result<bool, DiskTrouble>)>> {
        self.run(move |shape, state, program| {
            let mut right = |piece| {
                state.attempt(Operation::Read)?;
                let is_right = shape.is_right(state, program, piece);
                if is_right {
                    program.doubts.remove(&piece);
                }
                Ok(is_right)
            };
            pieces.into_iter().map(|piece| (piece, right(piece))).collect()
        })
    }

    fn admit(&self, start: Snapshot) -> Later<Result<(), OpenTrouble>> {
        self.run(move |shape, state, program| {
            state.sync()?;
            Ok(state.save(&program.record(shape, &start))?)
        })
    }

    /// A number that is usual for a disk, on every CPU.
    fn abreast(&self) -> usize {
        4
    }

    fn write(&self, jobs: Vec<PieceJob>) -> Later<Vec<PieceOutcome>> {
        self.run(move |shape, state, program| jobs.into_iter().map(|job| shape.write(job, state, program)).collect())
    }

    fn read(&self, ranges: Vec<PieceRange>) -> Later<Vec<Result<Bytes, DiskTrouble>>> {
        self.run(move |shape, state, program| {
            ranges.into_iter().map(|range| shape.read_for_peer(range, state, program)).collect()
        })
    }

    fn vet(&self, have: Bitfield) -> Later<Result<Vec<PieceIndex>, DiskTrouble>> {
        self.run(move |shape, state, program| Ok(program.vet(shape, state, &have)))
    }

    fn persist(&self, snapshot: Snapshot) -> Later<Result<(), DiskTrouble>> {
        self.run(move |shape, state, program| {
            state.sync()?;
            if snapshot.clean {
                program.vet(shape, state, &snapshot.have);
            } else {
                program.look_at_all(state);
                program.note_doubts(shape);
            }
            state.save(&program.record(shape, &snapshot))
        })
    }
}

impl Shape {
    /// An offset in the torrent as an index.
    fn at(&self, offset: u64) -> usize {
        debug_assert!(offset <= self.geometry.total_len());
        usize::try_from(offset).expect("a torrent that is simulated fits into memory")
    }

    /// The range of a piece's bytes.
    fn bytes_of(&self, piece: PieceIndex) -> Range<usize> {
        let start = self.at(self.geometry.piece_start(piece));
        start..start + self.geometry.piece_len(piece) as usize
    }

    /// Whether the bytes of a piece on the disk have the right hash.
    fn is_right(&self, state: &State, program: &mut DiskProgram, piece: PieceIndex) -> bool {
        let (start, len) = (self.geometry.piece_start(piece), self.geometry.piece_len(piece).into());
        let bytes: Result<Vec<_>, _> = self.layout.spans(start, len).map(|span| program.read(state, &span)).collect();
        bytes.is_ok_and(|bytes| <[u8; 20]>::from(Sha1::digest(bytes.concat())) == self.hashes.get(piece))
    }

    /// Hashes and writes a piece.
    fn write(&self, job: PieceJob, state: &mut State, program: &mut DiskProgram) -> PieceOutcome {
        let hash = job.blocks.iter().fold(Sha1::new(), Digest::chain_update).finalize();
        if <[u8; 20]>::from(hash) != self.hashes.get(job.piece) {
            return PieceOutcome::HashMismatch(job.piece);
        }
        // A write that fails has written half of its bytes.
        let attempted = state.attempt(Operation::Write);
        let bytes: Vec<u8> = job.blocks.concat();
        let written = if attempted.is_ok() { bytes.len() } else { bytes.len() / 2 };
        let mut rest = &bytes[..written];
        for span in self.layout.spans(self.geometry.piece_start(job.piece), written as u64) {
            let (part, tail) = rest.split_at(self.at(span.len));
            program.write(state, &span, part);
            rest = tail;
        }
        match attempted {
            Ok(()) => {
                program.doubts.remove(&job.piece);
                PieceOutcome::Written(job.piece)
            }
            Err(trouble) => PieceOutcome::Trouble(job, trouble),
        }
    }

    /// Reads a range for a peer, and counts reads that give wrong bytes.
    fn read_for_peer(
        &self,
        range: PieceRange,
        state: &mut State,
        program: &mut DiskProgram,
    ) -> Result<Bytes, DiskTrouble> {
        state.attempt(Operation::Read)?;
        let start = self.geometry.range_start(range);
        let spans = self.layout.spans(start, range.len().into());
        let bytes: Vec<_> = spans.map(|span| program.read_vouched(state, &span)).collect::<Result<_, _>>()?;
        if program.doubts.contains(&range.piece()) {
            return Err(DiskTrouble::changed("read", Path::new(PLACE)));
        }
        let (bytes, at) = (bytes.concat(), self.at(start));
        // Whole pieces are read by `DiskWriter`, to be written again after a failed sync (D-05).
        let is_for_peer = range.len() < self.geometry.piece_len(range.piece());
        let is_wrong = is_for_peer && state.truth.as_ref().is_some_and(|truth| truth[at..at + bytes.len()] != bytes);
        state.wrong_reads += u64::from(is_wrong);
        Ok(bytes.into())
    }

    /// Decides which pieces are trusted and which are to be hashed.
    fn look(&self, state: &State) -> Inventory {
        let decoded = state.record.as_deref().map(ResumeRecord::decode);
        let before = state.previous.as_deref().and_then(|bytes| ResumeRecord::decode(bytes).ok()).map(Ok);
        let found: Option<Result<ResumeRecord, BadRecord>> = match decoded {
            Some(Err(bad)) => before.or(Some(Err(bad))),
            other => other,
        };
        let torrent = RecordedTorrent { info_hash: self.info_hash, geometry: &self.geometry, layout: &self.layout };
        let files: Vec<_> = (0..self.layout.file_count()).map(|file| state.witness(file)).collect();
        let RecordTrust { have, check: _, reason } =
            trust(found.as_ref().map(Result::as_ref), torrent, Present { files: &files, folder_dev: Some(1) });
        let zeros = hash_of_zeros(self.geometry.nominal_piece_len());
        let worth = |piece: &PieceIndex| self.has_data(state, *piece) || self.hashes.get(*piece) == zeros;
        let is_doubtful = !matches!(reason, TrustReason::Clean | TrustReason::Fresh);
        let missing = self.geometry.pieces().filter(|piece| !have.has(*piece)).filter(worth);
        let check: Vec<PieceIndex> = if is_doubtful { missing.collect() } else { Vec::new() };
        let totals = found.and_then(Result::ok).map_or((0, 0), |record| (record.downloaded, record.uploaded));
        let reason = (!check.is_empty()).then(|| reason.to_string());
        Inventory { have, check, reason, received: totals.0, sent: totals.1 }
    }

    /// As [`Self::look`], without trust in the record.
    fn look_at_everything(&self, state: &State) -> Inventory {
        let Inventory { received, sent, .. } = self.look(state);
        let check: Vec<_> = self.geometry.pieces().filter(|piece| self.has_data(state, *piece)).collect();
        let reason = (!check.is_empty()).then(|| TrustReason::Requested.to_string());
        Inventory { have: Bitfield::none(self.geometry.piece_count()), check, reason, received, sent }
    }

    /// Whether any page of a piece was ever written.
    fn has_data(&self, state: &State, piece: PieceIndex) -> bool {
        pages_of(&self.bytes_of(piece)).any(|page| state.pages[0][page])
    }
}

#[cfg(test)]
mod tests;
