//! The endgame: requests blocks a second time where another peer would deliver them sooner.
//!
//! Blocks that are requested from no peer are the work of `grants`.

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

/// A block that is already requested and could be requested from one more peer.
struct Candidate {
    piece: PieceIndex,
    number: u32,
    /// How many peers are asked for it.
    askers: usize,
    /// Microseconds until the first of these peers delivers it.
    soonest_us: u64,
    /// Where the new request would go.
    place: Place,
}

/// A place among the peers that are asked for a block.
enum Place {
    /// A place is free.
    Free,
    /// The place of a stalled peer, which loses it.
    Of(PeerKey),
    /// No place before this time.
    NotBefore(Instant),
}

impl Scheduler {
    /// Grants duplicate requests. In the endgame these are the blocks that will arrive last, and only those that this
    /// peer would deliver sooner. Before the endgame only blocks that stalled peers owe are duplicated, and only while
    /// credit or trust is short. Nothing is duplicated while our own download limit is the bottleneck.
    pub(super) fn duplicate(&mut self, ask: &mut GrantRequest) {
        let before = ask.blocks.len();
        let in_flight = self.peers.get(ask.key).map_or(0, |peer| peer.in_flight) as usize + before;
        let most = ask.left().min((ENDGAME_DEPTH as usize).saturating_sub(in_flight));
        if most == 0 || self.rate_cap.is_the_cause(self.pieces.in_flight()) {
            return;
        }
        let endgame = self.is_endgame();
        // Also evaluated in the endgame, since it notes when the next peer will stall.
        let anybody_stalls = (endgame || ask.short_of_credit || ask.short_of_trust) && self.anybody_stalls(ask);
        if !(endgame || anybody_stalls) {
            return;
        }
        let (now, my_bps) = (ask.now, self.bps(ask.key, ask.now));
        self.count_debts(now);
        let first_us = delivery_us(in_flight + 1, my_bps);
        if first_us >= self.estimate.latest_us {
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
            if self.pieces.get(piece).is_none_or(|assembly| assembly.rests(number, ask.key, now)) {
                continue;
            }
            if let Place::Of(other) = place {
                self.dismiss(other, piece, number, now);
            }
            if self.pieces.ask_too(piece, number, ask.key, now) {
                ask.blocks.extend(self.geometry.block(piece, number));
                if let Some(peer) = self.peers.get_mut(ask.key) {
                    peer.trust.begin(piece);
                }
            }
        }
    }

    /// The blocks that are requested from other peers, may be requested from this peer too, and would arrive sooner
    /// from it.
    fn candidates(&self, ask: &mut GrantRequest, endgame: bool, (first_us, my_bps): (u64, u64)) -> Vec<Candidate> {
        let (key, has) = (ask.key, Arc::clone(&ask.has));
        let mut candidates = Vec::new();
        let may = |piece: &PieceIndex| has.has(*piece) && self.admits(key, *piece);
        for (piece, assembly) in self.pieces.iter().rev().filter(|(piece, a)| !a.exclusive && may(piece)) {
            for (number, askers) in assembly.asked_of() {
                let soonest_us = self.estimate.soonest_us(askers.clone(), my_bps);
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

    /// Whether this peer may become one of the peers that are asked for a block, and in whose place. The last place is
    /// kept for the best idle peer. If all places are taken by peers that stall, the one that has stalled longest
    /// loses its place to a peer with verified pieces: three peers that answer with other blocks or not at all would
    /// otherwise shut out an honest peer until each of their time-outs ends (P-16, P-31).
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
        if !self.peers.get(ask.key)?.trust.is_begun() {
            return None;
        }
        let waits = |asker: &Asker| {
            let peer = self.peers.get(asker.peer)?;
            let since = peer.waiting_since()?;
            Some((since, since + self.usual_wait(peer, ask.now), asker.peer))
        };
        let waits: Option<Vec<_>> = askers.iter().map(waits).collect();
        let waits = waits?;
        let (_, _, longest) = *waits.iter().min_by_key(|(since, _, _)| *since)?;
        let due = waits.iter().map(|(_, due, _)| *due).max()?;
        Some(if due > ask.now { Place::NotBefore(due) } else { Place::Of(longest) })
    }

    /// Whether this peer is the best one for the last place: it has verified pieces, or no other peer with the piece
    /// has; and no idle peer is more than twice as fast.
    fn is_best_idle(&self, ask: &GrantRequest, piece: PieceIndex, askers: &[Asker]) -> bool {
        let is_other = |key: PeerKey| key != ask.key && askers.iter().all(|asker| asker.peer != key);
        let known = |peer: &SchedulerPeer| peer.has.has(piece) && peer.trust.is_begun();
        let others = || self.peers.iter().filter(|(key, peer)| is_other(*key) && known(peer));
        let is_idle = |key: PeerKey, peer: &SchedulerPeer| self.peers.is_waiting(key) && peer.in_flight < ENDGAME_DEPTH;
        let enough = self.bps(ask.key, ask.now).saturating_mul(2);
        (self.peers.get(ask.key).is_some_and(known) || others().next().is_none())
            && (self.estimate.fastest_idle <= enough
                || !others().any(|(key, peer)| is_idle(key, peer) && peer.flow.bps(ask.now) > enough))
    }

    /// Takes a block back from a peer and cancels the request.
    fn dismiss(&mut self, key: PeerKey, piece: PieceIndex, number: u32, now: Instant) {
        if !self.pieces.take_back(piece, number, key, now) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(key) {
            peer.in_flight -= 1;
        }
        self.outbox.cancel(key, self.geometry.block(piece, number));
        self.let_go(key, piece);
    }

    /// Whether another peer owes blocks and has stalled. Notes when the next peer will stall.
    fn anybody_stalls(&self, ask: &mut GrantRequest) -> bool {
        let others = self.peers.iter().filter(|(key, _)| *key != ask.key);
        let (stalled, moving): (Vec<_>, Vec<_>) =
            others.filter_map(|(_, peer)| self.stalled_at(peer)).partition(|at| *at <= ask.now);
        ask.recheck_at(moving.into_iter().min());
        !stalled.is_empty()
    }

    /// The rate of a peer in bytes a second, or 0 if it is not connected.
    fn bps(&self, key: PeerKey, now: Instant) -> u64 {
        self.peers.get(key).map_or(0, |peer| peer.flow.bps(now))
    }

    /// Whether every obtainable block is requested. Exclusive pieces do not count, since each must come from one peer.
    pub(super) fn is_endgame(&self) -> bool {
        self.pieces.open_count() > 0
            && !self.picker.has_obtainable()
            && !self.pieces.loose().any(|piece| {
                self.picker.available(piece) > 0 && self.pieces.get(piece).is_some_and(|assembly| !assembly.exclusive)
            })
    }
}
