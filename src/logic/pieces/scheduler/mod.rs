//! Which block from whom, for one torrent.
//!
//! Owns the picker, the open pieces, the credit and the suspects. Told by connections what peers have, could take and
//! sent, and by the disk what was written; hands back effects. Does not know sockets, files, hashes or rates of requests.
//!
//! * An open piece has reserved credit for all of itself, so that it can always be finished: outstanding requests,
//!   blocks waiting for their piece, and pieces being written never exceed the credit, but for one piece that is larger
//!   than all of it.
//! * An ask that cannot be granted is remembered, and granted when work or credit appears.
//! * After each event [`Scheduler::poll`] must be drained and [`Scheduler::deadline`] obeyed.

mod delivery_estimate;
mod endgame;
mod grants;
mod peer;
mod pieces;
mod rate_cap;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod swarm;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests;
mod trust;
mod values;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{BlockAddr, Geometry, PieceIndex};
use crate::base::ids::PeerKey;
use crate::logic::busy_ratio::BusyRatio;
use crate::logic::peer::received_block::ReceivedBlock;
use crate::logic::pieces::assembly::Assembly;
use crate::logic::pieces::block_senders::BlockSenders;
use crate::logic::pieces::picker::Picker;
use crate::logic::pieces::suspects::Suspects;
use crate::logic::torrent::selection::WantedPieces;
use delivery_estimate::DeliveryEstimate;
use peer::{SchedulerPeer, Templates};
use rate_cap::RateCap;
pub use values::{DownloadProgress, SchedulerConfig, SchedulerEffect};

pub use crate::logic::disk::write_outcome::WriteOutcome;

#[derive(Debug)]
struct Writing {
    blocks: Arc<[Bytes]>,
    from: BlockSenders,
}

/// Which block from whom, for one torrent.
#[derive(Debug)]
pub struct Scheduler {
    geometry: Geometry,
    credit: u64,
    ceiling: RateCap,
    dice: SmallRng,
    wanted: Arc<WantedPieces>,
    have: Bitfield,
    /// Pieces that are ours or not wanted.
    settled: Bitfield,
    bytes_have: u64,
    bytes_done: u64,
    picker: Picker,
    suspects: Suspects,
    templates: Templates,
    /// Boxed: a map of large values that grows at its end is half empty.
    peers: BTreeMap<PeerKey, Box<SchedulerPeer>>,
    /// Peers whose ask is not satisfied.
    waiting: BTreeSet<PeerKey>,
    /// In boxes: with thousands of small pieces a map that moves them about is what they cost most.
    open: BTreeMap<PieceIndex, Box<Assembly>>,
    /// Open pieces with free blocks.
    loose: BTreeSet<PieceIndex>,
    writing: BTreeMap<PieceIndex, Writing>,
    /// Credit taken by open pieces and those in writing.
    reserved: u64,
    in_flight: u32,
    received: u64,
    wasted: u64,
    hash_failures: u32,
    paused: bool,
    endgame: bool,
    /// Requests are held back until the disk gives credit back.
    held_up: BusyRatio,
    /// Blocks ever asked for, duplicates counted.
    asks: u64,
    debts: DeliveryEstimate,
    /// Something was freed: every waiting peer is to be served.
    stirred: bool,
    /// The next to be served first.
    turn: PeerKey,
    cancels: BTreeMap<PeerKey, Vec<BlockAddr>>,
    effects: VecDeque<SchedulerEffect>,
    recheck: Option<Instant>,
    now: Option<Instant>,
}

