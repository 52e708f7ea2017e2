//! Arithmetic with pieces and blocks. No other file does it.
//!
//! Only a [`Geometry`] can make a [`PieceIndex`] or a [`BlockAddr`], so a value of either type lies inside its torrent.
//! The sizes of a torrent are checked once, in [`Geometry::new`] (S-05); code that uses them needs no further checks.

use std::fmt;
use std::ops::Range;

use super::limits::{MAX_PIECE_LEN, MAX_PIECES};

/// 16 KiB: the request size that all clients use; peers drop those who ask for more than 128 KiB (BEP 3).
pub const BLOCK_LEN: u32 = 16 * 1024;

/// The number of a piece that exists in its torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceIndex(u32);

impl PieceIndex {
    /// The number as messages carry it.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as an index of per-piece tables.
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One block as this client requests it: block `number` of `piece` begins at `number` × 16 KiB and has `len` bytes. All
/// blocks have 16 KiB except the last one of a piece, which may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockAddr {
    piece: PieceIndex,
    begin: u32,
    len: u32,
}

impl BlockAddr {
    /// The piece that holds the block.
    pub const fn piece(self) -> PieceIndex {
        self.piece
    }

    /// Byte offset inside the piece.
    pub const fn begin(self) -> u32 {
        self.begin
    }

    /// Length in bytes, 1 to 16 KiB.
    #[expect(clippy::len_without_is_empty, reason = "a block is never empty")]
    pub const fn len(self) -> u32 {
        self.len
    }

    /// The number of the block inside the piece, from 0.
    pub const fn number(self) -> u32 {
        self.begin / BLOCK_LEN
    }
}

/// A range of bytes inside one piece that a peer requests from us. Unlike a [`BlockAddr`] it need not be aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceRange {
    piece: PieceIndex,
    begin: u32,
    len: u32,
}

impl PieceRange {
    /// The piece that holds the range.
    pub const fn piece(self) -> PieceIndex {
        self.piece
    }

    /// Byte offset inside the piece.
    pub const fn begin(self) -> u32 {
        self.begin
    }

    /// Length in bytes, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(self) -> u32 {
        self.len
    }
}

/// Why a torrent's sizes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadGeometry {
    /// The torrent has no data.
    #[error("the torrent has no data")]
    Empty,
    /// The piece length is zero or beyond [`MAX_PIECE_LEN`].
    #[error("piece length {0} is not between 1 and {MAX_PIECE_LEN} bytes")]
    PieceLen(u64),
    /// The torrent has more than [`MAX_PIECES`] pieces.
    #[error("{0} pieces are more than the {MAX_PIECES} accepted")]
    TooManyPieces(u64),
    /// The total length does not fit into 63 bits.
    #[error("the total length overflows")]
    Overflow,
}

/// 16 KiB to 128 MiB: libtorrent makes none smaller and reads none larger.
pub const MADE_PIECE_LENS: std::ops::RangeInclusive<u32> = 16 * 1024..=128 * 1024 * 1024;

/// 16 MiB: the largest that libtorrent chooses by itself.
const MAX_AUTOMATIC_PIECE_LEN: u32 = 16 * 1024 * 1024;

/// The piece length that libtorrent chooses for a torrent of `total_len` bytes. The list of hashes then grows with the
/// square root of the data: pieces of `p` bytes are used up to `(2 × p / 20)²` bytes, where 20 is the length of a hash.
pub fn automatic_piece_len(total_len: u64) -> u32 {
    let mut piece_len = *MADE_PIECE_LENS.start();
    while piece_len < MAX_AUTOMATIC_PIECE_LEN && total_len > (u64::from(piece_len).pow(2) + 50) / 100 {
        piece_len *= 2;
    }
    piece_len
}

/// How the bytes of a torrent are divided into pieces and blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    total_len: u64,
    piece_len: u32,
    pieces: u32,
}

impl Geometry {
    /// Checks the sizes. Any piece length is accepted (W-17), not only powers of two.
    pub fn new(total_len: u64, piece_len: u64) -> Result<Self, BadGeometry> {
        if total_len == 0 {
            return Err(BadGeometry::Empty);
        }
        if i64::try_from(total_len).is_err() {
            return Err(BadGeometry::Overflow);
        }
        let checked = u32::try_from(piece_len).ok().filter(|len| (1..=MAX_PIECE_LEN).contains(len));
        let piece_len = checked.ok_or(BadGeometry::PieceLen(piece_len))?;
        let count = total_len.div_ceil(u64::from(piece_len));
        let pieces = u32::try_from(count).ok().filter(|count| *count <= MAX_PIECES);
        Ok(Self { total_len, piece_len, pieces: pieces.ok_or(BadGeometry::TooManyPieces(count))? })
    }

