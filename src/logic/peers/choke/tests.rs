//! A test, mostly a table, for each rule of the choker.

use super::*;
use crate::logic::testing::base_instant;
use proptest::prelude::*;

const PIECE_LEN: u32 = 1 << 18;

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

fn choker_of(interested: u32, slots: usize) -> (Instant, Choker) {
    let t0 = base_instant();
    let mut choker = Choker::new(t0, slots, PIECE_LEN, 1);
    for key in 0..interested {
        choker.on_interest(t0, PeerKey(key), true);
    }
    (t0, choker)
}

fn unchoked(choker: &Choker, peers: u32) -> Vec<u32> {
    (0..peers).filter(|key| choker.is_unchoked(PeerKey(*key))).collect()
}

#[test]
fn a_free_slot_unchokes_at_once_and_the_fifth_waits() {
    let (t0, mut choker) = choker_of(4, SLOTS);
    assert_eq!(drain(&mut choker), (vec![0, 1, 2, 3], vec![]));
    assert_eq!(choker.deadline(), None, "nothing to deal out");
    choker.on_interest(t0, PeerKey(4), true);
    choker.on_interest(t0, PeerKey(4), true);
    assert_eq!(drain(&mut choker), (vec![], vec![]));
    assert_eq!(choker.deadline(), Some(t0 + ROUND));
}

/// P-11: neither a peer that lost interest nor one that left holds a slot.
#[test]
fn a_slot_that_is_given_up_goes_to_the_next_peer() {
    let (t0, mut choker) = choker_of(6, SLOTS);
    drain(&mut choker);
    choker.on_interest(t0, PeerKey(1), false);
    assert_eq!(drain(&mut choker), (vec![4], vec![1]));
    choker.on_peer_left(t0, PeerKey(2));
    assert_eq!(drain(&mut choker), (vec![5], vec![]), "who left is not told");
    choker.on_interest(t0, PeerKey(1), true);
    assert_eq!(drain(&mut choker), (vec![], vec![]));
}

#[test]
fn flapping_interest_costs_a_message_each_and_no_more() {
    let (t0, mut choker) = choker_of(5, SLOTS);
    drain(&mut choker);
    for _flap in 0..100 {
        choker.on_interest(t0, PeerKey(4), false);
        choker.on_interest(t0, PeerKey(4), true);
    }
    assert_eq!(drain(&mut choker), (vec![], vec![]), "a peer without a slot flaps in vain");
}

/// Tit-for-tat (BEP 3).
#[test]
fn a_round_gives_the_slots_to_the_peers_that_upload_most_and_one_at_random() {
    let (t0, mut choker) = choker_of(8, SLOTS);
    for key in 0..8 {
        // The peer that downloads most uploads least.
        let (down_bps, up_bps) = (u64::from(key) * 1000, 100_000 - u64::from(key));
        choker.on_standing(
            t0,
            PeerKey(key),
            UploadStanding { down_bps, up_bps: up_bps / 1000, ..UploadStanding::default() },
        );
    }
    choker.on_timeout(t0 + ROUND / 2);
    assert_eq!(drain(&mut choker).0.len(), 4, "no round yet: those of the start");
    choker.on_timeout(t0 + ROUND);
    assert!([5, 6, 7].into_iter().all(|key| choker.is_unchoked(PeerKey(key))));
    assert_eq!(choker.holding(), 4);
}

/// BEP 3: a seed prefers the peers that it reaches best; their earlier uploads do not count.
#[test]
fn a_seed_keeps_the_fastest_downloaders_and_forgets_earlier_uploads() {
    let (t0, mut choker) = choker_of(8, SLOTS);
    choker.on_complete(t0);
    for key in 0..8 {
        let up_bps = [900, 10, 800, 700][key as usize % 4];
        let down_bps = if key > 4 { 1 << 20 } else { 0 };
        choker.on_standing(t0, PeerKey(key), UploadStanding { down_bps, up_bps, ..UploadStanding::default() });
    }
    choker.on_timeout(t0 + ROUND);
    let have = unchoked(&choker, 8);
    assert!([0, 2, 3].iter().all(|key| have.contains(key)), "{have:?}");
}

