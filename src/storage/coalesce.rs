//! Merges many small reads or writes into a few large ones. Peers mostly request one block after the other, and pieces
//! that are fetched are often neighbours where they are small.
//!
//! Knows offsets and lengths, but no files.

/// 1 MiB: larger reads save nothing measurable, and each read is one buffer.
const MOST: u64 = 1024 * 1024;

/// Ranges that follow each other and are read or written at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CoalescedRun {
    /// The offset in the torrent.
    pub(super) start: u64,
    pub(super) len: u64,
    /// The indices of its ranges, in the order of their offsets.
    pub(super) parts: Vec<usize>,
}

/// Merges ranges, given as start and length. Ranges that overlap are not merged.
pub(super) fn runs(ranges: &[(u64, u64)]) -> Vec<CoalescedRun> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|nth| ranges[*nth]);
    let mut runs: Vec<CoalescedRun> = Vec::new();
    for nth in order {
        let (start, len) = ranges[nth];
        match runs.last_mut().filter(|run| run.start + run.len == start && run.len + len <= MOST) {
            Some(run) => {
                run.len += len;
                run.parts.push(nth);
            }
            None => runs.push(CoalescedRun { start, len, parts: vec![nth] }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read_at_once() {
        const BLOCK: u64 = 16 * 1024;
        let shown = |ranges: &[(u64, u64)]| -> Vec<(u64, u64, Vec<usize>)> {
            runs(ranges).into_iter().map(|run| (run.start, run.len, run.parts)).collect()
        };
        assert_eq!(shown(&[]), []);
        assert_eq!(shown(&[(0, 5), (5, 7), (12, 1)]), [(0, 13, vec![0, 1, 2])]);
        assert_eq!(shown(&[(12, 1), (5, 7), (0, 5)]), [(0, 13, vec![2, 1, 0])], "in whatever order");
        assert_eq!(shown(&[(0, 5), (6, 1)]), [(0, 5, vec![0]), (6, 1, vec![1])], "a gap");
        assert_eq!(shown(&[(0, 5), (0, 5), (3, 5)]), [(0, 5, vec![0]), (0, 5, vec![1]), (3, 5, vec![2])], "twice");
        let many: Vec<_> = (0..100).map(|nth| (nth * BLOCK, BLOCK)).collect();
        let lens: Vec<_> = runs(&many).into_iter().map(|run| run.len).collect();
        assert_eq!(lens, [64 * BLOCK, 36 * BLOCK], "a mebibyte at most");
    }
}
