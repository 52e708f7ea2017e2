//! Pieces that could not be read for a peer, and when to read them again (D-04).
//!
//! Such a piece is hashed before it is given to anybody again (I6). Where the hashing fails because the device fails, the
//! piece is neither right nor wrong: it rests, and one piece is tried at a time until the device answers. So an outage of
//! any length costs a seed nothing but its time, and a dying disk is not asked for more than its peers ask of it.
//!
//! Knows pieces and times; reads nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::base::geometry::PieceIndex;

/// 1 s between tries at first: as for a write that the device refuses (`disk_health`).
const LEAST_REST: Duration = Duration::from_secs(1);

/// 30 s between tries at most: what D-01 promises as the latest return from trouble.
const MOST_REST: Duration = Duration::from_secs(30);

/// The rest is a quarter of the outage so far, so that the outage grows by a quarter at most. Picked by eye.
const REST_SHARE: u32 = 4;

/// 60 s of failed reads, twice the 30 s after which Linux gives up on a command to a disk (`/sys/block/*/device/timeout`):
/// then a piece that can be fetched from others is.
pub const FETCH_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What hashing a piece has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    /// It is what it should be.
    Right,
    /// It is not, or its file is not there.
    Wrong,
    /// The device failed.
    Failed,
}

/// What follows for the piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It may be given again.
    Restored,
    /// It is ours no longer.
    Lost,
    /// It is tried again later.
    Rests,
}

/// The pieces of one torrent that are not given to anybody for now.
#[derive(Debug)]
pub struct Unreadable {
    /// Pieces that are lost after they could not be read for this long; none: never.
    patience: Option<Duration>,
    waiting: BTreeSet<PieceIndex>,
    under_way: BTreeSet<PieceIndex>,
    /// In the order in which they are tried.
    resting: VecDeque<PieceIndex>,
    failing_since: BTreeMap<PieceIndex, Instant>,
    /// When the device began to fail, and when it is tried again.
    outage: Option<(Instant, Instant)>,
    /// A file was found cut or gone, and nobody has looked yet what else was changed.
    is_blind: bool,
}

impl Unreadable {
    /// None yet. `patience`: for how long a piece may be unreadable before it is lost; `None`: for ever, where it could not be
    /// fetched again anyway.
    pub const fn new(patience: Option<Duration>) -> Self {
        Self {
            patience,
            waiting: BTreeSet::new(),
            under_way: BTreeSet::new(),
            resting: VecDeque::new(),
            failing_since: BTreeMap::new(),
            outage: None,
            is_blind: false,
        }
    }

