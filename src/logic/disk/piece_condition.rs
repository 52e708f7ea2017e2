//! What `verify` reports of pieces and files: right, missing (never written, or not completely) or damaged.
//!
//! A piece with a wrong hash is *damaged* if its bytes should be right: the record claims the piece, or, without a
//! record, every byte of it was written. Any other piece with a wrong hash is *missing*: it must be downloaded. This
//! module works on ranges, lengths and the bitfield of the record, and reads no disk.

use std::ops::Range;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex};

/// The condition of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceCondition {
    /// The hash is right.
    Right,
    /// The piece was never written, or not completely.
    Missing,
    /// The piece was written, and its hash is wrong.
    Damaged,
}

/// The condition of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileCondition {
    /// Every byte is right, and the file is not too long.
    Ok,
    /// Some of it must still be downloaded, and nothing of it is wrong.
    Incomplete,
    /// Some of it is wrong.
    Damaged,
}

/// The ranges of the torrent that were written to the disk, in order and without overlaps.
#[derive(Debug, Clone, Default)]
pub struct WrittenRanges(Vec<Range<u64>>);

impl WrittenRanges {
    /// Builds the set from ranges in any order.
    pub fn new(mut ranges: Vec<Range<u64>>) -> Self {
        ranges.retain(|range| range.start < range.end);
        ranges.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// Whether every byte of the range was written.
    fn covers(&self, range: &Range<u64>) -> bool {
        self.at_or_after(range.start).is_some_and(|found| found.start <= range.start && range.end <= found.end)
    }

    /// Whether any byte of the range was written.
    fn touches(&self, range: &Range<u64>) -> bool {
        self.at_or_after(range.start).is_some_and(|found| found.start < range.end)
    }

    /// The first range that ends after this byte.
    fn at_or_after(&self, byte: u64) -> Option<&Range<u64>> {
        self.0.get(self.0.partition_point(|range| range.end <= byte))
    }
}

/// The condition of a piece with a wrong hash. `recorded`: the pieces that the record claims, if there is a record.
pub fn of_wrong_piece(
    piece: PieceIndex,
    geometry: &Geometry,
    written: &WrittenRanges,
    recorded: Option<&Bitfield>,
) -> PieceCondition {
    let start = geometry.piece_start(piece);
    let bytes = start..start + u64::from(geometry.piece_len(piece));
    let is_damaged = match recorded {
        Some(recorded) => recorded.has(piece) && written.touches(&bytes),
        None => written.covers(&bytes),
    };
    if is_damaged { PieceCondition::Damaged } else { PieceCondition::Missing }
}

/// The facts from which the condition of a file follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    /// Its length on the disk. `None`: it does not exist.
    pub found: Option<u64>,
    /// Its length in the torrent.
    pub due: u64,
    /// The number of pieces with a byte of the file.
    pub pieces: usize,
    /// The missing ones among these pieces.
    pub missing: usize,
    /// The damaged ones among these pieces.
    pub damaged: usize,
    /// Whether the record claims a piece with a byte of the file.
    pub is_recorded: bool,
}

impl FileFacts {
    /// The condition of the file, and what is wrong with it as text that follows the file's name.
    pub fn judge(&self) -> (FileCondition, Option<String>) {
        let Self { found, due, pieces, missing, damaged, is_recorded } = *self;
        let Some(len) = found else { return (FileCondition::Incomplete, Some("is not there".to_owned())) };
        let length = || Some(format!("is {len} bytes long, should be {due}"));
        if len > due || (len < due && is_recorded) {
            return (FileCondition::Damaged, length());
        }
        if damaged > 0 {
            return (FileCondition::Damaged, Some(format!("has damage in {damaged} of {}", counted(pieces))));
        }
        if missing > 0 {
            return (FileCondition::Incomplete, Some(format!("lacks {missing} of {}", counted(pieces))));
        }
        if len < due { (FileCondition::Incomplete, length()) } else { (FileCondition::Ok, None) }
    }
}

/// The number with its noun: `1 piece`, `3 pieces`.
pub fn counted(pieces: usize) -> String {
    if pieces == 1 { "1 piece".to_owned() } else { format!("{pieces} pieces") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces 0 to 4 of ten bytes each. Bytes 5 to 25 and 40 to 50 were written.
    #[test]
    fn a_wrong_piece_is_damaged_where_its_bytes_should_be_right() {
        let geometry = Geometry::new(50, 10).unwrap();
        let written = WrittenRanges::new(vec![40..50, 5..20, 20..25]);
        let mut record = Bitfield::none(5);
        for piece in [0, 1, 3] {
            record.set(geometry.piece(piece).unwrap());
        }
        // Pieces written in half, whole, in half, not at all, whole. The record claims the first, second and fourth.
        let table = [(None, "mdmmd"), (Some(&record), "ddmmm")];
        for (recorded, want) in table {
            let got: String = geometry
                .pieces()
                .map(|piece| match of_wrong_piece(piece, &geometry, &written, recorded) {
                    PieceCondition::Damaged => 'd',
                    PieceCondition::Missing => 'm',
                    PieceCondition::Right => 'r',
                })
                .collect();
            assert_eq!(got, want, "{recorded:?}");
        }
    }

    #[test]
    fn a_file_is_ok_incomplete_or_damaged_and_says_why() {
        use FileCondition::{Damaged, Incomplete, Ok};
        let good = FileFacts { found: Some(10), due: 10, pieces: 4, missing: 0, damaged: 0, is_recorded: true };
        let table = [
            (good, Ok, None),
            (FileFacts { found: None, missing: 4, ..good }, Incomplete, Some("is not there")),
            (FileFacts { missing: 3, ..good }, Incomplete, Some("lacks 3 of 4 pieces")),
            (FileFacts { missing: 1, pieces: 1, ..good }, Incomplete, Some("lacks 1 of 1 piece")),
            (FileFacts { missing: 3, damaged: 1, ..good }, Damaged, Some("has damage in 1 of 4 pieces")),
            (FileFacts { found: Some(12), ..good }, Damaged, Some("is 12 bytes long, should be 10")),
            (
                FileFacts { found: Some(12), missing: 2, damaged: 1, ..good },
                Damaged,
                Some("is 12 bytes long, should be 10"),
            ),
            (FileFacts { found: Some(7), missing: 1, ..good }, Damaged, Some("is 7 bytes long, should be 10")),
            (
                FileFacts { found: Some(7), missing: 1, is_recorded: false, ..good },
                Incomplete,
                Some("lacks 1 of 4 pieces"),
            ),
            (FileFacts { found: Some(0), due: 0, pieces: 0, is_recorded: false, ..good }, Ok, None),
            (
                FileFacts { found: Some(1), due: 0, pieces: 0, is_recorded: false, ..good },
                Damaged,
                Some("is 1 bytes long, should be 0"),
            ),
        ];
        for (facts, condition, words) in table {
            assert_eq!(facts.judge(), (condition, words.map(ToOwned::to_owned)), "{facts:?}");
        }
    }

    proptest! {
        /// Compares with a list of every single byte.
        #[test]
        fn what_was_written_agrees_with_a_list_of_bytes(
            ranges in prop::collection::vec((0u64..60, 0u64..20), 0..12), start in 0u64..60, len in 1u64..20,
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, len)| start..start + len).collect();
            let is_there = |byte: u64| ranges.iter().any(|range| range.contains(&byte));
            let (all, any) = ((start..start + len).all(is_there), (start..start + len).any(is_there));
            let written = WrittenRanges::new(ranges.clone());
            prop_assert_eq!((written.covers(&(start..start + len)), written.touches(&(start..start + len))), (all, any));
        }
    }
}
