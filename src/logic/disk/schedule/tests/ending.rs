//! The stop in good order: what waits is written, then recorded as clean; nothing is written after that.

use super::*;

#[test]
fn a_goodbye_waits_for_what_is_under_way_and_records_clean() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..9, "a"), "write 0 1 2 3, write 4 5 6 7"),
        (Event::Goodbye, ""),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::After(2), "write 8"),
        (Event::Written, "a 4 Durable 5 Durable 6 Durable 7 Durable"),
        (Event::Written, "a 8 Durable, record 0 1 2 3 4 5 6 7 8 clean"),
        (Event::After(60_000), ""),
        (Event::Recorded, "stop"),
        (Event::After(60_000), ""),
    ]);
}

#[test]
fn a_goodbye_during_a_record_waits_for_it_and_records_clean() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::After(2_000), "record 0 1 2 3"),
        (Event::Goodbye, ""),
        (Event::Recorded, "record 0 1 2 3 clean"),
        (Event::Recorded, "stop"),
    ]);
}

#[test]
fn a_goodbye_in_trouble_does_not_wait_for_its_end() {
    let mut bench = Bench::open(true, &[9]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::NotWritten(TroubleKind::Full), "trouble, again in 30 s"),
        (Event::Goodbye, "record 9 clean"),
        (Event::Recorded, "stop"),
    ]);
}

/// "Clean" says that the files' times can be trusted the next time.
#[test]
fn nothing_is_written_once_the_last_record_is_being_made() {
    let mut bench = Bench::open(false, &[0]);
    bench.play(&[
        (Event::Goodbye, "record 0 clean"),
        (Event::Pieces(1..9, "a"), ""),
        (Event::After(60_000), ""),
        (Event::Finish, ""),
        (Event::Goodbye, ""),
        (Event::RecordFailed, "stop"),
    ]);
}

#[test]
fn a_goodbye_does_not_wait_for_a_piece_that_cannot_be_read() {
    let mut bench = Bench::open(false, &[0]);
    bench.play(&[
        (Event::Ask(&[0]), "read 0"),
        (Event::ReadFails(&[0], TroubleKind::Io), "check 0"),
        (Event::NotChecked, ""),
        (Event::Pieces(1..9, "a"), "write 1 2 3 4, write 5 6 7 8"),
        (Event::Goodbye, ""),
        (Event::After(60_000), ""),
        (Event::Written, "a 1 Durable 2 Durable 3 Durable 4 Durable"),
        (Event::Written, "a 5 Durable 6 Durable 7 Durable 8 Durable, record 0 1 2 3 4 5 6 7 8 clean"),
    ]);
}

#[test]
fn a_restart_during_the_last_record_makes_it_again() {
    let mut bench = Bench::open(false, &[0]);
    bench.play(&[
        (Event::Goodbye, "record 0 clean"),
        (Event::Start, "lost, record 0 clean"),
        (Event::Recorded, "stop"),
    ]);
}

#[test]
fn a_record_that_is_not_needed_any_more_says_so() {
    let mut bench = Bench::open(false, &[0]);
    bench.play(&[(Event::Forget, ""), (Event::Goodbye, "record 0 clean done"), (Event::Recorded, "stop")]);
}
