//! The inputs, effects and counters of the scheduler.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{BlockAddr, Geometry, PieceIndex};
use crate::base::ids::PeerKey;
use crate::logic::torrent::selection::WantedPieces;

/// What a scheduler is made from.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// The sizes of the torrent.
    pub geometry: Geometry,
    /// Pieces that are on the disk.
    pub have: Bitfield,
    /// The selected pieces.
    pub wanted: Arc<WantedPieces>,
    /// Bytes that open pieces and pieces in writing may hold together.
    pub credit: u64,
    /// The download limit in bytes a second. `None`: no limit.
    pub max_bps: Option<u64>,
    /// The seed of all random decisions.
    pub seed: u64,
}

/// What the scheduler asks its actor to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchedulerEffect {
    /// Ask this peer for these blocks, in this order.
    Grant {
        /// The peer to ask.
        peer: PeerKey,
        /// The blocks to request.
        blocks: Vec<BlockAddr>,
    },
    /// Other peers delivered these blocks: send `cancel` for those that are still outstanding at this peer.
    Cancel {
        /// The peer that is asked no longer.
        peer: PeerKey,
        /// The blocks.
        blocks: Vec<BlockAddr>,
    },
    /// Our interest in this peer has changed.
    Interest {
        /// The peer.
        peer: PeerKey,
        /// Whether it has a piece that we lack.
        interested: bool,
    },
    /// Hash this piece and write it. The answer is given to [`super::Scheduler::on_written`].
    Write {
        /// The piece.
        piece: PieceIndex,
        /// All its blocks, in order.
        blocks: Arc<[Bytes]>,
    },
    /// We have the piece now: announce it to every peer.
    Had {
        /// The piece.
        piece: PieceIndex,
    },
    /// We had the piece and have lost it: tell every peer.
    Gone {
        /// The piece.
        piece: PieceIndex,
    },
    /// This address is proven to have sent bad data. The scheduler has already forgotten its connections.
    Ban {
        /// The banned address.
        addr: SocketAddr,
        /// The piece with the bad data.
        piece: PieceIndex,
    },
    /// This address was banned for bytes that another peer sent as well: the torrent may be wrong, not the peer
    /// (P-15).
    Pardon {
        /// The address to unban.
        addr: SocketAddr,
    },
    /// The piece has failed its hash several times: the torrent itself may be bad.
    PieceSuspect {
        /// The piece.
        piece: PieceIndex,
        /// How many times it failed.
        failures: u32,
    },
    /// We have the last wanted piece. Emitted each time a piece completes the selection; not emitted if all was there
    /// at the start.
    Completed,
}

/// The state of the download. Sums of bytes count from the start of the scheduler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DownloadProgress {
    /// Pieces that we have.
    pub pieces_have: u32,
    /// Pieces of the torrent.
    pub pieces_total: u32,
    /// Bytes of the pieces that we have.
    pub bytes_have: u64,
    /// Bytes of the torrent.
    pub bytes_total: u64,
    /// Wanted pieces that we lack.
    pub pieces_missing: u32,
    /// Wanted bytes of the pieces that we have.
    pub bytes_done: u64,
    /// Bytes of all received blocks, useful or not.
    pub received: u64,
    /// Bytes of received blocks that were duplicates, unneeded, or in pieces that failed their hash.
    pub wasted: u64,
    /// How many times a piece failed its hash.
    pub hash_failures: u32,
    /// Requests outstanding at all peers. A block requested from two peers counts twice.
    pub in_flight_blocks: u32,
    /// Open pieces: pieces with requested or received blocks that are not being written.
    pub open_pieces: u32,
    /// Pieces that were given to the disk and are not answered yet.
    pub writing_pieces: u32,
    /// Bytes of credit that no piece has reserved.
    pub credit_free: u64,
    /// Part of the last five seconds in which the disk worked and requests waited for the credit it held, in percent.
    pub disk_busy_percent: u8,
    /// Wanted pieces that we lack and no connected peer has.
    pub nobody_has: u32,
    /// Connected peers that have a piece we lack.
    pub interesting_peers: u32,
    /// Peers whose ask waits for work or credit.
    pub waiting_peers: u32,
    /// Addresses banned for bad data.
    pub banned: u32,
    /// Whether the endgame has begun: every obtainable block is requested.
    pub endgame: bool,
    /// Whether nothing is granted because the disk is in trouble.
    pub paused: bool,
}
