//! Which piece next: rarest first (BEP 3), at a cost that does not grow with the number of pieces.
//!
//! Pieces that may be picked lie in one bucket per availability and know their place, so that a `have` is one swap.
//! Peers with everything are counted apart: they change no order, and joining costs nothing. Does not know blocks,
//! peers by name, or time.

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex};

/// 64 pieces are looked at in strict order of rarity for one pick. A swarm whose pieces are well mixed hits within a
/// few; beyond, [`Shortlist`] is sampled. Picked by eye: 64 tests of a bit are well under a microsecond.
const LOOKS: u32 = 64;

/// The rarest of 32 pieces drawn from a shortlist is picked: among the rarest 7 % in nine of ten picks.
const SAMPLE: usize = 32;

/// 256 KiB of small pieces are fetched as one where they are equally rare, by who can take them at once: 16 requests, the
/// depth of a link that is worth it. Larger pieces need no neighbours. Picked by eye.
const EXTENT: u64 = 256 * 1024;

/// Not in any bucket.
const NOWHERE: u32 = u32::MAX;

/// What one peer has that may be picked, made only when its pieces are hard to find in order of rarity: a peer that has
/// but the common half must not cost a walk over the rare half each time.
#[derive(Debug, Default)]
pub struct Shortlist {
    pieces: Option<Vec<PieceIndex>>,
    made_at: u64,
}

impl Shortlist {
    /// The peer announced one more piece.
    pub fn add(&mut self, piece: PieceIndex) {
        if let Some(pieces) = &mut self.pieces {
            pieces.push(piece);
        }
    }
}

/// Availability of every piece, and the order in which those that may be picked are picked.
#[derive(Debug)]
pub struct Picker {
    geometry: Geometry,
    /// How many peers have a piece, those counted in `seeds` apart.
    availability: Vec<u32>,
    /// Place of a piece in its bucket, or [`NOWHERE`].
    places: Vec<u32>,
    buckets: Vec<Vec<PieceIndex>>,
    pickable: Bitfield,
    /// Pieces neither had nor available from a peer that is not a seed.
    orphans: u32,
    had: Bitfield,
    seeds: u32,
    /// Counts pieces put back: a shortlist made before may lack them.
    returns: u64,
    steps: u64,
}

impl Picker {
    /// Everything that is not had may be picked; nobody has anything yet.
    pub fn new(geometry: Geometry, have: &Bitfield) -> Self {
        let pieces = geometry.piece_count();
        let mut picker = Self {
            geometry,
            availability: vec![0; pieces as usize],
            places: vec![NOWHERE; pieces as usize],
            buckets: vec![Vec::new()],
            pickable: Bitfield::none(pieces),
            orphans: pieces - have.ones(),
            had: have.clone(),
            seeds: 0,
            returns: 0,
            steps: 0,
        };
        for piece in geometry.pieces().filter(|piece| !have.has(*piece)) {
            picker.enter(piece);
        }
        picker
    }

    /// A peer with every piece came.
    pub fn on_seed_joined(&mut self) {
        self.seeds += 1;
    }

    /// A peer that was counted by [`Self::on_seed_joined`] left.
    pub fn on_seed_left(&mut self) {
        self.seeds = self.seeds.saturating_sub(1);
    }

    /// A peer with these pieces came.
    pub fn on_joined(&mut self, has: &Bitfield) {
        for number in has.iter_ones() {
            if let Some(piece) = self.geometry.piece(number) {
                self.on_have(piece);
            }
        }
    }

    /// A peer with these pieces left.
    pub fn on_left(&mut self, has: &Bitfield) {
        for number in has.iter_ones() {
            if let Some(piece) = self.geometry.piece(number) {
                self.on_lost(piece);
            }
        }
    }

    /// One more peer has the piece.
    pub fn on_have(&mut self, piece: PieceIndex) {
        self.shift(piece, self.availability[piece.at()].saturating_add(1));
    }

    /// One peer less has the piece.
    pub fn on_lost(&mut self, piece: PieceIndex) {
        self.shift(piece, self.availability[piece.at()].saturating_sub(1));
    }

    /// How many connected peers have the piece.
    pub fn available(&self, piece: PieceIndex) -> u32 {
        self.availability[piece.at()].saturating_add(self.seeds)
    }

