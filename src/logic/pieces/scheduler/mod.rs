//! Which block is requested from which peer, for one torrent.
//!
//! Connections report what their peers have, could take and sent; the disk reports what was written. The scheduler hands
//! back effects. It does not know sockets, files, hashes or the rate at which requests are sent.
//!
//! * An open piece reserves credit for all of its bytes, so that it can always be finished. Outstanding requests, received
//!   blocks and pieces in writing never exceed the credit, except one piece that is larger than all of it.
//! * An ask that cannot be granted is remembered, and granted when work or credit appears.
//! * After each input [`Scheduler::poll`] must be drained and [`Scheduler::deadline`] obeyed.
//!
//! # The states of a piece
//!
//! A piece is in exactly one state at any time. Pieces that are not selected and not there take no part.
//!
//! | state | kept in | credit | meaning |
//! |---|---|---|---|
//! | free | `Picker` | no | no block is requested or received |
//! | open | `OpenPieces` | yes | every block is requested or received |
//! | loose | `OpenPieces` | yes | open, and at least one block is neither requested nor received |
//! | writing | `OpenPieces` | yes | every block is received, and the disk has not answered yet |
//! | suspect | `Suspects` | no | its hash was wrong: it must come as a whole from one peer |
//! | had | `OwnPieces` | no | it is written and its hash is right |
//!
//! | from | to | when |
//! |---|---|---|
//! | free | open or loose | a peer is granted its first blocks |
//! | suspect | open or loose | one peer is granted the whole piece (`exclusive`) |
//! | loose | open | the last free block is requested |
//! | open | loose | a block is given back, its peer leaves, or a liar's blocks are discarded |
//! | open | writing | the last block arrives |
//! | loose | free or suspect | it is closed for its credit, or an exclusive owner is lost |
//! | writing | had | the disk answers `Durable` |
//! | writing | suspect | the disk answers `HashMismatch` |
//! | writing | free or suspect | the disk answers `Failed`, or is restarted |
//! | had | free | the piece cannot be read any more, and is selected |
//!
//! Where two states are named, a piece that has failed its hash before is suspect and any other is free.

mod delivery_estimate;
mod endgame;
mod grants;
mod open_pieces;
mod outbox;
mod own_pieces;
mod peer;
mod peers;
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

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{BlockAddr, Geometry, PieceIndex};
use crate::base::ids::PeerKey;
use crate::logic::busy_ratio::BusyRatio;
use crate::logic::peer::received_block::ReceivedBlock;
use crate::logic::pieces::picker::Picker;
use crate::logic::pieces::suspects::Suspects;
use delivery_estimate::DeliveryEstimate;
use open_pieces::{GivenBack, OpenPieces};
use outbox::Outbox;
use own_pieces::OwnPieces;
use peers::SchedulerPeers;
use rate_cap::RateCap;
pub use values::{DownloadProgress, SchedulerConfig, SchedulerEffect};

use crate::logic::disk::write_outcome::WriteOutcome;

/// Sums since the start.
#[derive(Debug, Default)]
struct DownloadCounters {
    /// Bytes of all received blocks.
    received: u64,
    /// Bytes of received blocks that were of no use.
    wasted: u64,
    /// How many times a piece failed its hash.
    hash_failures: u32,
}

/// Decides which block is requested from which peer, for one torrent.
#[derive(Debug)]
pub struct Scheduler {
    geometry: Geometry,
    dice: SmallRng,
    own: OwnPieces,
    picker: Picker,
    pieces: OpenPieces,
    suspects: Suspects,
    peers: SchedulerPeers,
    rate_cap: RateCap,
    estimate: DeliveryEstimate,
    counters: DownloadCounters,
    outbox: Outbox,
    /// Measures the time in which requests are held back until the disk frees credit.
    held_up: BusyRatio,
    /// Whether the disk is in trouble and nothing is granted.
    paused: bool,
    endgame: bool,
    /// Work or credit has appeared: every waiting peer is to be served.
    stirred: bool,
    /// When withheld work can be granted next.
    recheck: Option<Instant>,
    /// The time of the last input.
    now: Option<Instant>,
}

