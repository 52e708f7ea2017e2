use super::*;
use crate::logic::pieces::suspects::FORGIVEN_AFTER;
use crate::logic::torrent::selection::WantedPieces;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn t0() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(super) fn everything(geometry: &Geometry) -> Arc<WantedPieces> {
    Arc::new(WantedPieces::everything(geometry))
}

fn addr(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], n))
}

/// Ten pieces of four blocks, the last one of one and a half blocks.
struct Desk {
    s: Scheduler,
    g: Geometry,
    now: Instant,
}

const PIECE: u64 = 4 * 16384;

impl Desk {
    fn with_credit(credit: u64) -> Self {
        let g = Geometry::new(9 * PIECE + 16384 + 8192, PIECE).unwrap();
        let have = Bitfield::none(g.piece_count());
        Self {
            s: Scheduler::new(SchedulerConfig {
                geometry: g,
                have,
                wanted: everything(&g),
                credit,
                max_bps: None,
                seed: 1,
            }),
            g,
            now: t0(),
        }
    }

    fn new() -> Self {
        Self::with_credit(1 << 30)
    }

    fn set(&self, numbers: &[u32]) -> Bitfield {
        let mut set = Bitfield::none(self.g.piece_count());
        for n in numbers {
            set.set(self.piece(*n));
        }
        set
    }

    fn piece(&self, n: u32) -> PieceIndex {
        self.g.piece(n).unwrap()
    }

    /// Joins a peer that is proven.
    fn join(&mut self, n: u32, has: &[u32]) {
        let has = self.set(has);
        self.stranger(n, has);
        self.s.peers.get_mut(PeerKey(n)).unwrap().trust.prove();
    }

    /// Joins a proven peer with every piece.
    fn seed(&mut self, n: u32) {
        self.stranger(n, Bitfield::all(self.g.piece_count()));
        self.s.peers.get_mut(PeerKey(n)).unwrap().trust.prove();
    }

    fn stranger(&mut self, n: u32, has: Bitfield) {
        self.s.on_peer_joined(self.now, PeerKey(n), addr(n as u16));
        self.s.on_bitfield(self.now, PeerKey(n), has);
    }

    fn strange_seed(&mut self, n: u32) {
        self.stranger(n, Bitfield::all(self.g.piece_count()));
    }

    fn effects(&mut self) -> Vec<SchedulerEffect> {
        std::iter::from_fn(|| self.s.poll()).collect()
    }

    fn grants(&mut self) -> Vec<(u32, Vec<BlockAddr>)> {
        let effects = self.effects().into_iter();
        effects
            .filter_map(|e| if let SchedulerEffect::Grant { peer, blocks } = e { Some((peer.0, blocks)) } else { None })
            .collect()
    }

    fn ask(&mut self, n: u32, want: u32) -> Vec<BlockAddr> {
        self.s.on_ask(self.now, PeerKey(n), want);
        let grants = self.grants();
        assert!(grants.iter().all(|(peer, _)| *peer == n), "{grants:?}");
        grants.into_iter().flat_map(|(_, blocks)| blocks).collect()
    }

    fn send(&mut self, n: u32, blocks: &[BlockAddr], byte: u8) {
        let block =
            |addr: &BlockAddr| ReceivedBlock { addr: *addr, data: Bytes::from(vec![byte; addr.len() as usize]) };
        self.s.on_blocks(self.now, PeerKey(n), blocks.iter().map(block).collect());
    }

    /// Answers every piece to be written: with a right hash if all its bytes are 0.
    fn write_all(&mut self) -> Vec<SchedulerEffect> {
        let mut others = Vec::new();
        while let Some(effect) = self.s.poll() {
            if let SchedulerEffect::Write { piece, blocks } = effect {
                assert_eq!(blocks.iter().map(Bytes::len).sum::<usize>(), self.g.piece_len(piece) as usize);
                let good = blocks.iter().all(|block| block.iter().all(|byte| *byte == 0));
                self.s.on_written(
                    self.now,
                    [(piece, if good { WriteOutcome::Durable } else { WriteOutcome::HashMismatch })],
                );
            } else {
                others.push(effect);
            }
        }
        others
    }

    fn wait(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
        self.s.on_timeout(self.now);
    }
}

#[test]
fn a_sole_seed_gives_everything_in_runs_of_whole_pieces() {
    let mut d = Desk::new();
    d.seed(1);
    assert_eq!(d.effects(), [SchedulerEffect::Interest { peer: PeerKey(1), interested: true }]);
    let blocks = d.ask(1, 1000);
    assert_eq!(blocks.len() as u64, d.g.total_blocks());
    for run in blocks.chunk_by(|a, b| a.piece() == b.piece()) {
        assert!(run.iter().copied().eq(d.g.blocks(run[0].piece())), "in order");
    }
    d.send(1, &blocks, 0);
    let effects = d.write_all();
    assert_eq!(effects.iter().filter(|e| matches!(e, SchedulerEffect::Had { .. })).count(), 10);
    assert_eq!(effects.iter().filter(|e| **e == SchedulerEffect::Completed).count(), 1);
    assert!(effects.contains(&SchedulerEffect::Interest { peer: PeerKey(1), interested: false }));
    let p = d.s.progress(d.now);
    assert_eq!((p.credit_free, p.in_flight_blocks, p.wasted, p.bytes_have), (1 << 30, 0, 0, d.g.total_len()));
}

