//! What was seen of a run, from all sides: the program, its own words, every peer, tracker and relay.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::cast::NetCast;
use crate::faults::client_output::ClientOutput;
use crate::faults::harness::{PeerSeen, RelaySeen, TrackerSeen};
use crate::faults::peer::PeerStats;
use crate::faults::program::Finished;
use crate::faults::relay::RelayStats;
use crate::faults::tracker::TrackerRecord;

/// A run and its witnesses.
#[derive(Debug)]
pub(super) struct NetSeen {
    pub(super) run: Finished,
    pub(super) told: ClientOutput,
    pub(super) honest: Vec<(SocketAddr, PeerStats)>,
    pub(super) hostile: Vec<(SocketAddr, PeerStats)>,
    pub(super) crowd: Vec<(SocketAddr, PeerStats)>,
    pub(super) good: Vec<(String, TrackerRecord)>,
    pub(super) bad: Vec<(String, TrackerRecord)>,
    pub(super) relays: Vec<RelayStats>,
}

impl NetSeen {
    pub(super) fn of(run: Finished, told: ClientOutput, cast: &NetCast) -> Self {
        let peers = |peers: &[PeerSeen]| peers.iter().map(|peer| (peer.addr, peer.stats())).collect::<Vec<_>>();
        let records = |trackers: &[TrackerSeen]| {
            trackers.iter().map(|tracker| (tracker.url.clone(), tracker.record())).collect::<Vec<_>>()
        };
        Self {
            run,
            told,
            honest: peers(&cast.honest),
            hostile: peers(&cast.hostile),
            crowd: peers(&cast.crowd),
            good: records(&cast.good),
            bad: records(&cast.bad),
            relays: cast.relays.iter().map(RelaySeen::stats).collect(),
        }
    }

    /// Every peer that is not honest.
    pub(super) fn liars(&self) -> impl Iterator<Item = &(SocketAddr, PeerStats)> {
        self.hostile.iter().chain(&self.crowd)
    }

    /// Every tracker.
    pub(super) fn trackers(&self) -> impl Iterator<Item = &(String, TrackerRecord)> {
        self.good.iter().chain(&self.bad)
    }

    /// What was done to the client, by kind.
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

    /// What was seen of it, by kind.
    pub(super) fn observed(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        let usage = self.run.usage;
        add(&mut sums, "peak_kib", usage.peak_kib);
        add(&mut sums, "descriptors", usage.descriptors as u64);
        add(&mut sums, "cpu_ms", u64::try_from(usage.cpu.as_millis()).unwrap_or(u64::MAX));
        add(&mut sums, "announces", self.trackers().map(|(_, record)| record.announces().count() as u64).sum());
        add(&mut sums, "honest dials", self.honest.iter().map(|(_, stats)| stats.connections).sum());
        for number in ["bytes_wasted", "hash_failures", "panics"] {
            add(&mut sums, number, self.told.number(number).unwrap_or(0));
        }
        sums
    }
}

/// Adds; a zero is not worth a name.
fn add(sums: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    if count > 0 {
        *sums.entry(name.to_owned()).or_default() += count;
    }
}
