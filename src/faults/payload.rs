//! Bytes that can be made again from a seed: the data of the demo, the tests and the fault scenarios.
//!
//! A [`Payload`] is a recipe of 16 bytes; a [`Content`] is what a peer serves blocks from. Neither knows torrents or
//! the wire.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// 1 MiB: what is made at once, for hashing, writing and serving. Sixty-four blocks share the cost of one cache miss.
const CHUNK_LEN: usize = 1024 * 1024;

/// 64 chunks, 64 MiB: all pieces that one fast client keeps open at a time, in any order.
const MAX_CACHED: usize = 64;

/// Odd, and the fractional part of the golden ratio: the increment of `SplitMix64` (Steele, Lea and Flood, 2014).
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// `len` bytes that follow from `seed`. Any range can be made without the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    seed: u64,
    len: u64,
}

impl Payload {
    /// Returns the payload of this seed and length.
    pub const fn new(seed: u64, len: u64) -> Self {
        Self { seed, len }
    }

    /// Returns the length in bytes.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Tells whether it has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes the bytes from `offset` on into `out`. The sequence goes on beyond the end of the payload.
    pub fn fill(&self, offset: u64, out: &mut [u8]) {
        let skip = usize::try_from(offset % 8).expect("less than eight");
        let (head, rest) = out.split_at_mut(out.len().min((8 - skip) % 8));
        if !head.is_empty() {
            head.copy_from_slice(&self.word(offset / 8)[skip..skip + head.len()]);
        }
        let mut words = rest.chunks_exact_mut(8);
        let mut at = offset.div_ceil(8);
        for slot in &mut words {
            slot.copy_from_slice(&self.word(at));
            at += 1;
        }
        let tail = words.into_remainder();
        tail.copy_from_slice(&self.word(at)[..tail.len()]);
    }

    /// Returns the bytes of a range; the part beyond the end is cut off.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut out = vec![0; len.min(left)];
        self.fill(offset, &mut out);
        out
    }

    /// Returns all bytes in chunks of 1 MiB, in order.
    pub fn chunks(&self) -> impl Iterator<Item = Vec<u8>> + use<> {
        let me = *self;
        (0..me.len.div_ceil(CHUNK_LEN as u64)).map(move |nth| me.read(nth * CHUNK_LEN as u64, CHUNK_LEN))
    }

    /// Returns the SHA-1 of all bytes.
    pub fn sha1(&self) -> [u8; 20] {
        self.chunks().fold(Sha1::new(), Digest::chain_update).finalize().into()
    }

    /// Returns the SHA-256 of all bytes.
    pub fn sha256(&self) -> [u8; 32] {
        self.chunks().fold(Sha256::new(), Digest::chain_update).finalize().into()
    }

    /// Writes all bytes, in order.
    pub fn write_to(&self, out: &mut impl io::Write) -> io::Result<()> {
        self.chunks().try_for_each(|chunk| out.write_all(&chunk))
    }

    /// Returns output number `at` of `SplitMix64`.
    fn word(&self, at: u64) -> [u8; 8] {
        let mut z = self.seed.wrapping_add(at.wrapping_add(1).wrapping_mul(GAMMA));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).to_le_bytes()
    }
}

/// The source of a peer's blocks. Cheap to clone; clones share the memory.
#[derive(Debug, Clone)]
pub enum Content {
    /// Made on demand; the newest 64 MiB are kept.
    Made(Rc<Maker>),
    /// All in memory.
    Held(Bytes),
}

/// A payload with its newest chunks.
pub struct Maker {
    payload: Payload,
    newest: RefCell<VecDeque<(u64, Bytes)>>,
}

impl fmt::Debug for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.payload.fmt(f)
    }
}

