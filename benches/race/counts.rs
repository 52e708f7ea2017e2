//! What a GiB takes besides seconds: syscalls, switches, wake-ups, messages, copied bytes, allocations. Nearly free of
//! noise, so they can be held to limits on any machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clients::{Kind, Turn, present};
use crate::download::Swarm;
use crate::lab::{Lab, Shape};
use crate::lean_leech::Leech;
use crate::memory::{Counter, Memory};
use crate::options::{Counts, Options};
use crate::perf::{Events, Tool};

/// What was counted of the binary of the tests with 512 MiB.
const COUNTED: &str = include_str!("counted.json");

/// Clients that end by themselves; who is killed tells nothing.
const TELLING: [Kind; 4] = [Kind::Libtorrent, Kind::LibtorrentTuned, Kind::Aria2, Kind::Rqbit];

/// As in `seed`.
const WINDOW: usize = 256;

/// The metrics of the last moments, which are written once a second, are awaited so long.
const METRICS: Duration = Duration::from_millis(1500);

pub(crate) fn run(options: &Options, race: &Counts) -> bool {
    let Some(tool) = Tool::found() else {
        println!("neither perf stat -e raw_syscalls:sys_enter nor strace works here");
        return false;
    };
    let shape = Shape { mib: race.size, piece_kib: race.piece, files: 1 };
    let gib = race.size as f64 / 1024.0;
    let swarm = Swarm::new(options, shape, 1);
    let counter = Counter::compiled();
    let mut least = BTreeMap::<String, f64>::new();
    for _ in 0..race.rounds.max(1) {
        for (name, count) in counted(options, &swarm, tool, &counter) {
            let count = (count / gib).round();
            least.entry(name).and_modify(|known| *known = known.min(count)).or_insert(count);
        }
    }
    let object: Map<_, _> = least.iter().map(|(name, count)| (name.clone(), json!(count))).collect();
    println!("{:#}", json!({"tool": tool.name(), "size_mib": race.size, "piece_kib": race.piece, "per_gib": object}));
    for kind in present(options, &race.beside, &TELLING) {
        let Memory { bytes_copied, allocations } = memory_of(options, kind, &swarm, &counter);
        let (bytes_copied, allocations) = (bytes_copied / gib, allocations / gib);
        println!("{}: {bytes_copied:.0} bytes copied, {allocations:.0} allocations for each GiB", kind.name());
    }
    race.check.is_none_or(|factor| within(&least, factor, tool))
}

/// Every count once, by its name.
fn counted(options: &Options, swarm: &Swarm, tool: Tool, counter: &Counter) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    let mut note = |side: &str, what: &str, count: Option<f64>| {
        if let Some(count) = count {
            counts.insert(format!("{side}.{what}"), count);
        }
    };
    for (side, events) in [("down", down(options, swarm, tool)), ("up", up(options, &swarm.lab, tool))] {
        note(side, "syscalls", events.syscalls);
        note(side, "futexes", events.futexes);
        note(side, "wake_ups", events.wake_ups);
        note(side, "switches", events.switches);
    }
    for (side, inner) in
        [("down", down_inside(options, swarm, counter)), ("up", up_inside(options, &swarm.lab, counter))]
    {
        note(side, "voluntary_switches", Some(inner.voluntary));
        note(side, "involuntary_switches", Some(inner.involuntary));
        note(side, "bytes_copied", Some(inner.memory.bytes_copied));
        note(side, "allocations", Some(inner.memory.allocations));
        note(side, "messages", Some(inner.messages.values().sum()));
        for (kind, handled) in inner.messages {
            note(side, &format!("messages.{kind}"), Some(handled));
        }
    }
    counts
}

/// Every count that is known is there again, if this tool has it, and at most so many times what it was.
fn within(counts: &BTreeMap<String, f64>, factor: f64, tool: Tool) -> bool {
    let known: BTreeMap<String, f64> = serde_json::from_str(COUNTED).unwrap();
    let beyond: Vec<_> = known
        .iter()
        .map(|(name, known)| (name, known * factor))
        .filter_map(|(name, limit)| match counts.get(name) {
            None if tool == Tool::Strace => {
                println!("{name}: {} does not count this", tool.name());
                None
            }
            None => Some(format!("{name}: not counted, limit {limit} for each GiB")),
            Some(count) if *count > limit => Some(format!("{name}: {count} for each GiB, limit {limit}")),
            Some(_) => None,
        })
        .collect();
    println!("{}", if beyond.is_empty() { "within all limits".to_owned() } else { beyond.join("\n") });
    beyond.is_empty()
}

