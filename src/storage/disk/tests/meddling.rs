//! Other programs change our files (D-09, D-15).

use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags};

use super::*;

type Deed = fn(&Bench);

/// Changes by other programs to a finished download of `several_files`. `c.bin` and its neighbours share pieces.
const DEEDS: &[(&str, Deed)] = &[
    ("cut", |bench| bench.open_rw("big.bin").set_len(1000).unwrap()),
    ("cut to nothing", |bench| bench.open_rw("big.bin").set_len(0).unwrap()),
    ("grown", |bench| bench.open_rw("big.bin").set_len(10_000_000).unwrap()),
    ("written to", |bench| bench.scribble("big.bin", 5)),
    ("removed", |bench| std::fs::remove_file(bench.path("big.bin")).unwrap()),
    ("moved away", |bench| std::fs::rename(bench.path("big.bin"), bench.dir.path().join("elsewhere")).unwrap()),
    ("replaced", |bench| {
        let len = std::fs::metadata(bench.path("big.bin")).unwrap().len();
        std::fs::write(bench.dir.path().join("new"), vec![7; usize::try_from(len).unwrap()]).unwrap();
        std::fs::rename(bench.dir.path().join("new"), bench.path("big.bin")).unwrap();
    }),
    ("exchanged", |bench| {
        let [one, other] = ["big.bin", "c"].map(|file| bench.path(file));
        rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
    }),
    ("replaced by a file of the torrent", |bench| std::fs::rename(bench.path("c"), bench.path("big.bin")).unwrap()),
    ("moved to the place of a file of the torrent", |bench| {
        std::fs::rename(bench.path("big.bin"), bench.path("c")).unwrap();
    }),
    ("its folder moved away", |bench| std::fs::rename(bench.path(""), bench.dir.path().join("elsewhere")).unwrap()),
];

impl Bench {
    fn open_rw(&self, file: &str) -> std::fs::File {
        std::fs::OpenOptions::new().write(true).open(self.path(file)).unwrap()
    }

    fn vet(&self, disk: &Disk, have: &Bitfield) -> Vec<PieceIndex> {
        self.wait(|| disk.vet(have.clone())).unwrap()
    }

    /// Writes everything; nothing is in doubt afterwards.
    fn written(&self, disk: &Disk) -> Bitfield {
        let (mut have, _) = self.survey(disk);
        self.admit(disk, &have).unwrap();
        let missing: Vec<u32> =
            self.metainfo.info.geometry.pieces().filter(|piece| !have.has(*piece)).map(PieceIndex::get).collect();
        self.write(disk, &missing, &mut have);
        assert_eq!(self.vet(disk, &have), []);
        have
    }

    fn read_piece(&self, disk: &Disk, piece: PieceIndex) -> Result<Bytes, DiskTrouble> {
        let geometry = self.metainfo.info.geometry;
        let range = geometry.parse_range(piece.get(), 0, geometry.piece_len(piece).min(16_384)).unwrap();
        self.wait(|| disk.read(vec![range])).remove(0)
    }

    /// Repairs the torrent as `DiskWriter` does: hashes what is in doubt and fetches again what is wrong, until nothing
    /// is in doubt.
    fn repair(&self, disk: &Disk, have: &mut Bitfield) -> u32 {
        for round in 0..5 {
            let doubtful = self.vet(disk, have);
            if doubtful.is_empty() {
                return round;
            }
            for (piece, right) in self.wait(|| disk.check(doubtful)) {
                if !matches!(right, Ok(true)) {
                    have.clear(piece);
                }
            }
            let missing: Vec<u32> =
                self.metainfo.info.geometry.pieces().filter(|piece| !have.has(*piece)).map(PieceIndex::get).collect();
            self.write(disk, &missing, have);
        }
        panic!("it never ends");
    }

    fn is_whole(&self) -> bool {
        self.files
            .iter()
            .all(|(path, bytes, padding)| *padding || std::fs::read(self.path(path)).is_ok_and(|found| found == *bytes))
    }
}

fn one_large_file() -> Vec<Entry> {
    vec![("a", content(20_000, 3), false), ("big.bin", content(200_000, 1), false), ("c", content(3_000, 2), false)]
}