/// A turn takes both 20 pieces and a minute.
#[test]
fn a_seed_takes_turns() {
    let piece = u64::from(PIECE_LEN);
    for (secs, pieces, done) in [(50, 1000, false), (70, 20, false), (70, 21, true)] {
        let (t0, mut choker) = choker_of(5, SLOTS);
        choker.on_complete(t0);
        choker.on_served(t0, PeerKey(4));
        let takes = |taken| UploadStanding { up_bps: 1 << 20, taken, ..UploadStanding::default() };
        choker.on_standing(t0, PeerKey(0), takes(pieces * piece));
        (1..4).for_each(|key| choker.on_standing(t0, PeerKey(key), takes(0)));
        // The last of the four slots is optimistic, so five peers compete for three. No slots are added for it.
        let ranked = |choker: &Choker, at: u64| choker.ranked(t0 + Duration::from_secs(at));
        assert_eq!(ranked(&choker, 1), [0, 1, 2, 3, 4].map(PeerKey));
        let last = *ranked(&choker, secs).last().unwrap();
        assert_eq!(last, PeerKey(if done { 0 } else { 4 }), "{secs} s, {pieces} pieces");
    }
}

#[test]
fn of_the_waiting_peers_the_longest_waiting_comes_first() {
    let (t0, mut choker) = choker_of(4, 1);
    let at = |secs| t0 + Duration::from_secs(secs);
    choker.on_interest(at(1), PeerKey(0), false);
    choker.on_interest(at(2), PeerKey(1), false);
    choker.on_interest(at(3), PeerKey(1), true);
    choker.on_interest(at(4), PeerKey(0), true);
    // Peer 2 has the slot; peer 3 never had one; peer 0 lost its slot before peer 1 did.
    assert_eq!(choker.ranked(at(5)), [2, 3, 0, 1].map(PeerKey));
}

/// "Anti-snubbing" (BEP 3): a peer that snubs us has no slot by rank, and its slot becomes optimistic.
#[test]
fn a_peer_that_snubs_us_has_no_slot_by_rank_while_others_wait() {
    let (t0, mut choker) = choker_of(12, SLOTS);
    let gives = |down_bps, snubs| UploadStanding { down_bps, snubs, ..UploadStanding::default() };
    (0..12).for_each(|key| choker.on_standing(t0, PeerKey(key), gives(1000 - u64::from(key), key < 2)));
    let mut had = BTreeMap::new();
    for round in 1..=300 {
        choker.on_timeout(t0 + ROUND * round);
        for key in unchoked(&choker, 12) {
            *had.entry(key).or_insert(0) += 1;
        }
    }
    // Two peers snub us: two slots by rank, two optimistic ones.
    assert_eq!((had[&2], had[&3]), (300, 300));
    assert!((4..12).chain(0..2).all(|key| had[&key] < 200), "{had:?}");
    assert_eq!(had.len(), 12, "chance reaches every peer: {had:?}");
}

#[test]
fn a_slot_that_no_other_peer_wants_is_not_refused_to_a_snubbing_peer() {
    let (t0, mut choker) = choker_of(4, SLOTS);
    choker.on_standing(t0, PeerKey(0), UploadStanding { snubs: true, ..UploadStanding::default() });
    choker.on_timeout(t0 + ROUND);
    assert_eq!(unchoked(&choker, 4), [0, 1, 2, 3]);
}

#[test]
fn the_optimistic_slot_reaches_every_peer_in_the_end() {
    for slots in [1, 2, 4] {
        let (t0, mut choker) = choker_of(10, slots);
        for key in 0..10 {
            let down_bps = 1000 - u64::from(key);
            choker.on_standing(t0, PeerKey(key), UploadStanding { down_bps, ..UploadStanding::default() });
        }
        let mut seen = BTreeSet::new();
        for _round in 0..400 {
            choker.on_timeout(choker.deadline().unwrap());
            seen.extend(drain(&mut choker).0);
        }
        assert_eq!(seen.len(), 10, "{slots} slots: {seen:?}");
    }
}

/// "To give them a decent chance of getting a complete piece to upload, new connections are three times as likely to start
/// as the current optimistic unchoke as anywhere else in the rotation" (BEP 3).
#[test]
fn newcomers_are_three_times_as_likely() {
    let mut new = 0;
    for seed in 0..4000 {
        let t0 = base_instant();
        let mut choker = Choker::new(t0, 2, PIECE_LEN, seed);
        (0..8).for_each(|key| choker.on_interest(t0, PeerKey(key), true));
        // All peers but 0 to 3 have had a slot.
        choker.peers.iter_mut().skip(4).for_each(|(_, peer)| peer.had_slot_at = Some(t0));
        (0..2).for_each(|key| {
            choker.on_standing(t0, PeerKey(key), UploadStanding { down_bps: 2000, ..UploadStanding::default() });
        });
        choker.peers.get_mut(&PeerKey(1)).unwrap().standing.down_bps = 0;
        choker.on_timeout(t0 + ROUND);
        // Peer 0 has its slot by rank. Peer 1 had a slot before and weighs 1; peers 2 and 3 weigh 3 each, 4 to 7 weigh
        // 1 each.
        new += usize::from(choker.is_unchoked(PeerKey(2)) || choker.is_unchoked(PeerKey(3)));
    }
    // Peers 2 and 3 have 6 of the 11 parts.
    assert!((2050..2310).contains(&new), "{new} of 4000");
}

