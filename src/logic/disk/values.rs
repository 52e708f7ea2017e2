//! What the machines of a torrent's disk and its storage tell each other: whole pieces, their outcomes, what was found at
//! the start, and what a record says.

use std::sync::Arc;

use bytes::Bytes;

use super::trouble::DiskTrouble;
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;

/// A whole piece, ready to be hashed and written.
#[derive(Debug, Clone)]
pub struct PieceJob {
    /// Which piece.
    pub piece: PieceIndex,
    /// Its blocks in order; together they are as long as the piece.
    pub blocks: Arc<[Bytes]>,
}

/// What became of a [`PieceJob`].
#[derive(Debug)]
pub enum PieceOutcome {
    /// Hashed right and written.
    Written(PieceIndex),
    /// Does not hash right; nothing was written.
    HashMismatch(PieceIndex),
    /// The disk failed; the job comes back so that nothing is lost.
    Trouble(PieceJob, DiskTrouble),
}

/// What was found at the start.
#[derive(Debug)]
pub struct Inventory {
    /// Pieces that the record vouches for.
    pub have: Bitfield,
    /// Pieces that may be there and must be hashed first.
    pub check: Vec<PieceIndex>,
    /// Why there is something to check, in words; `None` when there is not.
    pub reason: Option<String>,
    /// Bytes received in earlier runs.
    pub received: u64,
    /// Bytes sent in earlier runs.
    pub sent: u64,
}

/// What the record must remember besides the files.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Pieces that are written and hashed right.
    pub have: Bitfield,
    /// Bytes received in all runs.
    pub received: u64,
    /// Bytes sent in all runs.
    pub sent: u64,
    /// Nothing will be written after this: the files' times can be trusted next time.
    pub clean: bool,
    /// The torrent is complete and will not be given to others: nothing of its state is needed any more.
    pub done: bool,
}
