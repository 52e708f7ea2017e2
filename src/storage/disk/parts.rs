//! The part file over several runs of a torrent: which files have their bytes in it, which of those bytes are trusted,
//! and how they are moved into their own files when these are wanted later.
//!
//! The bytes of a file that is not wanted are in the part file, unless the record knows the file as ours: then it stays
//! a file of its own. If the bytes of a wanted file do not have the right hash, those in the part file are tried.
//! Pieces that are right with them are written to their own files before the record claims them.

use std::collections::BTreeSet;

use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::state::DiskState;
use super::{Inner, Opened};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;
use crate::codec::resume::{ResumeRecord, Witness};
use crate::logic::disk::resume::{RecordTrust, TrustReason};
use crate::storage::files::StoredFiles;
use crate::storage::part_file::{self, Part};
use crate::storage::record::FoundRecord;
use crate::storage::{DiskTrouble, Snapshot};

impl Inner {
    /// The part file; `None` if no file needs one and none exists.
    pub(super) fn find_part(&self, files: &StoredFiles, state: &DiskState) -> Result<Option<Part>, DiskTrouble> {
        let is_wanted = |file: usize| self.config.select.as_ref().is_none_or(|select| select.get(file) == Some(&true));
        let exists = self.config.folder.join(part_file::path(self.info_hash)).exists();
        if !exists && (0..self.specs.len()).all(is_wanted) {
            return Ok(None);
        }
        let record = match state.load() {
            FoundRecord::Record(record, _) => Some(record),
            FoundRecord::Unusable(_) | FoundRecord::Nothing => None,
        };
        let (mut held, mut strayed) = (Vec::new(), Vec::new());
        for (file, spec) in self.specs.iter().enumerate() {
            let now = files.witness(file)?;
            let then = record.as_ref().and_then(|record| Some((record.files.get(file)?, record.clean)));
            let is_ours = now.zip(then).is_some_and(|(now, (then, clean))| is_same(then, &now, clean));
            held.push(!is_wanted(file) && !spec.padding && !is_ours);
            // Without a record a file with the right name is taken for the torrent's file, and hashed before it counts.
            strayed.push(is_wanted(file) && !spec.padding && !is_ours && (record.is_some() || now.is_none()));
        }
        Ok(Some(Part::new((self.info_hash, self.geometry, files.layout()), held, strayed)))
    }

    /// Removes pieces from `trust` that were in other files when the record was written: a file that is stored by
    /// itself now does not have them, and neither does a part file that has changed since. They are hashed again.
    pub(super) fn doubt_parts(
        &self,
        trust: &mut RecordTrust,
        record: Option<&ResumeRecord>,
        files: &StoredFiles,
        (witnesses, part_now): (&[Witness], &Witness),
    ) {
        let is_part_same = record
            .is_some_and(|record| is_same(&record.part, part_now, record.clean) && record.part.len <= part_now.len);
        let holds = |file| files.part().is_some_and(|part| part.holds(file));
        let layout = files.layout();
        let mut check: BTreeSet<PieceIndex> = trust.check.iter().copied().collect();
        for (file, now) in witnesses.iter().enumerate() {
            let is_empty_handed = !self.specs[file].padding && !holds(file) && *now == Witness::default();
            if is_empty_handed || (holds(file) && !is_part_same) {
                for piece in layout.file_range(file).into_iter().flat_map(|range| self.geometry.pieces_of(range)) {
                    if trust.have.clear(piece) {
                        check.insert(piece);
                    }
                }
            }
        }
        if trust.reason == TrustReason::Clean && check.len() > trust.check.len() {
            trust.reason = TrustReason::Reselected;
        }
        trust.check = check.into_iter().collect();
    }

