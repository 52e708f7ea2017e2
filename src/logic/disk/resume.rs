//! Which part of a resume record to trust: the pieces that we have, and those that must be hashed first.
//!
//! A record is trusted for files that are unchanged since it was written. Files that another program changed are
//! hashed, and missing files are not had (D-09). A missing record means "check what is there first", never "start
//! over" (D-13, D-14). If the whole storage seems to be missing, nothing is concluded (D-10). This module knows
//! records, lengths and file facts, and reads no disk.

use std::fmt;

use crate::base::bitfield::Bitfield;
use crate::base::geometry::{Geometry, PieceIndex};
use crate::base::ids::InfoHash;
use crate::codec::resume::{BadRecord, ResumeRecord, Witness};
use crate::logic::disk::layout::Layout;

/// The torrent to which the record should belong.
#[derive(Debug, Clone, Copy)]
pub struct RecordedTorrent<'a> {
    /// Its info-hash.
    pub info_hash: InfoHash,
    /// Its piece sizes.
    pub geometry: &'a Geometry,
    /// Its files.
    pub layout: &'a Layout,
}

/// What is on the disk now.
#[derive(Debug, Clone, Copy)]
pub struct Present<'a> {
    /// Each file, in the order of the torrent; all zeros for a file that does not exist. Files missing at the end of
    /// the list count as absent.
    pub files: &'a [Witness],
    /// The device that holds the output folder. `None`: the folder does not exist.
    pub folder_dev: Option<u64>,
}

/// The part of a record that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordTrust {
    /// The pieces that we have without hashing them.
    pub have: Bitfield,
    /// Pieces to hash before anything is downloaded or written over them, in ascending order. None of them is in
    /// `have`.
    pub check: Vec<PieceIndex>,
    /// Why this much is trusted.
    pub reason: TrustReason,
}

/// How the files of a torrent are to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OpenMode {
    /// What the record says of files that are unchanged is believed.
    #[default]
    TrustRecord,
    /// No record is believed: everything is hashed.
    Recheck,
}

/// Why this much is trusted and no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustReason {
    /// There is no record and no data: a new download.
    Fresh,
    /// There is no record, but there are files: data of another program, or ours with a lost record.
    NoRecord,
    /// The record cannot be read: it is torn, damaged, or of another version.
    BadRecord(String),
    /// The record belongs to another torrent, or to this one with other sizes.
    Foreign,
    /// Nothing has changed since a clean stop.
    Clean,
    /// Nothing has changed, but other files are selected than before.
    Reselected,
    /// Nothing was changed from outside since the record was last written. Pieces written after that are downloaded
    /// again.
    Unclean,
    /// Some files were changed, cut or removed from outside.
    Changed {
        /// The number of these files.
        files: usize,
    },
    /// A user asked for everything to be hashed.
    Requested,
    /// Every file is missing and the folder is on another device or missing too. Nothing may be written or downloaded
    /// until the storage is back. `have` is what the record says.
    MissingStorage,
}

impl fmt::Display for TrustReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fresh => f.write_str("nothing there yet"),
            Self::NoRecord => f.write_str("files without a record: checking them first"),
            Self::BadRecord(why) => write!(f, "the record is unusable ({why}): checking the files first"),
            Self::Foreign => f.write_str("the record is of another torrent: checking the files first"),
            Self::Clean => f.write_str("as it was left"),
            Self::Reselected => f.write_str("other files are selected than before: looking for what is there of them"),
            Self::Unclean => f.write_str("stopped without warning: going on from the last record"),
            Self::Changed { files: 1 } => f.write_str("1 file changed outside: checking it"),
            Self::Changed { files } => write!(f, "{files} files changed outside: checking them"),
            Self::Requested => f.write_str("checking the files again, as asked"),
            Self::MissingStorage => f.write_str("the storage is missing: the files and their device are away"),
        }
    }
}

