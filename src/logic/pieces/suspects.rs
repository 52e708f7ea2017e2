//! Who poisoned a piece: evidence from pieces that failed their hash, until a good copy shows who lied (P-14, P-15).
//!
//! One sender alone is proven at once. With several, a salted digest of each block is kept with its sender, the piece is
//! fetched again whole from one peer at a time, and the good copy is compared. Known by address, since a liar comes back
//! under a new connection. Does not know who is connected.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::SmallRng;
use sha1::{Digest, Sha1};

use crate::base::geometry::PieceIndex;
use crate::logic::pieces::block_senders::BlockSenders;

/// 128 Ki block digests, about 8 MiB: the blocks of 2 GiB of failed pieces. Beyond, liars are caught alone.
const MOST_EVIDENCE: usize = 128 * 1024;

/// 4,096 banned addresses; the pool's book keeps its own list.
const MOST_BANNED: usize = 4096;

/// Three whole failures: one liar is likely, three in a row are worth a word to the person (P-15).
pub const SUSPECT_AFTER: u32 = 3;

/// 5 s, doubled each time, when two senders agree on bytes that fail: the torrent itself may be poisoned.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);

/// 10 min between attempts at most.
const MOST_BACKOFF: Duration = Duration::from_secs(600);

/// Eight liars in a row are refuted at once each; more and the piece waits, however many addresses lie.
const EAGER_FAILURES: u32 = 8;

/// 1 s between two rounds of asking those who all gave the piece back: they may reject as fast as they are asked.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(1);

/// 1,024 addresses: more than are ever connected to one torrent.
const MOST_SHIRKERS: usize = 1024;

type Fingerprint = [u8; 16];

#[derive(Debug)]
struct Evidence {
    number: usize,
    from: SocketAddr,
    digest: Fingerprint,
}

#[derive(Debug)]
struct Record {
    failures: u32,
    /// Failures that convicted nobody, although one peer sent it all.
    unproven: u32,
    due: Instant,
    /// Whose whole copies failed, and what they were.
    whole: BTreeMap<SocketAddr, Fingerprint>,
    /// Who was asked for a whole copy and did not deliver.
    shirkers: BTreeSet<SocketAddr>,
    evidence: Vec<Evidence>,
}

/// What follows from a failed piece.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Proven liars, to be banned.
    pub liars: Vec<SocketAddr>,
    /// Banned for this piece, and now somebody else sent the very same bytes: perhaps the torrent is wrong, not they.
    pub acquitted: Vec<SocketAddr>,
    /// How often the piece has failed.
    pub failures: u32,
}

/// The pieces that failed and the addresses under suspicion.
#[derive(Debug)]
pub struct Suspects {
    salt: [u8; 16],
    records: BTreeMap<PieceIndex, Record>,
    banned: BTreeMap<SocketAddr, PieceIndex>,
    /// Took part in a piece that failed, and have neither been convicted nor delivered a whole good piece alone since.
    probation: BTreeSet<SocketAddr>,
    evidence: usize,
}

impl Suspects {
    /// Nobody is suspected. The dice make the salt.
    pub fn new(dice: &mut SmallRng) -> Self {
        Self {
            salt: dice.random(),
            records: BTreeMap::new(),
            banned: BTreeMap::new(),
            probation: BTreeSet::new(),
            evidence: 0,
        }
    }

    /// A whole piece failed its hash. `from` names the sender of each of the `blocks`.
    pub fn on_failed(&mut self, now: Instant, piece: PieceIndex, blocks: &[Bytes], from: &BlockSenders) -> Finding {
        let digests: Vec<Fingerprint> = blocks.iter().map(|block| self.fingerprint(block)).collect();
        let whole = self.fingerprint(&digests.concat());
        let record = self.records.entry(piece).or_insert_with(|| Record {
            failures: 0,
            unproven: 0,
            due: now,
            whole: BTreeMap::new(),
            shirkers: BTreeSet::new(),
            evidence: Vec::new(),
        });
        record.failures += 1;
        let sole = from.sole();
        // Another address sent the very same bytes: two liars in league, or a torrent whose hash is wrong. A good copy
        // will tell; until then nobody else is banned for it.
        let same =
            record.whole.iter().filter(|(other, bytes)| sole.is_some_and(|sole| sole != **other) && **bytes == whole);
        let same: Vec<SocketAddr> = same.map(|(other, _)| *other).collect();
        let agreed = !same.is_empty();
        let proven = sole.filter(|_| !agreed);
        let acquitted: Vec<_> = same.into_iter().filter(|other| self.banned.get(other) == Some(&piece)).collect();
        for other in &acquitted {
            self.banned.remove(other);
        }
        record.unproven += u32::from(agreed);
        if let Some(sole) = sole {
            record.whole.insert(sole, whole);
        } else {
            self.probation.extend(from.all());
        }
        if proven.is_none() && self.evidence + digests.len() <= MOST_EVIDENCE {
            self.evidence += digests.len();
            // What the acquitted sent is known to be the same.
            for other in &acquitted {
                self.evidence += digests.len();
                let testimony = digests.iter().enumerate();
                record.evidence.extend(testimony.map(|(number, digest)| Evidence {
                    number,
                    from: *other,
                    digest: *digest,
                }));
            }
            let testimony = digests.into_iter().enumerate();
            record.evidence.extend(
                testimony.filter_map(|(number, digest)| Some(Evidence { number, from: from.of(number)?, digest })),
            );
        }
        record.due = now + backoff(record.failures, record.unproven);
        Finding { liars: proven.into_iter().collect(), acquitted, failures: record.failures }
    }

