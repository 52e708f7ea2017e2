//! The registry in the state file: saved and restored part by part, so that requests are answered in between, and
//! within all limits.

use super::{Registry, TrackedSwarm};
use crate::codec::swarm_state::{AGE_UNIT_S, SavedNetwork, SavedSwarm};
use crate::logic::tracker_server::networks::NetworkSite;
use crate::logic::tracker_server::ticks::{TICK, Tick};

const _: () = assert!(TICK.as_secs() == AGE_UNIT_S, "ages are saved as they are");

/// The time at which swarms are restored.
#[derive(Debug, Clone, Copy)]
pub(in crate::logic::tracker_server) struct Return {
    pub(in crate::logic::tracker_server) now: Tick,
    /// Ticks since they were saved.
    pub(in crate::logic::tracker_server) away: u16,
    /// Older entries are dropped.
    pub(in crate::logic::tracker_server) max_age: u16,
}

impl Return {
    /// The tick of an entry that had this age when it was saved, unless it has expired since.
    pub(in crate::logic::tracker_server) fn tick(self, age: u16) -> Option<Tick> {
        let age = age.checked_add(self.away).filter(|age| *age <= self.max_age)?;
        Some(Tick::with_age(self.now, age))
    }
}

impl Registry {
    /// Appends encoded swarms to `out` until it has `enough` bytes, from position `below` down. Returns the position
    /// at which to continue; `None`: this was the last swarm. A swarm that exists during the whole save is written at
    /// least once.
    pub(in crate::logic::tracker_server) fn save(
        &self,
        now: Tick,
        below: usize,
        enough: usize,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let mut at = below.min(self.swarms.len());
        while at > 0 && out.len() < enough {
            at -= 1;
            self.swarms[at].saved(now).encode(out);
        }
        (at > 0).then_some(at)
    }

    /// Adds a saved swarm with the peers that have not expired, within the limits. A swarm that is known already is
    /// not changed.
    pub(in crate::logic::tracker_server) fn restore(&mut self, saved: &SavedSwarm, back: Return) {
        let is_known = self.find(&saved.info_hash).is_some();
        let Some(touched) = back.tick(saved.age).filter(|_| !is_known && self.swarms.len() < self.limits.swarms) else {
            return;
        };
        let founder = match saved.founder {
            SavedNetwork::V4(prefix) => NetworkSite::V4(prefix),
            SavedNetwork::V6(prefix) => NetworkSite::V6(prefix),
        };
        let mut swarm = TrackedSwarm::new(saved.info_hash, founder, touched);
        (swarm.downloaded, swarm.is_established) = (saved.downloaded, saved.is_established);
        let at = self.add(swarm);
        let free = self.limits.peers.saturating_sub(self.total.peers()).min(self.limits.peers_per_swarm);
        let places = self.places();
        self.change(at, |swarm, ledger| swarm.restore(saved, free, back, &places, ledger));
        if self.swarms[at].len() == 0 && saved.downloaded == 0 {
            self.remove(at);
        }
    }
}