#[test]
fn an_ask_is_remembered_until_there_is_work() {
    let mut d = Desk::new();
    d.join(1, &[]);
    assert_eq!(d.ask(1, 3), []);
    d.s.on_have(d.now, PeerKey(1), &[d.piece(5)]);
    assert_eq!(d.grants().iter().map(|(_, b)| b.len()).sum::<usize>(), 3);
    d.s.on_have(d.now, PeerKey(1), &[d.piece(6)]);
    assert_eq!(d.grants(), [], "three were granted, nothing is left of the ask");
}

#[test]
fn a_withdrawn_ask_is_forgotten() {
    let mut d = Desk::new();
    d.join(1, &[]);
    d.ask(1, 3);
    d.ask(1, 0);
    d.s.on_have(d.now, PeerKey(1), &[d.piece(5)]);
    assert_eq!(d.grants(), []);
}

#[test]
fn credit_bounds_what_is_open_and_comes_back_when_written() {
    let mut d = Desk::with_credit(2 * PIECE);
    d.seed(1);
    let blocks = d.ask(1, 100);
    assert_eq!(blocks.len(), 8);
    assert_eq!(d.s.progress(d.now).credit_free, 0);
    d.send(1, &blocks[..4], 0);
    assert!(matches!(d.effects()[..], [SchedulerEffect::Write { .. }]));
    assert_eq!(d.s.progress(d.now).writing_pieces, 1);
    d.s.on_written(d.now, [(blocks[0].piece(), WriteOutcome::Durable)]);
    let rest = d.grants().remove(0).1;
    assert_eq!(rest.len() as u32, d.g.block_count(rest[0].piece()), "the rest of the ask was remembered");
}

/// The fraction of the time in which requests wait for the disk. It grows neither while there is credit nor while no
/// peer asks for more.
#[test]
fn the_disk_is_busy_while_it_holds_the_credit_that_requests_wait_for() {
    let second = Duration::from_secs(1);
    // Credit in pieces; the blocks that the peer asks for; whether the piece was given to the disk; the percentage
    // after 4 s.
    let table = [
        ("the disk holds the credit", 1, 100, true, 100),
        ("the peer holds it", 1, 100, false, 0),
        ("there is more of it", 3, 8, true, 0),
        ("no peer asks for more", 1, 4, true, 0),
    ];
    for (what, credit, want, is_written, share) in table {
        let mut d = Desk::with_credit(credit * PIECE);
        d.seed(1);
        let blocks = d.ask(1, want);
        if is_written {
            d.send(1, &blocks[..4], 0);
        }
        d.now += 4 * second;
        assert_eq!(d.s.progress(d.now).disk_busy_percent, share, "{what}");
        if is_written {
            d.s.on_written(d.now, [(blocks[0].piece(), WriteOutcome::Durable)]);
            d.now += 6 * second;
            assert_eq!(d.s.progress(d.now).disk_busy_percent, 0, "{what}, and then it is done");
        }
    }
}

#[test]
fn a_piece_larger_than_all_credit_is_still_fetched() {
    let mut d = Desk::with_credit(1);
    d.seed(1);
    assert_eq!(d.ask(1, 100).len(), 4);
}

#[test]
fn credit_held_by_a_piece_that_no_peer_has_any_more_is_taken_back() {
    let mut d = Desk::with_credit(PIECE);
    d.join(1, &[0]);
    let blocks = d.ask(1, 4);
    d.send(1, &blocks[..3], 0);
    d.s.on_peer_left(d.now, PeerKey(1));
    d.join(2, &[1, 2]);
    assert_eq!(d.ask(2, 4).len(), 4);
    assert_eq!(d.s.progress(d.now).wasted, 3 * 16384);
}

#[test]
fn credit_held_by_a_choking_peer_is_taken_back_after_a_while() {
    let mut d = Desk::with_credit(PIECE);
    d.join(1, &[0]);
    let blocks = d.ask(1, 4);
    d.s.on_returned(d.now, PeerKey(1), &blocks);
    d.s.on_ask(d.now, PeerKey(1), 0);
    d.join(2, &[1, 2]);
    assert_eq!(d.ask(2, 4), []);
    let due = d.s.deadline().unwrap();
    assert!(due <= d.now + Duration::from_secs(6));
    d.now = due;
    d.s.on_timeout(due);
    assert_eq!(d.grants()[0].0, 2);
    assert_eq!(d.s.deadline(), None);
}

#[test]
fn silent_peers_do_not_hold_all_credit() {
    let mut d = Desk::with_credit(2 * PIECE);
    d.seed(1);
    d.seed(2);
    d.seed(3);
    let mut silent = d.ask(1, 4);
    silent.extend(d.ask(2, 4));
    assert_eq!(d.ask(3, 100), []);
    assert_eq!(d.s.deadline(), Some(d.now + Duration::from_secs(2)));
    d.wait(2);
    let mut stolen = d.grants().remove(0).1;
    assert_eq!(stolen.len(), silent.len().min(8));
    d.send(3, &stolen, 0);
    assert!(d.write_all().iter().any(|e| matches!(e, SchedulerEffect::Had { .. })));
    stolen.sort();
    silent.sort();
    assert_eq!(stolen, silent);
}

