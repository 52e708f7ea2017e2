//! Pieces in doubt: another program has changed a file that holds them, and they have not been hashed since.
//!
//! Such pieces are not read for peers and not recorded. A check or a write that finds a piece right ends its doubt.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Inner, Opened};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;
use crate::base::locked::Locked;
use crate::codec::resume::ResumeRecord;
use crate::logic::disk::resume::{RecordedTorrent, without_doubts};
use crate::storage::DiskTrouble;
use crate::storage::file_entry::FileSpec;

/// The pieces in doubt.
#[derive(Debug, Default)]
pub(super) struct Doubts(Locked<Noted>);

/// The pieces in doubt and the mark of the latest doubt.
#[derive(Debug, Default)]
struct Noted {
    /// The mark of each piece's latest doubt.
    pieces: BTreeMap<PieceIndex, DoubtMark>,
    now: DoubtMark,
}

/// A point in the sequence of doubts: later doubts have greater marks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DoubtMark(u64);

impl Doubts {
    /// Whether no piece is in doubt.
    pub(super) fn is_none(&self) -> bool {
        self.0.lock().pieces.is_empty()
    }

    /// Whether the piece is in doubt.
    pub(super) fn has(&self, piece: PieceIndex) -> bool {
        self.0.lock().pieces.contains_key(&piece)
    }

    /// Returns the mark of this moment, to be taken before a piece is hashed or written.
    pub(super) fn mark(&self) -> DoubtMark {
        self.0.lock().now
    }

    /// Ends the doubt of a piece that was hashed right or written after `since`. A doubt that arose after `since` stays.
    pub(super) fn end(&self, piece: PieceIndex, since: DoubtMark) {
        let mut noted = self.0.lock();
        if noted.pieces.get(&piece).is_some_and(|doubted| *doubted <= since) {
            noted.pieces.remove(&piece);
        }
    }

    /// Puts pieces into doubt under a new mark.
    fn note(&self, pieces: impl Iterator<Item = PieceIndex>) {
        let mut noted = self.0.lock();
        noted.now.0 += 1;
        let now = noted.now;
        noted.pieces.extend(pieces.map(|piece| (piece, now)));
    }

    /// The pieces of `have` that are in doubt.
    fn among(&self, have: &Bitfield) -> Vec<PieceIndex> {
        self.0.lock().pieces.keys().copied().filter(|piece| have.has(*piece)).collect()
    }
}

impl Inner {
    /// Looks at every file by its name. Returns the pieces of `have` that are in doubt now.
    pub(super) fn vet(&self, have: &Bitfield) -> Result<Vec<PieceIndex>, DiskTrouble> {
        let opened = self.opened();
        let changed = opened.files.vet(self.config.may_write)?;
        for file in &changed {
            let path = opened.files.shown_path(*file);
            tracing::warn!(path = %path.display(), "file was changed by another program, what it holds is hashed again");
        }
        self.note_doubts(opened, &changed);
        let lost = self.missing_ends(opened).into_iter().flat_map(|range| self.geometry.pieces_of(range));
        opened.doubts.note(lost.filter(|piece| have.has(*piece)));
        let doubtful = opened.doubts.among(have);
        if doubtful.is_empty() {
            self.ease_if_done(opened, have);
        }
        Ok(doubtful)
    }

    /// Puts all pieces of these files in doubt, also those that the caller does not have yet: a write that is not yet
    /// reported may have gone to a file that was moved away.
    pub(super) fn note_doubts(&self, opened: &Opened, files: &[usize]) {
        let changes: Vec<_> = files.iter().map(|file| (*file, opened.files.changes(*file))).collect();
        let ranges = files.iter().flat_map(|file| self.ranges_of(opened, *file));
        opened.doubts.note(ranges.flat_map(|range| self.geometry.pieces_of(range)));
        for (file, changes) in changes {
            opened.files.on_doubt_noted(file, changes);
        }
    }

    /// The ranges of the torrent that a file holds; for the part file those of all files that it holds.
    fn ranges_of(&self, opened: &Opened, file: usize) -> Vec<Range<u64>> {
        let layout = opened.files.layout();
        if file < self.specs.len() {
            return layout.file_range(file).into_iter().collect();
        }
        let held = |file: &usize| opened.files.is_in_part_file(*file);
        (0..self.specs.len()).filter(held).filter_map(|file| layout.file_range(file)).collect()
    }

    /// The ranges of the torrent that are missing because files are too short.
    fn missing_ends(&self, opened: &Opened) -> Vec<Range<u64>> {
        let layout = opened.files.layout();
        let end = |(file, spec): (usize, &FileSpec)| {
            let is_elsewhere = spec.padding || opened.files.is_in_part_file(file);
            let range = layout.file_range(file).filter(|_| !is_elsewhere)?;
            let len = opened.files.known(file).len;
            (len < spec.len).then(|| range.start + len..range.end)
        };
        self.specs.iter().enumerate().filter_map(end).collect()
    }

    /// Removes the pieces in doubt from a record.
    pub(super) fn without_doubts(&self, record: ResumeRecord, opened: &Opened) -> ResumeRecord {
        let layout = opened.files.layout();
        let torrent = RecordedTorrent { info_hash: self.info_hash, geometry: &self.geometry, layout };
        without_doubts(record, opened.doubts.0.lock().pieces.keys().copied(), torrent)
    }
}
