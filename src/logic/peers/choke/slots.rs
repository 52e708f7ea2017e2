//! How many peers have a slot at once: as many as raise the total upload rate.
//!
//! Too few slots leave the line idle. Too many spread it so thin that no peer is helped, and uploading to us gains a
//! peer nothing (tit-for-tat). So slots are added on trial when each present one is fast enough, and they stay if the
//! total rate rose. This module knows rates and no peers.

/// 1 KiB/s: the least rate of the fastest slot (libtorrent's `rate_choker_initial_threshold`).
const FIRST_BPS: u64 = 1024;

/// Each further slot must be 2 KiB/s faster than the one before (libtorrent's rate-based choker): the more slots there
/// are, the faster the slowest must be for another one.
const STEP_BPS: u64 = 2048;

/// At most 80 slots: as many as there are peers by default.
const MOST: usize = 80;

/// Six rounds, a minute, without a new trial after a failed one. Picked by eye: lines change, but not every ten
/// seconds.
const REST_ROUNDS: u32 = 6;

/// Slots that were added on trial.
#[derive(Debug, Clone, Copy)]
struct Trial {
    /// The number of slots before the trial.
    slots_before: usize,
    /// The total rate before the trial, in bytes a second.
    total_before: u64,
}

/// The number of slots of one torrent.
#[derive(Debug)]
pub(super) struct Slots {
    /// The least number of slots.
    least: usize,
    /// The present number of slots.
    now: usize,
    /// The trial that runs.
    trial: Option<Trial>,
    /// Rounds until the next trial may begin.
    rest: u32,
}

impl Slots {
    /// Starts with `least` slots, at least 1, and never has fewer.
    pub(super) fn new(least: usize) -> Self {
        let least = least.max(1);
        Self { least, now: least, trial: None, rest: 0 }
    }

    /// The present number of slots.
    pub(super) const fn now(&self) -> usize {
        self.now
    }

    /// A round in which peers waited is over. `rates` are the upload rates of the peers with a slot, in bytes a
    /// second.
    pub(super) fn on_round(&mut self, mut rates: Vec<u64>) {
        rates.sort_unstable_by(|a, b| b.cmp(a));
        let total = rates.iter().sum::<u64>();
        if let Some(Trial { slots_before, total_before }) = self.trial.take()
            && total < paying(total_before, slots_before, self.now)
        {
            (self.now, self.rest) = (slots_before, REST_ROUNDS);
            return;
        }
        let earning = earning(&rates);
        if earning < self.now - self.now / 3 && self.now > self.least {
            self.now -= 1;
        } else if self.rest > 0 {
            self.rest -= 1;
        } else if earning >= self.now && self.now < MOST {
            self.trial = Some(Trial { slots_before: self.now, total_before: total });
            self.now = (self.now + (self.now / 2).max(1)).min(MOST);
        }
    }
}

/// The number of leading rates, the highest first, that meet the demand of their place.
fn earning(rates: &[u64]) -> usize {
    let demands = (0..).map(|place| FIRST_BPS + place * STEP_BPS);
    rates.iter().zip(demands).take_while(|(rate, demand)| *rate >= demand).count()
}

/// The total rate at which a trial has succeeded: the old total plus half of what the new slots would carry if they
/// were like the old ones.
fn paying(total_before: u64, slots_before: usize, slots_now: usize) -> u64 {
    let (before, opened) = (slots_before as u64, (slots_now - slots_before) as u64);
    total_before.saturating_add(total_before.saturating_mul(opened) / (2 * before))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The upload rates of a round if the line carries `line` in all and a peer takes at most `peer`.
    fn round(slots: usize, line: u64, peer: u64) -> Vec<u64> {
        vec![peer.min(line / slots as u64); slots]
    }

    #[test]
    fn each_place_demands_more_than_the_one_before() {
        let table: &[(&[u64], usize)] = &[
            (&[], 0),
            (&[1023], 0),
            (&[1024], 1),
            (&[1024, 1024], 1),
            (&[3072, 3072], 2),
            (&[100_000, 3072, 3072, 3072], 2),
            (&[7168, 7168, 7168, 7168], 4),
        ];
        for (rates, want) in table {
            assert_eq!(earning(rates), *want, "{rates:?}");
        }
    }

    /// Rate of the line and of one peer in KiB/s; slots after thirty rounds; the most slots there were on the way.
    #[test]
    fn slots_open_while_they_raise_the_total_and_close_again() {
        for (line, peer, want, most) in [
            (10_000, 10_000, 4, 6),  // One peer fills the line: more slots are tried in vain.
            (10_000, 1000, 9, 13),   // Ten peers fill it: slots are added on trial, and four of them are too many.
            (100_000, 1000, 80, 80), // A hundred peers fill it.
            (10_000, 100, 63, 63),   // A hundred as well, but at 100 KiB/s each a 64th slot is not paid for.
            (10_000, 5, 4, 4),       // At 5 KiB/s each a fifth slot is not paid for.
            (0, 0, 4, 4),
        ] {
            let mut slots = Slots::new(4);
            let mut seen = 4;
            for _round in 0..30 {
                slots.on_round(round(slots.now(), line * 1024, peer * 1024));
                seen = seen.max(slots.now());
            }
            assert!(slots.now() == want || slots.now() == most, "{line} {peer}: {}", slots.now());
            assert_eq!(seen, most, "{line} {peer}");
        }
    }

    #[test]
    fn a_failed_trial_is_not_repeated_for_a_minute() {
        let mut slots = Slots::new(4);
        let full = |slots: &Slots| round(slots.now(), 1 << 20, 1 << 20);
        let counts: Vec<_> = (0..10)
            .map(|_round| {
                slots.on_round(full(&slots));
                slots.now()
            })
            .collect();
        assert_eq!(counts, [6, 4, 4, 4, 4, 4, 4, 4, 6, 4]);
    }

    #[test]
    fn slots_that_become_too_slow_close_one_by_one() {
        let mut slots = Slots::new(4);
        while slots.now() < 40 {
            slots.on_round(vec![1 << 30; slots.now()].into_iter().map(|rate| rate * slots.now() as u64).collect());
        }
        let many = slots.now();
        slots.on_round(vec![0; many]);
        slots.on_round(vec![0; slots.now()]);
        assert!(slots.now() < many);
        for _round in 0..100 {
            slots.on_round(vec![0; slots.now()]);
        }
        assert_eq!(slots.now(), 4);
    }
}
