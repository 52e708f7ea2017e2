//! Files that are not wanted, over several runs: their bytes are kept, do not appear in the folder, are not lost, and
//! are hashed before they are trusted.

use proptest::prelude::*;

use super::*;
use crate::logic::torrent::selection::WantedPieces;

/// The files in each piece: 0 `a`; 1 `a`, `b`, `d`; 2 `d`, `e`; 3 and 4 `e`.
fn odd_borders() -> Vec<Entry> {
    vec![
        ("a", content(30_000, 1), false),
        ("sub/b", content(5_000, 2), false),
        ("empty", Vec::new(), false),
        ("sub/d", content(7_000, 3), false),
        ("e", content(41_000, 4), false),
    ]
}

const A: &[bool] = &[true, false, false, false, false];
const A_B: &[bool] = &[true, true, false, false, false];
const B: &[bool] = &[false, true, false, false, false];

impl Bench {
    fn selecting(&self, select: Option<&[bool]>) -> Disk {
        self.disk_with(|config| config.select = select.map(<[bool]>::to_vec))
    }

    fn wanted(&self, select: Option<&[bool]>) -> Vec<u32> {
        let geometry = &self.metainfo.info.geometry;
        let layout = crate::logic::disk::layout::Layout::new(self.files.iter().map(|file| file.1.len() as u64));
        let wanted = select.map_or_else(
            || WantedPieces::everything(geometry),
            |select| WantedPieces::of_files(geometry, &layout, select),
        );
        wanted.pieces().iter_ones().collect()
    }

    /// Runs once and fetches what is missing of the selection. Returns the numbers of the pieces it had at the start,
    /// and of those it checked.
    fn fetch(&self, select: Option<&[bool]>, clean: bool) -> (Vec<u32>, Vec<u32>) {
        let disk = self.selecting(select);
        let (mut have, checked) = self.survey(&disk);
        let kept = have.iter_ones().collect();
        self.admit(&disk, &have).unwrap();
        let lacks: Vec<u32> = self.wanted(select).into_iter().filter(|n| !have.has(self.piece(*n))).collect();
        self.write(&disk, &lacks, &mut have);
        self.persist(&disk, &have, clean);
        self.reads_right(&disk, &have);
        (kept, checked)
    }

    fn reads_right(&self, disk: &Disk, have: &Bitfield) {
        for piece in have.iter_ones().map(|number| self.piece(number)) {
            let whole =
                self.metainfo.info.geometry.parse_range(piece.get(), 0, self.metainfo.info.geometry.piece_len(piece));
            let read = self.wait(|| disk.read(vec![whole.unwrap()])).remove(0).unwrap();
            assert!(read == self.piece_data(piece), "piece {piece}");
        }
    }

    /// The files in the output folder without our own state, and whether their content is right.
    fn seen(&self) -> Vec<(&'static str, bool)> {
        let there = self.files.iter().filter_map(|(path, bytes, _)| {
            let found = std::fs::read(self.dir.path().join("lib").join(path)).ok()?;
            Some((*path, found == *bytes))
        });
        there.collect()
    }

    fn part_path(&self) -> PathBuf {
        self.dir.path().join(super::super::super::part_file::path(self.metainfo.info.info_hash))
    }
}

#[test]
fn files_that_are_not_wanted_never_appear_and_their_bytes_are_kept() {
    let bench = Bench::new(odd_borders());
    assert_eq!(bench.fetch(Some(A), true), (vec![], vec![]));
    assert_eq!(bench.seen(), [("a", true)]);
    assert!(!bench.dir.path().join("lib/sub").exists(), "nor a folder for them");
    assert!(bench.part_path().metadata().unwrap().len() <= 2 * PIECE_LEN as u64, "two pieces are shared");
    assert_eq!(bench.fetch(Some(A), true), (vec![0, 1], vec![]), "believed, as it was left");
    assert_eq!(bench.fetch(Some(A), false), (vec![0, 1], vec![]));
}

