//! Pieces are written in jobs, recorded in groups, and each who asked is told once.

use super::*;

#[test]
fn pieces_wait_two_milliseconds_for_others_and_go_in_at_most_two_jobs() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..10, "a"), "write 0 1 2 3, write 4 5 6 7"),
        (Event::After(1_000), ""),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable, write 8 9"),
        (Event::Written, "a 4 Durable 5 Durable 6 Durable 7 Durable"),
        (Event::Written, "a 8 Durable 9 Durable"),
    ]);
    assert_eq!(bench.has(), " 0 1 2 3 4 5 6 7 8 9");
}

#[test]
fn each_who_asked_is_told_of_its_own_pieces() {
    let mut bench = Bench::open(false, &[]);
    bench.play(&[
        (Event::Pieces(0..8, "a"), "write 0 1 2 3, write 4 5 6 7"),
        (Event::Pieces(8..10, "a"), ""),
        (Event::Pieces(10..12, "b"), ""),
        (Event::Written, "a 0 Durable 1 Durable 2 Durable 3 Durable, write 8 9 10 11"),
        (Event::WrongHash, "a 4 HashMismatch 5 HashMismatch 6 HashMismatch 7 HashMismatch"),
        (Event::Written, "a 8 Durable 9 Durable, b 10 Durable 11 Durable"),
    ]);
    assert_eq!(bench.has(), " 0 1 2 3 8 9 10 11");
}

#[test]
fn records_are_made_in_groups_of_two_seconds_or_sixteen_mebibytes() {
    let mut bench = Bench::open(false, &[0]);
    bench.play(&[
        (Event::Pieces(1..5, "a"), "write 1 2 3 4"),
        (Event::Written, "a 1 Durable 2 Durable 3 Durable 4 Durable"),
        (Event::After(1_999), ""),
        (Event::After(1), "record 0 1 2 3 4"),
        (Event::Recorded, ""),
        (Event::After(60_000), ""),
    ]);
    for first in [5, 9, 13] {
        bench.on(Event::Pieces(first..first + 4, "a"));
        bench.on(Event::Written);
        assert_eq!(bench.on(Event::After(10)), [""; 0]);
    }
    bench.on(Event::Pieces(17..21, "a"));
    bench.on(Event::Written);
    bench.play(&[(Event::After(1), "record 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20")]);
}

#[test]
fn totals_of_all_runs_are_recorded() {
    let mut bench = Bench::open(false, &[0]);
    bench.it.set_totals(Totals { received: 11, sent: 22 });
    bench.it.on_goodbye(bench.now);
    let Some(DiskEffect::SaveRecord(record)) = bench.it.poll() else { panic!("no record") };
    assert_eq!((record.received, record.sent, record.clean, record.done), (111, 222, true, false));
}

/// I6.
#[test]
fn only_what_is_ours_is_read_for_a_peer_and_not_for_too_many_at_once() {
    let mut bench = Bench::open(false, &[1, 2]);
    bench.play(&[
        (Event::Ask(&[0, 1, 3, 1, 2]), "read 1 1 2"),
        (Event::Ask(&[0]), "refuse after 1 s"),
        (Event::ReadFails(&[], TroubleKind::Io), ""),
    ]);
    for _ in 0..200 {
        bench.play(&[(Event::Ask(&[1]), "read 1")]);
    }
    bench.play(&[
        (Event::Ask(&[1]), "refuse after 1 s"),
        (Event::ReadFails(&[], TroubleKind::Io), ""),
        (Event::Ask(&[1]), "read 1"),
    ]);
}

#[test]
fn an_answer_has_a_place_for_each_range_that_was_asked_for() {
    let mut bench = Bench::open(false, &[1, 2]);
    let range = |number| geometry().parse_range(number, 0, 5).unwrap();
    let plan = bench.it.plan_read([0, 1, 3, 2].map(range).to_vec());
    let bytes = bytes::Bytes::from_static(&[1; 5]);
    let (answer, failed) = plan.answer(vec![Ok(bytes.clone()), Err(trouble(TroubleKind::Io))]);
    assert_eq!(answer, [None, Some(bytes), None, None]);
    assert_eq!(failed, [(piece(2), trouble(TroubleKind::Io))]);
}