/// The record to write while pieces are in doubt: it claims none of them, and makes the next start examine their
/// files.
pub fn without_doubts(
    mut record: ResumeRecord,
    doubts: impl IntoIterator<Item = PieceIndex>,
    torrent: RecordedTorrent<'_>,
) -> ResumeRecord {
    for piece in doubts {
        if record.have.clear(piece) {
            let len = torrent.geometry.piece_len(piece).into();
            for span in torrent.layout.spans(torrent.geometry.piece_start(piece), len) {
                record.files.get_mut(span.file).into_iter().for_each(doubt);
                doubt(&mut record.part);
            }
        }
    }
    record
}

/// Sets a time of change that no file ever has, so that the file looks changed at the next start.
fn doubt(witness: &mut Witness) {
    if exists(witness) && *witness != Witness::NOT_OURS {
        witness.mtime_ns = i64::MIN;
    }
}

/// How a file compares with the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Unchanged.
    Same,
    /// The file existed, and does not any more.
    Gone,
    /// The file was replaced, written to, cut or created.
    Touched,
}

/// Decides which part of a record to trust. `record` is `None` if there is none.
pub fn trust(
    record: Option<Result<&ResumeRecord, &BadRecord>>,
    torrent: RecordedTorrent<'_>,
    present: Present<'_>,
) -> RecordTrust {
    let is_there = present.files.iter().take(torrent.layout.file_count()).any(exists);
    match record {
        None if !is_there => trust_nothing(torrent, present, TrustReason::Fresh),
        None => trust_nothing(torrent, present, TrustReason::NoRecord),
        Some(Err(bad)) => trust_nothing(torrent, present, TrustReason::BadRecord(bad.to_string())),
        Some(Ok(record)) if !is_of(record, torrent) => trust_nothing(torrent, present, TrustReason::Foreign),
        Some(Ok(record)) if is_storage_missing(record, present) => {
            RecordTrust { have: record.have.clone(), check: Vec::new(), reason: TrustReason::MissingStorage }
        }
        Some(Ok(record)) => trust_record(record, torrent, present),
    }
}

/// Whether the record belongs to this torrent.
fn is_of(record: &ResumeRecord, torrent: RecordedTorrent<'_>) -> bool {
    record.info_hash == torrent.info_hash
        && record.pieces == torrent.geometry.piece_count()
        && record.have.piece_count() == record.pieces
        && record.files.len() == torrent.layout.file_count()
}

/// D-10: files existed and none exists now, and their folder is on another device or missing.
fn is_storage_missing(record: &ResumeRecord, present: Present<'_>) -> bool {
    let mut then = record.files.iter().filter(|witness| exists(witness)).peekable();
    let is_elsewhere = |witness: &Witness| present.folder_dev != Some(witness.dev);
    then.peek().is_some() && then.all(is_elsewhere) && !present.files.iter().any(exists)
}

/// Trusts nothing: every piece with a byte on the disk is hashed.
fn trust_nothing(torrent: RecordedTorrent<'_>, present: Present<'_>, reason: TrustReason) -> RecordTrust {
    let none = Bitfield::none(torrent.geometry.piece_count());
    let mut check = none.clone();
    for file in 0..torrent.layout.file_count() {
        mark(&mut check, torrent, file, present.file(file).len);
    }
    RecordTrust { have: none, check: check.pieces(torrent.geometry).collect(), reason }
}

fn trust_record(record: &ResumeRecord, torrent: RecordedTorrent<'_>, present: Present<'_>) -> RecordTrust {
    let count = torrent.geometry.piece_count();
    let (mut doubtful, mut gone, mut changed) = (Bitfield::none(count), Bitfield::none(count), 0);
    for (file, then) in record.files.iter().enumerate() {
        let now = present.file(file);
        match standing(then, &now, record.clean) {
            Standing::Same => continue,
            Standing::Touched => mark(&mut doubtful, torrent, file, now.len),
            Standing::Gone => {}
        }
        // Bytes that a file no longer holds are missing, whatever the rest of their piece is.
        mark_beyond(&mut gone, torrent, file, now.len);
        changed += 1;
    }
    let (mut have, mut check) = (record.have.clone(), doubtful.clone());
    for number in gone.iter_ones().chain(doubtful.iter_ones()) {
        let Some(piece) = torrent.geometry.piece(number) else { continue };
        have.clear(piece);
        if gone.has(piece) {
            check.clear(piece);
        }
    }
    let reason = match (changed, record.clean) {
        (0, true) => TrustReason::Clean,
        (0, false) => TrustReason::Unclean,
        (files, _) => TrustReason::Changed { files },
    };
    RecordTrust { have, check: check.pieces(torrent.geometry).collect(), reason }
}

