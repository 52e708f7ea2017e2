//! Who comes first: one order for leeching and seeding, as in libtorrent's round-robin choker.
//!
//! Who gives us more comes first (tit-for-tat). Among those who give nothing, as all do when we seed: who has not done its
//! turn, then who takes fastest, then who has waited longest. So a slot stays where it is put to use until its turn is
//! done, and nobody waits for ever. Knows one peer at a time.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

/// 20 pieces make a turn (libtorrent's `seeding_piece_quota`): enough to have something to pass on.
pub(super) const QUOTA_PIECES: u64 = 20;

/// And a minute (libtorrent): where twenty pieces go in a second, everybody would be choked and unchoked all the time.
const LEAST_TURN: Duration = Duration::from_secs(60);

/// How a peer stands, lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Bytes a second that it gives us.
    pub down_bps: u64,
    /// Bytes a second that it takes from us.
    pub up_bps: u64,
    /// Bytes that it took from us in all.
    pub taken: u64,
    /// We ask it, it does not choke us, and has sent nothing for a minute.
    pub snubs: bool,
}

/// A slot that a peer has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) since: Instant,
    /// What it had taken in all when it got the slot.
    pub(super) taken_then: u64,
}

/// A peer as the choker knows it.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) interested: bool,
    pub(super) standing: Standing,
    pub(super) held: Option<Held>,
    /// When it last lost a slot.
    pub(super) had_slot_at: Option<Instant>,
}

/// Smaller comes first. Snubs, gives, has done its turn, takes, holds no slot, had one.
pub(super) type Rank = (bool, Reverse<u64>, bool, Reverse<u64>, bool, Option<Instant>);

impl Peer {
    pub(super) fn rank(&self, now: Instant, quota: u64, seeding: bool) -> Rank {
        let Standing { down_bps, up_bps, snubs, .. } = self.standing;
        // What still goes to a peer that was just choked must not unchoke it again.
        let takes = if self.held.is_some() { up_bps } else { 0 };
        let done = self.has_done_its_turn(now, quota);
        let (snubs, gives) = if seeding { (false, 0) } else { (snubs, down_bps) };
        (snubs, Reverse(gives), done, Reverse(takes), self.held.is_none(), self.had_slot_at)
    }

    /// It never had a slot.
    pub(super) const fn is_new(&self) -> bool {
        self.held.is_none() && self.had_slot_at.is_none()
    }

    fn has_done_its_turn(&self, now: Instant, quota: u64) -> bool {
        self.held.is_some_and(|held| {
            let taken = self.standing.taken.saturating_sub(held.taken_then);
            taken > quota && now.saturating_duration_since(held.since) > LEAST_TURN
        })
    }
}
