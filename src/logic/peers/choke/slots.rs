//! How many peers are given to at once: as many as it pays for.
//!
//! Too few slots leave the line idle, too many spread it so thin that nobody is helped, and that nobody is given more for
//! giving (tit-for-tat). So a few are opened on trial when each slot there is earns its keep, and stay if the total rate rose.
//! Knows rates, no peers.

/// 1 KiB/s that the fastest slot must carry to earn its keep (libtorrent's `rate_choker_initial_threshold`).
const FIRST_BPS: u64 = 1024;

/// 2 KiB/s that each further slot must carry more than the one before (libtorrent's rate-based choker): the more there are, the
/// more it takes to justify one more.
const STEP_BPS: u64 = 2048;

/// 80 slots: as many as there are peers by default.
const MOST: usize = 80;

/// Six rounds, a minute, after a trial that did not pay. Picked by eye: lines change, but not every ten seconds.
const REST_ROUNDS: u32 = 6;

/// Slots that were opened to see whether they pay.
#[derive(Debug, Clone, Copy)]
struct Trial {
    slots_before: usize,
    total_before: u64,
}

/// The number of slots of one torrent.
#[derive(Debug)]
pub(super) struct Slots {
    least: usize,
    now: usize,
    trial: Option<Trial>,
    rest: u32,
}

impl Slots {
    /// Never fewer than `least`, which is at least 1.
    pub(super) fn new(least: usize) -> Self {
        let least = least.max(1);
        Self { least, now: least, trial: None, rest: 0 }
    }

    /// How many there are.
    pub(super) const fn now(&self) -> usize {
        self.now
    }

    /// A round is over in which somebody waited; `rates` are what went to each of those who had a slot, in bytes a second.
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

/// How many of these rates, the highest first, are as high as their place demands.
fn earning(rates: &[u64]) -> usize {
    let demands = (0..).map(|place| FIRST_BPS + place * STEP_BPS);
    rates.iter().zip(demands).take_while(|(rate, demand)| *rate >= demand).count()
}

/// What the total must have become for new slots to stay: half of what they would carry if they were like the old ones.
fn paying(total_before: u64, slots_before: usize, slots_now: usize) -> u64 {
    let (before, opened) = (slots_before as u64, (slots_now - slots_before) as u64);
    total_before.saturating_add(total_before.saturating_mul(opened) / (2 * before))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes to the slots of a round when the line carries `line` in all and a peer takes `peer` at most.
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

    /// KiB/s of the line and of one peer; slots after thirty rounds, and the most there were on the way.
    #[test]
    fn slots_open_while_they_raise_the_total_and_close_again() {
        for (line, peer, want, most) in [
            (10_000, 10_000, 4, 6),  // One peer fills the line: more slots are tried in vain.
            (10_000, 1000, 9, 13),   // Ten peers fill it: four more for one are too many.
            (100_000, 1000, 80, 80), // A hundred.
            (10_000, 100, 63, 63),   // A hundred as well, but 100 KiB/s do not earn a 64th.
            (10_000, 5, 4, 4),       // Five KiB/s do not earn a fourth slot.
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
    fn a_trial_in_vain_is_not_repeated_for_a_minute() {
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
    fn slots_that_no_longer_earn_their_keep_close_one_by_one() {
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
