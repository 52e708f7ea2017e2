//! What a peer may do a few times, or so often in a minute, and what its messages cost us.

use std::time::Instant;

use super::allowance::Budget;
use super::cost::Cost;
use crate::logic::peer::requests::MOST_DEPTH;

/// 60 unknown messages in a minute: far above any client with extensions we do not speak (P-10, W-04).
const UNKNOWN_A_MINUTE: u32 = 60;

/// 4,096 rejects a minute for what we no longer wait for: as many as could ever be under way. Not a fault: a peer may
/// take its time, and libtorrent forgives them all.
const STRAY_REJECTS_A_MINUTE: u32 = MOST_DEPTH;

/// 10 blocks that we did not ask for, or with a wrong place: an honest peer sends none (P-16).
const MAX_UNASKED: u32 = 10;

/// How a peer has behaved so far. Each `on_*` gives false where that was once too often.
#[derive(Debug)]
pub(super) struct Conduct {
    cost: Cost,
    unasked: u32,
    unknown: Budget,
    stray_rejects: Budget,
}

impl Conduct {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            cost: Cost::new(now),
            unasked: 0,
            unknown: Budget::a_minute(now, UNKNOWN_A_MINUTE),
            stray_rejects: Budget::a_minute(now, STRAY_REJECTS_A_MINUTE),
        }
    }

    /// See [`Cost::charge`].
    pub(super) fn charge(&mut self, now: Instant, len: u32, usual: u32) {
        self.cost.charge(now, len, usual);
    }

    /// Until when the peer is not read, for what it has cost us.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.cost.held_until()
    }

    /// A block or a request that no honest peer sends.
    pub(super) const fn on_unasked(&mut self) -> bool {
        self.unasked += 1;
        self.unasked < MAX_UNASKED
    }

    /// A message that we do not know.
    pub(super) fn on_unknown(&mut self, now: Instant) -> bool {
        self.unknown.spend(now)
    }

    /// A reject of what we do not wait for.
    pub(super) fn on_stray_reject(&mut self, now: Instant) -> bool {
        self.stray_rejects.spend(now)
    }
}
