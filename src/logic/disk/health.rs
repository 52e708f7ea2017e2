//! Disk trouble as a state: what to do about it, and when to try again.

use std::time::{Duration, Instant};

use super::trouble::{DiskTrouble, TroubleKind};

/// 30 s between tries on a full or unwritable disk: what D-01 promises as the latest return.
const RETRY_EVERY: Duration = Duration::from_secs(30);

/// 2 s between looks at the free space of a full disk: a person who has made room sees it go on.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// 1 s between the tries at a device that failed: long enough for a bus reset, short enough to be patient three times.
const IO_RETRY: Duration = Duration::from_secs(1);

/// Three tries at a block that the device refuses, then it is broken (D-03).
const IO_TRIES: u32 = 3;

/// What follows from trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Write nothing before then; then try one piece.
    RetryAt(Instant),
    /// Write nothing any more: the torrent has failed.
    GiveUp,
}

/// The state of a torrent's disk: well, in trouble until a retry succeeds, or given up.
#[derive(Debug, Clone, Copy)]
pub struct DiskHealth {
    /// Wait for space instead of giving up (`--disk-full wait`).
    patient: bool,
    failures: u32,
    retry_at: Option<Instant>,
    look_at: Option<Instant>,
    /// Bytes free when the disk was last found full.
    full_with: u64,
    given_up: bool,
}

impl DiskHealth {
    /// Well. `patient`: wait for a full disk to have space again.
    pub const fn new(patient: bool) -> Self {
        Self { patient, failures: 0, retry_at: None, look_at: None, full_with: 0, given_up: false }
    }

    /// Does this disk wait for space instead of giving up?
    pub const fn is_patient(&self) -> bool {
        self.patient
    }

    /// An operation failed. `None` if the disk was given up before: then nothing is left to decide.
    pub fn on_trouble(&mut self, now: Instant, trouble: &DiskTrouble) -> Option<Remedy> {
        if self.given_up {
            return None;
        }
        // What is free on a disk that is full is not for us.
        self.full_with = trouble.space.map_or(self.full_with, |(free, _)| free);
        self.failures += 1;
        let wait = match trouble.kind {
            TroubleKind::Full | TroubleKind::ReadOnly | TroubleKind::Missing => self.patient.then_some(RETRY_EVERY),
            TroubleKind::Io | TroubleKind::Changed => (self.failures <= IO_TRIES).then_some(IO_RETRY),
            TroubleKind::TooLong | TroubleKind::Taken => None,
        };
        let Some(wait) = wait else {
            self.given_up = true;
            return Some(Remedy::GiveUp);
        };
        self.retry_at = Some(now + wait);
        self.look_at = (trouble.kind == TroubleKind::Full).then(|| now + LOOK_EVERY);
        Some(Remedy::RetryAt(now + wait))
    }

    /// Gives the disk up. Returns `true` unless it was given up before.
    pub const fn give_up(&mut self) -> bool {
        !std::mem::replace(&mut self.given_up, true)
    }

    /// Was the disk given up?
    pub const fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Is nothing to be written, for now or ever?
    pub const fn is_held(&self) -> bool {
        self.given_up || self.retry_at.is_some()
    }

    /// So many bytes are free now and so many are wanted. If more are free than when the disk was full, the retry is due at
    /// once.
    pub fn on_free(&mut self, now: Instant, free: u64, wanted: u64) {
        if self.look_at.is_some() && free >= wanted && free > self.full_with {
            self.retry_at = Some(now);
        }
    }

    /// The free space is being measured; the answer comes by [`DiskHealth::on_free`].
    pub fn on_look(&mut self, now: Instant) {
        self.look_at = self.look_at.map(|_| now + LOOK_EVERY);
    }

    /// When to measure the free space; `None` unless the disk is full.
    pub fn look_at(&self) -> Option<Instant> {
        self.look_at.filter(|_| !self.given_up)
    }

    /// An operation succeeded. Returns `true` if that ends a trouble.
    pub fn on_success(&mut self) -> bool {
        self.failures = 0;
        self.look_at = None;
        self.retry_at.take().is_some() && !self.given_up
    }

