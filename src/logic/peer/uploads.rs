//! The requests of one peer: a bounded queue, read from the disk in batches and given to the socket in small portions.
//!
//! The sizes of a read and of the socket's queue follow the rate at which the peer downloads. So a fast peer is read a
//! mebibyte at a time, a slow one holds little memory, and one that never reads costs a fixed amount (P-21). Until a
//! block is in the socket's queue it can be cancelled. The data is only passed on.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::geometry::PieceRange;
use crate::logic::peers::upload_counts::{PieceMarks, UploadCounts};

/// 2,000 requests: libtorrent's default for one peer. Transmission has 512 outstanding at a peer that named no `reqq`.
/// A longer queue is a flood (P-20).
pub const MAX_QUEUED: usize = 2000;

/// Half a second of the peer's rate is read ahead: longer than a disk usually takes to answer.
const AHEAD_MS: u64 = 500;

/// At least eight blocks are read ahead, also before a rate is known.
const LEAST_AHEAD: u64 = 128 * 1024;

/// At most 1 MiB is read ahead: 64 blocks in one read.
const MOST_AHEAD: u64 = 1024 * 1024;

/// A quarter of a second of the peer's rate may wait in the socket's queue.
const UNSENT_MS: u64 = 250;

/// One block may always wait there: while less than that is unsent, the next block follows.
const LEAST_UNSENT: u64 = 16 * 1024;

/// At most 512 KiB wait there: one write takes 32 blocks, and for a peer below 2 MiB/s this is a quarter of a second.
const MOST_UNSENT: u64 = 512 * 1024;

/// The first 64 blocks, a mebibyte, are searched for pieces that no other peer was given.
const LOOK_AT: usize = 64;

/// The peer has more requests than the queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// A range that is being read from the disk.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// The range.
    range: PieceRange,
    /// Whether the peer has not cancelled it meanwhile.
    wanted: bool,
}

/// The requests of one peer.
#[derive(Debug, Default)]
pub struct Uploads {
    /// Requests that no read has been started for.
    queue: VecDeque<PieceRange>,
    /// Requests that are being read, in the order of the read.
    reading: Vec<Reading>,
    /// Blocks that were read and wait for the socket.
    ready: VecDeque<(PieceRange, Bytes)>,
    /// Bytes of `ready`.
    ready_bytes: u64,
    /// Bytes a second that the peer downloads.
    bps: u64,
    /// The upload counts of the torrent.
    given: UploadCounts,
    /// The pieces of which this peer was sent a block.
    begun: PieceMarks,
}

impl Uploads {
    /// An empty queue that counts its uploads together with the other connections of the torrent.
    pub fn sharing(given: UploadCounts) -> Self {
        Self { given, ..Self::default() }
    }

