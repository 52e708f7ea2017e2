//! Super-seeding (BEP 16): decides which piece is announced to which peer. It is "designed to help a torrent initiator
//! with limited bandwidth 'pump up' a large torrent, reducing the amount of data it needs to upload".
//!
//! We look to every peer like a peer without data. Each peer is announced two pieces that no other peer has, and the
//! next one when another peer says that it has one of those: "the seed will not inform it of any other pieces until it
//! has seen the piece it had sent previously present on at least one other client". So we upload every piece about
//! once, and a peer that passes on more gets more.
//!
//! No peer waits for ever. The only leech has no other peer to pass a piece on to, so its own `have` counts. A peer
//! that has got nothing new for `STUCK_AFTER` is announced one more piece, whichever peers have it already.
//!
//! This module knows peers by their keys and pieces by their numbers. It makes no messages.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex};
use crate::base::ids::PeerKey;

/// Two pieces are announced to a peer at a time, as in libtorrent: it fetches one while the other is passed on.
const AT_ONCE: usize = 2;

/// 30 s without a new piece: the peer is stuck. As long as one optimistic unchoke (BEP 3).
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Announce this piece to this peer, which may request it from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Naming {
    /// The peer.
    pub peer: PeerKey,
    /// The piece.
    pub piece: PieceIndex,
}

/// A connected peer.
#[derive(Debug)]
struct Peer {
    /// The pieces that it says it has.
    has: Bitfield,
    /// Pieces that were announced to it and not yet seen at another peer.
    open: Vec<PieceIndex>,
    /// All pieces that were ever announced to it.
    named: Bitfield,
    /// When it last got a piece, or was announced one because it was stuck.
    moved: Instant,
}

/// Decides which pieces are announced to which peers. The head of this file states the rules.
#[derive(Debug)]
pub struct SuperSeed {
    geometry: Geometry,
    dice: SmallRng,
    peers: BTreeMap<PeerKey, Peer>,
    /// For each piece: the number of connected peers that have it or were announced it.
    spread: Vec<u32>,
    /// The number of pieces whose `spread` is 0.
    unspread: u32,
    /// Announcements that [`Self::poll`] has not returned yet.
    outbox: VecDeque<Naming>,
}

impl SuperSeed {
    /// Starts without peers. `seed` decides all random choices.
    pub fn new(geometry: Geometry, seed: u64) -> Self {
        let (dice, unspread) = (SmallRng::seed_from_u64(seed), geometry.piece_count());
        let spread = vec![0; unspread as usize];
        Self { geometry, dice, peers: BTreeMap::new(), spread, unspread, outbox: VecDeque::new() }
    }

    /// A peer has joined and may be announced pieces. It has none until [`Self::on_has`].
    pub fn on_joined(&mut self, now: Instant, peer: PeerKey) {
        let none = || Bitfield::none(self.geometry.piece_count());
        self.peers.entry(peer).or_insert_with(|| Peer { has: none(), open: Vec::new(), named: none(), moved: now });
        self.name_to_all();
    }

    /// The peer says that it has these pieces.
    pub fn on_has(&mut self, now: Instant, peer: PeerKey, pieces: &[PieceIndex]) {
        let Some(teller) = self.peers.get_mut(&peer) else { return };
        let new: Vec<_> = pieces.iter().copied().filter(|piece| teller.has.set(*piece)).collect();
        if new.is_empty() {
            return;
        }
        teller.moved = now;
        for piece in new.iter().filter(|piece| !teller.named.has(**piece)) {
            self.unspread -= u32::from(self.spread[piece.at()] == 0);
            self.spread[piece.at()] += 1;
        }
        for (other, named) in &mut self.peers {
            if *other != peer {
                named.open.retain(|piece| !new.contains(piece));
            }
        }
        self.name_to_all();
    }

    /// The peer has left, and its pieces with it.
    pub fn on_left(&mut self, peer: PeerKey) {
        let Some(gone) = self.peers.remove(&peer) else { return };
        for piece in self.geometry.pieces().filter(|piece| gone.has.has(*piece) || gone.named.has(*piece)) {
            self.spread[piece.at()] -= 1;
            self.unspread += u32::from(self.spread[piece.at()] == 0);
        }
        self.name_to_all();
    }

