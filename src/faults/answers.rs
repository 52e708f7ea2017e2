//! Builds what a peer sends in answer to a request: the block, or a corrupted, misplaced or rejected one.
//!
//! Does no I/O. Frames are encoded by hand because they must be able to break the protocol.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use rand::RngExt;
use rand::rngs::SmallRng;

use super::behaviour::{Answer, Behaviour};
use super::torrent::Offer;
use crate::base::geometry::PieceRange;

/// Message types (BEP 3, BEP 6, BEP 10).
pub(super) mod kind {
    pub(in super::super) const CHOKE: u8 = 0;
    pub(in super::super) const UNCHOKE: u8 = 1;
    pub(in super::super) const INTERESTED: u8 = 2;
    pub(in super::super) const NOT_INTERESTED: u8 = 3;
    pub(in super::super) const HAVE: u8 = 4;
    pub(in super::super) const BITFIELD: u8 = 5;
    pub(in super::super) const REQUEST: u8 = 6;
    pub(in super::super) const PIECE: u8 = 7;
    pub(in super::super) const SUGGEST: u8 = 13;
    pub(in super::super) const HAVE_ALL: u8 = 14;
    pub(in super::super) const REJECT: u8 = 16;
    pub(in super::super) const ALLOWED_FAST: u8 = 17;
    pub(in super::super) const EXTENDED: u8 = 20;
}

/// Length in bytes of a `piece` message without its length prefix and its block.
const PIECE_HEAD_LEN: u32 = 9;

/// Returns one message with its length prefix.
pub(super) fn frame(id: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + payload.len());
    out.put_u32(u32::try_from(1 + payload.len()).expect("frames are far below 4 GiB"));
    out.put_u8(id);
    out.put_slice(payload);
    out.freeze()
}

/// Returns these numbers as a message payload, big-endian.
pub(super) fn numbers<const N: usize>(numbers: [u32; N]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// Turns requests into the frames that a peer with this behaviour sends.
#[derive(Debug)]
pub(super) struct Answers {
    offer: Offer,
    behaviour: Behaviour,
    dice: SmallRng,
    /// Buffer for the heads of `piece` messages: one allocation serves hundreds of heads.
    heads: BytesMut,
}

/// Counts of what [`Answers::put`] appended to the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) blocks: u64,
    pub(super) lies: u64,
}

impl Answers {
    pub(super) fn new(offer: Offer, behaviour: Behaviour, dice: SmallRng) -> Self {
        Self { offer, behaviour, dice, heads: BytesMut::new() }
    }

    /// Appends the answer to a request for a piece that the peer has. Returns how many blocks and lies were appended.
    pub(super) fn put(&mut self, asked: PieceRange, queue: &mut VecDeque<Bytes>) -> Sent {
        let start = self.offer.geometry.range_start(asked);
        let Some(data) = self.offer.content.block(start, asked.len()) else { return Sent::default() };
        let (mut piece, mut begin) = (asked.piece().get(), asked.begin());
        let (mut data, mut lies) = self.spoil(asked, data);
        match self.behaviour.answer {
            Answer::Block => {}
            Answer::Reject => {
                queue.push_back(frame(kind::REJECT, &numbers([piece, begin, asked.len()])));
                return Sent { blocks: 0, lies: 1 };
            }
            Answer::WrongIndex => piece = (piece + 1) % self.offer.geometry.piece_count(),
            Answer::WrongBegin => begin += 1,
            Answer::WrongLength => data.truncate(data.len() - 1),
            Answer::BeyondEnd => begin += self.offer.geometry.piece_len(asked.piece()),
        }
        lies |= self.behaviour.answer != Answer::Block;
        let times = u64::from(self.behaviour.duplicate) + 1;
        for _ in 0..times {
            queue.push_back(self.head(piece, begin, data.len()));
            queue.push_back(data.clone());
        }
        Sent { blocks: times, lies: if lies { times } else { times - 1 } }
    }

