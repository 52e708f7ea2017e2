//! The connected peers, and which of them wait for work.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::peer::{SchedulerPeer, Templates};
use crate::base::bitfield::Bitfield;
use crate::base::ids::PeerKey;
use crate::logic::pieces::picker::Picker;

/// The connected peers.
#[derive(Debug)]
pub(super) struct SchedulerPeers {
    templates: Templates,
    /// Boxed: a map of large values that grows at its end is half empty.
    connected: BTreeMap<PeerKey, Box<SchedulerPeer>>,
    /// Peers whose ask is not satisfied.
    waiting: BTreeSet<PeerKey>,
    /// The first of the waiting peers to be served next.
    turn: PeerKey,
}

impl SchedulerPeers {
    /// No peer of a torrent of `pieces` pieces is connected.
    pub(super) fn new(pieces: u32) -> Self {
        let templates = Templates::new(pieces);
        Self { templates, connected: BTreeMap::new(), waiting: BTreeSet::new(), turn: PeerKey(0) }
    }

    /// A peer without pieces joins.
    pub(super) fn join(&mut self, key: PeerKey, addr: SocketAddr) {
        self.connected.insert(key, Box::new(SchedulerPeer::new(addr, &self.templates)));
    }

    /// Removes a peer. The picker must be told by the caller.
    pub(super) fn remove(&mut self, key: PeerKey) -> Option<Box<SchedulerPeer>> {
        let peer = self.connected.remove(&key)?;
        self.waiting.remove(&key);
        Some(peer)
    }

    /// The peer with this key.
    pub(super) fn get(&self, key: PeerKey) -> Option<&SchedulerPeer> {
        self.connected.get(&key).map(Box::as_ref)
    }

    /// The peer with this key.
    pub(super) fn get_mut(&mut self, key: PeerKey) -> Option<&mut SchedulerPeer> {
        self.connected.get_mut(&key).map(Box::as_mut)
    }

    /// All peers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerKey, &SchedulerPeer)> {
        self.connected.iter().map(|(key, peer)| (*key, &**peer))
    }

    /// All peers.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (PeerKey, &mut SchedulerPeer)> {
        self.connected.iter_mut().map(|(key, peer)| (*key, &mut **peer))
    }

    /// Replaces the pieces that a peer has. Returns whether the peer is connected.
    pub(super) fn set_bitfield(
        &mut self,
        key: PeerKey,
        has: Bitfield,
        settled: &Bitfield,
        picker: &mut Picker,
    ) -> bool {
        let Some(peer) = self.connected.get_mut(&key) else { return false };
        peer.leave(picker);
        peer.set_bitfield(has, &self.templates, settled);
        peer.join(picker);
        true
    }

    /// Sets how many more blocks a peer could take. Returns whether it waits for work now.
    pub(super) fn set_want(&mut self, key: PeerKey, want: u32) -> bool {
        let Some(peer) = self.connected.get_mut(&key) else { return false };
        peer.want = want;
        if want == 0 {
            self.waiting.remove(&key);
        } else {
            self.waiting.insert(key);
        }
        want > 0
    }

    /// The ask of a peer is satisfied.
    pub(super) fn stop_waiting(&mut self, key: PeerKey) {
        self.waiting.remove(&key);
    }

    /// The peer was granted blocks: the next round begins with the peer after it.
    pub(super) const fn on_served(&mut self, key: PeerKey) {
        self.turn = PeerKey(key.0.wrapping_add(1));
    }

    /// The waiting peers, in the order in which they are served.
    pub(super) fn in_turn(&self) -> Vec<PeerKey> {
        self.waiting.range(self.turn..).chain(self.waiting.range(..self.turn)).copied().collect()
    }

    /// The waiting peers.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &SchedulerPeer> {
        self.waiting.iter().filter_map(|key| self.get(*key))
    }

    /// Whether the peer waits for work.
    pub(super) fn is_waiting(&self, key: PeerKey) -> bool {
        self.waiting.contains(&key)
    }

    /// The number of waiting peers.
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }
}
