//! When complete pieces are given to the disk. Several pieces hashed side by side take little longer than one.
//!
//! The batch knows how many pieces wait and since when. It knows no pieces, threads or files.

use std::time::{Duration, Instant};

/// A piece waits up to 2 ms for others: the delay is not noticeable, and a peer that sends four pieces of 1 MiB in
/// that time is fast enough to wait for.
const PATIENCE: Duration = Duration::from_millis(2);

/// At least 1 MiB of small pieces is a batch: waking the pool costs 5-9 us, and hashing that much 200 us.
const SMALL_BATCH: u32 = 1024 * 1024;

/// At most 16 MiB of large pieces wait, a quarter of the usual credit: more would delay further requests.
const LARGE_BATCH: u32 = 16 * 1024 * 1024;

/// The pieces that wait to be hashed together.
#[derive(Debug)]
pub struct WriteBatch {
    /// The number of pieces of a full batch.
    enough: usize,
    /// Since when pieces wait.
    since: Option<Instant>,
}

impl WriteBatch {
    /// `abreast` pieces are hashed as fast as one. `piece_len`: their length in bytes.
    pub fn new(abreast: usize, piece_len: u32) -> Self {
        let of = |bytes: u32| usize::try_from(bytes / piece_len.max(1)).unwrap_or(usize::MAX).max(1);
        Self { enough: abreast.min(of(LARGE_BATCH)).max(of(SMALL_BATCH)), since: None }
    }

    /// The number of pieces of a full batch.
    pub const fn enough(&self) -> usize {
        self.enough
    }

    /// `waiting` pieces wait. Returns whether to hash them now.
    pub fn is_due(&mut self, now: Instant, waiting: usize) -> bool {
        let since = *self.since.get_or_insert(now);
        waiting >= self.enough || now.saturating_duration_since(since) >= PATIENCE
    }

    /// A batch was given to the disk. The `left` remaining pieces wait from now on.
    pub fn on_gone(&mut self, now: Instant, left: usize) {
        self.since = (left > 0).then_some(now);
    }

    /// When the waiting pieces have waited long enough. `None` while none wait.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_as_many_pieces_as_are_hashed_side_by_side_and_more_of_small_ones() {
        let (kib, mib) = (1024, 1024 * 1024);
        for (abreast, len, enough) in [
            (4, mib, 4),
            (4, 256 * kib, 4),
            (4, 16 * kib, 64),
            (4, 4 * mib, 4),
            (4, 8 * mib, 2),
            (4, 16 * mib, 1),
            (4, 256 * mib, 1),
            (1, mib, 1),
            (1, 16 * kib, 64),
            (4, 1, 1 << 20),
        ] {
            assert_eq!(WriteBatch::new(abreast, len).enough(), enough, "{abreast} abreast of {len}");
        }
    }

    #[test]
    fn a_piece_waits_for_others_but_not_for_long() {
        let start = tokio::time::Instant::now().into_std();
        let at = |micros| start + Duration::from_micros(micros);
        let mut gather = WriteBatch::new(4, 1024 * 1024);
        assert!(gather.deadline().is_none() && !gather.is_due(at(0), 1));
        assert!(!gather.is_due(at(1_900), 3), "the first waits since 0");
        assert_eq!(gather.deadline(), Some(at(2_000)));
        assert!(gather.is_due(at(1_900), 4), "enough");
        assert!(gather.is_due(at(2_000), 3), "long enough");
        gather.on_gone(at(2_000), 1);
        assert!(!gather.is_due(at(3_900), 1) && gather.is_due(at(4_000), 1), "who is left waits from then on");
        gather.on_gone(at(4_000), 0);
        assert_eq!(gather.deadline(), None);
    }
}
