//! What becomes of the state at the end of a run, and what works without it. Also data behind links, and disk space.

use super::*;
use crate::storage::TroubleKind;
use crate::storage::folder::OutputFolder;
use crate::storage::record::StateTrouble;

fn done(have: &Bitfield) -> Snapshot {
    Snapshot { done: true, ..Bench::snapshot(have, true) }
}

impl Bench {
    fn state_folder(&self) -> PathBuf {
        self.dir.path().join(".tt-actors")
    }

    /// Makes it impossible to keep a state here.
    fn without_state(&self) {
        std::fs::write(self.state_folder(), "a file").unwrap();
    }

    fn put_all(&self) {
        self.files.iter().filter(|file| !file.2).for_each(|file| self.put(file.0, &file.1));
    }

    /// Moves a file or folder of the torrent to another place and puts a link there.
    fn move_away(&self, path: &str, to: &tempfile::TempDir) {
        let (moved, place) = (to.path().join("moved"), self.path(path));
        // Removes the slash at the end of the torrent's own folder.
        let place: PathBuf = place.components().collect();
        std::fs::rename(&place, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, &place).unwrap();
    }
}

#[test]
fn state_is_removed_when_nothing_in_it_is_needed() {
    for (keep_state, is_done, stays) in [(false, true, false), (true, true, true), (false, false, true)] {
        let bench = Bench::new(several_files());
        let disk = bench.disk_with(|config| config.keep_state = keep_state);
        bench.complete(&disk);
        let all = Bitfield::all(bench.metainfo.info.geometry.piece_count());
        bench.wait(|| disk.persist(Snapshot { done: is_done, ..done(&all) })).unwrap();
        drop(disk);
        let is_there = (bench.newest_record().exists(), bench.state_folder().exists());
        assert_eq!(is_there, (stays, stays), "keep {keep_state}, done {is_done}");
        let (have, checked) = bench.survey(&bench.disk());
        assert!(have.is_all() && checked.is_empty() == stays, "the price is that all is hashed: {checked:?}");
    }
}

#[test]
fn state_of_a_part_stays_when_the_part_is_done() {
    let bench = Bench::new(several_files());
    let select = vec![true, false, false, false, false];
    let disk = bench.disk_with(|config| config.select = Some(select));
    let mut have = bench.none();
    bench.open(&disk);
    bench.admit(&disk, &have).unwrap();
    bench.write(&disk, &[0, 1, 2], &mut have);
    bench.wait(|| disk.persist(done(&have))).unwrap();
    drop(disk);
    assert!(bench.newest_record().exists() && bench.newest_record().with_extension("part").exists());
}

#[test]
fn a_run_that_fetches_nothing_leaves_no_state() {
    let bench = Bench::new(vec![("a", content(50_000, 1), false)]);
    for admits in [false, true] {
        let disk = bench.disk();
        bench.open(&disk);
        if admits {
            bench.admit(&disk, &bench.none()).unwrap();
            bench.persist(&disk, &bench.none(), true);
        }
        drop(disk);
        assert_eq!(std::fs::read_dir(bench.dir.path()).unwrap().count(), 0, "admitted: {admits}");
    }
}

/// D-08: the folder is read-only or belongs to another user.
#[test]
fn complete_data_needs_no_state() {
    let bench = Bench::new(several_files());
    bench.put_all();
    bench.without_state();
    let disk = bench.disk();
    let (have, _) = bench.survey(&disk);
    assert!(have.is_all());
    bench.admit(&disk, &have).unwrap();
    bench.persist(&disk, &have, true);
    let whole = bench.metainfo.info.geometry.parse_range(0, 0, 20_000).unwrap();
    assert!(bench.wait(|| disk.read(vec![whole])).remove(0).is_ok());
}

#[test]
fn a_write_needs_state_and_its_error_says_why_there_is_none() {
    let bench = Bench::new(several_files());
    bench.put("a", &content(50_000, 1));
    bench.without_state();
    let disk = bench.disk();
    let (have, _) = bench.survey(&disk);
    let refused = bench.admit(&disk, &have).unwrap_err();
    assert!(matches!(refused, OpenTrouble::State(StateTrouble::Disk(_))), "{refused}");
    assert!(refused.to_string().contains(".tt-actors"), "{refused}");
    std::fs::remove_file(bench.state_folder()).unwrap();
    bench.admit(&disk, &have).expect("it is tried again");
    assert!(bench.newest_record().exists());
}

#[test]
fn a_record_that_cannot_be_replaced_is_still_read() {
    let bench = Bench::new(several_files());
    bench.complete(&bench.disk());
    // A lock that cannot be opened for writing. This is what a folder of another user looks like, to root too.
    std::fs::create_dir(bench.newest_record().with_extension("lock")).unwrap();
    let (have, checked) = bench.survey(&bench.disk());
    assert!(have.is_all() && checked.is_empty(), "{checked:?}");
}

