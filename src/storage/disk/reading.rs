//! Ranges that are read for a peer: those that wait for nothing at once, the others in the pool.

use std::ops::Range;

use bytes::Bytes;

use super::super::coalesce::{self, Run};
use super::{DiskTrouble, Inner};
use crate::base::geometry::PieceRange;

/// A batch, read in part.
#[derive(Debug)]
pub(super) struct Reading {
    /// Start and length of each range.
    places: Vec<(u64, u64)>,
    /// What is still to be read.
    rest: Vec<Run>,
    results: Vec<Result<Bytes, DiskTrouble>>,
}

impl Reading {
    /// Neighbours will be read together.
    pub(super) fn new(inner: &Inner, ranges: &[PieceRange]) -> Self {
        let places: Vec<_> =
            ranges.iter().map(|range| (inner.geometry.range_start(*range), range.len().into())).collect();
        let results = places.iter().map(|_| Ok(Bytes::new())).collect();
        Self { rest: coalesce::runs(&places), places, results }
    }

    /// Reads what can be read at once, and says whether that was all.
    pub(super) fn at_once(&mut self, inner: &Inner) -> bool {
        for run in std::mem::take(&mut self.rest) {
            match inner.read_at_once(run.start, run.len) {
                Some(bytes) => self.part(&run, &bytes),
                None => self.rest.push(run),
            }
        }
        self.rest.is_empty()
    }

    /// Reads the rest. Where neighbours fail together each has a read of its own, for one bad sector is the trouble of one
    /// range.
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
        self.results
    }

    /// What was read.
    pub(super) fn results(self) -> Vec<Result<Bytes, DiskTrouble>> {
        self.results
    }

    fn part(&mut self, run: &Run, bytes: &Bytes) {
        for nth in &run.parts {
            let (start, len) = self.places[*nth];
            self.results[*nth] = Ok(bytes.slice(within(start - run.start, len)));
        }
    }
}

/// A place in a run, which is a buffer in memory.
fn within(start: u64, len: u64) -> Range<usize> {
    let at = |place| usize::try_from(place).expect("a run is a mebibyte at most");
    at(start)..at(start + len)
}
