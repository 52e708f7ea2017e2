//! Answering asks: the order in which a peer is given work.
//!
//! The piece it is filling; pieces that failed before, whole; open pieces that nobody fills; then a fast peer opens a
//! piece of its own and a slow one helps with another's. When nothing else is left: the endgame.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::peer::Peer;
use super::{Effect, Scheduler};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{BLOCK_LEN, BlockAddr, PieceIndex};
use crate::base::ids::PeerKey;
use crate::logic::assembly::{Asker, Assembly};
use crate::logic::suspects::FORGIVEN_AFTER;

/// Four pieces at random, then the rarest: what Cohen's paper and libtorrent do.
const RANDOM_PIECES: u32 = 4;

/// A peer that fills a piece in 20 s fills it alone: fewer senders for one piece, fewer suspects. Picked by eye.
const FAST_FILL_S: u64 = 20;

/// 8 requests at most while duplicating what others are asked for: the waste of an endgame is a few blocks per peer.
const ENDGAME_DEPTH: u32 = 8;

/// 6 s without anybody being asked or anything coming: an open piece may be taken from its owner, or given up for its
/// credit. Longer than a rest, so that it was offered to everybody.
const IDLE: Duration = Duration::from_secs(6);

/// 2 s without a block from a peer that owes some: when credit is short, what it owes is asked of others too. Thirty
/// silent peers must not hold all credit with thirty open pieces (P-12).
const STALLED: Duration = Duration::from_secs(2);

/// 100 ms until a failed piece that was left to a faster peer is offered again: that one has been served by then.
const HAND_OVER: Duration = Duration::from_millis(100);

/// 60 s: an exclusive piece whose owner still drips may be begun anew by a peer with nothing else to do.
const DRIPPING: Duration = Duration::from_secs(60);

/// One peer's ask while it is being answered.
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one ask")]
struct Ask {
    key: PeerKey,
    addr: SocketAddr,
    has: Arc<Bitfield>,
    want: usize,
    now: Instant,
    blocks: Vec<BlockAddr>,
    /// Under suspicion: works on pieces of its own.
    probation: bool,
    /// A seed is asked, and for what nobody else has: what others began and choked off can wait for them. Else a lone slow
    /// seed gives every third piece twice, and the swarm waits for it.
    rare_first: bool,
    short_of_credit: bool,
    /// Nothing new for it until something of it is verified.
    short_of_trust: bool,
    /// A failed piece waits for this peer, and for credit.
    suspect_waits: bool,
    recheck: Option<Instant>,
}

impl Ask {
    fn left(&self) -> usize {
        self.want - self.blocks.len()
    }

    fn is_full(&self) -> bool {
        self.left() == 0
    }

    fn recheck_at(&mut self, at: Option<Instant>) {
        self.recheck = self.recheck.into_iter().chain(at).min();
    }
}

impl Scheduler {
    /// Serves everybody whom a change may help, and tells what others need not send any more.
    pub(super) fn settle(&mut self, now: Instant) {
        self.now = Some(now);
        loop {
            self.tell_cancels();
            let endgame = self.is_endgame();
            self.stirred |= endgame && !self.endgame;
            self.endgame = endgame;
            self.stirred |= self.ceiling.lets_in(self.in_flight);
            if !std::mem::take(&mut self.stirred) {
                break self.held_up.set(now, self.is_held_up());
            }
            self.recheck = None;
            let turn = self.turn;
            let order: Vec<PeerKey> = self.waiting.range(turn..).chain(self.waiting.range(..turn)).copied().collect();
            for key in order {
                self.serve(now, key);
            }
        }
    }

    fn tell_cancels(&mut self) {
        for (peer, blocks) in std::mem::take(&mut self.cancels) {
            if self.peers.contains_key(&peer) {
                self.effects.push_back(Effect::Cancel { peer, blocks });
            }
        }
    }

