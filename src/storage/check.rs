//! Hashes pieces as they are on the disk: some of them, or all of them on all cores.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use sha1::{Digest, Sha1};

use super::files::StoredFiles;
use super::sha1_lanes::{Sha1Stream, absorb, width};
use super::trouble::{DiskTrouble, TroubleKind};
use crate::base::geometry::{Geometry, PieceIndex};
use crate::codec::metainfo::PieceHashes;

/// 1 MiB for the parts of all pieces that are hashed side by side: they stay in the second-level cache together.
const READ_LEN: usize = 1024 * 1024;

/// 4 MiB: a thread takes this much at a time, or as many pieces as are hashed side by side. So small pieces are read in
/// long runs, and a hard disk seldom moves its head.
const RUN_LEN: u32 = 4 * 1024 * 1024;

/// Reads the bytes of a torrent; each thread has its own reader.
pub trait Reader {
    /// The error of a read.
    type Error: Send;
    /// Announces that these bytes will be read next. It is a hint and cannot fail.
    fn announce(&mut self, bytes: Range<u64>);
    /// Fills `buffer` with the bytes of the torrent from offset `start`.
    fn read(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), Self::Error>;
}

impl Reader for &StoredFiles {
    type Error = DiskTrouble;

    fn announce(&mut self, bytes: Range<u64>) {
        self.read_ahead(bytes);
    }

    fn read(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), DiskTrouble> {
        StoredFiles::read(self, start, buffer)
    }
}

/// Hashes pieces in one thread, several side by side.
#[derive(Debug)]
pub struct Hasher<R> {
    reader: R,
    geometry: Geometry,
    part_len: usize,
    /// A buffer with a part of each piece that is being hashed.
    parts: Vec<u8>,
}

impl<R: Reader> Hasher<R> {
    /// A hasher for the torrent of this geometry. Reads nothing yet.
    pub fn new(reader: R, geometry: Geometry) -> Self {
        let part_len = (READ_LEN / width().next_power_of_two()).min(geometry.nominal_piece_len() as usize);
        Self { reader, geometry, part_len, parts: vec![0; part_len * width()] }
    }

    /// The SHA-1 of each piece as it is on the disk, or the error of reading it.
    pub fn hash(&mut self, pieces: &[PieceIndex]) -> Vec<Result<[u8; 20], R::Error>> {
        pieces.chunks(width()).flat_map(|abreast| self.hash_abreast(abreast)).collect()
    }

    /// Hashes at most [`width`] pieces side by side.
    fn hash_abreast(&mut self, pieces: &[PieceIndex]) -> Vec<Result<[u8; 20], R::Error>> {
        let mut passes: Vec<Pass<R::Error>> = pieces.iter().map(|piece| Pass::new(&self.geometry, *piece)).collect();
        while passes.iter().any(|pass| !pass.ahead.is_empty()) {
            let parts = passes.iter_mut().zip(self.parts.chunks_mut(self.part_len));
            absorb(parts.filter_map(|(pass, buffer)| pass.read(&mut self.reader, buffer)));
        }
        passes.into_iter().map(Pass::end).collect()
    }
}

/// A piece that is being read and hashed.
#[derive(Debug)]
struct Pass<E> {
    /// The range that is still to be read, in bytes of the torrent.
    ahead: Range<u64>,
    stream: Sha1Stream,
    error: Option<E>,
}

impl<E> Pass<E> {
    /// A pass over this piece from its start.
    fn new(geometry: &Geometry, piece: PieceIndex) -> Self {
        let start = geometry.piece_start(piece);
        let ahead = start..start + u64::from(geometry.piece_len(piece));
        Self { ahead, stream: Sha1Stream::new(), error: None }
    }

    /// Reads the next part. Returns it with the stream that absorbs it; `None` at the end, or after an error.
    fn read<'a>(
        &'a mut self,
        reader: &mut impl Reader<Error = E>,
        buffer: &'a mut [u8],
    ) -> Option<(&'a mut Sha1Stream, [&'a [u8]; 1])> {
        let len = usize::try_from(self.ahead.end - self.ahead.start).unwrap_or(usize::MAX).min(buffer.len());
        let part = &mut buffer[..len];
        if let Err(error) = reader.read(self.ahead.start, part) {
            self.error = Some(error);
            self.ahead.start = self.ahead.end;
            return None;
        }
        self.ahead.start += len as u64;
        Some((&mut self.stream, [part]))
    }

    /// The digest of the piece, or the error of reading it.
    fn end(self) -> Result<[u8; 20], E> {
        self.error.map_or_else(|| Ok(self.stream.finish()), Err)
    }
}

