//! Making what was written durable, and saying what the files look like then.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::super::part_file::Part;
use super::super::trouble::{DiskTrouble, SYNC, TroubleKind};
use super::StoredFiles;
use crate::codec::resume::Witness;

impl StoredFiles {
    /// Makes everything written since the last call durable: data, then the entries of folders that got new files. Says
    /// which files those were, and what they look like now.
    pub fn sync(&self) -> Result<BTreeMap<usize, Witness>, DiskTrouble> {
        let (touched, entries) = {
            let mut unsynced = self.unsynced.lock();
            (std::mem::take(&mut unsynced.touched), std::mem::take(&mut unsynced.new_entries))
        };
        self.sync_these(&touched, &entries).inspect_err(|_| {
            let mut unsynced = self.unsynced.lock();
            unsynced.touched.extend(touched);
            unsynced.new_entries.extend(entries);
        })
    }

    /// Makes these bytes durable, whoever wrote them, with the entries of the folders that hold their files.
    pub fn sync_bytes_of(&self, ranges: impl IntoIterator<Item = Range<u64>>) -> Result<(), DiskTrouble> {
        let places =
            ranges.into_iter().flat_map(|range| self.places(range.start, range.end - range.start, Part::holds));
        let files: BTreeSet<usize> = places.map(|span| span.file).filter(|file| !self.spec(*file).padding).collect();
        let folders = files.iter().flat_map(|file| self.spec(*file).path.ancestors().skip(1));
        let folders = folders.map(Path::to_path_buf).collect();
        self.sync_these(&files, &folders).map(drop)
    }

    /// As [`Self::sync`] for whoever leaves durability to the system: only says which files, and what they look like.
    pub fn forgo_sync(&self) -> Result<BTreeMap<usize, Witness>, DiskTrouble> {
        let touched = {
            let mut unsynced = self.unsynced.lock();
            unsynced.new_entries.clear();
            std::mem::take(&mut unsynced.touched)
        };
        Ok(touched.into_iter().map(|file| (file, self.to_record(file))).collect())
    }

    fn sync_these(
        &self,
        touched: &BTreeSet<usize>,
        entries: &BTreeSet<PathBuf>,
    ) -> Result<BTreeMap<usize, Witness>, DiskTrouble> {
        let mut seen = BTreeMap::new();
        for file in touched {
            let handle = match self.readable(*file) {
                // Somebody has removed it: there is nothing to be made durable, and what was there is in doubt.
                Err(trouble) if trouble.kind == TroubleKind::Missing => {
                    self.tracked[*file].with(|watch| watch.on_seen(Witness::default()));
                    seen.insert(*file, Witness::default());
                    continue;
                }
                opened => opened?,
            };
            handle.file.sync_data().map_err(|error| self.trouble(SYNC, *file, &error, 0))?;
            // By its name: bytes in a file that was moved away are on record for nobody.
            self.look_by_name(*file)?;
            seen.insert(*file, self.to_record(*file));
        }
        for dir in entries {
            let shown = self.folder.path().join(dir);
            match self.folder.sync_dir(dir) {
                // It was moved away or removed, and what was in it is in doubt.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced.map_err(|error| DiskTrouble::new(SYNC, &shown, &error))?,
            }
        }
        Ok(seen)
    }

    /// What the record is to say of a file: not that another's file is ours.
    fn to_record(&self, file: usize) -> Witness {
        self.tracked[file].with(|watch| watch.to_record())
    }
}
