use super::*;
use crate::base::geometry::{BLOCK_LEN, Geometry};
use pace::MOST_PATIENCE;
use std::collections::BTreeMap;
use std::time::Duration;

fn t0() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn block(n: u32) -> BlockAddr {
    let geometry = Geometry::new(1 << 40, 1 << 20).unwrap();
    geometry.block(geometry.piece(n / 64).unwrap(), n % 64).unwrap()
}

fn blocks(numbers: std::ops::Range<u32>) -> Vec<BlockAddr> {
    numbers.map(block).collect()
}

fn unchoked() -> Pipeline {
    let mut pipeline = Pipeline::new(USUAL_REQQ);
    pipeline.on_unchoked();
    pipeline
}

/// A peer that serves requests in order at `bps` bytes a second, `one_way` away in each direction.
struct Link {
    bps: u64,
    one_way: Duration,
    free_at: Instant,
    arrivals: BTreeMap<(Instant, u64), BlockAddr>,
    serial: u64,
}

impl Link {
    fn new(now: Instant, bps: u64, rtt: Duration) -> Self {
        Self { bps, one_way: rtt / 2, free_at: now, arrivals: BTreeMap::new(), serial: 0 }
    }

    fn request(&mut self, now: Instant, block: BlockAddr) {
        let start = self.free_at.max(now + self.one_way);
        self.free_at = start + Duration::from_nanos(u64::from(block.len()) * 1_000_000_000 / self.bps);
        self.serial += 1;
        self.arrivals.insert((self.free_at + self.one_way, self.serial), block);
    }
}

/// Downloads without end until `end`. Returns the bytes that arrived after `from`, and the blocks that were requested
/// twice.
fn run(
    pipeline: &mut Pipeline,
    link: &mut Link,
    now: &mut Instant,
    from: Instant,
    end: Instant,
    next: &mut u32,
) -> u64 {
    let mut bytes = 0;
    let mut returned: Vec<BlockAddr> = Vec::new();
    while *now < end {
        let want = pipeline.wants();
        let mut grant: Vec<BlockAddr> = returned.drain(..returned.len().min(want as usize)).collect();
        while (grant.len() as u32) < want {
            grant.push(block(*next));
            *next += 1;
        }
        for sent in pipeline.on_granted(*now, grant).send {
            link.request(*now, sent);
        }
        let arrival = link.arrivals.first_key_value().map(|((at, _), _)| *at);
        let timeout = pipeline.deadline();
        *now = arrival.into_iter().chain(timeout).min().expect("it never hangs").max(*now).min(end);
        while let Some(entry) = link.arrivals.first_entry().filter(|entry| entry.key().0 <= *now) {
            let block = entry.remove();
            assert_ne!(pipeline.on_block(*now, block), Arrival::Unasked);
            returned.retain(|other| *other != block);
            bytes += if *now >= from { u64::from(block.len()) } else { 0 };
        }
        if pipeline.deadline().is_some_and(|at| at <= *now) {
            returned.extend(pipeline.on_timeout(*now));
        }
    }
    bytes
}

#[test]
fn a_choked_pipeline_wants_nothing_and_an_unchoked_one_starts_modestly() {
    let mut pipeline = Pipeline::new(500);
    assert_eq!(pipeline.wants(), 0);
    pipeline.on_unchoked();
    assert_eq!(pipeline.wants(), 4);
    assert_eq!(Pipeline::new(0).depth(), 1);
    assert_eq!(Pipeline::new(3).depth(), 3);
    assert_eq!(Pipeline::new(u32::MAX).depth(), 4);
}

