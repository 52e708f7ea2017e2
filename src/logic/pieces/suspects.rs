//! Finds the peers that sent bad data, from the evidence of pieces that failed their hash (P-14, P-15).
//!
//! A sole sender of a failed piece is convicted at once. With several senders, a salted digest of each block is kept
//! with its sender, the piece is fetched again as a whole from one peer at a time, and the good copy is compared with
//! the digests. Peers are known by address, since a liar may come back over a new connection. This module does not
//! know who is connected.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::SmallRng;
use sha1::{Digest, Sha1};

use crate::base::geometry::PieceIndex;
use crate::logic::pieces::block_senders::BlockSenders;

/// 128 Ki block digests, about 8 MiB: the blocks of 2 GiB of failed pieces. Beyond that only sole senders are
/// convicted.
const MOST_EVIDENCE: usize = 128 * 1024;

/// 4,096 banned addresses. The peer book keeps its own list.
const MOST_BANNED: usize = 4096;

/// After three failures of a piece the user is told: one liar is likely, three in a row are not (P-15).
pub const SUSPECT_AFTER: u32 = 3;

/// 5 s, doubled each time, once two senders agree on bytes that fail: the torrent itself may be bad.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);

/// 10 min: the longest time between two attempts at a piece.
const MOST_BACKOFF: Duration = Duration::from_secs(600);

/// Eight failures in a row are retried at once. After more the piece waits longer and longer, however many addresses
/// lie.
const EAGER_FAILURES: u32 = 8;

/// 1 s between two rounds of requests to peers that all gave the piece back: they may reject as fast as they are
/// asked.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(1);

/// 1,024 addresses: more than are ever connected to one torrent.
const MOST_SHIRKERS: usize = 1024;

/// The first 16 bytes of a salted SHA-1.
type Fingerprint = [u8; 16];

/// One block of a failed piece: its number, its sender and the digest of its bytes.
#[derive(Debug)]
struct Evidence {
    number: usize,
    from: SocketAddr,
    digest: Fingerprint,
}

/// What is known of a piece that has failed its hash.
#[derive(Debug)]
struct Record {
    failures: u32,
    /// Failures that convicted no peer although one peer sent the whole piece.
    unproven: u32,
    /// When the piece may be fetched again.
    due: Instant,
    /// Peers whose whole copies failed, with the digest of each copy.
    whole: BTreeMap<SocketAddr, Fingerprint>,
    /// Peers that were asked for a whole copy and did not deliver it.
    shirkers: BTreeSet<SocketAddr>,
    /// Digests of the blocks of failed copies whose liar is not known yet.
    evidence: Vec<Evidence>,
}

/// The conclusions from one failed piece.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Proven liars, which the caller bans.
    pub liars: Vec<SocketAddr>,
    /// Addresses that were banned for this piece and are not any more, because another peer sent the very same bytes:
    /// the torrent may be wrong, not the peers.
    pub acquitted: Vec<SocketAddr>,
    /// How many times the piece has failed.
    pub failures: u32,
}

/// The pieces that failed their hash, and the addresses under suspicion.
#[derive(Debug)]
pub struct Suspects {
    salt: [u8; 16],
    records: BTreeMap<PieceIndex, Record>,
    /// Banned addresses, each with the piece for which it was banned.
    banned: BTreeMap<SocketAddr, PieceIndex>,
    /// Addresses that took part in a failed piece and have since neither been convicted nor delivered a whole good
    /// piece alone.
    probation: BTreeSet<SocketAddr>,
    /// The number of block digests in all records.
    evidence: usize,
}

impl Suspects {
    /// Starts without any suspicion. `dice` makes the salt.
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
        // Another address sent the very same bytes: two peers lie together, or the hash in the torrent is wrong. A
        // good copy will decide; until then no other peer is banned for the piece.
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
            // The acquitted peers are known to have sent the same bytes.
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

    /// A whole piece passed its hash. Returns the proven liars: the peers that had sent other bytes for it.
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

    /// The caller has banned the address because of this piece.
    pub fn on_banned(&mut self, addr: SocketAddr, piece: PieceIndex) {
        self.probation.remove(&addr);
        if self.banned.len() < MOST_BANNED {
            self.banned.insert(addr, piece);
        }
    }

    /// The piece for which the address was banned, if it was.
    pub fn banned_for(&self, addr: SocketAddr) -> Option<PieceIndex> {
        self.banned.get(&addr).copied()
    }

    /// The number of banned addresses.
    pub fn banned(&self) -> usize {
        self.banned.len()
    }

    /// Whether this address must work on pieces alone, so that its next bad piece convicts it.
    pub fn is_on_probation(&self, addr: SocketAddr) -> bool {
        self.probation.contains(&addr)
    }

    /// Whether the piece has failed before. Such a piece must come as a whole from one peer.
    pub fn is_suspect(&self, piece: PieceIndex) -> bool {
        self.records.contains_key(&piece)
    }

    /// Whether a whole copy from this address has failed.
    pub fn was_tried(&self, piece: PieceIndex, addr: SocketAddr) -> bool {
        self.records.get(&piece).is_some_and(|record| record.whole.contains_key(&addr))
    }

    /// The address was asked for the whole piece and gave it back, or kept it without delivering: other peers are
    /// tried first.
    pub fn on_shirked(&mut self, piece: PieceIndex, addr: SocketAddr) {
        if let Some(record) = self.records.get_mut(&piece).filter(|record| record.shirkers.len() < MOST_SHIRKERS) {
            record.shirkers.insert(addr);
        }
    }

    /// Whether the address has shirked this piece.
    pub fn is_shirker(&self, piece: PieceIndex, addr: SocketAddr) -> bool {
        self.records.get(&piece).is_some_and(|record| record.shirkers.contains(&addr))
    }

    /// Every source has shirked the piece: all of them may be asked again, [`FORGIVEN_AFTER`] later.
    pub fn forgive(&mut self, now: Instant, piece: PieceIndex) {
        if let Some(record) = self.records.get_mut(&piece) {
            record.shirkers.clear();
            record.due = record.due.max(now + FORGIVEN_AFTER);
        }
    }

    /// The failed pieces, each with the time from which it may be fetched again.
    pub fn pieces(&self) -> impl Iterator<Item = (PieceIndex, Instant)> {
        self.records.iter().map(|(piece, record)| (*piece, record.due))
    }

    /// The salted digest of these bytes.
    fn fingerprint(&self, bytes: &[u8]) -> Fingerprint {
        let mut hash = Sha1::new();
        hash.update(self.salt);
        hash.update(bytes);
        let mut short = [0; 16];
        short.copy_from_slice(&hash.finalize()[..16]);
        short
    }
}

/// How long a piece waits after its failures.
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
    fn senders_that_agree_on_bad_bytes_are_judged_only_by_a_good_copy() {
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
    fn a_peer_banned_for_bytes_that_another_sends_too_is_acquitted_until_a_good_copy_comes() {
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
    fn an_address_on_probation_is_cleared_by_a_whole_good_piece_of_its_own() {
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
