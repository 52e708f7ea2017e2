//! Who comes first: one order for leeching and seeding, as in libtorrent's round-robin choker.
//!
//! Who gives us more comes first (tit-for-tat). Among those who give nothing, as all do when we seed: who has not done its
//! turn, then who takes fastest, then who has waited longest. So a slot stays where it is put to use until its turn is
//! done, and nobody waits for ever. A peer that had a slot and asked for nothing comes last for a while: a slot is for who
//! uses it. Knows one peer at a time.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

/// 20 pieces make a turn (libtorrent's `seeding_piece_quota`): enough to have something to pass on.
pub(super) const QUOTA_PIECES: u64 = 20;

/// And a minute (libtorrent): where twenty pieces go in a second, everybody would be choked and unchoked all the time.
const LEAST_TURN: Duration = Duration::from_secs(60);

/// 1 KiB/s (libtorrent's `rate_choker_initial_threshold`): a peer that takes less has had its turn after a minute, for it
/// would never take 20 pieces.
const LEAST_BPS: u64 = 1024;

/// 5 s with a slot and without a request: two round trips of a bad line, and some of the second that a view may be old.
/// Picked by eye.
pub(super) const IDLE: Duration = Duration::from_secs(5);

/// A minute, as long as a turn, for which a peer that wasted a slot comes last; twice as long for each time in a row.
const PENALTY: Duration = Duration::from_secs(60);

/// 64 minutes at most.
const MOST_DOUBLINGS: u32 = 6;

/// How a peer stands, lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UploadStanding {
    /// Bytes a second that it gives us.
    pub down_bps: u64,
    /// Bytes a second that it takes from us.
    pub up_bps: u64,
    /// Bytes that it took from us in all, small requests counted as large ones.
    pub taken: u64,
    /// It has asked for something that it was not given yet.
    pub asks: bool,
    /// We ask it, it does not choke us, and has sent nothing for a minute.
    pub snubs: bool,
}

/// A slot that a peer has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) since: Instant,
    /// What it had taken in all when it got the slot.
    pub(super) taken_then: u64,
    /// When it was last seen to use it.
    pub(super) used: Instant,
    /// It has asked for something since it has the slot.
    pub(super) was_used: bool,
}

/// A peer as the choker knows it.
#[derive(Debug, Default)]
pub(super) struct ChokePeer {
    pub(super) interested: bool,
    pub(super) standing: UploadStanding,
    /// When its standing was told.
    pub(super) seen: Option<Instant>,
    pub(super) held: Option<Held>,
    /// When it last lost a slot.
    pub(super) had_slot_at: Option<Instant>,
    /// How often in a row it had a slot and asked for nothing.
    pub(super) wasted: u32,
    /// It was let in for its first block.
    pub(super) was_greeted: bool,
}

/// Smaller comes first. Snubs, gives, wastes slots, has done its turn, takes, holds no slot, had one.
pub(super) type Rank = (bool, Reverse<u64>, bool, bool, Reverse<u64>, bool, Option<Instant>);

impl ChokePeer {
    pub(super) fn rank(&self, now: Instant, quota: u64, seeding: bool) -> Rank {
        let UploadStanding { down_bps, up_bps, snubs, .. } = self.standing;
        // What still goes to a peer that was just choked must not unchoke it again.
        let takes = if self.held.is_some() { up_bps } else { 0 };
        let done = self.has_done_its_turn(now, quota);
        let (snubs, gives) = if seeding { (false, 0) } else { (snubs, down_bps) };
        (snubs, Reverse(gives), self.is_last(now), done, Reverse(takes), self.held.is_none(), self.had_slot_at)
    }

    /// It never had a slot.
    pub(super) const fn is_new(&self) -> bool {
        self.held.is_none() && self.had_slot_at.is_none()
    }

    /// How it stands now.
    pub(super) fn on_standing(&mut self, now: Instant, standing: UploadStanding) {
        let has_taken = standing.taken > self.standing.taken;
        if let Some(held) = self.held.as_mut().filter(|_| has_taken || standing.asks) {
            (held.used, held.was_used) = (now, true);
            self.wasted = 0;
        }
        (self.standing, self.seen) = (standing, Some(now));
    }

    /// It has a slot and was seen not to use it for so long. What was not looked at is not held against it.
    pub(super) fn is_idle(&self, patience: Duration) -> bool {
        let seen_idle = |held: Held| self.seen.is_some_and(|seen| seen >= held.used + patience);
        self.held.is_some_and(seen_idle)
    }

    /// It wasted a slot, and that is not long ago.
    pub(super) fn is_last(&self, now: Instant) -> bool {
        let Some(doublings) = self.wasted.checked_sub(1) else { return false };
        let until = self.had_slot_at.map(|at| at + PENALTY * 2_u32.pow(doublings.min(MOST_DOUBLINGS)));
        self.held.is_none() && until.is_some_and(|until| now < until)
    }

    fn has_done_its_turn(&self, now: Instant, quota: u64) -> bool {
        self.held.is_some_and(|held| {
            let taken = self.standing.taken.saturating_sub(held.taken_then);
            let is_slow = self.standing.up_bps < LEAST_BPS;
            (taken > quota || is_slow) && now.saturating_duration_since(held.since) > LEAST_TURN
        })
    }
}