    /// Whether every request is answered.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.reading.is_empty() && self.ready.is_empty()
    }

    /// The peer requests a range. Fails if it has too many requests.
    pub fn on_request(&mut self, range: PieceRange) -> Result<(), QueueFull> {
        if self.queue.len() + self.reading.len() + self.ready.len() >= MAX_QUEUED {
            return Err(QueueFull);
        }
        self.queue.push_back(range);
        Ok(())
    }

    /// The peer cancels a request. Returns how many requests for the range were dropped.
    pub fn on_cancel(&mut self, range: PieceRange) -> usize {
        self.drop_where(|other| *other == range).len()
    }

    /// We choke the peer: its requests are dropped, except those for which `kept` returns true (BEP 6). Returns the
    /// dropped requests.
    pub fn on_choke(&mut self, kept: impl Fn(&PieceRange) -> bool) -> Vec<PieceRange> {
        self.drop_where(|range| !kept(range))
    }

    /// Sets the rate at which the peer downloads, in bytes a second.
    pub const fn on_rate(&mut self, bps: u64) {
        self.bps = bps;
    }

    /// A read has finished. `blocks` has its order; a missing one could not be read. Returns the failed requests that
    /// were not cancelled.
    pub fn on_read(&mut self, blocks: impl IntoIterator<Item = Option<Bytes>>) -> Vec<PieceRange> {
        let mut failed = Vec::new();
        let blocks = blocks.into_iter().chain(std::iter::repeat(None));
        for (Reading { range, .. }, block) in self.reading.drain(..).zip(blocks).filter(|(reading, _)| reading.wanted) {
            match block {
                Some(bytes) => {
                    self.ready_bytes += bytes.len() as u64;
                    self.ready.push_back((range, bytes));
                }
                None => failed.push(range),
            }
        }
        failed
    }

    /// Starts the next read once half of the read-ahead is used up. Returns its ranges.
    pub fn next_read(&mut self) -> Option<Vec<PieceRange>> {
        let ahead = (self.bps.saturating_mul(AHEAD_MS) / 1000).clamp(LEAST_AHEAD, MOST_AHEAD);
        if !self.reading.is_empty() || self.queue.is_empty() || self.ready_bytes > ahead / 2 {
            return None;
        }
        let mut left = ahead - self.ready_bytes;
        let fits = self.queue.iter().take_while(|range| {
            let rest = left.checked_sub(range.len().into());
            left = rest.unwrap_or(0);
            rest.is_some()
        });
        let batch = fits.count().max(1);
        self.reading.extend(self.queue.drain(..batch).map(|range| Reading { range, wanted: true }));
        Some(self.reading.iter().map(|reading| reading.range).collect())
    }

    /// Returns the next block for the socket, in whose queue `unsent` bytes wait. It is of the piece that the fewest
    /// other peers were given, and among those the one that was requested first. It can no longer be cancelled.
    pub fn next_block(&mut self, unsent: usize) -> Option<(PieceRange, Bytes)> {
        let most = (self.bps.saturating_mul(UNSENT_MS) / 1000).clamp(LEAST_UNSENT, MOST_UNSENT);
        if unsent as u64 >= most {
            return None;
        }
        let (range, bytes) = self.ready.remove(self.rarest()?)?;
        if self.begun.insert(range.piece()) {
            self.given.on_begun(range.piece());
        }
        self.ready_bytes -= bytes.len() as u64;
        Some((range, bytes))
    }

    /// The index of the next block in `ready`. Only the first one of a run of blocks of the same piece is considered.
    fn rarest(&self) -> Option<usize> {
        let others = |piece| self.given.count(piece) - u32::from(self.begun.contains(piece));
        let mut before = None;
        let ready = self.ready.iter().map(|(range, _)| range.piece()).enumerate().take(LOOK_AT);
        let firsts = ready.filter(|(_, piece)| before.replace(*piece) != Some(*piece));
        firsts.min_by_key(|(_, piece)| others(*piece)).map(|(at, _)| at)
    }

    /// Drops every request for which `is_dropped` returns true, and returns them.
    fn drop_where(&mut self, is_dropped: impl Fn(&PieceRange) -> bool) -> Vec<PieceRange> {
        let mut dropped = Vec::new();
        self.ready.retain(|(range, bytes)| {
            let drops = is_dropped(range);
            if drops {
                self.ready_bytes -= bytes.len() as u64;
                dropped.push(*range);
            }
            !drops
        });
        for reading in self.reading.iter_mut().filter(|reading| reading.wanted && is_dropped(&reading.range)) {
            reading.wanted = false;
            dropped.push(reading.range);
        }
        self.queue.retain(|range| {
            let drops = is_dropped(range);
            if drops {
                dropped.push(*range);
            }
            !drops
        });
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::geometry::Geometry;

    const BLOCK: u32 = 16 * 1024;

    fn range(number: u32) -> PieceRange {
        Geometry::new(1 << 30, 1 << 20).unwrap().parse_range(number / 64, number % 64 * BLOCK, BLOCK).unwrap()
    }

    fn asked(count: u32) -> Uploads {
        let mut uploads = Uploads::default();
        (0..count).for_each(|n| uploads.on_request(range(n)).unwrap());
        uploads
    }

    fn blocks(count: usize) -> Vec<Option<Bytes>> {
        vec![Some(Bytes::from_static(&[7; BLOCK as usize])); count]
    }

    /// The numbers of the blocks that are given to a socket with `unsent` bytes in its queue.
    fn given(uploads: &mut Uploads, mut unsent: usize) -> Vec<u32> {
        let next = || {
            let (range, bytes) = uploads.next_block(unsent)?;
            unsent += bytes.len();
            Some(range.piece().get() * 64 + range.begin() / BLOCK)
        };
        std::iter::from_fn(next).collect()
    }

    /// The peer's rate in bytes a second; the blocks of the first read; the blocks in the socket's queue.
    #[test]
    fn read_ahead_and_queue_follow_the_rate() {
        for (bps, read, queued) in
            [(0, 8, 1), (1000, 8, 1), (200 * 1024, 8, 4), (1 << 20, 32, 16), (4 << 20, 64, 32), (u64::MAX, 64, 32)]
        {
            let mut uploads = asked(100);
            uploads.on_rate(bps);
            assert_eq!(uploads.next_read().unwrap().len(), read, "{bps} B/s");
            assert_eq!(uploads.next_read(), None, "one read at a time");
            assert_eq!(uploads.on_read(blocks(read)), []);
            assert_eq!(given(&mut uploads, 0).len(), queued, "{bps} B/s");
        }
    }

    #[test]
    fn the_next_read_begins_when_half_has_gone() {
        let mut uploads = asked(100);
        uploads.next_read();
        uploads.on_read(blocks(8));
        for block in 0..4 {
            assert_eq!(uploads.next_read(), None);
            assert_eq!(given(&mut uploads, 0), [block]);
            assert!(given(&mut uploads, BLOCK as usize).is_empty(), "the peer does not take it");
        }
        assert_eq!(uploads.next_read().unwrap(), [8, 9, 10, 11].map(range));
        assert_eq!(given(&mut uploads, 0), [4], "meanwhile");
        uploads.on_read(blocks(4));
        let rest: Vec<_> = std::iter::from_fn(|| given(&mut uploads, 0).pop()).collect();
        assert_eq!(rest, [5, 6, 7, 8, 9, 10, 11], "in order");
    }

    /// P-20: too many requests.
    #[test]
    fn a_flood_is_refused_wherever_the_requests_stand() {
        let mut uploads = asked(2000);
        assert_eq!(uploads.on_request(range(2000)), Err(QueueFull));
        uploads.next_read();
        assert_eq!(uploads.on_request(range(2000)), Err(QueueFull), "eight of them are being read");
        uploads.on_read(blocks(8));
        assert_eq!(uploads.on_request(range(2000)), Err(QueueFull), "and wait for the socket");
        given(&mut uploads, 0);
        assert_eq!(uploads.on_request(range(2000)), Ok(()));
    }

    #[test]
    fn a_block_can_be_taken_back_until_it_lies_in_the_sockets_queue() {
        let mut uploads = asked(12);
        uploads.next_read();
        assert_eq!((uploads.on_cancel(range(9)), uploads.on_cancel(range(9))), (1, 0), "not read yet");
        assert_eq!((uploads.on_cancel(range(3)), uploads.on_cancel(range(3))), (1, 0), "being read");
        uploads.on_read(blocks(8));
        assert_eq!((uploads.on_cancel(range(1)), uploads.on_cancel(range(1))), (1, 0), "read");
        assert_eq!(given(&mut uploads, 0), [0]);
        assert_eq!(uploads.on_cancel(range(0)), 0, "too late");
        let rest: Vec<_> = std::iter::from_fn(|| given(&mut uploads, 0).pop()).collect();
        assert_eq!(rest, [2, 4, 5, 6, 7]);
        assert_eq!(uploads.next_read().unwrap(), [8, 10, 11].map(range));
    }

    #[test]
    fn a_choke_drops_all_requests_but_those_to_keep() {
        let mut uploads = asked(12);
        uploads.next_read();
        uploads.on_read(blocks(4));
        uploads.next_read();
        let forgotten = uploads.on_choke(|kept| [range(1), range(9)].contains(kept));
        assert_eq!(forgotten.len(), 6, "four could not be read and are gone already: {forgotten:?}");
        assert_eq!(given(&mut uploads, 0), [1]);
        uploads.on_read(blocks(8));
        assert_eq!(given(&mut uploads, 0), [9]);
        assert_eq!((given(&mut uploads, 0), uploads.next_read()), (vec![], None));
    }

    #[test]
    fn a_piece_that_no_peer_was_given_goes_first() {
        let geometry = Geometry::new(1 << 20, BLOCK.into()).unwrap();
        let piece = |number| geometry.parse_range(number, 0, BLOCK).unwrap();
        let shared = UploadCounts::default();
        let asks = |pieces: &[u32]| {
            let mut uploads = Uploads::sharing(shared.clone());
            for number in pieces {
                uploads.on_request(piece(*number)).unwrap();
            }
            uploads.next_read();
            uploads.on_read(blocks(pieces.len()));
            uploads
        };
        let gives = |uploads: &mut Uploads| uploads.next_block(0).unwrap().0.piece().get();
        let [mut one, mut other] = [asks(&[1, 2, 3]), asks(&[1, 2, 4])];
        assert_eq!((gives(&mut one), gives(&mut other)), (1, 2), "not the same piece twice");
        assert_eq!((gives(&mut one), gives(&mut other)), (3, 4));
        assert_eq!((gives(&mut one), gives(&mut other)), (2, 1), "and yet each peer is given what it asks for");
    }

    /// D-04: a read that fails.
    #[test]
    fn a_failed_read_is_reported_unless_it_was_cancelled() {
        let mut uploads = asked(4);
        uploads.next_read();
        uploads.on_cancel(range(1));
        let answer = vec![None, None, Some(Bytes::from_static(b"x"))];
        assert_eq!(uploads.on_read(answer), [range(0), range(3)]);
        assert_eq!(given(&mut uploads, 0), [2]);
    }
}