#[test]
fn changes_by_other_programs_are_detected_and_repaired() {
    for (what, deed) in DEEDS {
        let bench = Bench::new(one_large_file());
        let disk = bench.disk();
        let mut have = bench.written(&disk);
        deed(&bench);
        let rounds = bench.repair(&disk, &mut have);
        assert!(rounds > 0, "{what}: not seen");
        assert!(bench.is_whole(), "{what}: not mended");
        bench.persist(&disk, &have, true);
        drop(disk);
        let (found, check) = bench.survey(&bench.disk());
        assert!(found.is_all() && check.is_empty(), "{what}: the record is not what was left");
    }
}

/// I6: no byte of a changed file is given to a peer.
#[test]
fn a_changed_file_is_not_read_for_peers_before_it_is_hashed() {
    for (what, deed) in DEEDS {
        let bench = Bench::new(one_large_file());
        let disk = bench.disk();
        let mut have = bench.written(&disk);
        let pieces: Vec<_> = bench.metainfo.info.geometry.pieces().collect();
        assert!(pieces.iter().all(|piece| bench.read_piece(&disk, *piece).is_ok()));
        deed(&bench);
        let given = |piece: PieceIndex| bench.read_piece(&disk, piece).ok().map(|bytes| (piece, bytes));
        for (piece, bytes) in pieces.iter().filter_map(|piece| given(*piece)) {
            assert!(bench.piece_data(piece).starts_with(&bytes), "{what}: wrong bytes of {piece}");
        }
        bench.vet(&disk, &have);
        assert!(bench.read_piece(&disk, pieces[8]).is_err(), "{what}");
        bench.repair(&disk, &mut have);
        assert!(pieces.iter().all(|piece| bench.read_piece(&disk, *piece).is_ok()), "{what}");
    }
}

/// After a clean stop the record does not vouch for files that were changed since.
#[test]
fn a_clean_record_does_not_vouch_for_changed_files() {
    for (what, deed) in DEEDS {
        let bench = Bench::new(one_large_file());
        let disk = bench.disk();
        let have = bench.written(&disk);
        deed(&bench);
        bench.persist(&disk, &have, true);
        drop(disk);
        if ["replaced", "exchanged", "moved to the place"].iter().any(|other_inode| what.starts_with(other_inode)) {
            let disk = bench.disk();
            let (have, _) = bench.survey(&disk);
            let refused = bench.admit(&disk, &have);
            assert!(matches!(refused, Err(OpenTrouble::WouldOverwrite { .. })), "another's file: {refused:?}");
            continue;
        }
        let missing = bench.complete(&bench.disk());
        assert!(bench.is_whole(), "{what}: fetched {missing:?}");
    }
}

/// A change between two of our writes is not taken for one of them.
#[test]
fn a_change_between_two_writes_is_detected() {
    let bench = Bench::new(one_large_file());
    let disk = bench.disk();
    let (mut have, _) = bench.survey(&disk);
    bench.admit(&disk, &have).unwrap();
    bench.write(&disk, &[2, 3], &mut have);
    bench.scribble("big.bin", 2 * PIECE_LEN as u64);
    bench.write(&disk, &[6], &mut have);
    bench.persist(&disk, &have, false);
    let doubtful: Vec<u32> = bench.vet(&disk, &have).into_iter().map(PieceIndex::get).collect();
    assert_eq!(doubtful, [2, 3, 6]);
    bench.repair(&disk, &mut have);
    assert!(bench.vet(&disk, &have).is_empty());
}

/// A piece is written, then its file is moved away. `DiskWriter` learns of the write only after its look at the files.
#[test]
fn a_piece_that_was_written_before_the_look_and_reported_after_it_is_in_doubt() {
    let bench = Bench::new(one_large_file());
    let disk = bench.disk();
    let (mut have, _) = bench.survey(&disk);
    bench.admit(&disk, &have).unwrap();
    bench.write(&disk, &[2, 3], &mut have);
    let before = have.clone();
    bench.write(&disk, &[6], &mut have);
    std::fs::rename(bench.path("big.bin"), bench.dir.path().join("elsewhere")).unwrap();
    let doubtful: Vec<u32> = bench.vet(&disk, &before).into_iter().map(PieceIndex::get).collect();
    assert_eq!(doubtful, [2, 3]);
    assert!(bench.read_piece(&disk, bench.piece(6)).is_err());
    let doubtful: Vec<u32> = bench.vet(&disk, &have).into_iter().map(PieceIndex::get).collect();
    assert_eq!(doubtful, [2, 3, 6]);
}