#[test]
fn a_later_selection_takes_the_bytes_out_of_the_part_file() {
    let bench = Bench::new(odd_borders());
    bench.fetch(Some(A), true);
    assert_eq!(bench.fetch(Some(A_B), true), (vec![0, 1], vec![1]), "found by hashing");
    assert_eq!(bench.seen(), [("a", true), ("sub/b", true)]);
    assert!(bench.part_path().exists(), "`d` has bytes in it");
    assert_eq!(bench.fetch(Some(A_B), true), (vec![0, 1], vec![]));
    let (kept, _) = bench.fetch(None, true);
    assert_eq!(kept, [0, 1]);
    assert!(bench.seen().iter().all(|(_, is_right)| *is_right) && bench.seen().len() == 5);
    assert!(!bench.part_path().exists(), "nothing needs it");
    assert_eq!(bench.fetch(None, true), (vec![0, 1, 2, 3, 4], vec![]));
}

/// The kill comes after the record that claims the files, when the new file is made but empty: only the part file has
/// its bytes.
#[test]
fn a_kill_while_bytes_are_brought_in_loses_none() {
    let bench = Bench::new(odd_borders());
    bench.fetch(Some(A), true);
    let disk = bench.selecting(Some(A_B));
    let (mut have, _) = bench.survey(&disk);
    have.clear(bench.piece(1));
    let inner = &disk.0;
    inner.opened().state.save(&inner.record(&Bench::snapshot(&have, false), inner.opened()), true).unwrap();
    drop(disk);
    std::fs::create_dir(bench.dir.path().join("lib/sub")).unwrap();
    std::fs::write(bench.dir.path().join("lib/sub/b"), vec![0; 5000]).unwrap();
    let (kept, _) = bench.fetch(Some(A_B), true);
    assert_eq!(kept, [0, 1]);
    assert_eq!(bench.seen(), [("a", true), ("sub/b", true)]);
}

