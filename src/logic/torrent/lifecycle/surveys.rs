//! The surveys of one torrent: once a second while something moves, and one more before a step that wants the last figures.

use std::time::Instant;

use crate::logic::torrent::survey_clock::{Sight, SurveyClock};

/// A survey that a step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum NeededSurvey {
    #[default]
    No,
    /// It is to begin as soon as none is under way: one that is may have asked before the figures were the last ones.
    Yes,
    UnderWay,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Surveys {
    clock: SurveyClock,
    is_under_way: bool,
    needed: NeededSurvey,
}

impl Surveys {
    /// When the next look is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.clock.deadline()
    }

    /// Something may have changed that the last look did not see.
    pub(super) const fn on_changed(&mut self) {
        self.clock.on_stirred();
    }

    /// No look is taken any more but those that are needed.
    pub(super) const fn on_goodbye(&mut self) {
        self.clock.on_goodbye();
    }

    /// The torrent is looked at without a survey, and this is seen.
    pub(super) fn on_look(&mut self, now: Instant, sight: Sight) {
        self.clock.on_look(now);
        self.clock.on_seen(sight);
    }

    /// A look is due. Returns whether a survey begins. While one is under way none does, and the next look is as far away as
    /// after any other.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let begins = !std::mem::replace(&mut self.is_under_way, true);
        self.clock.on_look(now);
        if !begins {
            self.clock.on_stirred();
        }
        begins
    }

    /// A step needs a survey that begins from now on.
    pub(super) const fn need(&mut self) {
        self.needed = NeededSurvey::Yes;
    }

    /// Begins the survey that is needed, if it can begin now. `can_ask`: there are children to ask; else none is needed.
    /// Returns whether it begins.
    pub(super) fn begin_needed(&mut self, now: Instant, can_ask: bool) -> bool {
        if self.needed != NeededSurvey::Yes {
            return false;
        }
        if !can_ask {
            self.needed = NeededSurvey::No;
        }
        if !can_ask || self.is_under_way {
            return false;
        }
        self.needed = NeededSurvey::UnderWay;
        self.begin(now)
    }

    /// Whether a step has to wait.
    pub(super) fn is_awaited(&self) -> bool {
        self.needed != NeededSurvey::No
    }

    /// The children have answered, and this is seen.
    pub(super) fn on_surveyed(&mut self, sight: Sight) {
        self.is_under_way = false;
        if self.needed == NeededSurvey::UnderWay {
            self.needed = NeededSurvey::No;
        }
        self.clock.on_seen(sight);
    }
}