    /// The piece is ours now: never again to be picked.
    pub fn on_had(&mut self, piece: PieceIndex) {
        self.take(piece);
        if self.had.set(piece) && self.availability[piece.at()] == 0 {
            self.orphans -= 1;
        }
    }

    /// The piece was ours and is not any more.
    pub fn on_gone(&mut self, piece: PieceIndex) {
        if self.had.clear(piece) {
            self.orphans += u32::from(self.availability[piece.at()] == 0);
            self.put_back(piece);
        }
    }

    /// The piece is being worked on: not to be picked until it is put back.
    pub fn take(&mut self, piece: PieceIndex) {
        if self.pickable.clear(piece) {
            self.leave_bucket(piece);
        }
    }

    /// The piece may be picked again.
    pub fn put_back(&mut self, piece: PieceIndex) {
        if !self.had.has(piece) && !self.pickable.has(piece) {
            self.enter(piece);
            self.returns += 1;
        }
    }

    /// May it be picked?
    pub fn is_pickable(&self, piece: PieceIndex) -> bool {
        self.pickable.has(piece)
    }

    /// Is there any piece to pick that some connected peer has?
    pub fn has_obtainable(&self) -> bool {
        if self.seeds > 0 {
            !self.pickable.is_none()
        } else {
            self.buckets[1..].iter().any(|bucket| !bucket.is_empty())
        }
    }

    /// Is there any piece to pick that only seeds have?
    pub fn only_seeds_have_some(&self) -> bool {
        self.seeds > 0 && !self.buckets[0].is_empty()
    }

    /// Has anybody this piece who is not a seed?
    pub fn is_passed_on(&self, piece: PieceIndex) -> bool {
        self.availability[piece.at()] > 0
    }

    /// Is there any piece to pick among these? One pass over two bitfields.
    pub fn has_any_of(&self, has: &Bitfield) -> bool {
        has.as_bytes().iter().zip(self.pickable.as_bytes()).any(|(theirs, ours)| theirs & ours != 0)
    }

    /// Pieces that we lack and no connected peer has.
    pub fn nobody_has(&self) -> u32 {
        if self.seeds > 0 { 0 } else { self.orphans }
    }

    /// Picks the rarest piece that the peer has, by dice among equals, and takes it.
    pub fn pick(&mut self, has: &Bitfield, shortlist: &mut Shortlist, dice: &mut SmallRng) -> Option<PieceIndex> {
        let piece = self.look_in_order(has, dice).or_else(|| self.sample(has, shortlist, dice, SAMPLE))?;
        self.take(piece);
        Some(piece)
    }

    /// Picks the piece behind one that was just picked, if the peer has it too and it is as rare, and takes it: neighbours
    /// are written at once, and lie together in memory. No further than to the next multiple of `EXTENT`, as libtorrent's
    /// `piece_extent_affinity` has it.
    pub fn pick_behind(&mut self, before: PieceIndex, has: &Bitfield) -> Option<PieceIndex> {
        self.steps += 1;
        let piece = self.geometry.piece(before.get() + 1)?;
        let is_equal = self.availability[piece.at()] == self.availability[before.at()];
        let is_near = !self.geometry.piece_start(piece).is_multiple_of(EXTENT);
        if !(is_equal && is_near && self.pickable.has(piece) && has.has(piece)) {
            return None;
        }
        self.take(piece);
        Some(piece)
    }

    /// Picks any piece that the peer has, whatever its rarity, and takes it: the first few are random, so that there is
    /// soon something to give ("Random First Piece" of Cohen's paper).
    pub fn pick_random(&mut self, has: &Bitfield, list: &mut Shortlist, dice: &mut SmallRng) -> Option<PieceIndex> {
        let mut tries =
            (0..LOOKS).filter_map(|_| self.geometry.piece(dice.random_range(0..self.geometry.piece_count())));
        let lucky = tries.find(|piece| self.pickable.has(*piece) && has.has(*piece));
        let piece = lucky.or_else(|| self.sample(has, list, dice, 1))?;
        self.take(piece);
        Some(piece)
    }