#[test]
fn returned_blocks_go_to_others_first_and_later_to_the_same() {
    let mut d = Desk::new();
    d.join(1, &[0]);
    let blocks = d.ask(1, 4);
    d.join(2, &[0]);
    assert_eq!(d.ask(2, 0), []);
    d.s.on_returned(d.now, PeerKey(1), &blocks);
    assert_eq!(d.ask(1, 4), []);
    assert_eq!(d.ask(2, 2), blocks[..2]);
    d.wait(5);
    assert_eq!(d.grants()[0].1[..2], blocks[2..]);
}

#[test]
fn a_sole_source_that_rejects_everything_is_asked_once_a_second() {
    let mut d = Desk::new();
    d.join(1, &[0]);
    for _ in 0..5 {
        let blocks = d.ask(1, 4);
        assert_eq!(blocks.len(), 4);
        d.s.on_returned(d.now, PeerKey(1), &blocks);
        assert_eq!(d.ask(1, 4), []);
        assert_eq!(d.s.deadline(), Some(d.now + Duration::from_secs(1)));
        d.s.on_ask(d.now, PeerKey(1), 0);
        d.wait(1);
    }
}

#[test]
fn blocks_of_a_peer_that_left_are_requested_from_others_at_once() {
    let mut d = Desk::new();
    d.seed(1);
    let blocks = d.ask(1, 1000);
    d.seed(2);
    d.s.on_peer_left(d.now, PeerKey(1));
    let mut again = d.ask(2, 1000);
    again.sort();
    let mut all = blocks.clone();
    all.sort();
    assert_eq!(again, all);
    d.send(1, &blocks, 0);
    assert_eq!(d.s.progress(d.now).wasted, d.g.total_len(), "a dead connection's blocks do not count");
}

#[test]
fn the_endgame_begins_when_everything_is_asked_for_and_is_bounded() {
    let mut d = Desk::new();
    for n in 1..=6 {
        d.seed(n);
    }
    d.effects();
    let blocks = d.ask(1, 37);
    assert!(!d.s.progress(d.now).endgame);
    let last = d.ask(2, 1);
    assert!(d.s.progress(d.now).endgame);
    assert_eq!(last.len(), 1);
    let mut copies = BTreeMap::new();
    for n in 3..=6 {
        let duplicates = d.ask(n, 100);
        assert!(duplicates.len() <= 8);
        for block in duplicates {
            *copies.entry(block).or_insert(0usize) += 1;
        }
    }
    assert!(copies.values().all(|n| *n <= 2), "three askers at most");
    d.send(1, &blocks, 0);
    d.send(2, &last, 0);
    let effects = d.write_all().into_iter();
    let cancelled =
        effects.filter_map(|e| if let SchedulerEffect::Cancel { blocks, .. } = e { Some(blocks.len()) } else { None });
    assert_eq!(cancelled.sum::<usize>(), copies.values().sum::<usize>(), "every duplicate is cancelled");
    let p = d.s.progress(d.now);
    assert_eq!((p.in_flight_blocks, p.wasted, p.pieces_have), (0, 0, 10));
}

/// P-16, `P-16.places` seed 6: eight peers that answered with other blocks held the last blocks in turns for up to 40
/// s, while three honest peers were idle.
#[test]
fn new_peers_leave_the_last_place_at_a_block_to_a_peer_with_verified_pieces() {
    let mut d = Desk::new();
    for n in 1..=4 {
        d.strange_seed(n);
    }
    d.join(5, &[9]);
    d.s.on_have(d.now, PeerKey(5), &[d.piece(8)]);
    let all: Vec<u32> = (0..8).collect();
    d.join(6, &all);
    let rest = d.ask(6, 100);
    d.send(6, &rest, 0);
    d.write_all();
    let mut owed = d.ask(1, 100);
    owed.sort();
    assert_eq!(owed.len(), 6, "the last two pieces: one of four blocks, one of two");
    d.ask(2, 100);
    d.ask(3, 100);
    d.ask(4, 100);
    d.wait(2);
    let duplicates = d.grants();
    let of_strangers = |block: &BlockAddr| {
        let blocks = duplicates.iter().filter(|(peer, _)| *peer < 5).flat_map(|(_, blocks)| blocks);
        blocks.filter(|other| *other == block).count()
    };
    assert!(owed.iter().all(|block| of_strangers(block) <= 1), "two strangers at most: {duplicates:?}");
    let mut saved = d.ask(5, 100);
    saved.sort();
    assert_eq!(saved, owed, "the proven one is asked for all of it");
    d.s.on_peer_left(d.now, PeerKey(5));
    d.wait(1);
    assert!(!d.grants().is_empty(), "the place is free for new peers once no better one is there");
}

