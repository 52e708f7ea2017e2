//! The requests of [`Pipeline`](super::Pipeline) after the first grant: which are overdue, which may still be
//! answered, and how long to wait.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::pace::{LinkPace, MOST_PATIENCE};
use super::{Arrival, Granted, MOST_DEPTH, Rejected};
use crate::base::geometry::BlockAddr;

/// A block that comes within 30 s after it was cancelled, rejected or choked is no violation (P-17).
const LATE_FOR: Duration = Duration::from_secs(30);

/// 8,192 returned blocks are remembered, twice the deepest pipeline. A peer that chokes and unchokes a hundred times a
/// second does not grow the list (P-11).
const LATE_MOST: usize = 2 * MOST_DEPTH as usize;

/// 60 s without a block while one is asked for (P-12).
const SNUBBED_AFTER: Duration = Duration::from_secs(60);

/// A block may wait three times the usual patience while later ones arrive before it. Picked by eye: peers that sort
/// their answers by what their disk has ready do that.
const SKIPPED: u32 = 3;

/// The patience doubles with each time-out in a row. 2^6 times the least patience is more than the most.
const MOST_STRIKES: u32 = 6;

/// An outstanding request.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// When the `request` was sent.
    at: Instant,
    /// Bytes received by then. `None` for a second try, whose answer cannot be told from one to the first.
    delivered: Option<u64>,
    /// How many requests for the block are unanswered: a slow peer answers each of them.
    copies: u8,
    /// Tells this request from an earlier one for the same block in the queues.
    serial: u64,
}

/// A returned block that may still arrive.
#[derive(Debug, Clone, Copy)]
struct Late {
    /// When its request was sent.
    sent: Instant,
    /// Tells this entry from an earlier one for the same block in `late_order`.
    serial: u64,
    /// How many requests for the block are unanswered.
    copies: u8,
    /// Whether the peer still has to send it.
    debt: Debt,
}

/// Whether a peer still has to send a returned block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Debt {
    /// No: the request was cancelled, rejected or choked.
    None,
    /// Yes, its request timed out. It may come at any time, and a second request would only fetch it twice.
    Owed,
    /// Its request timed out twice. It may still come, but is worth a new request.
    Doubtful,
}

/// What was requested from a peer, and what of it may still arrive.
#[derive(Debug)]
pub(super) struct Outstanding {
    /// The measured speed of the connection.
    pace: LinkPace,
    /// The number of the last request.
    serial: u64,
    /// The outstanding requests.
    sent: HashMap<BlockAddr, Sent>,
    /// First and second tries in the order of sending. Entries whose serial is not in `sent` any more are skipped. A
    /// first try has the measured patience; a block granted again after a time-out has the longest.
    first_tries: VecDeque<(BlockAddr, u64, Instant)>,
    second_tries: VecDeque<(BlockAddr, u64, Instant)>,
    /// Returned blocks that may still arrive.
    late: HashMap<BlockAddr, Late>,
    /// The keys of `late`, the oldest first.
    late_order: VecDeque<(BlockAddr, u64, Instant)>,
    /// When a block last arrived.
    last_block: Option<Instant>,
    /// Since when the peer owes blocks and has sent none.
    waiting_since: Option<Instant>,
    /// Until this time our own rate limit kept us from reading.
    unread_until: Option<Instant>,
    /// Time-outs in a row without a block in between.
    strikes: u32,
}

impl Outstanding {
    pub(super) fn new(max_depth: u32) -> Self {
        Self {
            pace: LinkPace::new(max_depth),
            serial: 0,
            sent: HashMap::new(),
            first_tries: VecDeque::new(),
            second_tries: VecDeque::new(),
            late: HashMap::new(),
            late_order: VecDeque::new(),
            last_block: None,
            waiting_since: None,
            unread_until: None,
            strikes: 0,
        }
    }

    /// The peer keeps at most this many requests.
    pub(super) fn set_max_depth(&mut self, most: u32) {
        self.pace.set_max_depth(most);
    }

    /// The peer has dropped all requests. Returns them, to be given back.
    pub(super) fn on_choked(&mut self, now: Instant) -> Vec<BlockAddr> {
        self.waiting_since = None;
        self.give_back_all(now, [Debt::None; 2])
    }

    /// Whether the block is outstanding.
    pub(super) fn includes(&self, block: &BlockAddr) -> bool {
        self.sent.contains_key(block)
    }

