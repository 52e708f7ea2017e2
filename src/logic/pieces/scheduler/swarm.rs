//! A whole simulated swarm in pure code: peers with random pieces and speeds that choke, reject, leave, return and
//! lie, each behind a real `Pipeline`, around one scheduler. Everything follows from one seed; the same seed gives the
//! same trace.

use super::tests::{everything, t0};
use super::*;
use crate::logic::peer::requests::{Arrival, Pipeline, Rejected};
use bytes::Bytes;
use proptest::prelude::*;
use rand::RngExt;
use std::collections::VecDeque;
use std::time::Duration;

/// The behaviour of a simulated peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Honest,
    /// Sends one block in `one_in` with wrong bytes.
    Liar {
        one_in: u32,
    },
    /// Unchokes and never sends a block.
    Silent,
    /// Rejects every request.
    Rejecter,
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts of a simulated peer")]
struct Guest {
    addr: SocketAddr,
    nature: Nature,
    has: Bitfield,
    blocks_per_tick: u32,
    key: Option<PeerKey>,
    pipeline: Pipeline,
    queue: VecDeque<BlockAddr>,
    choking: bool,
    interested: bool,
    lied: bool,
    banned: bool,
}

struct Swarm {
    s: Scheduler,
    geometry: Geometry,
    now: Instant,
    started: Instant,
    dice: SmallRng,
    guests: Vec<Guest>,
    next_key: u32,
    disk: VecDeque<(PieceIndex, bool)>,
    completed: u32,
    trace: Vec<String>,
    unruly: bool,
}

const TICK: Duration = Duration::from_millis(50);

fn truth(block: BlockAddr) -> u8 {
    ((block.piece().get() * 31 + block.number() * 7) % 256) as u8
}

impl Swarm {
    fn new(seed: u64, natures: &[Nature], pieces: u32, credit: u64, everything_somewhere: bool) -> Self {
        let piece_len = [16384, 40_000, 5 * 16384, 16 * 16384][(seed % 4) as usize];
        Self::of_pieces(piece_len, seed, natures, pieces, credit, everything_somewhere)
    }

