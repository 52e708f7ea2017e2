//! The choker: decides which peers are unchoked (BEP 3).
//!
//! * A free slot is given on `interested` at once. A peer that is not interested never holds one (P-11).
//! * While other peers wait, a peer that has a slot and requests nothing loses it and ranks last for a while.
//! * A seed greets newcomers: it unchokes a few of them at a time for one block each, so that every peer has something
//!   soon, however slowly the slots rotate.
//! * Every [`ROUND`] the slots are dealt again by `rank`: to the peers that upload most to us, or in turns where no
//!   peer uploads to us, as when we seed.
//! * Some slots are optimistic: they are drawn at random, newcomers with three times the weight, so that peers with
//!   nothing to upload yet get something.
//! * A peer that snubs us has no slot by rank while others wait, and its place is drawn at random (anti-snubbing).
//! * The number of slots follows from their rates: `slots`.
//!
//! While there is a slot for every interested peer, all of them are unchoked. The choker knows rates and no sockets.

mod rank;
mod slots;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use crate::base::ids::PeerKey;
use rank::{ChokePeer, Held, IDLE};
use slots::Slots;

pub use rank::UploadStanding;

/// At least four slots: "the number of simultaneous uploads should be capped" for TCP's sake (BEP 3), and four is the
/// choice of BEP 3's author.
pub const SLOTS: usize = 4;

/// 10 s: changes are rarer than that, to avoid fibrillation (BEP 3).
pub const ROUND: Duration = Duration::from_secs(10);

/// Three rounds, 30 s, for the optimistic unchoke (BEP 3).
const OPTIMISTIC_ROUNDS: u32 = 3;

/// One slot in five is optimistic, and at least one (libtorrent's `num_optimistic_unchoke_slots`).
const OPTIMISTIC_SHARE: usize = 5;

/// "New connections are three times as likely to start as the current optimistic unchoke as anywhere else in the
/// rotation" (BEP 3). A peer is new if it has never had a slot.
const NEWCOMER_WEIGHT: u32 = 3;

/// Four newcomers are greeted at a time, at most as many as there are slots: peers with a slot keep at least half of
/// the upload rate, however many newcomers there are.
const GREETED: usize = SLOTS;

/// A newcomer that requests nothing for 1 s loses its greeting. This is longer than a round trip, and 36 newcomers
/// that never request anything have had their time within some ten seconds.
const GREETING_IDLE: Duration = Duration::from_secs(1);

/// A greeting lasts at most 5 s: time for a block of 16 KiB at an eighth of a line of 32 KiB/s.
const GREETING: Duration = Duration::from_secs(5);

/// A message to send to a peer. Only changes are emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChokeEffect {
    /// Unchoke this peer.
    Unchoke(PeerKey),
    /// Choke this peer.
    Choke(PeerKey),
}

/// Why a peer loses its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// The turn of the peer is over, or it is not interested any more.
    Turn,
    /// The peer requests nothing while others wait.
    Idle,
    /// The peer was greeted, and has its block or its time is over.
    Greeting,
}

/// The choker of one torrent.
#[derive(Debug)]
pub struct Choker {
    slots: Slots,
    /// Bytes after which a peer has used up its turn.
    quota: u64,
    /// We have every wanted piece, so uploads to us do not count.
    seeding: bool,
    dice: SmallRng,
    peers: BTreeMap<PeerKey, ChokePeer>,
    /// The number of interested peers. Kept as a count, since it is read after every change.
    interested: usize,
    /// The number of peers with a slot. Greeted peers have none.
    holding: usize,
    /// The peers whose slots were drawn at random.
    optimistic: BTreeSet<PeerKey>,
    /// The newcomers that are unchoked for their first block and have no slot.
    greeted: BTreeSet<PeerKey>,
    /// The number of rounds so far.
    rounds: u32,
    /// When the next round is due.
    next_round: Instant,
    /// Effects that [`Self::poll`] has not returned yet.
    outbox: VecDeque<ChokeEffect>,
}

