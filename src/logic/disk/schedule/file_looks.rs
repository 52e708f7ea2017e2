//! When the files are looked at: have other programs changed them? One look at a time.

use std::time::{Duration, Instant};

use super::MAX_DIRTY_LOOKS;

/// 10 s: a folder that was moved away costs what is written until it is noticed. A look takes 3 us for each file.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What a look is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookPurpose {
    /// To notice changes soon.
    Routine,
    /// Everything is written, hashed and recorded: only this look is left before "durable".
    Final,
}

/// A look that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// What it was for.
    pub(super) purpose: LookPurpose,
    /// Another look was asked for while this one was under way: this one may have missed what the other is to find.
    pub(super) is_stale: bool,
}

/// The looks at one torrent's files.
#[derive(Debug, Default)]
pub(super) struct FileLooks {
    under_way: Option<LookPurpose>,
    is_stale: bool,
    last: Option<Instant>,
    /// Final looks in a row that found changes.
    dirty: u32,
}

impl FileLooks {
    /// Asks for a look. Returns `false` if one is under way: that one is stale, and another has to follow it.
    pub(super) const fn ask(&mut self, purpose: LookPurpose) -> bool {
        self.is_stale = self.under_way.is_some();
        if !self.is_stale {
            self.under_way = Some(purpose);
        }
        !self.is_stale
    }

    /// The look was answered.
    pub(super) fn on_answer(&mut self, now: Instant) -> Option<Look> {
        let purpose = self.under_way.take()?;
        self.last = Some(now);
        Some(Look { purpose, is_stale: std::mem::take(&mut self.is_stale) })
    }

    /// A final look found nothing.
    pub(super) const fn on_clean(&mut self) {
        self.dirty = 0;
    }

    /// A final look found changes. Returns `true` if that happened too often in a row.
    pub(super) const fn on_dirty(&mut self) -> bool {
        self.dirty += 1;
        self.dirty > MAX_DIRTY_LOOKS
    }

    /// Has [`LOOK_EVERY`] passed since the last look? The first question starts the clock.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let last = *self.last.get_or_insert(now);
        self.under_way.is_none() && now.saturating_duration_since(last) >= LOOK_EVERY
    }

    /// Is a look under way?
    pub(super) const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }
}
