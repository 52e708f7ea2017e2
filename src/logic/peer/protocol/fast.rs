//! The Fast extension (BEP 6): which pieces can be had while choked, and the "no" that every request gets which is not
//! served.
//!
//! Suggestions are heard and not followed: they spare the suggester's disk, and who follows them lets strangers choose
//! what becomes rare.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sha1::{Digest, Sha1};

use crate::base::geometry::{Geometry, PieceIndex};
use crate::base::ids::InfoHash;

/// 5 pieces: what libtorrent gives by default (`allowed_fast_set_size`). A peer with as many can trade by itself.
pub(super) const GIVEN: u32 = 5;

/// 16 MiB of them at most, but one piece: a start for a newcomer, not a download for one who reconnects. Picked by eye.
const GIVEN_BYTES: u64 = 16 * 1024 * 1024;

/// Each byte of a given piece is sent twice at most to a peer that we choke: asked again after a time-out, not a way to
/// have us read for ever (S-24). libtorrent stops at three times.
const SERVED_TIMES: u64 = 2;

/// 100 pieces are kept of what a peer allows us: twenty times what libtorrent gives. A flood of `allowed fast` is a
/// flood of nothing.
const TAKEN: usize = 100;

/// 2,000 requests refused and not yet on the wire: what libtorrent keeps of one peer. Every one waits for its answer, so
/// who has more under way does not listen to them (P-20, P-21).
const UNHEARD: usize = 2000;

/// A `reject` on the wire: length, type, three numbers.
const REJECT_LEN: usize = 17;

/// 8 hashes for each wanted piece: by then the set is whole, or there are next to no pieces to choose from.
const ROUNDS: usize = 8;

/// BEP 6 on one connection.
#[derive(Debug)]
pub(super) struct Fast {
    /// Both handshakes have the bit.
    pub(super) spoken: bool,
    /// Pieces that we may ask for while choked.
    taken: BTreeSet<PieceIndex>,
    /// They are others than when they were last looked at.
    news: bool,
    /// Bytes that the peer may still have of pieces while we choke it. None: nothing was given yet.
    given: Option<BTreeMap<PieceIndex, u64>>,
    unheard: usize,
}

impl Fast {
    pub(super) const fn new(spoken: bool) -> Self {
        Self { spoken, taken: BTreeSet::new(), news: false, given: None, unheard: 0 }
    }

    /// What may be asked for while choked.
    pub(super) const fn taken(&self) -> &BTreeSet<PieceIndex> {
        &self.taken
    }

    /// The peer will answer for that piece whatever its choke says. True: that is new.
    pub(super) fn on_allowed(&mut self, piece: PieceIndex) -> bool {
        let is_new = self.spoken && self.taken.len() < TAKEN && self.taken.insert(piece);
        self.news |= is_new;
        is_new
    }

    /// It did not, while it choked us: its word is not worth a second request. True: it was given before.
    pub(super) fn on_broken_word(&mut self, piece: PieceIndex) -> bool {
        let was_taken = self.taken.remove(&piece);
        self.news |= was_taken;
        was_taken
    }

    /// Has the set of these pieces changed since the last time it was of interest?
    pub(super) fn is_news(&mut self, of_interest: bool) -> bool {
        of_interest && std::mem::take(&mut self.news)
    }

    /// What to give a peer that has so few pieces, of those that we `have`: once, and nothing to a peer that can trade.
    pub(super) fn give(
        &mut self,
        geometry: &Geometry,
        from: (InfoHash, IpAddr),
        peer_has: u32,
        have: impl Fn(PieceIndex) -> bool,
    ) -> Vec<PieceIndex> {
        if !self.spoken || self.given.is_some() || peer_has >= GIVEN {
            return Vec::new();
        }
        let mut left = GIVEN_BYTES;
        let mut given = Vec::new();
        for piece in allowed_fast(GIVEN, geometry, from.0, from.1).into_iter().filter(|piece| have(*piece)) {
            let len = u64::from(geometry.piece_len(piece));
            if given.is_empty() || len <= left {
                left = left.saturating_sub(len);
                given.push(piece);
            }
        }
        let bytes = |piece: &PieceIndex| (*piece, u64::from(geometry.piece_len(*piece)) * SERVED_TIMES);
        self.given = Some(given.iter().map(bytes).collect());
        given
    }

    /// Is that piece among those given?
    pub(super) fn is_given(&self, piece: PieceIndex) -> bool {
        self.given.as_ref().is_some_and(|given| given.contains_key(&piece))
    }

    /// The peer asks for so many bytes of a piece while we choke it. May it have them?
    pub(super) fn spend(&mut self, piece: PieceIndex, len: u32) -> bool {
        let Some(left) = self.given.as_mut().and_then(|given| given.get_mut(&piece)) else { return false };
        let rest = left.checked_sub(u64::from(len));
        *left = rest.unwrap_or(*left);
        rest.is_some()
    }

    /// One more `reject` is queued. False: the peer has stopped listening to them.
    pub(super) fn on_rejecting(&mut self) -> bool {
        self.unheard += 1;
        self.unheard <= UNHEARD
    }

    /// So many bytes still wait for the socket: there cannot be more rejects among them.
    pub(super) fn on_sent(&mut self, unsent: usize) {
        self.unheard = self.unheard.min(unsent / REJECT_LEN);
    }
}