impl Choker {
    /// A choker with at least `slots` slots, at least 1; [`SLOTS`] unless the user sets it. `piece_len` is the length
    /// of a piece in bytes and measures the turns.
    pub fn new(now: Instant, slots: usize, piece_len: u32, seed: u64) -> Self {
        Self {
            slots: Slots::new(slots),
            quota: rank::QUOTA_PIECES * u64::from(piece_len),
            seeding: false,
            dice: SmallRng::seed_from_u64(seed),
            peers: BTreeMap::new(),
            interested: 0,
            holding: 0,
            optimistic: BTreeSet::new(),
            greeted: BTreeSet::new(),
            rounds: 0,
            next_round: now + ROUND,
            outbox: VecDeque::new(),
        }
    }

    /// We have every wanted piece: from now on uploads to us do not count.
    pub fn on_complete(&mut self, now: Instant) {
        self.seeding = true;
        self.settle(now);
    }

    /// We lack a wanted piece again: uploads to us count.
    pub fn on_incomplete(&mut self, now: Instant) {
        self.seeding = false;
        self.settle(now);
    }

    /// The peer becomes interested or not interested. A free slot is given to it at once; its own slot is freed at
    /// once.
    pub fn on_interest(&mut self, now: Instant, peer: PeerKey, interested: bool) {
        let was_interested = std::mem::replace(&mut self.peers.entry(peer).or_default().interested, interested);
        match (was_interested, interested) {
            (false, true) => self.interested += 1,
            (true, false) => {
                self.take_slot(now, peer, Loss::Turn);
                self.interested -= 1;
            }
            _ => return,
        }
        self.settle(now);
    }

