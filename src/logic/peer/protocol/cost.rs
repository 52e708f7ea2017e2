//! Charges a peer for the work that its messages cause, and pauses reading from a peer with too high a charge.
//!
//! A request for one byte takes as much work as one for a block. So every request is charged with what it lacks to a
//! block, whether it is served, refused or cancelled. A peer with too high a charge is read again when enough of it
//! has expired. Honest clients request whole blocks, except at the ends of pieces. A message that says nothing new, or
//! one that is rarely needed, is charged as a block. This module knows no messages.

use std::time::{Duration, Instant};

use crate::base::geometry::BLOCK_LEN;

/// 4,096 small requests a second from one peer expire: about a hundredth of one core, and enough for 64 MiB/s of a
/// torrent whose pieces are a byte longer than a block, with as many ends of pieces.
const A_SECOND: u64 = 4096 * BLOCK_LEN as u64;

/// 4,000 small requests at once are allowed: as many as a peer may have outstanding, each cancelled once.
const AT_ONCE: u64 = 4000 * BLOCK_LEN as u64;

/// The charge of one peer.
#[derive(Debug)]
pub(super) struct Cost {
    /// The charge in bytes.
    charged: u64,
    /// When it was last computed.
    at: Instant,
}

impl Cost {
    pub(super) const fn new(now: Instant) -> Self {
        Self { charged: 0, at: now }
    }

    /// Charges a request for `len` bytes, or a message that brings nothing (0). `usual`: the bytes of a usual request.
    pub(super) fn charge(&mut self, now: Instant, len: u32, usual: u32) {
        let passed = now.saturating_duration_since(self.at);
        self.at = now;
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let worked_off = (A_SECOND / 1000).saturating_mul(millis);
        self.charged = self.charged.saturating_sub(worked_off).saturating_add(u64::from(usual.saturating_sub(len)));
    }

    /// Until when the peer is not read. `None`: it may be read.
    pub(super) fn held_until(&self) -> Option<Instant> {
        let excess = self.charged.checked_sub(AT_ONCE).filter(|excess| *excess > 0)?;
        // Rounded up to the next millisecond, since expiry is counted in whole ones.
        Some(self.at + Duration::from_millis(excess / (A_SECOND / 1000) + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;

    /// Requests of `len` bytes as fast as they are read, for ten seconds. Returns how many are read a second.
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
    fn small_requests_are_read_at_a_limited_rate() {
        assert!((4096..5000).contains(&rate(1)), "{}", rate(1));
        assert!((8192..9100).contains(&rate(BLOCK_LEN / 2)), "{}", rate(BLOCK_LEN / 2));
        assert_eq!(rate(BLOCK_LEN), 1_000_000, "never held");
    }
}