    /// The length of all files together, in bytes.
    pub const fn total_len(&self) -> u64 {
        self.total_len
    }

    /// The length in bytes of every piece except the last one, which may be shorter.
    pub const fn nominal_piece_len(&self) -> u32 {
        self.piece_len
    }

    /// The number of pieces, at least 1.
    pub const fn piece_count(&self) -> u32 {
        self.pieces
    }

    /// The number of blocks of all pieces together.
    pub fn total_blocks(&self) -> u64 {
        let last = self.last_piece();
        u64::from(self.pieces - 1) * u64::from(self.piece_len.div_ceil(BLOCK_LEN)) + u64::from(self.block_count(last))
    }

    /// The piece with that number; `None` if the torrent has fewer pieces.
    pub fn piece(&self, index: u32) -> Option<PieceIndex> {
        (index < self.pieces).then_some(PieceIndex(index))
    }

    /// All pieces, ascending.
    pub fn pieces(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + ExactSizeIterator + use<> {
        (0..self.pieces).map(PieceIndex)
    }

    /// The length of these pieces together, in bytes.
    pub fn len_of(&self, pieces: impl IntoIterator<Item = PieceIndex>) -> u64 {
        pieces.into_iter().map(|piece| u64::from(self.piece_len(piece))).sum()
    }

    /// The piece that holds the byte at this offset of the torrent; `None` beyond the end.
    pub fn piece_at(&self, offset: u64) -> Option<PieceIndex> {
        if offset >= self.total_len {
            return None;
        }
        u32::try_from(offset / u64::from(self.piece_len)).ok().map(PieceIndex)
    }

    /// The pieces that hold any byte of this range of the torrent. A range that goes beyond the torrent's end is cut
    /// there.
    pub fn pieces_of(&self, bytes: Range<u64>) -> impl DoubleEndedIterator<Item = PieceIndex> + use<> {
        let end = bytes.end.min(self.total_len);
        let range = if bytes.start >= end {
            0..0
        } else {
            let len = u64::from(self.piece_len);
            let index = |offset: u64| u32::try_from(offset / len).unwrap_or(self.pieces);
            index(bytes.start)..index(end - 1) + 1
        };
        range.map(PieceIndex)
    }

    /// The length of a piece in bytes.
    pub fn piece_len(&self, piece: PieceIndex) -> u32 {
        let start = self.piece_start(piece);
        u32::try_from((self.total_len - start).min(u64::from(self.piece_len))).expect("capped by a u32")
    }

    /// The offset of a piece's first byte in the torrent.
    pub fn piece_start(&self, piece: PieceIndex) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_len)
    }

    /// The last piece.
    pub fn last_piece(&self) -> PieceIndex {
        PieceIndex(self.pieces - 1)
    }

    /// The number of blocks of a piece, at least 1.
    pub fn block_count(&self, piece: PieceIndex) -> u32 {
        self.piece_len(piece).div_ceil(BLOCK_LEN)
    }

    /// The block with that number in a piece; `None` if the piece has fewer blocks.
    pub fn block(&self, piece: PieceIndex, number: u32) -> Option<BlockAddr> {
        let piece_len = self.piece_len(piece);
        let begin = number.checked_mul(BLOCK_LEN).filter(|begin| *begin < piece_len)?;
        Some(BlockAddr { piece, begin, len: BLOCK_LEN.min(piece_len - begin) })
    }

    /// All blocks of a piece, ascending.
    pub fn blocks(&self, piece: PieceIndex) -> impl DoubleEndedIterator<Item = BlockAddr> + use<> {
        let piece_len = self.piece_len(piece);
        (0..piece_len.div_ceil(BLOCK_LEN)).map(move |number| {
            let begin = number * BLOCK_LEN;
            BlockAddr { piece, begin, len: BLOCK_LEN.min(piece_len - begin) }
        })
    }

    /// The block that a peer names by these three numbers; `None` if they are not exactly a block of this torrent
    /// (P-16).
    pub fn parse_block(&self, piece: u32, begin: u32, len: u32) -> Option<BlockAddr> {
        let block = self.block(self.piece(piece)?, begin / BLOCK_LEN)?;
        (block.begin == begin && block.len == len).then_some(block)
    }

    /// The range that a peer requests by these three numbers; `None` if it is empty or not inside one piece (P-20).
    pub fn parse_range(&self, piece: u32, begin: u32, len: u32) -> Option<PieceRange> {
        let piece = self.piece(piece)?;
        let end = begin.checked_add(len)?;
        (len > 0 && end <= self.piece_len(piece)).then_some(PieceRange { piece, begin, len })
    }

    /// The offset of a range's first byte in the torrent.
    pub fn range_start(&self, range: PieceRange) -> u64 {
        self.piece_start(range.piece) + u64::from(range.begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The lengths that libtorrent 2.1.1 was seen to choose on both sides of each border.
    #[test]
    fn the_automatic_piece_length_is_libtorrents() {
        const LAST_OF: [(u32, u64); 10] = [
            (16, 2_684_355),
            (32, 10_737_418),
            (64, 42_949_673),
            (128, 171_798_692),
            (256, 687_194_767),
            (512, 2_748_779_069),
            (1024, 10_995_116_278),
            (2048, 43_980_465_111),
            (4096, 175_921_860_444),
            (8192, 703_687_441_777),
        ];
        for (kib, last) in LAST_OF {
            assert_eq!(automatic_piece_len(last), kib * 1024, "{last} bytes");
            assert_eq!(automatic_piece_len(last + 1), kib * 2048, "{last} bytes and one");
        }
        assert_eq!((automatic_piece_len(0), automatic_piece_len(u64::MAX)), (16 * 1024, 16 * 1024 * 1024));
    }

    #[test]
    fn sizes_at_the_edges_are_accepted_or_refused() {
        let table = [
            (0, 16384, Err(BadGeometry::Empty)),
            (1, 0, Err(BadGeometry::PieceLen(0))),
            (1, u64::from(MAX_PIECE_LEN) + 1, Err(BadGeometry::PieceLen(u64::from(MAX_PIECE_LEN) + 1))),
            (1, 1, Ok(1)),
            (16384, 16384, Ok(1)),
            (16385, 16384, Ok(2)),
            (u64::MAX, 16384, Err(BadGeometry::Overflow)),
            (1 << 63, 16384, Err(BadGeometry::Overflow)),
            (i64::MAX as u64, 16384, Err(BadGeometry::TooManyPieces(1 << 49))),
            (u64::from(MAX_PIECES), 1, Ok(MAX_PIECES)),
            (u64::from(MAX_PIECES) + 1, 1, Err(BadGeometry::TooManyPieces(u64::from(MAX_PIECES) + 1))),
        ];
        for (total, piece_len, want) in table {
            assert_eq!(Geometry::new(total, piece_len).map(|g| g.piece_count()), want, "{total} / {piece_len}");
        }
    }

    proptest! {
        /// Checks with arithmetic in u128 that blocks tile pieces, pieces tile the torrent, and nothing lies outside.
        #[test]
        fn blocks_tile_the_torrent(piece_len in 1u64..200_000, total in 1u64..3_000_000) {
            prop_assume!(total.div_ceil(piece_len) < 4000);
            let g = Geometry::new(total, piece_len).unwrap();
            let mut at = 0u128;
            let mut blocks = 0u64;
            for piece in g.pieces() {
                prop_assert_eq!(u128::from(g.piece_start(piece)), u128::from(piece.get()) * u128::from(piece_len));
                for block in g.blocks(piece) {
                    prop_assert_eq!(u128::from(g.piece_start(piece)) + u128::from(block.begin()), at);
                    prop_assert_eq!(g.parse_block(piece.get(), block.begin(), block.len()), Some(block));
                    prop_assert_eq!(g.block(piece, block.number()), Some(block));
                    at += u128::from(block.len());
                    blocks += 1;
                }
                prop_assert_eq!(g.block(piece, g.block_count(piece)), None);
            }
            prop_assert_eq!(at, u128::from(total));
            prop_assert_eq!(blocks, g.total_blocks());
            prop_assert_eq!(g.piece(g.piece_count()), None);
        }

        #[test]
        fn a_strangers_range_never_leaves_its_piece(piece in any::<u32>(), begin in any::<u32>(), len in any::<u32>()) {
            let g = Geometry::new(1_000_000, 48_000).unwrap();
            if let Some(range) = g.parse_range(piece, begin, len) {
                prop_assert!(g.range_start(range) + u64::from(range.len()) <= g.total_len());
            }
        }

        #[test]
        fn the_pieces_of_a_range_are_those_that_hold_its_bytes(start in 0u64..1_000_100, len in 0u64..200_000) {
            let g = Geometry::new(1_000_000, 48_000).unwrap();
            let range = start..start + len;
            let want: Vec<_> = g.pieces().filter(|p| {
                let s = g.piece_start(*p);
                s < range.end && s + u64::from(g.piece_len(*p)) > range.start && len > 0
            }).collect();
            prop_assert_eq!(g.pieces_of(range).collect::<Vec<_>>(), want);
        }
    }
}
