//! The saved state of our tracker: its swarms in a file, so that they survive a restart (`docs/FORMATS.md`).
//!
//! The file is written in parts and ends with a checksum. It is read as untrusted input: no part is used before the
//! whole file has been checked, and a file costs no more memory than it is long. Knows no limits of a tracker and no
//! clock.

use sha1::{Digest, Sha1};

use super::compact::{V4_LEN, V6_LEN};
use crate::base::ids::InfoHash;

/// The version of the format. No other version is read.
pub const VERSION: u32 = 1;

/// Ages are counted in units of 8 s, the tick of the tracker's clock.
pub const AGE_UNIT_S: u64 = 8;

const MAGIC: &[u8; 8] = b"ttswarms";

/// The length of the magic number, the version, and the time of writing.
const HEADER_LEN: usize = 20;

/// The length of the SHA-1 of all bytes before it.
const TRAILER_LEN: usize = 20;

/// The tag before a swarm.
const SWARM: u8 = 1;

/// The tag after the last swarm.
const END: u8 = 0;

/// The length of a swarm without peers: tag, info-hash, downloads, age, flags, founder, two counts.
pub const SWARM_LEN: usize = 1 + 20 + 4 + 2 + 1 + 6 + 4 + 4;

/// The length of an IPv6 peer, the longest kind: address, age, flags.
pub const PEER_LEN: usize = V6_LEN + 3;

const IS_ESTABLISHED: u8 = 1;
const FOUNDER_IS_V6: u8 = 2;

const IS_SEED: u8 = 1;
const IS_CONFIRMED: u8 = 2;
const IS_COUNTED: u8 = 4;

/// One peer of a swarm. The address is encoded as in compact peers (BEP 23, BEP 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedPeer<const N: usize> {
    /// Address and port.
    pub addr: [u8; N],
    /// The time since the peer's last announce, in units of [`AGE_UNIT_S`].
    pub age: u16,
    /// The peer is a seed.
    pub is_seed: bool,
    /// The peer has announced again after the minimum interval.
    pub is_confirmed: bool,
    /// The peer's download was counted, or the peer came as a seed.
    pub is_counted: bool,
}

/// The network of the first peer of a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavedNetwork {
    /// A /24 of IPv4.
    V4([u8; 3]),
    /// A /48 of IPv6.
    V6([u8; 6]),
}

/// One swarm with its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedSwarm {
    /// The info-hash of the torrent.
    pub info_hash: InfoHash,
    /// How many downloads were completed.
    pub downloaded: u32,
    /// The time since the last announce, in units of [`AGE_UNIT_S`].
    pub age: u16,
    /// Peers of two networks have announced, or one peer has come back.
    pub is_established: bool,
    /// The network of the peer that announced first.
    pub founder: SavedNetwork,
    /// The IPv4 peers.
    pub v4: Vec<SavedPeer<V4_LEN>>,
    /// The IPv6 peers.
    pub v6: Vec<SavedPeer<V6_LEN>>,
}

/// Why bytes are not the saved state of a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadState {
    /// The file does not begin with the magic number.
    #[error("it is not the state of a tracker")]
    Foreign,
    /// The file is of another version of this program.
    #[error("it has version {0}, this program reads version {VERSION}")]
    Version(u32),
    /// The checksum is wrong: the file is damaged or was not written completely.
    #[error("it is damaged or was not written to its end: the checksum is wrong")]
    Torn,
    /// The checksum is right, but the contents are not valid.
    #[error("its contents make no sense")]
    Shape,
}

/// Writes the beginning and the end of a file, and computes its checksum.
#[derive(Debug, Clone)]
pub struct Seal(Sha1);

impl Seal {
    /// Begins a file. Returns its first bytes. `saved_at` is in seconds since 1970.
    pub fn begin(saved_at: u64) -> (Self, Vec<u8>) {
        let header = [&MAGIC[..], &VERSION.to_be_bytes(), &saved_at.to_be_bytes()].concat();
        (Self(Sha1::new_with_prefix(&header)), header)
    }

    /// Adds the next bytes of the file to the checksum. They come from [`SavedSwarm::encode`].
    pub fn add(&mut self, swarms: &[u8]) {
        self.0.update(swarms);
    }

    /// Ends the file. Returns its last bytes.
    pub fn end(mut self) -> Vec<u8> {
        self.0.update([END]);
        let sum: [u8; TRAILER_LEN] = self.0.finalize().into();
        [&[END][..], &sum].concat()
    }
}

