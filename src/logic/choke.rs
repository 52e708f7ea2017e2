//! Whom to give to: the peers that are unchoked (BEP 3).
//!
//! Simple on purpose: a free slot unchokes on `interested` at once; every [`ROUND`] the slots are dealt anew to those who
//! give us most, or, once we have everything, to those who take fastest, and one slot rotates through the others so that
//! newcomers get their chance. A peer that is not interested never holds a slot (P-11). Knows rates, no sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::base::ids::PeerKey;

/// Four slots: "the number of simultaneous uploads should be capped" for TCP's sake (BEP 3); four is what its author chose.
pub const SLOTS: usize = 4;

/// 10 s: changes are rarer than that, to avoid fibrillation (BEP 3).
pub const ROUND: Duration = Duration::from_secs(10);

/// Three rounds, 30 s, for the optimistic unchoke (BEP 3).
const OPTIMISTIC_ROUNDS: u32 = 3;

/// What the peers are to be told; only changes come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChokeEffect {
    /// This peer may ask.
    Unchoke(PeerKey),
    /// No more for this one.
    Choke(PeerKey),
}

#[derive(Debug, Default)]
struct Peer {
    interested: bool,
    /// Bytes a second: given to us, or taken from us when we have everything.
    rate: u64,
}

/// The slots of one torrent.
#[derive(Debug)]
pub struct Choker {
    slots: usize,
    dice: SmallRng,
    peers: BTreeMap<PeerKey, Peer>,
    unchoked: BTreeSet<PeerKey>,
    /// The unchoked peer that need not have earned it.
    optimistic: Option<PeerKey>,
    rounds: u32,
    next_round: Instant,
    outbox: VecDeque<ChokeEffect>,
}

impl Choker {
    /// With so many slots, at least 1; [`SLOTS`] unless a person says otherwise.
    pub fn new(now: Instant, slots: usize, seed: u64) -> Self {
        Self {
            slots: slots.max(1),
            dice: SmallRng::seed_from_u64(seed),
            peers: BTreeMap::new(),
            unchoked: BTreeSet::new(),
            optimistic: None,
            rounds: 0,
            next_round: now + ROUND,
            outbox: VecDeque::new(),
        }
    }

    /// A peer says whether it wants anything from us. A free slot is given at once; an unwanted one is freed at once.
    pub fn on_interest(&mut self, peer: PeerKey, interested: bool) {
        self.peers.entry(peer).or_default().interested = interested;
        if !interested {
            self.take_slot(peer);
        }
        self.fill();
    }

