//! Where the bytes of a torrent lie: the torrent is one sequence of bytes, cut into files of given lengths.
//!
//! This module knows lengths, no names and no disks.

/// A run of bytes within one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSpan {
    /// The number of the file, in the order of the torrent.
    pub file: usize,
    /// The offset of the run in that file, in bytes.
    pub offset: u64,
    /// The length of the run in bytes, at least 1.
    pub len: u64,
}

/// The lengths of the files of a torrent, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Where each file ends in the torrent, ascending. A file of no length has the same end as the one before.
    ends: Vec<u64>,
}

impl Layout {
    /// The layout of files of these lengths in bytes, in the order of the torrent. A sum beyond `u64::MAX` is cut
    /// there; `Geometry` refuses such torrents before.
    pub fn new(lens: impl IntoIterator<Item = u64>) -> Self {
        let add = |at: &mut u64, len| {
            *at = at.saturating_add(len);
            Some(*at)
        };
        Self { ends: lens.into_iter().scan(0, add).collect() }
    }

    /// The sum of all file lengths in bytes.
    pub fn total_len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The number of files, those of no length included.
    pub fn file_count(&self) -> usize {
        self.ends.len()
    }

    /// The range of the torrent's bytes that a file holds; empty for a file of no length. `None`: there is no such
    /// file.
    pub fn file_range(&self, file: usize) -> Option<std::ops::Range<u64>> {
        Some(self.file_start(file)..*self.ends.get(file)?)
    }

    /// The file spans that hold the `len` bytes of the torrent from `start` on, in order. Files of no length never
    /// appear. Bytes beyond the end of the torrent are left out.
    pub fn spans(&self, start: u64, len: u64) -> impl Iterator<Item = FileSpan> + '_ {
        let end = start.saturating_add(len).min(self.total_len());
        let first = self.ends.partition_point(|file_end| *file_end <= start);
        (first..self.ends.len())
            .map_while(move |file| {
                let (file_start, file_end) = (self.file_start(file), self.ends[file]);
                let from = start.max(file_start);
                (from < end).then(|| FileSpan { file, offset: from - file_start, len: end.min(file_end) - from })
            })
            .filter(|span| span.len > 0)
    }

    fn file_start(&self, file: usize) -> u64 {
        file.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spans(lens: &[u64], start: u64, len: u64) -> Vec<(usize, u64, u64)> {
        Layout::new(lens.iter().copied()).spans(start, len).map(|s| (s.file, s.offset, s.len)).collect()
    }

    type Row = (&'static [u64], u64, u64, &'static [(usize, u64, u64)]);

    #[test]
    fn runs_are_cut_at_the_borders_of_files() {
        let table: &[Row] = &[
            (&[10], 0, 10, &[(0, 0, 10)]),
            (&[10], 3, 4, &[(0, 3, 4)]),
            (&[10, 5], 8, 4, &[(0, 8, 2), (1, 0, 2)]),
            (&[10, 5], 10, 5, &[(1, 0, 5)]),
            (&[10, 0, 0, 5], 9, 2, &[(0, 9, 1), (3, 0, 1)]),
            (&[0, 10, 0], 0, 10, &[(1, 0, 10)]),
            (&[1, 1, 1], 0, 3, &[(0, 0, 1), (1, 0, 1), (2, 0, 1)]),
            (&[10], 4, 0, &[]),
            (&[10], 10, 5, &[]),
            (&[10], 5, u64::MAX, &[(0, 5, 5)]),
            (&[], 0, 5, &[]),
            (&[0], 0, 5, &[]),
            (&[u64::MAX, u64::MAX], u64::MAX - 1, 5, &[(0, u64::MAX - 1, 1)]),
        ];
        for (lens, start, len, want) in table {
            assert_eq!(spans(lens, *start, *len), *want, "{start}+{len} in {lens:?}");
        }
    }

    #[test]
    fn a_file_knows_its_range() {
        let layout = Layout::new([10, 0, 5]);
        let ranges: Vec<_> = (0..4).map(|file| layout.file_range(file)).collect();
        assert_eq!(ranges, [Some(0..10), Some(10..10), Some(10..15), None]);
        assert_eq!((layout.total_len(), layout.file_count()), (15, 3));
    }

    proptest! {
        /// Compares with a list that names the file and the offset of every single byte.
        #[test]
        fn every_byte_comes_out_once_and_in_its_place(
            lens in prop::collection::vec(0u64..20, 0..12), start in 0usize..150, len in 0usize..150,
        ) {
            let bytes: Vec<_> =
                lens.iter().enumerate().flat_map(|(file, len)| (0..*len).map(move |at| (file, at))).collect();
            let want: Vec<_> = bytes.iter().skip(start).take(len).copied().collect();
            let got: Vec<_> = spans(&lens, start as u64, len as u64)
                .into_iter()
                .inspect(|(_, _, len)| assert!(*len > 0))
                .flat_map(|(file, offset, len)| (offset..offset + len).map(move |at| (file, at)))
                .collect();
            prop_assert_eq!(got, want);
        }
    }
}
