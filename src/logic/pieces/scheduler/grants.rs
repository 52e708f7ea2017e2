//! Answers asks: decides in which order a peer is given work.
//!
//! A peer is given, in this order: blocks of the piece that it is filling; failed pieces as a whole; open pieces
//! without an owner. Then a fast peer opens a piece of its own, and a slow peer helps with another peer's piece. If no
//! other work is left: the [endgame](super::endgame).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::open_pieces::{BlockRequest, Requested};
use super::peer::SchedulerPeer;
use super::{Scheduler, SchedulerEffect};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{BLOCK_LEN, BlockAddr, PieceIndex};
use crate::base::ids::PeerKey;
use crate::logic::pieces::assembly::Assembly;
use crate::logic::pieces::suspects::FORGIVEN_AFTER;

/// Four pieces at random, then the rarest: as in Cohen's paper and in libtorrent.
const RANDOM_PIECES: u32 = 4;

/// A peer that fills a piece within 20 s fills it alone: fewer senders of one piece are fewer suspects. Picked by eye.
const FAST_FILL_S: u64 = 20;

/// 6 s without a request or a block: an open piece may be taken from its owner, or closed to free its credit. Longer
/// than the rest of a returned block, so that the piece was offered to every peer before.
const IDLE: Duration = Duration::from_secs(6);

/// 2 s without a block from a peer that owes some: while credit is short, its blocks are requested from other peers
/// too. Thirty silent peers must not hold all credit with thirty open pieces (P-12).
const STALLED: Duration = Duration::from_secs(2);

/// 100 ms until a failed piece that was left to a faster peer is offered again. The faster peer has been served by
/// then.
const HAND_OVER: Duration = Duration::from_millis(100);

/// 60 s: an exclusive piece whose owner delivers slowly may be started again by a peer that has no other work.
const DRIPPING: Duration = Duration::from_secs(60);

/// The ask of one peer while it is being answered.
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one ask")]
pub(super) struct GrantRequest {
    /// The asking peer.
    pub(super) key: PeerKey,
    /// Its address.
    addr: SocketAddr,
    /// The pieces that it may be asked for.
    pub(super) has: Arc<Bitfield>,
    /// The most blocks to grant.
    want: usize,
    /// The time of the ask.
    pub(super) now: Instant,
    /// The blocks granted so far.
    pub(super) blocks: Vec<BlockAddr>,
    /// The peer is under suspicion and works on pieces of its own only.
    probation: bool,
    /// The peer is a seed, and some pieces are held by seeds only: these come first, and open pieces that other peers
    /// have can wait. Otherwise a lone slow seed uploads every third piece twice, and the swarm waits for it.
    rare_first: bool,
    /// Work was withheld because no credit is left.
    pub(super) short_of_credit: bool,
    /// Work was withheld until some piece of this peer is verified.
    pub(super) short_of_trust: bool,
    /// A failed piece could come from this peer but waits for credit.
    suspect_waits: bool,
    /// The earliest time at which withheld work can be granted.
    recheck: Option<Instant>,
}

impl GrantRequest {
    pub(super) fn left(&self) -> usize {
        self.want - self.blocks.len()
    }

    fn is_full(&self) -> bool {
        self.left() == 0
    }

    /// The request for free blocks of a piece. `alone`: no other peer has the piece.
    fn request(&mut self, alone: bool) -> BlockRequest<'_> {
        BlockRequest { peer: self.key, most: self.left(), alone, now: self.now, blocks: &mut self.blocks }
    }

    pub(super) fn recheck_at(&mut self, at: Option<Instant>) {
        self.recheck = self.recheck.into_iter().chain(at).min();
    }
}

impl Scheduler {
    /// Grants work to every waiting peer that a change may help, and emits the cancels that have been collected.
    pub(super) fn settle(&mut self, now: Instant) {
        self.now = Some(now);
        loop {
            self.outbox.flush_cancels(&self.peers);
            let endgame = self.is_endgame();
            self.stirred |= endgame && !self.endgame;
            self.endgame = endgame;
            self.stirred |= self.rate_cap.lets_in(self.pieces.in_flight());
            if !std::mem::take(&mut self.stirred) {
                break self.held_up.set(now, self.is_held_up());
            }
            self.recheck = None;
            for key in self.peers.in_turn() {
                self.serve(now, key);
            }
        }
    }