#[test]
fn an_optimistic_slot_lasts_three_rounds() {
    let (t0, mut choker) = choker_of(40, 2);
    choker.on_standing(t0, PeerKey(39), UploadStanding { down_bps: 1000, ..UploadStanding::default() });
    let lucky: Vec<_> = (1..=30)
        .map(|round| {
            choker.on_timeout(t0 + ROUND * round);
            unchoked(&choker, 39)
        })
        .collect();
    assert!(lucky.chunks(3).all(|rounds| rounds[0] == rounds[1] && rounds[1] == rounds[2]), "{lucky:?}");
    assert!(lucky.iter().collect::<BTreeSet<_>>().len() > 5, "{lucky:?}");
}

/// `slots` has a table of the number itself.
#[test]
fn the_number_of_slots_follows_their_rates() {
    let (t0, mut choker) = choker_of(30, SLOTS);
    for round in 1..=20 {
        for key in 0..30 {
            let takes = UploadStanding { up_bps: 1 << 20, asks: true, ..UploadStanding::default() };
            choker.on_standing(t0 + ROUND * round, PeerKey(key), takes);
        }
        choker.on_timeout(t0 + ROUND * round);
    }
    assert_eq!(choker.slots(), 42, "opened until every peer had one");
    assert_eq!(choker.holding(), 30);
}

/// The choker of a seed and its peers, second by second. Each peer requests data or does not.
struct Seed {
    now: Instant,
    choker: Choker,
    /// For each peer: whether it requests data when unchoked; the bytes it has downloaded; when it got its first byte.
    peers: Vec<(bool, u64, Option<Instant>)>,
}

impl Seed {
    fn new() -> Self {
        let now = base_instant();
        let mut choker = Choker::new(now, SLOTS, PIECE_LEN, 1);
        choker.on_complete(now);
        Self { now, choker, peers: Vec::new() }
    }

    fn join(&mut self, count: u32, asks: bool) {
        for _ in 0..count {
            let key = PeerKey(u32::try_from(self.peers.len()).unwrap());
            self.peers.push((asks, 0, None));
            self.choker.on_interest(self.now, key, true);
        }
    }

    /// One second passes. Each unchoked peer that requests data downloads `bytes`.
    fn second(&mut self, bytes: u64) {
        self.now += Duration::from_secs(1);
        let now = self.now;
        for (key, (asks, taken, first)) in (0..).map(PeerKey).zip(&mut self.peers) {
            let takes = *asks && self.choker.is_unchoked(key);
            if takes {
                *taken += bytes;
                first.get_or_insert(now);
            }
            let up_bps = if takes { bytes } else { 0 };
            let standing = UploadStanding { up_bps, taken: *taken, asks: takes, ..UploadStanding::default() };
            self.choker.on_standing(now, key, standing);
            if takes {
                self.choker.on_served(now, key);
            }
        }
        self.choker.on_timeout(now);
        drain(&mut self.choker);
    }

    /// After how long the last of the requesting peers got its first byte, and the bytes each has downloaded after
    /// `secs`.
    fn goes_on(&mut self, secs: u64) -> (Option<Duration>, Vec<u64>) {
        let began = self.now;
        (0..secs).for_each(|_| self.second(100_000));
        let honest = || self.peers.iter().filter(|(asks, ..)| *asks);
        let firsts: Option<Vec<_>> = honest().map(|(_, _, first)| first.map(|at| at - began)).collect();
        (firsts.and_then(|firsts| firsts.into_iter().max()), honest().map(|(_, taken, _)| *taken).collect())
    }
}

