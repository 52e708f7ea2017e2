//! The Fast extension (BEP 6): the pieces that may be requested while choked, and the `reject` for each request that
//! is not served.
//!
//! `suggest` messages are accepted and not followed. They spare the disk of the sender, and a client that follows them
//! lets other peers decide which pieces become rare.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sha1::{Digest, Sha1};

use crate::base::geometry::{Geometry, PieceIndex};
use crate::base::ids::InfoHash;

/// 5 pieces: libtorrent's default (`allowed_fast_set_size`). A peer that has as many can trade them.
pub(super) const GIVEN: u32 = 5;

/// At most 16 MiB of them, or one piece: a start for a newcomer, and no download for a peer that reconnects. Picked by
/// eye.
const GIVEN_BYTES: u64 = 16 * 1024 * 1024;

/// Each byte of an allowed piece is sent at most twice to a choked peer: enough for a second request after a time-out,
/// and no way to make us read for ever (S-24). libtorrent stops at three times.
const SERVED_TIMES: u64 = 2;

/// At most 100 pieces that a peer allows us are kept: twenty times libtorrent's number. Further `allowed fast`
/// messages are ignored.
const TAKEN: usize = 100;

/// 2,000 rejects not sent yet: libtorrent's limit for one peer. Every request is answered, so a peer with more of them
/// does not read the answers (P-20, P-21).
const UNHEARD: usize = 2000;

/// The length of a `reject` on the wire: length, type, three numbers.
const REJECT_LEN: usize = 17;

/// 8 hashes for each wanted piece: after these the set is complete, or the torrent has hardly any pieces to choose
/// from.
const ROUNDS: usize = 8;

/// The Fast extension on one connection.
#[derive(Debug)]
pub(super) struct Fast {
    /// Whether both handshakes have its bit.
    pub(super) spoken: bool,
    /// The pieces that we may request while choked.
    taken: BTreeSet<PieceIndex>,
    /// Whether `taken` has changed since [`Self::is_news`] last looked.
    news: bool,
    /// The pieces that the peer may request while choked, with the bytes left of each. `None`: no pieces were allowed
    /// yet.
    given: Option<BTreeMap<PieceIndex, u64>>,
    /// The most rejects that may wait for the socket.
    unheard: usize,
}

impl Fast {
    pub(super) const fn new(spoken: bool) -> Self {
        Self { spoken, taken: BTreeSet::new(), news: false, given: None, unheard: 0 }
    }

    /// The pieces that we may request while choked.
    pub(super) const fn taken(&self) -> &BTreeSet<PieceIndex> {
        &self.taken
    }

    /// The peer allows us this piece while it chokes us. Returns whether that is new.
    pub(super) fn on_allowed(&mut self, piece: PieceIndex) -> bool {
        let is_new = self.spoken && self.taken.len() < TAKEN && self.taken.insert(piece);
        self.news |= is_new;
        is_new
    }

    /// The peer rejected a request for an allowed piece while it choked us: the piece is not allowed any more. Returns
    /// whether it was.
    pub(super) fn on_broken_word(&mut self, piece: PieceIndex) -> bool {
        let was_taken = self.taken.remove(&piece);
        self.news |= was_taken;
        was_taken
    }

    /// Whether the allowed pieces have changed since the last call with `of_interest`.
    pub(super) fn is_news(&mut self, of_interest: bool) -> bool {
        of_interest && std::mem::take(&mut self.news)
    }

    /// The pieces to allow a peer that has `peer_has` pieces, of those for which `have` returns true. They are given
    /// once, and none to a peer that can trade.
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

    /// Whether the peer may request this piece while choked.
    pub(super) fn is_given(&self, piece: PieceIndex) -> bool {
        self.given.as_ref().is_some_and(|given| given.contains_key(&piece))
    }

    /// The choked peer requests `len` bytes of a piece. Returns whether it may have them.
    pub(super) fn spend(&mut self, piece: PieceIndex, len: u32) -> bool {
        let Some(left) = self.given.as_mut().and_then(|given| given.get_mut(&piece)) else { return false };
        let rest = left.checked_sub(u64::from(len));
        *left = rest.unwrap_or(*left);
        rest.is_some()
    }

    /// Counts one more queued `reject`. Returns false if the peer does not read them.
    pub(super) fn on_rejecting(&mut self) -> bool {
        self.unheard += 1;
        self.unheard <= UNHEARD
    }

    /// `unsent` bytes wait for the socket: the rejects among them cannot be more.
    pub(super) fn on_sent(&mut self, unsent: usize) {
        self.unheard = self.unheard.min(unsent / REJECT_LEN);
    }
}

/// "The canonical algorithm": `count` pieces that follow from the swarm and the network of the peer, so that neither
/// several peers behind one address nor a new connection get more. An IPv4 address counts by its first three bytes, as
/// in the BEP; an IPv6 address by its first eight, the network of one subscriber.
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

    /// No number of pieces makes it run for ever or return a piece twice.
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
    fn pieces_are_allowed_once_to_a_peer_with_next_to_none() {
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

    /// S-24: requests for allowed pieces without end.
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

    /// P-21: a peer that does not read.
    #[test]
    fn rejects_that_the_peer_does_not_read_are_counted() {
        let mut fast = Fast::new(true);
        assert!((0..2000).all(|_| fast.on_rejecting()));
        fast.on_sent(1_000_000);
        assert!(!fast.on_rejecting());
        fast.on_sent(17 * 10);
        assert!((0..1990).all(|_| fast.on_rejecting()));
        assert!(!fast.on_rejecting());
    }
}
