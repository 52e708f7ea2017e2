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

mod grants;
mod peer;
#[cfg(test)]
mod swarm;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::assembly::{Assembly, Put};
use super::picker::Picker;
use super::suspects::{SUSPECT_AFTER, Suspects};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::{BlockAddr, Geometry, PieceIndex};
use crate::base::ids::PeerKey;
use peer::{Peer, Templates};

/// One whole block that came.
#[derive(Debug, Clone)]
pub struct Block {
    /// Which.
    pub addr: BlockAddr,
    /// Its bytes, `addr.len()` of them.
    pub data: Bytes,
}

/// What a scheduler starts from.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// The torrent's sizes.
    pub geometry: Geometry,
    /// Pieces that are on the disk.
    pub have: Bitfield,
    /// Bytes of pieces that may be open or in writing.
    pub credit: u64,
    /// For all dice.
    pub seed: u64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask this peer for these blocks, in this order.
    Grant {
        /// Whom.
        peer: PeerKey,
        /// For what.
        blocks: Vec<BlockAddr>,
    },
    /// These blocks came from others: `cancel` those that are outstanding.
    Cancel {
        /// At whom.
        peer: PeerKey,
        /// What.
        blocks: Vec<BlockAddr>,
    },
    /// Our interest in this peer has changed.
    Interest {
        /// In whom.
        peer: PeerKey,
        /// Has it a piece that we lack?
        interested: bool,
    },
    /// Hash and write this piece; the answer is [`Scheduler::on_written`].
    Write {
        /// Which.
        piece: PieceIndex,
        /// All its blocks, in order.
        blocks: Vec<Bytes>,
    },
    /// The piece is ours: tell everybody.
    Had {
        /// Which.
        piece: PieceIndex,
    },
    /// This address is proven to have sent bad data for the piece. The scheduler has forgotten its connections already.
    Ban {
        /// Whom.
        addr: SocketAddr,
        /// For what.
        piece: PieceIndex,
    },
    /// The piece fails again and again: the torrent itself may be bad.
    PieceSuspect {
        /// Which.
        piece: PieceIndex,
        /// How often it failed.
        failures: u32,
    },
    /// The last piece is ours. Told once, and not if all was there at the start.
    Completed,
}

/// What became of a piece that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Written, and hashed right.
    Durable,
    /// The hash differs: somebody lied.
    HashMismatch,
    /// I/O trouble: the blocks are lost and are asked for again.
    Failed,
}

/// Where the download stands. Sums of bytes are since the start of the scheduler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Pieces that are ours.
    pub pieces_have: u32,
    /// Pieces there are.
    pub pieces_total: u32,
    /// Bytes in the pieces that are ours.
    pub bytes_have: u64,
    /// Bytes there are.
    pub bytes_total: u64,
    /// Bytes of all blocks that came, useful or not.
    pub received: u64,
    /// Of these, duplicates, unneeded ones, and pieces that failed their hash.
    pub wasted: u64,
    /// Pieces that failed their hash.
    pub hash_failures: u32,
    /// Requests outstanding at all peers; a block asked of two counts twice.
    pub in_flight_blocks: u32,
    /// Pieces of which some blocks are here or asked for.
    pub open_pieces: u32,
    /// Pieces handed to the disk and not yet answered for.
    pub writing_pieces: u32,
    /// Bytes of credit that no piece has reserved.
    pub credit_free: u64,
    /// Pieces we lack that no connected peer has.
    pub nobody_has: u32,
    /// Peers that have something we lack.
    pub interesting_peers: u32,
    /// Peers whose ask waits for work or credit.
    pub waiting_peers: u32,
    /// Addresses banned for bad data.
    pub banned: u32,
    /// No obtainable block is left that nobody is asked for.
    pub endgame: bool,
    /// Nothing is granted: the disk is in trouble.
    pub paused: bool,
}

#[derive(Debug)]
struct Writing {
    blocks: Vec<Bytes>,
    from: Vec<SocketAddr>,
}

/// Which block from whom, for one torrent.
#[derive(Debug)]
pub struct Scheduler {
    geometry: Geometry,
    credit: u64,
    dice: SmallRng,
    have: Bitfield,
    bytes_have: u64,
    picker: Picker,
    suspects: Suspects,
    templates: Templates,
    peers: BTreeMap<PeerKey, Peer>,
    /// Peers whose ask is not satisfied.
    waiting: BTreeSet<PeerKey>,
    open: BTreeMap<PieceIndex, Assembly>,
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
    /// Something was freed: every waiting peer is to be served.
    stirred: bool,
    /// The next to be served first.
    turn: PeerKey,
    cancels: BTreeMap<PeerKey, Vec<BlockAddr>>,
    effects: VecDeque<Effect>,
    recheck: Option<Instant>,
    now: Option<Instant>,
}

