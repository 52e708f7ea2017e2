//! The outstanding requests at one peer: how many there should be, and what became of each.
//!
//! Driven by the connection to the peer. The scheduler decides which blocks to request; the connection sends the
//! requests. Every granted block leaves the pipeline exactly once: it arrives, or is given back, or is cancelled.

mod outstanding;
mod pace;

use std::time::Instant;

use crate::base::geometry::BlockAddr;
use outstanding::Outstanding;
use pace::START_DEPTH;

/// 500: libtorrent's limit for any peer (`max_out_request_queue`), used for a peer that names no `reqq` (BEP 10).
pub const USUAL_REQQ: u32 = 500;

/// 4,096 requests, 64 MiB in flight: 5 Gb/s at 100 ms. The `reqq` of a peer cannot make us use more memory.
pub const MOST_DEPTH: u32 = 4096;

/// How a received block relates to our requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The block was outstanding.
    Expected,
    /// The block was requested and given back: by a time-out at any time, otherwise within the last 30 s. It is used
    /// if it is still missing, and is no violation if not.
    Late,
    /// The block was never requested, or long ago (P-16, P-17).
    Unasked,
}

/// How a rejected request relates to our requests (BEP 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// The request was outstanding: give the block back.
    Asked,
    /// The block was given back before: it was cancelled, choked or timed out.
    Over,
    /// The block was never requested, or long ago.
    Unasked,
}

/// What to do with granted blocks.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Granted {
    /// Send a `request` for each of these. A block that timed out at this peer before is still on its way and is not
    /// requested again at first, so it is in neither list.
    pub send: Vec<BlockAddr>,
    /// Give these back to the scheduler: the peer choked us while the grant was under way.
    pub refuse: Vec<BlockAddr>,
}

/// The outstanding requests at one peer.
#[derive(Debug)]
pub struct Pipeline {
    /// Whether the peer takes no requests.
    choked: bool,
    /// The most requests that the peer keeps.
    max_depth: u32,
    /// Made at the first grant: most peers of a large swarm are never asked for a block.
    begun: Option<Box<Outstanding>>,
}

impl Pipeline {
    /// The pipeline of a new connection, which is choked (BEP 3). `max_depth` is the peer's `reqq` or [`USUAL_REQQ`],
    /// and is limited to 1 to [`MOST_DEPTH`].
    pub fn new(max_depth: u32) -> Self {
        Self { choked: true, max_depth: max_depth.clamp(1, MOST_DEPTH), begun: None }
    }

    /// The peer keeps at most `reqq` requests (BEP 10).
    pub fn on_reqq(&mut self, reqq: u32) {
        self.max_depth = reqq.clamp(1, MOST_DEPTH);
        if let Some(begun) = &mut self.begun {
            begun.set_max_depth(self.max_depth);
        }
    }

    /// The peer takes requests from now on.
    pub const fn on_unchoked(&mut self) {
        self.choked = false;
    }

    /// The peer takes no requests and has dropped the outstanding ones (BEP 3). Returns these, to be given back.
    pub fn on_choked(&mut self, now: Instant) -> Vec<BlockAddr> {
        self.choked = true;
        self.begun.as_mut().map_or_else(Vec::new, |begun| begun.on_choked(now))
    }

    /// The peer takes no further requests, and will answer the outstanding ones (BEP 6).
    pub const fn on_held(&mut self) {
        self.choked = true;
    }

    /// How many more blocks may be requested now.
    pub fn wants(&self) -> u32 {
        if self.choked { 0 } else { self.depth().saturating_sub(self.outstanding()) }
    }

    /// The scheduler granted these blocks. Returns what to do with them.
    pub fn on_granted(&mut self, now: Instant, blocks: impl IntoIterator<Item = BlockAddr>) -> Granted {
        let blocks = blocks.into_iter();
        if self.choked {
            let is_asked = |block: &BlockAddr| self.begun.as_ref().is_some_and(|begun| begun.includes(block));
            let refuse = blocks.filter(|block| !is_asked(block)).collect();
            return Granted { refuse, ..Granted::default() };
        }
        self.begun.get_or_insert_with(|| Box::new(Outstanding::new(self.max_depth))).on_granted(now, blocks)
    }

    /// A block was received.
    pub fn on_block(&mut self, now: Instant, block: BlockAddr) -> Arrival {
        self.begun.as_mut().map_or(Arrival::Unasked, |begun| begun.on_block(now, block))
    }

    /// Another peer delivered the block. Returns whether this peer still owes it: then send `cancel`.
    pub fn on_cancelled(&mut self, now: Instant, block: BlockAddr) -> bool {
        self.begun.as_mut().is_some_and(|begun| begun.on_cancelled(now, block))
    }

    /// The peer rejected a request (BEP 6).
    pub fn on_rejected(&mut self, now: Instant, block: BlockAddr) -> Rejected {
        self.begun.as_mut().map_or(Rejected::Unasked, |begun| begun.on_rejected(now, block))
    }

    /// Our own rate limit kept us from reading from this peer until `until`: its time counts from then.
    pub fn on_unread(&mut self, until: Instant) {
        if let Some(begun) = &mut self.begun {
            begun.on_unread(until);
        }
    }

    /// Returns the overdue blocks, to be given back: all outstanding ones if the peer is silent. Call it at
    /// [`Self::deadline`].
    pub fn on_timeout(&mut self, now: Instant) -> Vec<BlockAddr> {
        self.begun.as_mut().map_or_else(Vec::new, |begun| begun.on_timeout(now))
    }

    /// When to call [`Self::on_timeout`]. `None` while nothing is outstanding.
    pub fn deadline(&self) -> Option<Instant> {
        self.begun.as_ref()?.deadline()
    }

    /// Bytes a second that arrived over about the last 5 s.
    pub fn rate_bps(&self, now: Instant) -> u64 {
        self.begun.as_ref().map_or(0, |begun| begun.rate_bps(now))
    }

    /// How many requests should be outstanding. One while the peer is silent.
    pub fn depth(&self) -> u32 {
        self.begun.as_ref().map_or(START_DEPTH.min(self.max_depth), |begun| begun.depth())
    }

    /// How many requests are outstanding.
    pub fn outstanding(&self) -> u32 {
        self.begun.as_ref().map_or(0, |begun| begun.outstanding())
    }

    /// Whether the peer is unchoked, asked, and has sent no block for 60 s (P-12).
    pub fn is_snubbed(&self, now: Instant) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.is_snubbed(now))
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers of a test")]
mod tests;
