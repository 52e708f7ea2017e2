//! [`Storage`] in memory: what a disk does, also when it fails, without a thread and on whatever clock there is.
//!
//! A [`Medium`] is the disk: it outlives the program that writes to it, can be told to fail, and remembers what a power
//! cut would leave. A [`Memory`] is one program's use of it. Knows no plan: who breaks the disk, and when, is for the
//! caller to say.

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
use crate::base::geometry::{Geometry, PieceIndex, PieceRange};
use crate::base::ids::InfoHash;
use crate::base::locked::Locked;
use crate::codec::metainfo::{Metainfo, PieceHashes};
use crate::codec::resume::{BadRecord, Record, Witness};
use crate::logic::layout::Layout;
use crate::logic::resume::{Present, Reason, Torrent, Trust, trust};

/// 4 KiB: what a file system writes or loses as one.
const PAGE: usize = 4096;

/// What trouble names as the place.
const PLACE: &str = "memory";

/// What a program asks of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Bytes of a piece.
    Write,
    /// Bytes for a peer, or to be hashed.
    Read,
    /// What was written becomes durable.
    Sync,
    /// The record is replaced.
    Record,
}

/// How a disk is doing.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Operations that fail, each with its error, until told otherwise.
    pub failing: BTreeMap<Operation, io::ErrorKind>,
    /// How long every operation takes.
    pub delay: Duration,
}

/// A disk with one torrent on it. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct Medium(Arc<Locked<State>>);

#[derive(Debug)]
struct State {
    /// What a read sees.
    cache: Vec<u8>,
    /// What a power cut leaves.
    durable: Vec<u8>,
    /// Written since the last sync.
    unsynced: Vec<Range<usize>>,
    /// Pages that were ever written, as a read and as a power cut see it.
    pages: [Vec<bool>; 2],
    record: Option<Vec<u8>>,
    previous: Option<Vec<u8>>,
    records: u64,
    health: Health,
    /// The n-th operation from now on fails, once.
    strikes: BTreeMap<Operation, (u64, io::ErrorKind)>,
    failures: BTreeMap<Operation, u64>,
}

impl Medium {
    /// Empty and well.
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
        })))
    }

    /// Everything is there, durable, and no record of it.
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

    /// Changes how it is doing.
    pub fn change(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.lock().health);
    }

    /// Makes the `nth` operation of this kind from now on fail, once; 1 is the next.
    pub fn strike(&self, operation: Operation, nth: u64, error: io::ErrorKind) {
        self.lock().strikes.insert(operation, (nth, error));
    }

    /// Operations that failed so far.
    pub fn failures(&self) -> BTreeMap<Operation, u64> {
        self.lock().failures.clone()
    }

    /// A power cut: of each page that was not synced, `survives` says whether it made it.
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
    }

    /// Turns one bit of what is read.
    #[cfg(test)]
    fn rot(&self, at: usize) {
        self.lock().cache[at] ^= 1;
    }

    /// Replaces the bytes of the record, as somebody else's program might; `None`: it is gone, the one before too.
    pub fn tamper_with_record(&self, tamper: impl FnOnce(Option<Vec<u8>>) -> Option<Vec<u8>>) {
        let mut state = self.lock();
        state.record = tamper(state.record.take());
        if state.record.is_none() {
            state.previous = None;
        }
    }

    /// What a power cut at this moment would leave if every page were lost: bytes and record.
    pub fn durable(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let state = self.lock();
        (state.durable.clone(), state.record.clone())
    }

    /// How often the record was replaced.
    pub fn records(&self) -> u64 {
        self.lock().records
    }

    /// What a program reads.
    pub fn visible(&self) -> Vec<u8> {
        self.lock().cache.clone()
    }
}

fn pages_of(range: &Range<usize>) -> Range<usize> {
    range.start / PAGE..range.end.div_ceil(PAGE)
}

impl State {
    fn harden(&mut self, page: usize) {
        let bytes = page * PAGE..((page + 1) * PAGE).min(self.cache.len());
        self.durable[bytes.clone()].copy_from_slice(&self.cache[bytes]);
        self.pages[1][page] = self.pages[0][page];
    }

    /// Fails if it should, and counts that.
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