impl Scheduler {
    /// No peers yet.
    pub fn new(config: SchedulerConfig) -> Self {
        let SchedulerConfig { geometry, have, credit, seed } = config;
        let mut dice = SmallRng::seed_from_u64(seed);
        Self {
            geometry,
            credit,
            bytes_have: have
                .iter_ones()
                .filter_map(|n| geometry.piece(n))
                .map(|p| u64::from(geometry.piece_len(p)))
                .sum(),
            picker: Picker::new(geometry, &have),
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
            self.effects.push_back(Effect::Ban { addr, piece });
        } else {
            self.on_peer_left(now, peer);
            self.peers.insert(peer, Peer::new(addr, &self.templates));
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
            peer.set_bitfield(has, &self.templates, &self.have);
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
                peer.add_piece(*piece, &mut self.picker, &self.have);
            }
        }
        self.look_at(key);
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

    /// Blocks came. Those that nobody asked this peer for, or that are here already, are dropped and counted as waste.
    pub fn on_blocks(&mut self, now: Instant, key: PeerKey, blocks: Vec<Block>) {
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
        for block in blocks {
            let Some(assembly) = self.open.get_mut(&block.piece()) else { continue };
            if assembly.give_back(block.number(), key, now) {
                count += 1;
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
        self.settle(now);
    }

    /// The disk has answered for a piece.
    pub fn on_written(&mut self, now: Instant, piece: PieceIndex, written: Written) {
        let Some(Writing { blocks, from }) = self.writing.remove(&piece) else { return };
        self.reserved -= u64::from(self.geometry.piece_len(piece));
        self.stirred = true;
        match written {
            Written::Durable => {
                let liars = self.suspects.on_passed(piece, &blocks, &from);
                self.gain(piece);
                self.ban(now, &liars, piece);
            }
            Written::HashMismatch => {
                self.hash_failures += 1;
                self.wasted += u64::from(self.geometry.piece_len(piece));
                let finding = self.suspects.on_failed(now, piece, &blocks, &from);
                self.ban(now, &finding.liars, piece);
                if finding.failures >= SUSPECT_AFTER || !self.has_untried_source(piece) {
                    self.effects.push_back(Effect::PieceSuspect { piece, failures: finding.failures });
                }
            }
            Written::Failed => self.lose(piece),
        }
        self.settle(now);
    }

    /// The disk's actor was restarted: pieces that it has not answered for are lost.
    pub fn on_disk_lost(&mut self, now: Instant) {
        for piece in std::mem::take(&mut self.writing).into_keys() {
            self.reserved -= u64::from(self.geometry.piece_len(piece));
            self.lose(piece);
        }
        self.stirred = true;
        self.settle(now);
    }

    /// The disk is in trouble: nothing is granted until it is over.
    pub fn set_paused(&mut self, paused: bool) {
        self.stirred |= self.paused && !paused;
        self.paused = paused;
        if let Some(now) = self.now {
            self.settle(now);
        }
    }

    /// The deadline has passed: some of what had to rest may be asked for again.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.recheck.is_some_and(|at| at <= now) {
            self.stirred = true;
        }
        self.settle(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Effect> {
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
    pub fn progress(&self) -> Progress {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        Progress {
            pieces_have: self.have.ones(),
            pieces_total: self.geometry.piece_count(),
            bytes_have: self.bytes_have,
            bytes_total: self.geometry.total_len(),
            received: self.received,
            wasted: self.wasted,
            hash_failures: self.hash_failures,
            in_flight_blocks: self.in_flight,
            open_pieces: count(self.open.len()),
            writing_pieces: count(self.writing.len()),
            credit_free: self.credit.saturating_sub(self.reserved),
            nobody_has: self.picker.nobody_has(),
            interesting_peers: count(self.peers.values().filter(|peer| peer.interested).count()),
            waiting_peers: count(self.waiting.len()),
            banned: count(self.suspects.banned()),
            endgame: self.endgame,
            paused: self.paused,
        }
    }

    /// Takes one block in; false if it is of no use.
    fn keep(&mut self, now: Instant, key: PeerKey, block: Block) -> bool {
        let Block { addr, data } = block;
        let (Some(peer), Some(assembly)) = (self.peers.get_mut(&key), self.open.get_mut(&addr.piece())) else {
            return false;
        };
        if data.len() != addr.len() as usize {
            return false;
        }
        let Put::Kept { askers, formerly } = assembly.put(addr, key, peer.addr, data, now) else { return false };
        peer.on_delivered(now, addr.len(), &mut self.picker);
        if assembly.free() == 0 {
            self.loose.remove(&addr.piece());
        }
        let whole = assembly.is_whole();
        for asker in &askers {
            self.in_flight -= 1;
            if let Some(peer) = self.peers.get_mut(asker) {
                peer.in_flight -= 1;
            }
        }
        for other in askers.into_iter().chain(formerly).filter(|other| *other != key) {
            self.cancels.entry(other).or_default().push(addr);
        }
        if whole && let Some(assembly) = self.open.remove(&addr.piece()) {
            let (blocks, from) = assembly.into_parts();
            self.effects.push_back(Effect::Write { piece: addr.piece(), blocks: blocks.clone() });
            self.writing.insert(addr.piece(), Writing { blocks, from });
        }
        true
    }

    /// The piece is ours.
    fn gain(&mut self, piece: PieceIndex) {
        if !self.have.set(piece) {
            return;
        }
        self.bytes_have += u64::from(self.geometry.piece_len(piece));
        self.picker.on_had(piece);
        self.effects.push_back(Effect::Had { piece });
        let complete = self.have.is_all();
        for (key, peer) in &mut self.peers {
            peer.on_piece_had(piece);
            if let Some(interested) = peer.turn_interest(complete) {
                self.effects.push_back(Effect::Interest { peer: *key, interested });
            }
        }
        if complete {
            self.effects.push_back(Effect::Completed);
        }
    }

    /// The piece is missing again; one that has failed before is known to the suspects.
    fn lose(&mut self, piece: PieceIndex) {
        if !self.suspects.is_suspect(piece) {
            self.picker.put_back(piece);
        }
    }

    /// Forgets an open piece and what it had.
    fn close(&mut self, piece: PieceIndex) {
        let Some(assembly) = self.open.remove(&piece) else { return };
        self.loose.remove(&piece);
        self.reserved -= u64::from(assembly.piece_len());
        self.wasted += assembly.got_bytes();
        for asker in assembly.askers() {
            self.in_flight -= 1;
            if let Some(peer) = self.peers.get_mut(&asker) {
                peer.in_flight -= 1;
            }
        }
        self.lose(piece);
        self.stirred = true;
    }

    fn remove_peer(&mut self, now: Instant, key: PeerKey) -> Option<SocketAddr> {
        let mut peer = self.peers.remove(&key)?;
        peer.leave(&mut self.picker);
        self.waiting.remove(&key);
        self.cancels.remove(&key);
        let mut orphaned = Vec::new();
        for (piece, assembly) in &mut self.open {
            let owned = assembly.owner == Some(key);
            self.in_flight -= assembly.forget_peer(key, now);
            if assembly.free() > 0 {
                self.loose.insert(*piece);
            }
            if owned && assembly.exclusive {
                orphaned.push(*piece);
            }
        }
        for piece in orphaned {
            self.abandon(piece);
        }
        Some(peer.addr)
    }

    /// An exclusive piece has lost its owner: what came of a suspect piece is thrown away, as it must come from one;
    /// the others may help with any other.
    fn abandon(&mut self, piece: PieceIndex) {
        if self.suspects.is_suspect(piece) {
            self.close(piece);
        } else if let Some(assembly) = self.open.get_mut(&piece) {
            assembly.exclusive = false;
            assembly.owner = None;
        }
    }

    /// Bans proven liars: their connections are forgotten, and with them what they sent for open pieces.
    fn ban(&mut self, now: Instant, liars: &[SocketAddr], piece: PieceIndex) {
        for &addr in liars {
            self.suspects.on_banned(addr, piece);
            self.effects.push_back(Effect::Ban { addr, piece });
            let keys: Vec<PeerKey> =
                self.peers.iter().filter(|(_, peer)| peer.addr == addr).map(|(key, _)| *key).collect();
            for key in keys {
                self.remove_peer(now, key);
            }
            for (piece, assembly) in &mut self.open {
                self.wasted += assembly.discard_from(addr);
                if assembly.free() > 0 {
                    self.loose.insert(*piece);
                }
            }
            self.stirred = true;
        }
    }

    /// Is a peer connected whose copy of the piece has not failed yet?
    fn has_untried_source(&self, piece: PieceIndex) -> bool {
        self.peers.values().any(|peer| peer.has.has(piece) && !self.suspects.was_tried(piece, peer.addr))
    }

    /// Tells a change of interest in one peer.
    fn look_at(&mut self, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(&key)
            && let Some(interested) = peer.turn_interest(self.have.is_all())
        {
            self.effects.push_back(Effect::Interest { peer: key, interested });
        }
    }
}
