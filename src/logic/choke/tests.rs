//! A table for each rule.

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
fn a_slot_nobody_wants_goes_to_the_next() {
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

/// Tit-for-tat.
#[test]
fn a_round_gives_the_slots_to_those_who_give_most_and_one_to_chance() {
    let (t0, mut choker) = choker_of(8, SLOTS);
    for key in 0..8 {
        // Who takes most gives least.
        let (down_bps, up_bps) = (u64::from(key) * 1000, 100_000 - u64::from(key));
        choker.on_standing(PeerKey(key), Standing { down_bps, up_bps: up_bps / 1000, ..Standing::default() });
    }
    choker.on_timeout(t0 + ROUND / 2);
    assert_eq!(drain(&mut choker).0.len(), 4, "no round yet: those of the start");
    choker.on_timeout(t0 + ROUND);
    assert!([5, 6, 7].into_iter().all(|key| choker.is_unchoked(PeerKey(key))));
    assert_eq!(choker.unchoked_count(), 4);
}

/// BEP 3: a seed prefers whom it reaches best; what they gave once counts nothing.
#[test]
fn a_seed_keeps_the_fastest_takers_and_forgets_who_gave() {
    let (t0, mut choker) = choker_of(8, SLOTS);
    choker.on_complete();
    for key in 0..8 {
        let up_bps = [900, 10, 800, 700][key as usize % 4];
        let down_bps = if key > 4 { 1 << 20 } else { 0 };
        choker.on_standing(PeerKey(key), Standing { down_bps, up_bps, ..Standing::default() });
    }
    choker.on_timeout(t0 + ROUND);
    let have = unchoked(&choker, 8);
    assert!([0, 2, 3].iter().all(|key| have.contains(key)), "{have:?}");
}

/// A turn is 20 pieces and a minute, both.
#[test]
fn a_seed_takes_turns() {
    let piece = u64::from(PIECE_LEN);
    for (secs, pieces, done) in [(50, 1000, false), (70, 20, false), (70, 21, true)] {
        let (t0, mut choker) = choker_of(5, SLOTS);
        choker.on_complete();
        let takes = |taken| Standing { up_bps: 1 << 20, taken, ..Standing::default() };
        choker.on_standing(PeerKey(0), takes(pieces * piece));
        (1..4).for_each(|key| choker.on_standing(PeerKey(key), takes(0)));
        // The last slot of four is chance's, so that five want three; no new slots for it.
        let ranked = |choker: &Choker, at: u64| choker.ranked(t0 + Duration::from_secs(at));
        assert_eq!(ranked(&choker, 1), [0, 1, 2, 3, 4].map(PeerKey));
        let last = *ranked(&choker, secs).last().unwrap();
        assert_eq!(last, PeerKey(if done { 0 } else { 4 }), "{secs} s, {pieces} pieces");
    }
}

#[test]
fn of_those_who_wait_the_longest_waiting_comes_first() {
    let (t0, mut choker) = choker_of(4, 1);
    choker.on_complete();
    let at = |secs| t0 + Duration::from_secs(secs);
    choker.on_interest(at(1), PeerKey(0), false);
    choker.on_interest(at(2), PeerKey(1), false);
    choker.on_interest(at(3), PeerKey(1), true);
    choker.on_interest(at(4), PeerKey(0), true);
    // 2 has the slot; 3 never had one; 0 lost it before 1 did.
    assert_eq!(choker.ranked(at(5)), [2, 3, 0, 1].map(PeerKey));
}

/// "Anti-snubbing" (BEP 3): no slot by rank, and its place is chance's.
#[test]
fn a_peer_that_snubs_us_has_no_slot_by_rank_while_others_wait() {
    let (t0, mut choker) = choker_of(12, SLOTS);
    let gives = |down_bps, snubs| Standing { down_bps, snubs, ..Standing::default() };
    (0..12).for_each(|key| choker.on_standing(PeerKey(key), gives(1000 - u64::from(key), key < 2)));
    let mut had = BTreeMap::new();
    for round in 1..=300 {
        choker.on_timeout(t0 + ROUND * round);
        for key in unchoked(&choker, 12) {
            *had.entry(key).or_insert(0) += 1;
        }
    }
    // Two snub: two slots by rank, two by chance.
    assert_eq!((had[&2], had[&3]), (300, 300));
    assert!((4..12).chain(0..2).all(|key| had[&key] < 200), "{had:?}");
    assert_eq!(had.len(), 12, "chance reaches everybody: {had:?}");
}

#[test]
fn a_slot_nobody_else_wants_is_not_refused_to_a_snubber() {
    let (t0, mut choker) = choker_of(4, SLOTS);
    choker.on_standing(PeerKey(0), Standing { snubs: true, ..Standing::default() });
    choker.on_timeout(t0 + ROUND);
    assert_eq!(unchoked(&choker, 4), [0, 1, 2, 3]);
}

#[test]
fn the_optimistic_slot_reaches_everybody_in_the_end() {
    for slots in [1, 2, 4] {
        let (_, mut choker) = choker_of(10, slots);
        for key in 0..10 {
            let down_bps = 1000 - u64::from(key);
            choker.on_standing(PeerKey(key), Standing { down_bps, ..Standing::default() });
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
        // All but 0 to 3 have had their slot.
        choker.peers.iter_mut().skip(4).for_each(|(_, peer)| peer.had_slot_at = Some(t0));
        (0..2).for_each(|key| choker.on_standing(PeerKey(key), Standing { down_bps: 2000, ..Standing::default() }));
        choker.peers.get_mut(&PeerKey(1)).unwrap().standing.down_bps = 0;
        choker.on_timeout(t0 + ROUND);
        // 0 has its slot by rank; 1 had one before and weighs 1, 2 and 3 weigh 3 each, 4 to 7 weigh 1 each.
        new += usize::from(choker.is_unchoked(PeerKey(2)) || choker.is_unchoked(PeerKey(3)));
    }
    // 6 of 11.
    assert!((2050..2310).contains(&new), "{new} of 4000");
}

#[test]
fn an_optimistic_slot_lasts_three_rounds() {
    let (t0, mut choker) = choker_of(40, 2);
    choker.on_standing(PeerKey(39), Standing { down_bps: 1000, ..Standing::default() });
    let lucky: Vec<_> = (1..=30)
        .map(|round| {
            choker.on_timeout(t0 + ROUND * round);
            unchoked(&choker, 39)
        })
        .collect();
    assert!(lucky.chunks(3).all(|rounds| rounds[0] == rounds[1] && rounds[1] == rounds[2]), "{lucky:?}");
    assert!(lucky.iter().collect::<BTreeSet<_>>().len() > 5, "{lucky:?}");
}

/// The count itself is tabled in `slots`.
#[test]
fn slots_follow_what_they_carry() {
    let (t0, mut choker) = choker_of(30, SLOTS);
    for round in 1..=20 {
        for key in 0..30 {
            choker.on_standing(PeerKey(key), Standing { up_bps: 1 << 20, ..Standing::default() });
        }
        choker.on_timeout(t0 + ROUND * round);
    }
    assert_eq!(choker.slots(), 42, "opened until everybody had one");
    assert_eq!(choker.unchoked_count(), 30);
}

proptest! {
    /// Never more unchoked than slots, nobody who is not interested, no free slot while somebody waits, and what is
    /// told adds up to what is.
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
                    choker.on_standing(peer, Standing { down_bps: rate, up_bps: rate / 2, taken: rate, snubs });
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
            prop_assert_eq!(told.len(), choker.unchoked_count());
            prop_assert!(choker.slots() >= slots);
        }
    }
}