    /// When to try again; `None` if the disk is well or was given up.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at.filter(|_| !self.given_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;

    /// Trouble of this kind, and how many bytes were free.
    fn trouble(kind: TroubleKind, free: Option<u64>) -> DiskTrouble {
        let space = free.map(|free| (free, 1 << 30));
        DiskTrouble { kind, space, ..DiskTrouble::changed("write", "/x".as_ref()) }
    }

    #[test]
    fn space_that_returns_is_used_at_once() {
        let t0 = base_instant();
        let after = |secs| Some(t0 + Duration::from_secs(secs));
        let mut health = DiskHealth::new(true);
        health.on_free(t0, 1 << 30, 1);
        assert_eq!((health.look_at(), health.retry_at()), (None, None), "nothing is wrong");
        health.on_trouble(t0, &trouble(TroubleKind::Full, Some(100)));
        for (free, retry_at) in [(0, after(30)), (100, after(30)), (150, after(30)), (200, Some(t0))] {
            health.on_look(t0 + Duration::from_secs(2));
            assert_eq!(health.look_at(), after(4));
            health.on_free(t0, free, 200);
            assert_eq!(health.retry_at(), retry_at, "{free} B free");
        }
        health.on_trouble(t0, &trouble(TroubleKind::Full, Some(500)));
        health.on_free(t0, 500, 200);
        assert_eq!(health.retry_at(), after(30), "what is free is not for us");
        assert!(health.on_success() && health.look_at().is_none());
        health.on_trouble(t0, &trouble(TroubleKind::Io, None));
        assert_eq!(health.look_at(), None);
    }

    /// Whether the disk is waited for, kinds of trouble, and what follows from each.
    type Row = (bool, &'static [TroubleKind], &'static [Option<u64>]);

    /// What follows from the first five troubles of a kind, in seconds until the retry; `None` is the end.
    #[test]
    fn trouble_is_waited_out_or_given_up_by_its_kind() {
        use TroubleKind::{Changed, Full, Io, Missing, ReadOnly, Taken, TooLong};
        let t0 = base_instant();
        let table: &[Row] = &[
            (true, &[Full, ReadOnly, Missing], &[Some(30); 5]),
            (false, &[Full, ReadOnly, Missing], &[None]),
            (true, &[Io, Changed], &[Some(1), Some(1), Some(1), None]),
            (false, &[Io, Changed], &[Some(1), Some(1), Some(1), None]),
            (true, &[TooLong, Taken], &[None]),
            (false, &[TooLong, Taken], &[None]),
        ];
        for (patient, kinds, waits) in table {
            for kind in *kinds {
                let mut health = DiskHealth::new(*patient);
                for wait in *waits {
                    let want = wait.map_or(Remedy::GiveUp, |secs| Remedy::RetryAt(t0 + Duration::from_secs(secs)));
                    assert_eq!(health.on_trouble(t0, &trouble(*kind, None)), Some(want), "{patient} {kind:?}");
                    assert!(health.is_held());
                }
                assert_eq!(health.is_given_up(), waits.contains(&None), "{patient} {kind:?}");
            }
        }
    }

    #[test]
    fn a_success_ends_a_trouble_once_and_never_a_disk_that_was_given_up() {
        let t0 = base_instant();
        let mut health = DiskHealth::new(true);
        for _ in 0..1000 {
            assert!(matches!(health.on_trouble(t0, &trouble(TroubleKind::Full, None)), Some(Remedy::RetryAt(_))));
        }
        assert!(health.on_success() && !health.on_success() && !health.is_held());
        health.on_trouble(t0, &trouble(TroubleKind::Full, None));
        assert!(health.give_up() && !health.give_up());
        assert!(!health.on_success() && health.is_held());
        assert_eq!(health.on_trouble(t0, &trouble(TroubleKind::Full, None)), None);
        assert_eq!((health.retry_at(), health.look_at()), (None, None));
    }
}
