//! One program's use of a simulated disk: its open files, and what it knows of them. The decisions are made by
//! `logic::disk::file_watch`, as on a real disk.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::{PLACE, Shape, State};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;
use crate::codec::resume::{ResumeRecord, Witness};
use crate::logic::disk::file_watch::FileWatch;
use crate::logic::disk::layout::FileSpan;
use crate::logic::disk::resume::{RecordedTorrent, without_doubts};
use crate::storage::{DiskTrouble, Snapshot};

/// 5 s between two looks at a file's name, as on a real disk.
const NAME_EVERY: Duration = Duration::from_secs(5);

/// The state of one program that uses the disk.
#[derive(Debug, Default)]
pub(super) struct DiskProgram {
    files: Vec<Open>,
    /// Pieces in files that other programs have changed, not hashed since.
    pub(super) doubts: BTreeSet<PieceIndex>,
}

/// The program's view of one file of the torrent.
#[derive(Debug, Default)]
struct Open {
    watch: FileWatch,
    /// The inode of the open file, if the file is open.
    handle: Option<u64>,
    named: Option<Instant>,
}

impl DiskProgram {
    /// Whether the program has opened the disk.
    pub(super) const fn has_begun(&self) -> bool {
        !self.files.is_empty()
    }

    /// Begins with the files as they are now.
    pub(super) fn begin(&mut self, state: &State) {
        self.files.clear();
        for file in 0..state.names.len() {
            let mut open = Open::default();
            open.watch.on_found(state.witness(file));
            self.files.push(open);
        }
    }

    /// The witnesses of the files, as the program last saw them.
    pub(super) fn known(&self) -> Vec<Witness> {
        self.files.iter().map(|open| open.watch.known()).collect()
    }

    /// Writes to a file; opens or makes it first if necessary.
    pub(super) fn write(&mut self, state: &mut State, span: &FileSpan, bytes: &[u8]) {
        let Open { watch, handle, .. } = &mut self.files[span.file];
        let ino = *handle.get_or_insert_with(|| {
            let found = state.open(span.file);
            watch.on_opened_to_write(found);
            watch.on_own_change(state.witness(span.file));
            found.ino
        });
        watch.on_seen(state.witness_of(ino));
        state.write_to(ino, at(span.offset), bytes);
        watch.on_own_change(state.witness_of(ino));
    }

    /// Reads bytes to be hashed. A file that does not exist or is too short is an error of the kind `Missing`.
    pub(super) fn read(&mut self, state: &State, span: &FileSpan) -> Result<Vec<u8>, DiskTrouble> {
        let Open { handle, .. } = &mut self.files[span.file];
        let named = state.witness(span.file);
        if handle.is_none() && named != Witness::default() {
            *handle = Some(named.ino);
        }
        let bytes = handle.and_then(|ino| state.read_from(ino, at(span.offset), at(span.len)));
        bytes.ok_or_else(|| DiskTrouble::new("read", Path::new(PLACE), &io::ErrorKind::NotFound.into()))
    }

    /// Reads bytes for a peer.
    pub(super) fn read_vouched(&mut self, state: &State, span: &FileSpan) -> Result<Vec<u8>, DiskTrouble> {
        let changed = || DiskTrouble::changed("read", Path::new(PLACE));
        if self.files[span.file].named.is_none_or(|named| named.elapsed() >= NAME_EVERY) {
            self.look_by_name(state, span.file);
        }
        let ticket = self.files[span.file].watch.ticket().ok_or_else(changed)?;
        let bytes = self.read(state, span);
        let Open { watch, handle, .. } = &mut self.files[span.file];
        let after = handle.map_or_else(Witness::default, |ino| state.witness_of(ino));
        if watch.holds(ticket, after) {
            return bytes;
        }
        watch.on_seen(after);
        Err(changed())
    }

    /// The record of this moment, without the pieces in doubt.
    pub(super) fn record(&self, shape: &Shape, snapshot: &Snapshot) -> ResumeRecord {
        let record = ResumeRecord {
            info_hash: shape.info_hash,
            pieces: shape.geometry.piece_count(),
            have: snapshot.have.clone(),
            files: self.known(),
            part: Witness::default(),
            downloaded: snapshot.received,
            uploaded: snapshot.sent,
            clean: snapshot.clean,
        };
        let torrent = RecordedTorrent { info_hash: shape.info_hash, geometry: &shape.geometry, layout: &shape.layout };
        without_doubts(record, self.doubts.iter().copied(), torrent)
    }

    /// Looks at every file by its name.
    pub(super) fn look_at_all(&mut self, state: &State) {
        (0..self.files.len()).for_each(|file| self.look_by_name(state, file));
    }

    /// Compares a file with what the program knows of it.
    fn look_by_name(&mut self, state: &State, file: usize) {
        let Open { watch, handle, named } = &mut self.files[file];
        let now = state.witness(file);
        watch.on_seen(now);
        *handle = handle.filter(|ino| *ino == now.ino);
        *named = Some(Instant::now());
    }

    /// Looks at every file by its name. Returns the pieces of `have` that are in doubt now.
    pub(super) fn vet(&mut self, shape: &Shape, state: &mut State, have: &Bitfield) -> Vec<PieceIndex> {
        for file in 0..self.files.len() {
            self.look_by_name(state, file);
            let range = shape.layout.file_range(file).unwrap_or_default();
            let len = range.end - range.start;
            let known = self.files[file].watch.known();
            if known.len > len {
                state.cut(file);
                self.files[file].watch.on_own_change(state.witness(file));
            }
            if known.len < len {
                let lost = shape.geometry.pieces_of(range.start + known.len..range.end);
                self.doubts.extend(lost.filter(|piece| have.has(*piece)));
            }
        }
        self.note_doubts(shape);
        self.doubts.iter().copied().filter(|piece| have.has(*piece)).collect()
    }

    /// Puts all pieces of files in doubt into doubt, as `storage::disk::doubts` does.
    pub(super) fn note_doubts(&mut self, shape: &Shape) {
        for file in 0..self.files.len() {
            if self.files[file].watch.is_in_doubt() {
                let range = shape.layout.file_range(file).unwrap_or_default();
                self.doubts.extend(shape.geometry.pieces_of(range));
                let watch = &mut self.files[file].watch;
                watch.on_doubt_noted(watch.changes());
            }
        }
    }
}

fn at(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a torrent that is simulated fits into memory")
}
