//! Whether a file that no record claims belongs to the torrent. It is judged by the pieces whose hash is right.
//!
//! This module knows lengths and pieces, no names and no disks.

use crate::base::bitfield::Bitfield;
use crate::base::geometry::Geometry;
use crate::logic::disk::layout::Layout;

/// What was found on the disk before the first write.
#[derive(Debug, Clone, Copy)]
pub struct FoundFiles<'a> {
    /// The pieces of the torrent.
    pub geometry: &'a Geometry,
    /// The files of the torrent.
    pub layout: &'a Layout,
    /// The pieces whose hash is right.
    pub right: &'a Bitfield,
    /// The length in bytes of each file on the disk; 0 for a file that is not there.
    pub lens: &'a [u64],
}

impl FoundFiles<'_> {
    /// Returns true when a piece of the file is right, or when the file has no bytes to judge it by. A file whose every
    /// piece reaches into other files can have lost them all by damage to those: it belongs to the torrent when it has its
    /// exact length and one of those files holds a right piece.
    pub fn belongs(&self, file: usize) -> bool {
        let Some(range) = self.layout.file_range(file) else { return false };
        if range.is_empty() || self.has_right_piece(file) {
            return true;
        }
        let has_its_length = self.lens.get(file) == Some(&(range.end - range.start));
        let start = |piece| self.geometry.piece_start(piece);
        let end = |piece| start(piece) + u64::from(self.geometry.piece_len(piece));
        let is_shared = |piece| start(piece) < range.start || end(piece) > range.end;
        has_its_length && self.geometry.pieces_of(range.clone()).all(is_shared) && self.shares_with_a_right_file(file)
    }

    /// Whether a piece with a byte of this file is right.
    fn has_right_piece(&self, file: usize) -> bool {
        let range = self.layout.file_range(file).unwrap_or_default();
        self.geometry.pieces_of(range).any(|piece| self.right.has(piece))
    }

    /// Whether this file shares a piece with another file that holds a right piece.
    fn shares_with_a_right_file(&self, file: usize) -> bool {
        let range = self.layout.file_range(file).unwrap_or_default();
        self.geometry.pieces_of(range).any(|piece| {
            let (start, len) = (self.geometry.piece_start(piece), self.geometry.piece_len(piece));
            self.layout.spans(start, len.into()).any(|span| span.file != file && self.has_right_piece(span.file))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer for a file, with files of these lengths in pieces of 16 KiB, these right pieces and these lengths on
    /// the disk.
    fn belongs(lens: &[u64], right: &[u32], on_disk: &[u64], file: usize) -> bool {
        let geometry = Geometry::new(lens.iter().sum(), 16384).unwrap();
        let layout = Layout::new(lens.iter().copied());
        let mut bits = Bitfield::none(geometry.piece_count());
        for piece in right {
            bits.set(geometry.piece(*piece).unwrap());
        }
        FoundFiles { geometry: &geometry, layout: &layout, right: &bits, lens: on_disk }.belongs(file)
    }

    /// The case, the right pieces, the lengths on the disk, the file, and whether it belongs to the torrent.
    type Row = (&'static str, &'static [u32], [u64; 4], usize, bool);

    #[test]
    fn a_file_belongs_to_the_torrent_by_its_right_pieces_or_those_of_its_neighbour() {
        let lens = [40_000, 100, 0, 40_000];
        let table: [Row; 9] = [
            ("one right piece", &[0], [40_000, 0, 0, 0], 0, true),
            ("no right piece", &[4], [40_000, 100, 0, 40_000], 0, false),
            ("no bytes to judge it by", &[], [0, 0, 7, 0], 2, true),
            ("its only piece is right", &[2], [40_000, 100, 0, 40_000], 1, true),
            ("its only piece is lost with the neighbour's end", &[0, 1], [35_000, 100, 0, 40_000], 1, true),
            ("the neighbour behind it vouches too", &[3], [0, 100, 0, 40_000], 1, true),
            ("no neighbour is right", &[], [40_000, 100, 0, 40_000], 1, false),
            ("another length", &[0, 1], [35_000, 101, 0, 40_000], 1, false),
            ("a piece of its own is wrong", &[0], [40_000, 100, 0, 40_000], 3, false),
        ];
        for (what, right, on_disk, file, want) in table {
            assert_eq!(belongs(&lens, right, &on_disk, file), want, "{what}");
        }
    }
}