    /// What fails half-way has written half.
    fn write(&mut self, at: usize, blocks: &[Bytes]) -> Result<(), DiskTrouble> {
        let attempted = self.attempt(Operation::Write);
        let bytes: Vec<u8> = blocks.concat();
        let written = if attempted.is_ok() { bytes.len() } else { bytes.len() / 2 };
        self.cache[at..at + written].copy_from_slice(&bytes[..written]);
        if written > 0 {
            for page in pages_of(&(at..at + written)) {
                self.pages[0][page] = true;
            }
            self.unsynced.push(at..at + written);
        }
        attempted
    }

    /// A failed sync forgets what it should have synced: the pages count as clean afterwards, and a later sync does not
    /// come back to them (as Linux does it). Every other one is no longer what was written, either.
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

    fn save(&mut self, record: &Record) -> Result<(), DiskTrouble> {
        self.attempt(Operation::Record)?;
        self.records += 1;
        self.previous = self.record.replace(record.encode());
        Ok(())
    }
}

const fn word_for(operation: Operation) -> &'static str {
    match operation {
        Operation::Write => "write",
        Operation::Read => "read",
        Operation::Sync => "sync",
        Operation::Record => "record",
    }
}

/// A torrent on a [`Medium`].
#[derive(Debug, Clone)]
pub struct Memory {
    medium: Medium,
    torrent: Arc<Shape>,
}

#[derive(Debug)]
struct Shape {
    info_hash: InfoHash,
    geometry: Geometry,
    hashes: PieceHashes,
    layout: Layout,
}

impl Memory {
    /// Touches nothing yet. The medium must be as long as the torrent.
    pub fn new(metainfo: &Metainfo, medium: Medium) -> Self {
        let shape = Shape {
            info_hash: metainfo.info_hash,
            geometry: metainfo.geometry,
            hashes: metainfo.hashes.clone(),
            layout: Layout::new(metainfo.files.iter().map(|file| file.len)),
        };
        Self { medium, torrent: Arc::new(shape) }
    }

    /// Waits as long as the disk takes, then does it.
    fn run<T: 'static>(&self, job: impl FnOnce(&Shape, &mut State) -> T + 'static) -> Later<T> {
        let (medium, shape) = (self.medium.clone(), Arc::clone(&self.torrent));
        let delay = medium.lock().health.delay;
        Box::pin(async move {
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let mut state = medium.lock();
            job(&shape, &mut state)
        })
    }
}

impl Storage for Memory {
    fn open(&self) -> Later<Result<Inventory, OpenTrouble>> {
        self.run(|shape, state| Ok(shape.look(state)))
    }

    fn check(&self, pieces: Vec<PieceIndex>) -> Later<Vec<(PieceIndex, Result<bool, DiskTrouble>)>> {
        self.run(move |shape, state| {
            let mut right = |piece| state.attempt(Operation::Read).map(|()| shape.is_right(state, piece));
            pieces.into_iter().map(|piece| (piece, right(piece))).collect()
        })
    }

    fn admit(&self, start: Snapshot) -> Later<Result<(), OpenTrouble>> {
        self.run(move |shape, state| {
            state.sync()?;
            Ok(state.save(&shape.record(&start, state))?)
        })
    }

    /// As on a disk, whatever CPU plays it.
    fn abreast(&self) -> usize {
        4
    }

    fn write(&self, jobs: Vec<PieceJob>) -> Later<Vec<PieceOutcome>> {
        self.run(move |shape, state| jobs.into_iter().map(|job| shape.write(job, state)).collect())
    }

    fn read(&self, ranges: Vec<PieceRange>) -> Later<Vec<Result<Bytes, DiskTrouble>>> {
        self.run(move |shape, state| {
            let read = |range: PieceRange| {
                state.attempt(Operation::Read)?;
                let at = shape.at(shape.geometry.range_start(range));
                Ok(Bytes::copy_from_slice(&state.cache[at..at + range.len() as usize]))
            };
            ranges.into_iter().map(read).collect()
        })
    }

    fn persist(&self, snapshot: Snapshot) -> Later<Result<(), DiskTrouble>> {
        self.run(move |shape, state| {
            state.sync()?;
            state.save(&shape.record(&snapshot, state))
        })
    }
}