/// The open handle still gives the right bytes, but the file is no longer at its path.
#[test]
fn a_file_that_was_moved_away_is_missed_after_five_seconds() {
    let bench = Bench::new(one_large_file());
    let disk = bench.disk();
    bench.written(&disk);
    let piece = bench.piece(5);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let read = |after| {
        runtime.block_on(async {
            tokio::time::sleep(after).await;
            let geometry = bench.metainfo.info.geometry;
            disk.read(vec![geometry.parse_range(piece.get(), 0, 1000).unwrap()]).await.remove(0)
        })
    };
    assert!(read(Duration::ZERO).is_ok());
    std::fs::rename(bench.path("big.bin"), bench.dir.path().join("elsewhere")).unwrap();
    assert!(read(Duration::from_secs(6)).is_err());
}

#[test]
fn an_output_folder_that_was_moved_away_is_made_again() {
    let bench = Bench::new(one_large_file());
    let out = bench.dir.path().join("out");
    let disk = bench.disk_with(|config| config.folder.clone_from(&out));
    let mut have = bench.written(&disk);
    std::fs::rename(&out, bench.dir.path().join("elsewhere")).unwrap();
    bench.repair(&disk, &mut have);
    bench.persist(&disk, &have, true);
    for (path, bytes, _) in &bench.files {
        assert_eq!(std::fs::read(out.join("lib").join(path)).unwrap(), *bytes, "{path}");
    }
    assert!(out.join(".tt-actors").is_dir());
}

/// 60,000 bytes are three whole pieces.
fn one_of_60_000(seed: u32) -> Bench {
    Bench::new(vec![("x", content(60_000, seed), false)])
}

/// The storage of another torrent in the folder of `bench`, or in a folder that leads there.
fn beside(other: &Bench, folder: &std::path::Path, claims: &Claims, change: impl FnOnce(&mut DiskConfig)) -> Disk {
    other.disk_with(|config| {
        config.folder = folder.to_path_buf();
        config.claims = claims.clone();
        change(config);
    })
}

fn is_taken(refused: Result<(), OpenTrouble>, by: &str) {
    let Err(OpenTrouble::Disk(trouble)) = refused else { panic!("{refused:?}") };
    assert_eq!(trouble.kind, crate::storage::TroubleKind::Taken);
    assert!(trouble.to_string().contains(by), "{trouble}");
}

/// D-20: detected before anything is fetched, by whatever path the folder is named.
#[test]
fn of_two_torrents_that_want_one_file_the_second_is_refused() {
    for way in ["plain", "symbolic link", "hard link"] {
        let (bench, other, claims) = (one_of_60_000(1), one_of_60_000(2), Claims::default());
        let first = beside(&bench, bench.dir.path(), &claims, |_| {});
        let (mut have, _) = bench.survey(&first);
        bench.admit(&first, &have).unwrap();
        let folder = other.dir.path().join("folder");
        match way {
            "plain" => std::os::unix::fs::symlink(bench.dir.path(), &folder).unwrap(),
            "symbolic link" => {
                std::os::unix::fs::symlink(bench.dir.path(), other.dir.path().join("link")).unwrap();
                std::os::unix::fs::symlink("link", &folder).unwrap();
            }
            _ => {
                bench.write(&first, &[1], &mut have);
                std::fs::create_dir_all(folder.join("lib")).unwrap();
                std::fs::hard_link(bench.path("x"), folder.join("lib/x")).unwrap();
            }
        }
        let second = beside(&other, &folder, &claims, |config| config.overwrite = true);
        let (found, _) = other.survey(&second);
        is_taken(other.admit(&second, &found), "`lib` of this run");
        drop(first);
        let third = beside(&one_of_60_000(3), &folder, &claims, |config| config.overwrite = true);
        let (found, _) = other.survey(&third);
        other.admit(&third, &found).unwrap();
    }
}

