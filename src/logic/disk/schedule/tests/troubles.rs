//! Writes that fail: waited out, tried again, or given up.

use super::*;

const FOUR: &str = "a 0 Durable 1 Durable 2 Durable 3 Durable";

#[test]
fn a_job_that_fails_is_one_trouble_and_one_piece_is_tried_first() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::NotWritten(TroubleKind::Io), "trouble, again in 1 s"),
        (Event::Pieces(4..8, "a"), ""),
        (Event::After(999), ""),
        (Event::After(1), "write 0"),
        (Event::Written, "a 0 Durable, well, write 1 2 3 4"),
        (Event::Written, "a 1 Durable 2 Durable 3 Durable 4 Durable"),
        (Event::After(2), "write 5 6 7"),
        (Event::Written, "a 5 Durable 6 Durable 7 Durable"),
    ]);
}

/// D-03: three tries.
#[test]
fn a_device_that_stays_broken_is_given_up_once_and_left_alone() {
    let mut bench = Bench::open(true, &[]);
    bench.play(&[(Event::Pieces(0..4, "a"), "write 0 1 2 3")]);
    for _ in 0..3 {
        bench.play(&[(Event::NotWritten(TroubleKind::Io), "trouble, again in 1 s"), (Event::After(1_000), "write 0")]);
    }
    bench.play(&[
        (Event::NotWritten(TroubleKind::Io), "given up"),
        (Event::Pieces(4..8, "a"), ""),
        (Event::After(3_600_000), ""),
        (Event::Finish, ""),
        (Event::Goodbye, "record clean"),
        (Event::Recorded, "stop"),
    ]);
}

/// D-01: `fetch` ends with exit code 9, its state safe.
#[test]
fn a_full_disk_is_given_up_at_once_unless_it_is_to_be_waited_for() {
    use TroubleKind::{Full, Missing, ReadOnly, Taken, TooLong};
    for (patient, kinds) in [(false, &[Full, ReadOnly, Missing, Taken, TooLong][..]), (true, &[Taken, TooLong])] {
        for kind in kinds {
            let mut bench = Bench::open(patient, &[9]);
            bench.play(&[
                (Event::Pieces(0..8, "a"), "write 0 1 2 3, write 4 5 6 7"),
                (Event::NotWritten(*kind), "given up"),
                (Event::NotWritten(*kind), ""),
                (Event::After(3_600_000), ""),
                (Event::Goodbye, "record 9 clean"),
                (Event::Recorded, "stop"),
            ]);
        }
    }
}

/// D-01: "on free-space growth".
#[test]
fn a_full_disk_is_tried_every_half_minute_and_at_once_when_it_has_more_space() {
    let mut bench = Bench::open(true, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::NotWritten(TroubleKind::Full), "trouble, again in 30 s"),
        (Event::After(2_000), "measure"),
        (Event::Free(0), ""),
        (Event::After(28_000), &format!("{}write 0", "measure, ".repeat(14))),
        (Event::NotWritten(TroubleKind::Full), "trouble, again in 30 s"),
        (Event::After(2_000), "measure"),
        (Event::Free((1 << 20) - 1), ""),
        (Event::After(2_000), "measure"),
        (Event::Free(1 << 20), ""),
        (Event::After(0), "write 0"),
        (Event::Written, "a 0 Durable, well"),
        (Event::After(2), "write 1 2 3"),
    ]);
}

/// Another job may succeed while one has failed: then the disk is well.
#[test]
fn a_slow_job_beside_a_broken_one_loses_nothing() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..8, "a"), "write 0 1 2 3, write 4 5 6 7"),
        (Event::NotWritten(TroubleKind::Io), "trouble, again in 1 s"),
        (Event::After(5_000), ""),
        (Event::Written, "a 4 Durable 5 Durable 6 Durable 7 Durable, well, write 0 1 2 3"),
        (Event::Written, FOUR),
    ]);
}

/// Not told while pieces wait for a full disk, and told at last.
#[test]
fn durable_waits_for_the_end_of_the_trouble() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Finish, ""),
        (Event::NotWritten(TroubleKind::Io), "trouble, again in 1 s"),
        (Event::After(999), ""),
        (Event::After(1), "write 0"),
        (Event::Written, "a 0 Durable, well"),
        (Event::After(2), "write 1 2 3"),
        (Event::Written, "a 1 Durable 2 Durable 3 Durable, record 0 1 2 3"),
        (Event::Recorded, "look 0 1 2 3"),
        (Event::Looked(&[]), "durable"),
    ]);
}

#[test]
fn a_restart_tries_a_disk_that_was_given_up_anew() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::NotWritten(TroubleKind::Full), "given up"),
        (Event::Start, "lost"),
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
    ]);
}
