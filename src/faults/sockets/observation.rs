//! What was observed of a run: the program, its output, and the records of every peer, tracker and relay.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::setup::NetSetup;
use crate::faults::client_output::ClientOutput;
use crate::faults::harness::{PeerHandle, RelayHandle, TrackerHandle};
use crate::faults::peer::PeerStats;
use crate::faults::program::Finished;
use crate::faults::relay::RelayStats;
use crate::faults::tracker::TrackerRecord;

/// The observations of one run.
#[derive(Debug)]
pub(super) struct NetObservation {
    pub(super) run: Finished,
    pub(super) output: ClientOutput,
    pub(super) honest: Vec<(SocketAddr, PeerStats)>,
    pub(super) hostile: Vec<(SocketAddr, PeerStats)>,
    pub(super) crowd: Vec<(SocketAddr, PeerStats)>,
    pub(super) good: Vec<(String, TrackerRecord)>,
    pub(super) bad: Vec<(String, TrackerRecord)>,
    pub(super) relays: Vec<RelayStats>,
}

impl NetObservation {
    pub(super) fn of(run: Finished, output: ClientOutput, setup: &NetSetup) -> Self {
        let peers = |peers: &[PeerHandle]| peers.iter().map(|peer| (peer.addr, peer.stats())).collect::<Vec<_>>();
        let records = |trackers: &[TrackerHandle]| {
            trackers.iter().map(|tracker| (tracker.url.clone(), tracker.record())).collect::<Vec<_>>()
        };
        Self {
            run,
            output,
            honest: peers(&setup.honest),
            hostile: peers(&setup.hostile),
            crowd: peers(&setup.crowd),
            good: records(&setup.good),
            bad: records(&setup.bad),
            relays: setup.relays.iter().map(RelayHandle::stats).collect(),
        }
    }

    /// Returns every peer that is not honest.
    pub(super) fn liars(&self) -> impl Iterator<Item = &(SocketAddr, PeerStats)> {
        self.hostile.iter().chain(&self.crowd)
    }

    /// Returns every tracker.
    pub(super) fn trackers(&self) -> impl Iterator<Item = &(String, TrackerRecord)> {
        self.good.iter().chain(&self.bad)
    }

    /// Returns what was done to the client: kind and count.
    pub(super) fn injected(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        let peers = self.liars().chain(&self.honest).map(|(_, stats)| stats);
        for stats in peers {
            add(&mut sums, "lies", stats.lies);
            add(&mut sums, "resets", stats.resets);
            add(&mut sums, "closes", stats.closes);
        }
        for (_, stats) in self.liars() {
            add(&mut sums, "hostile connections", stats.connections);
        }
        for (_, record) in &self.bad {
            add(&mut sums, "bad tracker visits", record.arrivals);
        }
        for relay in &self.relays {
            add(&mut sums, "relay cuts", relay.cut);
            add(&mut sums, "relay bytes lost", relay.lost);
        }
        sums
    }

    /// Returns what was measured: name and value.
    pub(super) fn observed(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        let usage = self.run.usage;
        add(&mut sums, "peak_kib", usage.peak_kib);
        add(&mut sums, "descriptors", usage.descriptors as u64);
        add(&mut sums, "cpu_ms", u64::try_from(usage.cpu.as_millis()).unwrap_or(u64::MAX));
        add(&mut sums, "announces", self.trackers().map(|(_, record)| record.announces().count() as u64).sum());
        add(&mut sums, "honest dials", self.honest.iter().map(|(_, stats)| stats.connections).sum());
        for number in ["bytes_wasted", "hash_failures", "panics"] {
            add(&mut sums, number, self.output.number(number).unwrap_or(0));
        }
        sums
    }
}

/// Adds a count; zeros are left out.
fn add(sums: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    if count > 0 {
        *sums.entry(name.to_owned()).or_default() += count;
    }
}