impl Hasher<&StoredFiles> {
    /// Whether each piece on the disk has the right hash. A file that is missing or too short gives `false`, not an
    /// error.
    pub fn are_right(&mut self, hashes: &PieceHashes, pieces: &[PieceIndex]) -> Vec<Result<bool, DiskTrouble>> {
        let found = self.hash(pieces).into_iter().zip(pieces);
        let judge = |(found, piece): (Result<[u8; 20], DiskTrouble>, &PieceIndex)| match found {
            Ok(hash) => Ok(hash == hashes.get(*piece)),
            Err(trouble) if trouble.kind == TroubleKind::Missing => Ok(false),
            Err(trouble) => Err(trouble),
        };
        found.map(judge).collect()
    }
}

/// Why not every piece was processed.
#[derive(Debug, PartialEq, Eq)]
pub enum Halt<E> {
    /// `stop` was set.
    Stopped,
    /// The first error. The other threads stopped before their next pieces.
    Failed(E),
}

/// Calls `judge` for every piece, on one thread per core, each with a reader of its own. Each call gets as many
/// neighbouring pieces as are hashed side by side. Returns the results in the order of the pieces. `progress` gets the
/// number of bytes done so far, from all threads. When `stop` is set, no further piece is begun.
pub fn every_piece<R: Reader, T: Send>(
    geometry: Geometry,
    reader: impl Fn() -> R + Sync,
    judge: impl Fn(&mut Hasher<R>, &[PieceIndex]) -> Result<Vec<T>, R::Error> + Sync,
    progress: impl Fn(u64) + Sync,
    stop: &AtomicBool,
) -> Result<Vec<T>, Halt<R::Error>> {
    let next = AtomicU32::new(0);
    let done = AtomicU64::new(0);
    let has_failed = AtomicBool::new(false);
    // Without this limit there may be too few large pieces for all threads.
    let share = (geometry.piece_count() as usize).div_ceil(cores());
    let abreast = width().min(share).max(1);
    let in_a_run = (RUN_LEN / geometry.nominal_piece_len()).max(u32::try_from(abreast).unwrap_or(1));
    let work = || {
        let mut hasher = Hasher::new(reader(), geometry);
        let mut found = Vec::new();
        loop {
            let first = next.fetch_add(in_a_run, Ordering::Relaxed);
            let numbers = first..first.saturating_add(in_a_run);
            let run: Vec<PieceIndex> = numbers.map_while(|number| geometry.piece(number)).collect();
            if run.is_empty() {
                return Ok(found);
            }
            let start = u64::from(first) * u64::from(geometry.nominal_piece_len());
            hasher.reader.announce(start..start + geometry.len_of(run.iter().copied()));
            for pieces in run.chunks(abreast) {
                if stop.load(Ordering::Relaxed) || has_failed.load(Ordering::Relaxed) {
                    return Err(Halt::Stopped);
                }
                let judged = judge(&mut hasher, pieces).inspect_err(|_| has_failed.store(true, Ordering::Relaxed));
                found.push((pieces[0], judged.map_err(Halt::Failed)?));
                let len = geometry.len_of(pieces.iter().copied());
                progress(done.fetch_add(len, Ordering::Relaxed) + len);
            }
        }
    };
    gather(on_every_core(work))
}