    fn of_pieces(
        piece_len: u64,
        seed: u64,
        natures: &[Nature],
        pieces: u32,
        credit: u64,
        everything_somewhere: bool,
    ) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let geometry =
            Geometry::new(u64::from(pieces) * piece_len - dice.random_range(0..piece_len), piece_len).unwrap();
        let have = Bitfield::none(pieces);
        let now = t0();
        let guest = |(n, nature): (usize, &Nature)| Guest {
            addr: SocketAddr::from(([10, 0, 0, 1], n as u16)),
            nature: *nature,
            has: Bitfield::none(pieces),
            blocks_per_tick: 1,
            key: None,
            pipeline: Pipeline::new(500),
            queue: VecDeque::new(),
            choking: true,
            interested: false,
            lied: false,
            banned: false,
        };
        let mut guests: Vec<Guest> = natures.iter().enumerate().map(guest).collect();
        for guest in &mut guests {
            guest.blocks_per_tick = [1, 2, 5, 40][dice.random_range(0..4)];
            let share = [0.1, 0.5, 0.9, 1.0][dice.random_range(0..4)];
            geometry.pieces().filter(|_| dice.random_bool(share)).for_each(|p| _ = guest.has.set(p));
        }
        if everything_somewhere {
            let honest: Vec<usize> = (0..guests.len()).filter(|n| guests[*n].nature == Nature::Honest).collect();
            for piece in geometry.pieces() {
                guests[honest[dice.random_range(0..honest.len())]].has.set(piece);
            }
        }
        let max_bps = seed.is_multiple_of(3).then_some(1 << 20);
        let s =
            Scheduler::new(SchedulerConfig { geometry, have, wanted: everything(&geometry), credit, max_bps, seed });
        let (disk, trace) = (VecDeque::new(), Vec::new());
        Self { s, geometry, now, started: now, dice, guests, next_key: 0, disk, completed: 0, trace, unruly: true }
    }

    /// Runs `trouble` ticks with failures, then up to `peace` ticks without, in which the download must finish.
    fn run(&mut self, trouble: u32, peace: u32) {
        for tick in 0..trouble + peace {
            self.unruly = tick < trouble;
            self.now += TICK;
            for n in 0..self.guests.len() {
                self.live(n);
            }
            if self.s.deadline().is_some_and(|at| at <= self.now) {
                self.s.on_timeout(self.now);
            }
            self.drain();
            self.write();
            self.check();
            if self.s.have().is_all() {
                break;
            }
        }
        while !self.disk.is_empty() {
            self.write();
        }
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        self.unruly && self.dice.random_range(0..1000) < per_mille
    }

    fn live(&mut self, n: usize) {
        if self.guests[n].key.is_none() {
            if !self.guests[n].banned && (!self.unruly || self.dice.random_bool(0.2)) {
                self.join(n);
            }
            return;
        }
        if self.chance(4) {
            self.leave(n);
            return;
        }
        let key = self.guests[n].key.unwrap();
        if self.guests[n].choking && (!self.unruly || self.dice.random_bool(0.2)) {
            self.guests[n].choking = false;
            self.guests[n].pipeline.on_unchoked();
        } else if self.chance(20) {
            self.guests[n].choking = true;
            self.guests[n].queue.clear();
            let back = self.guests[n].pipeline.on_choked(self.now);
            self.s.on_returned(self.now, key, &back);
            self.s.on_ask(self.now, key, 0);
        }
        if self.chance(30) {
            self.gain_piece(n, key);
        }
        self.deliver(n, key);
        if self.guests[n].pipeline.deadline().is_some_and(|at| at <= self.now) {
            let back = self.guests[n].pipeline.on_timeout(self.now);
            self.s.on_returned(self.now, key, &back);
        }
        self.drain();
        if self.guests[n].key.is_some() {
            let wants = if self.guests[n].interested { self.guests[n].pipeline.wants() } else { 0 };
            self.s.on_ask(self.now, key, wants);
        }
        self.drain();
    }

    fn join(&mut self, n: usize) {
        let key = PeerKey(self.next_key);
        self.next_key += 1;
        let guest = &mut self.guests[n];
        guest.key = Some(key);
        guest.pipeline = Pipeline::new(500);
        (guest.choking, guest.interested) = (true, false);
        guest.queue.clear();
        let (addr, has) = (guest.addr, guest.has.clone());
        self.s.on_peer_joined(self.now, key, addr);
        self.s.on_bitfield(self.now, key, has);
        self.drain();
    }

    fn leave(&mut self, n: usize) {
        if let Some(key) = self.guests[n].key.take() {
            self.s.on_peer_left(self.now, key);
        }
        self.drain();
    }

    fn gain_piece(&mut self, n: usize, key: PeerKey) {
        let piece = self.geometry.piece(self.dice.random_range(0..self.geometry.piece_count())).unwrap();
        if self.guests[n].has.set(piece) {
            self.s.on_have(self.now, key, &[piece]);
        }
    }

    fn deliver(&mut self, n: usize, key: PeerKey) {
        let mut blocks = Vec::new();
        for _ in 0..self.guests[n].blocks_per_tick {
            let guest = &mut self.guests[n];
            if guest.nature == Nature::Silent {
                return;
            }
            let Some(addr) = guest.queue.pop_front() else { break };
            if guest.nature == Nature::Rejecter {
                if guest.pipeline.on_rejected(self.now, addr) == Rejected::Asked {
                    self.s.on_returned(self.now, key, &[addr]);
                }
                continue;
            }
            let mut byte = truth(addr);
            if let Nature::Liar { one_in } = guest.nature
                && self.dice.random_range(0..one_in) == 0
            {
                byte ^= 1;
                guest.lied = true;
            }
            assert_ne!(guest.pipeline.on_block(self.now, addr), Arrival::Unasked);
            blocks.push(ReceivedBlock { addr, data: Bytes::from(vec![byte; addr.len() as usize]) });
        }
        self.s.on_blocks(self.now, key, blocks);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.s.poll() {
            self.perform(effect);
        }
    }

    fn guest(&mut self, key: PeerKey) -> Option<&mut Guest> {
        self.guests.iter_mut().find(|guest| guest.key == Some(key))
    }

    fn perform(&mut self, effect: SchedulerEffect) {
        let now = self.now;
        match &effect {
            SchedulerEffect::Write { piece, .. } => self.trace.push(format!("write {piece}")),
            effect => self.trace.push(format!("{effect:?}")),
        }
        match effect {
            SchedulerEffect::Grant { peer, blocks } => {
                let Some(guest) = self.guest(peer) else { return };
                assert!(blocks.iter().all(|block| guest.has.has(block.piece())), "only what it has");
                let granted = guest.pipeline.on_granted(now, blocks);
                guest.queue.extend(granted.send);
                self.s.on_returned(now, peer, &granted.refuse);
            }
            SchedulerEffect::Cancel { peer, blocks } => {
                let Some(guest) = self.guest(peer) else { return };
                for block in blocks {
                    if guest.pipeline.on_cancelled(now, block) {
                        guest.queue.retain(|queued| *queued != block);
                    }
                }
            }
            SchedulerEffect::Interest { peer, interested } => {
                let Some(guest) = self.guest(peer) else { return };
                assert_ne!(guest.interested, interested, "only changes");
                guest.interested = interested;
            }
            SchedulerEffect::Write { piece, blocks } => {
                assert!(!self.s.have().has(piece));
                let addrs = self.geometry.blocks(piece);
                assert_eq!(self.geometry.block_count(piece) as usize, blocks.len());
                let good = addrs.zip(blocks.iter()).all(|(addr, data)| {
                    assert_eq!(data.len(), addr.len() as usize);
                    data.iter().all(|byte| *byte == truth(addr))
                });
                assert!(self.disk.iter().all(|(other, _)| *other != piece), "one write at a time");
                self.disk.push_back((piece, good));
            }
            SchedulerEffect::Ban { addr, .. } => {
                let guest = self.guests.iter_mut().find(|guest| guest.addr == addr).unwrap();
                assert!(guest.lied, "an honest peer was banned: {addr}");
                (guest.banned, guest.key) = (true, None);
            }
            SchedulerEffect::Pardon { addr } => {
                let guest = self.guests.iter_mut().find(|guest| guest.addr == addr).unwrap();
                guest.banned = false;
            }
            SchedulerEffect::Completed => self.completed += 1,
            SchedulerEffect::Had { .. } | SchedulerEffect::Gone { .. } | SchedulerEffect::PieceSuspect { .. } => {}
        }
    }

    fn write(&mut self) {
        if self.chance(5) {
            self.disk.clear();
            self.s.on_disk_lost(self.now);
        }
        if self.chance(3) && !self.s.have().is_all() {
            let piece = self.geometry.piece(self.dice.random_range(0..self.geometry.piece_count())).unwrap();
            self.s.on_gone(self.now, piece);
        }
        for _ in 0..self.dice.random_range(0..8) {
            let Some((piece, good)) = self.disk.pop_front() else { break };
            let outcome = match good {
                _ if self.chance(10) => WriteOutcome::Failed,
                true => WriteOutcome::Durable,
                false => WriteOutcome::HashMismatch,
            };
            self.s.on_written(self.now, [(piece, outcome)]);
        }
        self.drain();
    }

    /// The invariants that hold at every moment.
    fn check(&self) {
        let s = &self.s;
        assert!(s.deadline().is_none_or(|at| at > self.now), "no wake-up that changes nothing");
        s.pieces.check();
        let asked: u32 = s.peers.iter().map(|(_, peer)| peer.in_flight).sum();
        assert_eq!(asked, s.pieces.in_flight());
        assert!(s.pieces.iter().all(|(piece, _)| !s.have().has(piece) && !s.picker.is_pickable(piece)));
        for piece in self.geometry.pieces().filter(|piece| !s.have().has(*piece)) {
            let known = s.pieces.has(piece) || s.suspects.is_suspect(piece);
            assert!(known || s.picker.is_pickable(piece), "piece {piece} is lost");
        }
        for guest in &self.guests {
            let Some(key) = guest.key else { continue };
            assert_eq!(guest.interested, guest.has.has_beyond(s.have()), "interest in {key} is exact");
            let peer = s.peers.get(key).unwrap();
            assert_eq!(peer.in_flight, guest.pipeline.outstanding(), "{key}: no block is lost between the two");
            assert!(peer.want == 0 || s.peers.is_waiting(key));
            if !peer.trust.is_proven() {
                let under_way = s.pieces.under_way_with(key, guest.addr).collect();
                assert_eq!(*peer.trust.pieces(), under_way, "{key}: what is under way with it");
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.now - self.started
    }
}

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        6 => Just(Nature::Honest),
        1 => Just(Nature::Liar { one_in: 1 }),
        1 => Just(Nature::Liar { one_in: 30 }),
        1 => Just(Nature::Silent),
        1 => Just(Nature::Rejecter),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// With an honest seed or every piece among honest peers, the download completes whatever the hostile peers do.
    #[test]
    fn any_swarm_with_every_piece_among_honest_peers_completes(
        seed in any::<u64>(),
        natures in prop::collection::vec(nature(), 1..12),
        pieces in 1u32..80,
        credit_pieces in 0u64..40,
    ) {
        let mut natures = natures;
        natures.push(Nature::Honest);
        let mut swarm = Swarm::new(seed, &natures, pieces, credit_pieces * 100_000, true);
        swarm.run(4_000, 20_000);
        let progress = swarm.s.progress(swarm.now);
        prop_assert!(swarm.s.have().is_all(), "after {:?}: {progress:?}\n{:#?}", swarm.elapsed(), swarm.s.pieces);
        prop_assert_eq!(swarm.completed, 1);
        prop_assert_eq!(progress.credit_free, credit_pieces * 100_000, "credit is back to full");
        prop_assert_eq!((progress.in_flight_blocks, progress.open_pieces, progress.writing_pieces), (0, 0, 0));
        prop_assert_eq!(progress.bytes_have, progress.bytes_total);
        prop_assert!(progress.received >= progress.bytes_total);
    }

    /// Pieces that no peer has stay missing; all others are downloaded.
    #[test]
    fn exactly_the_pieces_that_a_peer_has_are_fetched(seed in any::<u64>(), honest in 1usize..6, pieces in 1u32..60) {
        let mut swarm = Swarm::new(seed, &vec![Nature::Honest; honest], pieces, 1_000_000, false);
        swarm.run(4_000, 4_000);
        let mut somewhere = Bitfield::none(pieces);
        for guest in &swarm.guests {
            guest.has.iter_ones().for_each(|n| _ = somewhere.set(swarm.geometry.piece(n).unwrap()));
        }
        prop_assert_eq!(swarm.s.have(), &somewhere);
        let progress = swarm.s.progress(swarm.now);
        prop_assert_eq!(progress.in_flight_blocks, 0);
        prop_assert!(progress.open_pieces == 0, "credit is back to full: {:?}", progress);
    }

    #[test]
    fn the_same_seed_gives_the_same_trace(seed in any::<u64>(), natures in prop::collection::vec(nature(), 1..6)) {
        let traces: Vec<_> = (0..2).map(|_| {
            let mut swarm = Swarm::new(seed, &natures, 20, 2_000_000, false);
            swarm.run(1_000, 1_000);
            swarm.trace
        }).collect();
        prop_assert_eq!(&traces[0], &traces[1]);
    }
}

