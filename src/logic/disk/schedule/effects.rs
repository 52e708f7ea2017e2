//! What the schedule has to do, to tell and to note.

use std::time::Duration;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{PieceIndex, PieceRange};
use crate::logic::disk::trouble::{DiskTrouble, OpenTrouble};
use crate::logic::disk::unreadable::Judgement;
use crate::logic::disk::values::{PieceJob, Snapshot};
use crate::logic::disk::write_outcome::WriteOutcome;

/// What the driver of a [`super::DiskSchedule`] has to do. `R` stands for those who are told what became of their pieces.
#[derive(Debug)]
pub enum DiskEffect<R> {
    /// Open the storage; [`super::DiskSchedule::on_opened`] follows.
    OpenStorage,
    /// Hash these pieces as they are on the disk; [`super::DiskSchedule::on_checked`] follows.
    CheckPieces(Vec<PieceIndex>),
    /// Claim the files by a first record; [`super::DiskSchedule::on_admitted`] follows.
    Admit(Snapshot),
    /// Hash and write these; [`super::DiskSchedule::on_written`] follows.
    WritePieces(Vec<PieceJob>, WriteReceipt<R>),
    /// Read these whole pieces, hash and write them again; [`super::DiskSchedule::on_rewritten`] follows.
    RewritePieces(Vec<PieceRange>, RewriteReceipt),
    /// Make what was written durable, then the record of it; [`super::DiskSchedule::on_recorded`] follows.
    SaveRecord(Snapshot),
    /// Look which of these pieces lie in files that other programs have changed; [`super::DiskSchedule::on_vetted`] follows.
    VetFiles(Bitfield),
    /// Measure the free space; [`super::DiskSchedule::on_free_space`] follows.
    MeasureFreeSpace,
    /// Tell the torrent.
    Tell(DiskNews),
    /// Tell this one what became of its pieces.
    TellWritten(R, Vec<(PieceIndex, WriteOutcome)>),
    /// Write this into the log.
    Note(DiskNote),
    /// Everything is written and recorded: stop. Nothing follows.
    Stop,
}

/// Goes with a job and comes back with its outcomes: who is told, and whether the next sync proves anything.
#[derive(Debug)]
pub struct WriteReceipt<R> {
    pub(super) replies: Vec<R>,
    pub(super) era: u32,
}

/// Goes with a job that writes pieces again, and comes back with its outcomes.
#[derive(Debug, Clone, Copy)]
pub struct RewriteReceipt {
    pub(super) era: u32,
}

/// Bytes moved, as the record remembers them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

/// What the torrent is told of its disk.
#[derive(Debug)]
pub enum DiskNews {
    /// What is there is being hashed.
    Checking {
        /// Bytes hashed.
        done: u64,
        /// Bytes to hash in all.
        total: u64,
        /// Why.
        reason: Option<String>,
    },
    /// Everything is checked and the files are ours to write.
    Ready {
        /// Pieces that are there.
        have: Bitfield,
        /// Bytes that were hashed for it.
        checked: u64,
    },
    /// All pieces must be there, and only so many bytes are; nothing was touched.
    Incomplete(u64),
    /// The files cannot be worked on.
    Refused(OpenTrouble),
    /// The disk is in trouble; `retry_in` is when it is tried again, and without it the torrent has failed.
    Trouble {
        /// What, where, why.
        trouble: DiskTrouble,
        /// When it is tried again.
        retry_in: Option<Duration>,
    },
    /// The trouble is over.
    Well,
    /// Pieces that were on their way are lost: a restart.
    Lost,
    /// A piece that was there cannot be read any more.
    Gone(PieceIndex),
    /// Everything that is written is as safe as it was asked to be.
    Durable,
}

/// What the log says about the disk.
#[derive(Debug)]
pub enum DiskNote {
    /// A piece could not be hashed at the start and is fetched again.
    UnreadableAtStart(PieceIndex, DiskTrouble),
    /// A block could not be read for a peer, whose request is dropped.
    UnreadableForPeer(DiskTrouble),
    /// A sync failed, and what was written is in doubt.
    SyncFailed {
        /// Why.
        trouble: DiskTrouble,
        /// Pieces in doubt because of it.
        pieces: usize,
    },
    /// The data is safe, but the record of it could not be made.
    RecordFailed {
        /// Why.
        trouble: DiskTrouble,
        /// Pieces that are not recorded.
        pieces: usize,
        /// The record before this one was made.
        is_first: bool,
    },
    /// A record was made after one that failed.
    RecordWorksAgain,
    /// What was written before a failed sync is not there.
    UnsyncedPieceLost(PieceIndex),
    /// The files cannot be looked at.
    LookFailed(DiskTrouble),
    /// Another program has changed files, and so many pieces in them are hashed.
    FilesChanged(usize),
    /// A piece was hashed again.
    CheckedAgain {
        /// Which.
        piece: PieceIndex,
        /// What follows.
        judgement: Judgement,
        /// Why it could not be hashed.
        trouble: Option<DiskTrouble>,
    },
    /// So many pieces are not what was written, and are not ours any more.
    PiecesLost(usize),
}