/// The number of threads to use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The results of all threads. A panic in a thread is raised again here.
fn on_every_core<T: Send>(work: impl Fn() -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores()).map(|_| scope.spawn(&work)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, T>| worker.join();
        workers
            .into_iter()
            .map(|worker| join(worker).unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// The results of one thread, with the first piece of each call of `judge`.
type Part<T, E> = Result<Vec<(PieceIndex, Vec<T>)>, Halt<E>>;

/// Merges the results into one list in the order of the pieces. An error takes precedence over [`Halt::Stopped`].
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
    all.sort_unstable_by_key(|(first, _)| *first);
    Ok(all.into_iter().flat_map(|(_, found)| found).collect())
}

/// The SHA-1 of `len` zeros: the hash of a piece that is entirely a hole.
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

/// The ranges of the torrent's bytes that may have data on the disk, ascending.
pub fn data_ranges(files: &StoredFiles) -> Result<Vec<Range<u64>>, DiskTrouble> {
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

    /// Bytes in memory. A read of the byte at `bad` fails.
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

    /// Tests pieces smaller and larger than one read, than the share of a thread, and than the whole torrent.
    #[test]
    fn every_piece_is_hashed_once_and_in_order() {
        let bytes = sample(9_000_001);
        for piece_len in [777, 16 * 1024, 1024 * 1024 + 1, 3 * 1024 * 1024, 8 * 1024 * 1024, 16 * 1024 * 1024] {
            let geometry = Geometry::new(bytes.len() as u64, piece_len).unwrap();
            let last = AtomicU64::new(0);
            let progress = |done| _ = last.fetch_max(done, Ordering::Relaxed);
            let reader = || Memory { bytes: &bytes, bad: None };
            let hashes = every_piece(geometry, reader, whole_run, progress, &AtomicBool::new(false)).unwrap();
            let want: Vec<[u8; 20]> =
                bytes.chunks(usize::try_from(piece_len).unwrap()).map(|piece| Sha1::digest(piece).into()).collect();
            assert!(hashes == want, "pieces of {piece_len}");
            assert_eq!(last.into_inner(), bytes.len() as u64);
        }
    }

    fn whole_run<R: Reader>(hasher: &mut Hasher<R>, run: &[PieceIndex]) -> Result<Vec<[u8; 20]>, R::Error> {
        hasher.hash(run).into_iter().collect()
    }

    /// A piece that cannot be read is an error of that piece alone.
    #[test]
    fn pieces_hashed_beside_an_unreadable_one_are_right() {
        let bytes = sample(100_000);
        let geometry = Geometry::new(100_000, 16384).unwrap();
        let mut hasher = Hasher::new(Memory { bytes: &bytes, bad: Some(40_000) }, geometry);
        let found = hasher.hash(&geometry.pieces().collect::<Vec<_>>());
        let want = bytes
            .chunks(16384)
            .zip(0..)
            .map(|(piece, number)| if number == 2 { Err(40_000) } else { Ok(Sha1::digest(piece).into()) });
        assert_eq!(found, want.collect::<Vec<_>>());
    }

    #[test]
    fn an_error_ends_the_hashing_and_is_returned() {
        let bytes = sample(100_000);
        let geometry = Geometry::new(100_000, 16384).unwrap();
        for bad in [0, 50_000, 99_999] {
            let reader = || Memory { bytes: &bytes, bad: Some(bad) };
            let ended = every_piece(geometry, reader, whole_run, |_| (), &AtomicBool::new(false));
            assert_eq!(ended, Err(Halt::Failed(bad)));
        }
    }

    #[test]
    fn the_stop_flag_ends_the_hashing() {
        struct Zeros;

        impl Reader for Zeros {
            type Error = ();

            fn announce(&mut self, _: Range<u64>) {}

            fn read(&mut self, _: u64, buffer: &mut [u8]) -> Result<(), ()> {
                buffer.fill(0);
                Ok(())
            }
        }

        // More pieces than any number of cores hashes before the flag is seen.
        let geometry = Geometry::new(1 << 40, 1 << 20).unwrap();
        let stop = AtomicBool::new(false);
        let wish = |_| stop.store(true, Ordering::Relaxed);
        assert_eq!(every_piece(geometry, || Zeros, whole_run, wish, &stop), Err(Halt::Stopped));
    }

    #[test]
    fn after_the_stop_flag_no_piece_is_begun() {
        let bytes = sample(100_000);
        let geometry = Geometry::new(100_000, 16384).unwrap();
        let begun = AtomicU64::new(0);
        let count = |done| _ = begun.fetch_add(done, Ordering::Relaxed);
        let reader = || Memory { bytes: &bytes, bad: None };
        let ended = every_piece(geometry, reader, whole_run, count, &AtomicBool::new(true));
        assert_eq!((ended, begun.into_inner()), (Err(Halt::Stopped), 0));
    }
}