/// Peers that say `interested` and never request anything, before the others or at the same time, cost them no slot.
#[test]
fn peers_that_request_nothing_keep_no_other_peer_waiting() {
    for (idle, before, within) in [(4, 60, 1), (12, 60, 1), (36, 60, 1), (12, 0, 5), (36, 0, 13)] {
        let mut seed = Seed::new();
        seed.join(idle, false);
        seed.goes_on(before);
        seed.join(1, true);
        let (first, taken) = seed.goes_on(60);
        let first = first.unwrap();
        assert!(first <= Duration::from_secs(within), "{idle} idle: first byte after {first:?}");
        assert!(taken[0] > 4_000_000, "{idle} idle: {taken:?} of 6000000");
    }
}

/// A peer that wasted a slot may have had a reason, so it is not ranked last for ever.
#[test]
fn a_peer_that_wasted_a_slot_comes_last_for_a_minute() {
    let mut seed = Seed::new();
    seed.join(1, false);
    seed.join(60, true);
    seed.goes_on(30);
    seed.peers[0].0 = true;
    let (_, taken) = seed.goes_on(25);
    assert_eq!(taken[0], 0);
    let (_, taken) = seed.goes_on(300);
    assert!(taken[0] > 0, "{taken:?}");
}

/// Eight leeches and four slots: each has its first block within 5 s, and the slots stay where they are.
#[test]
fn a_seed_unchokes_newcomers_for_one_block() {
    let mut seed = Seed::new();
    seed.join(8, true);
    let (first, taken) = seed.goes_on(9);
    assert!(first.unwrap() <= Duration::from_secs(5), "{first:?}");
    assert_eq!(taken, [900_000, 900_000, 900_000, 900_000, 100_000, 100_000, 100_000, 100_000]);
}

#[test]
fn newcomers_that_keep_coming_have_no_more_than_their_share() {
    let mut seed = Seed::new();
    seed.join(4, true);
    for _ in 0..50 {
        seed.join(40, true);
        seed.second(100_000);
        let unchoked = (0..).map(PeerKey).take(seed.peers.len()).filter(|key| seed.choker.is_unchoked(*key)).count();
        assert!(unchoked <= seed.choker.slots() + GREETED, "{unchoked}");
    }
    assert!(seed.peers[..4].iter().all(|(_, taken, _)| *taken == 5_000_000), "{:?}", &seed.peers[..4]);
}

/// Such a peer would never download 20 pieces, and has an open request whenever it is looked at.
#[test]
fn a_trickle_is_no_reason_to_keep_a_slot_for_ever() {
    for (up_bps, secs, last) in [(1000, 50, 4), (1000, 70, 0), (2000, 70, 4)] {
        let (t0, mut choker) = choker_of(5, SLOTS);
        choker.on_complete(t0);
        choker.on_served(t0, PeerKey(4));
        for key in 0..4 {
            let up_bps = if key == 0 { up_bps } else { 1 << 20 };
            let takes = UploadStanding { up_bps, taken: up_bps, asks: true, ..UploadStanding::default() };
            choker.on_standing(t0, PeerKey(key), takes);
        }
        let ranked = choker.ranked(t0 + Duration::from_secs(secs));
        assert_eq!(ranked.last(), Some(&PeerKey(last)), "{up_bps} B/s after {secs} s");
    }
}

proptest! {
    /// Never more peers with a slot than slots, none that is not interested, no free slot while a peer waits, and the
    /// effects add up to the state.
    #[test]
    fn slots_are_never_overbooked_nor_idle(
        slots in 1usize..6, seed in any::<u64>(),
        steps in prop::collection::vec((0u32..12, 0u8..6, 0u64..100_000), 0..200),
    ) {
        let mut now = base_instant();
        let mut choker = Choker::new(now, slots, PIECE_LEN, seed);
        let (mut interested, mut told) = (BTreeSet::new(), BTreeSet::new());
        for (key, what, rate) in steps {
            let peer = PeerKey(key);
            match what {
                0 | 1 => {
                    choker.on_interest(now, peer, what == 0);
                    if what == 0 { interested.insert(key) } else { interested.remove(&key) };
                }
                2 => {
                    choker.on_peer_left(now, peer);
                    interested.remove(&key);
                    told.remove(&key);
                }
                3 | 4 => {
                    let snubs = rate % 3 == 0;
                    let asks = rate % 2 == 0;
                    choker.on_standing(now, peer, UploadStanding { down_bps: rate, up_bps: rate / 2, taken: rate, asks, snubs });
                }
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
            prop_assert_eq!(told.len(), interested.len().min(choker.slots()));
            prop_assert_eq!(told.len(), choker.holding());
            prop_assert!(choker.slots() >= slots);
        }
    }
}