    /// Announces one more piece to every peer that is stuck. Call it at [`Self::deadline`].
    pub fn on_timeout(&mut self, now: Instant) {
        let stuck = |peer: &Peer| !peer.has.is_all() && now >= peer.moved + STUCK_AFTER;
        let stuck: Vec<_> = self.peers.iter().filter(|(_, peer)| stuck(peer)).map(|(key, _)| *key).collect();
        for key in stuck {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.moved = now;
            }
            self.name_rarest(key, u32::MAX);
        }
    }

    /// When to call [`Self::on_timeout`]: when the next peer becomes stuck. `None` if no peer can.
    pub fn deadline(&self) -> Option<Instant> {
        let waiting = self.peers.values().filter(|peer| !peer.has.is_all() && !peer.named.is_all());
        waiting.map(|peer| peer.moved + STUCK_AFTER).min()
    }

    /// Returns the next announcement, or `None`.
    pub fn poll(&mut self) -> Option<Naming> {
        self.outbox.pop_front()
    }

    /// Announces pieces that no peer has or was announced to the peers with room for one, one piece for each peer in
    /// turn.
    fn name_to_all(&mut self) {
        let leeches = self.peers.values().filter(|peer| !peer.has.is_all()).count();
        if leeches == 1 {
            // No other peer could get the piece.
            for peer in self.peers.values_mut() {
                let has = &peer.has;
                peer.open.retain(|piece| !has.has(*piece));
            }
        }
        for least in (0..AT_ONCE).rev() {
            if leeches > 1 && self.unspread == 0 {
                return;
            }
            // First the peers without an open announcement, then those with one.
            let has_room = |peer: &Peer| !peer.has.is_all() && peer.open.len() + least < AT_ONCE;
            let open: Vec<_> = self.peers.iter().filter(|(_, peer)| has_room(peer)).map(|(key, _)| *key).collect();
            for key in open {
                self.name_rarest(key, if leeches == 1 { u32::MAX } else { 1 });
            }
        }
    }

    /// Announces to the peer one of the pieces with the lowest `spread`, if that is below `below`.
    fn name_rarest(&mut self, key: PeerKey, below: u32) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let lacks = |piece: &PieceIndex| !peer.has.has(*piece) && !peer.named.has(*piece);
        let mut best: Option<(u32, PieceIndex)> = None;
        let mut equals = 0_u32;
        for piece in self.geometry.pieces().filter(lacks) {
            let spread = self.spread[piece.at()];
            match best {
                Some((least, _)) if spread > least => continue,
                Some((least, _)) if spread == least => equals += 1,
                _ => equals = 1,
            }
            // Each of the equally rare pieces with the same probability.
            if self.dice.random_range(0..equals) == 0 {
                best = Some((spread, piece));
            }
        }
        let Some((_, piece)) = best.filter(|(spread, _)| *spread < below) else { return };
        peer.named.set(piece);
        peer.open.push(piece);
        self.unspread -= u32::from(self.spread[piece.at()] == 0);
        self.spread[piece.at()] += 1;
        self.outbox.push_back(Naming { peer: key, piece });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::logic::testing::base_instant;

    const SECOND: Duration = Duration::from_secs(1);
    const A: PeerKey = PeerKey(1);
    const B: PeerKey = PeerKey(2);

    struct Bench {
        now: Instant,
        it: SuperSeed,
    }

    impl Bench {
        fn new(pieces: u64) -> Self {
            let geometry = Geometry::new(pieces * 16384, 16384).unwrap();
            Self { now: base_instant(), it: SuperSeed::new(geometry, 1) }
        }

        fn joins(&mut self, peer: PeerKey) -> Vec<(u32, u32)> {
            self.it.on_joined(self.now, peer);
            self.named()
        }

        fn has(&mut self, peer: PeerKey, pieces: &[u32]) -> Vec<(u32, u32)> {
            let pieces: Vec<_> = pieces.iter().map(|number| self.it.geometry.piece(*number).unwrap()).collect();
            self.it.on_has(self.now, peer, &pieces);
            self.named()
        }

        /// Peer and piece of every announcement.
        fn named(&mut self) -> Vec<(u32, u32)> {
            std::iter::from_fn(|| self.it.poll()).map(|naming| (naming.peer.0, naming.piece.get())).collect()
        }
    }

    #[test]
    fn each_peer_is_named_two_pieces_and_no_piece_is_named_twice() {
        let mut bench = Bench::new(100);
        let mut named = bench.joins(A);
        named.extend(bench.joins(B));
        assert_eq!(named.iter().map(|(peer, _)| *peer).collect::<Vec<_>>(), [1, 1, 2, 2]);
        assert_eq!(named.iter().map(|(_, piece)| *piece).collect::<BTreeSet<_>>().len(), 4);
    }

    #[test]
    fn the_next_piece_comes_when_another_peer_has_got_the_last() {
        let mut bench = Bench::new(100);
        let first = bench.joins(A)[0].1;
        bench.joins(B);
        assert_eq!(bench.has(A, &[first]), [], "that it has it itself is not enough");
        let next = bench.has(B, &[first]);
        assert!(matches!(next[..], [(1, piece)] if piece != first), "{next:?}");
        assert_eq!(bench.has(B, &[first]), [], "said twice, counted once");
    }

    #[test]
    fn a_lone_peer_is_announced_one_piece_after_the_other() {
        let mut bench = Bench::new(10);
        let mut to_fetch: VecDeque<u32> = bench.joins(A).into_iter().map(|(_, piece)| piece).collect();
        let mut got = BTreeSet::new();
        while let Some(piece) = to_fetch.pop_front() {
            assert!(got.insert(piece));
            to_fetch.extend(bench.has(A, &[piece]).into_iter().map(|(_, piece)| piece));
        }
        assert_eq!(got.len(), 10);
        assert_eq!(bench.it.deadline(), None, "a seed waits for nothing");
    }

    #[test]
    fn a_peer_that_the_others_left_is_announced_more_pieces() {
        let mut bench = Bench::new(10);
        let first = bench.joins(A)[0].1;
        bench.joins(B);
        assert_eq!(bench.has(A, &[first]), []);
        bench.it.on_left(B);
        assert_eq!(bench.named().len(), 1);
    }

    #[test]
    fn a_peer_without_a_new_piece_for_half_a_minute_is_announced_one_more() {
        let mut bench = Bench::new(100);
        let first = bench.joins(A);
        let named = [first.clone(), bench.joins(B)].concat();
        let other = (0..100).find(|piece| named.iter().all(|(_, named)| named != piece)).unwrap();
        bench.has(A, &[first[0].1, first[1].1]);
        bench.now += SECOND * 29;
        bench.has(B, &[other]);
        bench.it.on_timeout(bench.now);
        assert_eq!(bench.named(), []);
        assert_eq!(bench.it.deadline(), Some(bench.now + SECOND));
        bench.now += SECOND;
        bench.it.on_timeout(bench.now);
        assert!(matches!(bench.named()[..], [(1, _)]));
    }

    #[test]
    fn pieces_of_a_peer_that_left_are_announced_again() {
        let mut bench = Bench::new(4);
        let first: BTreeSet<u32> = bench.joins(A).into_iter().map(|(_, piece)| piece).collect();
        bench.joins(B);
        bench.it.on_left(A);
        bench.named();
        let again: BTreeSet<u32> = bench.joins(PeerKey(3)).into_iter().map(|(_, piece)| piece).collect();
        assert_eq!(again, first);
    }

    /// Six peers, each of which fetches a piece from us in one second and passes it on in the next: we upload each
    /// piece once.
    #[test]
    fn every_piece_is_uploaded_once_where_peers_pass_on_what_they_get() {
        let (pieces, peers) = (60_u32, 6_u32);
        let mut bench = Bench::new(pieces.into());
        let mut to_fetch: Vec<(u32, u32)> = (0..peers).flat_map(|key| bench.joins(PeerKey(key))).collect();
        let mut has: BTreeMap<u32, BTreeSet<u32>> = (0..peers).map(|key| (key, BTreeSet::new())).collect();
        let (mut given, mut rounds) = (0, 0);
        while has.values().any(|has| has.len() < pieces as usize) {
            rounds += 1;
            assert!(rounds < 500, "they get on: {has:?}");
            bench.now += SECOND;
            let all: BTreeSet<u32> = has.values().flatten().copied().collect();
            let mut news = std::mem::take(&mut to_fetch);
            given += news.len();
            for (key, had) in &has {
                news.extend(all.difference(had).next().map(|piece| (*key, *piece)));
            }
            for (key, piece) in news {
                has.get_mut(&key).unwrap().insert(piece);
                to_fetch.extend(bench.has(PeerKey(key), &[piece]));
            }
            bench.it.on_timeout(bench.now);
            to_fetch.extend(bench.named());
        }
        assert!((60..=63).contains(&given), "{given} of 60 pieces were given in {rounds} rounds");
    }
}
