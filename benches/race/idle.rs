//! The cost of idleness: memory for each peer that only stays connected, memory and CPU for each torrent without
//! requests.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use serde_json::json;
use tt_actors::faults::payload::Payload;
use tt_actors::faults::torrent::{MadeTorrent, Recipe};

use crate::clients::{Kind, Turn, free_port};
use crate::lab::{Content, Lab, Shape, folder};
use crate::lean_leech::Leech;
use crate::options::{Idle, Options};
use crate::process::{From, Process, cpu_of, status_kib};

/// Memory and CPU are taken as settled after a window of so long with hardly any CPU, or after `PATIENCE`.
const WINDOW: Duration = Duration::from_secs(2);
const QUIET: f64 = 0.05;
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a settled seed may take to answer for a torrent.
const SERVED: Duration = Duration::from_secs(10);

/// The length of each of many torrents: one piece of one block.
const SMALL: u64 = 16 * 1024;

pub(crate) fn run(options: &Options, race: &Idle) -> bool {
    let rows = [
        (race.peers > 0).then(|| idle_peers(options, race)),
        (race.torrents > 0).then(|| idle_torrents(options, race)),
    ];
    println!("\n| | KiB each | CPU % of a core |\n|---|---|---|");
    for row in rows.iter().flatten() {
        let failed = if row.well { "" } else { " (failed)" };
        println!("| {}{failed} | {:.2} | {:.2} |", row.name, row.kib_each, row.cpu_percent);
        if options.json {
            let figures = json!({"kib_each": row.kib_each, "cpu_percent": row.cpu_percent});
            println!("{}", json!({"race": "idle", "row": row.name, "failed": !row.well, "figures": figures}));
        }
    }
    rows.iter().flatten().all(|row| row.well)
}

struct Row {
    /// Peers were kept, torrents are served.
    well: bool,
    name: String,
    kib_each: f64,
    cpu_percent: f64,
}

/// Peers that only shake hands: they announce and request no pieces.
fn idle_peers(options: &Options, race: &Idle) -> Row {
    let lab = Lab::new(&options.dest, Shape { mib: 16, piece_kib: 256, files: 1 }, &[]);
    let source = lab.source();
    let mut turn = Turn::seed(options, Kind::TtActors, &lab, &source);
    // Half of the places are for those who come by themselves.
    turn.command.args(["--max-peers", &(2 * (race.peers + 2)).to_string()]);
    let process = turn.start();
    let limit = Duration::from_secs(options.timeout);
    // The first two connections allocate everything that exists once.
    let connect = |nth| Leech::connect(turn.addr, &lab.content, nth, limit).unwrap();
    let mut kept: Vec<_> = (0..2).map(connect).collect();
    settle(process.pid());
    let before = resident(process.pid());
    kept.extend((2..race.peers + 2).map(connect));
    settle(process.pid());
    let grown = resident(process.pid()) - before;
    let cpu_percent = watched(process.pid(), race.watch);
    let open = kept.iter_mut().map(Leech::is_open).filter(|open| *open).count();
    let well = open == kept.len();
    if !well {
        println!("  of {} peers {open} are still connected", kept.len());
    }
    process.stop();
    let name = format!("{} idle peers of a seed", race.peers);
    Row { well, name, kib_each: grown / f64::from(race.peers), cpu_percent }
}

/// A session that seeds many torrents without leeches.
fn idle_torrents(options: &Options, race: &Idle) -> Row {
    let folder = folder(&options.dest);
    let (one, _) = session(options, folder.path(), 1);
    let before = resident(one.pid());
    one.stop();
    let (many, addr) = session(options, folder.path(), race.torrents);
    let grown = resident(many.pid()) - before;
    let cpu_percent = watched(many.pid(), race.watch);
    let some = [0, race.torrents / 2, race.torrents - 1];
    let well = some.into_iter().all(|nth| Leech::connect(addr, &small(nth), nth, SERVED).is_ok());
    if !well {
        let open = fs::read_dir(format!("/proc/{}/fd", many.pid())).map_or(0, Iterator::count);
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        println!("  not all torrents are served; the client has {open} descriptors open of at most {most}");
    }
    many.stop();
    let name = format!("{} idle torrents", race.torrents);
    Row { well, name, kib_each: grown / f64::from(race.torrents), cpu_percent }
}

/// Starts a client that seeds this many torrents and waits until it has settled.
fn session(options: &Options, folder: &Path, torrents: u32) -> (Process, SocketAddrV4) {
    let addr = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port());
    let source = folder.join("source");
    fs::create_dir_all(&source).unwrap();
    let mut command = Command::new(&options.bin);
    command.args(["seed", "-q", "--exclude-tracker", "*", "--port", &addr.port().to_string(), "-d"]).arg(&source);
    for nth in 0..torrents {
        let (name, torrent, payload) = made(nth);
        let path = folder.join(format!("{name}.torrent"));
        fs::write(&path, torrent.file).unwrap();
        fs::write(source.join(name), payload.read(0, usize::MAX)).unwrap();
        command.arg(path);
    }
    let process = Process::spawn(&mut command, &folder.join("log"), From::Start);
    settle(process.pid());
    (process, addr)
}

/// Returns one of many torrents and its name.
fn made(nth: u32) -> (String, MadeTorrent, Payload) {
    let name = format!("t{nth:06}");
    let payload = Payload::new(u64::from(nth), SMALL);
    let torrent = Recipe::single(&name, u32::try_from(SMALL).unwrap(), &[]).make(payload).unwrap();
    (name, torrent, payload)
}

/// Returns what a lean peer knows of that torrent.
fn small(nth: u32) -> Content {
    let (_, torrent, payload) = made(nth);
    let bytes = payload.read(0, usize::MAX).into();
    Content { info_hash: torrent.offer.info_hash.0, piece_len: usize::try_from(SMALL).unwrap(), bytes }
}

fn resident(pid: u32) -> f64 {
    status_kib(pid, "VmRSS:").unwrap_or_else(|| panic!("the client has ended"))
}

/// Waits until the client uses hardly any processor time.
fn settle(pid: u32) {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if spent(pid, WINDOW) / WINDOW.as_secs_f64() < QUIET {
            return;
        }
    }
    println!("  still busy after {} s", PATIENCE.as_secs());
}

fn watched(pid: u32, seconds: u64) -> f64 {
    let window = Duration::from_secs(seconds);
    spent(pid, window) / window.as_secs_f64() * 100.0
}

/// Returns the processor time in a window from now on, in seconds.
fn spent(pid: u32, window: Duration) -> f64 {
    let before = cpu_of(pid);
    thread::sleep(window);
    cpu_of(pid) - before
}
