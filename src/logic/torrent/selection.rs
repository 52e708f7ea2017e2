//! Which files the user selected, and which pieces and bytes follow from that.
//!
//! A piece is wanted if a byte of a wanted file lies in it. This module knows lengths and numbers, no names and no
//! disks. Where the other bytes of a shared piece are stored is decided in [`crate::logic::disk::part_file_layout`].

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex};
use crate::logic::disk::layout::Layout;

/// Files by number, counted from 1, as a user writes them: `1-5,8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNumbers(Vec<RangeInclusive<usize>>);

impl FromStr for FileNumbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

/// Parses one number or one range.
fn range(text: &str) -> Result<RangeInclusive<usize>, String> {
    let bad = || format!("`{text}` is no number of a file and no range of them (as in 1-5,8)");
    let number = |text: &str| text.trim().parse().ok().filter(|number| *number > 0).ok_or_else(bad);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (usize, usize) = (number(first)?, number(last)?);
    if first <= last { Ok(first..=last) } else { Err(bad()) }
}

impl FileNumbers {
    /// Whether the file is selected. `file` counts from 0.
    pub fn has(&self, file: usize) -> bool {
        self.0.iter().any(|range| range.contains(&file.saturating_add(1)))
    }

    /// The greatest selected number.
    pub fn last(&self) -> usize {
        self.0.iter().map(|range| *range.end()).max().unwrap_or(0)
    }
}

/// The wanted pieces and bytes of a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPieces {
    pieces: Bitfield,
    /// Pieces that are wanted in part, with their number of wanted bytes.
    partly: BTreeMap<PieceIndex, u32>,
    bytes: u64,
}

impl WantedPieces {
    /// Selects the whole torrent.
    pub fn everything(geometry: &Geometry) -> Self {
        Self { pieces: Bitfield::all(geometry.piece_count()), partly: BTreeMap::new(), bytes: geometry.total_len() }
    }

    /// Selects the files whose entry in `files` is true. `files` is in the order of the torrent; files beyond its end
    /// are not wanted.
    pub fn of_files(geometry: &Geometry, layout: &Layout, files: &[bool]) -> Self {
        let mut pieces = Bitfield::none(geometry.piece_count());
        let mut lens: BTreeMap<PieceIndex, u32> = BTreeMap::new();
        let mut bytes = 0;
        let ranges = files.iter().enumerate().filter(|(_, wanted)| **wanted);
        for range in ranges.filter_map(|(file, _)| layout.file_range(file)) {
            bytes += range.end - range.start;
            for piece in geometry.pieces_of(range.clone()) {
                pieces.set(piece);
                let start = geometry.piece_start(piece);
                let end = start + u64::from(geometry.piece_len(piece));
                let len = end.min(range.end) - start.max(range.start);
                if len < end - start {
                    *lens.entry(piece).or_default() += u32::try_from(len).unwrap_or(u32::MAX);
                }
            }
        }
        lens.retain(|piece, len| *len < geometry.piece_len(*piece));
        Self { pieces, partly: lens, bytes }
    }

    /// The pieces that hold at least one wanted byte.
    pub const fn pieces(&self) -> &Bitfield {
        &self.pieces
    }

    /// The number of wanted bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of wanted bytes in this piece.
    pub fn bytes_of(&self, geometry: &Geometry, piece: PieceIndex) -> u32 {
        let whole = if self.pieces.has(piece) { geometry.piece_len(piece) } else { 0 };
        self.partly.get(&piece).copied().unwrap_or(whole)
    }

    /// The number of wanted bytes in the pieces of `have`.
    pub fn bytes_had(&self, geometry: &Geometry, have: &Bitfield) -> u64 {
        have.pieces(geometry).map(|piece| u64::from(self.bytes_of(geometry, piece))).sum()
    }