/// Compares a file with the record. After a clean stop only the device number may differ: a reboot assigns these anew,
/// and length, inode and time of change together are proof enough. After any other stop we may have written more
/// ourselves, so the file may have grown and the time proves nothing; then device and inode must be the same.
fn standing(then: &Witness, now: &Witness, clean: bool) -> Standing {
    let is_same = if clean {
        (then.len, then.ino, then.mtime_ns) == (now.len, now.ino, now.mtime_ns)
    } else {
        (then.dev, then.ino) == (now.dev, now.ino) && then.len <= now.len
    };
    match (exists(then), exists(now)) {
        (false, false) => Standing::Same,
        (true, false) => Standing::Gone,
        (true, true) if is_same => Standing::Same,
        _ => Standing::Touched,
    }
}

/// Marks the pieces with a byte among the first `len` bytes of the file.
fn mark(pieces: &mut Bitfield, torrent: RecordedTorrent<'_>, file: usize, len: u64) {
    let Some(range) = torrent.layout.file_range(file) else { return };
    let end = range.end.min(range.start.saturating_add(len));
    torrent.geometry.pieces_of(range.start..end).for_each(|piece| _ = pieces.set(piece));
}

/// Marks the pieces with a byte of the file beyond its first `len` bytes.
fn mark_beyond(pieces: &mut Bitfield, torrent: RecordedTorrent<'_>, file: usize, len: u64) {
    let Some(range) = torrent.layout.file_range(file) else { return };
    let start = range.start.saturating_add(len).min(range.end);
    torrent.geometry.pieces_of(start..range.end).for_each(|piece| _ = pieces.set(piece));
}

/// Whether the witness is of an existing file.
fn exists(witness: &Witness) -> bool {
    *witness != Witness::default()
}

