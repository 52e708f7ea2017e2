//! What a failed sync leaves in doubt (D-05): pieces that hashed right when they were written, and of which nobody knows
//! any more whether the disk has them. After the failure the system calls the pages clean, so the next sync succeeds and
//! proves nothing; only to write them again, and sync that, does.
//!
//! Knows pieces and times; reads and writes nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::base::geometry::PieceIndex;

/// 1 s between a failed sync and the next try, as for a block that the device refuses.
const REST: Duration = Duration::from_secs(1);

/// Three syncs that fail one after the other, then the disk is broken: what D-03 grants a block.
const MAX_FAILURES: u32 = 3;

/// The state of one torrent's doubts.
#[derive(Debug, Clone, Default)]
pub struct Unsynced {
    pieces: BTreeSet<PieceIndex>,
    /// Failed syncs in all: what was being written during one of them is in doubt too.
    era: u32,
    /// Failed syncs since the last good one.
    failures: u32,
    rest_until: Option<Instant>,
}

impl Unsynced {
    /// To be noted with every write that begins.
    pub const fn era(&self) -> u32 {
        self.era
    }

    /// A write that began in that era is done. Says whether the next sync is proof of it.
    pub fn on_written(&mut self, piece: PieceIndex, era: u32) -> bool {
        if era == self.era {
            self.pieces.remove(&piece);
        } else {
            self.pieces.insert(piece);
        }
        era == self.era
    }

    /// A sync failed; `written` is all that it was to make durable and all that was written meanwhile. Says whether
    /// there is any use in going on.
    pub fn on_failed_sync(&mut self, now: Instant, written: impl IntoIterator<Item = PieceIndex>) -> bool {
        self.pieces.extend(written);
        self.era += 1;
        self.failures += 1;
        self.rest_until = Some(now + REST);
        self.failures < MAX_FAILURES
    }

    /// A sync succeeded.
    pub const fn on_sync(&mut self) {
        self.failures = 0;
    }

    /// When doubtful pieces are to be written again; `None` while there are none.
    pub fn deadline(&self) -> Option<Instant> {
        self.rest_until.filter(|_| !self.pieces.is_empty())
    }

    /// Nothing is in doubt.
    pub fn is_none(&self) -> bool {
        self.pieces.is_empty()
    }

    /// All of them.
    pub fn pieces(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.pieces.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::geometry::Geometry;

    #[test]
    fn only_a_write_behind_the_failure_and_a_sync_behind_that_end_a_doubt() {
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