impl Scheduler {
    /// No peers yet.
    pub fn new(config: SchedulerConfig) -> Self {
        let SchedulerConfig { geometry, have, wanted, credit, max_bps, seed } = config;
        let settled = settled(&geometry, &have, &wanted);
        let mut dice = SmallRng::seed_from_u64(seed);
        Self {
            geometry,
            credit,
            ceiling: RateCap::new(max_bps),
            bytes_done: wanted.bytes_had(&geometry, &have),
            wanted,
            bytes_have: geometry.len_of(have.pieces(&geometry)),
            picker: Picker::new(geometry, &settled),
            settled,
            suspects: Suspects::new(&mut dice),
            templates: Templates::new(geometry.piece_count()),
            have,
            dice,
            peers: BTreeMap::new(),
            waiting: BTreeSet::new(),
            open: BTreeMap::new(),
            loose: BTreeSet::new(),
            writing: BTreeMap::new(),
            reserved: 0,
            in_flight: 0,
            received: 0,
            wasted: 0,
            hash_failures: 0,
            paused: false,
            endgame: false,
            held_up: BusyRatio::default(),
            asks: 0,
            debts: DeliveryEstimate::default(),
            stirred: false,
            turn: PeerKey(0),
            cancels: BTreeMap::new(),
            effects: VecDeque::new(),
            recheck: None,
            now: None,
        }
    }

    /// A peer shook hands. It has nothing until it says so.
    pub fn on_peer_joined(&mut self, now: Instant, peer: PeerKey, addr: SocketAddr) {
        if let Some(piece) = self.suspects.banned_for(addr) {
            self.effects.push_back(SchedulerEffect::Ban { addr, piece });
        } else {
            self.on_peer_left(now, peer);
            self.peers.insert(peer, Box::new(SchedulerPeer::new(addr, &self.templates)));
            self.recall(peer);
        }
        self.settle(now);
    }

    /// What the peer has (`bitfield`, `have all`, `have none`). A second one replaces the first.
    pub fn on_bitfield(&mut self, now: Instant, key: PeerKey, has: Bitfield) {
        if has.piece_count() != self.geometry.piece_count() {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.leave(&mut self.picker);
            peer.set_bitfield(has, &self.templates, &self.settled);
            peer.join(&mut self.picker);
            self.stirred = true;
        }
        self.look_at(key);
        self.settle(now);
    }

    /// The peer has these pieces too.
    pub fn on_have(&mut self, now: Instant, key: PeerKey, pieces: &[PieceIndex]) {
        if let Some(peer) = self.peers.get_mut(&key) {
            for piece in pieces {
                peer.add_piece(*piece, &mut self.picker, &self.settled);
            }
        }
        self.look_at(key);
        self.serve(now, key);
        self.settle(now);
    }

