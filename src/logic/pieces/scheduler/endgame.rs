//! The endgame: what others are asked for is asked of one more, where it would come sooner.
//!
//! Knows nothing of work that nobody is asked for; that is `grants`.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Instant;

use super::Scheduler;
use super::delivery_estimate::{ENDGAME_DEPTH, NEVER, delivery_us};
use super::grants::GrantRequest;
use super::peer::SchedulerPeer;
use crate::base::geometry::PieceIndex;
use crate::base::ids::PeerKey;
use crate::logic::pieces::assembly::{Asker, MOST_ASKERS};

/// A block that others are asked for.
struct Candidate {
    piece: PieceIndex,
    number: u32,
    askers: usize,
    /// When the first of them will have sent it.
    soonest_us: u64,
    place: Place,
}

/// A place among those that are asked for a block.
enum Place {
    Free,
    /// Of a peer that has kept us waiting, and gives way.
    Of(PeerKey),
    /// None before then.
    NotBefore(Instant),
}

impl Scheduler {
    /// Endgame: blocks that others are asked for, those first that will come last, and only where they would come sooner
    /// from this peer. Before the endgame only while credit or trust is short, and only what stalled peers owe.
    /// Nothing at all as long as it is our own limit that everybody waits for.
    pub(super) fn duplicate(&mut self, ask: &mut GrantRequest) {
        let before = ask.blocks.len();
        let in_flight = self.peers.get(&ask.key).map_or(0, |peer| peer.in_flight) as usize + before;
        let most = ask.left().min((ENDGAME_DEPTH as usize).saturating_sub(in_flight));
        if most == 0 || self.ceiling.is_the_cause(self.in_flight) {
            return;
        }
        let endgame = self.is_endgame();
        // Asked in the endgame too: it says when the next one will stall.
        let anybody_stalls = (endgame || ask.short_of_credit || ask.short_of_trust) && self.anybody_stalls(ask);
        if !(endgame || anybody_stalls) {
            return;
        }
        let (now, my_bps) = (ask.now, self.bps(ask.key, ask.now));
        self.count_debts(now);
        let first_us = delivery_us(in_flight + 1, my_bps);
        if first_us >= self.debts.latest_us {
            return;
        }
        let mut candidates = self.candidates(ask, endgame, (first_us, my_bps));
        candidates.sort_by_key(|one| (one.askers, Reverse(one.soonest_us)));
        let enough = ask.blocks.len() + most;
        for Candidate { piece, number, soonest_us, place, .. } in candidates {
            if ask.blocks.len() == enough {
                return;
            }
            let mine_us = delivery_us(in_flight - before + ask.blocks.len() + 1, my_bps);
            if mine_us >= soonest_us || !self.admits(ask.key, piece) {
                continue;
            }
            let Some(assembly) = self.open.get_mut(&piece) else { continue };
            if assembly.rests(number, ask.key, now) {
                continue;
            }
            if let Place::Of(other) = place {
                self.dismiss(other, piece, number, now);
            }
            let Some(assembly) = self.open.get_mut(&piece) else { continue };
            if assembly.ask_too(number, ask.key, now, self.asks) {
                self.asks += 1;
                ask.blocks.extend(self.geometry.block(piece, number));
                if let Some(peer) = self.peers.get_mut(&ask.key) {
                    peer.trust.begin(piece);
                }
            }
        }
    }

    /// Blocks that others are asked for, that this peer may be asked for too, and that would come sooner from it.
    fn candidates(&self, ask: &mut GrantRequest, endgame: bool, (first_us, my_bps): (u64, u64)) -> Vec<Candidate> {
        let (key, has) = (ask.key, Arc::clone(&ask.has));
        let mut candidates = Vec::new();
        let may = |piece: &PieceIndex| has.has(*piece) && self.admits(key, *piece);
        for (&piece, assembly) in self.open.iter().rev().filter(|(piece, a)| !a.exclusive && may(piece)) {
            for (number, askers) in assembly.asked_of() {
                let soonest_us = self.debts.soonest_us(askers.clone(), my_bps);
                let is_late = soonest_us > first_us && (endgame || soonest_us == NEVER);
                if !is_late || askers.clone().any(|asker| asker.peer == key) {
                    continue;
                }
                let askers: Vec<Asker> = askers.copied().collect();
                match self.place_among(&askers, ask, piece) {
                    Some(Place::NotBefore(at)) => ask.recheck_at(Some(at)),
                    Some(place) => {
                        candidates.push(Candidate { piece, number, askers: askers.len(), soonest_us, place });
                    }
                    None => {}
                }
            }
        }
        candidates
    }

