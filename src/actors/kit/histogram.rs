//! A small fixed histogram of durations, one bucket per power of two. Lock-free, never allocates.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// 2^39 ns are nine minutes: longer than any duration measured here.
const BUCKETS: usize = 40;

/// How often each duration was seen, to within a factor of two.
#[derive(Debug)]
pub struct Histogram {
    /// Bucket `i` counts durations of at least 2^(i-1) ns and less than 2^i ns; the last one has no upper end.
    buckets: [AtomicU64; BUCKETS],
}

impl Histogram {
    /// An empty histogram.
    pub const fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }

    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bits = (u64::BITS - nanos.leading_zeros()) as usize;
        self.buckets[bits.min(BUCKETS - 1)].fetch_add(1, Relaxed);
    }

    /// The duration in microseconds that `percent` of the recorded ones do not exceed. It is the upper end of a
    /// bucket, so up to twice the true value. 0 if nothing but zeros was recorded (in a handler, a simulated clock
    /// stands still).
    pub fn percentile_us(&self, percent: u64) -> f64 {
        let counts = self.buckets.each_ref().map(|bucket| bucket.load(Relaxed));
        let rank = (counts.iter().sum::<u64>() * percent).div_ceil(100);
        let mut seen = 0;
        for (counted, ceiling_ns) in counts.into_iter().zip(std::iter::successors(Some(1.0_f64), |ns| Some(ns * 2.0))) {
            seen += counted;
            if seen >= rank.max(1) {
                return if ceiling_ns > 1.0 { ceiling_ns / 1000.0 } else { 0.0 };
            }
        }
        0.0
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_upper_ends_of_buckets() {
        let histogram = Histogram::new();
        assert!(histogram.percentile_us(50).abs() < f64::EPSILON, "empty");
        for nanos in [0, 1, 1000, 1023, 1024, 5_000_000, u64::MAX] {
            histogram.record(Duration::from_nanos(nanos));
        }
        let table = [(1, 0.0), (28, 0.002), (50, 1.024), (70, 2.048), (85, 8388.608), (100, 549_755_813.888)];
        for (percent, want) in table {
            let got = histogram.percentile_us(percent);
            assert!((got - want).abs() < 1e-6, "p{percent}: {got} instead of {want}");
        }
    }
}
