//! The order in which peers get slots: one order for downloading and seeding, as in libtorrent's round-robin choker.
//!
//! A peer that uploads more to us comes first (tit-for-tat). Among peers that upload nothing, as all do while we seed,
//! those come first that have not used up their turn, then those that download fastest, then those that have waited
//! longest. So a peer that uses its slot keeps it until its turn is over, and no peer waits for ever. A peer that had
//! a slot and requested nothing comes last for a while. This module looks at one peer at a time.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

/// A turn is 20 pieces (libtorrent's `seeding_piece_quota`): enough to have something to pass on.
pub(super) const QUOTA_PIECES: u64 = 20;

/// A turn lasts at least a minute (libtorrent): where 20 pieces take a second, peers would be choked and unchoked all
/// the time.
const LEAST_TURN: Duration = Duration::from_secs(60);

/// 1 KiB/s (libtorrent's `rate_choker_initial_threshold`): a slower peer has used up its turn after a minute, since it
/// would never download 20 pieces.
const LEAST_BPS: u64 = 1024;

/// 5 s with a slot and without a request: two round trips of a bad line, and the up to one second that a report may be
/// old. Picked by eye.
pub(super) const IDLE: Duration = Duration::from_secs(5);

/// A peer that wasted a slot ranks last for a minute, as long as a turn. The time doubles with each slot wasted in a
/// row.
const PENALTY: Duration = Duration::from_secs(60);

/// The penalty doubles at most six times, to 64 minutes.
const MOST_DOUBLINGS: u32 = 6;

/// The recent traffic with a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UploadStanding {
    /// Bytes a second that it uploads to us.
    pub down_bps: u64,
    /// Bytes a second that it downloads from us.
    pub up_bps: u64,
    /// All bytes that it downloaded from us. A small request counts as a large one.
    pub taken: u64,
    /// Whether it has requests that we have not answered yet.
    pub asks: bool,
    /// Whether it snubs us: it does not choke us, we have requests there, and it has sent nothing for a minute.
    pub snubs: bool,
}

/// The slot of a peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// When the peer got the slot.
    pub(super) since: Instant,
    /// The bytes it had downloaded when it got the slot.
    pub(super) taken_then: u64,
    /// When it was last seen to use the slot.
    pub(super) used: Instant,
    /// Whether it has requested anything since it got the slot.
    pub(super) was_used: bool,
}

/// What the choker knows of one peer.
#[derive(Debug, Default)]
pub(super) struct ChokePeer {
    /// Whether it is interested in us.
    pub(super) interested: bool,
    /// Its last reported traffic.
    pub(super) standing: UploadStanding,
    /// When that was reported.
    pub(super) seen: Option<Instant>,
    /// Its slot or greeting. `None`: it is choked.
    pub(super) held: Option<Held>,
    /// When it last lost a slot.
    pub(super) had_slot_at: Option<Instant>,
    /// How many slots in a row it had without a request.
    pub(super) wasted: u32,
    /// Whether it was ever greeted.
    pub(super) was_greeted: bool,
}

/// The sort key of a peer; the smallest comes first. In order: snubs us, uploads to us, wasted a slot, has used up its
/// turn, downloads from us, holds no slot, when it last had one.
pub(super) type Rank = (bool, Reverse<u64>, bool, bool, Reverse<u64>, bool, Option<Instant>);

impl ChokePeer {
    /// The sort key of this peer. `quota`: bytes of a turn. `seeding`: uploads to us do not count.
    pub(super) fn rank(&self, now: Instant, quota: u64, seeding: bool) -> Rank {
        let UploadStanding { down_bps, up_bps, snubs, .. } = self.standing;
        // Blocks still under way to a peer that was just choked must not unchoke it again.
        let takes = if self.held.is_some() { up_bps } else { 0 };
        let done = self.has_done_its_turn(now, quota);
        let (snubs, gives) = if seeding { (false, 0) } else { (snubs, down_bps) };
        (snubs, Reverse(gives), self.is_last(now), done, Reverse(takes), self.held.is_none(), self.had_slot_at)
    }

    /// Whether it never had a slot.
    pub(super) const fn is_new(&self) -> bool {
        self.held.is_none() && self.had_slot_at.is_none()
    }

    /// Its traffic at this time.
    pub(super) fn on_standing(&mut self, now: Instant, standing: UploadStanding) {
        let has_taken = standing.taken > self.standing.taken;
        if let Some(held) = self.held.as_mut().filter(|_| has_taken || standing.asks) {
            (held.used, held.was_used) = (now, true);
            self.wasted = 0;
        }
        (self.standing, self.seen) = (standing, Some(now));
    }

    /// Whether it has a slot and was seen not to use it for `patience`. Time after the last report does not count.
    pub(super) fn is_idle(&self, patience: Duration) -> bool {
        let seen_idle = |held: Held| self.seen.is_some_and(|seen| seen >= held.used + patience);
        self.held.is_some_and(seen_idle)
    }

    /// Whether it wasted a slot lately, and so ranks last.
    pub(super) fn is_last(&self, now: Instant) -> bool {
        let Some(doublings) = self.wasted.checked_sub(1) else { return false };
        let until = self.had_slot_at.map(|at| at + PENALTY * 2_u32.pow(doublings.min(MOST_DOUBLINGS)));
        self.held.is_none() && until.is_some_and(|until| now < until)
    }

    /// Whether it has used up its turn: `quota` bytes, or a minute at a low rate.
    fn has_done_its_turn(&self, now: Instant, quota: u64) -> bool {
        self.held.is_some_and(|held| {
            let taken = self.standing.taken.saturating_sub(held.taken_then);
            let is_slow = self.standing.up_bps < LEAST_BPS;
            (taken > quota || is_slow) && now.saturating_duration_since(held.since) > LEAST_TURN
        })
    }
}
