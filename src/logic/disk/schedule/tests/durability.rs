//! The promise: a piece is recorded only after its bytes were synced, after a failed sync it is written anew, and
//! "durable" is told only after a write, a sync and a last look.

use super::*;

#[test]
fn a_piece_that_is_written_while_a_record_is_made_is_in_the_next_one() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::After(2_000), "record 0 1 2 3"),
        (Event::Pieces(4..8, "a"), "write 4 5 6 7"),
        (Event::Written, "a 4 Durable 5 Durable 6 Durable 7 Durable"),
        (Event::After(60_000), ""),
        (Event::Recorded, ""),
        (Event::After(1), "record 0 1 2 3 4 5 6 7"),
    ]);
}

/// D-05: after a sync that failed, a later one that succeeds proves nothing of what the first was to make durable.
#[test]
fn what_a_failed_sync_left_in_doubt_is_written_anew_before_it_is_recorded() {
    let mut bench = Bench::open(false, &[9]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::After(2_000), "record 0 1 2 3 9"),
        (Event::SyncFailed, ""),
        (Event::Pieces(4..8, "a"), "write 4 5 6 7"),
        (Event::Written, "a 4 Durable 5 Durable 6 Durable 7 Durable"),
        (Event::After(999), ""),
        (Event::After(1), "rewrite 0 1 2 3"),
        (Event::Rewritten, ""),
        (Event::After(2_000), "record 0 1 2 3 4 5 6 7 9"),
        (Event::Recorded, ""),
        (Event::After(60_000), ""),
    ]);
}

/// D-05: the pages that a sync lost may be those of a write that ended while it ran, or began while it ran.
#[test]
fn what_was_written_during_a_failing_sync_is_in_doubt_too() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::After(2_000), "record 0 1 2 3"),
        (Event::Pieces(4..12, "a"), "write 4 5 6 7, write 8 9 10 11"),
        (Event::Written, "a 4 Durable 5 Durable 6 Durable 7 Durable"),
        (Event::SyncFailed, ""),
        (Event::Written, "a 8 Durable 9 Durable 10 Durable 11 Durable"),
        (Event::After(1_000), "rewrite 0 1 2 3"),
        (Event::Rewritten, ""),
        (Event::After(0), "rewrite 4 5 6 7"),
        (Event::Rewritten, ""),
        (Event::After(0), "rewrite 8 9 10 11"),
        (Event::Rewritten, ""),
        (Event::After(2_000), "record 0 1 2 3 4 5 6 7 8 9 10 11"),
    ]);
}

/// A record that is made while pieces are in doubt leaves them out, also the last one.
#[test]
fn what_is_in_doubt_is_left_out_of_every_record() {
    let mut bench = Bench::open(false, &[9]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::After(2_000), "record 0 1 2 3 9"),
        (Event::SyncFailed, ""),
        (Event::Goodbye, "record 9 clean"),
        (Event::Recorded, "stop"),
    ]);
}

#[test]
fn three_syncs_that_fail_in_a_row_end_it_and_nothing_of_theirs_is_recorded() {
    let mut bench = Bench::open(true, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::After(2_000), "record 0 1 2 3"),
    ]);
    for _ in 0..2 {
        bench.play(&[
            (Event::SyncFailed, ""),
            (Event::After(1_000), "rewrite 0 1 2 3"),
            (Event::Rewritten, ""),
            (Event::After(2_000), "record 0 1 2 3"),
        ]);
    }
    bench.play(&[
        (Event::SyncFailed, "given up"),
        (Event::After(3_600_000), ""),
        (Event::Goodbye, "record clean"),
        (Event::Recorded, "stop"),
    ]);
}

#[test]
fn pieces_in_doubt_that_cannot_be_written_anew_end_it() {
    for event in [Event::NotReread(TroubleKind::Io), Event::NotReread(TroubleKind::Missing), Event::Rewrong] {
        let mut bench = Bench::open(true, &[]);
        bench.play(&[
            (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
            (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
            (Event::After(2_000), "record 0 1 2 3"),
            (Event::SyncFailed, ""),
            (Event::After(1_000), "rewrite 0 1 2 3"),
            (event, "given up"),
            (Event::After(3_600_000), ""),
            (Event::Goodbye, "record clean"),
        ]);
    }
}

/// The outcome of a sync that ran when the driver failed is not known: it may have failed.
#[test]
fn after_a_restart_during_a_sync_what_it_was_to_make_durable_is_written_anew() {
    let mut bench = Bench::open(false, &[9]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::After(2_000), "record 0 1 2 3 9"),
        (Event::Pieces(4..8, "a"), "write 4 5 6 7"),
        (Event::Written, "a 4 Durable 5 Durable 6 Durable 7 Durable"),
        (Event::Start, "lost"),
        (Event::After(0), "rewrite 0 1 2 3"),
        (Event::Rewritten, ""),
        (Event::After(0), "rewrite 4 5 6 7"),
        (Event::Rewritten, ""),
        (Event::After(2_000), "record 0 1 2 3 4 5 6 7 9"),
    ]);
}