impl Scheduler {
    /// A scheduler without peers.
    pub fn new(config: SchedulerConfig) -> Self {
        let SchedulerConfig { geometry, have, wanted, credit, max_bps, seed } = config;
        let own = OwnPieces::new(geometry, have, wanted);
        let mut dice = SmallRng::seed_from_u64(seed);
        Self {
            geometry,
            picker: Picker::new(geometry, own.settled()),
            own,
            pieces: OpenPieces::new(geometry, credit),
            suspects: Suspects::new(&mut dice),
            peers: SchedulerPeers::new(geometry.piece_count()),
            rate_cap: RateCap::new(max_bps),
            estimate: DeliveryEstimate::default(),
            counters: DownloadCounters::default(),
            outbox: Outbox::default(),
            held_up: BusyRatio::default(),
            paused: false,
            endgame: false,
            stirred: false,
            recheck: None,
            now: None,
            dice,
        }
    }

    /// A peer has connected. It has no pieces until [`Self::on_bitfield`] or [`Self::on_have`].
    pub fn on_peer_joined(&mut self, now: Instant, peer: PeerKey, addr: SocketAddr) {
        if let Some(piece) = self.suspects.banned_for(addr) {
            self.outbox.push(SchedulerEffect::Ban { addr, piece });
        } else {
            self.on_peer_left(now, peer);
            self.peers.join(peer, addr);
            self.recall(peer);
        }
        self.settle(now);
    }

    /// The peer has these pieces (`bitfield`, `have all`, `have none`). A second call replaces the first.
    pub fn on_bitfield(&mut self, now: Instant, key: PeerKey, has: Bitfield) {
        if has.piece_count() != self.geometry.piece_count() {
            return;
        }
        self.stirred |= self.peers.set_bitfield(key, has, self.own.settled(), &mut self.picker);
        self.look_at(key);
        self.settle(now);
    }

    /// The peer has completed these pieces.
    pub fn on_have(&mut self, now: Instant, key: PeerKey, pieces: &[PieceIndex]) {
        if let Some(peer) = self.peers.get_mut(key) {
            for piece in pieces {
                peer.add_piece(*piece, &mut self.picker, self.own.settled());
            }
        }
        self.look_at(key);
        self.serve(now, key);
        self.settle(now);
    }