    /// A whole piece passed its hash. Returns those who had sent other bytes for it: proven liars.
    pub fn on_passed(&mut self, piece: PieceIndex, blocks: &[Bytes], from: &BlockSenders) -> Vec<SocketAddr> {
        if self.records.is_empty() {
            return Vec::new();
        }
        if let Some(sole) = from.sole() {
            self.probation.remove(&sole);
        }
        let Some(record) = self.records.remove(&piece) else { return Vec::new() };
        self.evidence -= record.evidence.len();
        let mut liars = BTreeSet::new();
        let mut heard = BTreeSet::new();
        let truth: Vec<Fingerprint> = blocks.iter().map(|block| self.fingerprint(block)).collect();
        for Evidence { number, from, digest } in record.evidence {
            heard.insert(from);
            if truth.get(number) != Some(&digest) {
                liars.insert(from);
            }
        }
        for acquitted in heard.difference(&liars) {
            self.probation.remove(acquitted);
        }
        liars.into_iter().filter(|liar| !self.banned.contains_key(liar)).collect()
    }

    /// The address is banned, for that piece.
    pub fn on_banned(&mut self, addr: SocketAddr, piece: PieceIndex) {
        self.probation.remove(&addr);
        if self.banned.len() < MOST_BANNED {
            self.banned.insert(addr, piece);
        }
    }

    /// The piece for which the address was banned.
    pub fn banned_for(&self, addr: SocketAddr) -> Option<PieceIndex> {
        self.banned.get(&addr).copied()
    }

    /// How many addresses are banned.
    pub fn banned(&self) -> usize {
        self.banned.len()
    }

    /// Must this address work alone, so that its next lie is its own?
    pub fn is_on_probation(&self, addr: SocketAddr) -> bool {
        self.probation.contains(&addr)
    }

    /// Has the piece failed before? Then it must come whole from one peer.
    pub fn is_suspect(&self, piece: PieceIndex) -> bool {
        self.records.contains_key(&piece)
    }

    /// Has a whole copy from this address failed?
    pub fn was_tried(&self, piece: PieceIndex, addr: SocketAddr) -> bool {
        self.records.get(&piece).is_some_and(|record| record.whole.contains_key(&addr))
    }

    /// The address was asked for the whole piece and gave it back, or sat on it: others first.
    pub fn on_shirked(&mut self, piece: PieceIndex, addr: SocketAddr) {
        if let Some(record) = self.records.get_mut(&piece).filter(|record| record.shirkers.len() < MOST_SHIRKERS) {
            record.shirkers.insert(addr);
        }
    }

    /// Did it have its chance at the piece?
    pub fn is_shirker(&self, piece: PieceIndex, addr: SocketAddr) -> bool {
        self.records.get(&piece).is_some_and(|record| record.shirkers.contains(&addr))
    }

    /// Everybody has shirked: everybody has another chance, a moment later.
    pub fn forgive(&mut self, now: Instant, piece: PieceIndex) {
        if let Some(record) = self.records.get_mut(&piece) {
            record.shirkers.clear();
            record.due = record.due.max(now + FORGIVEN_AFTER);
        }
    }

    /// Failed pieces, and from when each may be fetched again.
    pub fn pieces(&self) -> impl Iterator<Item = (PieceIndex, Instant)> {
        self.records.iter().map(|(piece, record)| (*piece, record.due))
    }

    fn fingerprint(&self, bytes: &[u8]) -> Fingerprint {
        let mut hash = Sha1::new();
        hash.update(self.salt);
        hash.update(bytes);
        let mut short = [0; 16];
        short.copy_from_slice(&hash.finalize()[..16]);
        short
    }
}

