//! The check of the files after hashing and before the first write: do they belong to the torrent, and does no other
//! torrent use them?

use super::{Inner, Opened};
use crate::base::bitfield::Bitfield;
use crate::codec::resume::{ResumeRecord, Witness};
use crate::logic::disk::ownership::FoundFiles;
use crate::storage::file_entry::FileSpec;
use crate::storage::files::LockMode;
use crate::storage::{DiskTrouble, Durability, OpenTrouble, Snapshot};

impl Inner {
    /// Claims space and files, refuses files of other programs, saves the first record, makes the empty files, and
    /// moves pieces from the part file to their own files.
    pub(super) fn admit(&self, start: &Snapshot) -> Result<(), OpenTrouble> {
        let opened = self.opened();
        let wanted = self.wanted(opened);
        let is_met = wanted.is_met_by(&start.have);
        if !is_met {
            self.claim_room(opened, &wanted, &start.have)?;
            opened.state.require()?;
        }
        let mut in_place = start.clone();
        opened.strays().into_iter().for_each(|piece| _ = in_place.have.clear(piece));
        self.claim_files(opened, &in_place.have)?;
        self.refuse_strangers(opened, &in_place.have)?;
        self.save_first(&in_place, opened, is_met)?;
        opened.files.create_empty_files()?;
        self.bring_in(opened, start)?;
        self.drop_part(opened);
        Ok(())
    }

    /// Saves the first record. If everything is there already, a failure to save is not an error.
    fn save_first(&self, start: &Snapshot, opened: &Opened, is_met: bool) -> Result<(), DiskTrouble> {
        let saved = match opened.state.missing() {
            Some(trouble) => Err(trouble),
            None => self.harden_found(start, opened).and_then(|()| {
                opened.state.save(&self.record(start, opened), self.config.durability != Durability::Off)
            }),
        };
        match saved {
            Err(trouble) if is_met => {
                tracing::warn!(%trouble, "no state can be kept here, the next start hashes everything again");
                Ok(())
            }
            saved => saved,
        }
    }

    /// Claims the files for this torrent: alone if a wanted piece in them is missing, else only to read, so that other
    /// torrents may read them too (cross-seeding).
    fn claim_files(&self, opened: &Opened, have: &Bitfield) -> Result<(), OpenTrouble> {
        let layout = opened.files.layout();
        let pieces = |file| layout.file_range(file).into_iter().flat_map(|range| self.geometry.pieces_of(range));
        let mut missing = Bitfield::none(self.geometry.piece_count());
        for piece in (0..self.specs.len()).filter(|file| self.is_wanted(*file)).flat_map(pieces) {
            if !have.has(piece) {
                missing.set(piece);
            }
        }
        let is_in_place = |file: &usize| !self.specs[*file].padding && !opened.files.is_in_part_file(*file);
        for file in (0..self.specs.len()).filter(is_in_place) {
            let writes = self.config.may_write && pieces(file).any(|piece| missing.has(piece));
            opened.files.claim(file, writes)?;
            opened.files.lock(file, if writes { LockMode::Exclusive } else { LockMode::Shared })?;
        }
        Ok(())
    }

    /// Lets other torrents read the files if all wanted bytes are there.
    pub(super) fn ease_if_done(&self, opened: &Opened, have: &Bitfield) {
        let layout = opened.files.layout();
        let wanted =
            (0..self.specs.len()).filter(|file| self.is_wanted(*file)).filter_map(|file| layout.file_range(file));
        if wanted.flat_map(|range| self.geometry.pieces_of(range)).all(|piece| have.has(piece)) {
            opened.files.ease_claims();
        }
    }

    /// Whether the file is selected.
    fn is_wanted(&self, file: usize) -> bool {
        self.config.select.as_ref().is_none_or(|select| select.get(file) == Some(&true))
    }

    /// Refuses files that are not the torrent's. A file that is the torrent's by our record but has grown is cut to its
    /// length. A file that no record claims is not changed.
    fn refuse_strangers(&self, opened: &Opened, have: &Bitfield) -> Result<(), OpenTrouble> {
        let strangers = opened.looked.lock().strangers.clone();
        let lens: Vec<_> = (0..self.specs.len()).map(|file| opened.files.known(file).len).collect();
        let found = FoundFiles { geometry: &self.geometry, layout: opened.files.layout(), right: have, lens: &lens };
        for (file, spec) in self.specs.iter().enumerate() {
            if spec.padding || opened.files.is_in_part_file(file) {
                continue;
            }
            let (len, path) = (lens[file], opened.files.shown_path(file));
            let (is_stranger, is_long) = (strangers.contains(&file), len > spec.len);
            if !is_stranger && !is_long {
                continue;
            }
            if is_long && !self.config.may_write {
                return Err(OpenTrouble::TooLong { path, len, should: spec.len });
            }
            let belongs = found.belongs(file);
            let why = match (belongs, is_long) {
                (true, false) => continue,
                (false, false) => "nothing in it belongs to this torrent".to_owned(),
                (_, true) => format!("it is {len} bytes long and the torrent's file is {}", spec.len),
            };
            if !self.config.overwrite && (is_stranger || !belongs) {
                return Err(OpenTrouble::WouldOverwrite { path, why });
            }
            if is_long {
                tracing::info!(path = %path.display(), len, should = spec.len, "file is longer than the torrent's, it is cut");
                opened.files.truncate(file)?;
            }
        }
        Ok(())
    }
}

/// The files that hold bytes and that no record claims: the record has not seen their inode, and the file was not
/// absent when the record was written. A file that appeared after our record is ours, because the record is written
/// before the first file is made.
pub(super) fn strangers(record: Option<&ResumeRecord>, witnesses: &[Witness], specs: &[FileSpec]) -> Vec<usize> {
    let claimed = |file: usize, now: &Witness| {
        let known = record.and_then(|record| record.files.get(file));
        known.is_some_and(|then| *then == Witness::default() || (then.ino == now.ino && then.dev == now.dev))
    };
    let is_stranger = |file: usize, now: &Witness| now.len > 0 && !claimed(file, now) && !specs[file].padding;
    witnesses.iter().enumerate().filter(|(file, now)| is_stranger(*file, now)).map(|(file, _)| file).collect()
}