impl SavedSwarm {
    /// Appends the encoded swarm.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut founder = [0; 6];
        let flag = match self.founder {
            SavedNetwork::V4([a, b, c]) => {
                founder = [a, b, c, 0, 0, 0];
                0
            }
            SavedNetwork::V6(prefix) => {
                founder.copy_from_slice(&prefix);
                FOUNDER_IS_V6
            }
        };
        out.push(SWARM);
        out.extend(self.info_hash.as_bytes());
        out.extend(self.downloaded.to_be_bytes());
        out.extend(self.age.to_be_bytes());
        out.push(flag | if self.is_established { IS_ESTABLISHED } else { 0 });
        out.extend(founder);
        for count in [self.v4.len(), self.v6.len()] {
            out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
        }
        self.v4.iter().for_each(|peer| peer.encode(out));
        self.v6.iter().for_each(|peer| peer.encode(out));
    }

    /// Removes one swarm from the front; `None` if there is none or it is not valid.
    fn decode(rest: &mut &[u8]) -> Option<Self> {
        let info_hash = InfoHash(take(rest)?);
        let downloaded = u32::from_be_bytes(take(rest)?);
        let age = u16::from_be_bytes(take(rest)?);
        let [flags] = take(rest)?;
        let prefix = take(rest)?;
        let founder = match (flags & FOUNDER_IS_V6 != 0, prefix) {
            (true, prefix) => SavedNetwork::V6(prefix),
            (false, [a, b, c, 0, 0, 0]) => SavedNetwork::V4([a, b, c]),
            (false, _) => return None,
        };
        let (of_v4, of_v6) = (u32::from_be_bytes(take(rest)?), u32::from_be_bytes(take(rest)?));
        let is_established = flags & IS_ESTABLISHED != 0;
        let (v4, v6) = (SavedPeer::decode_many(rest, of_v4)?, SavedPeer::decode_many(rest, of_v6)?);
        let is_known = flags & !(IS_ESTABLISHED | FOUNDER_IS_V6) == 0;
        is_known.then_some(Self { info_hash, downloaded, age, is_established, founder, v4, v6 })
    }
}

impl<const N: usize> SavedPeer<N> {
    /// Appends the encoded peer.
    fn encode(&self, out: &mut Vec<u8>) {
        let flag = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
        out.extend(self.addr);
        out.extend(self.age.to_be_bytes());
        out.push(
            flag(IS_SEED, self.is_seed) | flag(IS_CONFIRMED, self.is_confirmed) | flag(IS_COUNTED, self.is_counted),
        );
    }

    /// Removes `count` peers from the front. Allocates no more memory than they have bytes.
    fn decode_many(rest: &mut &[u8], count: u32) -> Option<Vec<Self>> {
        let len = usize::try_from(count).ok()?.checked_mul(N.checked_add(3)?)?;
        let (mut peers, tail) = rest.split_at_checked(len)?;
        *rest = tail;
        let mut decoded = Vec::with_capacity(usize::try_from(count).ok()?);
        while !peers.is_empty() {
            decoded.push(Self::decode(&mut peers)?);
        }
        Some(decoded)
    }

    /// Removes one peer from the front.
    fn decode(rest: &mut &[u8]) -> Option<Self> {
        let addr = take(rest)?;
        let age = u16::from_be_bytes(take(rest)?);
        let [flags] = take(rest)?;
        (flags & !(IS_SEED | IS_CONFIRMED | IS_COUNTED) == 0).then_some(Self {
            addr,
            age,
            is_seed: flags & IS_SEED != 0,
            is_confirmed: flags & IS_CONFIRMED != 0,
            is_counted: flags & IS_COUNTED != 0,
        })
    }
}

/// Removes `N` bytes from the front; `None` if there are fewer.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*first)
}

/// The saved state in a file whose checksum and contents are right.
#[derive(Debug, Clone, Copy)]
pub struct SavedState<'a> {
    saved_at: u64,
    /// The swarms with their tags, without the tag at the end.
    swarms: &'a [u8],
}

impl<'a> SavedState<'a> {
    /// Checks the whole file.
    pub fn read(input: &'a [u8]) -> Result<Self, BadState> {
        let mut rest = input;
        if take(&mut rest) != Some(*MAGIC) {
            return Err(BadState::Foreign);
        }
        let version = take(&mut rest).map_or(0, u32::from_be_bytes);
        if version != VERSION {
            return Err(BadState::Version(version));
        }
        let (sealed, trailer) = input.split_last_chunk::<TRAILER_LEN>().ok_or(BadState::Torn)?;
        let sum: [u8; TRAILER_LEN] = Sha1::digest(sealed).into();
        if sum != *trailer {
            return Err(BadState::Torn);
        }
        let saved_at = take(&mut rest).map(u64::from_be_bytes).ok_or(BadState::Shape)?;
        let swarms = sealed.get(HEADER_LEN..).ok_or(BadState::Shape)?;
        let state = Self { saved_at, swarms };
        let mut left = state.swarms();
        left.by_ref().for_each(drop);
        if left.0 == [END] { Ok(state) } else { Err(BadState::Shape) }
    }

    /// The time of writing, in seconds since 1970.
    pub const fn saved_at(&self) -> u64 {
        self.saved_at
    }