impl Content {
    /// Returns the length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Made(maker) => maker.payload.len(),
            Self::Held(bytes) => bytes.len() as u64,
        }
    }

    /// Tells whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a range, without a copy if it lies in one chunk; `None` if it goes beyond the end.
    pub fn block(&self, offset: u64, len: u32) -> Option<Bytes> {
        let end = offset.checked_add(u64::from(len)).filter(|end| *end <= self.len())?;
        match self {
            Self::Made(maker) => Some(maker.block(offset, len as usize)),
            Self::Held(bytes) => Some(bytes.slice(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)),
        }
    }
}

impl From<Payload> for Content {
    fn from(payload: Payload) -> Self {
        Self::Made(Rc::new(Maker { payload, newest: RefCell::default() }))
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Held(bytes.into())
    }
}

impl Maker {
    fn block(&self, offset: u64, len: usize) -> Bytes {
        let chunk_len = CHUNK_LEN as u64;
        let at = usize::try_from(offset % chunk_len).expect("less than a chunk");
        if at + len > CHUNK_LEN {
            return self.payload.read(offset, len).into();
        }
        self.chunk(offset / chunk_len).slice(at..at + len)
    }

    fn chunk(&self, nth: u64) -> Bytes {
        let mut newest = self.newest.borrow_mut();
        if let Some((_, chunk)) = newest.iter().rev().find(|(number, _)| *number == nth) {
            return chunk.clone();
        }
        let chunk = Bytes::from(self.payload.read(nth * CHUNK_LEN as u64, CHUNK_LEN));
        if newest.len() == MAX_CACHED {
            newest.pop_front();
        }
        newest.push_back((nth, chunk.clone()));
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_seed_makes_the_same_bytes_for_ever() {
        // The first outputs of the published reference code of `SplitMix64` with seed 0.
        let first = [0xe220_a839_7b1d_cdafu64, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        assert_eq!(Payload::new(0, 24).read(0, 100), first.map(u64::to_le_bytes).concat());
        assert_ne!(Payload::new(1, 24).read(0, 24), Payload::new(2, 24).read(0, 24));
    }

    #[test]
    fn hashes_and_copies_cover_every_byte() {
        for len in [0, 1, CHUNK_LEN as u64, CHUNK_LEN as u64 + 13] {
            let payload = Payload::new(7, len);
            let mut whole = Vec::new();
            payload.write_to(&mut whole).unwrap();
            assert_eq!(whole.len() as u64, len);
            assert_eq!(payload.sha1(), <[u8; 20]>::from(Sha1::digest(&whole)));
            assert_eq!(payload.sha256(), <[u8; 32]>::from(Sha256::digest(&whole)));
        }
    }

    #[test]
    fn the_newest_chunks_are_kept_and_no_more() {
        let payload = Payload::new(3, 100 * CHUNK_LEN as u64);
        let content = Content::from(payload);
        for nth in (0..100).chain([0, 99]) {
            content.block(nth * CHUNK_LEN as u64, 16).unwrap();
        }
        let Content::Made(maker) = content else { panic!("it is made") };
        let kept: Vec<u64> = maker.newest.borrow().iter().map(|(nth, _)| *nth).collect();
        assert_eq!(kept, (37..100).chain([0]).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn any_range_equals_that_of_the_whole(len in 1u64..5000, offset in 0u64..5000, want in 0usize..5000) {
            let payload = Payload::new(11, len);
            let whole = payload.read(0, usize::MAX);
            let start = whole.len().min(usize::try_from(offset).unwrap());
            let end = whole.len().min(start + want);
            prop_assert_eq!(&payload.read(offset, want)[..], &whole[start..end]);
        }

        #[test]
        fn a_block_is_the_same_held_and_made(offset in 0u64..3_000_000, len in 0u32..200_000) {
            let payload = Payload::new(5, 2_500_000);
            let made = Content::from(payload).block(offset, len);
            let held = Content::from(payload.read(0, usize::MAX)).block(offset, len);
            prop_assert_eq!(made.is_some(), offset + u64::from(len) <= 2_500_000);
            prop_assert_eq!(made, held);
        }
    }
}