    /// Is there a place for this peer among those that are asked for a block, and in whose stead? The last one is kept for
    /// the best that has nothing to do, and whoever has kept a full house waiting gives way to it: three that answer with
    /// something else, or not at all, would shut out an honest peer until the patience of each has ended (P-16, P-31).
    fn place_among(&self, askers: &[Asker], ask: &GrantRequest, piece: PieceIndex) -> Option<Place> {
        if askers.len() + 1 < MOST_ASKERS {
            return Some(Place::Free);
        }
        if !self.is_best_idle(ask, piece, askers) {
            return None;
        }
        if askers.len() < MOST_ASKERS {
            return Some(Place::Free);
        }
        if !self.peers.get(&ask.key)?.trust.is_begun() {
            return None;
        }
        let waits = |asker: &Asker| {
            let peer = self.peers.get(&asker.peer)?;
            let since = peer.waiting_since()?;
            Some((since, since + self.usual_wait(peer, ask.now), asker.peer))
        };
        let waits: Option<Vec<_>> = askers.iter().map(waits).collect();
        let waits = waits?;
        let (_, _, longest) = *waits.iter().min_by_key(|(since, _, _)| *since)?;
        let due = waits.iter().map(|(_, due, _)| *due).max()?;
        Some(if due > ask.now { Place::NotBefore(due) } else { Place::Of(longest) })
    }

    /// It has proven something, or nobody else there has; and nobody with nothing to do is more than twice as fast.
    fn is_best_idle(&self, ask: &GrantRequest, piece: PieceIndex, askers: &[Asker]) -> bool {
        let is_other = |key: &PeerKey| *key != ask.key && askers.iter().all(|asker| asker.peer != *key);
        let known = |peer: &SchedulerPeer| peer.has.has(piece) && peer.trust.is_begun();
        let others = || self.peers.iter().filter(|(key, peer)| is_other(key) && known(peer));
        let is_idle =
            |key: &PeerKey, peer: &SchedulerPeer| self.waiting.contains(key) && peer.in_flight < ENDGAME_DEPTH;
        let enough = self.bps(ask.key, ask.now).saturating_mul(2);
        (self.peers.get(&ask.key).is_some_and(|peer| known(peer)) || others().next().is_none())
            && (self.debts.fastest_idle <= enough
                || !others().any(|(key, peer)| is_idle(key, peer) && peer.flow.bps(ask.now) > enough))
    }

    /// The peer need not send that block any more.
    fn dismiss(&mut self, key: PeerKey, piece: PieceIndex, number: u32, now: Instant) {
        if !self.open.get_mut(&piece).is_some_and(|assembly| assembly.give_back(number, key, now)) {
            return;
        }
        self.in_flight -= 1;
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.in_flight -= 1;
        }
        self.cancels.entry(key).or_default().extend(self.geometry.block(piece, number));
        self.let_go(key, piece);
    }

    /// Does another peer owe blocks and send none? Says when the next one will.
    fn anybody_stalls(&self, ask: &mut GrantRequest) -> bool {
        let others = self.peers.iter().filter(|(key, _)| **key != ask.key);
        let (stalled, moving): (Vec<_>, Vec<_>) =
            others.filter_map(|(_, peer)| self.stalled_at(peer)).partition(|at| *at <= ask.now);
        ask.recheck_at(moving.into_iter().min());
        !stalled.is_empty()
    }

    fn bps(&self, key: PeerKey, now: Instant) -> u64 {
        self.peers.get(&key).map_or(0, |peer| peer.flow.bps(now))
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
