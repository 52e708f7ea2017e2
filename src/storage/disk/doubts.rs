//! Pieces in doubt: another program has changed a file that they lie in, and they have not been hashed since.
//!
//! They are read for nobody and recorded by nobody. A check or a write that finds one right ends its doubt.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{Inner, Opened};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;
use crate::base::locked::Locked;
use crate::codec::resume::ResumeRecord;
use crate::logic::disk::resume::{RecordedTorrent, without_doubts};
use crate::storage::DiskTrouble;
use crate::storage::file_entry::FileSpec;
use crate::storage::part_file::Part;

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Doubts(Locked<BTreeSet<PieceIndex>>);

impl Doubts {
    pub(super) fn is_none(&self) -> bool {
        self.0.lock().is_empty()
    }

    pub(super) fn has(&self, piece: PieceIndex) -> bool {
        self.0.lock().contains(&piece)
    }

    /// It is what the torrent says: it was hashed since, or written.
    pub(super) fn end(&self, piece: PieceIndex) {
        self.0.lock().remove(&piece);
    }

    fn among(&self, have: &Bitfield) -> Vec<PieceIndex> {
        self.0.lock().iter().copied().filter(|piece| have.has(*piece)).collect()
    }
}

impl Inner {
    /// Looks for every file by its name; what of `have` is in doubt now.
    pub(super) fn vet(&self, have: &Bitfield) -> Result<Vec<PieceIndex>, DiskTrouble> {
        let opened = self.opened();
        let changed = opened.files.vet(self.config.may_write)?;
        for file in &changed {
            let path = opened.files.shown_path(*file);
            tracing::warn!(path = %path.display(), "file was changed by another program, what it holds is hashed again");
        }
        self.note_doubts(opened, &changed, have);
        for range in self.missing_ends(opened) {
            self.doubt(opened, range, have);
        }
        let doubtful = opened.doubts.among(have);
        if doubtful.is_empty() {
            self.ease_if_done(opened, have);
        }
        Ok(doubtful)
    }

    /// From now on these files' bytes are in doubt piece by piece.
    pub(super) fn note_doubts(&self, opened: &Opened, files: &[usize], have: &Bitfield) {
        for range in files.iter().flat_map(|file| self.ranges_of(opened, *file)) {
            self.doubt(opened, range, have);
        }
        opened.files.on_doubts_noted(files);
    }

    fn doubt(&self, opened: &Opened, range: Range<u64>, have: &Bitfield) {
        opened.doubts.0.lock().extend(self.geometry.pieces_of(range).filter(|piece| have.has(*piece)));
    }

    /// Where the bytes of a file are in the torrent; of the part file, those of all files that it holds.
    fn ranges_of(&self, opened: &Opened, file: usize) -> Vec<Range<u64>> {
        let layout = opened.files.layout();
        if file < self.specs.len() {
            return layout.file_range(file).into_iter().collect();
        }
        let held = |file: &usize| opened.files.part().is_some_and(|part: &Part| part.holds(*file));
        (0..self.specs.len()).filter(held).filter_map(|file| layout.file_range(file)).collect()
    }

    /// What files that are too short do not have.
    fn missing_ends(&self, opened: &Opened) -> Vec<Range<u64>> {
        let layout = opened.files.layout();
        let end = |(file, spec): (usize, &FileSpec)| {
            let is_elsewhere = spec.padding || opened.files.part().is_some_and(|part| part.holds(file));
            let range = layout.file_range(file).filter(|_| !is_elsewhere)?;
            let len = opened.files.known(file).len;
            (len < spec.len).then(|| range.start + len..range.end)
        };
        self.specs.iter().enumerate().filter_map(end).collect()
    }

    /// A record claims nothing that is in doubt.
    pub(super) fn without_doubts(&self, record: ResumeRecord, opened: &Opened) -> ResumeRecord {
        let layout = opened.files.layout();
        let torrent = RecordedTorrent { info_hash: self.info_hash, geometry: &self.geometry, layout };
        without_doubts(record, &opened.doubts.0.lock(), torrent)
    }
}
