//! What was seen of a simulation: what the client said of itself, what the cast and the wires saw of it, what its disk
//! has. The referee and the criteria of scenes look at nothing else.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::net::{Dial, Wires};
use super::trace::{Trace, TracedRestart};
use crate::actors::kit::injection::InjectionSite;
use crate::actors::view::TorrentView;
use crate::app::outcome::Ending;
use crate::faults::payload::Payload;
use crate::faults::peer::PeerStats;
use crate::faults::tracker::TrackerRecord;
use crate::storage::memory::Medium;

/// One run of the client, from its start to its end.
#[derive(Debug, Clone)]
pub struct SimRun {
    /// When it was started.
    pub began: Duration,
    /// When it ended, and how; `None` if it was killed or still runs.
    pub ended: Option<(Duration, Ending)>,
    /// What it last said of itself.
    pub view: Option<TorrentView>,
    /// Bytes it had when it started to fetch.
    pub kept: u64,
    /// What was not as it should be when it said "complete".
    pub untrue: Option<String>,
}

/// See the head of the file.
#[derive(Debug)]
pub struct SimSeen {
    /// The bytes that everybody shares.
    pub payload: Payload,
    /// Length of a piece.
    pub piece_len: u32,
    /// The client's disk.
    pub medium: Medium,
    /// What was logged.
    pub trace: Trace,
    /// What went over the wires.
    pub wires: Wires,
    /// Every run of the client.
    pub runs: Vec<SimRun>,
    /// What each peer has done, over all its lives.
    pub peers: BTreeMap<Ipv4Addr, PeerStats>,
    /// What each tracker has heard, in its last life.
    pub trackers: BTreeMap<Ipv4Addr, TrackerRecord>,
    /// Other programs were at its files, maybe after they were complete.
    pub is_meddled_with: bool,
    /// Lies on the disk: found while the client was at work.
    pub lies: Vec<String>,
    /// Where panics were injected, in order.
    pub panics: Vec<InjectionSite>,
    /// And how many after everything was there.
    pub late_panics: usize,
    /// When it was over.
    pub took: Duration,
}

impl SimSeen {
    /// The end of the last run.
    pub fn ending(&self) -> Option<&Ending> {
        self.runs.last()?.ended.as_ref().map(|(_, ending)| ending)
    }

    /// Is every byte there, says the client?
    pub fn is_complete(&self) -> bool {
        matches!(self.ending(), Some(Ending::Complete))
    }

    /// What the last run last said of itself.
    pub fn view(&self) -> Option<&TorrentView> {
        self.runs.last()?.view.as_ref()
    }

    /// Restarts of this kind of actor for this cause.
    pub fn restarts(&self, actor: &str, cause: &str) -> usize {
        let is_it = |restart: &&TracedRestart| restart.actor == actor && restart.cause == cause;
        self.trace.restarts().iter().filter(is_it).count()
    }

    /// Dials of the client to this host.
    pub fn dials_to(&self, ip: Ipv4Addr) -> Vec<Dial> {
        self.wires.dials().into_iter().filter(|dial| dial.to.ip() == IpAddr::V4(ip)).collect()
    }

    /// Was this peer banned for bad data?
    pub fn is_banned(&self, ip: Ipv4Addr) -> bool {
        self.trace.said("peer sent bad data (banned)", &format!(" addr={ip}:")) > 0
    }

    /// Blocks of all peers that were not true.
    pub fn lies_told(&self) -> u64 {
        self.peers.values().map(|stats| stats.lies).sum()
    }
}