    /// Grants as much of a peer's ask as possible. The rest stays in `waiting`.
    pub(super) fn serve(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get(key).filter(|peer| peer.want > 0 && !self.paused) else { return };
        let wanted = peer.want;
        let want = self.rate_cap.room(self.pieces.in_flight(), wanted) as usize;
        if want == 0 {
            return self.rate_cap.on_held_back();
        }
        let mut ask = GrantRequest {
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
            self.rate_cap.on_held_back();
        }
        self.pieces.on_granted(granted);
        if let Some(peer) = self.peers.get_mut(key) {
            peer.on_granted(now, granted);
            if peer.want == 0 {
                self.peers.stop_waiting(key);
                ask.recheck = None;
            }
        }
        self.recheck = self.recheck.into_iter().chain(ask.recheck).min();
        self.outbox.flush_cancels(&self.peers);
        if granted > 0 {
            self.peers.on_served(key);
            self.outbox.push(SchedulerEffect::Grant { peer: key, blocks: ask.blocks });
        }
    }

    /// Collects blocks for the ask from all sources of work, in the order that the head of this file states.
    fn find_work(&mut self, ask: &mut GrantRequest) {
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

    /// Grants more of the piece that the peer is filling.
    fn go_on(&mut self, ask: &mut GrantRequest) {
        let Some(peer) = self.peers.get(ask.key) else { return };
        if let Some(piece) = peer.current
            && self.pieces.get(piece).is_some_and(|a| a.owner == Some(ask.key) || !(a.exclusive || ask.probation))
        {
            self.ask_for(piece, ask);
        }
    }

    /// Grants failed pieces, each as a whole to a peer whose copy has not failed yet.
    fn retry_suspects(&mut self, ask: &mut GrantRequest) {
        let failed: Vec<(PieceIndex, Instant)> =
            self.suspects.pieces().filter(|(piece, _)| ask.has.has(*piece) && !self.pieces.has(*piece)).collect();
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
                if !self.pieces.fits(piece) {
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

    /// Whether a faster peer waits for work that may send this piece. A failed piece comes from one peer as a whole,
    /// so the fastest one is preferred.
    fn a_faster_one_waits(&self, piece: PieceIndex, ask: &GrantRequest) -> bool {
        let bps = |peer: &SchedulerPeer| peer.flow.bps(ask.now);
        let mine = self.peers.get(ask.key).map_or(0, bps);
        let may = |peer: &&SchedulerPeer| {
            let is_spent = self.suspects.is_shirker(piece, peer.addr) || self.suspects.was_tried(piece, peer.addr);
            peer.has.has(piece) && !is_spent && self.trusts(peer, piece)
        };
        self.peers.waiting().filter(may).any(|peer| bps(peer) > mine)
    }

    /// Grants free blocks of the open pieces for which `wanted` returns true.
    fn help(&mut self, ask: &mut GrantRequest, wanted: impl Fn(&Assembly) -> bool) {
        if ask.is_full() || self.pieces.has_no_loose() {
            return;
        }
        let mine = |assembly: &Assembly| !assembly.exclusive || assembly.owner == Some(ask.key);
        let in_turn = |piece: PieceIndex| !(ask.rare_first && self.picker.is_passed_on(piece));
        let pieces = self.pieces.loose().filter(|piece| ask.has.has(*piece) && in_turn(*piece));
        let pieces: Vec<PieceIndex> =
            pieces.filter(|piece| self.pieces.get(*piece).is_some_and(|a| mine(a) && wanted(a))).collect();
        for piece in pieces {
            if ask.is_full() {
                return;
            }
            self.ask_for(piece, ask);
        }
    }

    /// Opens new pieces. A peer that can take several small ones at once is given neighbours.
    fn open_pieces(&mut self, ask: &mut GrantRequest) {
        let mut before = None;
        while !ask.is_full() {
            if self.pieces.is_credit_spent() {
                ask.short_of_credit = true;
                return;
            }
            let Some(peer) = self.peers.get_mut(ask.key) else { return };
            if !peer.trust.has_room(self.geometry.nominal_piece_len(), ask.probation) {
                ask.short_of_trust = true;
                return;
            }
            let random = self.own.have().ones() < RANDOM_PIECES;
            let picked = if random {
                self.picker.pick_random(&ask.has, &mut peer.shortlist, &mut self.dice)
            } else {
                let behind = before.and_then(|before| self.picker.pick_behind(before, &ask.has));
                behind.or_else(|| self.picker.pick(&ask.has, &mut peer.shortlist, &mut self.dice))
            };
            let Some(piece) = picked else { return };
            before = Some(piece);
            self.open_piece(piece, ask.probation, ask);
        }
    }

    /// Whether peers wait for work that exists and that only lacks the credit held by pieces in writing.
    fn is_held_up(&self) -> bool {
        self.pieces.writing_count() > 0
            && self.peers.waiting_count() > 0
            && self.pieces.is_credit_spent()
            && self.picker.has_obtainable()
            && !self.paused
    }

    /// Opens a piece for a peer that its trust admits to it.
    fn open_piece(&mut self, piece: PieceIndex, exclusive: bool, ask: &mut GrantRequest) {
        let alone = self.picker.available(piece) <= 1;
        let requested = self.pieces.open(piece, exclusive, ask.request(alone));
        self.on_requested(piece, requested, ask);
    }

    /// Grants free blocks of one open piece.
    fn ask_for(&mut self, piece: PieceIndex, ask: &mut GrantRequest) {
        if !self.admits(ask.key, piece) {
            ask.short_of_trust = true;
            return;
        }
        let alone = self.picker.available(piece) <= 1;
        if let Some(requested) = self.pieces.request(piece, ask.request(alone)) {
            self.on_requested(piece, requested, ask);
        }
    }

    /// Notes that the peer was asked for blocks of the piece.
    fn on_requested(&mut self, piece: PieceIndex, requested: Requested, ask: &mut GrantRequest) {
        ask.recheck_at(requested.rests_until);
        if let Some(peer) = self.peers.get_mut(ask.key).filter(|_| requested.count > 0) {
            peer.current = requested.left.then_some(piece);
            peer.trust.begin(piece);
        }
    }

    /// Closes an open piece with no outstanding request, so that its credit serves this ask. Returns whether it closed
    /// one.
    fn evict_for(&mut self, ask: &mut GrantRequest) -> bool {
        let mut victim: Option<(u32, PieceIndex)> = None;
        for piece in self.pieces.loose() {
            let Some(assembly) = self.pieces.get(piece).filter(|assembly| assembly.asked() == 0) else { continue };
            let idle_from = assembly.touched + IDLE;
            if self.picker.available(piece) > 0 && ask.now < idle_from {
                ask.recheck_at(Some(idle_from));
            } else {
                let candidate = (assembly.got(), piece);
                victim = Some(victim.map_or(candidate, |least| least.min(candidate)));
            }
        }
        let useful = ask.suspect_waits || self.picker.has_any_of(&ask.has);
        if let Some((_, piece)) = victim.filter(|_| useful) {
            self.close(piece);
        }
        victim.is_some() && useful
    }

    /// Lets a peer that has no other work take over exclusive pieces whose owner delivers nothing or too little.
    fn take_over(&mut self, ask: &mut GrantRequest) {
        let mut stale = Vec::new();
        for (piece, assembly) in self.pieces.iter() {
            if !assembly.exclusive || assembly.owner == Some(ask.key) || !ask.has.has(piece) {
                continue;
            }
            let owner = assembly.owner.and_then(|owner| self.peers.get(owner));
            let owner = owner.and_then(|owner| Some((owner.waiting_since()?, self.usual_wait(owner, ask.now))));
            let idle_from = match owner {
                Some((since, usual)) if assembly.asked() > 0 => (since + usual).min(assembly.opened + DRIPPING),
                // An owner that is asked and gives blocks back over and over updates `touched` as well, so `came` is a
                // limit too.
                _ => (assembly.touched + IDLE).min(assembly.came + IDLE * 2),
            };
            if idle_from <= ask.now {
                stale.push(piece);
            } else {
                ask.recheck_at(Some(idle_from));
            }
        }
        for piece in stale {
            self.shirk(piece);
        }
        self.help(ask, |assembly| assembly.owner.is_none());
    }

    /// Whether the peer fills a piece of the usual size within [`FAST_FILL_S`] seconds.
    pub(super) fn is_fast(&self, key: PeerKey) -> bool {
        let Some((peer, now)) = self.peers.get(key).zip(self.now) else { return false };
        peer.flow.bps(now).saturating_mul(FAST_FILL_S) >= u64::from(self.geometry.nominal_piece_len())
    }

    /// Twice the time that a block takes at this peer's rate, between [`STALLED`] and [`IDLE`]. Longer while our own
    /// download limit holds blocks up.
    pub(super) fn usual_wait(&self, peer: &SchedulerPeer, now: Instant) -> Duration {
        let block = (u64::from(BLOCK_LEN) * 2000).checked_div(peer.flow.bps(now)).map(Duration::from_millis);
        block.unwrap_or(STALLED).clamp(STALLED, IDLE).max(self.held_for())
    }

    /// When a peer that owes blocks counts as stalled. `None` if it owes none.
    pub(super) fn stalled_at(&self, peer: &SchedulerPeer) -> Option<Instant> {
        peer.waiting_since().map(|since| since + STALLED.max(self.held_for()))
    }

    /// How long our own download limit may hold up a block.
    fn held_for(&self) -> Duration {
        self.rate_cap.patience(|| self.peers.iter().filter(|(_, peer)| peer.in_flight > 0).count())
    }
}
