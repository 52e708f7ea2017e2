//! Many small reads or writes as few large ones: what peers ask for is mostly one block after the other, and so are the
//! pieces that we fetch where they are small.
//!
//! Knows places and lengths, no files.

/// 1 MiB: larger ones save nothing measurable, and each read is one buffer.
const MOST: u64 = 1024 * 1024;

/// Ranges that lie one behind the other, to be read or written at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CoalescedRun {
    /// Where it begins, in the torrent's bytes.
    pub(super) start: u64,
    pub(super) len: u64,
    /// Which ranges it holds, in the order of their places.
    pub(super) parts: Vec<usize>,
}

/// Start and length of each range; ranges that overlap are taken apart.
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
