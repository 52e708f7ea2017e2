//! Measures what one peer's connection can carry, from its blocks: the depth of the pipeline and the patience with a
//! block.
//!
//! This module knows bytes and times. It does not know which blocks are requested.

use std::time::{Duration, Instant};

use crate::base::geometry::BLOCK_LEN;
use crate::logic::flow::Flow;

/// Half of a filter's window. 10 s, as in BBR; each half holds at least one [`PROBE_EVERY`].
const HALF_WINDOW: Duration = Duration::from_secs(10);

/// 10 s between two probes: half a round trip at half depth costs 1 % of the rate at 200 ms.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// A probe that cannot drain the queue, because nothing is granted, ends after 2 s.
const PROBE_MOST: Duration = Duration::from_secs(2);

/// 4 requests for a peer of unknown speed: a slow one does not hold many blocks that others could deliver, nor is it
/// sent blocks twice by a seed. A fast one is at 64 after two round trips.
pub(super) const START_DEPTH: u32 = 4;

/// At least two requests under way for each one that the peer serves, and one against jitter. Picked by eye.
const LEAST_DEPTH: u32 = 4;

/// Twice what the connection holds: one round trip's worth waits at the peer while another is under way, so that a
/// connection with spare capacity doubles its rate every round trip (BBR's `cwnd_gain`).
const GAIN: f64 = 2.0;

/// Four times at the start, until the connection is found full: its rate quadruples every round trip. The surplus is
/// then two round trips' worth and is gone two round trips later.
const START_GAIN: f64 = 4.0;

/// The connection is not full yet if its rate grew by a quarter within a round trip (BBR's start-up).
const GROWS: f64 = 1.25;

/// 10 ms of rate on top: covers batching of messages and reads at both ends. Picked by eye.
const SLACK_S: f64 = 0.010;

/// A block must be expected within 10 s, half of [`MOST_PATIENCE`]: a very slow peer has one request at a time.
const DEEPEST_S: f64 = 10.0;

/// 0.5 s: a silent peer is replaced within a second, and Wi-Fi retransmissions are waited for.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);

/// 20 s (P-12): the longest wait for a block.
pub(super) const MOST_PATIENCE: Duration = Duration::from_secs(20);

/// 10 s before anything is measured: disks spin up, and the first blocks are few.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// A new latency weighs an eighth of the mean (alpha of RFC 6298).
const MEAN_WEIGHT: f64 = 0.125;

/// The best value of the last 10 to 20 s, by the comparison `better`.
#[derive(Debug)]
/// Returns the better of two values.
struct Extreme {
    /// The best value of the present half of the window.
    better: fn(f64, f64) -> f64,
    /// The best value of the half before.
    newer: Option<f64>,
    /// When the present half began.
    older: Option<f64>,
    turned: Option<Instant>,
}

impl Extreme {
    const fn new(better: fn(f64, f64) -> f64) -> Self {
        Self { better, newer: None, older: None, turned: None }
    }

    /// Adds a value.
    fn add(&mut self, now: Instant, value: f64) {
        let turned = *self.turned.get_or_insert(now);
        if now.saturating_duration_since(turned) >= HALF_WINDOW {
            self.older = self.newer.take();
            self.turned = Some(now);
        }
        self.newer = Some(self.newer.map_or(value, |best| (self.better)(best, value)));
    }

    /// The best value of the window. `None` before the first one.
    fn best(&self) -> Option<f64> {
        match (self.newer, self.older) {
            (Some(newer), Some(older)) => Some((self.better)(newer, older)),
            (newer, older) => newer.or(older),
        }
    }
}