#[test]
fn every_granted_block_leaves_exactly_once() {
    let now = t0();
    let mut p = unchoked();
    assert_eq!(p.on_granted(now, blocks(0..10)).send, blocks(0..10));
    assert_eq!(p.on_granted(now, blocks(5..10)), Granted::default(), "already outstanding");
    assert_eq!(p.on_block(now + ms(5), block(3)), Arrival::Expected);
    assert_eq!(p.on_block(now + ms(5), block(3)), Arrival::Unasked);
    assert_eq!(p.on_block(now + ms(5), block(99)), Arrival::Unasked);
    assert!(p.on_cancelled(now + ms(6), block(4)));
    assert!(!p.on_cancelled(now + ms(6), block(4)));
    assert_eq!(p.on_block(now + ms(7), block(4)), Arrival::Late);
    assert_eq!(p.on_rejected(now + ms(7), block(0)), Rejected::Asked);
    assert_eq!(p.on_rejected(now + ms(7), block(0)), Rejected::Over);
    assert_eq!(p.on_rejected(now + ms(7), block(77)), Rejected::Unasked);
    let want: Vec<_> = [1, 2, 5, 6, 7, 8, 9].map(block).into();
    assert_eq!(p.on_choked(now + ms(8)), want);
    assert_eq!((p.outstanding(), p.wants(), p.deadline()), (0, 0, None));
}

#[test]
fn a_grant_that_meets_a_choke_is_refused() {
    let now = t0();
    let mut p = Pipeline::new(500);
    assert_eq!(p.on_granted(now, blocks(0..2)), Granted { send: vec![], refuse: blocks(0..2) });
}

#[test]
fn a_block_that_was_choked_away_is_late_for_thirty_seconds() {
    let now = t0();
    for (after, want) in [(ms(29_999), Arrival::Late), (ms(30_001), Arrival::Unasked)] {
        let mut p = unchoked();
        let _granted = p.on_granted(now, blocks(0..1));
        p.on_choked(now);
        assert_eq!(p.on_block(now + after, block(0)), want);
    }
}

#[test]
fn a_block_that_timed_out_is_late_for_ever() {
    let now = t0();
    let mut p = unchoked();
    let _granted = p.on_granted(now, blocks(0..1));
    assert_eq!(p.on_timeout(now + ms(10_000)), blocks(0..1));
    for minutes in 1..20 {
        assert_eq!(p.on_block(now + ms(60_000 * minutes), block(1)), Arrival::Unasked);
    }
    assert_eq!(p.on_block(now + ms(1_300_000), block(0)), Arrival::Late);
}

#[test]
fn a_silent_peer_is_given_ten_seconds_and_then_one_request_at_a_time() {
    let now = t0();
    let mut p = unchoked();
    let _granted = p.on_granted(now, blocks(0..16));
    assert_eq!(p.deadline(), Some(now + ms(10_000)));
    assert_eq!(p.on_timeout(now + ms(9_999)), []);
    assert_eq!(p.on_timeout(now + ms(10_000)), blocks(0..16));
    assert_eq!(p.wants(), 1);
    let granted = p.on_granted(now + ms(10_000), blocks(20..21));
    assert_eq!(granted.send, blocks(20..21));
    assert_eq!(p.deadline(), Some(now + ms(30_000)), "20 s at most");
    assert!(!p.is_snubbed(now + ms(59_000)));
    assert!(p.is_snubbed(now + ms(60_000)));
    assert_eq!(p.on_block(now + ms(61_000), block(20)), Arrival::Expected);
    assert!(!p.is_snubbed(now + ms(61_000)));
    assert!(p.depth() >= 1);
}

#[test]
fn a_fast_peer_that_falls_silent_is_replaced_within_a_second() {
    let mut now = t0();
    let start = now;
    let mut p = unchoked();
    let mut link = Link::new(now, 10_000_000, ms(40));
    run(&mut p, &mut link, &mut now, start, start + ms(5000), &mut 0);
    let outstanding = p.outstanding();
    assert!(outstanding > 16);
    let silent_since = now;
    let mut back = 0;
    while p.outstanding() > 0 {
        now = p.deadline().unwrap();
        back += p.on_timeout(now).len();
    }
    assert_eq!(back, outstanding as usize);
    assert!(now <= silent_since + ms(1000), "{:?}", now - silent_since);
    assert_eq!(p.depth(), 1);
}

