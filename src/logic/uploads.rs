//! What one peer has asked us for: a bounded queue, read and answered in batches.
//!
//! At most one read is under way per peer, of up to `MAX_READ` bytes, and none while too much waits to be written:
//! so a peer that never reads costs a fixed amount of memory (P-21).

use std::collections::VecDeque;

use crate::base::geometry::PieceRange;

/// 2,000 requests: what libtorrent takes of one peer by default; Transmission has 512 under way where nobody told it a
/// `reqq`. More at once is a flood (P-20).
pub const MAX_QUEUED: usize = 2000;

/// 1 MiB in one read: 64 blocks, which is also one vectored write.
const MAX_READ: u32 = 1024 * 1024;

/// 256 KiB unsent: enough to keep a gigabit busy between two wakes, little enough to lose to a dead peer.
const MAX_UNSENT: usize = 256 * 1024;

/// More requests than the queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// One peer's requests to us.
#[derive(Debug, Default)]
pub struct Uploads {
    queue: VecDeque<PieceRange>,
    reading: bool,
}

impl Uploads {
    /// The peer asks for a range.
    pub fn on_request(&mut self, range: PieceRange) -> Result<(), QueueFull> {
        if self.queue.len() >= MAX_QUEUED {
            return Err(QueueFull);
        }
        self.queue.push_back(range);
        Ok(())
    }

    /// The peer takes a request back. How often it stood in the queue.
    pub fn on_cancel(&mut self, range: PieceRange) -> usize {
        let before = self.queue.len();
        self.queue.retain(|queued| *queued != range);
        before - self.queue.len()
    }

    /// We choke the peer: what it asked for is forgotten, but what it may have all the same (BEP 6). Returns what was
    /// forgotten.
    pub fn on_choke(&mut self, kept: impl Fn(&PieceRange) -> bool) -> Vec<PieceRange> {
        let (kept, forgotten): (Vec<_>, Vec<_>) = self.queue.drain(..).partition(kept);
        self.queue.extend(kept);
        forgotten
    }

    /// A read has come back.
    pub fn on_read(&mut self) {
        self.reading = false;
    }

    /// What to read now, while `unsent` bytes wait for the socket.
    pub fn next_read(&mut self, unsent: usize) -> Option<Vec<PieceRange>> {
        if self.reading || self.queue.is_empty() || unsent > MAX_UNSENT {
            return None;
        }
        let mut left = MAX_READ;
        let fits = self.queue.iter().take_while(|range| {
            let rest = left.checked_sub(range.len());
            left = rest.unwrap_or(0);
            rest.is_some()
        });
        let batch = fits.count().max(1);
        self.reading = true;
        Some(self.queue.drain(..batch).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::geometry::Geometry;

    fn range(number: u32) -> PieceRange {
        Geometry::new(1 << 30, 1 << 20).unwrap().parse_range(number / 64, number % 64 * 16384, 16384).unwrap()
    }

    #[test]
    fn requests_are_read_in_batches_one_at_a_time() {
        let mut uploads = Uploads::default();
        (0..100).for_each(|n| uploads.on_request(range(n)).unwrap());
        assert_eq!(uploads.next_read(MAX_UNSENT + 1), None, "the peer does not read");
        assert_eq!(uploads.next_read(0).unwrap(), (0..64).map(range).collect::<Vec<_>>());
        assert_eq!(uploads.next_read(0), None, "one read at a time");
        uploads.on_read();
        assert_eq!(uploads.next_read(0).unwrap().len(), 36);
        uploads.on_read();
        assert_eq!(uploads.next_read(0), None);
    }

    #[test]
    fn a_flood_is_refused_and_a_cancel_or_choke_forgets() {
        let mut uploads = Uploads::default();
        (0..2000).for_each(|n| uploads.on_request(range(n)).unwrap());
        assert_eq!(uploads.on_request(range(2000)), Err(QueueFull));
        assert_eq!((uploads.on_cancel(range(0)), uploads.on_cancel(range(0))), (1, 0));
        assert_eq!(uploads.on_request(range(2000)), Ok(()));
        assert_eq!(uploads.next_read(0).unwrap()[0], range(1));
        uploads.on_read();
        assert_eq!(uploads.on_choke(|kept| *kept == range(1999)).len(), 1935);
        assert_eq!(uploads.next_read(0), Some(vec![range(1999)]));
    }
}
