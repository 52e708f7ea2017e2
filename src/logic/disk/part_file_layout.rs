//! The layout of the part file, which holds bytes of unselected files that came with a piece of a selected file.
//!
//! The part file has one slot of the length of a piece for each piece that holds bytes of several files, in the order
//! of the pieces. A byte is at the same place in its slot as in its piece. So the layout follows from the torrent
//! alone: if the user selects other files later, every byte is still found, and the slots never take more than those
//! pieces do. Bytes of other pieces, which should never have to be stored, have their place after the slots. This
//! module does not know which bytes are present.

use std::ops::Range;

use crate::base::geometry::{Geometry, PieceIndex};
use crate::logic::disk::layout::Layout;

/// The places of bytes in the part file of one torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartMap {
    geometry: Geometry,
    /// The pieces that have a slot, in ascending order.
    slots: Vec<PieceIndex>,
}

impl PartMap {
    /// The layout that follows from the borders of the files.
    pub fn new(geometry: Geometry, layout: &Layout) -> Self {
        let borders = (0..layout.file_count()).filter_map(|file| layout.file_range(file)).map(|range| range.end);
        let nominal = u64::from(geometry.nominal_piece_len());
        let inside = borders.filter(|border| *border < layout.total_len() && border % nominal != 0);
        let mut slots: Vec<_> = inside.flat_map(|border| geometry.pieces_of(border..border + 1)).collect();
        slots.dedup();
        Self { geometry, slots }
    }

    /// The places of `len` bytes of the torrent from `start` on, as runs: the offset and length of each.
    pub fn runs(&self, start: u64, len: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let nominal = u64::from(self.geometry.nominal_piece_len());
        let end = start.saturating_add(len);
        self.geometry.pieces_of(start..end).map(move |piece| {
            let piece_start = self.geometry.piece_start(piece);
            let from = start.max(piece_start);
            let to = end.min(piece_start + nominal);
            let place = match self.slots.binary_search(&piece) {
                Ok(slot) => slot as u64 * nominal + (from - piece_start),
                Err(_) => self.slots.len() as u64 * nominal + from,
            };
            (place, to - from)
        })
    }

    /// The pieces whose slots have a byte in this range of the part file.
    pub fn pieces_in(&self, range: Range<u64>) -> impl Iterator<Item = PieceIndex> + '_ {
        let nominal = u64::from(self.geometry.nominal_piece_len());
        let slot = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(self.slots.len());
        let (first, end) = (slot(range.start / nominal), slot(range.end.div_ceil(nominal)));
        self.slots.iter().take(end).skip(first).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Runs = &'static [(u64, u64)];

    /// Files of 25, 10, 0, 5 and 15 bytes in pieces of 10. Pieces 2 and 3 are shared; the border at 40 is also one of
    /// pieces.
    #[test]
    fn each_shared_piece_has_a_slot() {
        let geometry = Geometry::new(55, 10).unwrap();
        let map = PartMap::new(geometry, &Layout::new([25, 10, 0, 5, 15]));
        let table: [(u64, u64, Runs); 7] = [
            (20, 10, &[(0, 10)]),
            (25, 5, &[(5, 5)]),
            (30, 10, &[(10, 10)]),
            (25, 10, &[(5, 5), (10, 5)]),
            (35, 5, &[(15, 5)]),
            (0, 3, &[(20, 3)]),
            (38, 5, &[(18, 2), (20 + 40, 3)]),
        ];
        for (start, len, runs) in table {
            assert_eq!(map.runs(start, len).collect::<Vec<_>>(), runs, "{start}+{len}");
        }
        for (range, pieces) in
            [(0..20, vec![2, 3]), (0..1, vec![2]), (9..11, vec![2, 3]), (10..99, vec![3]), (20..99, vec![])]
        {
            assert_eq!(map.pieces_in(range.clone()).map(PieceIndex::get).collect::<Vec<_>>(), pieces, "{range:?}");
        }
    }

    #[test]
    fn one_file_alone_has_no_slots() {
        let map = PartMap::new(Geometry::new(55, 10).unwrap(), &Layout::new([0, 55, 0]));
        assert_eq!(map.pieces_in(0..u64::MAX).count(), 0);
    }

    proptest! {
        /// No two bytes have the same place, and bytes of shared pieces come first.
        #[test]
        fn every_byte_has_its_own_place(lens in prop::collection::vec(0u64..40, 1..12), piece_len in 1u64..30) {
            let total: u64 = lens.iter().sum();
            prop_assume!(total > 0);
            let geometry = Geometry::new(total, piece_len).unwrap();
            let layout = Layout::new(lens);
            let map = PartMap::new(geometry, &layout);
            let places: Vec<u64> = map.runs(0, total).flat_map(|(at, len)| at..at + len).collect();
            prop_assert_eq!(places.len() as u64, total);
            let distinct: std::collections::BTreeSet<_> = places.iter().collect();
            prop_assert_eq!(distinct.len(), places.len());
            for piece in geometry.pieces() {
                let start = geometry.piece_start(piece);
                let shared = layout.spans(start, u64::from(geometry.piece_len(piece))).count() > 1;
                let place = places[usize::try_from(start).unwrap()];
                prop_assert_eq!(map.pieces_in(place..place + 1).eq([piece]), shared);
            }
        }
    }
}