    /// Pieces looked at since the start: what a pick costs, for tests.
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    fn look_in_order(&mut self, has: &Bitfield, dice: &mut SmallRng) -> Option<PieceIndex> {
        // A peer that has a piece is counted in its availability, so only a seed has pieces of availability 0.
        let first = usize::from(!has.is_all());
        let mut looks = 0;
        for bucket in self.buckets.iter().skip(first).filter(|bucket| !bucket.is_empty()) {
            let start = dice.random_range(0..bucket.len());
            for piece in bucket[start..].iter().chain(&bucket[..start]) {
                looks += 1;
                if has.has(*piece) {
                    self.steps += u64::from(looks);
                    return Some(*piece);
                }
                if looks == LOOKS {
                    self.steps += u64::from(looks);
                    return None;
                }
            }
        }
        self.steps += u64::from(looks);
        None
    }

    /// The rarest of up to `draws` pieces from the shortlist, which is made if it is missing or may be incomplete. None
    /// only if the peer has nothing that may be picked.
    fn sample(
        &mut self,
        has: &Bitfield,
        shortlist: &mut Shortlist,
        dice: &mut SmallRng,
        draws: usize,
    ) -> Option<PieceIndex> {
        let rarest = self.draw(shortlist, dice, draws);
        if rarest.is_some() || (shortlist.pieces.is_some() && shortlist.made_at == self.returns) {
            return rarest;
        }
        shortlist.pieces = Some(self.pickable_of(has));
        shortlist.made_at = self.returns;
        self.draw(shortlist, dice, draws)
    }

    /// Every draw either counts or removes a piece that may not be picked any more, so the list pays for itself.
    fn draw(&mut self, shortlist: &mut Shortlist, dice: &mut SmallRng, draws: usize) -> Option<PieceIndex> {
        let pieces = shortlist.pieces.as_mut()?;
        let mut rarest: Option<PieceIndex> = None;
        let mut drawn = 0;
        while drawn < draws && !pieces.is_empty() {
            self.steps += 1;
            let at = dice.random_range(0..pieces.len());
            let piece = pieces[at];
            if !self.pickable.has(piece) {
                pieces.swap_remove(at);
                continue;
            }
            drawn += 1;
            if rarest.is_none_or(|best| self.availability[piece.at()] < self.availability[best.at()]) {
                rarest = Some(piece);
            }
        }
        rarest
    }

    /// What the peer has that may be picked: one pass over two bitfields.
    fn pickable_of(&mut self, has: &Bitfield) -> Vec<PieceIndex> {
        self.steps += has.as_bytes().len() as u64 / 8;
        let bytes = (0u32..).zip(has.as_bytes().iter().zip(self.pickable.as_bytes()));
        let both = bytes.filter_map(|(at, (theirs, ours))| (theirs & ours != 0).then_some((at, theirs & ours)));
        let numbers = both
            .flat_map(|(at, byte)| (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| at * 8 + bit));
        numbers.filter_map(|number| self.geometry.piece(number)).collect()
    }

    fn enter(&mut self, piece: PieceIndex) {
        self.pickable.set(piece);
        self.enter_bucket(piece);
    }

    fn shift(&mut self, piece: PieceIndex, availability: u32) {
        let before = self.availability[piece.at()];
        let bucketed = self.pickable.has(piece);
        if bucketed {
            self.leave_bucket(piece);
        }
        self.availability[piece.at()] = availability;
        if bucketed {
            self.enter_bucket(piece);
        }
        if !self.had.has(piece) {
            self.orphans += u32::from(availability == 0 && before > 0);
            self.orphans -= u32::from(availability > 0 && before == 0);
        }
    }

    fn enter_bucket(&mut self, piece: PieceIndex) {
        let availability = self.availability[piece.at()] as usize;
        if self.buckets.len() <= availability {
            self.buckets.resize_with(availability + 1, Vec::new);
        }
        let bucket = &mut self.buckets[availability];
        self.places[piece.at()] = u32::try_from(bucket.len()).expect("at most as long as there are pieces");
        bucket.push(piece);
    }