    /// The present rates of a peer. If it does not use its slot, other peers may get it.
    pub fn on_standing(&mut self, now: Instant, key: PeerKey, standing: UploadStanding) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.on_standing(now, standing);
        let is_greeted = self.greeted.contains(&key);
        if is_greeted && peer.is_idle(GREETING_IDLE) {
            self.take_slot(now, key, Loss::Idle);
            self.settle(now);
        } else if !is_greeted && peer.is_idle(IDLE) && self.is_contested() {
            self.settle(now);
        }
    }

    /// The peer has received its first block: its greeting ends.
    pub fn on_served(&mut self, now: Instant, peer: PeerKey) {
        if self.greeted.contains(&peer) {
            self.take_slot(now, peer, Loss::Greeting);
            self.settle(now);
        }
    }

    /// The peer has left. Its slot is given to the next peer.
    pub fn on_peer_left(&mut self, now: Instant, key: PeerKey) {
        let is_greeted = self.greeted.remove(&key);
        self.optimistic.remove(&key);
        if let Some(peer) = self.peers.remove(&key) {
            self.interested -= usize::from(peer.interested);
            self.holding -= usize::from(peer.held.is_some() && !is_greeted);
        }
        self.settle(now);
    }

    /// Ends greetings and the round if they are over. Call it at [`Self::deadline`].
    pub fn on_timeout(&mut self, now: Instant) {
        self.end_greetings(now);
        if now >= self.next_round {
            self.on_round(now);
        }
        self.settle(now);
    }

    /// Returns the next message to send, or `None`.
    pub fn poll(&mut self) -> Option<ChokeEffect> {
        self.outbox.pop_front()
    }

    /// When to call [`Self::on_timeout`]. `None` while there is a slot for every interested peer and no greeting runs.
    pub fn deadline(&self) -> Option<Instant> {
        let round = self.is_contested().then_some(self.next_round);
        let greetings = self.greeted.iter().filter_map(|key| self.greeting_ends(*key));
        greetings.chain(round).min()
    }

    /// Whether the peer is unchoked.
    pub fn is_unchoked(&self, peer: PeerKey) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.held.is_some())
    }

    /// The number of peers with a slot.
    pub const fn holding(&self) -> usize {
        self.holding
    }

    /// The present number of slots.
    pub const fn slots(&self) -> usize {
        self.slots.now()
    }

    /// Adapts the number of slots and deals them again.
    fn on_round(&mut self, now: Instant) {
        self.next_round = now + ROUND;
        if self.rounds.is_multiple_of(OPTIMISTIC_ROUNDS) {
            self.optimistic.clear();
        }
        self.rounds = self.rounds.wrapping_add(1);
        if self.is_contested() {
            self.slots.on_round(self.holders().map(|(_, peer)| peer.standing.up_bps).collect());
        }
        if self.is_contested() {
            self.reclaim(now);
            self.deal(now);
        }
    }

    /// Applies the rules that do not wait for a round.
    fn settle(&mut self, now: Instant) {
        self.reclaim(now);
        self.fill(now);
        self.greet(now);
    }

    /// The interested peers.
    fn interested(&self) -> impl Iterator<Item = (PeerKey, &ChokePeer)> {
        self.peers.iter().filter(|(_, peer)| peer.interested).map(|(key, peer)| (*key, peer))
    }

    /// The peers with a slot.
    fn holders(&self) -> impl Iterator<Item = (PeerKey, &ChokePeer)> {
        self.interested().filter(|(key, _)| self.has_slot(*key))
    }

    /// Whether the peer has a slot. A greeted peer has none.
    fn has_slot(&self, key: PeerKey) -> bool {
        self.is_unchoked(key) && !self.greeted.contains(&key)
    }

    /// Whether there are more interested peers than slots.
    const fn is_contested(&self) -> bool {
        self.interested > self.slots.now()
    }

    /// The interested peers, the first to get a slot first.
    fn ranked(&self, now: Instant) -> Vec<PeerKey> {
        let rank = |(key, peer): (PeerKey, &ChokePeer)| (peer.rank(now, self.quota, self.seeding), key);
        let mut ranked: Vec<_> = self.interested().map(rank).collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, key)| key).collect()
    }

    /// Takes slots from peers that do not use them, as many as there are waiting peers. A peer that uploads to us
    /// keeps its slot.
    fn reclaim(&mut self, now: Instant) {
        if !self.is_contested() {
            return;
        }
        let waits = |(key, peer): &(PeerKey, &ChokePeer)| !self.has_slot(*key) && !peer.is_last(now);
        let waiting = self.interested().filter(waits).count();
        let gives = |peer: &ChokePeer| !self.seeding && peer.standing.down_bps > 0;
        let idle = self.holders().filter(|(_, peer)| peer.is_idle(IDLE) && !gives(peer));
        let mut idle: Vec<_> = idle.filter_map(|(key, peer)| Some((peer.held?.used, key))).collect();
        idle.sort_unstable();
        for (_, key) in idle.into_iter().take(waiting) {
            self.take_slot(now, key, Loss::Idle);
        }
    }

    /// Gives free slots to the waiting peers, in the order of their rank.
    fn fill(&mut self, now: Instant) {
        let mut free = self.slots.now().saturating_sub(self.holding);
        if free == 0 || self.interested == self.holding {
            return;
        }
        for key in self.ranked(now) {
            if free > 0 && !self.has_slot(key) {
                self.give_slot(now, key);
                free -= 1;
            }
        }
    }

    /// Greets interested newcomers that were never greeted, in the order of their keys.
    fn greet(&mut self, now: Instant) {
        let room = GREETED.saturating_sub(self.greeted.len());
        if !self.seeding || room == 0 || self.interested <= self.holding + self.greeted.len() {
            return;
        }
        let is_new = |(_, peer): &(PeerKey, &ChokePeer)| peer.is_new() && !peer.was_greeted;
        let next: Vec<_> = self.interested().filter(is_new).map(|(key, _)| key).take(room).collect();
        for key in next {
            self.greeted.insert(key);
            self.unchoke(now, key);
        }
    }

    /// When the greeting of a peer ends at the latest.
    fn greeting_ends(&self, key: PeerKey) -> Option<Instant> {
        self.peers.get(&key)?.held.map(|held| held.since + GREETING)
    }

    /// Chokes the peers whose greeting is over.
    fn end_greetings(&mut self, now: Instant) {
        let is_over = |key: &PeerKey| self.greeting_ends(*key).is_some_and(|end| end <= now);
        let over: Vec<_> = self.greeted.iter().copied().filter(is_over).collect();
        for key in over {
            self.take_slot(now, key, Loss::Greeting);
        }
    }

    /// Deals all slots again. Called when there are more interested peers than slots.
    fn deal(&mut self, now: Instant) {
        let ranked = self.ranked(now);
        let by_rank = self.slots.now() - self.optimistic_slots(&ranked);
        let earned = ranked.iter().filter(|key| !self.snubs(**key)).take(by_rank);
        let mut chosen: BTreeSet<_> = earned.copied().collect();
        let lucky = self.draw(now, &ranked, &chosen);
        chosen.extend(&lucky);
        if self.slots.now() > 1 || !lucky.is_empty() {
            self.optimistic = lucky;
        }
        for key in ranked.iter().filter(|key| !chosen.contains(key)) {
            if self.has_slot(*key) {
                self.take_slot(now, *key, Loss::Turn);
            }
        }
        for key in chosen {
            self.give_slot(now, key);
        }
    }

    /// The number of optimistic slots: one in five, at least one, one more for each peer that snubs us, and at most
    /// half of all. A single slot is optimistic every third round.
    fn optimistic_slots(&self, ranked: &[PeerKey]) -> usize {
        let slots = self.slots.now();
        if slots == 1 {
            return usize::from(self.optimistic.is_empty());
        }
        let snubbers = ranked.iter().filter(|key| self.snubs(**key)).count();
        ((slots / OPTIMISTIC_SHARE).max(1) + snubbers).min((slots / 2).max(1))
    }

    /// The peers that get the optimistic slots: first those whose optimistic unchoke is not over, then others drawn at
    /// random. Peers that wasted a slot are drawn only if no other peer waits.
    fn draw(&mut self, now: Instant, ranked: &[PeerKey], chosen: &BTreeSet<PeerKey>) -> BTreeSet<PeerKey> {
        let wanted = self.slots.now() - chosen.len();
        let others = ranked.iter().copied().filter(|key| !chosen.contains(key));
        let (kept, waiting): (Vec<_>, Vec<_>) = others.partition(|key| self.optimistic.contains(key));
        let mut lucky: BTreeSet<_> = kept.into_iter().take(wanted).collect();
        let (wasters, mut waiting): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|key| self.peers[key].is_last(now));
        while lucky.len() < wanted {
            let weigh = |key: &PeerKey| if self.peers[key].is_new() { NEWCOMER_WEIGHT } else { 1 };
            let Ok(key) = waiting.choose_weighted(&mut self.dice, weigh).copied() else { break };
            waiting.retain(|other| *other != key);
            lucky.insert(key);
        }
        let missing = wanted - lucky.len();
        lucky.extend(wasters.into_iter().take(missing));
        lucky
    }

    /// Whether the peer snubs us. While we seed no peer does.
    fn snubs(&self, peer: PeerKey) -> bool {
        !self.seeding && self.peers.get(&peer).is_some_and(|peer| peer.standing.snubs)
    }

    /// Gives the peer a slot. A greeted peer is unchoked already.
    fn give_slot(&mut self, now: Instant, key: PeerKey) {
        if !self.has_slot(key) && self.peers.contains_key(&key) {
            self.holding += 1;
            if !self.greeted.remove(&key) {
                self.unchoke(now, key);
            }
        }
    }

    /// Unchokes the peer if it is choked.
    fn unchoke(&mut self, now: Instant, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(&key).filter(|peer| peer.held.is_none()) {
            let taken_then = peer.standing.taken;
            peer.held = Some(Held { since: now, taken_then, used: now, was_used: false });
            peer.was_greeted |= self.seeding;
            self.outbox.push_back(ChokeEffect::Unchoke(key));
        }
    }

    /// Chokes the peer, if it is unchoked.
    fn take_slot(&mut self, now: Instant, key: PeerKey, loss: Loss) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let Some(held) = peer.held.take() else { return };
        if loss == Loss::Idle && !held.was_used {
            peer.wasted = peer.wasted.saturating_add(1);
        }
        if loss != Loss::Greeting {
            peer.had_slot_at = Some(now);
        }
        self.optimistic.remove(&key);
        self.holding -= usize::from(!self.greeted.remove(&key));
        self.outbox.push_back(ChokeEffect::Choke(key));
    }
}

#[cfg(test)]
mod tests;