/// S-02: data that the user has moved elsewhere is read there; nothing is written through the link.
#[test]
fn data_behind_links_is_read_and_never_written() {
    for link in ["c", "sub", ""] {
        let (bench, elsewhere) = (Bench::new(several_files()), tempfile::tempdir().unwrap());
        bench.put_all();
        bench.move_away(link, &elsewhere);
        let disk = bench.disk();
        let (have, _) = bench.survey(&disk);
        assert!(have.is_all(), "{link:?}");
        bench.admit(&disk, &have).unwrap();
        bench.persist(&disk, &have, true);
        drop(disk);
        let again = bench.open(&bench.disk());
        assert!(again.have.is_all() && again.check.is_empty(), "{link:?}: the record knows what is behind the link");
    }
    let (bench, elsewhere) = (Bench::new(several_files()), tempfile::tempdir().unwrap());
    bench.put_all();
    bench.flip("c", 20_000);
    bench.move_away("c", &elsewhere);
    let before = std::fs::read(elsewhere.path().join("moved")).unwrap();
    let disk = bench.disk_with(|config| config.overwrite = true);
    let (mut have, _) = bench.survey(&disk);
    bench.admit(&disk, &have).unwrap();
    let missing: Vec<_> = bench.metainfo.info.geometry.pieces().filter(|piece| !have.has(*piece)).collect();
    let outcomes = bench.wait(|| disk.write(missing.iter().map(|piece| bench.job(*piece)).collect()));
    for outcome in outcomes {
        match outcome {
            PieceOutcome::Trouble(_, trouble) => assert!(trouble.to_string().contains("symbolic link"), "{trouble}"),
            other => panic!("{other:?}"),
        }
    }
    have.clear(missing[0]);
    assert_eq!(std::fs::read(elsewhere.path().join("moved")).unwrap(), before);
}

/// D-01 at the start: the error has both numbers, and what other torrents of the run need is counted.
#[test]
fn a_download_that_has_no_room_does_not_begin() {
    let bench = Bench::new(several_files());
    let room = Room::default();
    let mut have = bench.none();
    let device = OutputFolder::open(bench.dir.path()).unwrap().device().unwrap();
    let other = room.claim(device, InfoHash([7; 20]), 1 << 61, u64::MAX).unwrap();
    let disk = bench.disk_with(|config| config.room = room.clone());
    bench.open(&disk);
    let refused = bench.admit(&disk, &have).unwrap_err();
    let OpenTrouble::Disk(trouble) = &refused else { panic!("{refused}") };
    let needed = 50_000 + 25_000 + 33_333;
    assert!(trouble.kind == TroubleKind::Full && trouble.space.unwrap().1 == (1 << 61) + needed, "{trouble:?}");
    assert!(!bench.path("a").exists() && !bench.newest_record().exists());
    drop(other);
    bench.admit(&disk, &have).unwrap();
    assert_eq!(room.needed(device), needed);
    bench.write(&disk, &[0, 1], &mut have);
    assert_eq!(room.needed(device), needed - 40_000, "what is written needs no room");
    bench.persist(&disk, &have, false);
    bench.admit(&disk, &have).unwrap();
    assert!(room.needed(device) <= needed - 40_000 + 4096, "blocks that a file has are not counted twice");
    drop(disk);
    assert_eq!(room.needed(device), 0);
}

/// The only piece of a small file is lost because a file that shares the piece was cut.
#[test]
fn without_a_record_a_small_file_does_not_block_its_neighbour() {
    let files = vec![("a", content(50_000, 1), false), ("small", content(100, 2), false)];
    let bench = Bench::new(files);
    bench.put_all();
    std::fs::File::options().write(true).open(bench.path("a")).unwrap().set_len(45_000).unwrap();
    let disk = bench.disk();
    let (have, _) = bench.survey(&disk);
    bench.admit(&disk, &have).unwrap();

    drop(disk);
    std::fs::remove_dir_all(bench.state_folder()).unwrap();
    std::fs::write(bench.path("small"), content(101, 3)).unwrap();
    let disk = bench.disk();
    let (have, _) = bench.survey(&disk);
    assert!(matches!(bench.admit(&disk, &have), Err(OpenTrouble::WouldOverwrite { .. })), "another length");
}

/// What a user asks for when a record is not to be believed, in a run that has the files open.
#[test]
fn a_recheck_hashes_everything_and_the_files_are_written_on() {
    let bench = Bench::new(several_files());
    let disk = bench.disk();
    bench.complete(&disk);
    bench.flip("a", 25_000);
    let Inventory { have, check, reason, .. } = bench.wait(|| disk.open_to_recheck()).unwrap();
    let numbers: Vec<u32> = check.iter().map(|piece| piece.get()).collect();
    assert_eq!((have.is_none(), numbers), (true, vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(reason.as_deref(), Some("checking the files again, as asked"));
    let mut have = have;
    for (piece, right) in bench.wait(|| disk.check(check)) {
        assert_eq!(right.unwrap(), piece.get() != 1, "{piece}");
        if piece.get() != 1 {
            have.set(piece);
        }
    }
    bench.admit(&disk, &have).unwrap();
    bench.write(&disk, &[1], &mut have);
    bench.persist(&disk, &have, true);
    drop(disk);
    let (have, checked) = bench.survey(&bench.disk());
    assert!(have.is_all() && checked.is_empty(), "{checked:?}");
}

#[test]
fn a_recheck_of_files_that_are_gone_finds_nothing() {
    let bench = Bench::new(several_files());
    let disk = bench.disk();
    bench.complete(&disk);
    std::fs::remove_dir_all(bench.dir.path().join("lib")).unwrap();
    let Inventory { have, check, .. } = bench.wait(|| disk.open_to_recheck()).unwrap();
    assert!(have.is_none() && check.is_empty(), "{have:?} {check:?}");
}
