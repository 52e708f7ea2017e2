//! Floor 3: files, the blocking pool and the resume record.
//!
//! Knows floors 0 to 2 and tokio; does not know actors or the network. Actors use the [`Storage`] trait, whose methods
//! return futures. The same actor runs on real files and in memory.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{PieceIndex, PieceRange};
pub use crate::logic::disk::trouble::{DiskTrouble, OpenTrouble, TroubleKind};
pub use crate::logic::disk::values::{Inventory, PieceJob, PieceOutcome, Snapshot};

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

/// The outcome of a job, as a future of this thread.
pub type Later<T> = Pin<Box<dyn Future<Output = T>>>;

/// Where a torrent's bytes are kept. Jobs run elsewhere; several may be under way at once.
pub trait Storage: Debug + Send + Sync {
    /// Takes the lock, reads the record, looks at the files. Called once before anything else, and again after the disk
    /// was full.
    fn open(&self) -> Later<Result<Inventory, OpenTrouble>>;
    /// As [`Self::open`], but believes no record: every piece that may be on the disk is to be hashed.
    fn open_to_recheck(&self) -> Later<Result<Inventory, OpenTrouble>>;
    /// Hashes pieces as they are on the disk. Returns for each whether it is right.
    fn check(&self, pieces: Vec<PieceIndex>) -> Later<Vec<(PieceIndex, Result<bool, DiskTrouble>)>>;
    /// Called after all checks. Refuses if there is not enough space or a file is in the way; else claims the files by
    /// a first record, before any write. Called again after the disk was full.
    fn admit(&self, start: Snapshot) -> Later<Result<(), OpenTrouble>>;
    /// The number of pieces that are hashed in little more time than one.
    fn abreast(&self) -> usize;
    /// Hashes pieces and writes those that are right. Each piece has its own outcome.
    fn write(&self, jobs: Vec<PieceJob>) -> Later<Vec<PieceOutcome>>;
    /// Reads ranges for peers. Each range has its own outcome.
    fn read(&self, ranges: Vec<PieceRange>) -> Later<Vec<Result<Bytes, DiskTrouble>>>;
    /// The free bytes on the file system of the files; `None` if they cannot be determined.
    fn free(&self) -> Later<Option<u64>> {
        Box::pin(std::future::ready(None))
    }
    /// Checks whether the files are still those that were written and hashed. Returns the pieces of `have` that are in
    /// doubt, because another program has changed, moved or removed a file that holds them. They are not read for peers
    /// until [`Self::check`] or [`Self::write`] finds them right.
    fn vet(&self, have: Bitfield) -> Later<Result<Vec<PieceIndex>, DiskTrouble>>;
    /// Makes written data durable, then saves the record. Pieces in doubt are not recorded.
    fn persist(&self, snapshot: Snapshot) -> Later<Result<(), DiskTrouble>>;
}

/// A storage that is shared between arbiters.
pub type SharedStorage = Arc<dyn Storage>;

/// What survives a power cut (`--durability`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Data is on stable storage before the record claims it.
    Safe,
    /// The record is durable, but the data may not be: a power cut may cost a check of the data.
    Relaxed,
    /// No sync is made. A killed process loses nothing, but a power cut may.
    Off,
}
