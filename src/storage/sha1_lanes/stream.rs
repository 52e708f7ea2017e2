//! [`Sha1Stream`]: the state of one message that is being hashed.
//!
//! Keeps the bytes that do not fill a block, and adds the padding. Does not know how a block is hashed.

use super::kernel::{BLOCK_LEN, ShaBlock, ShaRun, ShaState};

/// The initial state (FIPS 180-4, 5.3.1).
const INITIAL: ShaState = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// 8 bytes: the length of the message in bits, at the end of the last block.
const LENGTH_LEN: usize = size_of::<u64>();

/// An unfinished SHA-1. [`absorb`](super::absorb) adds bytes to it.
#[derive(Debug, Clone)]
pub struct Sha1Stream {
    state: ShaState,
    /// The number of bytes that have been hashed into `state`.
    hashed: u64,
    carry: ShaBlock,
    /// The number of bytes at the start of `carry` that wait for the rest of their block.
    carried: usize,
}

impl Default for Sha1Stream {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha1Stream {
    /// A stream that has absorbed no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self { state: INITIAL, hashed: 0, carry: [0; BLOCK_LEN], carried: 0 }
    }

    /// The digest of all absorbed bytes.
    #[must_use]
    pub fn finish(mut self) -> [u8; 20] {
        let mut last = [[0; BLOCK_LEN]; 2];
        let used = 1 + usize::from(self.carried + 1 + LENGTH_LEN > BLOCK_LEN);
        last[0][..self.carried].copy_from_slice(&self.carry[..self.carried]);
        last[0][self.carried] = 0x80;
        last[used - 1][BLOCK_LEN - LENGTH_LEN..].copy_from_slice(&self.bits().to_be_bytes());
        sha1::block_api::compress(&mut self.state, &last[..used]);
        let mut digest = [0; 20];
        digest.as_chunks_mut().0.iter_mut().zip(self.state).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
        digest
    }

    /// The length of the message in bits.
    fn bits(&self) -> u64 {
        (self.hashed + self.carried as u64) * 8
    }

    /// Moves bytes from `part` to the carry until the rest can be hashed in place. Returns the rest of `part`, which
    /// begins with a whole block or is empty.
    pub(super) fn carry<'a>(&mut self, part: &'a [u8]) -> &'a [u8] {
        if self.carried == 0 && part.len() >= BLOCK_LEN {
            return part;
        }
        let (head, rest) = part.split_at(part.len().min(BLOCK_LEN - self.carried));
        self.carry[self.carried..][..head.len()].copy_from_slice(head);
        self.carried += head.len();
        rest
    }

    /// The next whole blocks, of the carry or else of `part`, with the state that they are hashed into.
    pub(super) fn run<'s>(&'s mut self, part: &'s [u8]) -> ShaRun<'s> {
        let blocks = if self.carried == 0 { part.as_chunks().0 } else { std::slice::from_ref(&self.carry) };
        ShaRun { state: &mut self.state, blocks }
    }

    /// Whether there is a whole block.
    pub(super) fn has_run(&self, part: &[u8]) -> bool {
        self.carried == BLOCK_LEN || (self.carried == 0 && part.len() >= BLOCK_LEN)
    }

    /// Notes that this number of blocks of the run was hashed. Returns the rest of `part`.
    pub(super) fn advance<'a>(&mut self, blocks: usize, part: &'a [u8]) -> &'a [u8] {
        let bytes = blocks * BLOCK_LEN;
        self.hashed += bytes as u64;
        if self.carried == 0 {
            return &part[bytes..];
        }
        self.carried = 0;
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5 GiB: more bytes than 32 bits can count, and more bits.
    #[test]
    fn the_length_of_a_long_message_is_not_cut() {
        let mut expected = INITIAL;
        let mut last = [0; BLOCK_LEN];
        last[..4].copy_from_slice(b"end\x80");
        last[56..].copy_from_slice(&[0, 0, 0, 0x0a, 0, 0, 0, 3 * 8]);
        sha1::block_api::compress(&mut expected, &[last]);

        let mut stream = Sha1Stream { hashed: 5 << 30, ..Sha1Stream::new() };
        super::super::absorb([(&mut stream, [b"end".as_slice()])]);
        assert_eq!(stream.finish(), expected.map(u32::to_be_bytes).as_flattened());
    }
}
