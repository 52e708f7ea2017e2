//! How fast and how cheaply clients fetch from lean seeds, and whether many pieces cost more than few.

use std::time::Duration;

use crate::announce::Tracker;
use crate::clients::{Kind, Turn, present};
use crate::figures::{Table, short};
use crate::lab::{Lab, Shape};
use crate::lean_seed::Seeds;
use crate::options::{Download, Options, Pieces};

const COLUMNS: &[&str] = &["wall s", "CPU s", "CPU s/GiB", "peak MiB", "seed CPU s"];

/// 1,024 and 102,400 pieces of the default 1600 MiB.
const PIECES_KIB: [u32; 2] = [1600, 16];

/// A torrent, its tracker and its seeds.
pub(crate) struct Swarm {
    pub(crate) lab: Lab,
    pub(crate) seeds: Seeds,
}

impl Swarm {
    pub(crate) fn new(options: &Options, shape: Shape, seeds: u32) -> Self {
        let tracker = Tracker::bind();
        let lab = Lab::new(&options.dest, shape, std::slice::from_ref(&tracker.url));
        let seeds = Seeds::start(&lab.content, seeds);
        tracker.start(&seeds.addrs);
        Self { lab, seeds }
    }

    /// Runs one client once. Returns the figures of [`COLUMNS`], if every byte came.
    fn turn(&self, options: &Options, kind: Kind, gib: f64) -> Option<[f64; 5]> {
        let mut turn = Turn::fetch(options, kind, &self.lab, None);
        self.lab.warm();
        let outcome = turn.run(Duration::from_secs(options.timeout), &self.seeds, |_| {});
        let served = self.seeds.collect();
        let whole = self.lab.is_whole(&turn.folder);
        let verdict = if outcome.well && whole { "every byte is right" } else { "FAILED" };
        let figures = [outcome.wall, outcome.cpu, outcome.cpu / gib, outcome.peak_mib, served.cpu.as_secs_f64()];
        println!(
            "  {:<18} wall {:.3} s, CPU {:.2} s, peak {:.0} MiB, seeds sent {:.3} times the payload: {verdict}",
            kind.name(),
            outcome.wall,
            outcome.cpu,
            outcome.peak_mib,
            served.bytes as f64 / self.lab.content.bytes.len() as f64,
        );
        if !outcome.well {
            println!("{}", turn.last_words());
        }
        // The next client shall find the memory free.
        self.lab.fresh("out");
        (outcome.well && whole).then_some(figures)
    }
}

pub(crate) fn run(options: &Options, race: &Download) -> bool {
    let kinds = present(options, &race.rounds.clients, &Kind::ALL);
    let mut well = true;
    for seeds in &race.seeds {
        let shape = Shape { mib: race.size, piece_kib: race.piece, files: race.files };
        let swarm = Swarm::new(options, shape, *seeds);
        let mut table = Table::new(COLUMNS);
        for round in 0..=race.rounds.rounds {
            println!("round {round}{}", dropped(round));
            for kind in &kinds {
                let figures = swarm.turn(options, *kind, race.size as f64 / 1024.0);
                keep(&mut table, round, kind.name(), figures);
            }
        }
        let what = format!(
            "Download of {} MiB in {} file(s), pieces of {} KiB, {seeds} lean seed(s)",
            race.size, race.files, race.piece
        );
        well &= table.print(&what, options.json);
    }
    well
}

pub(crate) fn run_pieces(options: &Options, race: &Pieces) -> bool {
    assert!(
        race.size.is_multiple_of(25),
        "--size must be a multiple of 25: pieces of 16 and of 1600 KiB shall end with it"
    );
    let kinds = present(options, &race.rounds.clients, &Kind::ALL);
    let shapes = PIECES_KIB.map(|piece_kib| Shape { mib: race.size, piece_kib, files: 1 });
    let swarms = shapes.map(|shape| Swarm::new(options, shape, 1));
    let mut table = Table::new(COLUMNS);
    let row = |kind: Kind, swarm: &Swarm| format!("{}, {} pieces", kind.name(), swarm.lab.content.pieces());
    for round in 0..=race.rounds.rounds {
        println!("round {round}{}", dropped(round));
        for kind in &kinds {
            for swarm in &swarms {
                let figures = swarm.turn(options, *kind, race.size as f64 / 1024.0);
                keep(&mut table, round, &row(*kind, swarm), figures);
            }
        }
    }
    let well =
        table.print(&format!("Download of {} MiB in few and in many pieces, one lean seed", race.size), options.json);
    for kind in &kinds {
        let [few, many] = swarms.each_ref().map(|swarm| table.median(&row(*kind, swarm), "CPU s"));
        if let (Some(few), Some(many)) = (few, many) {
            println!("{}: many pieces cost {} times the CPU of few", kind.name(), short(many / few));
        }
    }
    well
}

pub(crate) fn dropped(round: usize) -> &'static str {
    if round == 0 { " (dropped)" } else { "" }
}

/// The first round warms up, but a failure counts in any.
pub(crate) fn keep(table: &mut Table, round: usize, row: &str, figures: Option<[f64; 5]>) {
    if round > 0 || figures.is_none() {
        table.add(row, figures.as_ref().map(<[f64; 5]>::as_slice));
    }
}
