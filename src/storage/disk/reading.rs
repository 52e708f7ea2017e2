//! Reads ranges for peers: those that need no waiting at once, the others on a thread of the pool.

use std::ops::Range;

use bytes::Bytes;

use super::Inner;
use crate::base::geometry::{PieceIndex, PieceRange};
use crate::storage::DiskTrouble;
use crate::storage::coalesce::{self, CoalescedRun};

/// A batch of reads, done in part.
#[derive(Debug)]
pub(super) struct Reading {
    /// Start and length of each range, in bytes of the torrent.
    places: Vec<(u64, u64)>,
    pieces: Vec<PieceIndex>,
    /// The runs that are still to be read.
    rest: Vec<CoalescedRun>,
    results: Vec<Result<Bytes, DiskTrouble>>,
}

impl Reading {
    /// A batch of these ranges; neighbours are read together.
    pub(super) fn new(inner: &Inner, ranges: &[PieceRange]) -> Self {
        let places: Vec<_> =
            ranges.iter().map(|range| (inner.geometry.range_start(*range), range.len().into())).collect();
        let results = places.iter().map(|_| Ok(Bytes::new())).collect();
        let pieces = ranges.iter().map(|range| range.piece()).collect();
        Self { rest: coalesce::runs(&places), places, pieces, results }
    }

    /// Reads what can be read without waiting. Returns whether that was everything.
    pub(super) fn at_once(&mut self, inner: &Inner) -> bool {
        for run in std::mem::take(&mut self.rest) {
            match inner.read_at_once(run.start, run.len) {
                Some(bytes) => self.part(&run, &bytes),
                None => self.rest.push(run),
            }
        }
        self.rest.is_empty()
    }

    /// Reads the rest. If neighbours fail together, each range is read by itself, so that one bad sector affects one
    /// range only.
    pub(super) fn finish(mut self, inner: &Inner) -> Vec<Result<Bytes, DiskTrouble>> {
        for run in std::mem::take(&mut self.rest) {
            match inner.read_at(run.start, run.len) {
                Ok(bytes) => self.part(&run, &bytes),
                Err(trouble) if run.parts.len() == 1 => self.results[run.parts[0]] = Err(trouble),
                Err(_) => {
                    for nth in run.parts {
                        let (start, len) = self.places[nth];
                        self.results[nth] = inner.read_at(start, len);
                    }
                }
            }
        }
        self.withhold(inner);
        self.results
    }

    /// Removes the bytes of pieces that are in doubt now. Runs after all reads, because doubts may arise during them.
    fn withhold(&mut self, inner: &Inner) {
        let opened = inner.opened();
        if opened.doubts.is_none() {
            return;
        }
        for (piece, result) in self.pieces.iter().zip(&mut self.results).filter(|(_, result)| result.is_ok()) {
            if opened.doubts.has(*piece) {
                *result = Err(DiskTrouble::changed("read", opened.files.folder().path()));
            }
        }
    }

    /// Gives each range of a run its slice of the run's bytes.
    fn part(&mut self, run: &CoalescedRun, bytes: &Bytes) {
        for nth in &run.parts {
            let (start, len) = self.places[*nth];
            self.results[*nth] = Ok(bytes.slice(within(start - run.start, len)));
        }
    }
}

impl Inner {
    /// Reads bytes for a peer into a shared buffer. May wait for the disk.
    fn read_at(&self, start: u64, len: u64) -> Result<Bytes, DiskTrouble> {
        self.config.buffers.filled(in_memory(len), |buffer| self.opened().files.read_vouched(start, buffer))
    }

    /// Reads bytes if that needs no waiting; `None` if it does, or if the read fails.
    fn read_at_once(&self, start: u64, len: u64) -> Option<Bytes> {
        let fill = |buffer: &mut [u8]| self.opened().files.read_at_once(start, buffer).then_some(()).ok_or(());
        self.config.buffers.filled(in_memory(len), fill).ok()
    }
}

/// The place of a range in the buffer of its run.
fn within(start: u64, len: u64) -> Range<usize> {
    in_memory(start)..in_memory(start + len)
}

/// A length as `usize`, since buffers have that length too.
fn in_memory(len: u64) -> usize {
    usize::try_from(len).expect("a run is a mebibyte at most")
}
