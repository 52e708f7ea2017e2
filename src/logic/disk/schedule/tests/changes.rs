//! Reads that fail, and changes by other programs.

use super::*;

/// D-04: a piece that cannot be read is hashed, and ours no longer if it is wrong.
#[test]
fn a_piece_that_cannot_be_read_is_hashed_anew_and_ours_only_if_it_is_right() {
    let mut bench = Bench::open(false, &[1, 2, 3]);
    bench.play(&[
        (Event::Ask(&[1, 2, 3]), "read 1 2 3"),
        (Event::ReadFails(&[1, 1, 2], TroubleKind::Io), "check 1 2"),
        (Event::Ask(&[1, 2, 3]), "read 3"),
        (Event::Checked(&[2]), "gone 1"),
        (Event::Ask(&[1, 2, 3]), "read 2 3"),
        (Event::After(2_000), "record 2 3"),
        (Event::Recorded, ""),
        (Event::Pieces(1..2, "a"), ""),
        (Event::After(2), "write 1"),
        (Event::Written, "a 1 Durable"),
        (Event::Ask(&[1]), "read 1"),
        (Event::After(5_000), "record 1 2 3"),
    ]);
}

/// D-04: what a device refuses for a while is read again when it answers; a download fetches it again after a minute.
#[test]
fn an_outage_of_the_device_is_waited_out_for_a_minute() {
    for must_be_whole in [true, false] {
        let mut bench = Bench::new(false, must_be_whole);
        let all: &'static [u32] = &[
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
            29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39,
        ];
        bench.on(Event::Start);
        bench.on(Event::Opened { have: all, check: 0..0 });
        bench.on(Event::Admitted);
        bench.on(Event::Looked(&[]));
        bench.play(&[
            (Event::Ask(&[0]), "read 0"),
            (Event::ReadFails(&[0], TroubleKind::Io), "check 0"),
            (Event::NotChecked, ""),
        ]);
        let began = bench.now;
        let mut gone = false;
        while bench.now - began < Duration::from_secs(200) && !gone {
            bench.play(&[(Event::Ask(&[0]), "refuse after 1 s")]);
            bench.now = bench.it.deadline().unwrap();
            bench.play(&[(Event::After(0), "check 0")]);
            gone = bench.on(Event::NotChecked).contains(&"gone 0".to_owned());
        }
        assert_eq!(gone, !must_be_whole);
        if must_be_whole {
            bench.now = bench.it.deadline().unwrap();
            bench.play(&[(Event::After(0), "check 0"), (Event::Checked(&[0]), ""), (Event::Ask(&[0]), "read 0")]);
        } else {
            assert!((60..76).contains(&(bench.now - began).as_secs()), "{:?}", bench.now - began);
        }
    }
}

/// D-09, I6: what is written behind the end of a file that was cut makes zeros of what is missing.
#[test]
fn after_a_file_was_found_cut_nothing_is_read_before_all_files_were_looked_at() {
    let mut bench = Bench::open(false, &[0, 1, 2]);
    bench.play(&[
        (Event::Ask(&[0]), "read 0"),
        (Event::ReadFails(&[0], TroubleKind::Missing), "look 0 1 2, check 0"),
        (Event::Ask(&[1]), "refuse after 1 s"),
        (Event::Checked(&[0]), ""),
        (Event::Ask(&[0]), "refuse after 1 s"),
        (Event::Looked(&[0, 1]), "check 0 1"),
        (Event::Ask(&[0, 1, 2]), "read 2"),
        (Event::Checked(&[0]), "gone 1"),
        (Event::Ask(&[0, 1, 2]), "read 0 2"),
    ]);
}

/// A look that began before the cut was found proves nothing about it.
#[test]
fn a_look_that_was_under_way_when_a_file_was_found_cut_is_followed_by_another() {
    let mut bench = Bench::open(false, &[0, 1]);
    bench.play(&[
        (Event::Ask(&[0]), "read 0"),
        (Event::Ask(&[1]), "read 1"),
        (Event::ReadFails(&[0], TroubleKind::Changed), "look 0 1"),
        (Event::ReadFails(&[1], TroubleKind::Missing), "check 1"),
        (Event::Looked(&[]), "look 0 1"),
        (Event::Ask(&[0]), "refuse after 1 s"),
        (Event::Looked(&[]), ""),
        (Event::Ask(&[0]), "read 0"),
    ]);
}

/// Then it is not known what was changed.
#[test]
fn after_a_look_that_fails_everything_is_hashed_before_it_is_read() {
    let mut bench = Bench::open(false, &[0, 1]);
    bench.play(&[
        (Event::Ask(&[0]), "read 0"),
        (Event::ReadFails(&[0], TroubleKind::Missing), "look 0 1, check 0"),
        (Event::CannotLook, ""),
        (Event::Ask(&[1]), "refuse after 1 s"),
        (Event::Checked(&[0]), "check 1"),
        (Event::Checked(&[1]), ""),
        (Event::Ask(&[0, 1]), "read 0 1"),
    ]);
}