impl Shape {
    fn at(&self, offset: u64) -> usize {
        debug_assert!(offset <= self.geometry.total_len());
        usize::try_from(offset).expect("a torrent that is simulated fits into memory")
    }

    fn bytes_of(&self, piece: PieceIndex) -> Range<usize> {
        let start = self.at(self.geometry.piece_start(piece));
        start..start + self.geometry.piece_len(piece) as usize
    }

    fn is_right(&self, state: &State, piece: PieceIndex) -> bool {
        <[u8; 20]>::from(Sha1::digest(&state.cache[self.bytes_of(piece)])) == self.hashes.get(piece)
    }

    fn write(&self, job: PieceJob, state: &mut State) -> PieceOutcome {
        let hash = job.blocks.iter().fold(Sha1::new(), Digest::chain_update).finalize();
        if <[u8; 20]>::from(hash) != self.hashes.get(job.piece) {
            return PieceOutcome::HashMismatch(job.piece);
        }
        match state.write(self.bytes_of(job.piece).start, &job.blocks) {
            Ok(()) => PieceOutcome::Written(job.piece),
            Err(trouble) => PieceOutcome::Trouble(job, trouble),
        }
    }

    fn look(&self, state: &State) -> Inventory {
        let decoded = state.record.as_deref().map(Record::decode);
        let before = state.previous.as_deref().and_then(|bytes| Record::decode(bytes).ok()).map(Ok);
        let found: Option<Result<Record, BadRecord>> = match decoded {
            Some(Err(bad)) => before.or(Some(Err(bad))),
            other => other,
        };
        let torrent = Torrent { info_hash: self.info_hash, geometry: &self.geometry, layout: &self.layout };
        let files = self.witnesses(state);
        let Trust { have, check: _, reason } =
            trust(found.as_ref().map(Result::as_ref), torrent, Present { files: &files, folder_dev: Some(1) });
        let zeros = hash_of_zeros(self.geometry.nominal_piece_len());
        let worth = |piece: &PieceIndex| self.has_data(state, *piece) || self.hashes.get(*piece) == zeros;
        let is_doubtful = !matches!(reason, Reason::Clean | Reason::Fresh);
        let missing = self.geometry.pieces().filter(|piece| !have.has(*piece)).filter(worth);
        let check: Vec<PieceIndex> = if is_doubtful { missing.collect() } else { Vec::new() };
        let totals = found.and_then(Result::ok).map_or((0, 0), |record| (record.downloaded, record.uploaded));
        let reason = (!check.is_empty()).then(|| reason.to_string());
        Inventory { have, check, reason, received: totals.0, sent: totals.1 }
    }

    fn has_data(&self, state: &State, piece: PieceIndex) -> bool {
        pages_of(&self.bytes_of(piece)).any(|page| state.pages[0][page])
    }

    /// A file is there, in its full length, as soon as a page of it was written.
    fn witnesses(&self, state: &State) -> Vec<Witness> {
        let witness = |file: usize| {
            let range = self.layout.file_range(file)?;
            let is_there = pages_of(&(self.at(range.start)..self.at(range.end))).any(|page| state.pages[0][page]);
            is_there.then_some(Witness { len: range.end - range.start, dev: 1, ino: file as u64 + 1, mtime_ns: 0 })
        };
        (0..self.layout.file_count()).map(|file| witness(file).unwrap_or_default()).collect()
    }

