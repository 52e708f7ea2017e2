//! What is given to one peer: its queue, and the counts of what went to it.
//!
//! The queue is made at the first request, as most connections of a large swarm carry none.

use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;

use crate::base::geometry::{BLOCK_LEN, PieceRange};
use crate::logic::peer::allowed_fast::GrantCounts;
use crate::logic::peer::uploads::{QueueFull, Uploads};
use crate::logic::peers::upload_counts::UploadCounts;
use crate::logic::rate::Rate;

/// The uploads to one peer.
#[derive(Debug, Default)]
pub(super) struct Giving {
    counts: UploadCounts,
    grants: GrantCounts,
    uploads: Option<Box<Uploads>>,
    /// Of all that the socket took since the peer first asked for something.
    rate: Option<Box<Rate>>,
    sent: u64,
    charged: u64,
    /// Bytes that the socket took since the first block was given, as far as a block.
    taken: u64,
}

impl Giving {
    /// Counts together with the other connections of the torrent.
    pub(super) fn share(&mut self, counts: UploadCounts, grants: GrantCounts) {
        (self.counts, self.grants) = (counts, grants);
    }

    /// The peer has asked for nothing that it was not given.
    pub(super) fn is_empty(&self) -> bool {
        self.uploads.as_ref().is_none_or(|uploads| uploads.is_empty())
    }

    /// The peer asks for these bytes, and may have them.
    pub(super) fn on_request(&mut self, range: PieceRange) -> Result<(), QueueFull> {
        let counts = &self.counts;
        self.uploads.get_or_insert_with(|| Box::new(Uploads::sharing(counts.clone()))).on_request(range)
    }

    /// The peer takes a request back; gives how many there were.
    pub(super) fn on_cancel(&mut self, range: PieceRange) -> usize {
        self.uploads.as_mut().map_or(0, |uploads| uploads.on_cancel(range))
    }

    /// The peer is choked: all but what is `kept` is forgotten, and given back.
    pub(super) fn on_choke(&mut self, kept: impl Fn(&PieceRange) -> bool) -> Vec<PieceRange> {
        self.uploads.as_mut().map_or_else(Vec::new, |uploads| uploads.on_choke(kept))
    }

    /// The read that was asked for came back, in its order; gives what could not be read.
    pub(super) fn on_read(&mut self, blocks: impl IntoIterator<Item = Option<Bytes>>) -> Vec<PieceRange> {
        self.uploads.as_mut().map_or_else(Vec::new, |uploads| uploads.on_read(blocks))
    }

    /// What is to be read next for the peer.
    pub(super) fn next_read(&mut self) -> Option<Vec<PieceRange>> {
        self.uploads.as_mut()?.next_read()
    }

    /// Blocks are about to be taken with [`Self::next_block`].
    pub(super) fn on_turn(&mut self, now: Instant) {
        if let Some(uploads) = &mut self.uploads {
            uploads.on_rate(self.rate.as_ref().map_or(0, |rate| rate.bps(now)));
        }
    }

    /// The next block for the socket, for which `unsent` bytes wait already. `usual`: what a client asks for at a time.
    pub(super) fn next_block(&mut self, unsent: usize, usual: u32) -> Option<(PieceRange, Bytes)> {
        let (range, data) = self.uploads.as_mut()?.next_block(unsent)?;
        self.sent += data.len() as u64;
        self.charged += u64::from(range.len().max(usual));
        Some((range, data))
    }

    /// The socket took so many bytes.
    pub(super) fn on_sent(&mut self, now: Instant, taken: usize) {
        if self.uploads.is_some() {
            self.rate.get_or_insert_with(|| Box::new(Rate::new(now))).add(now, taken as u64);
        }
    }

    /// The socket took so many bytes. True: with them the first block. A block of them is proof that the peer takes what
    /// it asks for; that it lies in the system's buffer cannot be told apart, and is bounded.
    pub(super) fn is_first_taken(&mut self, taken: usize) -> bool {
        let block = u64::from(BLOCK_LEN);
        if self.sent == 0 || self.taken >= block {
            return false;
        }
        self.taken += taken as u64;
        self.taken >= block
    }

    /// What newcomers of that network are given while they are choked is spent.
    pub(super) fn is_spent(&self, now: Instant, ip: IpAddr) -> bool {
        self.grants.is_spent(now, ip)
    }

    /// A choked newcomer of that network is given so many bytes.
    pub(super) fn charge(&self, now: Instant, ip: IpAddr, len: u32) {
        self.grants.charge(now, ip, len);
    }

    /// Bytes a second to the peer.
    pub(super) fn bps(&self, now: Instant) -> u64 {
        self.rate.as_ref().map_or(0, |rate| rate.bps(now))
    }

    /// Bytes of blocks sent.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// The same, with a block for every request that is for less.
    pub(super) const fn charged(&self) -> u64 {
        self.charged
    }
}