    /// Flips one bit of the block if the behaviour says so. Returns the block and whether it was changed.
    fn spoil(&mut self, asked: PieceRange, data: Bytes) -> (Bytes, bool) {
        let is_last = asked.begin() + asked.len() == self.offer.geometry.piece_len(asked.piece());
        let is_bad_piece = self.behaviour.corrupt_piece == Some(u64::from(asked.piece().get()));
        let is_unlucky = self.behaviour.corrupt.is_some_and(|share| self.dice.random_bool(share));
        if !(is_bad_piece || is_unlucky || (self.behaviour.corrupt_last && is_last)) {
            return (data, false);
        }
        let mut copy = BytesMut::from(&data[..]);
        // In the bad piece every peer flips the same bit, as in a torrent that was made from bad data (P-15).
        let bit = if is_bad_piece { 0 } else { self.dice.random_range(0..copy.len() * 8) };
        copy[bit / 8] ^= 1 << (bit % 8);
        (copy.freeze(), true)
    }

    fn head(&mut self, piece: u32, begin: u32, len: usize) -> Bytes {
        self.heads.put_u32(PIECE_HEAD_LEN + u32::try_from(len).expect("a request is 128 KiB at most"));
        self.heads.put_u8(kind::PIECE);
        self.heads.put_u32(piece);
        self.heads.put_u32(begin);
        self.heads.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::payload::Payload;
    use crate::faults::torrent::Recipe;
    use rand::SeedableRng;

    /// Returns what a peer with this behaviour sends for a request of piece 1, begin 16384, 10 bytes: the end of the
    /// torrent.
    fn answer(behaviour: &str) -> (Vec<u8>, Sent) {
        let payload = Payload::new(1, 32768 + 16384 + 10);
        let offer = Recipe::single("x", 32768, &[]).make(payload).unwrap().offer;
        let asked = offer.geometry.parse_range(1, 16384, 10).unwrap();
        let mut queue = VecDeque::new();
        let sent = Answers::new(offer, behaviour.parse().unwrap(), SmallRng::seed_from_u64(1)).put(asked, &mut queue);
        (Vec::from(queue).concat(), sent)
    }

    fn block(len: u32, piece: u32, begin: u32, data: &[u8]) -> Vec<u8> {
        let mut out = numbers([len]);
        out.push(7);
        out.extend(numbers([piece, begin]));
        out.extend(data);
        out
    }

    #[test]
    fn each_behaviour_word_yields_its_answer() {
        let data = Payload::new(1, 1 << 20).read(32768 + 16384, 10);
        let table = [
            ("", block(19, 1, 16384, &data), 1, 0),
            ("wrong_index", block(19, 0, 16384, &data), 1, 1),
            ("wrong_begin", block(19, 1, 16385, &data), 1, 1),
            ("wrong_length", block(18, 1, 16384, &data[..9]), 1, 1),
            ("beyond_end", block(19, 1, 16384 + 16394, &data), 1, 1),
            ("reject", frame(16, &numbers([1, 16384, 10])).to_vec(), 0, 1),
            ("duplicate=1", block(19, 1, 16384, &data).repeat(2), 2, 1),
            ("corrupt_piece=0", block(19, 1, 16384, &data), 1, 0),
            ("corrupt=0", block(19, 1, 16384, &data), 1, 0),
        ];
        for (behaviour, want, blocks, lies) in table {
            assert_eq!(answer(behaviour), (want, Sent { blocks, lies }), "{behaviour}");
        }
    }

    #[test]
    fn corruption_flips_exactly_one_bit() {
        let (honest, _) = answer("");
        for behaviour in ["corrupt=1", "corrupt_piece=1", "corrupt_last"] {
            let (spoilt, sent) = answer(behaviour);
            let bits: u32 = honest.iter().zip(&spoilt).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!((bits, sent, spoilt.len()), (1, Sent { blocks: 1, lies: 1 }, honest.len()), "{behaviour}");
        }
    }
}