fn backoff(failures: u32, unproven: u32) -> Duration {
    let doublings = match (unproven, failures.checked_sub(EAGER_FAILURES)) {
        (0, None | Some(0)) => return Duration::ZERO,
        (0, Some(late)) => late - 1,
        (unproven, _) => unproven - 1,
    };
    FIRST_BACKOFF.saturating_mul(1 << doublings.min(16)).min(MOST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::geometry::Geometry;
    use rand::SeedableRng;

    fn t0() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn addr(n: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], n))
    }

    fn piece(n: u32) -> PieceIndex {
        Geometry::new(1000, 1).unwrap().piece(n).unwrap()
    }

    fn suspects() -> Suspects {
        Suspects::new(&mut SmallRng::seed_from_u64(7))
    }

    fn sent_by(from: impl IntoIterator<Item = SocketAddr>) -> BlockSenders {
        from.into_iter().collect()
    }

    fn bytes(of: &[&'static [u8]]) -> Vec<Bytes> {
        of.iter().map(|b| Bytes::from_static(b)).collect()
    }

    #[test]
    fn a_sole_sender_is_proven_at_once() {
        let mut s = suspects();
        let finding = s.on_failed(t0(), piece(1), &bytes(&[b"x", b"y"]), &sent_by([addr(1), addr(1)]));
        assert_eq!(finding, Finding { liars: vec![addr(1)], acquitted: vec![], failures: 1 });
        assert!(!s.is_on_probation(addr(1)));
        assert!(s.was_tried(piece(1), addr(1)) && s.is_suspect(piece(1)));
    }

    #[test]
    fn of_several_senders_exactly_the_liars_are_found_by_the_good_copy() {
        let mut s = suspects();
        let from = [addr(1), addr(2), addr(3), addr(2)];
        let finding = s.on_failed(t0(), piece(1), &bytes(&[b"a", b"LIE", b"c", b"d"]), &sent_by(from));
        assert_eq!(finding.liars, []);
        assert!([1, 2, 3].iter().all(|n| s.is_on_probation(addr(*n))));
        assert_eq!(s.on_passed(piece(1), &bytes(&[b"a", b"b", b"c", b"d"]), &sent_by([addr(9); 4])), [addr(2)]);
        s.on_banned(addr(2), piece(1));
        assert!([1, 2, 3].iter().all(|n| !s.is_on_probation(addr(*n))));
        assert_eq!(s.banned_for(addr(2)), Some(piece(1)));
        assert!(!s.is_suspect(piece(1)));
        assert_eq!(s.evidence, 0);
    }

    #[test]
    fn senders_who_agree_on_bad_bytes_are_judged_only_by_a_good_copy() {
        let (mut s, now) = (suspects(), t0());
        let bad = bytes(&[b"bad"]);
        assert_eq!(s.on_failed(now, piece(1), &bad, &sent_by([addr(1)])).liars, [addr(1)]);
        for n in 2..5 {
            assert_eq!(s.on_failed(now, piece(1), &bad, &sent_by([addr(n)])).liars, []);
        }
        assert_eq!(s.pieces().next(), Some((piece(1), now + FIRST_BACKOFF * 4)));
        assert_eq!(s.on_passed(piece(1), &bytes(&[b"good"]), &sent_by([addr(9)])), [addr(2), addr(3), addr(4)]);
    }

    #[test]
    fn who_was_banned_for_bytes_that_another_sends_too_is_acquitted_until_a_good_copy_comes() {
        let (mut s, now, bad) = (suspects(), t0(), bytes(&[b"bad"]));
        assert_eq!(s.on_failed(now, piece(1), &bad, &sent_by([addr(1)])).liars, [addr(1)]);
        s.on_banned(addr(1), piece(1));
        let finding = s.on_failed(now, piece(1), &bad, &sent_by([addr(2)]));
        assert_eq!((finding.liars, finding.acquitted), (vec![], vec![addr(1)]));
        assert_eq!(s.banned_for(addr(1)), None);
        assert_eq!(s.on_failed(now, piece(1), &bad, &sent_by([addr(3)])).acquitted, []);
        assert_eq!(s.on_passed(piece(1), &bytes(&[b"good"]), &sent_by([addr(9)])), [addr(1), addr(2), addr(3)]);
        assert_eq!(s.evidence, 0);
    }

    #[test]
    fn a_probationer_is_cleared_by_a_whole_good_piece_of_its_own() {
        let mut s = suspects();
        let _finding = s.on_failed(t0(), piece(1), &bytes(&[b"a", b"b"]), &sent_by([addr(1), addr(2)]));
        assert_eq!(s.on_passed(piece(2), &bytes(&[b"a", b"b"]), &sent_by([addr(1), addr(2)])), []);
        assert!(s.is_on_probation(addr(1)), "shared pieces prove nothing");
        assert_eq!(s.on_passed(piece(3), &bytes(&[b"a", b"b"]), &sent_by([addr(1), addr(1)])), []);
        assert!(!s.is_on_probation(addr(1)) && s.is_on_probation(addr(2)));
    }

    #[test]
    fn a_piece_that_keeps_failing_waits_longer_and_longer() {
        let secs = Duration::from_secs;
        let table = [
            (1, 0, 0),
            (8, 0, 0),
            (9, 0, 5),
            (10, 0, 10),
            (40, 0, 600),
            (2, 1, 5),
            (3, 2, 10),
            (9, 8, 600),
            (u32::MAX, 0, 600),
        ];
        for (failures, unproven, want) in table {
            assert_eq!(backoff(failures, unproven), secs(want), "{failures} failures, {unproven} unproven");
        }
    }

    #[test]
    fn evidence_is_bounded() {
        let mut s = suspects();
        let blocks = vec![Bytes::from_static(b"x"); 50_000];
        let from = sent_by((0..50_000).map(|n| addr(n % 2)));
        for n in 0..10 {
            let _finding = s.on_failed(t0(), piece(n), &blocks, &from);
        }
        assert!(s.evidence <= MOST_EVIDENCE);
    }
}