/// The measured connection. A latency is the time from sending a request to receiving its block.
#[derive(Debug)]
pub(super) struct LinkPace {
    /// The most requests that the peer keeps.
    max_depth: u32,
    /// Bytes received so far.
    delivered: u64,
    /// The recent byte rate.
    flow: Flow,
    /// The least latency in seconds.
    rtt_s: Extreme,
    /// The greatest rate in bytes a second.
    rate: Extreme,
    /// The greatest latency in seconds.
    worst_s: Extreme,
    /// The longest time from one block to the next in seconds, while a block was outstanding.
    worst_gap_s: Extreme,
    /// The mean latency in seconds.
    mean_s: Option<f64>,
    /// The present round trip of the start. `None` once the connection was found full.
    start: Option<Round>,
    /// When the next probe begins.
    probe_due: Option<Instant>,
    /// When the present probe began.
    probing: Option<Instant>,
}

/// One round trip of the start: it ends when the blocks arrive that were requested after it began.
#[derive(Debug)]
struct Round {
    /// Bytes received when it began.
    delivered: u64,
    /// The best rate when it began.
    rate: f64,
}

impl LinkPace {
    /// Nothing is measured yet. `max_depth`: the most requests that the peer keeps.
    pub(super) const fn new(max_depth: u32) -> Self {
        Self {
            max_depth,
            delivered: 0,
            flow: Flow::new(),
            rtt_s: Extreme::new(f64::min),
            rate: Extreme::new(f64::max),
            worst_s: Extreme::new(f64::max),
            worst_gap_s: Extreme::new(f64::max),
            mean_s: None,
            start: Some(Round { delivered: 0, rate: 0.0 }),
            probe_due: None,
            probing: None,
        }
    }

    /// The peer keeps at most `max_depth` requests from now on.
    pub(super) const fn set_max_depth(&mut self, max_depth: u32) {
        self.max_depth = max_depth;
    }

    /// Bytes received so far. Keep it with each request, for [`Self::on_block`].
    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// A block of `len` bytes arrived that was requested at `sent`, when `delivered_then` bytes had been received.
    pub(super) fn on_block(&mut self, now: Instant, len: u32, sent: Instant, delivered_then: u64) {
        self.delivered += u64::from(len);
        self.flow.add(now, u64::from(len));
        let took_s = now.saturating_duration_since(sent).as_secs_f64();
        self.rtt_s.add(now, took_s);
        self.worst_s.add(now, took_s);
        self.mean_s = Some(self.mean_s.map_or(took_s, |mean| mean + MEAN_WEIGHT * (took_s - mean)));
        if took_s > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "a window of bytes is far below 2^52")]
            let bytes = (self.delivered - delivered_then) as f64;
            self.rate.add(now, bytes / took_s);
        }
        self.turn_round(delivered_then);
        self.turn_probe(now, sent);
    }

    /// A block arrived after its time-out, or after several requests. It counts for the recent rate and
    /// the greatest latency only.
    pub(super) fn on_late_block(&mut self, now: Instant, len: u32, sent: Instant) {
        self.delivered += u64::from(len);
        self.flow.add(now, u64::from(len));
        self.worst_s.add(now, now.saturating_duration_since(sent).as_secs_f64());
    }

    /// How many requests should be outstanding.
    pub(super) fn depth(&self) -> u32 {
        let (Some(rtt), Some(rate)) = (self.rtt_s.best(), self.rate.best()) else {
            return START_DEPTH.min(self.fed_by_gaps()).min(self.max_depth);
        };
        let held = if self.probing.is_some() {
            blocks(rate * rtt / 2.0).max(LEAST_DEPTH)
        } else {
            let has_room = self.start.is_some() && blocks(rate * rtt) >= START_DEPTH;
            let gain = if has_room { START_GAIN } else { GAIN };
            blocks(rate * (gain * rtt + SLACK_S)).max(LEAST_DEPTH)
        };
        held.min(blocks(rate * DEEPEST_S)).clamp(1, self.max_depth)
    }

    /// For a peer that has never answered in time: how many blocks it delivers within [`DEEPEST_S`].
    fn fed_by_gaps(&self) -> u32 {
        let gap_s = self.worst_gap_s.best().filter(|gap_s| *gap_s > 0.0);
        gap_s.map_or(u32::MAX, |gap_s| u32::try_from(to_u64(DEEPEST_S / gap_s)).unwrap_or(u32::MAX).max(1))
    }

    /// How long a block may take before it is requested from another peer: at least twice the mean latency, and half
    /// as much again as the worst of late.
    pub(super) fn patience(&self) -> Duration {
        let (Some(mean), Some(worst)) = (self.mean_s, self.worst_s.best()) else {
            return FIRST_PATIENCE;
        };
        let secs = (2.0 * mean).max(1.5 * worst).min(MOST_PATIENCE.as_secs_f64());
        Duration::from_secs_f64(secs).clamp(LEAST_PATIENCE, MOST_PATIENCE)
    }

    /// A block arrived `gap` after the one before it, or after it was requested.
    pub(super) fn on_gap(&mut self, now: Instant, gap: Duration) {
        self.worst_gap_s.add(now, gap.as_secs_f64());
    }

    /// How long no block may arrive while some are outstanding: twice the longest gap of late. A long queue at a slow
    /// peer makes each request old, which is no reason to ask another peer as long as blocks keep arriving.
    pub(super) fn gap_patience(&self) -> Duration {
        let Some(worst) = self.worst_gap_s.best() else { return FIRST_PATIENCE };
        Duration::from_secs_f64((2.0 * worst).min(MOST_PATIENCE.as_secs_f64())).clamp(LEAST_PATIENCE, MOST_PATIENCE)
    }

    /// Bytes a second that arrived lately.
    pub(super) fn rate_bps(&self, now: Instant) -> u64 {
        self.flow.bps(now)
    }

    /// A block arrived. If it was requested after the round trip began, the round trip is over. If the rate has hardly
    /// grown in it, the connection is full.
    fn turn_round(&mut self, delivered_then: u64) {
        let (Some(round), Some(rate)) = (&self.start, self.rate.best()) else { return };
        if delivered_then >= round.delivered {
            let grows = rate >= GROWS * round.rate;
            self.start = grows.then_some(Round { delivered: self.delivered, rate });
        }
    }

    /// A full pipeline hides the round trip behind its own queue. So every 10 s the queue is drained once. A block
    /// that was requested while it was empty shows the true round trip, and ends the probe.
    fn turn_probe(&mut self, now: Instant, sent: Instant) {
        if let Some(since) = self.probing {
            if sent > since || now.saturating_duration_since(since) >= PROBE_MOST {
                self.probing = None;
                self.probe_due = Some(now + PROBE_EVERY);
            }
        } else if now >= *self.probe_due.get_or_insert(now + PROBE_EVERY) {
            self.probing = Some(now);
        }
    }
}