    /// The swarms of the file.
    pub const fn swarms(&self) -> SavedSwarms<'a> {
        SavedSwarms(self.swarms)
    }
}

/// An iterator over the swarms of a file.
#[derive(Debug, Clone)]
pub struct SavedSwarms<'a>(&'a [u8]);

impl Iterator for SavedSwarms<'_> {
    type Item = SavedSwarm;

    fn next(&mut self) -> Option<SavedSwarm> {
        let mut rest = self.0;
        let [SWARM] = take(&mut rest)? else { return None };
        let swarm = SavedSwarm::decode(&mut rest)?;
        self.0 = rest;
        Some(swarm)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn swarm(name: u8) -> SavedSwarm {
        let flags = |age: u16| (age.is_multiple_of(2), age.is_multiple_of(3), age.is_multiple_of(5));
        let v4 = |age| {
            let (is_seed, is_confirmed, is_counted) = flags(age);
            SavedPeer { addr: [1, 2, 3, 4, 5, name], age, is_seed, is_confirmed, is_counted }
        };
        let v6 = |age| {
            let (is_seed, is_confirmed, is_counted) = flags(age);
            SavedPeer { addr: [name; V6_LEN], age, is_seed, is_confirmed, is_counted }
        };
        let founder = if name.is_multiple_of(2) { SavedNetwork::V4([1, 2, name]) } else { SavedNetwork::V6([name; 6]) };
        SavedSwarm {
            info_hash: InfoHash([name; 20]),
            downloaded: 7,
            age: 300,
            is_established: name.is_multiple_of(3),
            founder,
            v4: (0..name.into()).map(v4).collect(),
            v6: (0..u16::from(name % 4)).map(v6).collect(),
        }
    }

    fn file(saved_at: u64, swarms: &[SavedSwarm]) -> Vec<u8> {
        let (mut seal, mut out) = Seal::begin(saved_at);
        for swarm in swarms {
            let mut part = Vec::new();
            swarm.encode(&mut part);
            seal.add(&part);
            out.extend(part);
        }
        out.extend(seal.end());
        out
    }

    fn sealed(body: &[u8]) -> Vec<u8> {
        let sum: [u8; 20] = Sha1::digest(body).into();
        [body, &sum].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        for count in [0, 1, 9] {
            let swarms: Vec<_> = (0..count).map(swarm).collect();
            let bytes = file(99, &swarms);
            let state = SavedState::read(&bytes).unwrap();
            assert_eq!((state.saved_at(), state.swarms().collect::<Vec<_>>()), (99, swarms));
        }
        assert_eq!(file(0, &[SavedSwarm { v4: vec![], v6: vec![], ..swarm(1) }]).len(), 20 + SWARM_LEN + 21);
    }

    #[test]
    fn no_damage_goes_unnoticed() {
        let good = file(99, &[swarm(1), swarm(2)]);
        for len in 0..good.len() {
            assert!(SavedState::read(&good[..len]).is_err(), "{len}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SavedState::read(&bad).is_err(), "{bit}");
        }
        assert_eq!(SavedState::read(&[&good[..], &[0]].concat()).err(), Some(BadState::Torn));
    }

    #[test]
    fn valid_checksums_over_wrong_contents_are_refused() {
        let good = file(99, &[swarm(1)]);
        let body = &good[..good.len() - 20];
        let with = |at: usize, bytes: &[u8]| {
            let mut body = body.to_vec();
            body[at..at + bytes.len()].copy_from_slice(bytes);
            SavedState::read(&sealed(&body)).err()
        };
        let counts = HEADER_LEN + SWARM_LEN - 8;
        let table = [
            (0, &b"ttswarmz"[..], BadState::Foreign),
            (8, &[0, 0, 0, 2], BadState::Version(2)),
            (HEADER_LEN, &[2], BadState::Shape),
            (HEADER_LEN + 27, &[0xff], BadState::Shape),
            (counts, &[0xff; 4], BadState::Shape),
            (counts, &[0, 0, 0, 2], BadState::Shape),
            (body.len() - 1, &[1], BadState::Shape),
        ];
        for (at, bytes, want) in table {
            assert_eq!(with(at, bytes), Some(want), "{at}");
        }
        assert_eq!(SavedState::read(b"").err(), Some(BadState::Foreign));
        assert_eq!(SavedState::read(&sealed(&body[..HEADER_LEN])).err(), Some(BadState::Shape));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let dressed = [&file(7, &[swarm(3)])[..HEADER_LEN], &body].concat();
            for bytes in [&body, &dressed, &sealed(&body), &sealed(&dressed)] {
                if let Ok(state) = SavedState::read(bytes) {
                    let again = file(state.saved_at(), &state.swarms().collect::<Vec<_>>());
                    prop_assert_eq!(&again, bytes);
                }
            }
        }
    }
}
