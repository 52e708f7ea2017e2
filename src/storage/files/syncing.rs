//! Makes written bytes durable, and returns the state of the files at that time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::super::part_file::Part;
use super::super::trouble::{DiskTrouble, SYNC, TroubleKind};
use super::StoredFiles;
use crate::codec::resume::Witness;

impl StoredFiles {
    /// Makes everything written since the last call durable: data, then the entries of folders with new files. Returns
    /// the files concerned, and their witnesses now.
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

    /// Makes these bytes durable, including those that another process has written, with the entries of the folders of
    /// their files.
    pub fn sync_bytes_of(&self, ranges: impl IntoIterator<Item = Range<u64>>) -> Result<(), DiskTrouble> {
        let places =
            ranges.into_iter().flat_map(|range| self.places(range.start, range.end - range.start, Part::holds));
        let files: BTreeSet<usize> = places.map(|span| span.file).filter(|file| !self.spec(*file).padding).collect();
        let folders = files.iter().flat_map(|file| self.spec(*file).path.ancestors().skip(1));
        let folders = folders.map(Path::to_path_buf).collect();
        self.sync_these(&files, &folders).map(drop)
    }

    /// Does not sync, for a configuration that leaves durability to the system. Returns the same as [`Self::sync`].
    pub fn forgo_sync(&self) -> Result<BTreeMap<usize, Witness>, DiskTrouble> {
        let touched = {
            let mut unsynced = self.unsynced.lock();
            unsynced.new_entries.clear();
            std::mem::take(&mut unsynced.touched)
        };
        Ok(touched.into_iter().map(|file| (file, self.to_record(file))).collect())
    }

    /// Syncs these files and these folders' entries. Returns the files' witnesses.
    fn sync_these(
        &self,
        touched: &BTreeSet<usize>,
        entries: &BTreeSet<PathBuf>,
    ) -> Result<BTreeMap<usize, Witness>, DiskTrouble> {
        let mut seen = BTreeMap::new();
        for file in touched {
            let handle = match self.readable(*file) {
                // Another program has removed the file: nothing can be made durable, and its bytes are in doubt.
                Err(trouble) if trouble.kind == TroubleKind::Missing => {
                    self.tracked[*file].with(|watch| watch.on_seen(Witness::default()));
                    seen.insert(*file, Witness::default());
                    continue;
                }
                opened => opened?,
            };
            handle.file.sync_data().map_err(|error| self.trouble(SYNC, *file, &error, 0))?;
            // By its name: the bytes of a file that was moved away must not be recorded.
            self.look_by_name(*file)?;
            seen.insert(*file, self.to_record(*file));
        }
        for dir in entries {
            let shown = self.folder.path().join(dir);
            match self.folder.sync_dir(dir) {
                // The folder was moved away or removed, and what was in it is in doubt.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced.map_err(|error| DiskTrouble::new(SYNC, &shown, &error))?,
            }
        }
        Ok(seen)
    }

    /// The witness of a file for the record. A file of another program is not recorded as ours.
    fn to_record(&self, file: usize) -> Witness {
        self.tracked[file].with(|watch| watch.to_record())
    }
}
