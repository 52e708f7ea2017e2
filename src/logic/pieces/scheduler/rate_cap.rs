//! What our own download limit means for the asking: no more than it lets in soon, and patience with those it holds up.
//!
//! A hundred peers that each send a trickle of a low limit bring no block sooner than a few would, and bring all of them late.
//! What is asked for lies in their buffers and in ours, and cannot be taken back. So little is asked for at a time, of
//! few, and nothing twice as long as it is our limit that everybody waits for.

use std::time::Duration;

use crate::base::geometry::BLOCK_LEN;

/// 4 s of the limit may be asked for: more than any round trip. Picked by eye.
const ASKED_S: u64 = 4;

/// 32 blocks may always be asked for: what two peers are asked for that nobody knows yet.
const LEAST_ASKED: u32 = 32;

/// With less than 2 s of the limit asked for it is not the limit that everybody waits for.
const BUSY_S: u64 = 2;

/// The limit as the scheduler sees it.
#[derive(Debug, Default)]
pub(super) struct RateCap {
    max_bps: Option<u64>,
    /// Somebody was refused because enough was asked for.
    held_back: bool,
}

impl RateCap {
    pub(super) const fn new(max_bps: Option<u64>) -> Self {
        Self { max_bps, held_back: false }
    }

    /// How many of `want` blocks may be asked for beside those `in_flight`.
    pub(super) fn room(&self, in_flight: u32, want: u32) -> u32 {
        self.most().saturating_sub(in_flight).min(want)
    }

    /// Somebody could have been asked for more, and the room was used up.
    pub(super) const fn on_held_back(&mut self) {
        self.held_back = true;
    }

    /// Those who were refused may ask again: half of what there may be has come. Whoever delivers asks again by itself, and
    /// comes first: so few are kept busy, and not all a little.
    pub(super) fn lets_in(&mut self, in_flight: u32) -> bool {
        let lets_in = self.held_back && in_flight < self.most() / 2;
        self.held_back &= !lets_in;
        lets_in
    }

    /// It is the limit that everybody waits for: who sends little may send no more than we read.
    pub(super) fn is_the_cause(&self, in_flight: u32) -> bool {
        self.max_bps.is_some_and(|bps| u64::from(in_flight) * u64::from(BLOCK_LEN) >= bps.saturating_mul(BUSY_S))
    }

    /// Twice what a block of each takes when so many `senders` share the limit.
    pub(super) fn patience(&self, senders: impl FnOnce() -> usize) -> Duration {
        let ms = |bps| (senders() as u64).saturating_mul(u64::from(BLOCK_LEN) * 2000) / bps;
        self.max_bps.filter(|bps| *bps > 0).map_or(Duration::ZERO, |bps| Duration::from_millis(ms(bps)))
    }

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
            assert!(!ceiling.lets_in(0), "nobody was held back");
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
