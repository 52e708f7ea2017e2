//! Counters of a tracker since its start, and the present size of its table.

use std::time::Duration;

use super::Tally;
use crate::codec::tracker::Event;

/// Requests by kind and result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Announces over HTTP, including refused ones.
    pub announces_http: u64,
    /// Announces over UDP, including refused ones.
    pub announces_udp: u64,
    /// Scrapes over HTTP.
    pub scrapes_http: u64,
    /// Scrapes over UDP.
    pub scrapes_udp: u64,
    /// Connection ids that were issued over UDP.
    pub connects: u64,
    /// Announces with `started`.
    pub started: u64,
    /// Announces with `completed`.
    pub completed: u64,
    /// Announces with `stopped`.
    pub stopped: u64,
    /// Announces of torrents that are not on the list.
    pub unregistered: u64,
    /// Requests of hosts that sent too many.
    pub too_fast: u64,
    /// Datagrams and queries that are not requests.
    pub malformed: u64,
    /// Datagrams with a connection id that was not issued to their sender, or has expired.
    pub bad_connection_ids: u64,
}

impl Counts {
    /// Counts the event of an announce.
    pub(super) const fn note(&mut self, event: Event) {
        match event {
            Event::Periodic | Event::Paused => {}
            Event::Started => self.started += 1,
            Event::Completed => self.completed += 1,
            Event::Stopped => self.stopped += 1,
        }
    }
}

/// The state of a tracker in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Time since the start.
    pub uptime: Duration,
    /// Swarms, including empty ones.
    pub swarms: usize,
    /// All listed peers, and the memory of the table.
    pub peers: Tally,
    /// Torrents on the list, if there is a list.
    pub allowed: Option<usize>,
    /// Requests since the start.
    pub counts: Counts,
}
