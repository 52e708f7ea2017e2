//! Whom to give to: the peers that are unchoked (BEP 3).
//!
//! * A free slot unchokes on `interested` at once; a peer that is not interested never holds one (P-11).
//! * A slot is for who uses it: while others wait, a peer that asks for nothing loses it, and comes last for a while.
//! * A seed lets newcomers in at once, a few at a time and for one block each: so everybody has something soon, however
//!   slowly the slots go round.
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
use rank::{ChokePeer, Held, IDLE};
use slots::Slots;

pub use rank::UploadStanding;

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

/// Four newcomers are let in at a time, as many as there are slots at least: who has a slot keeps half of the line at
/// least, however many come.
const GREETED: usize = SLOTS;

/// 1 s until a newcomer that asks for nothing makes room for the next: longer than a round trip, and with a view a second
/// 36 that never ask have had their time within some ten seconds.
const GREETING_IDLE: Duration = Duration::from_secs(1);

/// 5 s for its first block: 16 KiB at an eighth of a line of 32 KiB/s.
const GREETING: Duration = Duration::from_secs(5);

/// What the peers are to be told; only changes come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChokeEffect {
    /// This peer may ask.
    Unchoke(PeerKey),
    /// No more for this one.
    Choke(PeerKey),
}

/// Why a peer loses its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// It has had its turn, or wants nothing any more.
    Turn,
    /// Others wait, and it asks for nothing.
    Idle,
    /// It was let in for a block, and has it.
    Greeting,
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
    peers: BTreeMap<PeerKey, ChokePeer>,
    /// How many of them are interested: counted, for it is asked after every change of one of them.
    interested: usize,
    /// How many have a slot; those that are greeted have none.
    holding: usize,
    /// The unchoked peers that need not have earned it.
    optimistic: BTreeSet<PeerKey>,
    /// The unchoked peers that have no slot, but may ask for their first block.
    greeted: BTreeSet<PeerKey>,
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
            interested: 0,
            holding: 0,
            optimistic: BTreeSet::new(),
            greeted: BTreeSet::new(),
            rounds: 0,
            next_round: now + ROUND,
            outbox: VecDeque::new(),
        }
    }

    /// We have everything: from now on what a peer once gave counts nothing.
    pub fn on_complete(&mut self, now: Instant) {
        self.seeding = true;
        self.settle(now);
    }

    /// We lack something again: what peers give counts.
    pub fn on_incomplete(&mut self, now: Instant) {
        self.seeding = false;
        self.settle(now);
    }

    /// A peer says whether it wants anything from us. A free slot is given at once; an unwanted one is freed at once.
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

    /// How a peer stands. One that does not use what it has makes room for others.
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

    /// The peer has taken its first block.
    pub fn on_served(&mut self, now: Instant, peer: PeerKey) {
        if self.greeted.contains(&peer) {
            self.take_slot(now, peer, Loss::Greeting);
            self.settle(now);
        }
    }

    /// The peer is gone; its slot goes to the next one.
    pub fn on_peer_left(&mut self, now: Instant, key: PeerKey) {
        let is_greeted = self.greeted.remove(&key);
        self.optimistic.remove(&key);
        if let Some(peer) = self.peers.remove(&key) {
            self.interested -= usize::from(peer.interested);
            self.holding -= usize::from(peer.held.is_some() && !is_greeted);
        }
        self.settle(now);
    }

    /// The timer rang: a round may be over.
    pub fn on_timeout(&mut self, now: Instant) {
        self.end_greetings(now);
        if now >= self.next_round {
            self.on_round(now);
        }
        self.settle(now);
    }

    /// The next thing to tell, until there is none.
    pub fn poll(&mut self) -> Option<ChokeEffect> {
        self.outbox.pop_front()
    }

    /// When [`Self::on_timeout`] is due; never while there are slots enough for everybody.
    pub fn deadline(&self) -> Option<Instant> {
        let round = self.is_contested().then_some(self.next_round);
        let greetings = self.greeted.iter().filter_map(|key| self.greeting_ends(*key));
        greetings.chain(round).min()
    }

    /// Who may ask now.
    pub fn is_unchoked(&self, peer: PeerKey) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.held.is_some())
    }

    /// How many have a slot now.
    pub const fn holding(&self) -> usize {
        self.holding
    }

    /// How many may have one at most, for now.
    pub const fn slots(&self) -> usize {
        self.slots.now()
    }

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

    /// What follows from the state as it is now.
    fn settle(&mut self, now: Instant) {
        self.reclaim(now);
        self.fill(now);
        self.greet(now);
    }

    fn interested(&self) -> impl Iterator<Item = (PeerKey, &ChokePeer)> {
        self.peers.iter().filter(|(_, peer)| peer.interested).map(|(key, peer)| (*key, peer))
    }

    /// Who has a slot.
    fn holders(&self) -> impl Iterator<Item = (PeerKey, &ChokePeer)> {
        self.interested().filter(|(key, _)| self.has_slot(*key))
    }

    fn has_slot(&self, key: PeerKey) -> bool {
        self.is_unchoked(key) && !self.greeted.contains(&key)
    }

    const fn is_contested(&self) -> bool {
        self.interested > self.slots.now()
    }

    /// Who wants a slot, the first to have one first.
    fn ranked(&self, now: Instant) -> Vec<PeerKey> {
        let rank = |(key, peer): (PeerKey, &ChokePeer)| (peer.rank(now, self.quota, self.seeding), key);
        let mut ranked: Vec<_> = self.interested().map(rank).collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, key)| key).collect()
    }

    /// Takes the slots of those that do not use them, as many as are wanted by others. Who gives us something is left alone.
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

    /// Free slots go to whoever waits.
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

    /// Lets in who has never been, for one block: who came first, first.
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

    fn greeting_ends(&self, key: PeerKey) -> Option<Instant> {
        self.peers.get(&key)?.held.map(|held| held.since + GREETING)
    }

    fn end_greetings(&mut self, now: Instant) {
        let is_over = |key: &PeerKey| self.greeting_ends(*key).is_some_and(|end| end <= now);
        let over: Vec<_> = self.greeted.iter().copied().filter(is_over).collect();
        for key in over {
            self.take_slot(now, key, Loss::Greeting);
        }
    }

    /// All slots anew; there are more who want one than there are.
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
    /// then whom the dice choose; those that wasted a slot only where nobody else waits.
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

    fn snubs(&self, peer: PeerKey) -> bool {
        !self.seeding && self.peers.get(&peer).is_some_and(|peer| peer.standing.snubs)
    }

    /// A slot; whoever is greeted has been unchoked already.
    fn give_slot(&mut self, now: Instant, key: PeerKey) {
        if !self.has_slot(key) && self.peers.contains_key(&key) {
            self.holding += 1;
            if !self.greeted.remove(&key) {
                self.unchoke(now, key);
            }
        }
    }

    fn unchoke(&mut self, now: Instant, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(&key).filter(|peer| peer.held.is_none()) {
            let taken_then = peer.standing.taken;
            peer.held = Some(Held { since: now, taken_then, used: now, was_used: false });
            peer.was_greeted |= self.seeding;
            self.outbox.push_back(ChokeEffect::Unchoke(key));
        }
    }

    /// Of whoever is unchoked.
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
