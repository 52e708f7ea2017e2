//! Pieces that are hashed and written in one job: each has its own outcome.

use super::*;

#[test]
fn a_piece_that_does_not_hash_right_writes_nothing() {
    let bench = Bench::new(several_files());
    let disk = bench.disk();
    bench.open(&disk);
    bench.admit(&disk, &bench.none()).unwrap();
    let right = bench.job(bench.piece(0));
    let mut blocks = right.blocks.to_vec();
    let mut block = blocks[1].to_vec();
    block[0] ^= 1;
    blocks[1] = block.into();
    let wrong = PieceJob { blocks: blocks.into(), ..right };
    let short = PieceJob { blocks: right.blocks.split_last().unwrap().1.into(), ..right };
    let outcomes = bench.wait(|| disk.write(vec![wrong, short]));
    assert!(outcomes.iter().all(|outcome| matches!(outcome, PieceOutcome::HashMismatch(_))), "{outcomes:?}");
    assert!(!bench.path("a").exists());
}

/// Neighbours are written at once. A piece that is wrong, or cannot be written, does not affect its neighbours.
#[test]
fn pieces_in_any_order_have_each_their_own_outcome() {
    let told = |outcome: &PieceOutcome| match outcome {
        PieceOutcome::Written(piece) => (piece.get(), "written"),
        PieceOutcome::HashMismatch(piece) => (piece.get(), "wrong"),
        PieceOutcome::Trouble(job, _) => (job.piece.get(), "trouble"),
    };
    let bench = Bench::new(several_files());
    let disk = bench.disk();
    bench.open(&disk);
    bench.admit(&disk, &bench.none()).unwrap();
    let job = |number| bench.job(bench.piece(number));
    let wrong = PieceJob { piece: bench.piece(2), blocks: job(1).blocks };
    let outcomes = bench.wait(|| disk.write(vec![job(3), job(1), wrong, job(0)]));
    let outcomes: Vec<_> = outcomes.iter().map(told).collect();
    assert_eq!(outcomes, [(3, "written"), (1, "written"), (2, "wrong"), (0, "written")]);
    assert!(std::fs::read(bench.path("a")).unwrap()[..2 * PIECE_LEN] == bench.data[..2 * PIECE_LEN]);

    std::fs::create_dir(bench.path("c")).unwrap();
    let outcomes = bench.wait(|| disk.write(vec![job(5), job(4), job(3), job(2)]));
    let outcomes: Vec<_> = outcomes.iter().map(told).collect();
    assert_eq!(outcomes, [(5, "trouble"), (4, "trouble"), (3, "written"), (2, "written")]);
    assert!(std::fs::read(bench.path("a")).unwrap() == bench.data[..50_000]);
}