/// D-21: a lock of another open file has the same effect as one of another process.
#[test]
fn of_two_processes_that_want_one_file_the_second_is_refused() {
    let (bench, other) = (one_of_60_000(1), one_of_60_000(2));
    let first = bench.disk();
    let second = beside(&other, bench.dir.path(), &Claims::default(), |config| config.overwrite = true);
    let (found, _) = other.survey(&second);
    let (mut have, _) = bench.survey(&first);
    bench.admit(&first, &have).unwrap();
    bench.write(&first, &[0], &mut have);
    is_taken(other.admit(&second, &found), "another process");
    bench.write(&first, &[1, 2], &mut have);
    assert_eq!(bench.vet(&first, &have), []);
    is_taken(other.admit(&second, &found), "another process");
    drop(first);
    other.admit(&second, &found).unwrap();
}

/// The second process made the file after the first had looked for it: the first write detects it.
#[test]
fn a_file_that_another_process_made_first_is_not_written_to() {
    let (bench, other) = (one_of_60_000(1), one_of_60_000(2));
    let first = bench.disk();
    let second = beside(&other, bench.dir.path(), &Claims::default(), |_| {});
    for (bench, disk) in [(&bench, &first), (&other, &second)] {
        let (have, _) = bench.survey(disk);
        bench.admit(disk, &have).unwrap();
    }
    let mut have = bench.none();
    bench.write(&first, &[0, 1, 2], &mut have);
    let outcome = other.wait(|| second.write(vec![other.job(other.piece(0))]));
    assert!(
        matches!(&outcome[..], [PieceOutcome::Trouble(_, trouble)] if trouble.kind == crate::storage::TroubleKind::Taken),
        "{outcome:?}"
    );
    assert!(bench.is_whole());
}

/// Two torrents with the same data and different info-hashes.
#[test]
fn torrents_that_only_read_share_a_file() {
    let bench = one_of_60_000(1);
    let other = Bench::new(vec![("x", content(60_000, 1), false), ("y", content(30_000, 5), false)]);
    for claims in [Claims::default(), Claims::default()] {
        let first = beside(&bench, bench.dir.path(), &claims, |_| {});
        let have = bench.written(&first);
        for shared in [claims.clone(), Claims::default()] {
            let second = beside(&other, bench.dir.path(), &shared, |_| {});
            let (mut found, _) = other.survey(&second);
            assert!(found.ones() >= 3, "what the first has is found");
            other.admit(&second, &found).unwrap();
            let missing: Vec<u32> = (0..5).filter(|number| !found.has(other.piece(*number))).collect();
            other.write(&second, &missing, &mut found);
            assert_eq!(other.vet(&second, &found), []);
            assert!(bench.read_piece(&first, bench.piece(1)).is_ok());
        }
        assert_eq!(bench.vet(&first, &have), [], "no program has written to it");
        bench.persist(&first, &have, true);
    }
}

/// A file of ours is cut to its length; a file that is not ours loses nothing.
#[test]
fn a_file_that_is_longer_than_the_torrents_is_cut_only_if_it_is_ours() {
    let grow = |bench: &Bench| {
        let mut bytes = std::fs::read(bench.path("x")).unwrap();
        bytes.extend([1; 500]);
        std::fs::OpenOptions::new().write(true).open(bench.path("x")).unwrap().set_len(0).unwrap();
        bench.open_rw("x").write_all_at(&bytes, 0).unwrap();
    };
    let bench = one_of_60_000(1);
    assert_eq!(bench.complete(&bench.disk()), [0, 1, 2]);
    grow(&bench);
    let seed = bench.disk_with(|config| config.may_write = false);
    let (have, _) = bench.survey(&seed);
    let refused = bench.admit(&seed, &have);
    assert!(matches!(refused, Err(OpenTrouble::TooLong { len: 60_500, should: 60_000, .. })), "{refused:?}");
    drop(seed);
    assert!(bench.complete(&bench.disk()).is_empty(), "on record: ours");
    grow(&bench);
    std::fs::remove_dir_all(bench.dir.path().join(".tt-actors")).unwrap();
    let disk = bench.disk();
    let (have, _) = bench.survey(&disk);
    let refused = bench.admit(&disk, &have);
    assert!(matches!(refused, Err(OpenTrouble::WouldOverwrite { .. })), "{refused:?}");
    drop(disk);
    assert!(bench.complete(&bench.disk_with(|config| config.overwrite = true)).is_empty());
}
