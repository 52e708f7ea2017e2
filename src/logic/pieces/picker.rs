//! Picks the next piece to open: rarest first (BEP 3), at a cost that does not grow with the number of pieces.
//!
//! Pieces that may be picked lie in one bucket per availability and know their place in it, so that a `have` is one
//! swap. Peers with every piece are counted apart: they change no order, so a joining seed costs nothing. The picker
//! does not know blocks, peer identities or time.

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex};

/// Up to 64 pieces are tried in strict order of rarity for one pick. In a well mixed swarm a few tries suffice. After
/// 64 misses a [`Shortlist`] is sampled instead. Picked by eye: 64 tests of a bit take well under a microsecond.
const LOOKS: u32 = 64;

/// The rarest of 32 pieces drawn from a shortlist is picked. In nine of ten picks it is among the rarest 7 %.
const SAMPLE: usize = 32;

/// 256 KiB: small pieces within one extent are fetched by one peer as neighbours, where they are equally rare. These
/// are 16 requests, a useful depth for one connection. Larger pieces have no neighbours. Picked by eye.
const EXTENT: u64 = 256 * 1024;

/// The place of a piece that is in no bucket.
const NOWHERE: u32 = u32::MAX;

/// The pickable pieces of one peer. Made only when they are hard to find in order of rarity: a peer that has only the
/// common half of the pieces must not cost a walk over the rare half at each pick.
#[derive(Debug, Default)]
pub struct Shortlist {
    /// `None` until the list is made.
    pieces: Option<Vec<PieceIndex>>,
    /// The value of [`Picker::returns`] when the list was made.
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

/// The availability of every piece, and the order in which pieces are picked.
#[derive(Debug)]
pub struct Picker {
    geometry: Geometry,
    /// For each piece, the number of peers that have it, without those counted in `seeds`.
    availability: Vec<u32>,
    /// For each piece, its place in its bucket, or [`NOWHERE`].
    places: Vec<u32>,
    /// The pickable pieces, by availability.
    buckets: Vec<Vec<PieceIndex>>,
    /// Pieces that may be picked.
    pickable: Bitfield,
    /// The number of pieces that we lack and that no peer but a seed has.
    orphans: u32,
    /// Pieces that we have or do not want.
    had: Bitfield,
    /// The number of connected peers that joined with every piece.
    seeds: u32,
    /// How many pieces were ever put back. A shortlist made before the last of them may lack it.
    returns: u64,
    /// See [`Self::steps`].
    steps: u64,
}

impl Picker {
    /// A picker for all pieces that are not in `have`. No peer has any piece yet.
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

    /// A peer with every piece joined.
    pub fn on_seed_joined(&mut self) {
        self.seeds += 1;
    }

    /// A peer that was counted by [`Self::on_seed_joined`] left.
    pub fn on_seed_left(&mut self) {
        self.seeds = self.seeds.saturating_sub(1);
    }

    /// A peer with these pieces joined.
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

    /// We have the piece now: it is not picked again.
    pub fn on_had(&mut self, piece: PieceIndex) {
        self.take(piece);
        if self.had.set(piece) && self.availability[piece.at()] == 0 {
            self.orphans -= 1;
        }
    }

    /// We had the piece and have lost it: it may be picked again.
    pub fn on_gone(&mut self, piece: PieceIndex) {
        if self.had.clear(piece) {
            self.orphans += u32::from(self.availability[piece.at()] == 0);
            self.put_back(piece);
        }
    }

    /// The piece is open: it is not picked until it is put back.
    pub fn take(&mut self, piece: PieceIndex) {
        if self.pickable.clear(piece) {
            self.leave_bucket(piece);
        }
    }

    /// The piece may be picked again, unless we have it.
    pub fn put_back(&mut self, piece: PieceIndex) {
        if !self.had.has(piece) && !self.pickable.has(piece) {
            self.enter(piece);
            self.returns += 1;
        }
    }

    /// Whether the piece may be picked.
    pub fn is_pickable(&self, piece: PieceIndex) -> bool {
        self.pickable.has(piece)
    }

