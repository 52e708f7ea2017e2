//! What was observed of a simulation: the client's views and log, the records of peers, trackers and network, and the
//! contents of its disk. The referee and the criteria of scenes use nothing else.

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
    /// When it started.
    pub began: Duration,
    /// When and how it ended; `None` if it was killed or still runs.
    pub ended: Option<(Duration, Ending)>,
    /// Its last view.
    pub view: Option<TorrentView>,
    /// The bytes that it had when it started to fetch.
    pub kept: u64,
    /// What was wrong when it said "complete"; `None` if nothing was.
    pub untrue: Option<String>,
}

/// Everything that was observed of one simulation.
#[derive(Debug)]
pub struct SimObservation {
    /// The bytes that all seeds share.
    pub payload: Payload,
    /// Length of a piece, in bytes.
    pub piece_len: u32,
    /// The client's disk.
    pub medium: Medium,
    /// Its log.
    pub trace: Trace,
    /// The network and its records.
    pub wires: Wires,
    /// Every run of the client, in order.
    pub runs: Vec<SimRun>,
    /// What each peer has done, added up over its restarts.
    pub peers: BTreeMap<Ipv4Addr, PeerStats>,
    /// What each tracker has received since it was last started.
    pub trackers: BTreeMap<Ipv4Addr, TrackerRecord>,
    /// Whether other programs changed the files, perhaps after the download was complete.
    pub is_tampered_with: bool,
    /// False claims of the record, found while the client was running.
    pub lies: Vec<String>,
    /// Where panics were injected, in order.
    pub panics: Vec<InjectionSite>,
    /// How many panics were injected after all data was there.
    pub late_panics: usize,
    /// How long the simulation took, in virtual time.
    pub took: Duration,
}

impl SimObservation {
    /// Returns how the last run ended.
    pub fn ending(&self) -> Option<&Ending> {
        self.runs.last()?.ended.as_ref().map(|(_, ending)| ending)
    }

    /// Tells whether the last run ended as complete.
    pub fn is_complete(&self) -> bool {
        matches!(self.ending(), Some(Ending::Complete))
    }

    /// Returns the last view of the last run.
    pub fn view(&self) -> Option<&TorrentView> {
        self.runs.last()?.view.as_ref()
    }

    /// Returns how many actors of this kind were restarted for this cause.
    pub fn restarts(&self, actor: &str, cause: &str) -> usize {
        let is_it = |restart: &&TracedRestart| restart.actor == actor && restart.cause == cause;
        self.trace.restarts().iter().filter(is_it).count()
    }

    /// Returns the client's dials to this host.
    pub fn dials_to(&self, ip: Ipv4Addr) -> Vec<Dial> {
        self.wires.dials().into_iter().filter(|dial| dial.to.ip() == IpAddr::V4(ip)).collect()
    }

    /// Tells whether this peer was banned for bad data.
    pub fn is_banned(&self, ip: Ipv4Addr) -> bool {
        self.trace.said("peer sent bad data (banned)", &format!(" addr={ip}:")) > 0
    }

    /// Returns the number of false blocks and answers of all peers.
    pub fn lie_count(&self) -> u64 {
        self.peers.values().map(|stats| stats.lies).sum()
    }
}