/// P-14: the number of liars bounds the waste, every liar is banned, and no honest peer is.
#[test]
fn liars_are_caught_and_their_waste_is_bounded() {
    for seed in 0..40 {
        let mut natures = vec![Nature::Honest; 5];
        natures.extend([Nature::Liar { one_in: 1 }, Nature::Liar { one_in: 1 }, Nature::Liar { one_in: 20 }]);
        let mut swarm = Swarm::of_pieces(1 << 18, seed, &natures, 200, 1 << 30, true);
        swarm.run(0, 40_000);
        assert!(swarm.s.have().is_all(), "seed {seed}");
        let caught =
            |one_in| swarm.guests.iter().filter(move |g| g.nature == Nature::Liar { one_in } && g.banned).count();
        assert_eq!(caught(1), 2, "seed {seed}");
        assert!(swarm.guests.iter().all(|guest| !guest.banned || guest.nature != Nature::Honest), "seed {seed}");
        let progress = swarm.s.progress(swarm.now);
        assert!(progress.hash_failures <= 12, "seed {seed}: {progress:?}");
        assert!(progress.wasted <= 20 << 18, "seed {seed}: {progress:?}");
    }
}

/// In a swarm without failures only the endgame wastes blocks.
#[test]
fn an_honest_quiet_swarm_wastes_next_to_nothing() {
    for seed in 0..20 {
        let mut swarm = Swarm::new(seed, &[Nature::Honest; 6], 100, 1 << 30, true);
        swarm.run(0, 40_000);
        let progress = swarm.s.progress(swarm.now);
        assert!(swarm.s.have().is_all(), "seed {seed}");
        assert!(progress.wasted <= 6 * 8 * 16384, "seed {seed}: {progress:?}");
    }
}

