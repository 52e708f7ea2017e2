//! What one peer has asked us for: a bounded queue, read in batches and handed to the socket a little at a time.
//!
//! What is read at once and what may lie in the socket's queue follow the rate at which the peer takes: so a fast one is
//! read a mebibyte at a time, a slow one holds little, and one that never reads costs a fixed amount of memory (P-21). Until
//! it lies in the socket's queue a block can be taken back. Knows no bytes but to pass them on.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::geometry::PieceRange;
use crate::logic::peers::upload_counts::{PieceMarks, UploadCounts};

/// 2,000 requests: what libtorrent takes of one peer by default; Transmission has 512 under way where nobody told it a
/// `reqq`. More at once is a flood (P-20).
pub const MAX_QUEUED: usize = 2000;

/// Half a second of what the peer takes is read ahead: longer than a disk thinks.
const AHEAD_MS: u64 = 500;

/// Eight blocks, before a rate is known.
const LEAST_AHEAD: u64 = 128 * 1024;

/// 1 MiB: 64 blocks in one read.
const MOST_AHEAD: u64 = 1024 * 1024;

/// A quarter of a second lies in the socket's queue.
const UNSENT_MS: u64 = 250;

/// One block, before a rate is known: while less than that is unsent, the next one follows.
const LEAST_UNSENT: u64 = 16 * 1024;

/// 512 KiB unsent: one write takes 32 blocks, and a peer that takes less than 2 MiB/s has a quarter of its second.
const MOST_UNSENT: u64 = 512 * 1024;

/// 64 blocks, a mebibyte, are looked at for pieces that nobody was given yet.
const LOOK_AT: usize = 64;

/// More requests than the queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// A range on its way from the disk.
#[derive(Debug, Clone, Copy)]
struct Reading {
    range: PieceRange,
    /// Not taken back meanwhile.
    wanted: bool,
}

/// One peer's requests to us.
#[derive(Debug, Default)]
pub struct Uploads {
    queue: VecDeque<PieceRange>,
    reading: Vec<Reading>,
    ready: VecDeque<(PieceRange, Bytes)>,
    ready_bytes: u64,
    /// Bytes a second that the peer takes.
    bps: u64,
    given: UploadCounts,
    /// Pieces that this peer was given something of.
    begun: PieceMarks,
}

impl Uploads {
    /// None yet; counts with the others what is given.
    pub fn sharing(given: UploadCounts) -> Self {
        Self { given, ..Self::default() }
    }

    /// Nothing is asked for that was not given.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.reading.is_empty() && self.ready.is_empty()
    }

    /// The peer asks for a range.
    pub fn on_request(&mut self, range: PieceRange) -> Result<(), QueueFull> {
        if self.queue.len() + self.reading.len() + self.ready.len() >= MAX_QUEUED {
            return Err(QueueFull);
        }
        self.queue.push_back(range);
        Ok(())
    }

    /// The peer takes a request back. How often it was still here.
    pub fn on_cancel(&mut self, range: PieceRange) -> usize {
        self.drop_where(|other| *other == range).len()
    }

    /// We choke the peer: what it asked for is forgotten, but what it may have all the same (BEP 6). Returns what was
    /// forgotten.
    pub fn on_choke(&mut self, kept: impl Fn(&PieceRange) -> bool) -> Vec<PieceRange> {
        self.drop_where(|range| !kept(range))
    }

    /// How fast the peer takes what we send.
    pub const fn on_rate(&mut self, bps: u64) {
        self.bps = bps;
    }

    /// The read has come back, in the order it was asked for; what is missing could not be read. Returns what of that is
    /// still wanted.
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

    /// What to read now: as much as is to be ahead, once half of that has gone.
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

    /// The next block for the socket, in whose queue `unsent` bytes wait: of the piece that fewest others were given, and of
    /// those the one that was asked for first. From here on nothing is taken back.
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

    /// The place of the block to be given next. Neighbours are mostly of one piece, and of those the first goes first.
    fn rarest(&self) -> Option<usize> {
        let others = |piece| self.given.count(piece) - u32::from(self.begun.contains(piece));
        let mut before = None;
        let ready = self.ready.iter().map(|(range, _)| range.piece()).enumerate().take(LOOK_AT);
        let firsts = ready.filter(|(_, piece)| before.replace(*piece) != Some(*piece));
        firsts.min_by_key(|(_, piece)| others(*piece)).map(|(at, _)| at)
    }

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

    /// The numbers of the blocks that go to the socket while it has this much of them.
    fn given(uploads: &mut Uploads, mut unsent: usize) -> Vec<u32> {
        let next = || {
            let (range, bytes) = uploads.next_block(unsent)?;
            unsent += bytes.len();
            Some(range.piece().get() * 64 + range.begin() / BLOCK)
        };
        std::iter::from_fn(next).collect()
    }

    /// Bytes a second that the peer takes; blocks in the first read, blocks in the socket's queue.
    #[test]
    fn what_is_read_and_queued_follows_the_rate() {
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

    /// P-20.
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
    fn a_choke_forgets_all_but_what_is_kept() {
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
    fn what_nobody_was_given_goes_first() {
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
        assert_eq!((gives(&mut one), gives(&mut other)), (2, 1), "and yet everybody is given what he asks for");
    }

    /// D-04.
    #[test]
    fn what_cannot_be_read_is_told_if_it_is_still_wanted() {
        let mut uploads = asked(4);
        uploads.next_read();
        uploads.on_cancel(range(1));
        let answer = vec![None, None, Some(Bytes::from_static(b"x"))];
        assert_eq!(uploads.on_read(answer), [range(0), range(3)]);
        assert_eq!(given(&mut uploads, 0), [2]);
    }
}
