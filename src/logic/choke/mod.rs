//! Whom to give to: the peers that are unchoked (BEP 3).
//!
//! * A free slot unchokes on `interested` at once; a peer that is not interested never holds one (P-11).
//! * Every [`ROUND`] the slots are dealt anew by `rank`: to those who give us most; where nobody gives, as when we have
//!   everything, in turns.
//! * Some slots are optimistic: chance has them, newcomers three times as often, so that those with nothing to give yet get
//!   something to give.
//! * A peer that snubs us has no slot by rank while others wait, and its place goes to chance (anti-snubbing).
//! * How many slots there are follows from what they carry: `slots`.
//!
//! A slot that nobody else wants is refused to nobody. Knows rates, no sockets.

mod rank;
mod slots;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use crate::base::ids::PeerKey;
use rank::{Held, Peer};
use slots::Slots;

pub use rank::Standing;

/// Four slots at least: "the number of simultaneous uploads should be capped" for TCP's sake (BEP 3); four is what its author
/// chose.
pub const SLOTS: usize = 4;

/// 10 s: changes are rarer than that, to avoid fibrillation (BEP 3).
pub const ROUND: Duration = Duration::from_secs(10);

/// Three rounds, 30 s, for the optimistic unchoke (BEP 3).
const OPTIMISTIC_ROUNDS: u32 = 3;

/// One slot in five is optimistic, and at least one (libtorrent's `num_optimistic_unchoke_slots`).
const OPTIMISTIC_SHARE: usize = 5;

/// "New connections are three times as likely to start as the current optimistic unchoke as anywhere else in the rotation"
/// (BEP 3). New is who has never had a slot.
const NEWCOMER_WEIGHT: u32 = 3;

/// What the peers are to be told; only changes come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChokeEffect {
    /// This peer may ask.
    Unchoke(PeerKey),
    /// No more for this one.
    Choke(PeerKey),
}

/// The slots of one torrent.
#[derive(Debug)]
pub struct Choker {
    slots: Slots,
    /// Bytes after which a slot has done its turn.
    quota: u64,
    /// Nobody can give us anything any more.
    seeding: bool,
    dice: SmallRng,
    peers: BTreeMap<PeerKey, Peer>,
    /// The unchoked peers that need not have earned it.
    optimistic: BTreeSet<PeerKey>,
    rounds: u32,
    next_round: Instant,
    outbox: VecDeque<ChokeEffect>,
}

impl Choker {
    /// With at least so many slots, at least 1; [`SLOTS`] unless a person says otherwise. `piece_len` measures the turns.
    pub fn new(now: Instant, slots: usize, piece_len: u32, seed: u64) -> Self {
        Self {
            slots: Slots::new(slots),
            quota: rank::QUOTA_PIECES * u64::from(piece_len),
            seeding: false,
            dice: SmallRng::seed_from_u64(seed),
            peers: BTreeMap::new(),
            optimistic: BTreeSet::new(),
            rounds: 0,
            next_round: now + ROUND,
            outbox: VecDeque::new(),
        }
    }

    /// We have everything: from now on what a peer once gave counts nothing.
    pub fn on_complete(&mut self) {
        self.seeding = true;
    }

    /// A peer says whether it wants anything from us. A free slot is given at once; an unwanted one is freed at once.
    pub fn on_interest(&mut self, now: Instant, peer: PeerKey, interested: bool) {
        self.peers.entry(peer).or_default().interested = interested;
        if !interested {
            self.take_slot(now, peer);
        }
        self.fill(now);
    }

