//! What giving costs: each client seeds a file in memory to lean leeches that share nothing.

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::{Kind, Turn, present};
use crate::download::dropped;
use crate::figures::Table;
use crate::lab::{GIB, Lab, Shape};
use crate::lean_leech::{Leech, Taken};
use crate::options::{Options, Seed};
use crate::process::{Process, cpu_of, peak_of, read_by};

const COLUMNS: &[&str] = &["wall s", "GiB/s", "CPU s/GiB", "read", "peak MiB", "leech CPU s/GiB"];

/// Of what was sent, less than half came through `read`: it was mapped, and the figure says nothing.
const READS: f64 = 0.5;

pub(crate) fn run(options: &Options, race: &Seed) -> bool {
    let kinds = present(options, &race.rounds.clients, &Kind::ALL);
    let lab = Lab::new(&options.dest, Shape { mib: race.size, piece_kib: race.piece, files: 1 }, &[]);
    let source = lab.source();
    let mut well = true;
    for leeches in &race.leeches {
        let mut table = Table::new(COLUMNS);
        for round in 0..=race.rounds.rounds {
            println!("round {round}{}", dropped(round));
            for kind in &kinds {
                let check = race.check || round == 0;
                let figures = turn(options, race, &lab, &source, *kind, *leeches, check);
                println!(
                    "  {:<18} {}",
                    kind.name(),
                    figures.map_or("FAILED".to_owned(), |figures| format!("{figures:.3?}"))
                );
                if round > 0 || figures.is_none() {
                    table.add(kind.name(), figures.as_ref().map(<[f64; 6]>::as_slice));
                }
            }
        }
        let what = format!(
            "Seeding {} MiB, pieces of {} KiB, to {leeches} lean leech(es) with {} requests each",
            race.size, race.piece, race.window
        );
        well &= table.print(&what, options.json);
    }
    println!("read: bytes that came through read calls over bytes sent; - where the client maps its files.");
    well
}

/// One client, once; the figures of [`COLUMNS`], if every leech got all.
fn turn(
    options: &Options,
    race: &Seed,
    lab: &Lab,
    source: &Path,
    kind: Kind,
    leeches: u32,
    check: bool,
) -> Option<[f64; 6]> {
    let mut turn = Turn::seed(options, kind, lab, source);
    lab.warm();
    let process = turn.start();
    let limit = Duration::from_secs(options.timeout);
    let connected = (0..leeches).map(|nth| Leech::connect(turn.addr, &lab.content, nth, limit)).collect();
    let figures = match connected {
        Ok(connected) => taken(&process, connected, race.window, check),
        Err(error) => {
            println!("  {} does not seed: {error}\n{}", kind.name(), turn.last_words());
            None
        }
    };
    process.stop();
    figures
}

/// All leeches begin at once.
fn taken(process: &Process, leeches: Vec<Leech>, window: usize, check: bool) -> Option<[f64; 6]> {
    let pid = process.pid();
    let (cpu, read) = (cpu_of(pid), read_by(pid));
    let barrier = Arc::new(Barrier::new(leeches.len() + 1));
    let take = |(nth, leech): (usize, Leech)| {
        let barrier = Arc::clone(&barrier);
        thread::spawn(move || {
            barrier.wait();
            leech.take(nth as u64, window, check)
        })
    };
    let threads: Vec<_> = leeches.into_iter().enumerate().map(take).collect();
    barrier.wait();
    let began = Instant::now();
    let taken: Vec<Option<Taken>> = threads.into_iter().map(|thread| thread.join().ok()?.ok()).collect();
    let wall = began.elapsed().as_secs_f64();
    let (cpu, read) = (cpu_of(pid) - cpu, read_by(pid) - read);
    let taken: Vec<Taken> = taken.into_iter().collect::<Option<_>>()?;
    let sent = taken.iter().map(|taken| taken.bytes).sum::<u64>() as f64;
    let theirs = taken.iter().map(|taken| taken.cpu.as_secs_f64()).sum::<f64>();
    let amplification = Some(read as f64 / sent).filter(|read| *read > READS).unwrap_or(f64::NAN);
    let gib = sent / GIB;
    Some([wall, gib / wall, cpu / gib, amplification, peak_of(pid)?, theirs / gib])
}
