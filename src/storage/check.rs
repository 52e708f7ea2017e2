//! Hashing what is on the disk: one piece, or all of them on all cores.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use sha1::{Digest, Sha1};

use super::files::Files;
use super::trouble::{DiskTrouble, TroubleKind};
use crate::base::geometry::{Geometry, PieceIndex};
use crate::codec::metainfo::PieceHashes;

/// 1 MiB: one read in flight stays in the second-level cache while it is hashed.
const READ_LEN: usize = 1024 * 1024;

/// 4 MiB: what a thread takes at a time, so that small pieces are read in long runs and a disk with a head has few ways
/// to go.
const RUN_LEN: u32 = 4 * 1024 * 1024;

/// A torrent's bytes as one thread reads them.
pub trait Reader {
    /// What can go wrong.
    type Error: Send;
    /// These bytes will be read next; a hint, and nothing fails.
    fn announce(&mut self, bytes: Range<u64>);
    /// Fills `buffer` from `start` of the torrent.
    fn read(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), Self::Error>;
}

impl Reader for &Files {
    type Error = DiskTrouble;

    fn announce(&mut self, bytes: Range<u64>) {
        self.read_ahead(bytes);
    }

    fn read(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), DiskTrouble> {
        Files::read(self, start, buffer)
    }
}

/// One thread's means to hash pieces.
#[derive(Debug)]
pub struct Hasher<R> {
    reader: R,
    geometry: Geometry,
    buffer: Vec<u8>,
}

impl<R: Reader> Hasher<R> {
    /// Nothing is read yet.
    pub fn new(reader: R, geometry: Geometry) -> Self {
        Self { reader, geometry, buffer: vec![0; READ_LEN.min(geometry.nominal_piece_len() as usize)] }
    }

    /// The SHA-1 of a piece as it is on the disk.
    pub fn hash(&mut self, piece: PieceIndex) -> Result<[u8; 20], R::Error> {
        let mut hasher = Sha1::new();
        let mut at = self.geometry.piece_start(piece);
        let mut left = self.geometry.piece_len(piece) as usize;
        while left > 0 {
            let part = left.min(self.buffer.len());
            self.reader.read(at, &mut self.buffer[..part])?;
            hasher.update(&self.buffer[..part]);
            at += part as u64;
            left -= part;
        }
        Ok(hasher.finalize().into())
    }
}