#[test]
fn after_a_restart_what_was_acknowledged_is_there_and_recorded_soon() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..8, "a"), "write 0 1 2 3, write 4 5 6 7"),
        (Event::Pieces(8..9, "a"), ""),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::Start, "lost"),
    ]);
    assert_eq!(bench.has(), " 0 1 2 3");
    bench.play(&[(Event::After(2_000), "record 0 1 2 3"), (Event::Recorded, ""), (Event::After(60_000), "")]);
}

/// D-05: exit code 0 says that every byte is there.
#[test]
fn durable_is_told_after_a_write_a_sync_and_a_last_look() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Finish, ""),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable, record 0 1 2 3"),
        (Event::Finish, ""),
        (Event::Recorded, "look 0 1 2 3"),
        (Event::Finish, ""),
        (Event::Looked(&[]), "durable"),
        (Event::After(60_000), ""),
    ]);
}

/// A download that is complete does not wait for the second that a failed sync rests, and does not end in doubt.
#[test]
fn durable_is_told_after_pieces_in_doubt_are_written_anew() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::Finish, "record 0 1 2 3"),
        (Event::SyncFailed, "rewrite 0 1 2 3"),
        (Event::Rewritten, "record 0 1 2 3"),
        (Event::SyncFailed, "rewrite 0 1 2 3"),
        (Event::Rewritten, "record 0 1 2 3"),
        (Event::Recorded, "look 0 1 2 3"),
        (Event::Looked(&[]), "durable"),
    ]);
}

/// What is written during the last look is not part of its answer.
#[test]
fn durable_is_not_told_before_what_was_written_during_the_last_look_is_synced() {
    let mut bench = Bench::open(false, &[0]);
    bench.play(&[
        (Event::Finish, "look 0"),
        (Event::Pieces(1..5, "a"), "write 1 2 3 4"),
        (Event::Written, "a 1 Durable 2 Durable 3 Durable 4 Durable"),
        (Event::Looked(&[]), "record 0 1 2 3 4"),
        (Event::Recorded, "look 0 1 2 3 4"),
        (Event::Looked(&[]), "durable"),
    ]);
}

/// D-02, D-05: the record that is made once more during the last look may be the one whose sync fails.
#[test]
fn durable_is_not_told_while_pieces_are_in_doubt_after_the_last_look() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::Finish, "record 0 1 2 3"),
        (Event::RecordFailed, "look 0 1 2 3"),
        (Event::After(2_000), "record 0 1 2 3"),
        (Event::SyncFailed, ""),
        (Event::Looked(&[]), "rewrite 0 1 2 3"),
        (Event::Rewritten, "record 0 1 2 3"),
        (Event::Recorded, "look 0 1 2 3"),
        (Event::Looked(&[]), "durable"),
    ]);
}

/// D-02: the data is safe and will be found without its record.
#[test]
fn durable_does_not_wait_for_a_record_that_fails() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::Finish, "record 0 1 2 3"),
        (Event::RecordFailed, "look 0 1 2 3"),
        (Event::Looked(&[]), "durable"),
    ]);
}

/// D-02, D-05: a record that failed excuses only the pieces that it was to record.
#[test]
fn durable_waits_for_what_is_written_during_or_after_a_record_that_fails() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::Finish, "record 0 1 2 3"),
        (Event::Pieces(4..8, "a"), "write 4 5 6 7"),
        (Event::Written, "a 4 Durable 5 Durable 6 Durable 7 Durable"),
        (Event::RecordFailed, "record 0 1 2 3 4 5 6 7"),
        (Event::RecordFailed, "look 0 1 2 3 4 5 6 7"),
        (Event::Pieces(8..12, "a"), "write 8 9 10 11"),
        (Event::Written, "a 8 Durable 9 Durable 10 Durable 11 Durable"),
        (Event::Looked(&[]), "record 0 1 2 3 4 5 6 7 8 9 10 11"),
        (Event::RecordFailed, "look 0 1 2 3 4 5 6 7 8 9 10 11"),
        (Event::Looked(&[]), "durable"),
    ]);
}

/// D-02: nothing is written twice, and it is noted once.
#[test]
fn a_record_that_fails_is_made_later() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..4, "a"), "write 0 1 2 3"),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable"),
        (Event::After(2_000), "record 0 1 2 3"),
        (Event::RecordFailed, ""),
        (Event::After(2_000), "record 0 1 2 3"),
        (Event::RecordFailed, ""),
        (Event::After(2_000), "record 0 1 2 3"),
        (Event::Recorded, ""),
        (Event::After(5_000), ""),
    ]);
    let is_first = bench.notes.iter().map(|note| match note {
        DiskNote::RecordFailed { is_first, pieces: 4, .. } => Some(*is_first),
        DiskNote::RecordWorksAgain => None,
        other => panic!("{other:?}"),
    });
    assert_eq!(is_first.collect::<Vec<_>>(), [Some(true), Some(false), None]);
}