/// D-09: so that a folder that was moved away is noticed soon.
#[test]
fn the_files_are_looked_at_every_ten_seconds_of_a_download() {
    let mut bench = Bench::open(false, &[]);
    for (number, follows) in [(0, ""), (1, ""), (2, "look 0 1 2"), (3, "")] {
        bench.on(Event::Pieces(number..number + 1, "a"));
        bench.on(Event::After(2));
        bench.on(Event::Written);
        bench.on(Event::After(2_000));
        bench.play(&[(Event::Recorded, follows), (Event::Looked(&[]), ""), (Event::After(3_000), "")]);
    }
}

/// D-09.
#[test]
fn durable_is_told_only_after_a_look_that_finds_nothing() {
    let mut bench = Bench::open(false, &[0, 1]);
    bench.play(&[
        (Event::Finish, "look 0 1"),
        (Event::Looked(&[0, 1]), "check 0 1"),
        (Event::Checked(&[0, 1]), "look 0 1"),
        (Event::Looked(&[1]), "check 1"),
        (Event::Checked(&[]), "gone 1, look 0"),
        (Event::Looked(&[]), "durable"),
        (Event::Pieces(1..2, "a"), ""),
        (Event::After(2), "write 1"),
        (Event::Finish, ""),
        (Event::Written, "a 1 Durable, record 0 1"),
        (Event::Recorded, "look 0 1"),
        (Event::Looked(&[]), "durable"),
    ]);
}

#[test]
fn eight_looks_in_a_row_that_find_changes_are_borne_and_the_ninth_ends_it() {
    let mut bench = Bench::open(false, &[0]);
    bench.play(&[(Event::Finish, "look 0")]);
    for _ in 0..8 {
        bench.play(&[(Event::Looked(&[0]), "check 0"), (Event::Checked(&[0]), "look 0")]);
    }
    bench.play(&[(Event::Looked(&[]), "durable"), (Event::Finish, "look 0")]);
    for _ in 0..8 {
        bench.play(&[(Event::Looked(&[0]), "check 0"), (Event::Checked(&[0]), "look 0")]);
    }
    bench.play(&[(Event::Looked(&[0]), "given up, check 0"), (Event::Checked(&[0]), ""), (Event::After(60_000), "")]);
}

#[test]
fn files_that_cannot_be_looked_at_last_end_it() {
    let mut bench = Bench::open(false, &[0]);
    bench.play(&[(Event::Finish, "look 0"), (Event::CannotLook, "given up"), (Event::Finish, "")]);
}

/// A device that fails during the last check is asked again until it answers; nothing else would wake the schedule.
#[test]
fn durable_waits_for_a_piece_that_cannot_be_hashed_now() {
    let mut bench = Bench::open(false, &[0, 1]);
    bench.play(&[
        (Event::Finish, "look 0 1"),
        (Event::Looked(&[0]), "check 0"),
        (Event::NotChecked, ""),
        (Event::After(1_000), "check 0"),
        (Event::Checked(&[0]), "look 0 1"),
        (Event::Looked(&[]), "durable"),
    ]);
}

/// D-05, D-09: pieces in doubt after a failed sync are not read before the files they lie in are trusted again.
#[test]
fn pieces_in_doubt_whose_file_was_changed_are_hashed_before_they_are_written_anew() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::After(2_000), "record 0 1 2 3"),
        (Event::SyncFailed, ""),
        (Event::After(1_000), "rewrite 0 1 2 3"),
        (Event::NotReread(TroubleKind::Changed), "look 0 1 2 3"),
        (Event::After(10_000), ""),
        (Event::Looked(&[0, 1]), "check 0 1"),
        (Event::After(0), ""),
        (Event::Checked(&[0]), "gone 1"),
        (Event::After(0), "rewrite 0 2 3"),
        (Event::Rewritten, ""),
        (Event::After(4_000), "record 0 2 3"),
    ]);
}

#[test]
fn a_restart_keeps_what_is_in_doubt_in_doubt() {
    let mut bench = Bench::open(false, &[0, 1]);
    bench.play(&[
        (Event::Ask(&[0]), "read 0"),
        (Event::ReadFails(&[0], TroubleKind::Missing), "look 0 1, check 0"),
        (Event::Start, "lost, look 0 1, check 0"),
        (Event::Ask(&[1]), "refuse after 1 s"),
        (Event::Looked(&[]), ""),
        (Event::Ask(&[0, 1]), "read 1"),
    ]);
}
