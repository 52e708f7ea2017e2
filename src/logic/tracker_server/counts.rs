//! What a tracker has done since it began, and what it holds now. Only numbers: no torrent, no peer.

use std::time::Duration;

use super::Tally;
use crate::codec::tracker::Event;

/// Requests, by what they were and what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Announces over HTTP, refused ones included.
    pub announces_http: u64,
    /// The same over UDP.
    pub announces_udp: u64,
    /// Scrapes over HTTP.
    pub scrapes_http: u64,
    /// Scrapes over UDP.
    pub scrapes_udp: u64,
    /// Connection ids given out over UDP.
    pub connects: u64,
    /// Announces that said "started".
    pub started: u64,
    /// Announces that said "completed".
    pub completed: u64,
    /// Announces that said "stopped".
    pub stopped: u64,
    /// Announces of torrents that are not on the list.
    pub unregistered: u64,
    /// Requests of hosts that ask too often.
    pub too_fast: u64,
    /// Datagrams and queries that are no requests.
    pub malformed: u64,
    /// Datagrams with a connection id that was not given to their sender, or too long ago.
    pub bad_connection_ids: u64,
}

impl Counts {
    pub(super) const fn note(&mut self, event: Event) {
        match event {
            Event::Periodic | Event::Paused => {}
            Event::Started => self.started += 1,
            Event::Completed => self.completed += 1,
            Event::Stopped => self.stopped += 1,
        }
    }
}

/// See the head of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Since it began.
    pub uptime: Duration,
    /// Swarms, also those that are empty now.
    pub swarms: usize,
    /// Everybody in them, and the memory of it all.
    pub peers: Tally,
    /// Torrents on the list, if there is one.
    pub allowed: Option<usize>,
    /// What it has done.
    pub counts: Counts,
}
