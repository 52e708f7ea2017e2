//! What one peer's link can carry, measured from its blocks: the depth of its pipeline and the patience with a block.
//!
//! Knows bytes and times; does not know which blocks are asked for.

use std::time::{Duration, Instant};

use crate::base::geometry::BLOCK_LEN;

/// Half of a filter's window. 10 s: as BBR's; each half holds at least one [`PROBE_EVERY`].
const HALF_WINDOW: Duration = Duration::from_secs(10);

/// 10 s: half a round trip at half depth each time costs 1 % of the rate at 200 ms.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// A probe that cannot drain the queue (nothing granted) ends by itself.
const PROBE_MOST: Duration = Duration::from_secs(2);

/// 4 requests of a peer that nobody knows yet: one that turns out to be slow does not hold what others could have brought, or
/// be given twice by a seed. A fast one is at 64 after two round trips.
pub(super) const START_DEPTH: u32 = 4;

/// Two in the air for each one that is being served, and one for the jitter. Picked by eye.
const LEAST_DEPTH: u32 = 4;

/// Twice what the link holds: one round trip's worth waits at the peer while the other is in the air, so that a link
/// with room doubles its rate every round trip (BBR's `cwnd_gain`).
const GAIN: f64 = 2.0;

/// Twice that for a link that brings all that is asked at the start in one round trip, until it is found full: it quadruples
/// its rate every round trip. What is asked too much then is two round trips' worth, and gone when they are over.
const START_GAIN: f64 = 4.0;

/// A quarter more in a round trip, and the link is not full yet (BBR's start-up).
const GROWS: f64 = 1.25;

/// 10 ms of rate on top: covers batching of messages and reads at both ends. Picked by eye.
const SLACK_S: f64 = 0.010;

/// A block must be expected within 10 s, half of [`MOST_PATIENCE`]: a very slow peer gets one request at a time.
const DEEPEST_S: f64 = 10.0;

/// 0.5 s: a silent peer is replaced within a second, and Wi-Fi retries pass.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);

/// 20 s (P-12).
pub(super) const MOST_PATIENCE: Duration = Duration::from_secs(20);

/// 10 s before anything was measured: disks spin up, and the first blocks are few.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// A new latency weighs an eighth of the mean (RFC 6298's alpha).
const MEAN_WEIGHT: f64 = 0.125;

/// 5 s: what a person calls "now" in a rate.
const FLOW_SPAN_S: f64 = 5.0;

/// The best value of the last 10 to 20 s, by a comparison handed in.
#[derive(Debug)]
struct Extreme {
    better: fn(f64, f64) -> f64,
    newer: Option<f64>,
    older: Option<f64>,
    turned: Option<Instant>,
}

impl Extreme {
    const fn new(better: fn(f64, f64) -> f64) -> Self {
        Self { better, newer: None, older: None, turned: None }
    }

    fn add(&mut self, now: Instant, value: f64) {
        let turned = *self.turned.get_or_insert(now);
        if now.saturating_duration_since(turned) >= HALF_WINDOW {
            self.older = self.newer.take();
            self.turned = Some(now);
        }
        self.newer = Some(self.newer.map_or(value, |best| (self.better)(best, value)));
    }

    fn best(&self) -> Option<f64> {
        match (self.newer, self.older) {
            (Some(newer), Some(older)) => Some((self.better)(newer, older)),
            (newer, older) => newer.or(older),
        }
    }
}

/// A byte rate that forgets exponentially.
#[derive(Debug, Clone, Default)]
pub(in crate::logic) struct Flow {
    level: f64,
    at: Option<Instant>,
}

impl Flow {
    /// `bytes` came at `now`.
    pub(in crate::logic) fn add(&mut self, now: Instant, bytes: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people and rough decisions")]
        let bytes = bytes as f64;
        self.level = self.level_at(now) + bytes;
        self.at = Some(now);
    }

    /// Bytes per second, over about the last 5 s.
    pub(in crate::logic) fn bps(&self, now: Instant) -> u64 {
        to_u64(self.level_at(now) / FLOW_SPAN_S)
    }

    fn level_at(&self, now: Instant) -> f64 {
        let quiet = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.level * (-quiet.as_secs_f64() / FLOW_SPAN_S).exp()
    }
}