    /// The peer has lost a piece that it had (BEP 54).
    pub fn on_lost(&mut self, now: Instant, key: PeerKey, piece: PieceIndex) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.lose_piece(piece, &mut self.picker, self.own.settled());
        }
        self.look_at(key);
        self.settle(now);
    }

    /// The peer answers requests for these pieces only, since it chokes us and allows them (BEP 6). `None`: for all again.
    pub fn on_within(&mut self, now: Instant, key: PeerKey, pieces: Option<BTreeSet<PieceIndex>>) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.set_within(pieces);
        }
        self.serve(now, key);
        self.settle(now);
    }

    /// The peer has left. The blocks that it was asked for are requested from others.
    pub fn on_peer_left(&mut self, now: Instant, key: PeerKey) {
        if self.remove_peer(now, key).is_some() {
            self.stirred = true;
        }
        self.settle(now);
    }

    /// The peer could take `want` more blocks now. The number replaces the one before; 0 withdraws the ask.
    pub fn on_ask(&mut self, now: Instant, key: PeerKey, want: u32) {
        if self.peers.set_want(key, want) {
            self.serve(now, key);
        }
        self.settle(now);
    }

    /// The peer could have `depth` blocks outstanding, including those that are. Such an ask does not depend on the number
    /// of grants that are still on their way to its connection. 0 withdraws it.
    pub fn on_depth(&mut self, now: Instant, key: PeerKey, depth: u32) {
        let in_flight = self.peers.get(key).map_or(0, |peer| peer.in_flight);
        self.on_ask(now, key, depth.saturating_sub(in_flight));
    }

    /// The peer sent these blocks. Blocks that it was not asked for, or that have arrived before, are dropped and counted as
    /// wasted.
    pub fn on_blocks(&mut self, now: Instant, key: PeerKey, blocks: Vec<ReceivedBlock>) {
        for block in blocks {
            let len = block.data.len() as u64;
            self.counters.received += len;
            if !self.keep(now, key, block) {
                self.counters.wasted += len;
            }
        }
        self.settle(now);
    }

    /// The peer gives these blocks back (time-out, `reject`, `choke`). They are requested from other peers first.
    pub fn on_returned(&mut self, now: Instant, key: PeerKey, blocks: &[BlockAddr]) {
        let mut count = 0;
        let mut shirked = BTreeSet::new();
        let mut touched = BTreeSet::new();
        for block in blocks {
            let Some(GivenBack { is_shirked }) = self.pieces.give_back(*block, key, now) else { continue };
            count += 1;
            touched.insert(block.piece());
            if is_shirked {
                shirked.insert(block.piece());
            }
        }
        if count > 0 {
            if let Some(peer) = self.peers.get_mut(key) {
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

    /// A piece that we had cannot be read any more (D-04). If it is selected, it is downloaded again.
    pub fn on_gone(&mut self, now: Instant, piece: PieceIndex) {
        self.forgo(piece);
        self.settle(now);
    }

    /// The disk's actor was restarted: the pieces in writing are lost.
    pub fn on_disk_lost(&mut self, now: Instant) {
        for (piece, writing) in self.pieces.take_writing() {
            self.conclude(piece, &writing.from, WriteOutcome::Failed);
            self.lose(piece);
        }
        self.stirred = true;
        self.settle(now);
    }

    /// Sets whether the disk is in trouble. Nothing is granted while it is.
    pub fn set_paused(&mut self, now: Instant, paused: bool) {
        self.stirred |= self.paused && !paused;
        self.paused = paused;
        self.settle(now);
    }

    /// Grants withheld work whose time has come. Call it at [`Self::deadline`].
    pub fn on_timeout(&mut self, now: Instant) {
        if self.recheck.is_some_and(|at| at <= now) {
            self.stirred = true;
        }
        self.settle(now);
    }

    /// Returns the next effect, or `None`.
    pub fn poll(&mut self) -> Option<SchedulerEffect> {
        self.outbox.pop()
    }

    /// When to call [`Self::on_timeout`]. `None` while no ask waits for time to pass.
    pub const fn deadline(&self) -> Option<Instant> {
        self.recheck
    }

    /// The pieces that we have.
    pub const fn have(&self) -> &Bitfield {
        self.own.have()
    }

    /// The state of the download.
    pub fn progress(&self, now: Instant) -> DownloadProgress {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let DownloadCounters { received, wasted, hash_failures } = self.counters;
        DownloadProgress {
            pieces_have: self.have().ones(),
            pieces_total: self.geometry.piece_count(),
            pieces_missing: self.own.missing(),
            bytes_have: self.own.bytes_have(),
            bytes_done: self.own.bytes_done(),
            bytes_total: self.geometry.total_len(),
            received,
            wasted,
            hash_failures,
            in_flight_blocks: self.pieces.in_flight(),
            open_pieces: count(self.pieces.open_count()),
            writing_pieces: count(self.pieces.writing_count()),
            credit_free: self.pieces.credit_free(),
            disk_busy_percent: self.held_up.percent(now),
            nobody_has: self.picker.nobody_has(),
            interesting_peers: count(self.peers.iter().filter(|(_, peer)| peer.interested).count()),
            waiting_peers: count(self.peers.waiting_count()),
            banned: count(self.suspects.banned()),
            endgame: self.endgame,
            paused: self.paused,
        }
    }
}
