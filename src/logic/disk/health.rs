//! Disk trouble as a state: what to do about a failure, and when to try again.

use std::time::{Duration, Instant};

/// 30 s between attempts on a full or unwritable disk: D-01 promises recovery within this time.
const RETRY_EVERY: Duration = Duration::from_secs(30);

/// 2 s between two checks of the free space of a full disk: a user who has made room soon sees the transfer continue.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// 1 s between two attempts on a device that failed: long enough for a bus reset, short enough for three attempts.
const IO_RETRY: Duration = Duration::from_secs(1);

/// After three attempts at a block that the device refuses, the disk counts as broken (D-03).
const IO_TRIES: u32 = 3;

/// The kinds of disk failure that are treated differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ailment {
    /// The disk has no space left.
    Full,
    /// The disk is not writable, or missing.
    Withheld,
    /// The device reported an error.
    Broken,
    /// A limit that no waiting removes, such as the maximum length of a file.
    Hopeless,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Pause, and try again at this time.
    RetryAt(Instant),
    /// Give up: the torrent has failed.
    GiveUp,
}

/// The state of one torrent's disk.
#[derive(Debug, Clone, Copy)]
pub struct DiskHealth {
    /// Whether to wait for space instead of giving up (`--disk-full wait`).
    patient: bool,
    /// Failures since the last success.
    failures: u32,
    /// When to try again. `None` while the disk works.
    retry_at: Option<Instant>,
    /// When to check the free space. `None` unless the disk is full.
    look_at: Option<Instant>,
    /// The free bytes when the disk was last found full.
    full_with: u64,
}

impl DiskHealth {
    /// A disk that works. `patient`: wait for a full disk to have space again.
    pub const fn new(patient: bool) -> Self {
        Self { patient, failures: 0, retry_at: None, look_at: None, full_with: 0 }
    }

    /// An operation failed. Returns what to do.
    pub fn on_trouble(&mut self, now: Instant, ailment: Ailment) -> Remedy {
        self.failures += 1;
        let wait = match ailment {
            Ailment::Full | Ailment::Withheld if self.patient => RETRY_EVERY,
            Ailment::Broken if self.failures <= IO_TRIES => IO_RETRY,
            Ailment::Full | Ailment::Withheld | Ailment::Broken | Ailment::Hopeless => return Remedy::GiveUp,
        };
        self.retry_at = Some(now + wait);
        self.look_at = (ailment == Ailment::Full).then(|| now + LOOK_EVERY);
        Remedy::RetryAt(now + wait)
    }

    /// The disk is full although `free` bytes are free: we may not use these.
    pub const fn on_full_with(&mut self, free: u64) {
        self.full_with = free;
    }

    /// `free` bytes are free and `wanted` are needed. If more are free than when the disk was full, it is tried at
    /// once.
    pub fn on_free(&mut self, now: Instant, free: u64, wanted: u64) {
        if self.look_at.is_some() && free >= wanted && free > self.full_with {
            self.retry_at = Some(now);
        }
    }

    /// A check of the free space begins. Its result is given to [`DiskHealth::on_free`].
    pub fn on_look(&mut self, now: Instant) {
        self.look_at = self.look_at.map(|_| now + LOOK_EVERY);
    }

    /// When to check the free space. `None` unless the disk is full.
    pub const fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// An operation succeeded. Returns whether that ends a trouble.
    pub fn on_success(&mut self) -> bool {
        self.failures = 0;
        self.look_at = None;
        self.retry_at.take().is_some()
    }

    /// When to try again. `None` while the disk works.
    pub const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_that_returns_is_used_at_once() {
        let t0 = tokio::time::Instant::now().into_std();
        let after = |secs| Some(t0 + Duration::from_secs(secs));
        let mut health = DiskHealth::new(true);
        health.on_free(t0, 1 << 30, 1);
        assert_eq!((health.look_at(), health.retry_at()), (None, None), "nothing is wrong");
        health.on_trouble(t0, Ailment::Full);
        health.on_full_with(100);
        for (free, retry_at) in [(0, after(30)), (100, after(30)), (150, after(30)), (200, Some(t0))] {
            health.on_look(t0 + Duration::from_secs(2));
            assert_eq!(health.look_at(), after(4));
            health.on_free(t0, free, 200);
            assert_eq!(health.retry_at(), retry_at, "{free} B free");
        }
        health.on_trouble(t0, Ailment::Full);
        health.on_full_with(500);
        health.on_free(t0, 500, 200);
        assert_eq!(health.retry_at(), after(30), "what is free is not for us");
        assert!(health.on_success() && health.look_at().is_none());
        health.on_trouble(t0, Ailment::Broken);
        assert_eq!(health.look_at(), None);
    }

    #[test]
    fn trouble_leads_to_a_retry_or_the_end_by_its_kind() {
        let t0 = tokio::time::Instant::now().into_std();
        let after = |secs| Remedy::RetryAt(t0 + Duration::from_secs(secs));
        let mut patient = DiskHealth::new(true);
        for _ in 0..1000 {
            assert_eq!(patient.on_trouble(t0, Ailment::Full), after(30));
        }
        assert!(patient.on_success() && !patient.on_success());
        assert_eq!(patient.on_trouble(t0, Ailment::Withheld), after(30));
        let mut hasty = DiskHealth::new(false);
        assert_eq!(hasty.on_trouble(t0, Ailment::Full), Remedy::GiveUp);
        assert_eq!(hasty.on_trouble(t0, Ailment::Withheld), Remedy::GiveUp);
        for mut health in [DiskHealth::new(false), DiskHealth::new(true)] {
            let mut hopeless = health;
            assert_eq!(hopeless.on_trouble(t0, Ailment::Hopeless), Remedy::GiveUp);
            for _ in 0..3 {
                assert_eq!(health.on_trouble(t0, Ailment::Broken), after(1));
            }
            assert_eq!(health.on_trouble(t0, Ailment::Broken), Remedy::GiveUp);
        }
    }
}
