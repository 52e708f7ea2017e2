//! Estimates when outstanding blocks arrive: which peers have stalled, in which order each one answers, and when the
//! last requested block will come.
//!
//! Computed once for all peers that look for work at the same moment. Otherwise each of two hundred idle peers would
//! walk over thousands of blocks. This module decides nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Scheduler;
use crate::base::geometry::BLOCK_LEN;
use crate::base::ids::PeerKey;
use crate::logic::pieces::assembly::Asker;

/// At most 8 requests at a peer that duplicates others' requests: an endgame wastes a few blocks per peer.
pub(super) const ENDGAME_DEPTH: u32 = 8;

/// The state that an estimate was computed from: the time, the number of requests ever made, the number outstanding,
/// and the number of waiting peers.
type Moment = (Instant, u64, u32, usize);

/// Returned when every peer that was asked for the block has stalled.
pub(super) const NEVER: u64 = u64::MAX;

/// The estimate. It holds until a request is made or a block arrives.
#[derive(Debug, Default)]
pub(super) struct DeliveryEstimate {
    /// The state that it was computed from. `None` before the first time.
    counted: Option<Moment>,
    /// The peers with outstanding requests.
    debtors: BTreeMap<PeerKey, Debtor>,
    /// Microseconds until the last of the blocks that may be duplicated arrives.
    pub(super) latest_us: u64,
    /// Bytes a second of the fastest waiting peer with fewer than [`ENDGAME_DEPTH`] requests.
    pub(super) fastest_idle: u64,
}

/// A peer with outstanding requests.
#[derive(Debug)]
struct Debtor {
    /// Whether the peer has stalled.
    stalls: bool,
    /// Bytes a second. 0: it has delivered nothing yet. `None`: it is no longer connected.
    bps: Option<u64>,
    /// The numbers of its outstanding requests, in order.
    queue: Vec<u64>,
}

impl DeliveryEstimate {
    /// Microseconds until the first of these peers delivers the block; [`NEVER`] if all of them have stalled. A peer
    /// that has delivered nothing yet counts as fast as `usual_bps`.
    pub(super) fn soonest_us<'a>(&self, askers: impl Iterator<Item = &'a Asker> + Clone, usual_bps: u64) -> u64 {
        let debtor = |asker: &Asker| self.debtors.get(&asker.peer);
        if askers.clone().all(|asker| debtor(asker).is_none_or(|debtor| debtor.stalls)) {
            return NEVER;
        }
        let comes_us = |asker: &Asker| {
            let Debtor { bps, queue, .. } = debtor(asker)?;
            let bps = Some((*bps)?).filter(|bps| *bps > 0).unwrap_or(usual_bps);
            Some(delivery_us(queue.partition_point(|nth| *nth <= asker.nth), bps))
        };
        askers.filter_map(comes_us).min().unwrap_or(NEVER)
    }
}

/// Microseconds until `blocks` blocks have arrived at `bps` bytes a second.
pub(super) fn delivery_us(blocks: usize, bps: u64) -> u64 {
    (blocks as u64).saturating_mul(u64::from(BLOCK_LEN) * 1_000_000) / bps.max(1)
}

/// 1 byte a second: no idle peer will estimate a later delivery for a peer of unknown rate.
const SLOWEST: u64 = 1;

impl Scheduler {
    /// Computes the estimate, unless it was computed from the present state before.
    pub(super) fn count_debts(&mut self, now: Instant) {
        let moment = (now, self.pieces.asks(), self.pieces.in_flight(), self.peers.waiting_count());
        if self.estimate.counted.replace(moment) == Some(moment) {
            return;
        }
        let mut debtors: BTreeMap<PeerKey, Debtor> = BTreeMap::new();
        for (_, asker) in self.pieces.iter().flat_map(|(_, assembly)| assembly.askers()) {
            let debtor = debtors.entry(asker.peer).or_insert_with(|| self.debtor(asker.peer, now));
            debtor.queue.push(asker.nth);
        }
        for debtor in debtors.values_mut() {
            debtor.queue.sort_unstable();
        }
        self.estimate.debtors = debtors;
        let asked = self.pieces.iter().filter(|(_, a)| !a.exclusive).flat_map(|(_, assembly)| assembly.asked_of());
        let latest = asked.map(|(_, askers)| self.estimate.soonest_us(askers, SLOWEST)).max();
        let fastest =
            self.peers.waiting().filter(|peer| peer.in_flight < ENDGAME_DEPTH).map(|peer| peer.flow.bps(now)).max();
        (self.estimate.latest_us, self.estimate.fastest_idle) = (latest.unwrap_or(0), fastest.unwrap_or(0));
    }

    fn debtor(&self, key: PeerKey, now: Instant) -> Debtor {
        let peer = self.peers.get(key);
        let stalls = peer.is_none_or(|peer| self.stalled_at(peer).is_some_and(|at| at <= now));
        Debtor { stalls, bps: peer.map(|peer| peer.flow.bps(now)), queue: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK_US: u64 = 1_000_000;

    /// An estimate for these peers: each of rate one block a second unless given, with the numbers of its requests.
    fn debts(debtors: &[(u32, bool, Option<u64>, &[u64])]) -> DeliveryEstimate {
        let debtor = |(key, stalls, blocks_per_s, queue): &(u32, bool, Option<u64>, &[u64])| {
            let bps = blocks_per_s.map(|blocks| blocks * u64::from(BLOCK_LEN));
            (PeerKey(*key), Debtor { stalls: *stalls, bps, queue: queue.to_vec() })
        };
        DeliveryEstimate { debtors: debtors.iter().map(debtor).collect(), ..DeliveryEstimate::default() }
    }

    #[test]
    fn a_block_arrives_when_its_first_asker_has_sent_what_it_was_asked_before() {
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
            (vec![asker(3, 14), asker(5, 16)], NEVER, "who stalls never sends it"),
            (vec![asker(1, 10), asker(5, 16)], BLOCK_US, "who is gone does not count"),
            (vec![asker(4, 15)], BLOCK_US / 2, "of whom nothing has come is as fast as usual"),
            (vec![asker(3, 14), asker(4, 15)], 10_000, "but then it is as fast as ever"),
            (vec![asker(6, 1)], NEVER, "an unknown peer"),
        ] {
            assert_eq!(debts.soonest_us(askers.iter(), usual), soonest, "{what}");
        }
    }
}
