//! Hashing what is on the disk against the torrent.

use std::ops::Range;

use sha1::{Digest, Sha1};

use super::files::Files;
use super::trouble::{DiskTrouble, TroubleKind};
use crate::base::geometry::{Geometry, PieceIndex};
use crate::codec::metainfo::PieceHashes;

/// 1 MiB: one read in flight stays in the second-level cache while it is hashed.
const READ_LEN: usize = 1024 * 1024;

/// Does the piece on the disk hash right? A file that is missing or too short is `false`, not trouble.
pub fn piece_is_right(
    files: &Files,
    geometry: &Geometry,
    hashes: &PieceHashes,
    piece: PieceIndex,
) -> Result<bool, DiskTrouble> {
    match hash_of_piece(files, geometry, piece) {
        Ok(hash) => Ok(hash == hashes.get(piece)),
        Err(trouble) if trouble.kind == TroubleKind::Missing => Ok(false),
        Err(trouble) => Err(trouble),
    }
}

/// The SHA-1 of a piece as it is on the disk.
fn hash_of_piece(files: &Files, geometry: &Geometry, piece: PieceIndex) -> Result<[u8; 20], DiskTrouble> {
    let mut hasher = Sha1::new();
    let start = geometry.piece_start(piece);
    let end = start + u64::from(geometry.piece_len(piece));
    let mut buffer = vec![0; READ_LEN.min(geometry.piece_len(piece) as usize)];
    let mut at = start;
    while at < end {
        let len = usize::try_from(end - at).unwrap_or(READ_LEN).min(READ_LEN);
        files.read(at, &mut buffer[..len])?;
        hasher.update(&buffer[..len]);
        at += len as u64;
    }
    Ok(hasher.finalize().into())
}

/// The SHA-1 of `len` zeros: what a piece that is one hole reads as.
pub fn hash_of_zeros(len: u32) -> [u8; 20] {
    let mut hasher = Sha1::new();
    let zeros = [0; 16 * 1024];
    let mut left = len as usize;
    while left > 0 {
        let part = left.min(zeros.len());
        hasher.update(&zeros[..part]);
        left -= part;
    }
    hasher.finalize().into()
}

/// The parts of the torrent that may have data on the disk, as ranges of the torrent's bytes, ascending.
pub fn data_ranges(files: &Files) -> Result<Vec<Range<u64>>, DiskTrouble> {
    let mut ranges = Vec::new();
    let mut offset = 0;
    for (file, spec) in files.specs().iter().enumerate() {
        if !spec.padding && spec.len > 0 {
            for extent in files.data_extents(file)? {
                let (start, end) = (extent.start.min(spec.len), extent.end.min(spec.len));
                if start < end {
                    ranges.push(offset + start..offset + end);
                }
            }
        }
        offset += spec.len;
    }
    Ok(ranges)
}
