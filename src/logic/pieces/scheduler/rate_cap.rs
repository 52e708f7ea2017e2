//! The effect of our own download limit on requests: request no more than the limit lets in soon, and wait longer for
//! peers that the limit holds up.
//!
//! A hundred peers that each send a part of a low limit deliver no block sooner than a few would, and deliver all of
//! them late. Requested blocks lie in buffers on both sides and cannot be taken back. So below a limit few blocks are
//! requested at a time, from few peers, and none twice while the limit is the bottleneck.

use std::time::Duration;

use crate::base::geometry::BLOCK_LEN;

/// Up to 4 s of the limit may be requested: more than any round trip. Picked by eye.
const ASKED_S: u64 = 4;

/// 32 blocks may always be requested: as many as two new peers are asked for before they are measured.
const LEAST_ASKED: u32 = 32;

/// The limit counts as the bottleneck once 2 s of it are requested.
const BUSY_S: u64 = 2;

/// The download limit as the scheduler sees it.
#[derive(Debug, Default)]
pub(super) struct RateCap {
    /// The limit in bytes a second. `None`: no limit.
    max_bps: Option<u64>,
    /// Whether a peer got less than it could take because enough is requested.
    held_back: bool,
}

impl RateCap {
    /// A limit of `max_bps` bytes a second, or none.
    pub(super) const fn new(max_bps: Option<u64>) -> Self {
        Self { max_bps, held_back: false }
    }

    /// How many of `want` more blocks may be requested beside the `in_flight` outstanding ones.
    pub(super) fn room(&self, in_flight: u32, want: u32) -> u32 {
        self.most().saturating_sub(in_flight).min(want)
    }

    /// A peer could take more, and [`Self::room`] is used up.
    pub(super) const fn on_held_back(&mut self) {
        self.held_back = true;
    }

    /// Whether peers that were held back may be served again: half of the allowed requests have been answered. A peer
    /// that delivers asks again by itself and is served first, so a few peers are kept busy rather than all of them a
    /// little.
    pub(super) fn lets_in(&mut self, in_flight: u32) -> bool {
        let lets_in = self.held_back && in_flight < self.most() / 2;
        self.held_back &= !lets_in;
        lets_in
    }

    /// Whether our limit is the bottleneck: then a slow peer may be slow only because we do not read more.
    pub(super) fn is_the_cause(&self, in_flight: u32) -> bool {
        self.max_bps.is_some_and(|bps| u64::from(in_flight) * u64::from(BLOCK_LEN) >= bps.saturating_mul(BUSY_S))
    }

    /// Twice the time that one block of each takes when `senders` peers share the limit. Zero without a limit.
    pub(super) fn patience(&self, senders: impl FnOnce() -> usize) -> Duration {
        let ms = |bps| (senders() as u64).saturating_mul(u64::from(BLOCK_LEN) * 2000) / bps;
        self.max_bps.filter(|bps| *bps > 0).map_or(Duration::ZERO, |bps| Duration::from_millis(ms(bps)))
    }

    /// The most blocks that may be outstanding.
    fn most(&self) -> u32 {
        let blocks = |bps: u64| bps.saturating_mul(ASKED_S) / u64::from(BLOCK_LEN);
        self.max_bps.map_or(u32::MAX, |bps| u32::try_from(blocks(bps)).unwrap_or(u32::MAX).max(LEAST_ASKED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_asked_for_as_the_limit_lets_in_soon() {
        for (max_bps, in_flight, want, room) in [
            (None, 1_000_000, 500, 500),
            (Some(4096), 0, 500, 32),
            (Some(4096), 30, 16, 2),
            (Some(4096), 32, 16, 0),
            (Some(1 << 20), 100, 500, 156),
            (Some(u64::MAX), 1_000_000, 500, 500),
        ] {
            let mut ceiling = RateCap::new(max_bps);
            assert_eq!(ceiling.room(in_flight, want), room, "{max_bps:?}");
            assert!(!ceiling.lets_in(0), "no peer was held back");
            if room < want {
                ceiling.on_held_back();
                assert!(!ceiling.lets_in(in_flight + room), "nothing has come");
                assert!(ceiling.lets_in(u32::midpoint(in_flight, room) - 1), "{max_bps:?}");
                assert!(!ceiling.lets_in(0), "once");
            }
        }
    }

    #[test]
    fn patience_is_for_those_who_share_and_only_below_a_limit() {
        assert_eq!(RateCap::new(None).patience(|| 80), Duration::ZERO);
        assert_eq!(RateCap::new(Some(16 * 1024)).patience(|| 5), Duration::from_secs(10));
        assert!(!RateCap::new(None).is_the_cause(1_000_000));
        assert!(RateCap::new(Some(8 * 1024)).is_the_cause(1));
        assert!(!RateCap::new(Some(16 * 1024)).is_the_cause(1));
    }
}