/// `mix.hostile-swarm` seed 811: three peers that owed the last block and sent none kept three honest peers idle for
/// 11 s.
#[test]
fn of_three_peers_that_stall_at_a_block_one_gives_way_to_a_peer_with_verified_pieces() {
    let mut d = Desk::new();
    for n in 1..=3 {
        d.join(n, &[9]);
        assert_eq!(d.ask(n, 2).len(), 2, "all three are asked for both blocks of the piece");
        d.wait(2);
        d.effects();
    }
    d.stranger(4, d.set(&[9]));
    d.s.on_ask(d.now, PeerKey(4), 8);
    d.wait(2);
    assert_eq!(d.grants(), [], "a new peer takes no place of another");
    d.join(5, &[9]);
    assert_eq!(d.ask(5, 2).len(), 2);
    d.join(6, &[9]);
    assert_eq!(d.ask(6, 2), [], "one of the three has only just been asked");
    let due = d.s.deadline().unwrap();
    assert!(due > d.now && due <= d.now + Duration::from_secs(6), "and is given its time, which ends by itself");
}

#[test]
fn a_duplicate_that_comes_anyway_is_waste_and_written_once() {
    let mut d = Desk::new();
    d.join(1, &[9]);
    d.join(2, &[9]);
    let one = d.ask(1, 2);
    let two = d.ask(2, 2);
    assert_eq!(two, one[1..], "the endgame of one piece: what would come last");
    d.send(1, &one, 0);
    d.send(2, &two, 0);
    assert_eq!(d.s.progress(d.now).wasted, 8192);
    assert_eq!(d.effects().iter().filter(|e| matches!(e, SchedulerEffect::Write { .. })).count(), 1);
}

#[test]
fn unasked_and_misshapen_blocks_are_dropped() {
    let mut d = Desk::new();
    d.seed(1);
    d.seed(2);
    let blocks = d.ask(1, 2);
    d.send(2, &blocks, 0);
    let short = ReceivedBlock { addr: blocks[0], data: Bytes::from_static(b"short") };
    d.s.on_blocks(d.now, PeerKey(1), vec![short]);
    assert_eq!(d.s.progress(d.now).wasted, d.s.progress(d.now).received);
    d.send(1, &blocks, 0);
    assert_eq!(d.s.progress(d.now).in_flight_blocks, 0);
}

#[test]
fn interest_changes_are_told_once_and_exactly() {
    let mut d = Desk::new();
    d.join(1, &[]);
    d.join(2, &[3]);
    assert_eq!(d.effects(), [SchedulerEffect::Interest { peer: PeerKey(2), interested: true }]);
    d.s.on_have(d.now, PeerKey(1), &[d.piece(3), d.piece(3)]);
    assert_eq!(d.effects(), [SchedulerEffect::Interest { peer: PeerKey(1), interested: true }]);
    let blocks = d.ask(2, 4);
    d.send(2, &blocks, 0);
    let effects = d.write_all();
    for n in [1, 2] {
        assert!(effects.contains(&SchedulerEffect::Interest { peer: PeerKey(n), interested: false }), "{effects:?}");
    }
    assert_eq!(effects.len(), 3);
}

/// A peer that lies about what it has would otherwise keep a failed piece for itself for ever: it is asked, gives the
/// block back, and is asked again.
#[test]
fn a_failed_piece_that_its_owner_gives_back_goes_to_the_next_peer_at_once() {
    let mut d = Desk::with_credit(PIECE);
    d.seed(1);
    let blocks = d.ask(1, 4);
    let piece = blocks[0].piece();
    d.send(1, &blocks, 0);
    d.effects();
    d.s.on_written(d.now, [(piece, WriteOutcome::HashMismatch)]);
    d.seed(2);
    d.seed(3);
    d.effects();
    let offered = d.ask(2, 4);
    assert_eq!(offered[0].piece(), piece, "a failed piece comes first");
    assert_eq!(d.ask(3, 4), [], "and whole from one peer");
    d.s.on_returned(d.now, PeerKey(2), &offered);
    assert_eq!(d.grants(), [(3, offered.clone())]);
    d.s.on_ask(d.now, PeerKey(2), 4);
    d.s.on_returned(d.now, PeerKey(3), &offered);
    d.s.on_ask(d.now, PeerKey(3), 4);
    let others = d.grants();
    assert!(
        others.iter().flat_map(|(_, blocks)| blocks).all(|block| block.piece() != piece),
        "all have shirked: a rest"
    );
    assert_eq!(d.s.suspects.pieces().next(), Some((piece, d.now + FORGIVEN_AFTER)), "and then all have another chance");
}

#[test]
fn disk_trouble_gives_the_pieces_back() {
    let mut d = Desk::with_credit(PIECE);
    d.seed(1);
    let blocks = d.ask(1, 4);
    d.send(1, &blocks, 0);
    d.effects();
    d.s.set_paused(d.now, true);
    d.s.on_written(d.now, [(blocks[0].piece(), WriteOutcome::Failed)]);
    assert_eq!(d.ask(1, 4), []);
    d.s.set_paused(d.now, false);
    let again = d.grants();
    assert_eq!(again[0].1.len(), 4);
    d.send(1, &again[0].1, 0);
    d.effects();
    d.s.on_disk_lost(d.now);
    assert_eq!(d.s.progress(d.now).credit_free, PIECE);
    d.s.on_written(d.now, [(again[0].1[0].piece(), WriteOutcome::Durable)]);
    assert_eq!(d.s.progress(d.now).pieces_have, 0, "an answer from before the restart is not believed");
}

