//! I1 from outside: compares the pieces that the client's records claim with the payload.
//!
//! It reads the records by their documented format (`codec::resume`). Whether the client would trust a record does not
//! matter: every intact record must be true.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::base::geometry::{Geometry, PieceIndex};
use crate::codec::resume::ResumeRecord;
use crate::faults::payload::Payload;
use crate::faults::scenario::RefereeVerdict;
use crate::faults::torrent::Offer;

/// The state folder, below the output folder.
const STATE: &str = ".tt-actors";

/// Returns the path of the newest record of this torrent.
pub fn newest(out: &Path, offer: &Offer) -> PathBuf {
    out.join(STATE).join(format!("{}.resume", offer.info_hash))
}

/// Returns the path of the record before the newest.
pub fn previous(out: &Path, offer: &Offer) -> PathBuf {
    newest(out, offer).with_extension("resume.prev")
}

/// Returns how many pieces the newest intact record claims; none without a record. A claimed piece that is not there
/// breaks I1.
pub fn judge(out: &Path, files: &[(PathBuf, u64)], offer: &Offer, payload: Payload) -> Result<u32, RefereeVerdict> {
    let mut claimed = None;
    for path in [newest(out, offer), previous(out, offer)] {
        let Some(record) = std::fs::read(&path).ok().and_then(|bytes| ResumeRecord::decode(&bytes).ok()) else {
            continue;
        };
        for piece in record.have.pieces(&offer.geometry) {
            if let Err(how) = is_there(out, files, &offer.geometry, payload, piece) {
                return Err(RefereeVerdict::Broke {
                    invariant: "I1",
                    how: format!("{} has piece {piece}: {how}", path.display()),
                });
            }
        }
        claimed.get_or_insert(record.have.ones());
    }
    Ok(claimed.unwrap_or(0))
}

fn is_there(
    out: &Path,
    files: &[(PathBuf, u64)],
    geometry: &Geometry,
    payload: Payload,
    piece: PieceIndex,
) -> Result<(), String> {
    let (start, len) = (geometry.piece_start(piece), geometry.piece_len(piece));
    let found = read(out, files, start, len as usize).map_err(|error| error.to_string())?;
    let want = payload.read(start, len as usize);
    match want.iter().zip(&found).position(|(want, found)| want != found) {
        None => Ok(()),
        Some(at) => Err(format!("the disk has other bytes from byte {at} of it on")),
    }
}

/// Returns a range of the torrent's bytes, read from the files.
fn read(out: &Path, files: &[(PathBuf, u64)], start: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut found = vec![0; len];
    let end = start + len as u64;
    let mut file_start = 0;
    for (path, file_len) in files {
        let file_end = file_start + file_len;
        let (from, to) = (start.max(file_start), end.min(file_end));
        if from < to {
            let part = |at: u64| usize::try_from(at - start).expect("a piece fits into memory");
            File::open(out.join(path))?.read_exact_at(&mut found[part(from)..part(to)], from - file_start)?;
        }
        file_start = file_end;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bitfield::Bitfield;
    use crate::codec::resume::Witness;
    use crate::faults::torrent::Recipe;

    #[test]
    fn a_false_record_is_caught_and_a_torn_one_claims_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let payload = Payload::new(3, 100);
        let offer = Recipe::folder("d", &[("a", 30), ("b", 70)], 16, &[]).make(payload).unwrap().offer;
        let files = [(PathBuf::from("a"), 30), (PathBuf::from("b"), 70)];
        std::fs::write(dir.path().join("a"), payload.read(0, 30)).unwrap();
        std::fs::write(dir.path().join("b"), payload.read(30, 70)).unwrap();
        std::fs::create_dir(dir.path().join(STATE)).unwrap();
        let judged = || judge(dir.path(), &files, &offer, payload);
        assert_eq!(judged(), Ok(0));
        let record = ResumeRecord {
            info_hash: offer.info_hash,
            pieces: 7,
            have: Bitfield::all(7),
            files: Vec::new(),
            part: Witness::default(),
            downloaded: 0,
            uploaded: 0,
            clean: false,
        };
        std::fs::write(newest(dir.path(), &offer), record.encode()).unwrap();
        assert_eq!(judged(), Ok(7));
        std::fs::write(dir.path().join("b"), payload.read(31, 70)).unwrap();
        let Err(RefereeVerdict::Broke { invariant: "I1", how }) = judged() else { panic!("it lies") };
        assert!(how.contains("has piece 1: the disk has other bytes from byte 14"), "{how}");
        std::fs::rename(newest(dir.path(), &offer), previous(dir.path(), &offer)).unwrap();
        assert!(judged().is_err(), "the one before has to be true as well");
        std::fs::write(previous(dir.path(), &offer), "torn").unwrap();
        assert_eq!(judged(), Ok(0));
    }
}