    /// Whether any connected peer has a pickable piece.
    pub fn has_obtainable(&self) -> bool {
        if self.seeds > 0 {
            !self.pickable.is_none()
        } else {
            self.buckets[1..].iter().any(|bucket| !bucket.is_empty())
        }
    }

    /// Whether there is a pickable piece that only seeds have.
    pub fn only_seeds_have_some(&self) -> bool {
        self.seeds > 0 && !self.buckets[0].is_empty()
    }

    /// Whether a peer that is not a seed has the piece.
    pub fn is_passed_on(&self, piece: PieceIndex) -> bool {
        self.availability[piece.at()] > 0
    }

    /// Whether any piece of `has` is pickable. One pass over two bitfields.
    pub fn has_any_of(&self, has: &Bitfield) -> bool {
        has.as_bytes().iter().zip(self.pickable.as_bytes()).any(|(theirs, ours)| theirs & ours != 0)
    }

    /// The number of pieces that we lack and no connected peer has.
    pub fn nobody_has(&self) -> u32 {
        if self.seeds > 0 { 0 } else { self.orphans }
    }

    /// Picks the rarest piece that the peer has, at random among equals, and takes it.
    pub fn pick(&mut self, has: &Bitfield, shortlist: &mut Shortlist, dice: &mut SmallRng) -> Option<PieceIndex> {
        let piece = self.look_in_order(has, dice).or_else(|| self.sample(has, shortlist, dice, SAMPLE))?;
        self.take(piece);
        Some(piece)
    }

    /// Picks the piece that follows `before`, if the peer has it and it is as rare, and takes it: neighbours are
    /// written in one call and lie together in memory. Stops at the next multiple of `EXTENT`, like libtorrent's
    /// `piece_extent_affinity`.
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

    /// Picks any piece that the peer has, whatever its rarity, and takes it. The first few pieces are picked at
    /// random, so that we soon have something to upload ("Random First Piece" in Cohen's paper).
    pub fn pick_random(&mut self, has: &Bitfield, list: &mut Shortlist, dice: &mut SmallRng) -> Option<PieceIndex> {
        let mut tries =
            (0..LOOKS).filter_map(|_| self.geometry.piece(dice.random_range(0..self.geometry.piece_count())));
        let lucky = tries.find(|piece| self.pickable.has(*piece) && has.has(*piece));
        let piece = lucky.or_else(|| self.sample(has, list, dice, 1))?;
        self.take(piece);
        Some(piece)
    }

    /// The number of pieces examined since the start. Tests measure the cost of a pick by it.
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The rarest piece that the peer has, if one of the first [`LOOKS`] in order of rarity is.
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

    /// The rarest of up to `draws` pieces of the shortlist, which is made first if it is missing or may be incomplete.
    /// `None` only if the peer has no pickable piece.
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

    /// The rarest of up to `draws` random pieces of the shortlist. A drawn piece that is no longer pickable is removed
    /// from the list, so the cost of the list is bounded.
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

    /// The pickable pieces of `has`. One pass over two bitfields.
    fn pickable_of(&mut self, has: &Bitfield) -> Vec<PieceIndex> {
        self.steps += has.as_bytes().len() as u64 / 8;
        let bytes = (0u32..).zip(has.as_bytes().iter().zip(self.pickable.as_bytes()));
        let both = bytes.filter_map(|(at, (theirs, ours))| (theirs & ours != 0).then_some((at, theirs & ours)));
        let numbers = both
            .flat_map(|(at, byte)| (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| at * 8 + bit));
        numbers.filter_map(|number| self.geometry.piece(number)).collect()
    }

    /// Makes the piece pickable.
    fn enter(&mut self, piece: PieceIndex) {
        self.pickable.set(piece);
        self.enter_bucket(piece);
    }

    /// Changes the availability of a piece and moves it to the right bucket.
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

    /// The worst case: the peer lacks every rarer piece.
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
        /// Compares with plain counting: the counts agree, a picked piece is one that the peer has, no piece is picked
        /// twice, and no piece is picked only if the peer has none.
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