#[test]
fn a_sole_liar_is_banned_at_once_and_stays_out() {
    let mut d = Desk::new();
    d.seed(1);
    d.seed(2);
    let blocks = d.ask(1, 4);
    d.send(1, &blocks, 9);
    let effects = d.write_all();
    assert!(effects.contains(&SchedulerEffect::Ban { addr: addr(1), piece: blocks[0].piece() }), "{effects:?}");
    assert_eq!(d.ask(1, 4), []);
    d.s.on_peer_joined(d.now, PeerKey(7), addr(1));
    assert!(matches!(d.effects()[..], [SchedulerEffect::Ban { .. }]));
    let rest = d.ask(2, 1000);
    assert_eq!(rest.len() as u64, d.g.total_blocks());
    d.send(2, &rest, 0);
    let effects = d.write_all();
    assert!(effects.contains(&SchedulerEffect::Completed));
    assert!(!effects.iter().any(|e| matches!(e, SchedulerEffect::Ban { .. })));
}

#[test]
fn of_two_senders_the_good_copy_convicts_the_liar_only() {
    let mut d = Desk::new();
    d.join(1, &[0]);
    d.join(2, &[0]);
    d.join(3, &[0]);
    let one = d.ask(1, 2);
    let two = d.ask(2, 2);
    assert_eq!((one.len(), two.len()), (2, 2));
    d.send(1, &one, 0);
    d.send(2, &two, 9);
    assert!(!d.write_all().iter().any(|e| matches!(e, SchedulerEffect::Ban { .. })));
    let whole = d.ask(3, 100);
    assert_eq!(whole.len(), 4, "from one peer alone");
    assert_eq!(d.ask(1, 100), []);
    d.send(3, &whole, 0);
    let effects = d.write_all();
    let bans: Vec<_> = effects.iter().filter(|e| matches!(e, SchedulerEffect::Ban { .. })).collect();
    assert_eq!(bans, [&SchedulerEffect::Ban { addr: addr(2), piece: d.piece(0) }]);
}

#[test]
fn a_poisoned_piece_is_reported_and_does_not_loop_while_the_rest_completes() {
    let mut d = Desk::new();
    for n in 1..=4 {
        d.seed(n);
    }
    let (mut attempts, mut reported) = (0, 0);
    for _ in 0..120 {
        (1..=4).for_each(|n| d.s.on_ask(d.now, PeerKey(n), 1000));
        loop {
            let effects = d.write_all();
            reported += effects.iter().filter(|e| matches!(e, SchedulerEffect::PieceSuspect { .. })).count();
            let mut grants = 0;
            for effect in effects {
                let SchedulerEffect::Grant { peer, blocks } = effect else { continue };
                grants += 1;
                for block in blocks {
                    let poisoned = block.piece().get() == 3;
                    attempts += u32::from(poisoned && block.number() == 0);
                    d.send(peer.0, &[block], if poisoned { 9 } else { 0 });
                }
            }
            if grants == 0 {
                break;
            }
        }
        d.wait(1);
    }
    assert_eq!(d.s.progress(d.now).pieces_have, 9);
    assert!((3..12).contains(&attempts), "{attempts} attempts in two minutes");
    assert!(reported > 0);
    assert!(d.s.progress(d.now).banned <= 1, "who agree are not banned without a good copy");
}

#[test]
fn a_fast_peer_fills_pieces_alone_and_slow_ones_share() {
    let mut d = Desk::new();
    d.seed(1);
    d.seed(2);
    let one = d.ask(1, 1);
    let two = d.ask(2, 1);
    assert_eq!(one[0].piece(), two[0].piece(), "unknown peers share");
    for _ in 0..2 {
        let blocks = d.ask(1, 3);
        d.send(1, &blocks, 0);
    }
    d.write_all();
    let owned = d.ask(1, 1);
    let alone = d.ask(2, 1);
    d.send(2, &alone, 0);
    let fast = d.ask(1, 6);
    assert!(fast.iter().filter(|b| b.piece() != owned[0].piece()).count() >= 3, "{fast:?}");
}

/// P-18: the pieces of a peer that rejects everything do not count as available until it delivers.
#[test]
fn availability_of_a_peer_that_never_delivers_decays() {
    let mut d = Desk::new();
    d.seed(1);
    assert_eq!(d.s.progress(d.now).nobody_has, 0);
    for _ in 0..20 {
        let blocks = d.ask(1, 4);
        d.s.on_returned(d.now, PeerKey(1), &blocks);
        d.s.on_ask(d.now, PeerKey(1), 0);
        d.wait(6);
    }
    assert_eq!(d.s.progress(d.now).nobody_has, 10);
    let blocks = d.ask(1, 1);
    d.send(1, &blocks, 0);
    assert_eq!(d.s.progress(d.now).nobody_has, 0);
}

#[test]
fn a_peer_with_ten_thousand_requests_leaves_in_one_pass() {
    let g = Geometry::new(1 << 30, 1 << 18).unwrap();
    let have = Bitfield::none(g.piece_count());
    let mut s = Scheduler::new(SchedulerConfig {
        geometry: g,
        have,
        wanted: everything(&g),
        credit: 1 << 30,
        max_bps: None,
        seed: 1,
    });
    let now = t0();
    s.on_peer_joined(now, PeerKey(1), addr(1));
    s.on_bitfield(now, PeerKey(1), Bitfield::all(g.piece_count()));
    s.peers.get_mut(PeerKey(1)).unwrap().trust.prove();
    s.on_ask(now, PeerKey(1), 10_000);
    assert_eq!(s.progress(now).in_flight_blocks, 10_000);
    s.on_peer_left(now, PeerKey(1));
    assert_eq!(s.progress(now).in_flight_blocks, 0);
    assert_eq!((s.peers.iter().count(), s.peers.waiting_count()), (0, 0));
}