    /// The peer has lost a piece that it had (BEP 54).
    pub fn on_lost(&mut self, now: Instant, key: PeerKey, piece: PieceIndex) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.lose_piece(piece, &mut self.picker, &self.settled);
        }
        self.look_at(key);
        self.settle(now);
    }

    /// The peer answers for these pieces only, or for all again: it chokes us, and allows them (BEP 6).
    pub fn on_within(&mut self, now: Instant, key: PeerKey, pieces: Option<BTreeSet<PieceIndex>>) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.set_within(pieces);
        }
        self.serve(now, key);
        self.settle(now);
    }

    /// The peer is gone; what it was asked for is asked of others.
    pub fn on_peer_left(&mut self, now: Instant, key: PeerKey) {
        if self.remove_peer(now, key).is_some() {
            self.stirred = true;
        }
        self.settle(now);
    }

    /// The peer could take `want` more blocks now: an absolute number that replaces the one before. 0 withdraws.
    pub fn on_ask(&mut self, now: Instant, key: PeerKey, want: u32) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.want = want;
            if want == 0 {
                self.waiting.remove(&key);
            } else {
                self.waiting.insert(key);
                self.serve(now, key);
            }
        }
        self.settle(now);
    }

    /// The peer could have `depth` blocks outstanding, those it has included: an ask that does not depend on how many
    /// grants are still on their way to its connection. 0 withdraws.
    pub fn on_depth(&mut self, now: Instant, key: PeerKey, depth: u32) {
        let in_flight = self.peers.get(&key).map_or(0, |peer| peer.in_flight);
        self.on_ask(now, key, depth.saturating_sub(in_flight));
    }

    /// Blocks came. Those that nobody asked this peer for, or that are here already, are dropped and counted as waste.
    pub fn on_blocks(&mut self, now: Instant, key: PeerKey, blocks: Vec<ReceivedBlock>) {
        for block in blocks {
            let len = block.data.len() as u64;
            self.received += len;
            if !self.keep(now, key, block) {
                self.wasted += len;
            }
        }
        self.settle(now);
    }

    /// The peer does not deliver these (timed out, rejected, choked): they are asked of others first.
    pub fn on_returned(&mut self, now: Instant, key: PeerKey, blocks: &[BlockAddr]) {
        let mut count = 0;
        let mut shirked = BTreeSet::new();
        let mut touched = BTreeSet::new();
        for block in blocks {
            let Some(assembly) = self.open.get_mut(&block.piece()) else { continue };
            if assembly.give_back(block.number(), key, now) {
                count += 1;
                touched.insert(block.piece());
                if assembly.exclusive && assembly.owner == Some(key) && assembly.got() == 0 {
                    shirked.insert(block.piece());
                }
                if !assembly.exclusive && assembly.owner == Some(key) {
                    assembly.owner = None;
                }
                if assembly.free() > 0 {
                    self.loose.insert(block.piece());
                }
            }
        }
        if count > 0 {
            self.in_flight -= count;
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.on_returned(count, &mut self.picker);
            }
            self.stirred = true;
        }
        for piece in touched {
            self.let_go(key, piece);
        }
        for piece in shirked {
            self.shirk(piece);
        }
        self.settle(now);
    }

    /// The disk has answered for these pieces.
    pub fn on_written(&mut self, now: Instant, pieces: impl IntoIterator<Item = (PieceIndex, WriteOutcome)>) {
        for (piece, written) in pieces {
            self.on_piece_written(now, piece, written);
        }
        self.settle(now);
    }

    /// A piece that was ours cannot be read any more (D-04). If it is wanted, it is fetched again.
    pub fn on_gone(&mut self, now: Instant, piece: PieceIndex) {
        self.forgo(piece);
        self.settle(now);
    }

    /// The disk's actor was restarted: pieces that it has not answered for are lost.
    pub fn on_disk_lost(&mut self, now: Instant) {
        for (piece, Writing { from, .. }) in std::mem::take(&mut self.writing) {
            self.reserved -= u64::from(self.geometry.piece_len(piece));
            self.conclude(piece, &from, WriteOutcome::Failed);
            self.lose(piece);
        }
        self.stirred = true;
        self.settle(now);
    }

    /// The disk is in trouble: nothing is granted until it is over.
    pub fn set_paused(&mut self, now: Instant, paused: bool) {
        self.stirred |= self.paused && !paused;
        self.paused = paused;
        self.settle(now);
    }

    /// The deadline has passed: some of what had to rest may be asked for again.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.recheck.is_some_and(|at| at <= now) {
            self.stirred = true;
        }
        self.settle(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<SchedulerEffect> {
        self.effects.pop_front()
    }

    /// When to call [`Self::on_timeout`]. None while no ask waits for time to pass.
    pub const fn deadline(&self) -> Option<Instant> {
        self.recheck
    }

    /// The pieces that are ours.
    pub const fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Where the download stands.
    pub fn progress(&self, now: Instant) -> DownloadProgress {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        DownloadProgress {
            pieces_have: self.have.ones(),
            pieces_total: self.geometry.piece_count(),
            pieces_missing: self.geometry.piece_count() - self.settled.ones(),
            bytes_have: self.bytes_have,
            bytes_done: self.bytes_done,
            bytes_total: self.geometry.total_len(),
            received: self.received,
            wasted: self.wasted,
            hash_failures: self.hash_failures,
            in_flight_blocks: self.in_flight,
            open_pieces: count(self.open.len()),
            writing_pieces: count(self.writing.len()),
            credit_free: self.credit.saturating_sub(self.reserved),
            disk_busy_percent: self.held_up.percent(now),
            nobody_has: self.picker.nobody_has(),
            interesting_peers: count(self.peers.values().filter(|peer| peer.interested).count()),
            waiting_peers: count(self.waiting.len()),
            banned: count(self.suspects.banned()),
            endgame: self.endgame,
            paused: self.paused,
        }
    }
}

fn settled(geometry: &Geometry, have: &Bitfield, wanted: &WantedPieces) -> Bitfield {
    let mut settled = Bitfield::all(geometry.piece_count());
    for piece in wanted.pieces().pieces(geometry).filter(|piece| !have.has(*piece)) {
        settled.clear(piece);
    }
    settled
}
