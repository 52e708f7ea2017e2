//! What goes into the scheduler and what comes out.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{BlockAddr, Geometry, PieceIndex};
use crate::base::ids::PeerKey;
use crate::logic::torrent::selection::WantedPieces;

/// One whole block that came.
#[derive(Debug, Clone)]
pub struct ReceivedBlock {
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
    /// What is to be fetched.
    pub wanted: Arc<WantedPieces>,
    /// Bytes of pieces that may be open or in writing.
    pub credit: u64,
    /// Bytes a second that are read from peers at most.
    pub max_bps: Option<u64>,
    /// For all dice.
    pub seed: u64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchedulerEffect {
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
    /// Hash and write this piece; the answer is [`super::Scheduler::on_written`].
    Write {
        /// Which.
        piece: PieceIndex,
        /// All its blocks, in order.
        blocks: Arc<[Bytes]>,
    },
    /// The piece is ours: tell everybody.
    Had {
        /// Which.
        piece: PieceIndex,
    },
    /// The piece was ours and is not any more: tell everybody.
    Gone {
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
    /// This address was banned for bytes that another sends as well: perhaps the torrent is wrong, not it (P-15).
    Pardon {
        /// Whom.
        addr: SocketAddr,
    },
    /// The piece fails again and again: the torrent itself may be bad.
    PieceSuspect {
        /// Which.
        piece: PieceIndex,
        /// How often it failed.
        failures: u32,
    },
    /// The last wanted piece is ours. Told once, and not if all was there at the start.
    Completed,
}

/// What became of a piece that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Written, and hashed right.
    Durable,
    /// The hash differs: somebody lied.
    HashMismatch,
    /// I/O trouble: the blocks are lost and are asked for again.
    Failed,
}

/// Where the download stands. Sums of bytes are since the start of the scheduler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DownloadProgress {
    /// Pieces that are ours.
    pub pieces_have: u32,
    /// Pieces there are.
    pub pieces_total: u32,
    /// Bytes in the pieces that are ours.
    pub bytes_have: u64,
    /// Bytes there are.
    pub bytes_total: u64,
    /// Wanted pieces that are not ours.
    pub pieces_missing: u32,
    /// Wanted bytes in the pieces that are ours.
    pub bytes_done: u64,
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
    /// Of the last seconds, the part in which the disk was at work and requests waited for the credit it held.
    pub disk_busy_percent: u8,
    /// Wanted pieces we lack that no connected peer has.
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