impl Present<'_> {
    /// The present state of a file.
    fn file(&self, file: usize) -> Witness {
        self.files.get(file).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: InfoHash = InfoHash([7; 20]);
    const ABSENT: Witness = Witness { len: 0, dev: 0, ino: 0, mtime_ns: 0 };

    fn file(len: u64, ino: u64) -> Witness {
        Witness { len, dev: 1, ino, mtime_ns: 1000 }
    }

    /// Three files of 25, 10 and 15 bytes in pieces of 10. Piece 2 lies in the first two files, piece 3 in the last
    /// two.
    fn ground() -> (Geometry, Layout) {
        (Geometry::new(50, 10).unwrap(), Layout::new([25, 10, 15]))
    }

    fn present() -> Vec<Witness> {
        vec![file(25, 1), file(10, 2), file(15, 3)]
    }

    fn record(clean: bool) -> ResumeRecord {
        ResumeRecord {
            info_hash: HASH,
            pieces: 5,
            have: Bitfield::all(5),
            files: present(),
            part: ABSENT,
            downloaded: 0,
            uploaded: 0,
            clean,
        }
    }

    /// The pieces that we have, the pieces to check, and the reason.
    fn judge(
        record: Option<Result<&ResumeRecord, &BadRecord>>,
        files: &[Witness],
        dev: Option<u64>,
    ) -> (Vec<u32>, Vec<u32>, TrustReason) {
        let (geometry, layout) = ground();
        let torrent = RecordedTorrent { info_hash: HASH, geometry: &geometry, layout: &layout };
        let trust = trust(record, torrent, Present { files, folder_dev: dev });
        let check = trust.check.iter().map(|piece| piece.get()).collect();
        (trust.have.iter_ones().collect(), check, trust.reason)
    }

    /// What happened to the files since the record was written, whether the stop was clean, and what follows.
    type Row = (&'static str, fn(&mut Vec<Witness>), bool, &'static [u32], &'static [u32], TrustReason);

    /// D-09, D-12: files that another program changed.
    #[test]
    fn a_record_is_trusted_for_unchanged_files() {
        let changed = |files| TrustReason::Changed { files };
        let table: &[Row] = &[
            ("nothing", |_| {}, true, &[0, 1, 2, 3, 4], &[], TrustReason::Clean),
            ("nothing, after a crash", |_| {}, false, &[0, 1, 2, 3, 4], &[], TrustReason::Unclean),
            ("removed", |f| f[1] = ABSENT, true, &[0, 1, 4], &[], changed(1)),
            ("all removed", |f| f.fill(ABSENT), true, &[], &[], changed(3)),
            ("cut", |f| f[0].len = 12, true, &[3, 4], &[0], changed(1)),
            ("cut, after a crash", |f| f[0].len = 12, false, &[3, 4], &[0], changed(1)),
            ("cut to nothing", |f| f[2].len = 0, true, &[0, 1, 2], &[], changed(1)),
            ("grown", |f| f[2].len = 99, true, &[0, 1, 2], &[3, 4], changed(1)),
            (
                "grown, by ourselves before the crash",
                |f| f[2].len = 99,
                false,
                &[0, 1, 2, 3, 4],
                &[],
                TrustReason::Unclean,
            ),
            ("replaced", |f| f[0].ino = 9, true, &[3, 4], &[0, 1, 2], changed(1)),
            ("replaced, after a crash", |f| f[0].ino = 9, false, &[3, 4], &[0, 1, 2], changed(1)),
            ("written to", |f| f[1].mtime_ns += 1, true, &[0, 1, 4], &[2, 3], changed(1)),
            ("written to, by ourselves", |f| f[1].mtime_ns += 1, false, &[0, 1, 2, 3, 4], &[], TrustReason::Unclean),
            (
                "moved to a renumbered device",
                |f| f.iter_mut().for_each(|f| f.dev = 5),
                true,
                &[0, 1, 2, 3, 4],
                &[],
                TrustReason::Clean,
            ),
            ("on another device", |f| f.iter_mut().for_each(|f| f.dev = 5), false, &[], &[0, 1, 2, 3, 4], changed(3)),
            ("one removed, one replaced", |f| (f[0], f[1].ino) = (ABSENT, 9), true, &[4], &[3], changed(2)),
            ("no longer listed", |f| f.truncate(2), true, &[0, 1, 2], &[], changed(1)),
        ];
        for (what, change, clean, have, check, reason) in table {
            let mut files = present();
            change(&mut files);
            let got = judge(Some(Ok(&record(*clean))), &files, Some(1));
            assert_eq!(got, (have.to_vec(), check.to_vec(), reason.clone()), "{what}");
        }
    }

    #[test]
    fn a_file_that_appeared_is_checked() {
        let mut old = record(true);
        old.have = Bitfield::none(5);
        old.files = vec![ABSENT; 3];
        let got = judge(Some(Ok(&old)), &[ABSENT, file(10, 4), ABSENT], Some(1));
        assert_eq!(got, (vec![], vec![2, 3], TrustReason::Changed { files: 1 }));
    }

    /// D-13, D-14: a missing, torn or foreign record never means "start at 0 % over existing data".
    #[test]
    fn without_a_good_record_existing_files_are_checked_first() {
        let strange: [fn(&mut ResumeRecord); 4] = [
            |r| r.info_hash = InfoHash([8; 20]),
            |r| (r.pieces, r.have) = (6, Bitfield::all(6)),
            |r| r.have = Bitfield::all(4),
            |r| r.files.truncate(2),
        ];
        let some = [file(12, 1), ABSENT, file(1, 3)];
        for make in strange {
            let mut foreign = record(true);
            make(&mut foreign);
            assert_eq!(judge(Some(Ok(&foreign)), &some, Some(1)), (vec![], vec![0, 1, 3], TrustReason::Foreign));
        }
        assert_eq!(judge(None, &some, Some(1)), (vec![], vec![0, 1, 3], TrustReason::NoRecord));
        let (have, check, reason) = judge(Some(Err(&BadRecord::Version(9))), &some, Some(1));
        assert_eq!((have, check), (vec![], vec![0, 1, 3]));
        assert!(reason.to_string().contains("version 9"), "{reason}");
        assert_eq!(judge(None, &[ABSENT; 3], Some(1)), (vec![], vec![], TrustReason::Fresh));
        assert_eq!(judge(None, &[], None), (vec![], vec![], TrustReason::Fresh));
    }

    /// D-10: an empty mount point is no reason to download everything again, and nothing is written into it.
    #[test]
    fn a_missing_device_keeps_the_pieces_of_the_record() {
        let all = vec![0, 1, 2, 3, 4];
        for dev in [Some(2), None] {
            let got = judge(Some(Ok(&record(true))), &[ABSENT; 3], dev);
            assert_eq!(got, (all.clone(), vec![], TrustReason::MissingStorage), "{dev:?}");
        }
        let same = judge(Some(Ok(&record(true))), &[ABSENT; 3], Some(1));
        assert_eq!(same.2, TrustReason::Changed { files: 3 }, "the folder is where it was: the files were removed");
        let mut new = record(true);
        (new.have, new.files) = (Bitfield::none(5), vec![ABSENT; 3]);
        assert_eq!(judge(Some(Ok(&new)), &[ABSENT; 3], Some(2)).2, TrustReason::Clean, "there was nothing to lose");
    }

    proptest! {
        /// I1: in every case a piece is had only if every file of it is as the record says and long enough to hold it;
        /// no piece is both had and checked; and every piece that was had is had, checked, or certainly gone.
        #[test]
        fn no_piece_is_had_that_may_have_changed(
            lens in prop::collection::vec(0u64..40, 1..6), piece_len in 1u64..25, bits in any::<u64>(), clean in any::<bool>(),
            fates in prop::collection::vec(0u8..6, 6),
        ) {
            prop_assume!(lens.iter().sum::<u64>() > 0);
            let geometry = Geometry::new(lens.iter().sum(), piece_len).unwrap();
            let layout = Layout::new(lens.iter().copied());
            let then: Vec<_> = (1u64..).zip(&lens).map(|(ino, len)| file(*len, ino)).collect();
            let mut have = Bitfield::none(geometry.piece_count());
            geometry.pieces().filter(|piece| bits >> (piece.get() % 64) & 1 == 1).for_each(|piece| _ = have.set(piece));
            let mut now = then.clone();
            for (witness, fate) in now.iter_mut().zip(&fates) {
                match fate {
                    0 => *witness = ABSENT,
                    1 => witness.len /= 2,
                    2 => witness.ino += 100,
                    _ => {}
                }
            }
            let old = ResumeRecord {
                info_hash: HASH, pieces: geometry.piece_count(), have: have.clone(), files: then.clone(),
                part: ABSENT, downloaded: 0, uploaded: 0, clean,
            };
            let torrent = RecordedTorrent { info_hash: HASH, geometry: &geometry, layout: &layout };
            let trust = trust(Some(Ok(&old)), torrent, Present { files: &now, folder_dev: Some(1) });
            for piece in geometry.pieces() {
                let len = u64::from(geometry.piece_len(piece));
                let spans: Vec<_> = layout.spans(geometry.piece_start(piece), len).collect();
                let is_same = spans.iter().all(|span| now[span.file] == then[span.file]);
                let is_whole = spans.iter().all(|span| span.offset + span.len <= now[span.file].len);
                prop_assert_eq!(trust.have.has(piece), have.has(piece) && is_same);
                prop_assert_eq!(trust.check.contains(&piece), !is_same && is_whole);
            }
            prop_assert!(trust.check.is_sorted());
        }
    }
}
