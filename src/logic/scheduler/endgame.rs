//! The endgame: what others are asked for is asked of one more, where it would come sooner.
//!
//! Knows nothing of work that nobody is asked for; that is `grants`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

use super::Scheduler;
use super::grants::Ask;
use crate::base::geometry::{BLOCK_LEN, PieceIndex};
use crate::base::ids::PeerKey;
use crate::logic::assembly::{Asker, Assembly, MOST_ASKERS};

/// 8 requests at most while duplicating what others are asked for: the waste of an endgame is a few blocks per peer.
const ENDGAME_DEPTH: u32 = 8;

impl Scheduler {
    /// Endgame: blocks that others are asked for, those first that will come last, and only where they would come sooner
    /// from this peer. Before the endgame only while credit or trust is short, and only what stalled peers owe.
    pub(super) fn duplicate(&mut self, ask: &mut Ask) {
        let before = ask.blocks.len();
        let in_flight = self.peers.get(&ask.key).map_or(0, |peer| peer.in_flight) as usize + before;
        let most = ask.left().min((ENDGAME_DEPTH as usize).saturating_sub(in_flight));
        if most == 0 {
            return;
        }
        let endgame = self.is_endgame();
        // Asked in the endgame too: it says when the next one will stall.
        let anybody_stalls = (endgame || ask.short_of_credit || ask.short_of_trust) && self.anybody_stalls(ask);
        if !(endgame || anybody_stalls) {
            return;
        }
        let endgame = endgame && !self.ceiling.is_the_cause(self.in_flight);
        let stalls = |asker: &PeerKey| {
            self.peers.get(asker).is_none_or(|peer| self.stalled_at(peer).is_some_and(|at| at <= ask.now))
        };
        let my_bps = self.peers.get(&ask.key).map_or(0, |peer| peer.flow.bps(ask.now));
        let queues = self.queues();
        let mut candidates = Vec::new();
        let may = |piece: &PieceIndex| ask.has.has(*piece) && self.admits(ask.key, *piece);
        for (piece, assembly) in self.open.iter().rev().filter(|(piece, a)| !a.exclusive && may(piece)) {
            for (number, askers) in assembly.asked_of_others(ask.key) {
                let stalled = askers.iter().all(|asker| stalls(&asker.peer));
                if (endgame || stalled) && self.may_join(&askers, ask.key, *piece) {
                    let place = |asker: &Asker| queues[&asker.peer].partition_point(|nth| *nth <= asker.nth);
                    let comes_us = |asker: &Asker| self.delivery_us(asker.peer, place(asker), my_bps, ask.now);
                    let soonest_us = askers.iter().map(comes_us).min().filter(|_| !stalled);
                    candidates.push((askers.len(), Reverse(soonest_us.unwrap_or(u64::MAX)), *piece, number));
                }
            }
        }
        candidates.sort_by_key(|(askers, slowest, _, _)| (*askers, *slowest));
        let enough = ask.blocks.len() + most;
        for (_, Reverse(theirs_us), piece, number) in candidates {
            if ask.blocks.len() == enough {
                return;
            }
            let mine_us = self.delivery_us(ask.key, in_flight - before + ask.blocks.len() + 1, my_bps, ask.now);
            if mine_us >= theirs_us || !self.admits(ask.key, piece) {
                continue;
            }
            let Some(assembly) = self.open.get_mut(&piece) else { continue };
            if assembly.ask_too(number, ask.key, ask.now, self.asks) {
                self.asks += 1;
                ask.blocks.extend(self.geometry.block(piece, number));
                if let Some(peer) = self.peers.get_mut(&ask.key) {
                    peer.trust.begin(piece);
                }
            }
        }
    }

    /// The last place at a block is kept for a peer that has proven something, as long as there is one: strangers in all
    /// three would shut out an honest peer that has nothing else to do, one after the other, until the patience of each
    /// has ended (P-16, P-31).
    fn may_join(&self, askers: &[Asker], key: PeerKey, piece: PieceIndex) -> bool {
        let is_known = |key: &PeerKey| self.peers.get(key).is_some_and(|peer| peer.trust.is_begun());
        askers.len() + 1 < MOST_ASKERS
            || is_known(&key)
            || !self.peers.iter().any(|(other, peer)| {
                is_known(other) && peer.has.has(piece) && askers.iter().all(|asker| asker.peer != *other)
            })
    }

    /// Does another peer owe blocks and send none? Says when the next one will.
    fn anybody_stalls(&self, ask: &mut Ask) -> bool {
        let others = self.peers.iter().filter(|(key, _)| **key != ask.key);
        let (stalled, moving): (Vec<_>, Vec<_>) =
            others.filter_map(|(_, peer)| self.stalled_at(peer)).partition(|at| *at <= ask.now);
        ask.recheck_at(moving.into_iter().min());
        !stalled.is_empty()
    }

    /// What each peer is asked for, in the order it was asked.
    fn queues(&self) -> BTreeMap<PeerKey, Vec<u64>> {
        let mut queues: BTreeMap<PeerKey, Vec<u64>> = BTreeMap::new();
        for (_, asker) in self.open.values().flat_map(Assembly::askers) {
            queues.entry(asker.peer).or_default().push(asker.nth);
        }
        for queue in queues.values_mut() {
            queue.sort_unstable();
        }
        queues
    }

    /// Microseconds until a peer has delivered so many blocks. Of whom nothing has come yet is taken to be as fast as
    /// `usual_bps`.
    fn delivery_us(&self, key: PeerKey, blocks: usize, usual_bps: u64, now: Instant) -> u64 {
        self.peers.get(&key).map_or(u64::MAX, |peer| {
            let bps = Some(peer.flow.bps(now)).filter(|bps| *bps > 0).unwrap_or(usual_bps).max(1);
            (blocks as u64).saturating_mul(u64::from(BLOCK_LEN) * 1_000_000) / bps
        })
    }

    /// No obtainable block is left that nobody is asked for. Pieces that must come from one peer do not count.
    pub(super) fn is_endgame(&self) -> bool {
        !self.open.is_empty()
            && !self.picker.has_obtainable()
            && !self.loose.iter().any(|piece| {
                self.picker.available(*piece) > 0 && self.open.get(piece).is_some_and(|assembly| !assembly.exclusive)
            })
    }
}
