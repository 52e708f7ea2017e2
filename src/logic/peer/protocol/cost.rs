//! What a peer's messages cost us beside the bytes that they bring.
//!
//! A request for one byte costs as much work as one for a block. So what a request lacks to a block is charged, also that of
//! one that is refused or taken back, and a peer with too high a charge is read again when it has been worked off. Honest
//! clients ask for blocks, but for the ends of pieces. A message that says nothing new, or what need not be said often, is
//! charged as a block. Knows no messages.

use std::time::{Duration, Instant};

use crate::base::geometry::BLOCK_LEN;

/// 4,096 small requests a second from one peer: about a hundredth of one core, and 64 MiB/s of blocks and as many ends of
/// pieces in a torrent whose pieces are a byte longer than a block.
const A_SECOND: u64 = 4096 * BLOCK_LEN as u64;

/// 4,000 at once: as many as a peer may have under way, asked for and taken back.
const AT_ONCE: u64 = 4000 * BLOCK_LEN as u64;

/// The account of one peer.
#[derive(Debug)]
pub(super) struct Cost {
    charged: u64,
    at: Instant,
}

impl Cost {
    pub(super) const fn new(now: Instant) -> Self {
        Self { charged: 0, at: now }
    }

    /// For a request of so many bytes; 0 for one that brings nothing. `usual` is what one would ask for.
    pub(super) fn charge(&mut self, now: Instant, len: u32, usual: u32) {
        let passed = now.saturating_duration_since(self.at);
        self.at = now;
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let worked_off = (A_SECOND / 1000).saturating_mul(millis);
        self.charged = self.charged.saturating_sub(worked_off).saturating_add(u64::from(usual.saturating_sub(len)));
    }

    /// Until when the peer is not read.
    pub(super) fn held_until(&self) -> Option<Instant> {
        let excess = self.charged.checked_sub(AT_ONCE).filter(|excess| *excess > 0)?;
        // To the next millisecond: time is counted in whole ones.
        Some(self.at + Duration::from_millis(excess / (A_SECOND / 1000) + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;

    /// Requests of so many bytes as fast as they are read, for ten seconds. How many a second.
    fn rate(len: u32) -> u64 {
        let t0 = base_instant();
        let (mut now, mut cost, mut requests) = (t0, Cost::new(t0), 0);
        while now < t0 + Duration::from_secs(10) {
            (0..1000).for_each(|_| cost.charge(now, len, BLOCK_LEN));
            requests += 1000;
            now = cost.held_until().map_or(now + Duration::from_millis(1), |until| until.max(now));
        }
        requests / 10
    }

    #[test]
    fn small_requests_are_read_as_fast_as_they_are_worth() {
        assert!((4096..5000).contains(&rate(1)), "{}", rate(1));
        assert!((8192..9100).contains(&rate(BLOCK_LEN / 2)), "{}", rate(BLOCK_LEN / 2));
        assert_eq!(rate(BLOCK_LEN), 1_000_000, "never held");
    }
}