/// Bytes as a number of blocks, rounded up, at least one.
fn blocks(bytes: f64) -> u32 {
    u32::try_from(to_u64((bytes / f64::from(BLOCK_LEN)).ceil())).unwrap_or(u32::MAX).max(1)
}

/// The whole part of a value that is not negative.
fn to_u64(value: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate; never negative")]
    let whole = value as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_forgets_after_two_half_windows() {
        let t0 = tokio::time::Instant::now().into_std();
        let mut worst = Extreme::new(f64::max);
        for (at_s, value, want) in
            [(0, 9.0, 9.0), (5, 1.0, 9.0), (11, 2.0, 9.0), (19, 3.0, 9.0), (22, 1.0, 3.0), (33, 1.0, 1.0)]
        {
            worst.add(t0 + Duration::from_secs(at_s), value);
            assert_eq!(worst.best(), Some(want), "at {at_s} s");
        }
    }

    #[test]
    fn patience_follows_the_measurements_within_its_limits() {
        let t0 = tokio::time::Instant::now().into_std();
        let ms = Duration::from_millis;
        for (took, want) in [(ms(1), ms(500)), (ms(400), ms(800)), (ms(3000), ms(6000)), (ms(60_000), ms(20_000))] {
            let mut pace = LinkPace::new(500);
            assert_eq!(pace.patience(), FIRST_PATIENCE);
            for _ in 0..20 {
                pace.on_block(t0 + took, BLOCK_LEN, t0, 0);
            }
            assert_eq!(pace.patience(), want, "{took:?}");
        }
    }
}