    /// The latest rate of a peer, in bytes a second: what it gives us, or what it takes when we have everything.
    pub fn on_rate(&mut self, peer: PeerKey, rate_bps: u64) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.rate = rate_bps;
        }
    }

    /// The peer is gone; its slot goes to the next one.
    pub fn on_peer_left(&mut self, peer: PeerKey) {
        self.peers.remove(&peer);
        self.unchoked.remove(&peer);
        self.optimistic.take_if(|optimistic| *optimistic == peer);
        self.fill();
    }

    /// The timer rang: a round may be over.
    pub fn on_timeout(&mut self, now: Instant) {
        if now < self.next_round {
            return;
        }
        self.next_round = now + ROUND;
        let rotates = self.rounds.is_multiple_of(OPTIMISTIC_ROUNDS);
        self.rounds = self.rounds.wrapping_add(1);
        if rotates {
            self.optimistic = None;
        }
        self.deal();
    }

    /// The next thing to tell, until there is none.
    pub fn poll(&mut self) -> Option<ChokeEffect> {
        self.outbox.pop_front()
    }

    /// When [`Self::on_timeout`] is due; never while there are slots enough for everybody.
    pub fn deadline(&self) -> Option<Instant> {
        (self.interested().count() > self.slots).then_some(self.next_round)
    }

    /// Who may ask now.
    pub fn is_unchoked(&self, peer: PeerKey) -> bool {
        self.unchoked.contains(&peer)
    }

    /// How many may ask now.
    pub fn unchoked_count(&self) -> usize {
        self.unchoked.len()
    }

    fn interested(&self) -> impl Iterator<Item = (PeerKey, &Peer)> {
        self.peers.iter().filter(|(_, peer)| peer.interested).map(|(key, peer)| (*key, peer))
    }

    /// Free slots go to whoever waits, the fastest first.
    fn fill(&mut self) {
        while self.unchoked.len() < self.slots {
            let waiting = self.interested().filter(|(key, _)| !self.unchoked.contains(key));
            let Some((key, _)) = waiting.max_by_key(|(key, peer)| (peer.rate, std::cmp::Reverse(*key))) else { return };
            self.give_slot(key);
        }
    }

    /// All slots anew: the fastest, and one optimistic.
    fn deal(&mut self) {
        let mut ranked: Vec<_> = self.interested().map(|(key, peer)| (std::cmp::Reverse(peer.rate), key)).collect();
        if ranked.len() <= self.slots {
            return self.fill();
        }
        ranked.sort_unstable();
        // With one slot alone there is none to spare, but now and then the optimistic one has it.
        let earned = if self.slots > 1 { self.slots - 1 } else { usize::from(self.optimistic.is_some()) };
        let mut chosen: BTreeSet<_> = ranked.iter().take(earned).map(|(_, key)| *key).collect();
        let others: Vec<_> = ranked.iter().skip(earned).map(|(_, key)| *key).collect();
        let kept = self.optimistic.filter(|key| others.contains(key));
        let optimistic = kept.unwrap_or_else(|| others[self.dice.random_range(0..others.len())]);
        if chosen.len() < self.slots {
            chosen.insert(optimistic);
        }
        self.optimistic = Some(optimistic);
        for key in self.unchoked.difference(&chosen).copied().collect::<Vec<_>>() {
            self.take_slot(key);
        }
        for key in chosen {
            self.give_slot(key);
        }
    }

    fn give_slot(&mut self, peer: PeerKey) {
        if self.unchoked.insert(peer) {
            self.outbox.push_back(ChokeEffect::Unchoke(peer));
        }
    }

    fn take_slot(&mut self, peer: PeerKey) {
        if self.unchoked.remove(&peer) {
            self.optimistic.take_if(|optimistic| *optimistic == peer);
            self.outbox.push_back(ChokeEffect::Choke(peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;
    use proptest::prelude::*;

    fn drain(choker: &mut Choker) -> (Vec<u32>, Vec<u32>) {
        let (mut unchoked, mut choked) = (Vec::new(), Vec::new());
        while let Some(effect) = choker.poll() {
            match effect {
                ChokeEffect::Unchoke(key) => unchoked.push(key.0),
                ChokeEffect::Choke(key) => choked.push(key.0),
            }
        }
        (unchoked, choked)
    }

    fn choker_of(interested: u32) -> (Instant, Choker) {
        let t0 = base_instant();
        let mut choker = Choker::new(t0, SLOTS, 1);
        for key in 0..interested {
            choker.on_interest(PeerKey(key), true);
        }
        (t0, choker)
    }

    #[test]
    fn a_free_slot_unchokes_at_once_and_the_fifth_waits() {
        let (t0, mut choker) = choker_of(4);
        assert_eq!(drain(&mut choker), (vec![0, 1, 2, 3], vec![]));
        assert_eq!(choker.deadline(), None, "nothing to deal out");
        choker.on_interest(PeerKey(4), true);
        choker.on_interest(PeerKey(4), true);
        assert_eq!(drain(&mut choker), (vec![], vec![]));
        assert_eq!(choker.deadline(), Some(t0 + ROUND));
    }

    /// P-11: neither a peer that lost interest nor one that left holds a slot.
    #[test]
    fn a_slot_nobody_wants_goes_to_the_next() {
        let (_, mut choker) = choker_of(6);
        drain(&mut choker);
        choker.on_interest(PeerKey(1), false);
        assert_eq!(drain(&mut choker), (vec![4], vec![1]));
        choker.on_peer_left(PeerKey(2));
        assert_eq!(drain(&mut choker), (vec![5], vec![]), "who left is not told");
        choker.on_interest(PeerKey(1), true);
        assert_eq!(drain(&mut choker), (vec![], vec![]));
    }

    #[test]
    fn flapping_interest_costs_a_message_each_and_no_more() {
        let (_, mut choker) = choker_of(5);
        drain(&mut choker);
        for _flap in 0..100 {
            choker.on_interest(PeerKey(4), false);
            choker.on_interest(PeerKey(4), true);
        }
        assert_eq!(drain(&mut choker), (vec![], vec![]), "a peer without a slot flaps in vain");
    }

    #[test]
    fn a_round_gives_the_slots_to_the_fastest_and_one_to_chance() {
        let (t0, mut choker) = choker_of(8);
        for key in 0..8 {
            choker.on_rate(PeerKey(key), u64::from(key) * 1000);
        }
        choker.on_timeout(t0 + ROUND / 2);
        assert_eq!(drain(&mut choker).0.len(), 4, "no round yet: those of the start");
        choker.on_timeout(t0 + ROUND);
        assert!([5, 6, 7].into_iter().all(|key| choker.is_unchoked(PeerKey(key))));
        assert_eq!(choker.unchoked_count(), 4);
    }

    #[test]
    fn the_optimistic_slot_reaches_everybody_in_the_end() {
        for slots in [1, 2, 4] {
            let t0 = base_instant();
            let mut choker = Choker::new(t0, slots, 7);
            for key in 0..10 {
                choker.on_interest(PeerKey(key), true);
                choker.on_rate(PeerKey(key), 1000 - u64::from(key));
            }
            let mut seen = BTreeSet::new();
            for _round in 0..400 {
                choker.on_timeout(choker.deadline().unwrap());
                seen.extend(drain(&mut choker).0);
            }
            assert_eq!(seen.len(), 10, "{slots} slots: {seen:?}");
        }
    }

    proptest! {
        /// Never more unchoked than slots, nobody who is not interested, no free slot while somebody waits, and what is
        /// told adds up to what is.
        #[test]
        fn slots_are_never_overbooked_nor_idle(
            slots in 1usize..6, seed in any::<u64>(),
            steps in prop::collection::vec((0u32..12, 0u8..5, 0u64..100), 0..200),
        ) {
            let mut now = base_instant();
            let mut choker = Choker::new(now, slots, seed);
            let (mut interested, mut told) = (BTreeSet::new(), BTreeSet::new());
            for (key, what, rate) in steps {
                let peer = PeerKey(key);
                match what {
                    0 | 1 => {
                        choker.on_interest(peer, what == 0);
                        if what == 0 { interested.insert(key) } else { interested.remove(&key) };
                    }
                    2 => {
                        choker.on_peer_left(peer);
                        interested.remove(&key);
                        told.remove(&key);
                    }
                    3 => choker.on_rate(peer, rate),
                    _ => {
                        now += ROUND;
                        choker.on_timeout(now);
                    }
                }
                while let Some(effect) = choker.poll() {
                    let changed = match effect {
                        ChokeEffect::Unchoke(key) => told.insert(key.0),
                        ChokeEffect::Choke(key) => told.remove(&key.0),
                    };
                    prop_assert!(changed, "told twice: {:?}", effect);
                }
                prop_assert!(told.is_subset(&interested));
                prop_assert_eq!(told.len(), interested.len().min(slots));
                prop_assert_eq!(told.len(), choker.unchoked_count());
            }
        }
    }
}