#[test]
fn a_block_that_timed_out_is_not_requested_again_from_the_same_peer_at_first() {
    let now = t0();
    let mut p = unchoked();
    let _granted = p.on_granted(now, blocks(0..2));
    assert_eq!(p.on_timeout(now + ms(10_000)), blocks(0..2));
    assert_eq!(p.on_granted(now + ms(10_000), blocks(0..1)), Granted::default());
    assert_eq!(p.outstanding(), 1);
    assert_eq!(p.on_timeout(now + ms(30_000)), blocks(0..1));
    assert_eq!(p.on_granted(now + ms(30_000), blocks(0..1)).send, blocks(0..1), "the third try is a new request");
    assert!(p.on_cancelled(now + ms(30_000), block(1)), "it still owes the other");
    assert!(!p.on_cancelled(now + ms(30_000), block(1)));
}

#[test]
fn one_skipped_block_comes_back_while_the_others_flow() {
    let start = t0();
    let mut p = unchoked();
    let _granted = p.on_granted(start, blocks(0..1));
    let mut back = Vec::new();
    for n in 1..200 {
        let now = start + ms(u64::from(n) * 10);
        let _granted = p.on_granted(now, blocks(n..n + 1));
        assert_eq!(p.on_block(now + ms(5), block(n)), Arrival::Expected);
        back.extend(p.on_timeout(now + ms(5)));
    }
    assert_eq!(back, blocks(0..1));
    assert!(p.depth() > 1, "the peer is not blamed");
}

#[test]
fn flapping_and_flooding_do_not_grow_memory() {
    let start = t0();
    let mut p = unchoked();
    for n in 0..3000 {
        let now = start + ms(u64::from(n) * 10);
        p.on_unchoked();
        let _granted = p.on_granted(now, blocks(n * 16..n * 16 + 16));
        p.on_choked(now);
    }
    assert!(p.begun.is_some_and(|begun| begun.remembers_little()));
}

/// One peer at 100 ms and 1 Gb/s reaches 0.95 of the capacity.
#[test]
fn the_pipeline_fills_any_link() {
    let table =
        [(125_000_000, 100), (125_000_000, 1), (12_500_000, 300), (1_000_000, 50), (100_000, 20), (1_000_000_000, 0)];
    for (bps, rtt_ms) in table {
        let mut now = t0();
        let start = now;
        let mut p = Pipeline::new(4096);
        p.on_unchoked();
        let mut link = Link::new(now, bps, ms(rtt_ms).max(Duration::from_micros(100)));
        let secs = if bps > 500_000_000 { 15 } else { 45 };
        let bytes = run(&mut p, &mut link, &mut now, start + ms(3000), start + ms(secs * 1000), &mut 0);
        let reached = bytes as f64 / (bps * (secs - 3)) as f64;
        assert!(reached >= 0.95, "{bps} B/s at {rtt_ms} ms: {reached:.3} of the link, depth {}", p.depth());
        let held_s = f64::from(p.depth()) * f64::from(BLOCK_LEN) / bps as f64;
        assert!(held_s <= 4.0 * rtt_ms as f64 / 1000.0 + 0.7, "{bps} B/s at {rtt_ms} ms: {held_s:.2} s queued");
    }
}

#[test]
fn the_start_quadruples_every_round_trip() {
    let mut now = t0();
    let start = now;
    let mut p = Pipeline::new(4096);
    p.on_unchoked();
    let mut link = Link::new(now, 10_000_000_000, ms(100));
    let mut next = 0;
    for (round_trips, depth) in [(1, 16), (2, 64), (3, 256), (4, 1024)] {
        run(&mut p, &mut link, &mut now, start, start + ms(100 * round_trips + 5), &mut next);
        assert!(p.depth() >= depth, "{} after {round_trips} round trips", p.depth());
    }
}

