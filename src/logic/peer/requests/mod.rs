//! One peer's outstanding requests: how many there should be, and what became of each.
//!
//! Driven by the connection to that peer. Does not know which block to ask for (the scheduler grants them) and sends
//! nothing. Every block that is granted leaves exactly once: it arrives, or it is handed back, or it is cancelled.

mod outstanding;
mod pace;

use std::time::Instant;

use crate::base::geometry::BlockAddr;
use outstanding::Outstanding;
pub(in crate::logic) use pace::Flow;
use pace::START_DEPTH;

/// 500: what libtorrent asks of anybody (`max_out_request_queue`), for a peer that names no `reqq` (BEP 10).
pub const USUAL_REQQ: u32 = 500;

/// 4,096 requests, 64 MiB in flight: 5 Gb/s at 100 ms. A stranger's `reqq` does not size our memory beyond it.
pub const MOST_DEPTH: u32 = 4096;

/// What an arriving block is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It was outstanding.
    Expected,
    /// It was asked for and handed back: by a time-out, at any time; else within the last 30 s. Welcome if it is still
    /// missing, no offence if not.
    Late,
    /// It was never asked for, or long ago (P-16, P-17).
    Unasked,
}

/// What a rejected request was to us (BEP 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// Outstanding: hand it back.
    Asked,
    /// Handed back already: cancelled, choked away, or timed out.
    Over,
    /// Never asked for, or long ago.
    Unasked,
}

/// What is to be done with granted blocks.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Granted {
    /// Send a `request` for each of these. A block that timed out here before is still on its way and is not asked for
    /// twice at first.
    pub send: Vec<BlockAddr>,
    /// Hand these back to the scheduler: the peer choked us while the grant was on its way.
    pub refuse: Vec<BlockAddr>,
}

/// One peer's outstanding requests.
#[derive(Debug)]
pub struct Pipeline {
    choked: bool,
    /// What the peer keeps.
    max_depth: u32,
    /// Made at the first grant: most peers of a large swarm are never asked for anything.
    begun: Option<Box<Outstanding>>,
}

impl Pipeline {
    /// A new connection, choked (BEP 3). `max_depth` is the peer's `reqq`, else [`USUAL_REQQ`]; 1 to [`MOST_DEPTH`]
    /// is kept of it.
    pub fn new(max_depth: u32) -> Self {
        Self { choked: true, max_depth: max_depth.clamp(1, MOST_DEPTH), begun: None }
    }

    /// The peer keeps so many requests (BEP 10).
    pub fn on_reqq(&mut self, reqq: u32) {
        self.max_depth = reqq.clamp(1, MOST_DEPTH);
        if let Some(begun) = &mut self.begun {
            begun.set_max_depth(self.max_depth);
        }
    }

    /// The peer takes requests.
    pub const fn on_unchoked(&mut self) {
        self.choked = false;
    }

    /// The peer takes no requests and drops those it has (BEP 3). Returns all outstanding, to be handed back.
    pub fn on_choked(&mut self, now: Instant) -> Vec<BlockAddr> {
        self.choked = true;
        self.begun.as_mut().map_or_else(Vec::new, |begun| begun.on_choked(now))
    }

    /// The peer takes no more requests, and answers each of those it has (BEP 6).
    pub const fn on_held(&mut self) {
        self.choked = true;
    }

    /// How many more blocks it could take now.
    pub fn wants(&self) -> u32 {
        if self.choked { 0 } else { self.depth().saturating_sub(self.outstanding()) }
    }

    /// The scheduler granted these blocks.
    pub fn on_granted(&mut self, now: Instant, blocks: impl IntoIterator<Item = BlockAddr>) -> Granted {
        let blocks = blocks.into_iter();
        if self.choked {
            let is_asked = |block: &BlockAddr| self.begun.as_ref().is_some_and(|begun| begun.includes(block));
            let refuse = blocks.filter(|block| !is_asked(block)).collect();
            return Granted { refuse, ..Granted::default() };
        }
        self.begun.get_or_insert_with(|| Box::new(Outstanding::new(self.max_depth))).on_granted(now, blocks)
    }

    /// A block came.
    pub fn on_block(&mut self, now: Instant, block: BlockAddr) -> Arrival {
        self.begun.as_mut().map_or(Arrival::Unasked, |begun| begun.on_block(now, block))
    }

    /// The block came from somebody else. True: this peer still owes it, send `cancel`.
    pub fn on_cancelled(&mut self, now: Instant, block: BlockAddr) -> bool {
        self.begun.as_mut().is_some_and(|begun| begun.on_cancelled(now, block))
    }

    /// The peer rejected a request (BEP 6).
    pub fn on_rejected(&mut self, now: Instant, block: BlockAddr) -> Rejected {
        self.begun.as_mut().map_or(Rejected::Unasked, |begun| begun.on_rejected(now, block))
    }

    /// Until `until` it was our own limit that kept us from reading from this peer: its time counts from then.
    pub fn on_unread(&mut self, until: Instant) {
        if let Some(begun) = &mut self.begun {
            begun.on_unread(until);
        }
    }

    /// The deadline has passed. Returns what is overdue, to be handed back; all of it if the peer is silent altogether.
    pub fn on_timeout(&mut self, now: Instant) -> Vec<BlockAddr> {
        self.begun.as_mut().map_or_else(Vec::new, |begun| begun.on_timeout(now))
    }

    /// When to call [`Self::on_timeout`].
    pub fn deadline(&self) -> Option<Instant> {
        self.begun.as_ref()?.deadline()
    }

    /// Bytes per second that came over about the last 5 s.
    pub fn rate_bps(&self, now: Instant) -> u64 {
        self.begun.as_ref().map_or(0, |begun| begun.rate_bps(now))
    }

    /// How many requests should be outstanding: one while the peer is silent.
    pub fn depth(&self) -> u32 {
        self.begun.as_ref().map_or(START_DEPTH.min(self.max_depth), |begun| begun.depth())
    }

    /// How many requests are outstanding.
    pub fn outstanding(&self) -> u32 {
        self.begun.as_ref().map_or(0, |begun| begun.outstanding())
    }

    /// Unchoked, asked, and not a block for 60 s (P-12).
    pub fn is_snubbed(&self, now: Instant) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.is_snubbed(now))
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers of a test")]
mod tests;