/// The download, from the start of the process to its end.
fn down(options: &Options, swarm: &Swarm, tool: Tool) -> Events {
    let mut turn = Turn::fetch(options, Kind::TtActors, &swarm.lab, None);
    let out = swarm.lab.path("counted");
    turn.command = tool.around(&turn.command, &out);
    fetched(options, swarm, &mut turn, |_| {});
    tool.read(&out)
}

fn fetched(options: &Options, swarm: &Swarm, turn: &mut Turn, watch: impl FnMut(u32)) {
    swarm.lab.warm();
    let outcome = turn.run(Duration::from_secs(options.timeout), &swarm.seeds, watch);
    assert!(outcome.well && swarm.lab.is_whole(&turn.folder), "the download failed");
}

/// Whatever the client, in its own process.
fn memory_of(options: &Options, kind: Kind, swarm: &Swarm, counter: &Counter) -> Memory {
    let mut turn = Turn::fetch(options, kind, &swarm.lab, None);
    counter.load_into(&mut turn.command);
    fetched(options, swarm, &mut turn, |_| {});
    counter.read()
}

/// One leech, from before its first request to its last block.
fn up(options: &Options, lab: &Lab, tool: Tool) -> Events {
    let source = lab.source();
    let mut turn = without_tracker(Turn::seed(options, Kind::TtActors, lab, &source));
    let process = turn.start();
    let leech = Leech::connect(turn.addr, &lab.content, 1, Duration::from_secs(options.timeout)).unwrap();
    let attached = tool.attach(process.pid(), &lab.path("counted"));
    leech.take(1, WINDOW, true).unwrap();
    let events = attached.end();
    process.stop();
    events
}

/// What the client, the kernel and its own libc know of it.
struct Inside {
    voluntary: f64,
    involuntary: f64,
    memory: Memory,
    messages: BTreeMap<String, f64>,
}

fn down_inside(options: &Options, swarm: &Swarm, counter: &Counter) -> Inside {
    let mut turn = observed(&swarm.lab, counter, Turn::fetch(options, Kind::TtActors, &swarm.lab, None));
    // It stays for a last line of metrics.
    turn.command.args(["--seed-time", "1500ms"]);
    let mut switches = Switches::default();
    fetched(options, swarm, &mut turn, |pid| switches.look(pid));
    inside(&swarm.lab, counter, &switches)
}

fn up_inside(options: &Options, lab: &Lab, counter: &Counter) -> Inside {
    let source = lab.source();
    let mut turn = observed(lab, counter, without_tracker(Turn::seed(options, Kind::TtActors, lab, &source)));
    let process = turn.start();
    let leech = Leech::connect(turn.addr, &lab.content, 1, Duration::from_secs(options.timeout)).unwrap();
    let mut switches = Switches::default();
    leech.take(1, WINDOW, true).unwrap();
    switches.look(process.pid());
    thread::sleep(METRICS);
    process.stop();
    inside(lab, counter, &switches)
}

fn inside(lab: &Lab, counter: &Counter, switches: &Switches) -> Inside {
    let (voluntary, involuntary) = switches.sum();
    Inside { voluntary, involuntary, memory: counter.read(), messages: messages(&lab.path("metrics")) }
}

fn without_tracker(mut turn: Turn) -> Turn {
    turn.command.args(["--exclude-tracker", "*"]);
    turn
}

fn observed(lab: &Lab, counter: &Counter, mut turn: Turn) -> Turn {
    counter.load_into(&mut turn.command);
    let log = lab.path("metrics");
    fs::remove_file(&log).unwrap_or_default();
    turn.command.args(["--metrics-interval", "1s", "--log-format", "json", "--log-level", "info", "--log-file"]);
    turn.command.arg(log);
    turn
}

/// Messages handled by each kind of actor: its last line counts all since the start.
fn messages(log: &Path) -> BTreeMap<String, f64> {
    let text = fs::read_to_string(log).unwrap();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let metrics = lines.filter(|line| line["message"] == "actor metrics");
    metrics.filter_map(|line| Some((line["actor"].as_str()?.to_owned(), line["handled"].as_f64()?))).collect()
}

/// Context switches of each thread as last seen: one that has ended keeps its own.
#[derive(Default)]
struct Switches(BTreeMap<String, (f64, f64)>);

impl Switches {
    fn look(&mut self, pid: u32) {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
        for thread in threads.flatten() {
            let Ok(status) = fs::read_to_string(thread.path().join("status")) else { continue };
            let count = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            let (Some(voluntary), Some(involuntary)) =
                (count("voluntary_ctxt_switches:"), count("nonvoluntary_ctxt_switches:"))
            else {
                continue;
            };
            self.0.insert(thread.file_name().to_string_lossy().into_owned(), (voluntary, involuntary));
        }
    }

    fn sum(&self) -> (f64, f64) {
        self.0.values().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}