    fn leave_bucket(&mut self, piece: PieceIndex) {
        let place = std::mem::replace(&mut self.places[piece.at()], NOWHERE);
        let bucket = &mut self.buckets[self.availability[piece.at()] as usize];
        bucket.swap_remove(place as usize);
        if let Some(moved) = bucket.get(place as usize) {
            self.places[moved.at()] = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    fn geometry(pieces: u32) -> Geometry {
        Geometry::new(u64::from(pieces) * 16, 16).unwrap()
    }

    fn set(pieces: u32, numbers: impl IntoIterator<Item = u32>) -> Bitfield {
        let mut set = Bitfield::none(pieces);
        for number in numbers {
            set.set(geometry(pieces).piece(number).unwrap());
        }
        set
    }

    fn picker(pieces: u32) -> (Picker, SmallRng) {
        (Picker::new(geometry(pieces), &Bitfield::none(pieces)), SmallRng::seed_from_u64(1))
    }

    #[test]
    fn the_rarest_piece_comes_first() {
        let (mut picker, mut dice) = picker(10);
        let seed = Bitfield::all(10);
        picker.on_seed_joined();
        picker.on_joined(&set(10, 0..9));
        picker.on_joined(&set(10, 0..8));
        let order: Vec<u32> = std::iter::from_fn(|| picker.pick(&seed, &mut Shortlist::default(), &mut dice))
            .map(PieceIndex::get)
            .collect();
        assert_eq!(order[..2], [9, 8]);
        assert_eq!(order.len(), 10);
    }

    #[test]
    fn the_piece_behind_is_picked_if_it_is_as_rare_and_in_the_same_extent() {
        let geometry = Geometry::new(40 * 16 * 1024, 16 * 1024).unwrap();
        let mut picker = Picker::new(geometry, &Bitfield::none(40));
        let piece = |number| geometry.piece(number).unwrap();
        let mut has = Bitfield::all(40);
        picker.on_joined(&has);
        let behind =
            |picker: &mut Picker, number, has: &Bitfield| picker.pick_behind(piece(number), has).map(PieceIndex::get);
        assert_eq!(behind(&mut picker, 3, &has), Some(4));
        assert_eq!(behind(&mut picker, 3, &has), None, "it is taken");
        assert_eq!(behind(&mut picker, 15, &has), None, "256 KiB end there");
        assert_eq!(behind(&mut picker, 39, &has), None, "there is none");
        picker.on_have(piece(8));
        assert_eq!(behind(&mut picker, 7, &has), None, "it is less rare");
        has.clear(piece(10));
        assert_eq!(behind(&mut picker, 9, &has), None, "the peer lacks it");
        let geometry = Geometry::new(1 << 22, EXTENT).unwrap();
        let mut picker = Picker::new(geometry, &Bitfield::none(16));
        assert_eq!(picker.pick_behind(geometry.piece(2).unwrap(), &Bitfield::all(16)), None, "large pieces are alone");
    }

    #[test]
    fn a_seed_changes_no_order_and_costs_no_step() {
        let (mut picker, mut dice) = picker(100_000);
        picker.on_seed_joined();
        assert_eq!(picker.steps(), 0);
        assert_eq!(picker.nobody_has(), 0);
        for _ in 0..100_000 {
            picker.pick(&Bitfield::all(100_000), &mut Shortlist::default(), &mut dice).unwrap();
        }
        assert_eq!(picker.steps(), 100_000);
        picker.on_seed_left();
        assert_eq!(picker.nobody_has(), 100_000);
    }

    /// The worst case: every piece that is rarer is one that the peer lacks.
    #[test]
    fn a_pick_does_not_walk_over_pieces_that_the_peer_lacks() {
        let mut cost = Vec::new();
        for pieces in [1_000, 100_000] {
            let (mut picker, mut dice) = picker(pieces);
            let common = set(pieces, pieces / 2..pieces);
            picker.on_joined(&set(pieces, 0..pieces));
            picker.on_joined(&common);
            let mut shortlist = Shortlist::default();
            let mut picks = 0;
            while picker.pick(&common, &mut shortlist, &mut dice).is_some() {
                picks += 1;
            }
            assert_eq!(picks, u64::from(pieces / 2));
            cost.push(picker.steps() / picks);
        }
        assert!(cost[1] <= cost[0] + 5, "steps per pick with 1,000 and 100,000 pieces: {cost:?}");
        assert!(cost[1] <= u64::from(LOOKS) + SAMPLE as u64 + 8, "{cost:?}");
    }

    #[test]
    fn a_piece_put_back_is_found_through_an_exhausted_shortlist() {
        let (mut picker, mut dice) = picker(1000);
        let common = set(1000, 500..1000);
        picker.on_joined(&set(1000, 0..1000));
        picker.on_joined(&common);
        let mut shortlist = Shortlist::default();
        let first = picker.pick(&common, &mut shortlist, &mut dice).unwrap();
        while picker.pick(&common, &mut shortlist, &mut dice).is_some() {}
        picker.put_back(first);
        assert_eq!(picker.pick(&common, &mut shortlist, &mut dice), Some(first));
        assert_eq!(picker.pick(&common, &mut shortlist, &mut dice), None);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Join(Vec<u32>),
        Leave(usize),
        Have(usize, u32),
        Pick(usize),
        Random(usize),
        PutBack(u32),
        Had(u32),
        Gone(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let piece = 0u32..200;
        prop_oneof![
            prop::collection::vec(piece.clone(), 0..150).prop_map(Step::Join),
            (0usize..4).prop_map(Step::Leave),
            (0usize..4, piece.clone()).prop_map(|(peer, piece)| Step::Have(peer, piece)),
            (0usize..4).prop_map(Step::Pick),
            (0usize..4).prop_map(Step::Random),
            piece.clone().prop_map(Step::PutBack),
            piece.clone().prop_map(Step::Had),
            piece.prop_map(Step::Gone),
        ]
    }

    proptest! {
        /// Against plain counting: counts agree, a pick is one that the peer has, nothing is picked twice, and there is
        /// no pick only if the peer has nothing.
        #[test]
        fn it_agrees_with_plain_counting(steps in prop::collection::vec(step(), 0..150)) {
            let (mut picker, mut dice) = picker(200);
            let mut peers: Vec<(Bitfield, Shortlist)> = Vec::new();
            let mut pickable = [true; 200];
            let mut had = [false; 200];
            for step in steps {
                match step {
                    Step::Join(numbers) => {
                        let has = set(200, numbers);
                        picker.on_joined(&has);
                        peers.push((has, Shortlist::default()));
                    }
                    Step::Leave(at) if at < peers.len() => picker.on_left(&peers.swap_remove(at).0),
                    Step::Have(at, number) if at < peers.len() => {
                        let piece = geometry(200).piece(number).unwrap();
                        if peers[at].0.set(piece) {
                            picker.on_have(piece);
                            peers[at].1.add(piece);
                        }
                    }
                    Step::Pick(at) | Step::Random(at) if at < peers.len() => {
                        let (has, list) = &mut peers[at];
                        let picked = if matches!(step, Step::Pick(_)) { picker.pick(has, list, &mut dice) } else { picker.pick_random(has, list, &mut dice) };
                        let possible = (0..200).any(|n| pickable[n as usize] && has.iter_ones().any(|one| one == n));
                        prop_assert_eq!(picked.is_some(), possible);
                        if let Some(piece) = picked {
                            prop_assert!(has.has(piece) && pickable[piece.at()]);
                            pickable[piece.at()] = false;
                        }
                    }
                    Step::PutBack(n) => {
                        picker.put_back(geometry(200).piece(n).unwrap());
                        pickable[n as usize] |= !had[n as usize];
                    }
                    Step::Gone(n) => {
                        picker.on_gone(geometry(200).piece(n).unwrap());
                        pickable[n as usize] |= std::mem::take(&mut had[n as usize]);
                    }
                    Step::Had(n) => {
                        picker.on_had(geometry(200).piece(n).unwrap());
                        pickable[n as usize] = false;
                        had[n as usize] = true;
                    }
                    _ => {}
                }
                let count = |n: u32| peers.iter().filter(|(has, _)| has.has(geometry(200).piece(n).unwrap())).count();
                for n in 0..200 {
                    let piece = geometry(200).piece(n).unwrap();
                    prop_assert_eq!(picker.available(piece) as usize, count(n));
                    prop_assert_eq!(picker.is_pickable(piece), pickable[n as usize]);
                }
                prop_assert_eq!(picker.nobody_has() as usize, (0..200).filter(|n| !had[*n as usize] && count(*n) == 0).count());
                prop_assert_eq!(picker.has_obtainable(), (0..200).any(|n| pickable[n as usize] && count(n) > 0));
            }
        }
    }
}