/// "The canonical algorithm": `count` pieces that follow from the swarm and the network of the peer, so that neither
/// many peers behind one address nor a new connection get more. An IPv4 address counts by its first three bytes, as the
/// BEP has it; an IPv6 address by its first eight, which is what one subscriber has.
fn allowed_fast(count: u32, geometry: &Geometry, info_hash: InfoHash, ip: IpAddr) -> Vec<PieceIndex> {
    let count = count.min(geometry.piece_count()) as usize;
    let mut seed = Vec::with_capacity(28);
    match ip.to_canonical() {
        IpAddr::V4(ip) => seed.extend_from_slice(&[&ip.octets()[..3], &[0]].concat()),
        IpAddr::V6(ip) => seed.extend_from_slice(&ip.octets()[..8]),
    }
    seed.extend_from_slice(info_hash.as_bytes());
    let mut set = Vec::with_capacity(count);
    let mut hash: [u8; 20] = Sha1::digest(&seed).into();
    for _ in 0..ROUNDS * count {
        for number in hash.chunks_exact(4).filter_map(|four| four.try_into().ok()).map(u32::from_be_bytes) {
            let piece = geometry.piece(number % geometry.piece_count());
            if let Some(piece) = piece.filter(|piece| set.len() < count && !set.contains(piece)) {
                set.push(piece);
            }
        }
        hash = Sha1::digest(hash).into();
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(count: u64) -> Geometry {
        Geometry::new(count * 16384, 16384).unwrap()
    }

    fn numbers(set: &[PieceIndex]) -> Vec<u32> {
        set.iter().map(|piece| piece.get()).collect()
    }

    fn from(ip: &str) -> (InfoHash, IpAddr) {
        (InfoHash([0xaa; 20]), ip.parse().unwrap())
    }

    /// The two examples at the end of BEP 6.
    #[test]
    fn the_set_is_that_of_the_bep() {
        let (hash, ip) = from("80.4.4.200");
        let nine = [1059, 431, 808, 1217, 287, 376, 1188, 353, 508];
        for count in [7, 9] {
            assert_eq!(numbers(&allowed_fast(count, &pieces(1313), hash, ip)), nine[..count as usize]);
        }
    }

    #[test]
    fn neighbours_get_the_same_set() {
        let set = |ip| numbers(&allowed_fast(5, &pieces(1313), from(ip).0, from(ip).1));
        assert_eq!(set("80.4.4.200"), set("80.4.4.7"));
        assert_eq!(set("80.4.4.200"), set("::ffff:80.4.4.7"));
        assert_ne!(set("80.4.4.200"), set("80.4.5.200"));
        assert_eq!(set("2001:db8::1"), set("2001:db8::2:3:4:5"));
        assert_ne!(set("2001:db8::1"), set("2001:db8:0:1::1"));
    }

    /// No count of pieces makes it run for ever or name one twice.
    #[test]
    fn small_torrents_have_small_sets() {
        for count in 1..40 {
            let (hash, ip) = from("10.0.0.1");
            let mut set = numbers(&allowed_fast(10, &pieces(count), hash, ip));
            set.sort_unstable();
            set.dedup();
            assert!(set.len() <= 10 && (1..=count).contains(&(set.len() as u64)), "{count}: {set:?}");
            assert!(set.iter().all(|piece| u64::from(*piece) < count));
        }
    }

    #[test]
    fn pieces_are_given_once_to_who_has_next_to_none() {
        let geometry = pieces(1313);
        let give = |fast: &mut Fast, has| numbers(&fast.give(&geometry, from("80.4.4.200"), has, |p| p.get() != 808));
        assert_eq!(give(&mut Fast::new(false), 0), [0; 0], "not spoken");
        assert_eq!(give(&mut Fast::new(true), GIVEN), [0; 0], "it can trade");
        let mut fast = Fast::new(true);
        assert_eq!(give(&mut fast, 4), [1059, 431, 1217, 287], "808 is not there to be given");
        assert_eq!(give(&mut fast, 0), [0; 0], "once");
        let large = Geometry::new(1313 << 23, 1 << 23).unwrap();
        for (len, want) in [(1 << 23, 2), (1 << 25, 1)] {
            let large = Geometry::new(large.total_len() / (1 << 23) * len, len).unwrap();
            let set = Fast::new(true).give(&large, from("80.4.4.200"), 0, |_| true);
            assert_eq!(set.len(), want, "pieces of {len} bytes");
        }
    }

    /// S-24.
    #[test]
    fn a_given_piece_is_served_twice() {
        let geometry = pieces(1313);
        let mut fast = Fast::new(true);
        let given = fast.give(&geometry, from("80.4.4.200"), 0, |_| true);
        let other = geometry.piece(0).unwrap();
        assert!(fast.is_given(given[0]) && !fast.is_given(other));
        let served = (0..10).filter(|_| fast.spend(given[0], 8192)).count();
        assert_eq!(served, 4);
        assert!(!fast.spend(other, 1));
    }

    #[test]
    fn a_flood_of_allowances_is_cut_off() {
        let geometry = pieces(1313);
        let mut fast = Fast::new(true);
        assert_eq!(geometry.pieces().filter(|piece| fast.on_allowed(*piece)).count(), 100);
        let mut deaf = Fast::new(false);
        assert!(!deaf.on_allowed(geometry.piece(0).unwrap()));
    }

    /// P-21.
    #[test]
    fn rejects_that_nobody_reads_are_counted() {
        let mut fast = Fast::new(true);
        assert!((0..2000).all(|_| fast.on_rejecting()));
        fast.on_sent(1_000_000);
        assert!(!fast.on_rejecting());
        fast.on_sent(17 * 10);
        assert!((0..1990).all(|_| fast.on_rejecting()));
        assert!(!fast.on_rejecting());
    }
}