    /// Is the piece one of them?
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.is_blind
            || self.waiting.contains(&piece)
            || self.under_way.contains(&piece)
            || self.failing_since.contains_key(&piece)
    }

    /// Is every piece given again?
    pub fn is_none(&self) -> bool {
        !self.is_blind && self.waiting.is_empty() && self.under_way.is_empty() && self.failing_since.is_empty()
    }

    /// A file was found cut or gone: no piece is given before all files were looked at (I6).
    pub const fn on_cut(&mut self) {
        self.is_blind = true;
    }

    /// Are all pieces withheld until somebody has looked at the files?
    pub const fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// All files were looked at; `true` if that was called for.
    pub const fn see(&mut self) -> bool {
        std::mem::replace(&mut self.is_blind, false)
    }

    /// These are to be hashed before they are given again.
    pub fn doubt(&mut self, pieces: impl IntoIterator<Item = PieceIndex>) {
        let is_new = |piece: &PieceIndex| !self.under_way.contains(piece) && !self.failing_since.contains_key(piece);
        self.waiting.extend(pieces.into_iter().filter(is_new));
    }

    /// What to hash now, at most so many bytes or one piece: nothing while other pieces are being hashed. One that rests is
    /// tried by itself.
    pub fn next_batch(&mut self, now: Instant, most: u64, len: impl Fn(PieceIndex) -> u64) -> Vec<PieceIndex> {
        if !self.under_way.is_empty() {
            return Vec::new();
        }
        let mut bytes = 0;
        while bytes < most
            && let Some(piece) = self.waiting.pop_first()
        {
            bytes += len(piece);
            self.under_way.insert(piece);
        }
        if self.under_way.is_empty() && self.deadline().is_some_and(|due| due <= now) {
            self.under_way.extend(self.resting.pop_front());
        }
        self.under_way.iter().copied().collect()
    }

    /// One of a batch was hashed.
    pub fn on_hashed(&mut self, now: Instant, piece: PieceIndex, hashed: Hashed) -> Judgement {
        self.under_way.remove(&piece);
        if hashed != Hashed::Failed {
            self.failing_since.remove(&piece);
            // The device answers: so the others are tried too.
            if self.outage.take().is_some() {
                self.waiting.extend(self.resting.drain(..));
            }
            return if hashed == Hashed::Right { Judgement::Restored } else { Judgement::Lost };
        }
        let since = *self.failing_since.entry(piece).or_insert(now);
        if self.patience.is_some_and(|patience| now.saturating_duration_since(since) >= patience) {
            self.failing_since.remove(&piece);
            return Judgement::Lost;
        }
        self.resting.push_back(piece);
        let began = self.outage.map_or(now, |(began, _)| began);
        let rest = (now.saturating_duration_since(began) / REST_SHARE).clamp(LEAST_REST, MOST_REST);
        self.outage = Some((began, now + rest));
        Judgement::Rests
    }

    /// Whoever hashed a batch will never answer: it is to be hashed again.
    pub fn on_hasher_lost(&mut self) {
        self.waiting.append(&mut self.under_way);
    }

    /// When to ask for the next batch though nothing has come.
    pub fn deadline(&self) -> Option<Instant> {
        let idle = self.under_way.is_empty() && !self.resting.is_empty();
        self.outage.filter(|_| idle).map(|(_, again)| again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::geometry::Geometry;
    use crate::logic::testing::base_instant;

    fn piece(number: u32) -> PieceIndex {
        Geometry::new(1000, 1).unwrap().piece(number).unwrap()
    }

    fn numbers(pieces: &[PieceIndex]) -> Vec<u32> {
        pieces.iter().map(|piece| piece.get()).collect()
    }

    /// Tries whenever it is due. For how long the pieces were given to nobody when the device failed so many seconds, and how
    /// often it was tried.
    fn outage(patience: Option<Duration>, secs: u64, pieces: u32) -> (Duration, usize, Vec<u32>) {
        let (t0, mut tries, mut lost) = (base_instant(), 0, Vec::new());
        let mut unreadable = Unreadable::new(patience);
        unreadable.doubt((0..pieces).map(piece));
        let mut now = t0;
        while (0..pieces).any(|number| unreadable.has(piece(number))) {
            let batch = unreadable.next_batch(now, 1000, |_| 1);
            tries += batch.len();
            let fails = now < t0 + Duration::from_secs(secs);
            for piece in &batch {
                let hashed = if fails { Hashed::Failed } else { Hashed::Right };
                if unreadable.on_hashed(now, *piece, hashed) == Judgement::Lost {
                    lost.push(piece.get());
                }
            }
            if batch.is_empty() {
                now = unreadable.deadline().unwrap_or(now);
            }
        }
        (now - t0, tries, lost)
    }

    #[test]
    fn after_an_outage_of_any_length_everything_is_given_again() {
        for (secs, within, most) in [(0, 0, 10), (5, 7, 30), (60, 76, 50), (3600, 3631, 200), (86_400, 86_431, 3000)] {
            let (took, tries, lost) = outage(None, secs, 10);
            assert!(took <= Duration::from_secs(within), "{secs} s: {took:?}");
            assert!(tries <= most, "{secs} s: {tries}");
            assert_eq!(lost, [0; 0]);
        }
    }

    #[test]
    fn what_can_be_fetched_again_is_after_a_minute() {
        let patience = Some(FETCH_AGAIN_AFTER);
        let (took, _, lost) = outage(patience, 40, 10);
        assert_eq!((took <= Duration::from_secs(51), lost), (true, vec![]));
        let (_, _, mut lost) = outage(patience, 3600, 3);
        lost.sort_unstable();
        assert_eq!(lost, [0, 1, 2]);
    }

    /// One bad place does not keep the others from being tried.
    #[test]
    fn pieces_that_rest_take_turns() {
        let t0 = base_instant();
        let mut unreadable = Unreadable::new(None);
        unreadable.doubt([1, 2, 3].map(piece));
        for piece in unreadable.next_batch(t0, 1000, |_| 1) {
            assert_eq!(unreadable.on_hashed(t0, piece, Hashed::Failed), Judgement::Rests);
        }
        assert_eq!(unreadable.next_batch(t0, 1000, |_| 1), [], "not before its time");
        let mut tried = Vec::new();
        for _ in 0..4 {
            let now = unreadable.deadline().unwrap();
            let batch = unreadable.next_batch(now, 1000, |_| 1);
            assert_eq!(unreadable.next_batch(now, 1000, |_| 1), [], "one batch at a time");
            tried.extend(numbers(&batch));
            unreadable.on_hashed(now, batch[0], Hashed::Failed);
        }
        assert_eq!(tried, [1, 2, 3, 1]);
        let now = unreadable.deadline().unwrap();
        let batch = unreadable.next_batch(now, 1000, |_| 1);
        assert_eq!(unreadable.on_hashed(now, batch[0], Hashed::Right), Judgement::Restored);
        assert_eq!(numbers(&unreadable.next_batch(now, 1000, |_| 1)), [1, 3], "at once, for the device answers");
    }

    #[test]
    fn what_is_wrong_is_lost_and_what_is_doubted_twice_is_hashed_once() {
        let t0 = base_instant();
        let mut unreadable = Unreadable::new(None);
        unreadable.doubt([1, 2].map(piece));
        let batch = unreadable.next_batch(t0, 1, |_| 1);
        assert_eq!(numbers(&batch), [1], "as many as fit");
        unreadable.doubt([1, 2].map(piece));
        assert_eq!(unreadable.on_hashed(t0, piece(1), Hashed::Wrong), Judgement::Lost);
        assert!(!unreadable.has(piece(1)) && unreadable.has(piece(2)));
        assert_eq!(numbers(&unreadable.next_batch(t0, 100, |_| 1)), [2]);
        assert_eq!(
            (unreadable.on_hashed(t0, piece(2), Hashed::Right), unreadable.deadline()),
            (Judgement::Restored, None)
        );
    }
}