    /// Grants what can be granted of a peer's ask, and remembers the rest.
    pub(super) fn serve(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get(&key).filter(|peer| peer.want > 0 && !self.paused) else { return };
        let wanted = peer.want;
        let want = self.ceiling.room(self.in_flight, wanted) as usize;
        if want == 0 {
            return self.ceiling.on_held_back();
        }
        let mut ask = Ask {
            key,
            addr: peer.addr,
            has: peer.offers(),
            want,
            now,
            blocks: Vec::new(),
            probation: self.suspects.is_on_probation(peer.addr),
            rare_first: peer.has.is_all() && self.picker.only_seeds_have_some(),
            short_of_credit: false,
            short_of_trust: false,
            suspect_waits: false,
            recheck: None,
        };
        self.find_work(&mut ask);
        let granted = u32::try_from(ask.blocks.len()).unwrap_or(u32::MAX);
        if ask.is_full() && granted < wanted {
            self.ceiling.on_held_back();
        }
        self.in_flight += granted;
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.on_granted(now, granted);
            if peer.want == 0 {
                self.waiting.remove(&key);
                ask.recheck = None;
            }
        }
        self.recheck = self.recheck.into_iter().chain(ask.recheck).min();
        self.tell_cancels();
        if granted > 0 {
            self.turn = PeerKey(key.0.wrapping_add(1));
            self.effects.push_back(Effect::Grant { peer: key, blocks: ask.blocks });
        }
    }

    fn find_work(&mut self, ask: &mut Ask) {
        let key = ask.key;
        self.go_on(ask);
        self.help(ask, |assembly| assembly.owner == Some(key));
        self.retry_suspects(ask);
        if !ask.probation {
            self.help(ask, |assembly| assembly.owner.is_none());
            if !self.is_fast(ask.key) {
                self.help(ask, |_| true);
            }
        }
        self.open_pieces(ask);
        ask.rare_first = false;
        self.help(ask, |_| true);
        if !ask.is_full() && ask.short_of_credit && self.evict_for(ask) {
            self.retry_suspects(ask);
            self.open_pieces(ask);
        }
        if !ask.is_full() {
            self.take_over(ask);
            self.retry_suspects(ask);
            self.duplicate(ask);
        }
    }

    /// More of the piece that the peer is filling.
    fn go_on(&mut self, ask: &mut Ask) {
        let Some(peer) = self.peers.get(&ask.key) else { return };
        if let Some(piece) = peer.current
            && self.open.get(&piece).is_some_and(|a| a.owner == Some(ask.key) || !(a.exclusive || ask.probation))
        {
            self.ask_for(piece, ask);
        }
    }

    /// Failed pieces, each whole from one peer that has not failed it yet.
    fn retry_suspects(&mut self, ask: &mut Ask) {
        let Self { suspects, open, writing, .. } = self;
        let failed: Vec<(PieceIndex, Instant)> = suspects
            .pieces()
            .filter(|(piece, _)| ask.has.has(*piece) && !open.contains_key(piece) && !writing.contains_key(piece))
            .collect();
        for (piece, due) in failed {
            if ask.is_full() {
                return;
            }
            if due > ask.now {
                ask.recheck_at(Some(due));
            } else if self.suspects.is_shirker(piece, ask.addr) {
                if !self.has_willing_source(piece) {
                    self.suspects.forgive(ask.now, piece);
                    ask.recheck_at(Some(ask.now + FORGIVEN_AFTER));
                }
            } else if !self.suspects.was_tried(piece, ask.addr) || !self.has_untried_source(piece) {
                if !self.can_open(piece) {
                    ask.short_of_credit = true;
                    ask.suspect_waits = true;
                } else if !self.admits(ask.key, piece) {
                    ask.short_of_trust = true;
                } else if self.a_faster_one_waits(piece, ask) {
                    ask.recheck_at(Some(ask.now + HAND_OVER));
                } else {
                    self.open_piece(piece, true, ask);
                }
            }
        }
    }

    /// Is somebody without work who would bring the piece sooner? It comes whole from one, so that one should be good.
    fn a_faster_one_waits(&self, piece: PieceIndex, ask: &Ask) -> bool {
        let bps = |peer: &Peer| peer.flow.bps(ask.now);
        let mine = self.peers.get(&ask.key).map_or(0, bps);
        let may = |peer: &&Peer| {
            let is_spent = self.suspects.is_shirker(piece, peer.addr) || self.suspects.was_tried(piece, peer.addr);
            peer.has.has(piece) && !is_spent && self.trusts(peer, piece)
        };
        self.waiting.iter().filter_map(|key| self.peers.get(key)).filter(may).any(|peer| bps(peer) > mine)
    }

    /// Free blocks of open pieces that `wanted` says yes to.
    fn help(&mut self, ask: &mut Ask, wanted: impl Fn(&Assembly) -> bool) {
        if ask.is_full() || self.loose.is_empty() {
            return;
        }
        let mine = |assembly: &Assembly| !assembly.exclusive || assembly.owner == Some(ask.key);
        let Self { loose, open, picker, .. } = &*self;
        let in_turn = |piece: PieceIndex| !(ask.rare_first && picker.is_passed_on(piece));
        let pieces = loose.iter().filter(|piece| ask.has.has(**piece) && in_turn(**piece));
        let pieces: Vec<PieceIndex> =
            pieces.filter(|piece| open.get(piece).is_some_and(|a| mine(a) && wanted(a))).copied().collect();
        for piece in pieces {
            if ask.is_full() {
                return;
            }
            self.ask_for(piece, ask);
        }
    }

    /// Pieces that nobody has begun.
    fn open_pieces(&mut self, ask: &mut Ask) {
        while !ask.is_full() {
            if self.is_credit_spent() {
                ask.short_of_credit = true;
                return;
            }
            let Some(peer) = self.peers.get_mut(&ask.key) else { return };
            if !peer.trust.has_room(self.geometry.nominal_piece_len(), ask.probation) {
                ask.short_of_trust = true;
                return;
            }
            let random = self.have.ones() < RANDOM_PIECES;
            let picked = if random {
                self.picker.pick_random(&ask.has, &mut peer.shortlist, &mut self.dice)
            } else {
                self.picker.pick(&ask.has, &mut peer.shortlist, &mut self.dice)
            };
            let Some(piece) = picked else { return };
            self.open_piece(piece, ask.probation, ask);
        }
    }

    /// No room for one more piece of the usual size.
    fn is_credit_spent(&self) -> bool {
        self.reserved > 0 && self.reserved + u64::from(self.geometry.nominal_piece_len()) > self.credit
    }

    /// There is something to ask for and somebody to ask, and the disk holds the credit for it.
    fn is_held_up(&self) -> bool {
        !self.writing.is_empty()
            && !self.waiting.is_empty()
            && self.is_credit_spent()
            && self.picker.has_obtainable()
            && !self.paused
    }

    /// One that fits the credit, or any if nothing else is under way.
    fn can_open(&self, piece: PieceIndex) -> bool {
        self.reserved == 0 || self.reserved + u64::from(self.geometry.piece_len(piece)) <= self.credit
    }

    fn open_piece(&mut self, piece: PieceIndex, exclusive: bool, ask: &mut Ask) {
        let assembly = Assembly::new(&self.geometry, piece, ask.key, exclusive, ask.now);
        self.reserved += u64::from(assembly.piece_len());
        self.open.insert(piece, assembly);
        self.loose.insert(piece);
        self.ask_for(piece, ask);
    }

    /// Free blocks of one open piece.
    fn ask_for(&mut self, piece: PieceIndex, ask: &mut Ask) {
        if !self.admits(ask.key, piece) {
            ask.short_of_trust = true;
            return;
        }
        let Some(assembly) = self.open.get_mut(&piece).filter(|assembly| assembly.free() > 0) else { return };
        let alone = self.picker.available(piece) <= 1;
        let before = ask.blocks.len();
        let most = ask.left();
        let asks = (self.asks, &mut ask.blocks);
        let rests = assembly.ask(&self.geometry, ask.key, most, alone, ask.now, asks);
        self.asks += (ask.blocks.len() - before) as u64;
        ask.recheck_at(rests);
        if ask.blocks.len() > before {
            assembly.owner.get_or_insert(ask.key);
        }
        let left = assembly.free() > 0;
        if !left {
            self.loose.remove(&piece);
        }
        if let Some(peer) = self.peers.get_mut(&ask.key)
            && ask.blocks.len() > before
        {
            peer.current = left.then_some(piece);
            peer.trust.begin(piece);
        }
    }

    /// Gives up an open piece that nobody works on, so that its credit serves this ask.
    fn evict_for(&mut self, ask: &mut Ask) -> bool {
        let mut victim: Option<(u32, PieceIndex)> = None;
        for piece in &self.loose {
            let Some(assembly) = self.open.get(piece).filter(|assembly| assembly.asked() == 0) else { continue };
            let idle_from = assembly.touched + IDLE;
            if self.picker.available(*piece) > 0 && ask.now < idle_from {
                ask.recheck_at(Some(idle_from));
            } else {
                let candidate = (assembly.got(), *piece);
                victim = Some(victim.map_or(candidate, |least| least.min(candidate)));
            }
        }
        let useful = ask.suspect_waits || self.picker.has_any_of(&ask.has);
        if let Some((_, piece)) = victim.filter(|_| useful) {
            self.close(piece);
        }
        victim.is_some() && useful
    }

    /// Exclusive pieces whose owner does nothing, or too little, go to a peer that has nothing else to do.
    fn take_over(&mut self, ask: &mut Ask) {
        let mut stale = Vec::new();
        for (piece, assembly) in &self.open {
            if !assembly.exclusive || assembly.owner == Some(ask.key) || !ask.has.has(*piece) {
                continue;
            }
            let owner = assembly.owner.and_then(|owner| self.peers.get(&owner));
            let owner = owner.and_then(|owner| Some((owner.waiting_since()?, self.usual_wait(owner, ask.now))));
            let idle_from = match owner {
                Some((since, usual)) if assembly.asked() > 0 => (since + usual).min(assembly.opened + DRIPPING),
                // Whoever is asked and gives back again and again touches it too.
                _ => (assembly.touched + IDLE).min(assembly.came + IDLE * 2),
            };
            if idle_from <= ask.now {
                stale.push(*piece);
            } else {
                ask.recheck_at(Some(idle_from));
            }
        }
        for piece in stale {
            self.shirk(piece);
        }
        self.help(ask, |assembly| assembly.owner.is_none());
    }

    /// Endgame: blocks that others are asked for, those first that will come last, and only where they would come sooner
    /// from this peer. Before the endgame only while credit or trust is short, and only what stalled peers owe.
    fn duplicate(&mut self, ask: &mut Ask) {
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
                if endgame || stalled {
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
    fn is_endgame(&self) -> bool {
        !self.open.is_empty()
            && !self.picker.has_obtainable()
            && !self.loose.iter().any(|piece| {
                self.picker.available(*piece) > 0 && self.open.get(piece).is_some_and(|assembly| !assembly.exclusive)
            })
    }

    fn is_fast(&self, key: PeerKey) -> bool {
        let Some((peer, now)) = self.peers.get(&key).zip(self.now) else { return false };
        peer.flow.bps(now).saturating_mul(FAST_FILL_S) >= u64::from(self.geometry.nominal_piece_len())
    }

    /// Twice what a block of this peer takes at its rate, between [`STALLED`] and [`IDLE`], or longer below our own limit.
    fn usual_wait(&self, peer: &Peer, now: Instant) -> Duration {
        let block = (u64::from(BLOCK_LEN) * 2000).checked_div(peer.flow.bps(now)).map(Duration::from_millis);
        block.unwrap_or(STALLED).clamp(STALLED, IDLE).max(self.held_for())
    }

    /// When a peer that owes blocks counts as stalled.
    fn stalled_at(&self, peer: &Peer) -> Option<Instant> {
        peer.waiting_since().map(|since| since + STALLED.max(self.held_for()))
    }

    /// How long our own limit may hold up a block.
    fn held_for(&self) -> Duration {
        self.ceiling.patience(|| self.peers.values().filter(|peer| peer.in_flight > 0).count())
    }
}