/// The surplus of the start is gone three round trips after the connection is full.
#[test]
fn a_full_link_ends_the_start() {
    for (bps, rtt_ms) in [(12_500_000, 100), (1_000_000, 50), (125_000_000, 10)] {
        let mut now = t0();
        let start = now;
        let mut p = Pipeline::new(4096);
        p.on_unchoked();
        let mut link = Link::new(now, bps, ms(rtt_ms));
        run(&mut p, &mut link, &mut now, start, start + ms(15 * rtt_ms), &mut 0);
        let held = f64::from(p.depth()) * f64::from(BLOCK_LEN);
        let round_trip_s = rtt_ms as f64 / 1000.0 + f64::from(BLOCK_LEN) / bps as f64;
        let wanted = bps as f64 * (2.0 * round_trip_s + 0.01);
        assert!((0.9..1.2).contains(&(held / wanted)), "{bps} B/s at {rtt_ms} ms: {held} bytes, {wanted} wanted");
    }
}

#[test]
fn a_very_slow_peer_gets_one_request_at_a_time() {
    let mut now = t0();
    let start = now;
    let mut p = unchoked();
    run(&mut p, &mut Link::new(now, 1000, ms(50)), &mut now, start, start + ms(600_000), &mut 0);
    assert_eq!(p.depth(), 1);
}

#[test]
fn after_a_silence_the_link_fills_again() {
    let mut now = t0();
    let start = now;
    let mut p = unchoked();
    let mut link = Link::new(now, 5_000_000, ms(50));
    let mut next = 0;
    run(&mut p, &mut link, &mut now, start, start + ms(10_000), &mut next);
    for (entry, block) in std::mem::take(&mut link.arrivals) {
        link.arrivals.insert((entry.0 + ms(90_000), entry.1), block);
    }
    link.free_at += ms(90_000);
    run(&mut p, &mut link, &mut now, start, start + ms(80_000), &mut next);
    assert!(p.is_snubbed(now));
    let bytes = run(&mut p, &mut link, &mut now, start + ms(105_000), start + ms(120_000), &mut next);
    assert!(bytes as f64 >= 0.95 * 5_000_000.0 * 15.0, "{bytes}");
}

#[test]
fn a_longer_round_trip_is_learnt() {
    let mut now = t0();
    let start = now;
    let mut p = unchoked();
    let mut link = Link::new(now, 10_000_000, ms(20));
    let mut next = 0;
    run(&mut p, &mut link, &mut now, start, start + ms(20_000), &mut next);
    link.one_way = ms(100);
    let bytes = run(&mut p, &mut link, &mut now, start + ms(60_000), start + ms(90_000), &mut next);
    assert!(bytes as f64 >= 0.95 * 10_000_000.0 * 30.0, "{bytes}, depth {}", p.depth());
}

/// Blocks that our own rate limit left unread are not overdue, and their peer is not silent.
#[test]
fn blocks_that_we_did_not_read_are_not_late() {
    for held in [false, true] {
        let start = t0();
        let mut p = unchoked();
        assert_eq!(p.on_granted(start, blocks(0..4)).send.len(), 4);
        assert_eq!(p.on_block(start + ms(100), block(0)), Arrival::Expected);
        let mut late = Vec::new();
        let mut now = start + ms(100);
        while let Some(due) = p.deadline().filter(|due| *due < start + ms(90_000)) {
            now = due.max(now + ms(1));
            if held {
                p.on_unread(now);
            }
            late.extend(p.on_timeout(now));
        }
        assert_eq!(late.is_empty(), held, "{late:?}");
        assert_eq!(p.is_snubbed(start + ms(90_000)), !held);
        if held {
            assert!(p.depth() > 1, "not taken for silent");
            assert!(!p.on_timeout(now + MOST_PATIENCE * 2).is_empty(), "its time counts from then");
        }
    }
}
