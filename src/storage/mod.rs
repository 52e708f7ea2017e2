//! Floor 3: files, the blocking pool and the resume record.
//!
//! Knows floors 0 to 2 and tokio; does not know actors or the network. What an actor sees is the [`Storage`] trait: jobs
//! in, futures of their outcome out. The same actor runs over real files and over memory.

use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{PieceIndex, PieceRange};
use crate::base::safe::shown_path;
pub use trouble::{DiskTrouble, TroubleKind};

pub mod buffers;
mod cached_read;
pub mod check;
pub mod claims;
mod coalesce;
pub mod disk;
pub mod file_entry;
pub mod files;
pub mod folder;
#[cfg(any(test, feature = "faults"))]
pub mod memory;
mod open_files;
pub mod part_file;
pub mod publish;
pub mod record;
pub mod regular;
pub mod room;
pub mod sha1_lanes;
pub mod source;
pub mod state_file;
pub mod trouble;
mod vectored;
pub mod whereabouts;

/// The outcome of a job, some time later, on this thread.
pub type Later<T> = Pin<Box<dyn Future<Output = T>>>;

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

/// Why a torrent's files cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum OpenTrouble {
    /// Something that is not this torrent's lies where a file should go.
    #[error(
        "{} would be overwritten: {why}; move it away, choose another folder with -d, or say --overwrite",
        shown_path(path)
    )]
    WouldOverwrite {
        /// The file in the way.
        path: PathBuf,
        /// How it is known not to be the torrent's.
        why: String,
    },
    /// All of the torrent's bytes are in a file, and more, and no file may be changed.
    #[error("{} is {len} bytes long and should be {should}; seed changes no file: cut it with `truncate -s {should}`", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
        /// The length that the torrent says.
        should: u64,
    },
    /// The state is locked by another process, or the disk failed at it.
    #[error(transparent)]
    State(#[from] record::StateTrouble),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
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

/// Where a torrent's bytes are kept. Jobs run elsewhere; several may be under way at once.
pub trait Storage: Debug + Send + Sync {
    /// Takes the lock, reads the record, looks at the files. Once, before anything else; again where the disk was full.
    fn open(&self) -> Later<Result<Inventory, OpenTrouble>>;
    /// Hashes pieces as they are on the disk.
    fn check(&self, pieces: Vec<PieceIndex>) -> Later<Vec<(PieceIndex, Result<bool, DiskTrouble>)>>;
    /// With everything checked: is there room, and is any file in the way? Then claims the files by a first record, before
    /// any write. Again where the disk was full.
    fn admit(&self, start: Snapshot) -> Later<Result<(), OpenTrouble>>;
    /// So many pieces are hashed in hardly more time than one.
    fn abreast(&self) -> usize;
    /// Hashes and writes pieces.
    fn write(&self, jobs: Vec<PieceJob>) -> Later<Vec<PieceOutcome>>;
    /// Reads ranges, each with its own outcome.
    fn read(&self, ranges: Vec<PieceRange>) -> Later<Vec<Result<Bytes, DiskTrouble>>>;
    /// Bytes that are free where the files are; `None` where nobody can tell.
    fn free(&self) -> Later<Option<u64>> {
        Box::pin(std::future::ready(None))
    }
    /// Looks whether the files are still those that were written and hashed. Says which pieces of `have` are in doubt,
    /// because another program has changed, moved or removed a file that they lie in. They are read for nobody until
    /// [`Self::check`] or [`Self::write`] finds them right.
    fn vet(&self, have: Bitfield) -> Later<Result<Vec<PieceIndex>, DiskTrouble>>;
    /// Makes what was written durable, then the record of it. What is in doubt is not recorded.
    fn persist(&self, snapshot: Snapshot) -> Later<Result<(), DiskTrouble>>;
}

/// Storage as an actor holds it, on whatever arbiter that is.
pub type SharedStorage = Arc<dyn Storage>;

/// What survives a power cut (`--durability`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Data is on stable storage before the record says so.
    Safe,
    /// The record is durable, the data behind it left to the system: a power cut may cost a re-check.
    Relaxed,
    /// Nothing is waited for. A killed process loses nothing, a power cut may.
    Off,
}
