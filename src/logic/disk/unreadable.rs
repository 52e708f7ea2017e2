//! Pieces that could not be read for an upload, and when to read them again (D-04).
//!
//! Such a piece is hashed before any peer is given a byte of it again (I6). If the hashing fails because the device
//! fails, the piece is neither right nor wrong: it rests, and one resting piece at a time is tried until the device
//! answers. So an outage of any length costs a seed nothing but its time, and a dying disk is read no more often than
//! peers request.
//!
//! This module knows pieces and times and reads nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::base::geometry::PieceIndex;

/// 1 s before the first retry, as for a write that the device refuses ([`crate::logic::disk::health`]).
const LEAST_REST: Duration = Duration::from_secs(1);

/// At most 30 s between two retries: D-01 promises recovery within this time.
const MOST_REST: Duration = Duration::from_secs(30);

/// The time between retries is a quarter of the outage so far, so that it lengthens the outage by at most a quarter.
/// Picked by eye.
const REST_SHARE: u32 = 4;

/// After 60 s of failed reads a piece that other peers have is downloaded again. This is twice the 30 s after which
/// Linux gives up a command to a disk (`/sys/block/*/device/timeout`).
pub const FETCH_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The result of hashing a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    /// The hash is right.
    Right,
    /// The hash is wrong, or the file is missing.
    Wrong,
    /// The device failed.
    Failed,
}

/// What happens to a piece after it was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The piece may be uploaded again.
    Restored,
    /// We no longer have it.
    Lost,
    /// The piece is tried again later.
    Rests,
}

/// The pieces of one torrent that are withheld from peers until they are hashed.
#[derive(Debug)]
pub struct Unreadable {
    /// How long a piece may be unreadable before it counts as lost. `None`: for ever.
    patience: Option<Duration>,
    /// Pieces to be hashed.
    waiting: BTreeSet<PieceIndex>,
    /// Pieces that are being hashed.
    under_way: BTreeSet<PieceIndex>,
    /// Pieces on which the device failed, in the order of their retries.
    resting: VecDeque<PieceIndex>,
    /// For each of these pieces, when the device first failed on it.
    failing_since: BTreeMap<PieceIndex, Instant>,
    /// When the device began to fail, and when it is tried again.
    outage: Option<(Instant, Instant)>,
    /// A file was found cut or missing, and the other files have not been examined since.
    is_blind: bool,
}

impl Unreadable {
    /// Starts without such pieces. `patience`: how long a piece may be unreadable before it counts as lost. `None`:
    /// for ever, where no peer could send it again.
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

    /// Whether the piece is withheld from peers.
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.is_blind
            || self.waiting.contains(&piece)
            || self.under_way.contains(&piece)
            || self.failing_since.contains_key(&piece)
    }

    /// Whether no piece is withheld.
    pub fn is_none(&self) -> bool {
        !self.is_blind && self.waiting.is_empty() && self.under_way.is_empty() && self.failing_since.is_empty()
    }

    /// A file was found cut or missing: every piece is withheld until all files have been examined (I6).
    pub const fn on_cut(&mut self) {
        self.is_blind = true;
    }

    /// Whether every piece is withheld until all files have been examined.
    pub const fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// All files have been examined. Returns whether every piece was withheld until then.
    pub const fn see(&mut self) -> bool {
        std::mem::replace(&mut self.is_blind, false)
    }

    /// Withholds these pieces until they are hashed.
    pub fn doubt(&mut self, pieces: impl IntoIterator<Item = PieceIndex>) {
        let is_new = |piece: &PieceIndex| !self.under_way.contains(piece) && !self.failing_since.contains_key(piece);
        self.waiting.extend(pieces.into_iter().filter(is_new));
    }

    /// The pieces to hash now: at most `most` bytes or one piece, and none while other pieces are being hashed. A
    /// resting piece is tried alone.
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

    /// A piece of a batch was hashed. Returns what happens to it.
    pub fn on_hashed(&mut self, now: Instant, piece: PieceIndex, hashed: Hashed) -> Judgement {
        self.under_way.remove(&piece);
        if hashed != Hashed::Failed {
            self.failing_since.remove(&piece);
            // The device answers, so all resting pieces are tried.
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

    /// The answer for the present batch will never come: its pieces are hashed again.
    pub fn on_hasher_lost(&mut self) {
        self.waiting.append(&mut self.under_way);
    }

    /// When to call [`Self::next_batch`] although no event occurred: the next retry of a resting piece.
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

    /// Tries whenever it is due. Returns for how long pieces were withheld when the device failed for `secs` seconds,
    /// the number of attempts, and the lost pieces.
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
    fn after_an_outage_of_any_length_every_piece_is_uploaded_again() {
        for (secs, within, most) in [(0, 0, 10), (5, 7, 30), (60, 76, 50), (3600, 3631, 200), (86_400, 86_431, 3000)] {
            let (took, tries, lost) = outage(None, secs, 10);
            assert!(took <= Duration::from_secs(within), "{secs} s: {took:?}");
            assert!(tries <= most, "{secs} s: {tries}");
            assert_eq!(lost, [0; 0]);
        }
    }

    #[test]
    fn a_piece_that_can_be_fetched_again_is_fetched_after_a_minute() {
        let patience = Some(FETCH_AGAIN_AFTER);
        let (took, _, lost) = outage(patience, 40, 10);
        assert_eq!((took <= Duration::from_secs(51), lost), (true, vec![]));
        let (_, _, mut lost) = outage(patience, 3600, 3);
        lost.sort_unstable();
        assert_eq!(lost, [0, 1, 2]);
    }

    /// One piece on a bad sector does not keep the others from being tried.
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
    fn a_wrong_piece_is_lost_and_a_piece_doubted_twice_is_hashed_once() {
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
