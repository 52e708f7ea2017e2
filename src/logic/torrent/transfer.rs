//! What a torrent has received and sent in this run, over all incarnations of the children that count it.
//!
//! The piece scheduler counts what is received, the peer pool what is sent, each from 0 when it is started. Knows numbers
//! and times that it is told; asks no child.

use std::time::Instant;

use crate::logic::rate::Rate;

/// See the head of the file. All sums are in bytes.
#[derive(Debug, Clone)]
pub struct TransferTotals {
    received: u64,
    wasted: u64,
    sent: u64,
    /// What earlier piece schedulers have received and wasted.
    before_scheduler: (u64, u64),
    /// What earlier peer pools have sent.
    before_pool: u64,
    /// What was received and sent when the disk writer was started.
    at_disk_start: (u64, u64),
    down: Rate,
    up: Rate,
}

impl TransferTotals {
    /// Nothing was moved yet.
    pub const fn new(now: Instant) -> Self {
        Self {
            received: 0,
            wasted: 0,
            sent: 0,
            before_scheduler: (0, 0),
            before_pool: 0,
            at_disk_start: (0, 0),
            down: Rate::new(now),
            up: Rate::new(now),
        }
    }

    /// A piece scheduler has started, or started again: it counts from 0.
    pub const fn on_scheduler_started(&mut self) {
        self.before_scheduler = (self.received, self.wasted);
    }

    /// A peer pool was started: it counts from 0. One that was restarted goes on counting.
    pub const fn on_pool_started(&mut self) {
        self.before_pool = self.sent;
    }

    /// A disk writer was started: the record that it reads has what was moved before.
    pub const fn on_disk_started(&mut self) {
        self.at_disk_start = (self.received, self.sent);
    }

    /// The piece scheduler has counted so much.
    pub fn on_received(&mut self, now: Instant, received: u64, wasted: u64) {
        let received = self.before_scheduler.0 + received;
        self.down.add(now, received.saturating_sub(self.received));
        (self.received, self.wasted) = (received, self.before_scheduler.1 + wasted);
    }

    /// The peer pool has counted so much.
    pub fn on_sent(&mut self, now: Instant, sent: u64) {
        let sent = self.before_pool + sent;
        self.up.add(now, sent.saturating_sub(self.sent));
        self.sent = sent;
    }

    /// Bytes of blocks received.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Of those, the ones that were of no use.
    pub const fn wasted(&self) -> u64 {
        self.wasted
    }

    /// Bytes of blocks sent.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Received and sent since the disk writer was started: what its record does not have yet.
    pub const fn since_disk_start(&self) -> (u64, u64) {
        (self.received.saturating_sub(self.at_disk_start.0), self.sent.saturating_sub(self.at_disk_start.1))
    }

    /// Bytes a second, received and sent, over the last seconds.
    pub fn bps(&self, now: Instant) -> (u64, u64) {
        (self.down.bps(now), self.up.bps(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::logic::testing::base_instant;

    #[test]
    fn children_that_begin_anew_take_no_byte_away() {
        let t0 = base_instant();
        let mut totals = TransferTotals::new(t0);
        totals.on_scheduler_started();
        totals.on_received(t0, 100, 10);
        totals.on_sent(t0, 30);
        totals.on_scheduler_started();
        totals.on_received(t0, 0, 0);
        totals.on_sent(t0, 40);
        assert_eq!((totals.received(), totals.wasted(), totals.sent()), (100, 10, 40));
        totals.on_received(t0, 50, 5);
        totals.on_pool_started();
        totals.on_sent(t0, 0);
        totals.on_sent(t0, 1);
        assert_eq!((totals.received(), totals.wasted(), totals.sent()), (150, 15, 41));
    }

    #[test]
    fn a_record_counts_each_byte_once() {
        let t0 = base_instant();
        let mut totals = TransferTotals::new(t0);
        totals.on_disk_started();
        totals.on_received(t0, 100, 0);
        totals.on_sent(t0, 30);
        assert_eq!(totals.since_disk_start(), (100, 30));
        totals.on_disk_started();
        assert_eq!(totals.since_disk_start(), (0, 0));
        totals.on_received(t0, 101, 0);
        assert_eq!(totals.since_disk_start(), (1, 0));
    }

    #[test]
    fn the_rates_are_those_of_the_last_seconds() {
        let t0 = base_instant();
        let mut totals = TransferTotals::new(t0);
        let second = Duration::from_secs(1);
        totals.on_received(t0 + second, 1000, 0);
        totals.on_sent(t0 + second, 500);
        assert_eq!(totals.bps(t0 + second), (1000, 500));
        assert_eq!(totals.bps(t0 + second * 60), (0, 0));
    }
}
