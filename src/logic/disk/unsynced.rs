//! Pieces in doubt after a failed sync (D-05): their hash was right when they were written, but whether the disk holds
//! them is unknown. After the failure the system counts the pages as clean, so the next sync succeeds and proves
//! nothing. Only writing them again and syncing that does.
//!
//! This module knows pieces and times. It reads and writes nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::base::geometry::PieceIndex;

/// 1 s between a failed sync and the next attempt, as for a block that the device refuses.
const REST: Duration = Duration::from_secs(1);

/// After three failed syncs in a row the disk counts as broken: as many attempts as D-03 grants a block.
const MAX_FAILURES: u32 = 3;

/// The pieces of one torrent that are in doubt.
#[derive(Debug, Clone, Default)]
pub struct Unsynced {
    /// The pieces in doubt.
    pieces: BTreeSet<PieceIndex>,
    /// Failed syncs so far. A write during which one of them happened is in doubt too.
    era: u32,
    /// Failed syncs since the last good one.
    failures: u32,
    /// When pieces in doubt may be written again.
    rest_until: Option<Instant>,
}

impl Unsynced {
    /// The present era. Note it with every write that begins.
    pub const fn era(&self) -> u32 {
        self.era
    }

    /// A write that began in era `era` has finished. Returns whether the next sync proves that the disk holds it.
    pub fn on_written(&mut self, piece: PieceIndex, era: u32) -> bool {
        if era == self.era {
            self.pieces.remove(&piece);
        } else {
            self.pieces.insert(piece);
        }
        era == self.era
    }

    /// A sync failed. `written`: the pieces that it was to make durable, and those written meanwhile. Returns whether
    /// to continue.
    pub fn on_failed_sync(&mut self, now: Instant, written: impl IntoIterator<Item = PieceIndex>) -> bool {
        self.pieces.extend(written);
        self.era += 1;
        self.failures += 1;
        self.rest_until = Some(now + REST);
        self.failures < MAX_FAILURES
    }

    /// The outcome of a sync of these will never be known: as after one that failed, nothing proves that the disk has
    /// them. It counts for no failure, and they are to be written again at once.
    pub fn on_lost_sync(&mut self, now: Instant, written: impl IntoIterator<Item = PieceIndex>) {
        self.pieces.extend(written);
        self.era += 1;
        self.rest_until.get_or_insert(now);
    }

    /// The piece is not ours any more, so nothing is claimed of it.
    pub fn forget(&mut self, piece: PieceIndex) {
        self.pieces.remove(&piece);
    }

    /// A sync succeeded.
    pub const fn on_sync(&mut self) {
        self.failures = 0;
    }

    /// When to write the pieces in doubt again. `None` while there are none.
    pub fn deadline(&self) -> Option<Instant> {
        self.rest_until.filter(|_| !self.pieces.is_empty())
    }

    /// Whether no piece is in doubt.
    pub fn is_none(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The pieces in doubt.
    pub fn pieces(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.pieces.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::geometry::Geometry;

    #[test]
    fn only_a_write_after_the_failure_and_a_sync_after_that_end_a_doubt() {
        let t0 = tokio::time::Instant::now().into_std();
        let geometry = Geometry::new(10, 1).unwrap();
        let piece = |number| geometry.piece(number).unwrap();
        let listed = |doubt: &Unsynced| doubt.pieces().map(PieceIndex::get).collect::<Vec<_>>();
        let mut doubt = Unsynced::default();
        assert!(doubt.on_written(piece(1), doubt.era()), "nothing has failed");
        assert_eq!((doubt.is_none(), doubt.deadline()), (true, None));
        let before = doubt.era();
        assert!(doubt.on_failed_sync(t0, [piece(1), piece(2)]));
        assert!(!doubt.on_written(piece(3), before), "it was being written while the sync failed");
        assert_eq!((listed(&doubt), doubt.deadline()), (vec![1, 2, 3], Some(t0 + REST)));
        for number in 1..4 {
            assert!(doubt.on_written(piece(number), doubt.era()));
        }
        doubt.on_sync();
        assert_eq!((doubt.is_none(), doubt.deadline()), (true, None));
    }

    #[test]
    fn three_failures_in_a_row_are_enough() {
        let t0 = tokio::time::Instant::now().into_std();
        let mut doubt = Unsynced::default();
        for _ in 0..10 {
            assert!(doubt.on_failed_sync(t0, []) && doubt.on_failed_sync(t0, []));
            doubt.on_sync();
        }
        let goes_on: Vec<_> = (0..3).map(|_| doubt.on_failed_sync(t0, [])).collect();
        assert_eq!(goes_on, [true, true, false]);
    }
}
