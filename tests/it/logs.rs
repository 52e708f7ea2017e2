//! Logs and metrics: what a person or a program learns of a run with faults in it.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::support::Fetch;
use crate::support::client::{LogEvent, Outcome, text};
use crate::support::scene::Scene;

const MIB: u64 = 1 << 20;
const PIECE: u32 = 128 * 1024;

/// A fetch from a sole source that resets, with metrics every second.
fn with_resets(scene: &Scene) -> (u64, Outcome) {
    let source = scene.peer("reset_every=300k");
    let dir = scene.lab.folder("out");
    let fetch = Fetch::new(&scene.torrent(&[]), &dir).peer(source.addr).args(&["--metrics-interval", "1s"]);
    let outcome = fetch.run().expect_complete();
    scene.assert_arrived(&dir);
    (source.stats().resets, outcome)
}

fn of_actor<'a>(events: &[LogEvent<'a>], actor: &str) -> Vec<LogEvent<'a>> {
    events.iter().copied().filter(|event| event.field("actor") == actor).collect()
}

/// One event for each reset, with its cause, and the counters agree wherever they are told.
#[test]
fn every_reset_is_one_restart_event_and_every_counter_agrees() {
    let scene = Scene::new(3 * MIB, PIECE);
    let (resets, outcome) = with_resets(&scene);
    assert!(resets >= 8, "{resets} resets");
    let restarts = of_actor(&outcome.logged("actor restarts"), "PeerConnection");
    let of_resets: Vec<_> = restarts.iter().filter(|event| event.field("cause") == "reset").collect();
    // A reset behind the last block may find the client already leaving.
    let counted = of_resets.len() as u64;
    assert!((resets - 1..=resets).contains(&counted), "{counted} restart events for {resets} resets");
    for event in &of_resets {
        for field in ["id", "attempt", "backoff_ms"] {
            assert!(!event.field(field).is_null(), "no {field} in {}", event.0);
        }
        assert!(event.field("budget_left").is_null(), "nothing counts the connections to an address: {}", event.0);
        // Productive connections are dialled again after about a second, and none of this spends the budget.
        assert!(event.number("backoff_ms") <= 2000, "{}", event.0);
    }
    assert_eq!(outcome.restarts("PeerConnection", "reset"), counted, "the result");
    let metrics = of_actor(&outcome.logged("actor metrics"), "PeerConnection");
    let counts: Vec<_> = metrics.iter().map(|event| event.number("restarts")).collect();
    assert!(counts.is_sorted(), "restarts never become fewer: {counts:?}");
    assert!(counts.last().is_some_and(|last| *last <= restarts.len() as u64), "{counts:?}");
    let by_cause = of_actor(&outcome.logged("restarts by cause"), "PeerConnection");
    let of_reset: Vec<_> = by_cause.iter().filter(|event| event.field("cause") == "reset").collect();
    assert_eq!(of_reset.iter().map(|event| event.number("count")).sum::<u64>(), counted, "the summary's rows");
    let [summary] = outcome.logged("supervision summary")[..] else { panic!("not one supervision summary") };
    assert_eq!(summary.number("restarts_expected"), restarts.len() as u64, "the summary's total");
    assert_eq!(summary.number("restarts_abnormal") + summary.number("panics") + summary.number("gave_up"), 0);
}

/// The metrics of docs/FORMATS.md, each field of each event, for every kind of actor of the tree.
#[test]
fn metrics_come_every_interval_and_are_complete() {
    let scene = Scene::new(3 * MIB, PIECE);
    let (_, outcome) = with_resets(&scene);
    let metrics = outcome.logged("actor metrics");
    let fields = [
        "actor",
        "live",
        "started",
        "restarts",
        "panics",
        "gave_up",
        "handled",
        "dropped",
        "mailbox",
        "mailbox_max",
        "handle_us_p50",
        "handle_us_p99",
        "wait_us_p99",
    ];
    has_all(&metrics, &fields);
    let kinds: BTreeSet<_> = metrics.iter().filter_map(|event| event.field("actor").as_str()).collect();
    for kind in
        ["Session", "Torrent", "DiskWriter", "PieceScheduler", "PeerPool", "PeerConnection", "TrackerSupervisor"]
    {
        assert!(kinds.contains(kind), "no metrics of {kind}: {kinds:?}");
    }
    let swarm = outcome.logged("swarm");
    let fields =
        ["down_bps", "up_bps", "peers", "connected", "unchoked", "requests_in_flight", "credit_free", "wasted_bytes"];
    has_all(&swarm, &fields);
    // A run of a dozen resets and a second each has that many intervals; half of them is enough on a slow machine.
    let seconds = outcome.took.as_secs();
    assert!(swarm.len() as u64 >= seconds / 2, "{} swarm events in {seconds} s", swarm.len());
    assert!(!outcome.logged("arbiter lag").is_empty(), "no arbiter lag");
}

