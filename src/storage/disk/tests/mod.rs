//! Tests with real files in a temporary folder. A killed process is a storage that is dropped without a clean stop.

mod meddling;
mod selection;
mod state;
mod writing;

use std::fmt::Write;
use std::path::PathBuf;

use super::*;
use sha1::{Digest, Sha1};

/// One file of a torrent in a test: its path, its content, and whether it is padding.
type Entry = (&'static str, Vec<u8>, bool);

/// 20,000 bytes: not a multiple of any size on a disk.
const PIECE_LEN: usize = 20_000;

fn content(len: usize, seed: u32) -> Vec<u8> {
    let byte = |at: u32| at.wrapping_add(seed << 24).wrapping_mul(2_654_435_761).to_be_bytes()[0];
    (0..u32::try_from(len).unwrap()).map(|at| byte(at) ^ u8::try_from(seed).unwrap()).collect()
}

/// `lib/a` ends in the middle of a piece, `lib/c` begins after padding, `lib/empty` is empty.
fn several_files() -> Vec<Entry> {
    vec![
        ("a", content(50_000, 1), false),
        ("empty", Vec::new(), false),
        ("sub/b", content(25_000, 2), false),
        (".pad/5000", vec![0; 5000], true),
        ("c", content(33_333, 3), false),
    ]
}

fn metainfo(files: &[Entry]) -> Metainfo {
    let text = |text: &str| format!("{}:{text}", text.len());
    let mut info = "d5:filesl".to_owned();
    for (path, bytes, padding) in files {
        let parts: String = path.split('/').map(text).collect();
        write!(info, "d{}6:lengthi{}e4:pathl{parts}ee", if *padding { "4:attr1:p" } else { "" }, bytes.len()).unwrap();
    }
    write!(info, "e4:name3:lib12:piece lengthi{PIECE_LEN}e6:pieces").unwrap();
    let hashes: Vec<u8> = files
        .iter()
        .flat_map(|file| file.1.clone())
        .collect::<Vec<_>>()
        .chunks(PIECE_LEN)
        .flat_map(Sha1::digest)
        .collect();
    let mut torrent = format!("d4:info{info}{}:", hashes.len()).into_bytes();
    torrent.extend(hashes);
    torrent.extend(b"ee");
    Metainfo::parse(&torrent).unwrap()
}

/// A torrent, a folder for it, and a runtime for the jobs.
struct Bench {
    dir: tempfile::TempDir,
    files: Vec<Entry>,
    data: Vec<u8>,
    metainfo: Metainfo,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new(files: Vec<Entry>) -> Self {
        Self::at(tempfile::tempdir().unwrap(), files)
    }

    fn at(dir: tempfile::TempDir, files: Vec<Entry>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let data = files.iter().flat_map(|file| file.1.clone()).collect();
        Self { dir, metainfo: metainfo(&files), files, data, runtime }
    }

    fn disk(&self) -> Disk {
        self.disk_with(|_| {})
    }

    fn disk_with(&self, change: impl FnOnce(&mut DiskConfig)) -> Disk {
        let folder = self.dir.path().to_path_buf();
        let mut config = DiskConfig {
            folder,
            durability: Durability::Safe,
            overwrite: false,
            may_write: true,
            verify: false,
            max_open: 128,
            select: None,
            buffers: Buffers::default(),
            folders: Folders::default(),
            room: Room::default(),
            keep_state: false,
            claims: Claims::default(),
        };
        change(&mut config);
        Disk::new(&self.metainfo, config)
    }

    fn wait<T>(&self, job: impl FnOnce() -> Later<T>) -> T {
        self.runtime.block_on(async { job().await })
    }

    fn open(&self, disk: &Disk) -> Inventory {
        self.wait(|| disk.open()).unwrap()
    }

    /// Opens the torrent and checks it. Returns the pieces that are there, and the numbers of those that were checked.
    fn survey(&self, disk: &Disk) -> (Bitfield, Vec<u32>) {
        let Inventory { mut have, check, .. } = self.open(disk);
        let checked = check.iter().map(|piece| piece.get()).collect();
        for (piece, right) in self.wait(|| disk.check(check)) {
            if right.unwrap() {
                have.set(piece);
            }
        }
        (have, checked)
    }

    fn snapshot(have: &Bitfield, clean: bool) -> Snapshot {
        Snapshot { have: have.clone(), received: 7, sent: 8, clean, done: false }
    }

    fn admit(&self, disk: &Disk, have: &Bitfield) -> Result<(), OpenTrouble> {
        self.wait(|| disk.admit(Self::snapshot(have, false)))
    }

    fn persist(&self, disk: &Disk, have: &Bitfield, clean: bool) {
        self.wait(|| disk.persist(Self::snapshot(have, clean))).unwrap();
    }

    fn piece(&self, number: u32) -> PieceIndex {
        self.metainfo.info.geometry.piece(number).unwrap()
    }

    fn piece_data(&self, piece: PieceIndex) -> &[u8] {
        self.data.chunks(PIECE_LEN).nth(piece.at()).unwrap()
    }

    fn job(&self, piece: PieceIndex) -> PieceJob {
        let blocks = self.piece_data(piece).chunks(16 * 1024).map(Bytes::copy_from_slice).collect();
        PieceJob { piece, blocks }
    }

    fn write(&self, disk: &Disk, numbers: &[u32], have: &mut Bitfield) {
        let jobs = numbers.iter().map(|number| self.job(self.piece(*number))).collect();
        for outcome in self.wait(|| disk.write(jobs)) {
            let PieceOutcome::Written(piece) = outcome else { panic!("{outcome:?}") };
            have.set(piece);
        }
    }

    fn none(&self) -> Bitfield {
        Bitfield::none(self.metainfo.info.geometry.piece_count())
    }

    /// Fetches what is missing and stops cleanly; afterwards every byte must be there. Returns the numbers of the
    /// fetched pieces.
    fn complete(&self, disk: &Disk) -> Vec<u32> {
        let (mut have, _) = self.survey(disk);
        self.admit(disk, &have).unwrap();
        let missing: Vec<u32> =
            self.metainfo.info.geometry.pieces().filter(|piece| !have.has(*piece)).map(PieceIndex::get).collect();
        self.write(disk, &missing, &mut have);
        self.persist(disk, &have, true);
        for (path, bytes, padding) in &self.files {
            match std::fs::read(self.path(path)) {
                Ok(found) => assert!(!padding && found == *bytes, "{path} is not what it should be"),
                Err(error) => assert!(*padding, "{path}: {error}"),
            }
        }
        missing
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join("lib").join(file)
    }

    fn put(&self, file: &str, bytes: &[u8]) {
        std::fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
        std::fs::write(self.path(file), bytes).unwrap();
    }

    fn flip(&self, file: &str, at: usize) {
        use std::os::unix::fs::FileExt;
        let opened = std::fs::OpenOptions::new().read(true).write(true).open(self.path(file)).unwrap();
        let mut byte = [0];
        opened.read_exact_at(&mut byte, at as u64).unwrap();
        opened.write_all_at(&[byte[0] ^ 1], at as u64).unwrap();
    }

    fn scribble(&self, file: &str, at: u64) {
        use std::os::unix::fs::FileExt;
        let opened = std::fs::OpenOptions::new().write(true).open(self.path(file)).unwrap();
        opened.write_all_at(&[0xff; 9000], at).unwrap();
    }

    fn newest_record(&self) -> PathBuf {
        self.dir.path().join(".tt-actors").join(format!("{}.resume", self.metainfo.info.info_hash))
    }
}

#[test]
fn a_torrent_is_written_recorded_and_found_again() {
    for durability in [Durability::Safe, Durability::Relaxed, Durability::Off] {
        let bench = Bench::new(several_files());
        let disk = bench.disk_with(|config| config.durability = durability);
        let inventory = bench.open(&disk);
        assert!(inventory.have.is_none() && inventory.check.is_empty() && inventory.reason.is_none());
        assert_eq!(bench.complete(&disk), [0, 1, 2, 3, 4, 5]);
        drop(disk);
        let again = bench.open(&bench.disk());
        assert!(again.have.is_all() && again.check.is_empty(), "{durability:?}: {again:?}");
        assert_eq!((again.received, again.sent, again.reason), (7, 8, None));
    }
}

#[test]
fn opening_again_keeps_the_lock_and_sees_what_was_written() {
    let bench = Bench::new(several_files());
    let disk = bench.disk();
    let mut have = bench.none();
    bench.open(&disk);
    bench.admit(&disk, &have).unwrap();
    bench.write(&disk, &[1], &mut have);
    let (found, checked) = bench.survey(&disk);
    assert!(found == have && checked.contains(&1), "what its actor does after a panic: {checked:?}");
    let refused = bench.wait(|| bench.disk().open()).unwrap_err();
    assert!(matches!(refused, OpenTrouble::State(_)), "{refused}");
}

#[test]
fn what_is_written_can_be_read_across_files_and_padding() {
    let bench = Bench::new(several_files());
    let disk = bench.disk();
    bench.complete(&disk);
    let geometry = bench.metainfo.info.geometry;
    let whole: Vec<PieceRange> = geometry
        .pieces()
        .map(|piece| geometry.parse_range(piece.get(), 0, geometry.piece_len(piece)).unwrap())
        .collect();
    let read = bench.wait(|| disk.read(whole.clone()));
    let read: Vec<u8> = read.into_iter().flat_map(|range| range.unwrap().to_vec()).collect();
    assert!(read == bench.data);
    std::fs::remove_file(bench.path("c")).unwrap();
    let disk = {
        drop(disk);
        bench.disk()
    };
    bench.open(&disk);
    let last = geometry.parse_range(5, 0, 1).unwrap();
    // Neighbours are read at once, and an error affects only the ranges concerned.
    let results = bench.wait(|| disk.read(whole));
    let is_well: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert!(is_well[0] && !is_well[is_well.len() - 1], "{is_well:?}");
    assert!(bench.wait(|| disk.read(vec![last])).remove(0).is_err(), "a file that is gone is trouble");
}

/// Without a runtime there is no pool, so whatever is read needed no waiting.
#[test]
fn cached_bytes_of_open_files_are_read_without_waiting() {
    use futures_util::FutureExt;
    let bench = Bench::at(tempfile::tempdir_in("/dev/shm").unwrap(), several_files());
    let disk = bench.disk();
    bench.complete(&disk);
    let geometry = bench.metainfo.info.geometry;
    // Across the border of two files, in one, in the last, in padding.
    let range = |piece, begin, len| geometry.parse_range(piece, begin, len).unwrap();
    let [both, inside, last, padding] =
        [range(2, 0, 20_000), range(0, 7, 9000), range(5, 5, 500), range(3, 16_000, 100)];
    let read = disk.read(vec![last, inside, inside]).now_or_never().expect("two files, both open");
    let read: Vec<_> = read.into_iter().map(Result::unwrap).collect();
    assert!(read == [&bench.data[100_005..100_505], &bench.data[7..9007], &bench.data[7..9007]]);
    for range in [both, padding] {
        let mixed = bench.wait(|| disk.read(vec![inside, range]));
        let start = usize::try_from(geometry.range_start(range)).unwrap();
        assert!(mixed[0].as_ref().unwrap()[..] == bench.data[7..9007]);
        assert!(mixed[1].as_ref().unwrap()[..] == bench.data[start..][..range.len() as usize]);
    }
}

/// I1: a kill may come between any two calls, and the newest record may be torn besides. No wrong data is trusted,
/// nothing recorded is fetched again, and the second run completes.
#[test]
fn a_kill_between_any_two_steps_loses_nothing_that_was_recorded() {
    type Step = fn(&Bench, &Disk, &mut Bitfield, &mut Bitfield);
    let steps: [Step; 10] = [
        |bench, disk, _, _| drop(bench.open(disk)),
        |bench, disk, have, _| bench.admit(disk, have).unwrap(),
        |bench, disk, have, _| bench.write(disk, &[2], have),
        |bench, disk, have, recorded| {
            bench.persist(disk, have, false);
            recorded.clone_from(have);
        },
        |bench, disk, have, _| bench.write(disk, &[0, 4], have),
        // Writes half of piece 1, as a kill in the middle of its write does.
        |bench, _, _, _| bench.scribble("a", 30_000),
        |bench, disk, have, recorded| {
            bench.persist(disk, have, false);
            recorded.clone_from(have);
        },
        |bench, disk, have, _| bench.write(disk, &[1, 3, 5], have),
        |bench, disk, have, recorded| {
            bench.persist(disk, have, true);
            recorded.clone_from(have);
        },
        |_, _, _, _| {},
    ];
    for (killed_after, torn) in (0..=steps.len()).flat_map(|cut| [(cut, false), (cut, true)]) {
        let bench = Bench::new(several_files());
        let (mut have, mut recorded) = (bench.none(), bench.none());
        let disk = bench.disk();
        for step in &steps[..killed_after] {
            step(&bench, &disk, &mut have, &mut recorded);
        }
        drop(disk);
        if torn && let Ok(record) = std::fs::read(bench.newest_record()) {
            std::fs::write(bench.newest_record(), &record[..record.len() / 2]).unwrap();
        }
        let disk = bench.disk();
        let (found, _) = bench.survey(&disk);
        assert!(
            torn || !recorded.has_beyond(&found),
            "killed after step {killed_after}, torn: {torn}: {recorded:?} were recorded, {found:?} found"
        );
        drop(disk);
        bench.complete(&bench.disk());
    }
}

#[test]
fn bytes_written_after_the_last_record_are_found_not_fetched() {
    let bench = Bench::new(several_files());
    let disk = bench.disk();
    let mut have = bench.none();
    bench.open(&disk);
    bench.admit(&disk, &have).unwrap();
    bench.write(&disk, &[0], &mut have);
    bench.persist(&disk, &have, false);
    // Piece 1 ends in a file that the record knows, piece 4 in one that it has never seen.
    bench.write(&disk, &[1, 4], &mut have);
    drop(disk);
    let (found, checked) = bench.survey(&bench.disk());
    assert_eq!(found, have, "checked {checked:?}");
    assert!(!checked.contains(&0), "the record vouches for it");
}

#[test]
fn a_flipped_bit_is_found_when_asked_to_verify() {
    let bench = Bench::new(several_files());
    bench.complete(&bench.disk());
    let modified = std::fs::metadata(bench.path("a")).unwrap().modified().unwrap();
    bench.flip("a", 20_001);
    std::fs::File::options().write(true).open(bench.path("a")).unwrap().set_modified(modified).unwrap();
    assert!(bench.open(&bench.disk()).have.is_all(), "undetectable: length, inode and time are the same");
    let disk = bench.disk_with(|config| config.verify = true);
    assert_eq!(bench.survey(&disk).1, [0, 1, 2, 3, 4, 5]);
    assert_eq!(bench.complete(&disk), [1]);
}

#[test]
fn a_file_touched_after_a_clean_stop_is_checked() {
    let bench = Bench::new(several_files());
    bench.complete(&bench.disk());
    bench.flip("sub/b", 24_999);
    let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    std::fs::File::options().write(true).open(bench.path("sub/b")).unwrap().set_modified(later).unwrap();
    let disk = bench.disk();
    assert_eq!(bench.survey(&disk).1, [2, 3]);
    assert_eq!(bench.complete(&disk), [3]);
}

#[test]
fn a_file_that_is_gone_is_fetched_again() {
    let bench = Bench::new(several_files());
    bench.complete(&bench.disk());
    std::fs::remove_file(bench.path("sub/b")).unwrap();
    assert_eq!(bench.complete(&bench.disk()), [2, 3]);
    std::fs::OpenOptions::new().write(true).open(bench.path("c")).unwrap().set_len(30_000).unwrap();
    assert_eq!(bench.complete(&bench.disk()), [5], "cut short by 3,333 bytes");
}

#[test]
fn data_without_a_record_is_checked_and_kept() {
    let bench = Bench::new(several_files());
    bench.put("a", &bench.files[0].1);
    bench.put("c", &[&bench.files[4].1[..20_000], &[9; 100]].concat());
    let disk = bench.disk();
    let inventory = bench.open(&disk);
    assert!(inventory.have.is_none() && inventory.reason.is_some());
    assert_eq!(bench.complete(&disk), [2, 3, 5]);
}

/// Another program's file is never overwritten (docs/decisions/0008-strangers.md).
#[test]
fn an_unrelated_file_is_not_overwritten() {
    let same_len = content(33_333, 99);
    let longer = [&several_files()[4].1[..], &[1]].concat();
    let table: [(&str, &[u8], &str); 4] = [
        ("c", b"a letter", "nothing in it belongs to this torrent"),
        ("c", &same_len, "nothing in it belongs to this torrent"),
        ("c", &longer, "it is 33334 bytes long and the torrent's file is 33333"),
        ("empty", b"not empty", "it is 9 bytes long and the torrent's file is 0"),
    ];
    for (file, bytes, want) in table {
        let bench = Bench::new(several_files());
        bench.put(file, bytes);
        let disk = bench.disk();
        let (have, _) = bench.survey(&disk);
        let refused = bench.admit(&disk, &have).unwrap_err();
        let OpenTrouble::WouldOverwrite { path, why } = &refused else { panic!("{refused}") };
        assert_eq!((path, why.as_str()), (&bench.path(file), want));
        assert_eq!(std::fs::read(bench.path(file)).unwrap(), bytes);
        assert_eq!(std::fs::read_dir(bench.path("")).unwrap().count(), 1, "nothing else was made");
        assert!(!bench.newest_record().exists(), "and it is not claimed for the next time");
        drop(disk);

        let disk = bench.disk_with(|config| config.overwrite = true);
        bench.complete(&disk);
    }
}

#[test]
fn another_file_in_the_place_of_ours_is_detected() {
    let bench = Bench::new(several_files());
    bench.complete(&bench.disk());
    bench.put("other", b"my diary");
    std::fs::rename(bench.path("other"), bench.path("c")).unwrap();
    let disk = bench.disk();
    let (have, _) = bench.survey(&disk);
    assert!(matches!(bench.admit(&disk, &have), Err(OpenTrouble::WouldOverwrite { .. })));
    assert_eq!(std::fs::read(bench.path("c")).unwrap(), b"my diary");
}

/// The record is written before the first file is made, so a file that appears after it was made by this program.
#[test]
fn a_file_that_appears_after_our_first_record_is_ours() {
    let bench = Bench::new(several_files());
    let disk = bench.disk();
    bench.open(&disk);
    bench.admit(&disk, &bench.none()).unwrap();
    drop(disk);
    bench.put("c", &vec![1; 33_333]);
    assert_eq!(bench.complete(&bench.disk()), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn empty_files_are_made_and_padding_is_not() {
    let bench = Bench::new(several_files());
    let disk = bench.disk();
    bench.open(&disk);
    bench.admit(&disk, &bench.none()).unwrap();
    assert_eq!(std::fs::metadata(bench.path("empty")).unwrap().len(), 0);
    bench.complete(&disk);
    assert!(!bench.path(".pad").exists());
}

/// A hole reads as zeros, so a piece of zeros is there as soon as its file exists.
#[test]
fn a_piece_of_zeros_may_be_a_hole() {
    let mut zeros = vec![0; 3 * PIECE_LEN];
    zeros[2 * PIECE_LEN] = 1;
    let bench = Bench::new(vec![("z", zeros, false)]);
    let disk = bench.disk();
    let mut have = bench.none();
    bench.open(&disk);
    bench.admit(&disk, &have).unwrap();
    bench.write(&disk, &[2], &mut have);
    drop(disk);
    let (found, _) = bench.survey(&bench.disk());
    assert!(found.is_all(), "{found:?}");
}

#[test]
fn holes_are_not_hashed() {
    let bench = Bench::new(vec![("big", content(400 * PIECE_LEN, 5), false)]);
    let disk = bench.disk();
    let mut have = bench.none();
    bench.open(&disk);
    bench.admit(&disk, &have).unwrap();
    bench.write(&disk, &[200], &mut have);
    drop(disk);
    let check = bench.open(&bench.disk()).check.len();
    assert!((1..20).contains(&check), "{check} of 400 pieces");
}

/// S-01, S-02: nothing is written through a link in the place of a file.
#[test]
fn a_link_in_the_way_is_not_written_through() {
    let bench = Bench::new(several_files());
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::create_dir(bench.path("")).unwrap();
    std::os::unix::fs::symlink(outside.path(), bench.path("a")).unwrap();
    let disk = bench.disk();
    bench.open(&disk);
    bench.admit(&disk, &bench.none()).unwrap();
    let outcomes = bench.wait(|| disk.write(vec![bench.job(bench.piece(0))]));
    let [PieceOutcome::Trouble(_, trouble)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(trouble.to_string().contains("symbolic link"), "{trouble}");
    assert_eq!(std::fs::metadata(outside.path()).unwrap().len(), 0);
}