fn pieces_of(blocks: &[BlockAddr]) -> BTreeSet<u32> {
    blocks.iter().map(|block| block.piece().get()).collect()
}

/// P-14: a liar of any speed spoils only what it had room for.
#[test]
fn a_new_peer_has_two_pieces_under_way_and_gets_the_next_when_one_hashed_right() {
    let mut d = Desk::new();
    d.strange_seed(1);
    let two = d.ask(1, 1000);
    assert_eq!((two.len(), pieces_of(&two).len()), (8, 2));
    d.send(1, &two, 0);
    let writes: Vec<_> = d.effects().into_iter().filter(|e| matches!(e, SchedulerEffect::Write { .. })).collect();
    assert_eq!(writes.len(), 2, "whole, and nothing more is granted until the disk has answered");
    d.s.on_written(d.now, [(two[0].piece(), WriteOutcome::Durable)]);
    let more: Vec<_> = d.grants().into_iter().flat_map(|(_, blocks)| blocks).collect();
    assert_eq!(pieces_of(&more).len(), 1, "the other is being hashed");
    d.s.on_written(d.now, [(two[4].piece(), WriteOutcome::HashMismatch)]);
    assert!(d.effects().contains(&SchedulerEffect::Ban { addr: addr(1), piece: two[4].piece() }));
}

#[test]
fn pieces_that_a_new_peer_gave_back_untouched_make_room_and_those_it_began_do_not() {
    let mut d = Desk::new();
    d.strange_seed(1);
    let two = d.ask(1, 1000);
    d.send(1, &two[..1], 0);
    d.effects();
    d.s.on_returned(d.now, PeerKey(1), &two[1..]);
    let next: Vec<_> = d.grants().into_iter().flat_map(|(_, blocks)| blocks).collect();
    assert_eq!(pieces_of(&next).len(), 1, "the first has a block of it: {next:?}");
    assert!(pieces_of(&next).is_disjoint(&pieces_of(&two)), "what was given back rests");
}

/// A peer that fell silent is asked for one block at a time and does not keep the piece from a fast peer, which does
/// not help with owned pieces.
#[test]
fn a_peer_that_gave_blocks_back_does_not_own_the_piece_again() {
    let mut d = Desk::new();
    d.stranger(2, d.set(&[0, 1]));
    let whole = d.ask(2, 8);
    d.send(2, &whole, 0);
    d.write_all();
    assert!(d.s.is_fast(PeerKey(2)), "otherwise it would help with any piece");
    d.stranger(1, d.set(&[2]));
    d.s.on_have(d.now, PeerKey(2), &[d.piece(2), d.piece(3)]);
    let begun = d.ask(1, 3);
    d.send(1, &begun[..1], 0);
    d.s.on_returned(d.now, PeerKey(1), &begun[1..]);
    let probe = d.ask(1, 1);
    assert_eq!(pieces_of(&probe), pieces_of(&begun), "the block that was left");
    assert_eq!(d.ask(2, 2), begun[1..], "and those that it owes are for the other, before anything new");
}

#[test]
fn a_piece_that_others_finished_makes_room_for_a_new_peer() {
    let mut d = Desk::new();
    d.strange_seed(1);
    assert_eq!(d.ask(1, 8).len(), 8, "and it sends none of them");
    d.seed(2);
    for _ in 0..10 {
        d.s.on_ask(d.now, PeerKey(2), 1000);
        for effect in d.write_all() {
            if let SchedulerEffect::Grant { peer: PeerKey(2), blocks } = effect {
                d.send(2, &blocks, 0);
            }
        }
        d.wait(1);
    }
    assert!(d.s.have().is_all());
    assert!(d.s.peers.get(PeerKey(1)).unwrap().trust.pieces().is_empty());
}

/// A peer that reconnects has the room that its address has left.
#[test]
fn a_peer_that_reconnects_has_no_more_room_than_one_that_stayed() {
    let mut d = Desk::new();
    d.strange_seed(1);
    let two = d.ask(1, 1000);
    d.send(1, &two, 0);
    d.effects();
    d.s.on_peer_left(d.now, PeerKey(1));
    d.s.on_peer_joined(d.now, PeerKey(2), addr(1));
    d.s.on_bitfield(d.now, PeerKey(2), Bitfield::all(d.g.piece_count()));
    assert_eq!(d.ask(2, 1000), []);
}

/// The blocks that a stalled peer owes are the only work for this peer: it must not wait until the other's time-out
/// ends.
#[test]
fn a_new_peer_without_room_duplicates_what_a_stalled_peer_owes_in_its_own_pieces() {
    let mut d = Desk::new();
    d.strange_seed(1);
    let first = d.ask(1, 1);
    d.strange_seed(2);
    let owed = d.ask(2, 3);
    assert_eq!(pieces_of(&owed), pieces_of(&first), "strangers share");
    let second = d.ask(1, 4);
    d.send(1, &first, 0);
    d.send(1, &second[..3], 0);
    d.s.on_returned(d.now, PeerKey(1), &second[3..]);
    d.s.on_ask(d.now, PeerKey(1), 8);
    assert_eq!(d.grants(), []);
    d.wait(2);
    let mut again: Vec<_> = d.grants().into_iter().flat_map(|(_, blocks)| blocks).collect();
    again.sort();
    assert_eq!(again, owed);
}