impl Hasher<&Files> {
    /// Does the piece on the disk hash right? A file that is missing or too short is `false`, not trouble.
    pub fn is_right(&mut self, hashes: &PieceHashes, piece: PieceIndex) -> Result<bool, DiskTrouble> {
        match self.hash(piece) {
            Ok(hash) => Ok(hash == hashes.get(piece)),
            Err(trouble) if trouble.kind == TroubleKind::Missing => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }
}

/// Why not every piece was looked at.
#[derive(Debug, PartialEq, Eq)]
pub enum Halt<E> {
    /// `stop` was set.
    Stopped,
    /// The first error that was met; the other threads ended at their next piece.
    Failed(E),
}

/// Lets `judge` look at every piece, on one thread per core, each with a reader of its own; what it found, in order.
/// `progress` hears how many bytes are done, from all threads. Once `stop` is set no further piece is begun.
pub fn every_piece<R: Reader, T: Send>(
    geometry: Geometry,
    reader: impl Fn() -> R + Sync,
    judge: impl Fn(&mut Hasher<R>, PieceIndex) -> Result<T, R::Error> + Sync,
    progress: impl Fn(u64) + Sync,
    stop: &AtomicBool,
) -> Result<Vec<T>, Halt<R::Error>> {
    let next = AtomicU32::new(0);
    let done = AtomicU64::new(0);
    let has_failed = AtomicBool::new(false);
    let in_a_run = (RUN_LEN / geometry.nominal_piece_len()).max(1);
    let work = || {
        let mut hasher = Hasher::new(reader(), geometry);
        let mut found = Vec::new();
        loop {
            let first = next.fetch_add(in_a_run, Ordering::Relaxed);
            let run = (first..first.saturating_add(in_a_run)).map_while(|number| geometry.piece(number));
            let Some(end) = run.clone().last() else { return Ok(found) };
            let start = u64::from(first) * u64::from(geometry.nominal_piece_len());
            hasher.reader.announce(start..geometry.piece_start(end) + u64::from(geometry.piece_len(end)));
            for piece in run {
                if stop.load(Ordering::Relaxed) || has_failed.load(Ordering::Relaxed) {
                    return Err(Halt::Stopped);
                }
                let judged = judge(&mut hasher, piece).inspect_err(|_| has_failed.store(true, Ordering::Relaxed));
                found.push((piece, judged.map_err(Halt::Failed)?));
                let len = u64::from(geometry.piece_len(piece));
                progress(done.fetch_add(len, Ordering::Relaxed) + len);
            }
        }
    };
    gather(on_every_core(work))
}

/// What each thread made of it; a panic goes on here.
fn on_every_core<T: Send>(work: impl Fn() -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, T>| worker.join();
        workers
            .into_iter()
            .map(|worker| join(worker).unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// What one thread has found.
type Part<T, E> = Result<Vec<(PieceIndex, T)>, Halt<E>>;

/// One list in the order of the pieces; of several ends the one that has a reason.
fn gather<T, E>(parts: Vec<Part<T, E>>) -> Result<Vec<T>, Halt<E>> {
    let mut all = Vec::new();
    let mut stopped = false;
    for part in parts {
        match part {
            Ok(part) => all.extend(part),
            Err(Halt::Stopped) => stopped = true,
            Err(failed) => return Err(failed),
        }
    }
    if stopped {
        return Err(Halt::Stopped);
    }
    all.sort_unstable_by_key(|(piece, _)| *piece);
    Ok(all.into_iter().map(|(_, found)| found).collect())
}

/// The SHA-1 of `len` zeros: what a piece that is one hole reads as.
pub fn hash_of_zeros(len: u32) -> [u8; 20] {
    let mut hasher = Sha1::new();
    let zeros = [0; 16 * 1024];
    let mut left = len as usize;
    while left > 0 {
        let part = left.min(zeros.len());
        hasher.update(&zeros[..part]);
        left -= part;
    }
    hasher.finalize().into()
}

/// The parts of the torrent that may have data on the disk, as ranges of the torrent's bytes, ascending.
pub fn data_ranges(files: &Files) -> Result<Vec<Range<u64>>, DiskTrouble> {
    let mut ranges = Vec::new();
    let mut offset = 0;
    for (file, spec) in files.specs().iter().enumerate() {
        if !spec.padding && spec.len > 0 {
            for extent in files.data_extents(file)? {
                let (start, end) = (extent.start.min(spec.len), extent.end.min(spec.len));
                if start < end {
                    ranges.push(offset + start..offset + end);
                }
            }
        }
        offset += spec.len;
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes in memory; reading the one at `bad` fails.
    struct Memory<'a> {
        bytes: &'a [u8],
        bad: Option<u64>,
    }

    impl Reader for Memory<'_> {
        type Error = u64;

        fn announce(&mut self, bytes: Range<u64>) {
            assert!(bytes.start < bytes.end && bytes.end <= self.bytes.len() as u64, "{bytes:?}");
        }

        fn read(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), u64> {
            let end = start + buffer.len() as u64;
            if let Some(bad) = self.bad.filter(|bad| (start..end).contains(bad)) {
                return Err(bad);
            }
            buffer.copy_from_slice(&self.bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()]);
            Ok(())
        }
    }

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect()
    }

    /// Pieces smaller and larger than what is read at once, than what a thread takes at once, and than all there is.
    #[test]
    fn every_piece_is_hashed_once_and_in_order() {
        let bytes = sample(9_000_001);
        for piece_len in [777, 16 * 1024, 1024 * 1024 + 1, 3 * 1024 * 1024, 8 * 1024 * 1024, 16 * 1024 * 1024] {
            let geometry = Geometry::new(bytes.len() as u64, piece_len).unwrap();
            let last = AtomicU64::new(0);
            let progress = |done| _ = last.fetch_max(done, Ordering::Relaxed);
            let reader = || Memory { bytes: &bytes, bad: None };
            let hashes = every_piece(geometry, reader, Hasher::hash, progress, &AtomicBool::new(false)).unwrap();
            let want: Vec<[u8; 20]> =
                bytes.chunks(usize::try_from(piece_len).unwrap()).map(|piece| Sha1::digest(piece).into()).collect();
            assert!(hashes == want, "pieces of {piece_len}");
            assert_eq!(last.into_inner(), bytes.len() as u64);
        }
    }

    #[test]
    fn an_error_ends_it_and_is_told() {
        let bytes = sample(100_000);
        let geometry = Geometry::new(100_000, 16384).unwrap();
        for bad in [0, 50_000, 99_999] {
            let reader = || Memory { bytes: &bytes, bad: Some(bad) };
            let ended = every_piece(geometry, reader, Hasher::hash, |_| (), &AtomicBool::new(false));
            assert_eq!(ended, Err(Halt::Failed(bad)));
        }
    }

    #[test]
    fn a_wish_to_stop_is_heard() {
        let bytes = sample(100_000);
        let geometry = Geometry::new(100_000, 16384).unwrap();
        let stop = AtomicBool::new(false);
        let reader = || Memory { bytes: &bytes, bad: None };
        let ended = every_piece(geometry, reader, Hasher::hash, |_| stop.store(true, Ordering::Relaxed), &stop);
        assert_eq!(ended, Err(Halt::Stopped));
    }
}