    /// The scheduler granted these blocks.
    pub(super) fn on_granted(&mut self, now: Instant, blocks: impl Iterator<Item = BlockAddr>) -> Granted {
        let most = blocks.size_hint().1.unwrap_or(0);
        let mut granted = Granted { send: Vec::with_capacity(most), ..Granted::default() };
        for block in blocks {
            if self.includes(&block) {
                continue;
            }
            self.serial += 1;
            let serial = self.serial;
            let request = match self.late.remove(&block) {
                Some(late) if late.debt == Debt::Owed => {
                    self.second_tries.push_back((block, serial, now));
                    Sent { at: late.sent, delivered: None, serial, copies: late.copies }
                }
                late => {
                    self.first_tries.push_back((block, serial, now));
                    granted.send.push(block);
                    let copies = late.map_or(0, |late| late.copies).saturating_add(1);
                    Sent { at: now, delivered: (copies == 1).then(|| self.pace.delivered()), serial, copies }
                }
            };
            self.sent.insert(block, request);
            self.waiting_since.get_or_insert(now);
        }
        granted
    }

    /// A block was received.
    pub(super) fn on_block(&mut self, now: Instant, block: BlockAddr) -> Arrival {
        self.forget_late(now);
        let arrival = if let Some(request) = self.sent.remove(&block) {
            match request.delivered {
                Some(then) => self.pace.on_block(now, block.len(), request.at, then),
                None => self.pace.on_late_block(now, block.len(), request.at),
            }
            self.remember(now, block, Sent { copies: request.copies - 1, ..request }, Debt::Doubtful);
            Arrival::Expected
        } else if let Some(late) = self.late.remove(&block) {
            self.pace.on_late_block(now, block.len(), late.sent);
            let rest = Sent { at: late.sent, delivered: None, serial: 0, copies: late.copies - 1 };
            self.remember(now, block, rest, late.debt);
            Arrival::Late
        } else {
            return Arrival::Unasked;
        };
        self.strikes = 0;
        let since = self.last_block.into_iter().chain(self.waiting_since).max();
        if let Some(since) = since {
            self.pace.on_gap(now, now.saturating_duration_since(since));
        }
        self.last_block = Some(now);
        self.waiting_since = if self.sent.is_empty() { None } else { Some(now) };
        self.prune();
        arrival
    }

    /// Another peer delivered the block. Returns whether this peer still owes it: then send `cancel`.
    pub(super) fn on_cancelled(&mut self, now: Instant, block: BlockAddr) -> bool {
        let Some(request) = self.sent.remove(&block) else {
            let late = self.late.get_mut(&block);
            return late.is_some_and(|late| std::mem::replace(&mut late.debt, Debt::None) != Debt::None);
        };
        self.remember(now, block, request, Debt::None);
        self.relax();
        true
    }

    /// The peer rejected a request (BEP 6).
    pub(super) fn on_rejected(&mut self, now: Instant, block: BlockAddr) -> Rejected {
        let Some(request) = self.sent.remove(&block) else {
            let Some(late) = self.late.get_mut(&block) else { return Rejected::Unasked };
            late.debt = Debt::None;
            return Rejected::Over;
        };
        self.remember(now, block, request, Debt::None);
        self.relax();
        Rejected::Asked
    }

    /// Our own rate limit kept us from reading from this peer until `until`: its time counts from then.
    pub(super) fn on_unread(&mut self, until: Instant) {
        self.unread_until = self.unread_until.max(Some(until));
    }

    /// Returns the overdue blocks, to be given back: all outstanding ones if the peer is silent.
    pub(super) fn on_timeout(&mut self, now: Instant) -> Vec<BlockAddr> {
        self.forget_late(now);
        let mut overdue = Vec::new();
        while let Some(block) = self.pop_overdue(now) {
            overdue.push(block);
        }
        if overdue.is_empty() {
            return overdue;
        }
        let heard = self.last_block.max(self.unread_until);
        let silent = heard.is_none_or(|at| now.saturating_duration_since(at) >= self.gap_patience());
        if silent {
            self.strikes = (self.strikes + 1).min(MOST_STRIKES);
            overdue.extend(self.give_back_all(now, [Debt::Owed, Debt::Doubtful]));
        }
        overdue
    }