    /// How a peer stands.
    pub fn on_standing(&mut self, peer: PeerKey, standing: Standing) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.standing = standing;
        }
    }

    /// The peer is gone; its slot goes to the next one.
    pub fn on_peer_left(&mut self, now: Instant, peer: PeerKey) {
        self.peers.remove(&peer);
        self.optimistic.remove(&peer);
        self.fill(now);
    }

    /// The timer rang: a round may be over.
    pub fn on_timeout(&mut self, now: Instant) {
        if now < self.next_round {
            return;
        }
        self.next_round = now + ROUND;
        if self.rounds.is_multiple_of(OPTIMISTIC_ROUNDS) {
            self.optimistic.clear();
        }
        self.rounds = self.rounds.wrapping_add(1);
        if self.is_contested() {
            self.slots.on_round(self.holders().map(|(_, peer)| peer.standing.up_bps).collect());
        }
        if self.is_contested() { self.deal(now) } else { self.fill(now) }
    }

    /// The next thing to tell, until there is none.
    pub fn poll(&mut self) -> Option<ChokeEffect> {
        self.outbox.pop_front()
    }

    /// When [`Self::on_timeout`] is due; never while there are slots enough for everybody.
    pub fn deadline(&self) -> Option<Instant> {
        self.is_contested().then_some(self.next_round)
    }

    /// Who may ask now.
    pub fn is_unchoked(&self, peer: PeerKey) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.held.is_some())
    }

    /// How many may ask now.
    pub fn unchoked_count(&self) -> usize {
        self.holders().count()
    }

    /// How many may ask at most, for now.
    pub const fn slots(&self) -> usize {
        self.slots.now()
    }

    fn interested(&self) -> impl Iterator<Item = (PeerKey, &Peer)> {
        self.peers.iter().filter(|(_, peer)| peer.interested).map(|(key, peer)| (*key, peer))
    }

    fn holders(&self) -> impl Iterator<Item = (PeerKey, &Peer)> {
        self.interested().filter(|(_, peer)| peer.held.is_some())
    }

    fn is_contested(&self) -> bool {
        self.interested().count() > self.slots.now()
    }

    /// Who wants a slot, the first to have one first.
    fn ranked(&self, now: Instant) -> Vec<PeerKey> {
        let rank = |(key, peer): (PeerKey, &Peer)| (peer.rank(now, self.quota, self.seeding), key);
        let mut ranked: Vec<_> = self.interested().map(rank).collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, key)| key).collect()
    }

    /// Free slots go to whoever waits.
    fn fill(&mut self, now: Instant) {
        let mut free = self.slots.now().saturating_sub(self.unchoked_count());
        if free == 0 {
            return;
        }
        for key in self.ranked(now) {
            if free > 0 && !self.is_unchoked(key) {
                self.give_slot(now, key);
                free -= 1;
            }
        }
    }

    /// All slots anew; there are more who want one than there are.
    fn deal(&mut self, now: Instant) {
        let ranked = self.ranked(now);
        let by_rank = self.slots.now() - self.optimistic_slots(&ranked);
        let earned = ranked.iter().filter(|key| !self.snubs(**key)).take(by_rank);
        let mut chosen: BTreeSet<_> = earned.copied().collect();
        let lucky = self.draw(&ranked, &chosen);
        chosen.extend(&lucky);
        if self.slots.now() > 1 || !lucky.is_empty() {
            self.optimistic = lucky;
        }
        for key in ranked.iter().filter(|key| !chosen.contains(key)) {
            self.take_slot(now, *key);
        }
        for key in chosen {
            self.give_slot(now, key);
        }
    }

    /// One in five, at least one, and one more for each peer that snubs us; half of all at most. Of a single slot chance has
    /// every third round.
    fn optimistic_slots(&self, ranked: &[PeerKey]) -> usize {
        let slots = self.slots.now();
        if slots == 1 {
            return usize::from(self.optimistic.is_empty());
        }
        let snubbers = ranked.iter().filter(|key| self.snubs(**key)).count();
        ((slots / OPTIMISTIC_SHARE).max(1) + snubbers).min((slots / 2).max(1))
    }

    /// Those who have the slots that rank does not give: who had one of them before as long as its time is not over, and
    /// then whom the dice choose.
    fn draw(&mut self, ranked: &[PeerKey], chosen: &BTreeSet<PeerKey>) -> BTreeSet<PeerKey> {
        let wanted = self.slots.now() - chosen.len();
        let others = ranked.iter().copied().filter(|key| !chosen.contains(key));
        let (kept, mut waiting): (Vec<_>, Vec<_>) = others.partition(|key| self.optimistic.contains(key));
        let mut lucky: BTreeSet<_> = kept.into_iter().take(wanted).collect();
        while lucky.len() < wanted {
            let weigh = |key: &PeerKey| if self.peers[key].is_new() { NEWCOMER_WEIGHT } else { 1 };
            let Ok(key) = waiting.choose_weighted(&mut self.dice, weigh).copied() else { break };
            waiting.retain(|other| *other != key);
            lucky.insert(key);
        }
        lucky
    }

    fn snubs(&self, peer: PeerKey) -> bool {
        !self.seeding && self.peers.get(&peer).is_some_and(|peer| peer.standing.snubs)
    }

    fn give_slot(&mut self, now: Instant, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(&key).filter(|peer| peer.held.is_none()) {
            peer.held = Some(Held { since: now, taken_then: peer.standing.taken });
            self.outbox.push_back(ChokeEffect::Unchoke(key));
        }
    }

    fn take_slot(&mut self, now: Instant, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(&key).filter(|peer| peer.held.is_some()) {
            (peer.held, peer.had_slot_at) = (None, Some(now));
            self.optimistic.remove(&key);
            self.outbox.push_back(ChokeEffect::Choke(key));
        }
    }
}

#[cfg(test)]
mod tests;
