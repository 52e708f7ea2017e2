//! The part file over the runs of a torrent: which files' bytes are in it, what of them may be believed, and how they get
//! into their own files when these are wanted after all.
//!
//! A file that is not wanted has its bytes in the part file, unless the record knows it as a file of ours: then it stays
//! what it is. Bytes of a file that is wanted now are looked for in the part file when its own do not hash right; pieces that
//! are right with them are written to where they belong, before the record says that they are there.

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
    /// The part file, if some file needs one or there is one.
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
            // Without a record whatever has the file's name is taken for it, and hashed before it counts.
            strayed.push(is_wanted(file) && !spec.padding && !is_ours && (record.is_some() || now.is_none()));
        }
        Ok(Some(Part::new((self.info_hash, self.geometry, files.layout()), held, strayed)))
    }

    /// What the record says is had was had where the bytes lay then: a file that has got a place of its own since has
    /// none of them, and what lay in the part file went with it.
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

    /// Is the piece right with what the part file has of it? Then it is to be brought in before it counts.
    pub(super) fn is_strayed(&self, opened: &Opened, piece: PieceIndex) -> bool {
        let Some(_) = opened.files.part().filter(|part| part.has_strays()) else { return false };
        // What cannot be read there is fetched again.
        self.read_strayed(opened, piece).is_ok_and(|bytes| bytes.is_some())
    }

    fn read_strayed(&self, opened: &Opened, piece: PieceIndex) -> Result<Option<Bytes>, DiskTrouble> {
        let mut bytes = vec![0; self.geometry.piece_len(piece) as usize];
        opened.files.read_strayed(self.geometry.piece_start(piece), &mut bytes)?;
        let is_right = <[u8; 20]>::from(Sha1::digest(&bytes)) == self.hashes.get(piece);
        Ok(is_right.then(|| bytes.into()))
    }

    /// Writes pieces to where they belong, from the part file, and records them.
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

    /// Every file has its bytes: the part file goes. Not where there is no state: whose folder that is nobody knows.
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
    /// Pieces that are right, but not yet where they belong.
    pub(super) fn strays(&self) -> BTreeSet<PieceIndex> {
        self.looked.lock().strays.clone()
    }
}

/// For the record: files whose bytes are in the part file are not ours, whatever is in their place.
pub(super) fn with_marks(mut witnesses: Vec<Witness>, files: &StoredFiles) -> Vec<Witness> {
    let held = |file: usize| files.part().is_some_and(|part| part.holds(file));
    witnesses
        .iter_mut()
        .enumerate()
        .filter(|(file, _)| held(*file))
        .for_each(|(_, witness)| *witness = Witness::NOT_OURS);
    witnesses
}

/// What is not ours is not there.
pub(super) fn without_marks(mut record: ResumeRecord) -> ResumeRecord {
    record
        .files
        .iter_mut()
        .filter(|witness| **witness == Witness::NOT_OURS)
        .for_each(|witness| *witness = Witness::default());
    record
}

/// The pieces that may have something in the part file.
pub(super) fn pieces_with_part(files: &StoredFiles, has_data: &mut Bitfield) -> Result<(), DiskTrouble> {
    let Some(part) = files.part() else { return Ok(()) };
    for range in files.data_extents(files.part_number())? {
        for piece in part.map.pieces_in(range) {
            has_data.set(piece);
        }
    }
    Ok(())
}

/// Is it the file that the record saw? After a clean stop the device number may have been dealt anew; after any other we
/// may have written on.
fn is_same(then: &Witness, now: &Witness, clean: bool) -> bool {
    *then != Witness::default()
        && if clean {
            (then.len, then.ino, then.mtime_ns) == (now.len, now.ino, now.mtime_ns)
        } else {
            (then.dev, then.ino) == (now.dev, now.ino)
        }
}