    fn record(&self, snapshot: &Snapshot, state: &State) -> Record {
        Record {
            info_hash: self.info_hash,
            pieces: self.geometry.piece_count(),
            have: snapshot.have.clone(),
            files: self.witnesses(state),
            part: Witness::default(),
            downloaded: snapshot.received,
            uploaded: snapshot.sent,
            clean: snapshot.clean,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::bitfield::Bitfield;
    use crate::faults::payload::Payload;
    use crate::faults::torrent::Recipe;
    use crate::storage::SharedStorage;

    const LEN: u64 = 40_000;

    /// Three pieces of 16 KiB at most, and a disk for them.
    fn disk() -> (Metainfo, Payload, Medium) {
        let payload = Payload::new(5, LEN);
        let torrent = Recipe::single("x", 16_384, &[]).make(payload).unwrap();
        (Metainfo::parse(&torrent.file).unwrap(), payload, Medium::new(LEN))
    }

    fn job(metainfo: &Metainfo, payload: Payload, number: u32) -> PieceJob {
        let piece = metainfo.geometry.piece(number).unwrap();
        let (at, len) = (metainfo.geometry.piece_start(piece), metainfo.geometry.piece_len(piece) as usize);
        PieceJob { piece, blocks: Arc::new([payload.read(at, len).into()]) }
    }

    fn snapshot(metainfo: &Metainfo, pieces: &[u32]) -> Snapshot {
        let mut have = Bitfield::none(metainfo.geometry.piece_count());
        for piece in pieces {
            have.set(metainfo.geometry.piece(*piece).unwrap());
        }
        Snapshot { have, received: 1, sent: 2, clean: false, done: false }
    }

    async fn found(metainfo: &Metainfo, medium: &Medium) -> (Vec<u32>, Vec<u32>) {
        let inventory = Memory::new(metainfo, medium.clone()).open().await.unwrap();
        let check = inventory.check.iter().map(|piece| piece.get()).collect();
        (inventory.have.iter_ones().collect(), check)
    }

    #[tokio::test]
    async fn a_power_cut_leaves_what_was_synced_and_of_the_rest_what_it_likes() {
        let (metainfo, payload, medium) = disk();
        let storage: SharedStorage = Arc::new(Memory::new(&metainfo, medium.clone()));
        assert_eq!(found(&metainfo, &medium).await, (vec![], vec![]));
        storage.admit(snapshot(&metainfo, &[])).await.unwrap();
        let outcome = storage.write(vec![job(&metainfo, payload, 0)]).await;
        assert!(matches!(outcome[..], [PieceOutcome::Written(_)]));
        storage.persist(snapshot(&metainfo, &[0])).await.unwrap();
        storage.write(vec![job(&metainfo, payload, 1), job(&metainfo, payload, 2)]).await;
        assert_eq!(medium.visible(), payload.read(0, 40_000));
        let mut nth = 0;
        medium.cut_power(|| {
            nth += 1;
            nth == 1
        });
        let left = medium.visible();
        assert_eq!(left[..16_384 + PAGE], payload.read(0, 16_384 + PAGE));
        assert!(left[16_384 + PAGE..].iter().all(|byte| *byte == 0));
        assert_eq!(found(&metainfo, &medium).await, (vec![0], vec![1]), "what has data is worth a look");
    }

    #[tokio::test]
    async fn a_failed_sync_forgets_what_it_should_have_synced() {
        let (metainfo, payload, medium) = disk();
        let storage = Memory::new(&metainfo, medium.clone());
        storage.write(vec![job(&metainfo, payload, 0)]).await;
        medium.strike(Operation::Sync, 1, io::ErrorKind::Other);
        assert!(storage.persist(snapshot(&metainfo, &[0])).await.is_err());
        assert_eq!(medium.durable().1, None, "no record of it");
        storage.persist(snapshot(&metainfo, &[])).await.unwrap();
        assert!(medium.durable().0.iter().all(|byte| *byte == 0), "a later sync does not come back to it");
        assert_eq!(medium.failures(), [(Operation::Sync, 1)].into());
    }

    #[tokio::test]
    async fn it_fails_as_it_is_told_and_gives_the_job_back() {
        let (metainfo, payload, medium) = disk();
        let storage = Memory::new(&metainfo, medium.clone());
        medium.change(|health| _ = health.failing.insert(Operation::Write, io::ErrorKind::StorageFull));
        let outcome = storage.write(vec![job(&metainfo, payload, 0)]).await;
        assert!(matches!(&outcome[..], [PieceOutcome::Trouble(job, _)] if job.piece.get() == 0));
        medium.change(|health| health.failing.clear());
        let wrong = PieceJob { blocks: Arc::new([Bytes::from(vec![0; 16_384])]), ..job(&metainfo, payload, 0) };
        let outcome = storage.write(vec![wrong, job(&metainfo, payload, 0)]).await;
        assert!(matches!(outcome[..], [PieceOutcome::HashMismatch(_), PieceOutcome::Written(_)]));
        medium.rot(3);
        let checked = storage.check(vec![metainfo.geometry.piece(0).unwrap()]).await;
        assert!(matches!(checked[..], [(_, Ok(false))]));
    }
}
