//! Counts the restarts of one kind of actor by cause.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// 32 causes for each kind: there are 18 reasons for a disconnect, and fewer of a tracker. Further ones count as [`OTHER`].
const MAX_CAUSES: usize = 32;

/// The name under which the causes beyond the first 32 of a kind are counted.
const OTHER: &str = "other";

/// Counters for at most [`MAX_CAUSES`] causes of one kind of actor. Lock-free; a name is never removed.
#[derive(Debug)]
pub(super) struct Causes {
    named: [Cause; MAX_CAUSES],
    other: Counts,
}

/// The counters of one cause.
#[derive(Debug)]
struct Cause {
    name: OnceLock<Box<str>>,
    counts: Counts,
}

/// Expected and abnormal restarts.
#[derive(Debug)]
struct Counts {
    expected: AtomicU64,
    abnormal: AtomicU64,
}

impl Counts {
    const fn new() -> Self {
        Self { expected: AtomicU64::new(0), abnormal: AtomicU64::new(0) }
    }

    fn of(&self, expected: bool) -> &AtomicU64 {
        if expected { &self.expected } else { &self.abnormal }
    }

    /// All restarts.
    fn both(&self) -> u64 {
        self.expected.load(Relaxed) + self.abnormal.load(Relaxed)
    }
}

impl Causes {
    /// No restarts yet.
    pub(super) const fn new() -> Self {
        let named = [const { Cause { name: OnceLock::new(), counts: Counts::new() } }; MAX_CAUSES];
        Self { named, other: Counts::new() }
    }

    /// Counts one restart.
    pub(super) fn count(&self, name: &str, expected: bool) {
        let known = self.named.iter().find(|cause| **cause.name.get_or_init(|| name.into()) == *name);
        known.map_or(&self.other, |cause| &cause.counts).of(expected).fetch_add(1, Relaxed);
    }

    /// The number of expected restarts, or of abnormal ones.
    pub(super) fn sum(&self, expected: bool) -> u64 {
        let named: u64 = self.named.iter().map(|cause| cause.counts.of(expected).load(Relaxed)).sum();
        named + self.other.of(expected).load(Relaxed)
    }

    /// The causes that occurred, with their restarts.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        let named = self.named.iter().filter_map(|cause| Some((&**cause.name.get()?, cause.counts.both())));
        named.chain(std::iter::once((OTHER, self.other.both()))).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_counted_by_name_and_the_many_as_other() {
        let causes = Causes::new();
        for round in 0..3 {
            for nth in 0..40 {
                causes.count(&format!("cause {nth:02}"), round == 0);
            }
        }
        assert_eq!((causes.sum(true), causes.sum(false)), (40, 80));
        let counts: Vec<_> = causes.counts().collect();
        assert_eq!(counts.len(), MAX_CAUSES + 1);
        assert_eq!(counts[0], ("cause 00", 3));
        assert_eq!(counts[MAX_CAUSES], (OTHER, 24));
    }
}