/// Counts steps, not time: what a pick costs with 100,000 pieces against 1,000.
#[test]
fn the_cost_of_a_grant_does_not_grow_with_the_pieces() {
    let mut cost = Vec::new();
    for pieces in [1_000u32, 100_000] {
        let g = Geometry::new(u64::from(pieces) * 16384, 16384).unwrap();
        let have = Bitfield::none(pieces);
        let mut s = Scheduler::new(SchedulerConfig {
            geometry: g,
            have,
            wanted: everything(&g),
            credit: 1 << 24,
            max_bps: None,
            seed: 1,
        });
        let now = t0();
        let mut half = Bitfield::none(pieces);
        g.pieces().filter(|p| p.get() % 2 == 0).for_each(|p| assert!(half.set(p)));
        for (n, has) in [Bitfield::all(pieces), half.clone(), half].into_iter().enumerate() {
            s.on_peer_joined(now, PeerKey(n as u32), SocketAddr::from(([10, 0, 0, 1], n as u16)));
            s.on_bitfield(now, PeerKey(n as u32), has);
        }
        for round in 0..300u32 {
            let key = PeerKey(round % 3);
            s.on_ask(now, key, 16);
            while let Some(effect) = s.poll() {
                match effect {
                    SchedulerEffect::Grant { peer, blocks } => {
                        let block = |addr: &BlockAddr| ReceivedBlock { addr: *addr, data: Bytes::from(vec![0; 16384]) };
                        s.on_blocks(now, peer, blocks.iter().map(block).collect());
                    }
                    SchedulerEffect::Write { piece, .. } => s.on_written(now, [(piece, WriteOutcome::Durable)]),
                    _ => {}
                }
            }
        }
        cost.push(s.picker.steps() / u64::from(s.have().ones()));
    }
    assert!(cost[1] <= cost[0] * 11 / 10 + 1, "steps per piece with 1,000 and 100,000 pieces: {cost:?}");
}
