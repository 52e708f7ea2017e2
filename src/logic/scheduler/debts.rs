//! What everybody owes: who stalls, in which order each answers, and when the last block that is asked for will come.
//!
//! Counted once for all who look for work in the same moment: of two hundred peers with nothing to do each would go
//! through thousands of blocks. Decides nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Scheduler;
use super::endgame::ENDGAME_DEPTH;
use crate::base::geometry::BLOCK_LEN;
use crate::base::ids::PeerKey;
use crate::logic::assembly::Asker;

/// The time; blocks that were ever asked for, those of them that are under way, and how many peers wait for work.
type Moment = (Instant, u64, u32, usize);

/// What is true as long as nobody is asked for more and nothing comes.
#[derive(Debug, Default)]
pub(super) struct Debts {
    counted: Option<Moment>,
    debtors: BTreeMap<PeerKey, Debtor>,
    /// Of all blocks that may be asked of one more the one that comes last.
    pub(super) latest_us: u64,
    /// Bytes a second of the fastest that waits for work and has little.
    pub(super) fastest_idle: u64,
}

/// One peer that is asked for something.
#[derive(Debug)]
struct Debtor {
    stalls: bool,
    /// 0: nothing has come yet. `None`: it is gone.
    bps: Option<u64>,
    /// What it is asked for, in the order it was asked.
    queue: Vec<u64>,
}

impl Debts {
    /// Does everybody who is asked for a block keep us waiting?
    pub(super) fn all_stall<'a>(&self, mut askers: impl Iterator<Item = &'a Asker>) -> bool {
        askers.all(|asker| self.debtors.get(&asker.peer).is_none_or(|debtor| debtor.stalls))
    }

    /// Microseconds until the first of these has sent the block; for ever, where all of them stall.
    pub(super) fn soonest_us<'a>(&self, askers: impl Iterator<Item = &'a Asker> + Clone, usual_bps: u64) -> u64 {
        if self.all_stall(askers.clone()) {
            return u64::MAX;
        }
        let comes_us = |asker: &Asker| {
            let debtor = self.debtors.get(&asker.peer)?;
            let blocks = debtor.queue.partition_point(|nth| *nth <= asker.nth);
            Some(delivery_us(blocks, debtor.bps?, usual_bps))
        };
        askers.filter_map(comes_us).min().unwrap_or(u64::MAX)
    }
}

/// Microseconds until so many blocks have come at a rate, or at the usual one where none is known.
pub(super) fn delivery_us(blocks: usize, bps: u64, usual_bps: u64) -> u64 {
    let bps = if bps > 0 { bps } else { usual_bps.max(1) };
    (blocks as u64).saturating_mul(u64::from(BLOCK_LEN) * 1_000_000) / bps
}

impl Scheduler {
    /// Sees to it that `debts` are those of this moment.
    pub(super) fn count_debts(&mut self, now: Instant) {
        let moment = (now, self.asks, self.in_flight, self.waiting.len());
        if self.debts.counted.replace(moment) == Some(moment) {
            return;
        }
        let mut debtors: BTreeMap<PeerKey, Debtor> = BTreeMap::new();
        for asker in self.open.values().flat_map(|assembly| assembly.asked_of().flat_map(|(_, askers)| askers)) {
            let debtor = debtors.entry(asker.peer).or_insert_with(|| self.debtor(asker.peer, now));
            debtor.queue.push(asker.nth);
        }
        for debtor in debtors.values_mut() {
            debtor.queue.sort_unstable();
        }
        self.debts.debtors = debtors;
        let asked = self.open.values().filter(|assembly| !assembly.exclusive).flat_map(|assembly| assembly.asked_of());
        let latest = asked.map(|(_, askers)| self.debts.soonest_us(askers, 0)).max();
        let idle = self.waiting.iter().filter_map(|key| self.peers.get(key));
        let fastest = idle.filter(|peer| peer.in_flight < ENDGAME_DEPTH).map(|peer| peer.flow.bps(now)).max();
        (self.debts.latest_us, self.debts.fastest_idle) = (latest.unwrap_or(0), fastest.unwrap_or(0));
    }

    fn debtor(&self, key: PeerKey, now: Instant) -> Debtor {
        let peer = self.peers.get(&key);
        let stalls = peer.is_none_or(|peer| self.stalled_at(peer).is_some_and(|at| at <= now));
        Debtor { stalls, bps: peer.map(|peer| peer.flow.bps(now)), queue: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK_US: u64 = 1_000_000;

    /// A block a second each, or what is said.
    fn debts(debtors: &[(u32, bool, Option<u64>, &[u64])]) -> Debts {
        let debtor = |(key, stalls, blocks_per_s, queue): &(u32, bool, Option<u64>, &[u64])| {
            let bps = blocks_per_s.map(|blocks| blocks * u64::from(BLOCK_LEN));
            (PeerKey(*key), Debtor { stalls: *stalls, bps, queue: queue.to_vec() })
        };
        Debts { debtors: debtors.iter().map(debtor).collect(), ..Debts::default() }
    }

    #[test]
    fn a_block_comes_when_the_first_who_is_asked_has_sent_what_it_was_asked_before() {
        let debts = debts(&[
            (1, false, Some(1), &[10, 11, 30]),
            (2, false, Some(4), &[12, 13, 20, 31]),
            (3, true, Some(100), &[14]),
            (4, false, Some(0), &[15]),
            (5, true, None, &[16]),
        ]);
        let asker = |peer, nth| Asker { peer: PeerKey(peer), nth };
        let usual = 2 * u64::from(BLOCK_LEN);
        for (askers, soonest, what) in [
            (vec![asker(1, 11)], 2 * BLOCK_US, "its second"),
            (vec![asker(1, 30), asker(2, 31)], BLOCK_US, "the fourth of one that is four times as fast"),
            (vec![asker(3, 14)], u64::MAX, "who stalls never sends it"),
            (vec![asker(1, 10), asker(5, 16)], BLOCK_US, "who is gone does not count"),
            (vec![asker(4, 15)], BLOCK_US / 2, "of whom nothing has come is as fast as usual"),
            (vec![asker(6, 1)], u64::MAX, "nobody knows it"),
        ] {
            assert_eq!(debts.soonest_us(askers.iter(), usual), soonest, "{what}");
        }
        assert!(debts.all_stall([asker(3, 14), asker(5, 16)].iter()));
        assert!(!debts.all_stall([asker(3, 14), asker(4, 15)].iter()));
    }
}