/// The measured link. All times are from the sending of a request to the arrival of its block.
#[derive(Debug)]
pub(super) struct LinkPace {
    max_depth: u32,
    delivered: u64,
    flow: Flow,
    rtt_s: Extreme,
    rate: Extreme,
    worst_s: Extreme,
    /// The longest that it took from one block to the next, while one was asked for.
    worst_gap_s: Extreme,
    mean_s: Option<f64>,
    /// `None` once the link was found full.
    start: Option<Round>,
    probe_due: Option<Instant>,
    probing: Option<Instant>,
}

/// A round trip of the start: from what was asked for when it began, until it comes.
#[derive(Debug)]
struct Round {
    /// Bytes that had come when it began.
    delivered: u64,
    /// The best rate then.
    rate: f64,
}

impl LinkPace {
    /// Nothing measured yet. `max_depth` is what the peer takes.
    pub(super) const fn new(max_depth: u32) -> Self {
        Self {
            max_depth,
            delivered: 0,
            flow: Flow { level: 0.0, at: None },
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

    /// What the peer takes is another number now.
    pub(super) const fn set_max_depth(&mut self, max_depth: u32) {
        self.max_depth = max_depth;
    }

    /// Bytes that came so far: to be remembered with each request, and handed back with its block.
    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// A block of `len` bytes came that was asked for at `sent`, when `delivered_then` bytes had come.
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

    /// Nothing came in time: what was measured is believed again only when blocks flow.
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

    /// What a peer that has never answered in time delivers within [`DEEPEST_S`].
    fn fed_by_gaps(&self) -> u32 {
        let gap_s = self.worst_gap_s.best().filter(|gap_s| *gap_s > 0.0);
        gap_s.map_or(u32::MAX, |gap_s| u32::try_from(to_u64(DEEPEST_S / gap_s)).unwrap_or(u32::MAX).max(1))
    }

    /// How long a block may take before it is asked for elsewhere: at least twice the usual, and more than has been
    /// seen lately.
    pub(super) fn patience(&self) -> Duration {
        let (Some(mean), Some(worst)) = (self.mean_s, self.worst_s.best()) else {
            return FIRST_PATIENCE;
        };
        let secs = (2.0 * mean).max(1.5 * worst).min(MOST_PATIENCE.as_secs_f64());
        Duration::from_secs_f64(secs).clamp(LEAST_PATIENCE, MOST_PATIENCE)
    }

    /// A block came so long after the one before it, or after it was asked for.
    pub(super) fn on_gap(&mut self, now: Instant, gap: Duration) {
        self.worst_gap_s.add(now, gap.as_secs_f64());
    }

    /// How long nothing may come while something is asked for: twice what has been seen lately. A deep queue at a slow
    /// peer makes each request old, and is no reason to ask elsewhere as long as block follows block.
    pub(super) fn gap_patience(&self) -> Duration {
        let Some(worst) = self.worst_gap_s.best() else { return FIRST_PATIENCE };
        Duration::from_secs_f64((2.0 * worst).min(MOST_PATIENCE.as_secs_f64())).clamp(LEAST_PATIENCE, MOST_PATIENCE)
    }

    /// Bytes per second that came lately.
    pub(super) fn rate_bps(&self, now: Instant) -> u64 {
        self.flow.bps(now)
    }

    /// A block that was asked for when the round had begun: it is over. Where it brought hardly more than the one before,
    /// the link is full.
    fn turn_round(&mut self, delivered_then: u64) {
        let (Some(round), Some(rate)) = (&self.start, self.rate.best()) else { return };
        if delivered_then >= round.delivered {
            let grows = rate >= GROWS * round.rate;
            self.start = grows.then_some(Round { delivered: self.delivered, rate });
        }
    }

    /// A full pipeline hides the round trip behind its own queue. So every 10 s the queue is drained once: a block that
    /// was asked for while it was empty shows the true round trip, and the probe is over.
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

/// Bytes as blocks, rounded up, at least one.
fn blocks(bytes: f64) -> u32 {
    u32::try_from(to_u64((bytes / f64::from(BLOCK_LEN)).ceil())).unwrap_or(u32::MAX).max(1)
}

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
    fn a_flow_settles_at_its_rate_and_fades() {
        let t0 = tokio::time::Instant::now().into_std();
        let mut flow = Flow::default();
        for tick in 0..600 {
            flow.add(t0 + Duration::from_millis(tick * 100), 10_000);
        }
        let end = t0 + Duration::from_secs(60);
        assert!((95_000..106_000).contains(&flow.bps(end)), "{}", flow.bps(end));
        assert!(flow.bps(end + Duration::from_secs(30)) < 300);
    }

    #[test]
    fn patience_follows_what_was_measured_between_its_bounds() {
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
