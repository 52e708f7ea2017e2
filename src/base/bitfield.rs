//! A set of pieces, in the order of the wire: the high bit of the first byte is piece 0 (BEP 3).

use std::fmt;

use super::geometry::{Geometry, PieceIndex};

/// A set of pieces of a torrent with a known number of them. Spare bits are always zero.
#[derive(Clone, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Vec<u8>,
    pieces: u32,
    ones: u32,
}

/// Why the payload of a `bitfield` message is refused (P-07, P-08).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBitfield {
    /// The length is not one bit per piece, rounded up to whole bytes.
    #[error("bitfield of {got} bytes where {want} are due")]
    Length {
        /// Bytes received.
        got: usize,
        /// Bytes that the number of pieces demands.
        want: usize,
    },
    /// A spare bit is set. "Spare bits at the end are set to zero" (BEP 3).
    #[error("bitfield with spare bits set")]
    SpareBits,
}

impl Bitfield {
    /// A set without any piece, for a torrent of `pieces` pieces.
    pub fn none(pieces: u32) -> Self {
        Self { bytes: vec![0; bytes_for(pieces)], pieces, ones: 0 }
    }

    /// A set of all pieces, for a torrent of `pieces` pieces.
    pub fn all(pieces: u32) -> Self {
        let mut bytes = vec![0xff; bytes_for(pieces)];
        if let Some(last) = bytes.last_mut() {
            *last &= !spare_mask(pieces);
        }
        Self { bytes, pieces, ones: pieces }
    }

    /// Reads the payload of a `bitfield` message for a torrent of `pieces` pieces.
    pub fn from_wire(payload: &[u8], pieces: u32) -> Result<Self, BadBitfield> {
        let want = bytes_for(pieces);
        if payload.len() != want {
            return Err(BadBitfield::Length { got: payload.len(), want });
        }
        if payload.last().is_some_and(|last| last & spare_mask(pieces) != 0) {
            return Err(BadBitfield::SpareBits);
        }
        let ones = payload.iter().map(|byte| byte.count_ones()).sum();
        Ok(Self { bytes: payload.to_vec(), pieces, ones })
    }

    /// The bytes of the set, as the payload of a `bitfield` message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of pieces of the torrent.
    pub const fn piece_count(&self) -> u32 {
        self.pieces
    }

    /// The number of pieces in the set.
    pub const fn ones(&self) -> u32 {
        self.ones
    }

    /// Whether no piece is in the set.
    pub const fn is_none(&self) -> bool {
        self.ones == 0
    }

    /// Whether every piece is in the set.
    pub const fn is_all(&self) -> bool {
        self.ones == self.pieces
    }

    /// Whether the piece is in the set.
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.has_number(piece.get())
    }

    /// Adds the piece. Returns whether that changed the set.
    pub fn set(&mut self, piece: PieceIndex) -> bool {
        let changed = !self.has(piece);
        if changed {
            self.bytes[piece.at() / 8] |= mask(piece.get());
            self.ones += 1;
        }
        changed
    }

    /// Removes the piece. Returns whether that changed the set.
    pub fn clear(&mut self, piece: PieceIndex) -> bool {
        let changed = self.has(piece);
        if changed {
            self.bytes[piece.at() / 8] &= !mask(piece.get());
            self.ones -= 1;
        }
        changed
    }

    /// The numbers of the pieces in the set, ascending.
    pub fn iter_ones(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..)
            .zip(&self.bytes)
            .filter(|(_, byte)| **byte != 0)
            .flat_map(|(at, byte)| (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| at * 8 + bit))
    }

    /// The pieces in the set, ascending. `geometry` must be that of the same torrent.
    pub fn pieces(&self, geometry: &Geometry) -> impl Iterator<Item = PieceIndex> + '_ {
        let geometry = *geometry;
        self.iter_ones().filter_map(move |number| geometry.piece(number))
    }

    /// Whether `self` has a piece that `other` has not. Both sets must be of the same torrent.
    pub fn has_beyond(&self, other: &Self) -> bool {
        self.bytes.iter().zip(&other.bytes).any(|(mine, theirs)| mine & !theirs != 0)
    }

    /// Whether `self` has at most `most` pieces that `other` has not. Both sets must be of the same torrent.
    pub fn has_few_beyond(&self, other: &Self, most: u32) -> bool {
        let mut beyond = 0;
        self.bytes.iter().zip(&other.bytes).all(|(mine, theirs)| {
            beyond += (mine & !theirs).count_ones();
            beyond <= most
        })
    }

    /// Whether the piece with this number is in the set; `false` for a number beyond the torrent.
    fn has_number(&self, number: u32) -> bool {
        number < self.pieces && self.bytes[number as usize / 8] & mask(number) != 0
    }
}

impl fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bitfield({} of {})", self.ones, self.pieces)
    }
}

/// The number of bytes of a bitfield of `pieces` pieces.
fn bytes_for(pieces: u32) -> usize {
    pieces.div_ceil(8) as usize
}

/// The bit of a piece in its byte.
const fn mask(number: u32) -> u8 {
    0x80 >> (number % 8)
}

/// The bits of the last byte that stand for no piece.
const fn spare_mask(pieces: u32) -> u8 {
    match pieces % 8 {
        0 => 0,
        used => 0xff >> used,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::geometry::Geometry;
    use proptest::prelude::*;

    #[test]
    fn wrong_lengths_and_spare_bits_are_refused() {
        let table: [(&[u8], u32, Result<u32, BadBitfield>); 7] = [
            (&[0xff], 8, Ok(8)),
            (&[0xff, 0x80], 9, Ok(9)),
            (&[0xff, 0xc0], 9, Err(BadBitfield::SpareBits)),
            (&[0xff, 0x01], 9, Err(BadBitfield::SpareBits)),
            (&[0xff], 9, Err(BadBitfield::Length { got: 1, want: 2 })),
            (&[0xff, 0, 0], 9, Err(BadBitfield::Length { got: 3, want: 2 })),
            (&[], 1, Err(BadBitfield::Length { got: 0, want: 1 })),
        ];
        for (payload, pieces, want) in table {
            assert_eq!(Bitfield::from_wire(payload, pieces).map(|b| b.ones()), want, "{payload:?} of {pieces}");
        }
    }

    proptest! {
        /// Compares the bitfield with a vector of booleans after the same random steps.
        #[test]
        fn it_behaves_like_a_set(pieces in 1u32..100, steps in prop::collection::vec((any::<u32>(), any::<bool>()), 0..300)) {
            let g = Geometry::new(u64::from(pieces), 1).unwrap();
            let mut model = vec![false; pieces as usize];
            let mut set = Bitfield::none(pieces);
            for (number, put) in steps {
                let piece = g.piece(number % pieces).unwrap();
                let changed = if put { set.set(piece) } else { set.clear(piece) };
                prop_assert_eq!(changed, model[piece.at()] != put);
                model[piece.at()] = put;
            }
            let ones: Vec<u32> = (0..pieces).filter(|n| model[*n as usize]).collect();
            prop_assert_eq!(set.iter_ones().collect::<Vec<_>>(), ones.clone());
            prop_assert_eq!(set.ones() as usize, ones.len());
            prop_assert_eq!(Bitfield::from_wire(set.as_bytes(), pieces), Ok(set.clone()));
            prop_assert_eq!(Bitfield::all(pieces).has_beyond(&set), !set.is_all());
            prop_assert!(!set.has_beyond(&Bitfield::all(pieces)));
        }
    }
}