    /// Whether `have` holds every wanted piece.
    pub fn is_met_by(&self, have: &Bitfield) -> bool {
        !self.pieces.has_beyond(have)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_as_aria2_reads_them() {
        let listed = |text: &str| {
            let numbers: FileNumbers = text.parse()?;
            Ok::<_, String>((0..12).filter(|file| numbers.has(*file)).map(|file| file + 1).collect::<Vec<_>>())
        };
        let table: [(&str, &[usize]); 6] = [
            ("1", &[1]),
            ("1-5,8", &[1, 2, 3, 4, 5, 8]),
            ("8,1-5", &[1, 2, 3, 4, 5, 8]),
            ("3-3, 3", &[3]),
            ("2-4,3-6", &[2, 3, 4, 5, 6]),
            ("12-99999999", &[12]),
        ];
        for (text, want) in table {
            assert_eq!(listed(text).unwrap(), want, "{text}");
        }
        for text in ["", "0", "a", "1-", "-3", "5-1", "1,,2", "1-2-3", "99999999999999999999999", "0-3", "+-1"] {
            assert!(listed(text).unwrap_err().contains("1-5,8"), "{text}");
        }
        assert_eq!("3,1-7,2".parse::<FileNumbers>().unwrap().last(), 7);
    }

    /// Wanted files; their pieces; how many bytes of each of the five are wanted; of all.
    type Row = (&'static [bool], &'static [u32], [u32; 5], u64);

    /// Files of 25, 0, 10 and 15 bytes in pieces of 10: piece 2 lies in the first and the third, piece 3 in the last two.
    #[test]
    fn a_piece_is_wanted_for_any_byte_of_a_wanted_file() {
        let (geometry, layout) = (Geometry::new(50, 10).unwrap(), Layout::new([25, 0, 10, 15]));
        let table: [Row; 7] = [
            (&[true, true, true, true], &[0, 1, 2, 3, 4], [10, 10, 10, 10, 10], 50),
            (&[true], &[0, 1, 2], [10, 10, 5, 0, 0], 25),
            (&[false, true], &[], [0; 5], 0),
            (&[false, false, true, false], &[2, 3], [0, 0, 5, 5, 0], 10),
            (&[true, false, true, false], &[0, 1, 2, 3], [10, 10, 10, 5, 0], 35),
            (&[false, false, false, true, true], &[3, 4], [0, 0, 0, 5, 10], 15),
            (&[], &[], [0; 5], 0),
        ];
        for (files, pieces, lens, bytes) in table {
            let wanted = WantedPieces::of_files(&geometry, &layout, files);
            assert_eq!(wanted.pieces().iter_ones().collect::<Vec<_>>(), pieces, "{files:?}");
            let got: Vec<_> = geometry.pieces().map(|piece| wanted.bytes_of(&geometry, piece)).collect();
            assert_eq!((got.as_slice(), wanted.bytes()), (lens.as_slice(), bytes), "{files:?}");
        }
        let all = WantedPieces::of_files(&geometry, &layout, &[true; 4]);
        assert_eq!(all, WantedPieces::everything(&geometry));
    }

    #[test]
    fn it_is_met_by_the_wanted_pieces_whatever_else_is_there() {
        let (geometry, layout) = (Geometry::new(50, 10).unwrap(), Layout::new([25, 0, 10, 15]));
        let wanted = WantedPieces::of_files(&geometry, &layout, &[false, false, true]);
        let mut have = Bitfield::none(5);
        for (piece, is_met, bytes) in [(2, false, 5), (0, false, 5), (3, true, 10), (4, true, 10)] {
            have.set(geometry.piece(piece).unwrap());
            assert_eq!((wanted.is_met_by(&have), wanted.bytes_had(&geometry, &have)), (is_met, bytes), "{piece}");
        }
    }

    proptest! {
        /// Compares with a list of every single byte.
        #[test]
        fn it_agrees_with_counting_bytes(
            files in prop::collection::vec((0u64..40, any::<bool>()), 1..12), piece_len in 1u64..30,
        ) {
            let total: u64 = files.iter().map(|(len, _)| len).sum();
            prop_assume!(total > 0);
            let geometry = Geometry::new(total, piece_len).unwrap();
            let layout = Layout::new(files.iter().map(|(len, _)| *len));
            let flags: Vec<bool> = files.iter().map(|(_, wanted)| *wanted).collect();
            let wanted = WantedPieces::of_files(&geometry, &layout, &flags);
            let bytes: Vec<bool> =
                files.iter().flat_map(|(len, wanted)| std::iter::repeat_n(*wanted, usize::try_from(*len).unwrap())).collect();
            prop_assert_eq!(wanted.bytes(), bytes.iter().filter(|wanted| **wanted).count() as u64);
            for (piece, bytes) in geometry.pieces().zip(bytes.chunks(usize::try_from(piece_len).unwrap())) {
                let count = u32::try_from(bytes.iter().filter(|wanted| **wanted).count()).unwrap();
                prop_assert_eq!(wanted.bytes_of(&geometry, piece), count);
                prop_assert_eq!(wanted.pieces().has(piece), count > 0);
            }
        }
    }
}
