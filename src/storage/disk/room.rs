//! Is there room for what will be written? This is asked before the first write, so that a download that cannot finish
//! does not begin.

use super::{Inner, Opened};
use crate::base::bitfield::Bitfield;
use crate::logic::torrent::selection::WantedPieces;
use crate::storage::{DiskTrouble, PieceJob, TroubleKind};

impl Inner {
    /// The pieces that are wanted, by the selection.
    pub(super) fn wanted(&self, opened: &Opened) -> WantedPieces {
        let of_files = |select: &Vec<bool>| WantedPieces::of_files(&self.geometry, opened.files.layout(), select);
        self.config.select.as_ref().map_or_else(|| WantedPieces::everything(&self.geometry), of_files)
    }

    /// Claims the space that is needed. Fails with the needed and the free bytes if there is not enough. If the free
    /// bytes cannot be determined, the disk is assumed to be large enough.
    pub(super) fn claim_room(
        &self,
        opened: &Opened,
        wanted: &WantedPieces,
        have: &Bitfield,
    ) -> Result<(), DiskTrouble> {
        let need = self.need(opened, wanted, have)?;
        let folder = opened.files.folder();
        let (Some(device), Some(free)) = (folder.device(), opened.files.free()) else { return Ok(()) };
        let mut claim = opened.claim.lock();
        // The old claim ends only after the new one is made, which replaces it.
        match self.config.room.claim(device, self.info_hash, need, free) {
            Ok(new) => *claim = Some(new),
            Err(needed) => {
                let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
                let trouble = DiskTrouble::new("write", folder.path(), &full);
                return Err(DiskTrouble { space: Some((free, needed)), ..trouble });
            }
        }
        Ok(())
    }

    /// Bytes that still need space on the disk: those to be fetched, but not more than the wanted files lack on the
    /// disk.
    fn need(&self, opened: &Opened, wanted: &WantedPieces, have: &Bitfield) -> Result<u64, DiskTrouble> {
        let to_fetch = wanted.bytes().saturating_sub(wanted.bytes_had(&self.geometry, have));
        let is_wanted = |file: usize| self.config.select.as_ref().is_none_or(|select| select.get(file) == Some(&true));
        let mut without_place = 0;
        for (file, spec) in self.specs.iter().enumerate().filter(|(_, spec)| to_fetch > 0 && !spec.padding) {
            if is_wanted(file) {
                without_place += spec.len.saturating_sub(opened.files.allocated(file)?);
            }
        }
        Ok(to_fetch.min(without_place))
    }

    /// Reduces the claim by what was written.
    pub(super) fn note_room(&self, jobs: &[PieceJob], is_right: &[bool], written: &[Result<(), DiskTrouble>]) {
        let pieces = jobs.iter().zip(is_right).zip(written).filter(|((_, right), written)| **right && written.is_ok());
        let bytes = self.geometry.len_of(pieces.map(|((job, _), _)| job.piece));
        if let Some(claim) = &*self.opened().claim.lock() {
            claim.on_written(bytes);
        }
    }

    /// Completes the error of a full disk: the user must make room for all that is still to be written, not only for
    /// the write that failed.
    pub(super) fn with_need(&self, opened: &Opened, trouble: DiskTrouble) -> DiskTrouble {
        let (TroubleKind::Full, Some((free, wanted))) = (trouble.kind, trouble.space) else { return trouble };
        let needed = opened.files.folder().device().map_or(0, |device| self.config.room.needed(device));
        DiskTrouble { space: Some((free, wanted.max(needed))), ..trouble }
    }
}