    /// When to call [`Self::on_timeout`]. `None` while nothing is outstanding.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let first = self.first_tries.front().map(|(_, _, at)| self.overdue_at(*at));
        let second = self.second_tries.front().map(|(_, _, at)| self.doubtful_at(*at));
        first.into_iter().chain(second).min()
    }

    /// Bytes a second that arrived over about the last 5 s.
    pub(super) fn rate_bps(&self, now: Instant) -> u64 {
        self.pace.rate_bps(now)
    }

    /// How many requests should be outstanding. One while the peer is silent.
    pub(super) fn depth(&self) -> u32 {
        if self.strikes > 0 { 1 } else { self.pace.depth() }
    }

    /// How many requests are outstanding.
    pub(super) fn outstanding(&self) -> u32 {
        u32::try_from(self.sent.len()).unwrap_or(u32::MAX)
    }

    /// Whether the peer is unchoked, asked, and has sent no block for 60 s (P-12).
    pub(super) fn is_snubbed(&self, now: Instant) -> bool {
        let since = self.waiting_since.map(|since| self.fair_start(since));
        since.is_some_and(|since| now.saturating_duration_since(since) >= SNUBBED_AFTER)
    }

    /// How long a block may take before it is overdue.
    fn patience(&self) -> Duration {
        (self.pace.patience() * 2u32.pow(self.strikes)).min(MOST_PATIENCE)
    }

    /// How long no block may arrive before the peer is silent.
    fn gap_patience(&self) -> Duration {
        (self.pace.gap_patience() * 2u32.pow(self.strikes)).min(MOST_PATIENCE)
    }

    /// When a first try sent at `at` is overdue: when it has waited long and no other block arrived either, or when
    /// other blocks kept arriving and it was skipped.
    fn overdue_at(&self, at: Instant) -> Instant {
        let at = self.fair_start(at);
        let progress = self.last_block.map_or(at, |last| last.max(at));
        let quiet = (at + self.patience()).max(progress + self.gap_patience());
        quiet.min(at + self.patience() * SKIPPED)
    }

    /// When a second try sent at `at` is given back.
    fn doubtful_at(&self, at: Instant) -> Instant {
        self.fair_start(at) + MOST_PATIENCE
    }

    /// From when the peer's time counts for a request sent at `at`.
    fn fair_start(&self, at: Instant) -> Instant {
        self.unread_until.map_or(at, |held| held.max(at))
    }

    /// Takes the next overdue block, if there is one.
    fn pop_overdue(&mut self, now: Instant) -> Option<BlockAddr> {
        self.prune();
        let (popped, debt) = if self.first_tries.front().is_some_and(|(_, _, at)| self.overdue_at(*at) <= now) {
            (self.first_tries.pop_front(), Debt::Owed)
        } else if self.second_tries.front().is_some_and(|(_, _, at)| self.doubtful_at(*at) <= now) {
            (self.second_tries.pop_front(), Debt::Doubtful)
        } else {
            return None;
        };
        let (block, _, _) = popped?;
        let request = self.sent.remove(&block)?;
        self.remember(now, block, request, debt);
        Some(block)
    }

    /// Gives back everything outstanding, in the order of sending. `debts` are those of first and of second tries.
    fn give_back_all(&mut self, now: Instant, debts: [Debt; 2]) -> Vec<BlockAddr> {
        let mut back = Vec::with_capacity(self.sent.len());
        let second_tries = std::mem::take(&mut self.second_tries);
        let first_tries = std::mem::take(&mut self.first_tries);
        let second_tries = second_tries.iter().map(|entry| (entry, debts[1]));
        for (&(block, serial, _), debt) in second_tries.chain(first_tries.iter().map(|entry| (entry, debts[0]))) {
            if let Some(request) = self.sent.get(&block).copied().filter(|request| request.serial == serial) {
                self.sent.remove(&block);
                self.remember(now, block, request, debt);
                back.push(block);
            }
        }
        back
    }

    /// Remembers a request that is over, if its block may still arrive.
    fn remember(&mut self, now: Instant, block: BlockAddr, request: Sent, debt: Debt) {
        if request.copies == 0 {
            return;
        }
        self.serial += 1;
        self.late.insert(block, Late { sent: request.at, serial: self.serial, copies: request.copies, debt });
        self.late_order.push_back((block, self.serial, now));
        while self.late_order.len() > LATE_MOST {
            self.forget_oldest_late();
        }
    }

    /// Forgets returned blocks after [`LATE_FOR`], except those whose requests timed out: a slow peer may still answer
    /// them.
    fn forget_late(&mut self, now: Instant) {
        while let Some(&(block, serial, at)) = self.late_order.front()
            && now.saturating_duration_since(at) > LATE_FOR
        {
            if self.late.get(&block).is_some_and(|late| late.serial == serial && late.debt != Debt::None) {
                self.late_order.pop_front();
                self.late_order.push_back((block, serial, now));
            } else {
                self.forget_oldest_late();
            }
        }
    }

    fn forget_oldest_late(&mut self) {
        if let Some((block, serial, _)) = self.late_order.pop_front()
            && self.late.get(&block).is_some_and(|late| late.serial == serial)
        {
            self.late.remove(&block);
        }
    }

    /// A request ended without a block. The time of a peer that owes nothing stops.
    fn relax(&mut self) {
        if self.sent.is_empty() && self.strikes == 0 {
            self.waiting_since = None;
        }
        self.prune();
    }

    /// Removes ended requests from the front of both queues, so that [`Self::deadline`] can read it. Each entry is
    /// removed once.
    fn prune(&mut self) {
        let sent = &self.sent;
        for queue in [&mut self.first_tries, &mut self.second_tries] {
            while queue.front().is_some_and(|(block, serial, _)| sent.get(block).is_none_or(|s| s.serial != *serial)) {
                queue.pop_front();
            }
        }
    }

    #[cfg(test)]
    /// Whether no memory was leaked, for tests.
    pub(super) fn remembers_little(&self) -> bool {
        self.late.len() <= LATE_MOST && self.late_order.len() <= LATE_MOST && self.first_tries.is_empty()
    }
}