fn has_all(events: &[LogEvent<'_>], fields: &[&str]) {
    assert!(!events.is_empty(), "no events with {fields:?}");
    for event in events {
        let missing: Vec<_> = fields.iter().filter(|field| event.field(field).is_null()).collect();
        assert!(missing.is_empty(), "no {missing:?} in {}", event.0);
    }
}

/// An event is a constant sentence: what differs is in the fields.
#[test]
fn messages_are_constant() {
    let scene = Scene::new(2 * MIB, PIECE);
    let (_, outcome) = with_resets(&scene);
    let messages: BTreeSet<_> = outcome.log.iter().map(|event| LogEvent(event).field("message").to_string()).collect();
    let formatted: Vec<_> = messages.iter().filter(|message| message.contains(|c: char| c.is_ascii_digit())).collect();
    assert!(formatted.is_empty(), "{formatted:?}");
}

/// Every event has its time and its level; nothing that is not asked for comes.
#[test]
fn levels_are_honoured() {
    let scene = Scene::new(MIB, PIECE);
    let source = scene.peer("");
    let torrent = scene.torrent(&[]);
    let run = |name: &str, args: &[&str]| {
        Fetch::new(&torrent, &scene.lab.folder(name)).peer(source.addr).args(args).run().expect_complete()
    };
    let levels = |outcome: &Outcome| -> BTreeSet<String> {
        outcome.log.iter().map(|event| event["level"].as_str().unwrap().to_uppercase()).collect()
    };
    let info = run("info", &[]);
    assert!(info.log.iter().all(|event| event["timestamp"].is_string()));
    assert!(levels(&info).contains("INFO"));
    assert!(levels(&info).is_disjoint(&["DEBUG".to_owned(), "TRACE".to_owned()].into()));
    let trace = run("trace", &["--log-level", "trace"]);
    assert!(levels(&trace).contains("TRACE"), "{:?}", levels(&trace));
    // W-23: a mark for what goes out and what comes in.
    assert!(trace.stderr.contains("→") && trace.stderr.contains("←"), "no wire marks");
    assert!(run("error", &["--log-level", "error"]).log.is_empty());
}

/// `RUST_LOG` is honoured when no level is given.
#[test]
fn rust_log_is_honoured() {
    let scene = Scene::new(MIB, PIECE);
    let source = scene.peer("");
    let mut command = crate::support::client::tt();
    let dir = scene.lab.folder("out");
    command.env("RUST_LOG", "tt_actors=debug").args(["fetch", "--log-format", "json", "-d", text(&dir)]);
    command.arg(scene.torrent(&[])).args(["--peer", &source.addr.to_string()]);
    let process = crate::support::process::Process::start("tt-actors fetch", &mut command);
    let run = process.finish(crate::support::client::WATCHDOG);
    assert_eq!(run.code(), 0);
    let debug = run.err.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    assert!(debug.into_iter().any(|event| event["level"] == "DEBUG"), "no debug event");
}

/// A log file takes the log, and metrics by itself every ten seconds; the summary comes always.
#[test]
fn a_log_file_holds_the_log() {
    let scene = Scene::new(2 * MIB, PIECE);
    let source = scene.peer("reset_every=300k");
    let log = scene.lab.at("tt.log");
    let dir = scene.lab.folder("out");
    let outcome = Fetch::new(&scene.torrent(&[]), &dir).peer(source.addr).args(&["--log-file", text(&log)]).run();
    let outcome = outcome.expect_complete();
    let lines = fs::read_to_string(&log).unwrap();
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages: BTreeSet<_> =
        events.iter().map(|event| LogEvent(event).field("message").clone().to_string()).collect();
    assert!(messages.contains("\"actor restarts\"") && messages.contains("\"supervision summary\""), "{messages:?}");
    assert!(outcome.log.is_empty(), "the log is in the file, not here: {}", outcome.stderr);
}

/// `why` names one primary reason, and the swarm's state says what a person would ask next.
#[test]
fn a_download_without_peers_says_why() {
    let scene = Scene::new(MIB, PIECE);
    let torrent = scene.torrent(&[&["http://127.0.0.1:9/announce"]]);
    let fetch = Fetch::new(&torrent, &scene.lab.folder("out")).args(&["--stall-timeout", "3s"]);
    let outcome = fetch.run().expect_code(5);
    let whys: Vec<_> = outcome.events.iter().filter_map(|event| event["why"].as_str()).collect();
    assert!(whys.iter().any(|why| why.contains("no peers")), "{whys:?}");
}