    /// Whether the piece has the right hash with the bytes that the part file has of it. It must then be written to its
    /// own files before it counts.
    pub(super) fn is_strayed(&self, opened: &Opened, piece: PieceIndex) -> bool {
        let Some(_) = opened.files.part().filter(|part| part.has_strays()) else { return false };
        // A piece that cannot be read there is fetched again.
        self.read_strayed(opened, piece).is_ok_and(|bytes| bytes.is_some())
    }

    /// The bytes of a piece, with what the part file has of it; `None` if their hash is wrong.
    fn read_strayed(&self, opened: &Opened, piece: PieceIndex) -> Result<Option<Bytes>, DiskTrouble> {
        let mut bytes = vec![0; self.geometry.piece_len(piece) as usize];
        opened.files.read_strayed(self.geometry.piece_start(piece), &mut bytes)?;
        let is_right = <[u8; 20]>::from(Sha1::digest(&bytes)) == self.hashes.get(piece);
        Ok(is_right.then(|| bytes.into()))
    }

    /// Writes such pieces from the part file to their own files, and records them.
    pub(super) fn bring_in(&self, opened: &Opened, start: &Snapshot) -> Result<(), DiskTrouble> {
        let pieces = opened.strays();
        for piece in pieces.iter().filter(|piece| start.have.has(**piece)) {
            let bytes = self.read_strayed(opened, *piece)?.ok_or_else(|| {
                let path = opened.files.shown_path(opened.files.part_number());
                DiskTrouble::new("read", &path, &std::io::Error::other("it changed after it was checked"))
            })?;
            opened.files.write(self.geometry.piece_start(*piece), &[bytes])?;
        }
        if pieces.is_empty() { Ok(()) } else { self.persist(start) }
    }

    /// Removes the part file if no file needs it. Without a state folder of ours the file is left alone, because it may
    /// belong to another process.
    pub(super) fn drop_part(&self, opened: &Opened) {
        if opened.files.part().is_none_or(Part::is_needed) || opened.state.missing().is_some() {
            return;
        }
        let path = self.config.folder.join(part_file::path(self.info_hash));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::debug!(%error, "part file stays, nobody needs it");
            }
            _ => opened.looked.lock().part = Witness::default(),
        }
    }
}

impl Opened {
    /// Pieces that are right, but not yet in their own files.
    pub(super) fn strays(&self) -> BTreeSet<PieceIndex> {
        self.looked.lock().strays.clone()
    }
}

/// Marks in a record the files whose bytes are in the part file: this torrent does not own a file of that name.
pub(super) fn with_marks(mut witnesses: Vec<Witness>, files: &StoredFiles) -> Vec<Witness> {
    let held = |file: usize| files.part().is_some_and(|part| part.holds(file));
    witnesses
        .iter_mut()
        .enumerate()
        .filter(|(file, _)| held(*file))
        .for_each(|(_, witness)| *witness = Witness::NOT_OURS);
    witnesses
}

/// Replaces these marks by "the file does not exist".
pub(super) fn without_marks(mut record: ResumeRecord) -> ResumeRecord {
    record
        .files
        .iter_mut()
        .filter(|witness| **witness == Witness::NOT_OURS)
        .for_each(|witness| *witness = Witness::default());
    record
}

/// Adds to `has_data` the pieces that may have bytes in the part file.
pub(super) fn pieces_with_part(files: &StoredFiles, has_data: &mut Bitfield) -> Result<(), DiskTrouble> {
    let Some(part) = files.part() else { return Ok(()) };
    for range in files.data_extents(files.part_number())? {
        for piece in part.map.pieces_in(range) {
            has_data.set(piece);
        }
    }
    Ok(())
}

/// Whether it is the file that the record saw. After a clean stop the device number may have changed; after any other
/// stop this program may have written to the file.
fn is_same(then: &Witness, now: &Witness, clean: bool) -> bool {
    *then != Witness::default()
        && if clean {
            (then.len, then.ino, then.mtime_ns) == (now.len, now.ino, now.mtime_ns)
        } else {
            (then.dev, then.ino) == (now.dev, now.ino)
        }
}