/// BEP 6: a choking peer is asked for the pieces it allows, and for no others.
#[test]
fn a_choking_peer_is_asked_for_the_pieces_it_allows() {
    let mut d = Desk::new();
    d.join(1, &[2, 3]);
    d.s.on_within(d.now, PeerKey(1), Some([d.piece(3), d.piece(5)].into()));
    let asked = d.ask(1, 100);
    assert!(asked.len() == 4 && asked.iter().all(|block| block.piece() == d.piece(3)), "{asked:?}");
    d.s.on_have(d.now, PeerKey(1), &[d.piece(4)]);
    assert_eq!(d.grants(), [], "not allowed");
    d.s.on_have(d.now, PeerKey(1), &[d.piece(5)]);
    let asked: Vec<_> = d.grants().into_iter().flat_map(|(_, blocks)| blocks).collect();
    assert!(asked.len() == 4 && asked.iter().all(|block| block.piece() == d.piece(5)), "{asked:?}");
    d.s.on_within(d.now, PeerKey(1), None);
    let asked: Vec<_> = d.grants().into_iter().flat_map(|(_, blocks)| blocks).collect();
    assert_eq!(asked.len(), 8, "pieces 2 and 4: {asked:?}");
}

#[test]
fn the_piece_that_a_peer_was_filling_is_left_when_it_allows_others_only() {
    let mut d = Desk::new();
    d.join(1, &[2, 3]);
    let first = d.ask(1, 1)[0].piece();
    let other = d.piece(5 - first.get());
    d.s.on_within(d.now, PeerKey(1), Some([other].into()));
    let asked = d.ask(1, 2);
    assert!(asked.len() == 2 && asked.iter().all(|block| block.piece() == other), "{asked:?}");
}

/// The peer could take more than the torrent has, below a limit that would let in more: it is asked for every block,
/// once.
#[test]
fn below_a_limit_few_blocks_are_requested_from_the_peers_that_deliver() {
    let g = Geometry::new(1 << 24, 1 << 18).unwrap();
    let have = Bitfield::none(g.piece_count());
    let config = |have, max_bps| SchedulerConfig {
        geometry: g,
        have,
        wanted: everything(&g),
        credit: 1 << 30,
        max_bps,
        seed: 1,
    };
    let mut s = Scheduler::new(config(have.clone(), Some(16 * 1024)));
    let mut have_most = Bitfield::all(g.piece_count());
    have_most.clear(g.last_piece());
    let mut last = Scheduler::new(config(have_most, Some(64 * 1024)));
    for n in 1..=10 {
        for s in [&mut s, &mut last] {
            s.on_peer_joined(t0(), PeerKey(n.into()), addr(n));
            s.on_bitfield(t0(), PeerKey(n.into()), Bitfield::all(g.piece_count()));
            s.on_ask(t0(), PeerKey(n.into()), 20);
        }
    }
    let asked = |s: &mut Scheduler| -> BTreeMap<u32, usize> {
        let grants = std::iter::from_fn(|| s.poll()).filter_map(|effect| match effect {
            SchedulerEffect::Grant { peer, blocks } => Some((peer.0, blocks.len())),
            _ => None,
        });
        grants.collect()
    };
    assert_eq!(asked(&mut s), BTreeMap::from([(1, 20), (2, 12)]), "32 blocks, of whom came first");
    assert_eq!(last.progress(t0()).in_flight_blocks, 16, "no block twice: the limit is what they wait for");
    let much_later = t0() + Duration::from_secs(60);
    for n in 1..=10 {
        last.on_ask(much_later, PeerKey(n), 20);
    }
    assert_eq!(last.progress(much_later).in_flight_blocks, 16, "however long");
}

/// BEP 54: a seed that loses a piece is asked for the other pieces only, and counts as available for those only.
#[test]
fn a_piece_that_a_peer_has_lost_is_not_requested_from_it() {
    let mut d = Desk::new();
    d.seed(1);
    d.join(2, &[3, 4]);
    for n in [0, 1, 2, 3] {
        d.s.on_lost(d.now, PeerKey(1), d.piece(n));
    }
    d.s.on_lost(d.now, PeerKey(2), d.piece(4));
    assert_eq!(d.s.progress(d.now).nobody_has, 3, "3 is at the other one");
    let asked = d.ask(1, 1000);
    assert_eq!(pieces_of(&asked), (4..10).collect());
    d.s.on_lost(d.now, PeerKey(2), d.piece(3));
    assert!(d.effects().contains(&SchedulerEffect::Interest { peer: PeerKey(2), interested: false }));
    d.s.on_have(d.now, PeerKey(1), &[d.piece(0)]);
    assert_eq!(d.s.progress(d.now).nobody_has, 3, "1, 2 and 3");
}

