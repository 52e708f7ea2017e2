//! What is fetched from one peer: the requests under way, the rate at which blocks come, and what the scheduler was told of
//! them.

use std::time::Instant;

use crate::logic::peer::requests::{Pipeline, USUAL_REQQ};
use crate::logic::rate::Rate;

/// The downloads from one peer.
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) pipeline: Pipeline,
    /// Of blocks that came. Made with the first, as most connections of a large swarm carry none.
    rate: Option<Box<Rate>>,
    delivered: bool,
    /// How many blocks the peer could have outstanding, as the scheduler knows it.
    depth_told: u32,
    /// The scheduler was told to keep to the pieces that the peer allows.
    within_told: bool,
}

impl Fetching {
    pub(super) fn new() -> Self {
        Self { pipeline: Pipeline::new(USUAL_REQQ), rate: None, delivered: false, depth_told: 0, within_told: false }
    }

    /// Bytes of a block came, asked for or not.
    pub(super) fn on_data(&mut self, now: Instant, len: usize) {
        self.rate.get_or_insert_with(|| Box::new(Rate::new(now))).add(now, len as u64);
    }

    /// A block came that was asked for. True: it is the first one.
    pub(super) const fn is_first_block(&mut self) -> bool {
        !std::mem::replace(&mut self.delivered, true)
    }

    /// Bytes a second from the peer.
    pub(super) fn bps(&self, now: Instant) -> u64 {
        self.rate.as_ref().map_or(0, |rate| rate.bps(now))
    }

    /// The scheduler is new and knows nothing.
    pub(super) const fn forget_told(&mut self) {
        (self.depth_told, self.within_told) = (0, false);
    }

    /// The scheduler is to be told the depth again, whatever it is.
    pub(super) const fn forget_depth(&mut self) {
        self.depth_told = 0;
    }

    /// The depth that the scheduler is to be told, if it is more than it knows.
    pub(super) fn next_depth(&mut self) -> Option<u32> {
        let depth = if self.pipeline.wants() == 0 { 0 } else { self.pipeline.depth() };
        (depth > self.depth_told).then(|| {
            self.depth_told = depth;
            depth
        })
    }

    /// The peer keeps us to the pieces that it allows, or no longer. True: the scheduler has to be told. `changed`: they
    /// are other pieces than before.
    pub(super) const fn is_within_news(&mut self, within: bool, changed: bool) -> bool {
        std::mem::replace(&mut self.within_told, within) != within || changed
    }
}
