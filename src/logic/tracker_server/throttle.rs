//! Limits how often one host may send requests: a leaky bucket for each, in a table of fixed size.
//!
//! Hosts are known by their hashes. Two hosts with the same bucket share its rate, which strangers cannot bring about
//! without the key of the hash.

use std::time::{Duration, Instant};

/// 65,536 buckets, 512 KiB: of 100,000 hosts that each announce every half hour, 55 are in the table at a time.
const BUCKETS: usize = 1 << 16;

/// 10 s of requests at once: a seedbox announces all its torrents when it starts.
const BURST: Duration = Duration::from_secs(10);

/// The buckets of all hosts.
#[derive(Debug)]
pub(super) struct AnnounceThrottle {
    epoch: Instant,
    /// What one request costs, in microseconds.
    cost_us: u64,
    /// When each bucket will be empty, in microseconds since `epoch`.
    empty_at: Vec<u64>,
}

impl AnnounceThrottle {
    /// Allows `per_second` requests of each host; 0: no limit.
    pub(super) fn new(epoch: Instant, per_second: u32) -> Self {
        let cost_us = if per_second == 0 { 0 } else { 1_000_000 / u64::from(per_second) };
        Self { epoch, cost_us, empty_at: vec![0; if per_second == 0 { 0 } else { BUCKETS }] }
    }

    /// Whether the host with this hash may send a request now. Counts the request if so.
    pub(super) fn admits(&mut self, now: Instant, host: u64) -> bool {
        let buckets = self.empty_at.len() as u64;
        if buckets == 0 {
            return true;
        }
        let now_us = micros(now.saturating_duration_since(self.epoch));
        let bucket = usize::try_from(host % buckets).unwrap_or(0);
        let level = self.empty_at[bucket].saturating_sub(now_us);
        let has_room = level + self.cost_us <= micros(BURST);
        if has_room {
            self.empty_at[bucket] = now_us + level + self.cost_us;
        }
        has_room
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;

    #[test]
    fn a_host_has_its_burst_and_then_its_rate() {
        let epoch = base_instant();
        let mut throttle = AnnounceThrottle::new(epoch, 5);
        let mut admitted =
            |secs, host, asked| (0..asked).filter(|_| throttle.admits(epoch + Duration::from_secs(secs), host)).count();
        assert_eq!(admitted(0, 1, 100), 50, "ten seconds' worth");
        assert_eq!(admitted(1, 1, 100), 5);
        assert_eq!(admitted(1, 2, 1), 1, "another host");
        assert_eq!(admitted(3, 1, 100), 10);
        assert_eq!(admitted(1000, 1, 100), 50, "a rest gives the burst back, no more");
    }

    #[test]
    fn without_a_rate_every_host_may() {
        let epoch = base_instant();
        let mut throttle = AnnounceThrottle::new(epoch, 0);
        assert!((0..10_000).all(|_| throttle.admits(epoch, 1)));
    }
}