type Harm = (&'static str, fn(&PathBuf));

#[test]
fn a_missing_or_damaged_part_file_is_not_trusted() {
    let harms: [Harm; 3] = [
        ("gone", |path| std::fs::remove_file(path).unwrap()),
        ("another", |path| std::fs::write(path, vec![1; 2 * PIECE_LEN]).unwrap()),
        ("cut", |path| std::fs::File::options().write(true).open(path).unwrap().set_len(1).unwrap()),
    ];
    for (what, harm) in harms {
        for clean in [true, false] {
            let bench = Bench::new(odd_borders());
            bench.fetch(Some(A), clean);
            // Replaces the part file by another one, which differs from the old one in its times only.
            harm(&bench.part_path());
            if what == "another" && !clean {
                continue;
            }
            let (kept, checked) = bench.fetch(Some(A), clean);
            assert_eq!(kept, [0], "{what}, clean: {clean}");
            assert!(checked.contains(&1), "{what}, clean: {clean}: {checked:?}");
            let bench = Bench::new(odd_borders());
            bench.fetch(Some(A), clean);
            harm(&bench.part_path());
            assert_eq!(bench.fetch(Some(A_B), clean).0, [0], "{what}, clean: {clean}, and another selection");
            assert_eq!(bench.seen(), [("a", true), ("sub/b", true)]);
        }
    }
}

#[test]
fn a_lost_record_costs_a_check_but_no_data() {
    let bench = Bench::new(odd_borders());
    bench.fetch(Some(A), true);
    for ending in ["resume", "resume.prev"] {
        let path = bench.dir.path().join(format!(".tt-actors/{}.{ending}", bench.metainfo.info.info_hash));
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(bench.fetch(Some(A), true).0, [0, 1]);
}

#[test]
fn files_that_are_no_longer_wanted_stay_in_place() {
    let bench = Bench::new(odd_borders());
    bench.fetch(Some(A_B), true);
    assert_eq!(bench.fetch(Some(B), true), (vec![0, 1], vec![]), "a later choice takes nothing away");
    assert_eq!(bench.seen(), [("a", true), ("sub/b", true)]);
    std::fs::remove_file(bench.dir.path().join("lib/a")).unwrap();
    assert_eq!(bench.fetch(Some(B), true).0, [0; 0], "both had a byte of it");
    assert_eq!(bench.seen(), [("sub/b", true)]);
}

/// A file of another program with the name of a file that is not wanted is left alone and causes no error.
#[test]
fn a_strangers_file_in_the_place_of_one_that_is_not_wanted_is_left_alone() {
    let bench = Bench::new(odd_borders());
    std::fs::create_dir_all(bench.dir.path().join("lib/sub")).unwrap();
    let theirs = bench.dir.path().join("lib/sub/b");
    std::fs::write(&theirs, "a diary").unwrap();
    bench.fetch(Some(A), true);
    bench.fetch(Some(A), true);
    assert_eq!(std::fs::read(&theirs).unwrap(), b"a diary");
    let disk = bench.selecting(Some(A_B));
    let (have, _) = bench.survey(&disk);
    let refused = bench.admit(&disk, &have);
    assert!(matches!(refused, Err(OpenTrouble::WouldOverwrite { .. })), "wanted, it is in the way: {refused:?}");
    assert_eq!(std::fs::read(&theirs).unwrap(), b"a diary");
}

#[test]
fn empty_files_and_padding_follow_the_selection() {
    let bench = Bench::new(several_files());
    let empty_only = [false, true, false, false, false];
    assert_eq!(bench.fetch(Some(&empty_only), true), (vec![], vec![]));
    assert_eq!(bench.seen(), [("empty", true)]);
    assert!(!bench.part_path().exists());
    let b_only = [false, false, true, false, false];
    bench.fetch(Some(&b_only), true);
    assert_eq!(bench.seen(), [("empty", true), ("sub/b", true)]);
    assert_eq!(bench.fetch(Some(&b_only), true), (vec![2, 3], vec![]), "a's end came with it, and zeros need no place");
}

const PATHS: [&str; 8] = ["0", "x/1", "x/2", "3", "y/4", "y/5", "6", "7"];

fn selection() -> impl Strategy<Value = Option<Vec<bool>>> {
    prop_oneof![1 => Just(None), 5 => prop::collection::vec(any::<bool>(), 8).prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Any file borders, any sequence of selections, clean ends and kills. Pieces that were there stay there and read
    /// right, files that were never wanted do not appear, and in the end everything is there.
    #[test]
    fn no_byte_is_lost_over_any_selections(
        lens in prop::collection::vec(0usize..45_000, 8), runs in prop::collection::vec((selection(), any::<bool>()), 1..5),
    ) {
        prop_assume!(lens.iter().sum::<usize>() > 0);
        let files = PATHS.iter().zip(&lens).zip(1..).map(|((path, len), seed)| (*path, content(*len, seed), false));
        let bench = Bench::new(files.collect());
        let (mut had, mut ever) = (Vec::new(), vec![false; 8]);
        for (select, clean) in runs.into_iter().chain([(None, true)]) {
            let (kept, _) = bench.fetch(select.as_deref(), clean);
            prop_assert!(had.iter().all(|piece| kept.contains(piece)), "had {had:?}, kept {kept:?}");
            had = kept;
            had.extend(bench.wanted(select.as_deref()));
            let flags = select.unwrap_or_else(|| vec![true; 8]);
            ever.iter_mut().zip(&flags).for_each(|(ever, now)| *ever |= now);
            for (path, is_right) in bench.seen() {
                let file = PATHS.iter().position(|name| *name == path).unwrap();
                prop_assert!(ever[file], "{path} was never wanted");
                prop_assert!(is_right || !flags[file], "{path}");
            }
        }
        prop_assert_eq!(bench.seen().len(), 8);
        prop_assert!(!bench.part_path().exists());
    }
}
