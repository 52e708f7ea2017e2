//! The effects of the scheduler in order, and cancels that are collected until they are emitted together.

use std::collections::{BTreeMap, VecDeque};

use super::SchedulerEffect;
use super::peers::SchedulerPeers;
use crate::base::geometry::BlockAddr;
use crate::base::ids::PeerKey;

/// Effects that were not returned yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    effects: VecDeque<SchedulerEffect>,
    cancels: BTreeMap<PeerKey, Vec<BlockAddr>>,
}

impl Outbox {
    /// Adds an effect.
    pub(super) fn push(&mut self, effect: SchedulerEffect) {
        self.effects.push_back(effect);
    }

    /// Adds effects.
    pub(super) fn extend(&mut self, effects: impl IntoIterator<Item = SchedulerEffect>) {
        self.effects.extend(effects);
    }

    /// Returns the next effect.
    pub(super) fn pop(&mut self) -> Option<SchedulerEffect> {
        self.effects.pop_front()
    }

    /// Collects blocks that the peer need not send any more.
    pub(super) fn cancel(&mut self, peer: PeerKey, blocks: impl IntoIterator<Item = BlockAddr>) {
        self.cancels.entry(peer).or_default().extend(blocks);
    }

    /// The peer has left: drops its cancels.
    pub(super) fn forget(&mut self, peer: PeerKey) {
        self.cancels.remove(&peer);
    }

    /// Emits the cancels that have been collected, except those for peers that have left.
    pub(super) fn flush_cancels(&mut self, peers: &SchedulerPeers) {
        for (peer, blocks) in std::mem::take(&mut self.cancels) {
            if peers.get(peer).is_some() {
                self.effects.push_back(SchedulerEffect::Cancel { peer, blocks });
            }
        }
    }
}
