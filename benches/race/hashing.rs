//! How fast data is checked against a torrent, and how fast a torrent is made of it. The file is warm.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tt_actors::codec::metainfo::Metainfo;

use crate::clients::{Kind, present, with_libtorrent};
use crate::download::dropped;
use crate::figures::Table;
use crate::lab::{Lab, Shape};
use crate::options::{Hash, Options};
use crate::process::Process;

const COLUMNS: &[&str] = &["wall s", "CPU s", "GiB/s", "GiB per CPU s", "peak MiB"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Verify,
    Create,
}

pub(crate) fn run(options: &Options, race: &Hash, what: What) -> bool {
    let able = match what {
        What::Verify => &Kind::OURS_AND_LIBTORRENT[..],
        // This client has no settings for it.
        What::Create => &[Kind::TtActors, Kind::Libtorrent],
    };
    let kinds = present(options, &race.rounds.clients, able);
    let lab = Lab::new(&options.dest, Shape { mib: race.size, piece_kib: race.piece, files: 1 }, &[]);
    let source = lab.source();
    let mut table = Table::new(COLUMNS);
    for round in 0..=race.rounds.rounds {
        println!("round {round}{}", dropped(round));
        for kind in &kinds {
            let figures = turn(options, race, &lab, &source, *kind, what);
            println!(
                "  {:<18} {}",
                kind.name(),
                figures.map_or("FAILED".to_owned(), |figures| format!("{figures:.3?}"))
            );
            if round > 0 || figures.is_none() {
                table.add(kind.name(), figures.as_ref().map(<[f64; 5]>::as_slice));
            }
        }
    }
    let title = format!("{what:?} of {} MiB, pieces of {} KiB, one warm file", race.size, race.piece);
    table.print(&title, options.json)
}

/// Returns the figures of [`COLUMNS`], if the client reported the right result.
fn turn(options: &Options, race: &Hash, lab: &Lab, source: &Path, kind: Kind, what: What) -> Option<[f64; 5]> {
    let out = lab.path("made.torrent");
    fs::remove_file(&out).unwrap_or_default();
    let mut command = command(options, race, lab, source, kind, what);
    let log = lab.path(&format!("{}.log", kind.name()));
    let process = Process::spawn(&mut command, &log, kind.from());
    let outcome = process.run(Duration::from_secs(options.timeout), |_| false);
    let right = what == What::Verify || is_right(&out, lab);
    let gib = race.size as f64 / 1024.0;
    (outcome.well && right).then_some([
        outcome.wall,
        outcome.cpu,
        gib / outcome.wall,
        gib / outcome.cpu,
        outcome.peak_mib,
    ])
}

fn command(options: &Options, race: &Hash, lab: &Lab, source: &Path, kind: Kind, what: What) -> Command {
    let ours = kind == Kind::TtActors;
    let mut command = match (what, ours) {
        (What::Verify, true) => words(&options.bin, &["verify", "-q", "-d"]),
        (What::Create, true) => {
            words(&options.bin, &["create", "-q", "--piece-length", &format!("{}K", race.piece), "-o"])
        }
        (What::Verify, false) => with_libtorrent("verify"),
        (What::Create, false) => with_libtorrent("create"),
    };
    if kind == Kind::LibtorrentTuned {
        command.arg("--tuned");
    }
    let (payload, out) = (source.join("payload"), lab.path("made.torrent"));
    match (what, ours) {
        (What::Verify, true) => command.arg(source).arg(lab.torrent()),
        (What::Verify, false) => command.arg(lab.torrent()).arg(source),
        (What::Create, true) => command.arg(out).arg(payload),
        (What::Create, false) => command.arg(payload).arg(out).arg((race.piece * 1024).to_string()),
    };
    command
}

fn words(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// The same info-hash means the same hash of every piece.
fn is_right(made: &Path, lab: &Lab) -> bool {
    let made = fs::read(made).ok().and_then(|file| Metainfo::parse(&file).ok());
    made.is_some_and(|made| made.info.info_hash.0 == lab.content.info_hash)
}
