//! The start: what is there is known, and the files are ours, before anything is written.

use super::*;

#[test]
fn what_no_record_vouches_for_is_hashed_before_the_files_are_claimed() {
    let mut bench = Bench::new(false, false);
    bench.play(&[
        (Event::Start, "open"),
        (
            Event::Opened { have: &[0], check: 1..40 },
            "check 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16, check 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32",
        ),
        (Event::Checked(&[1, 3]), "checked 16 of 39, check 33 34 35 36 37 38 39"),
        (Event::Pieces(5..6, "a"), "a 5 Failed"),
        (Event::Ask(&[0]), "refuse after 1 s"),
        (Event::NotChecked, "checked 32 of 39"),
        (Event::Checked(&[]), "checked 39 of 39, admit 0 1 3"),
        (Event::Admitted, "look 0 1 3"),
        (Event::Looked(&[]), "ready 0 1 3"),
        (Event::Pieces(5..9, "a"), "write 5 6 7 8"),
    ]);
    let unreadable = bench.notes.iter().filter(|note| matches!(note, DiskNote::UnreadableAtStart(..)));
    assert_eq!(unreadable.count(), 16);
}

/// D-09: hours may pass between the first look at the files and the end of the hashing.
#[test]
fn what_was_changed_during_the_start_is_hashed_again_but_not_for_ever() {
    let mut bench = Bench::new(false, false);
    bench.play(&[
        (Event::Start, "open"),
        (Event::Opened { have: &[0, 1], check: 0..0 }, "admit 0 1"),
        (Event::Admitted, "look 0 1"),
        (Event::Looked(&[0, 1]), "check 0 1"),
        (Event::Checked(&[1]), "checked 2 of 2, admit 1"),
        (Event::Admitted, "look 1"),
    ]);
    for round in 3..=9 {
        bench.play(&[
            (Event::Looked(&[1]), "check 1"),
            (Event::Checked(&[1]), &format!("checked {round} of {round}, admit 1")),
            (Event::Admitted, "look 1"),
        ]);
    }
    let refused = bench.on(Event::Looked(&[1])).join(", ");
    assert!(refused.starts_with("refused") && refused.contains("8 times in a row"), "{refused}");
    bench.play(&[(Event::After(3_600_000), ""), (Event::Goodbye, "stop")]);
}

#[test]
fn what_must_be_whole_and_is_not_is_left_alone() {
    let mut bench = Bench::new(false, true);
    bench.play(&[
        (Event::Start, "open"),
        (Event::Opened { have: &[0], check: 1..3 }, "check 1 2"),
        (Event::Checked(&[1]), "checked 2 of 2, only 2 MiB"),
        (Event::After(3_600_000), ""),
        (Event::Goodbye, "stop"),
    ]);
}

#[test]
fn a_storage_that_refuses_ends_the_start() {
    let refused = "refused: cannot write /x: another program has changed it";
    for patient in [false, true] {
        let mut bench = Bench::new(patient, false);
        bench.play(&[
            (Event::Start, "open"),
            (Event::CannotOpen(TroubleKind::ReadOnly), refused),
            (Event::After(3_600_000), ""),
            (Event::Goodbye, "stop"),
            (Event::Goodbye, ""),
        ]);
    }
}

/// D-01 at the start: waited for where that is wanted, tried every two seconds, told once.
#[test]
fn a_start_on_a_full_disk_waits_for_room_and_says_so_once() {
    let mut bench = Bench::new(true, false);
    bench.play(&[
        (Event::Start, "open"),
        (Event::CannotOpen(TroubleKind::Full), "trouble, again in 30 s"),
        (Event::After(1_999), ""),
        (Event::After(1), "open"),
        (Event::CannotOpen(TroubleKind::Full), ""),
        (Event::After(2_000), "open"),
        (Event::Opened { have: &[], check: 0..2 }, "check 0 1"),
        (Event::Checked(&[0]), "checked 2 of 2, admit 0"),
        (Event::CannotAdmit(TroubleKind::Full), ""),
        (Event::After(2_000), "admit 0"),
        (Event::Admitted, "look 0"),
        (Event::Looked(&[]), "well, ready 0"),
        (Event::After(60_000), ""),
    ]);
    let mut bench = Bench::new(true, false);
    bench.play(&[
        (Event::Start, "open"),
        (Event::CannotOpen(TroubleKind::Full), "trouble, again in 30 s"),
        (Event::Goodbye, "stop"),
        (Event::After(60_000), ""),
    ]);
}

#[test]
fn a_restart_during_the_start_begins_it_again() {
    let mut bench = Bench::new(false, false);
    bench.play(&[
        (Event::Start, "open"),
        (Event::Opened { have: &[0], check: 1..3 }, "check 1 2"),
        (Event::Start, "open"),
        (Event::Opened { have: &[0], check: 0..0 }, "admit 0"),
    ]);
}
