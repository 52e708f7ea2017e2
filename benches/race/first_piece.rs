//! How long it takes from the start of the process to the first request and the first piece, with a known peer.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::clients::{Kind, Turn, present};
use crate::download::dropped;
use crate::figures::Table;
use crate::lab::{Lab, Shape};
use crate::lean_seed::Seeds;
use crate::options::{FirstPiece, Options};

const COLUMNS: &[&str] =
    &["connected ms", "first request ms", "first piece sent ms", "first have ms", "one piece, ended ms"];

pub(crate) fn run(options: &Options, race: &FirstPiece) -> bool {
    let kinds = present(options, &race.rounds.clients, &Kind::OURS_AND_LIBTORRENT);
    let lab = Lab::new(&options.dest, Shape { mib: race.size, piece_kib: race.piece, files: 1 }, &[]);
    // One piece and the end: what is on the disk by then, and recorded, is durable.
    let single = Lab::new(&options.dest, Shape { mib: 1, piece_kib: 1024, files: 1 }, &[]);
    let mut table = Table::new(COLUMNS);
    for round in 0..=race.rounds.rounds {
        println!("round {round}{}", dropped(round));
        for kind in &kinds {
            let figures = turn(options, &lab, *kind).zip(turn(options, &single, *kind)).map(|(lab, single)| {
                let [connected, request, piece, have, _] = lab;
                [connected, request, piece, have, single[4]]
            });
            println!(
                "  {:<18} {}",
                kind.name(),
                figures.map_or("FAILED".to_owned(), |figures| format!("{figures:.2?}"))
            );
            if round > 0 || figures.is_none() {
                table.add(kind.name(), figures.as_ref().map(<[f64; 5]>::as_slice));
            }
        }
    }
    let what = format!("First piece of {} MiB, pieces of {} KiB, one known lean seed", race.size, race.piece);
    let well = table.print(&what, options.json);
    println!("libtorrent from the moment when Python is ready to make a session; have: - where a seed is not told;");
    println!("one piece: a torrent of 1 MiB, until the client has ended with all of it on the disk.");
    well
}

/// Returns the figures of [`COLUMNS`], if the client completed.
fn turn(options: &Options, lab: &Lab, kind: Kind) -> Option<[f64; 5]> {
    let seeds = Seeds::start(&lab.content, 1);
    let mut turn = Turn::fetch(options, kind, lab, Some(seeds.addrs[0]));
    lab.warm();
    let process = turn.start();
    let began = process.began();
    let outcome = process.run(Duration::from_secs(options.timeout), |_| false);
    let firsts = seeds.firsts();
    let since = |first: &OnceLock<Instant>| Some(first.get()?.saturating_duration_since(began).as_secs_f64() * 1e3);
    let have = since(&firsts.have).unwrap_or(f64::NAN);
    let figures =
        [since(&firsts.connection)?, since(&firsts.request)?, since(&firsts.piece)?, have, outcome.wall * 1e3];
    (outcome.well && lab.is_whole(&turn.folder)).then_some(figures)
}