/// Selects the first 2.5 pieces and half of piece 7.
fn choosy() -> Desk {
    let g = Desk::new().g;
    let lens = [5 * PIECE / 2, 9 * PIECE / 2, PIECE / 2];
    let rest = g.total_len() - lens.iter().sum::<u64>();
    let layout = crate::logic::disk::layout::Layout::new(lens.into_iter().chain([rest]));
    let wanted = Arc::new(WantedPieces::of_files(&g, &layout, &[true, false, true]));
    let mut have = Bitfield::none(g.piece_count());
    have.set(g.piece(5).unwrap());
    Desk {
        s: Scheduler::new(SchedulerConfig { geometry: g, have, wanted, credit: 1 << 30, max_bps: None, seed: 1 }),
        g,
        now: t0(),
    }
}

#[test]
fn only_wanted_pieces_are_asked_for_and_all_of_them_are_enough() {
    let mut d = choosy();
    d.seed(1);
    let blocks = d.ask(1, 1000);
    assert_eq!(pieces_of(&blocks), BTreeSet::from([0, 1, 2, 7]));
    assert_eq!(blocks.len(), 16);
    let before = d.s.progress(d.now);
    assert_eq!((before.pieces_missing, before.bytes_done, before.bytes_have), (4, 0, PIECE));
    assert!(before.endgame, "nothing else is to be had");
    d.send(1, &blocks, 0);
    let effects = d.write_all();
    assert_eq!(effects.iter().filter(|e| **e == SchedulerEffect::Completed).count(), 1);
    assert!(
        effects.contains(&SchedulerEffect::Interest { peer: PeerKey(1), interested: false }),
        "a seed has nothing more for us"
    );
    let after = d.s.progress(d.now);
    assert_eq!((after.pieces_missing, after.bytes_done, after.bytes_have), (0, 3 * PIECE, 5 * PIECE));
    assert_eq!(d.s.have().ones(), 5, "what is not wanted and there is given to others all the same");
}

#[test]
fn we_are_interested_in_peers_that_have_a_wanted_piece() {
    let mut d = choosy();
    d.join(1, &[3, 4, 5, 6, 8]);
    assert_eq!(d.effects(), []);
    assert_eq!(d.ask(1, 100), []);
    d.s.on_have(d.now, PeerKey(1), &[d.piece(9)]);
    assert_eq!(d.effects(), []);
    assert_eq!(d.s.progress(d.now).nobody_has, 4, "of those that are wanted");
    d.s.on_have(d.now, PeerKey(1), &[d.piece(7)]);
    let effects = d.effects();
    assert!(effects.contains(&SchedulerEffect::Interest { peer: PeerKey(1), interested: true }), "{effects:?}");
}

/// D-04: a piece that cannot be read any more.
#[test]
fn a_lost_piece_is_announced_and_fetched_again() {
    let mut d = Desk::new();
    d.seed(1);
    d.join(2, &[4, 5]);
    let blocks = d.ask(1, 1000);
    d.send(1, &blocks, 0);
    assert!(d.write_all().contains(&SchedulerEffect::Completed));
    d.s.on_ask(d.now, PeerKey(1), 1000);
    d.s.on_gone(d.now, d.piece(4));
    d.s.on_gone(d.now, d.piece(4));
    let effects = d.effects();
    assert_eq!(effects.iter().filter(|e| matches!(e, SchedulerEffect::Gone { .. })).count(), 1);
    for n in [1, 2] {
        assert!(effects.contains(&SchedulerEffect::Interest { peer: PeerKey(n), interested: true }), "{effects:?}");
    }
    let asked = effects
        .iter()
        .find_map(|e| if let SchedulerEffect::Grant { blocks, .. } = e { Some(blocks.clone()) } else { None });
    let asked = asked.unwrap();
    assert_eq!((pieces_of(&asked), asked.len()), (BTreeSet::from([4]), 4));
    let now = d.s.progress(d.now);
    assert_eq!((now.pieces_missing, now.bytes_have), (1, d.g.total_len() - PIECE));
    d.send(1, &asked, 0);
    assert!(d.write_all().contains(&SchedulerEffect::Completed), "once more");
    assert_eq!(d.s.progress(d.now).bytes_done, d.g.total_len());
}

#[test]
fn an_unwanted_piece_that_is_lost_is_not_fetched_again() {
    let mut d = choosy();
    d.seed(1);
    let blocks = d.ask(1, 1000);
    d.send(1, &blocks, 0);
    d.write_all();
    d.s.on_ask(d.now, PeerKey(1), 1000);
    d.s.on_gone(d.now, d.piece(5));
    assert_eq!(d.effects(), [SchedulerEffect::Gone { piece: d.piece(5) }]);
    assert_eq!(d.s.progress(d.now).pieces_missing, 0);
}

/// Open pieces that other peers have can wait while there is a piece that only a seed has.
#[test]
fn a_seed_is_asked_first_for_pieces_that_no_other_peer_has() {
    let mut d = Desk::new();
    d.join(2, &[0]);
    let begun = d.ask(2, 1);
    assert_eq!(begun[0].piece(), d.piece(0));
    d.s.on_returned(d.now, PeerKey(2), &begun);
    d.s.on_ask(d.now, PeerKey(2), 0);
    d.seed(1);
    let of_seed = d.ask(1, 1000);
    let place = of_seed.iter().position(|block| block.piece() == d.piece(0));
    assert_eq!((of_seed.len(), place), (38, Some(34)), "all of it, and that last");
}
