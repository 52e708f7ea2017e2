//! The fault-injection harness from outside: its list, its verdicts and exit codes, its servers by themselves.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::{WATCHDOG, run, text, tt};
use crate::support::process::Process;
use crate::support::{Fetch, Lab};

#[test]
fn the_list_names_every_entry_with_scenarios_or_a_reason() {
    let outcome = run(&["fault", "list", "--json"]).expect_code(0);
    let entries: Vec<&Value> = outcome.events.iter().filter(|event| event["event"] == "entry").collect();
    assert_eq!(entries.len(), 104);
    for entry in &entries {
        let tried = entry["automated"].as_bool().unwrap();
        assert!(!(tried && entry["why_not"].is_string()), "{entry}");
        assert_eq!(tried, !entry["scenarios"].as_array().unwrap().is_empty(), "{entry}");
        assert_eq!(tried, !entry["layers"].as_array().unwrap().is_empty(), "{entry}");
    }
    let automated = entries.iter().filter(|entry| entry["automated"] == true).count();
    assert_eq!(outcome.number("automated"), automated as u64);
    let words = run(&["fault", "list", "--words"]).expect_code(0).stdout;
    assert!(words.contains("reset_every") && words.contains("slicer:avg") && words.contains("gzip_bomb"), "{words}");
}

/// Two scenarios that end at once; the report has what was promised.
#[test]
fn a_run_that_holds_ends_with_0_and_reports_what_was_seen() {
    let args = ["fault", "run", "--layer", "net", "--only", "P-10.sole,P-27.seg*", "--seed", "7", "--json"];
    let outcome = run(&args).expect_code(0);
    let runs: Vec<&Value> = outcome.events.iter().filter(|event| event["event"] == "run").collect();
    assert_eq!(runs.len(), 2, "{}", outcome.stdout);
    for run in runs {
        assert_eq!((&run["verdict"], &run["seed"], &run["layer"]), (&"held".into(), &7.into(), &"net".into()), "{run}");
        assert!(run["observed"]["peak_kib"].as_u64().unwrap() > 1000, "{run}");
        let name = run["scenario"].as_str().unwrap();
        assert_eq!(run["replay"], format!("tt-actors fault run --layer net --only {name} --seed 7"));
    }
    assert_eq!((outcome.number("held"), outcome.number("runs")), (2, 2));
}

/// What each kind of bad client ends with. A failing run prints one line with which it can be played again, and the replay
/// fails the same way.
#[test]
fn a_run_that_fails_has_its_exit_code_and_a_command_that_repeats_it() {
    let clients = [
        ("false {torrent}", 11, "not live: it gave up with 1"),
        ("/nowhere/client {torrent}", 11, "not live: cannot start /nowhere/client"),
        ("sh -c 'exit 0' {torrent}", 10, "broke I2: payload.bin"),
        ("sh -c 'echo x > {dir}/stray' {torrent}", 10, "broke I2: "),
        ("sh -c 'kill -SEGV $$' {torrent}", 12, "crashed: signal 11"),
    ];
    for (client, code, says) in clients {
        let args = ["fault", "run", "--only", "P-10.sole", "--client", client, "--limit", "20s"];
        let outcome = run(&args).expect_code(code);
        assert!(outcome.stdout.contains(says), "{client}: {}", outcome.stdout);
        let replays: Vec<&str> = outcome.stdout.lines().filter_map(|line| line.strip_prefix("replay: ")).collect();
        let want = format!(
            "tt-actors fault run --layer net --only P-10.sole --seed 1 --client {} --limit 20000ms",
            quoted(client)
        );
        assert_eq!(replays, [want], "{client}");
        let again = Process::start("replay", tt().args(words(replays[0]))).finish(WATCHDOG);
        assert_eq!(again.code(), code, "{client}: {}", again.out.join("\n"));
    }
}

/// As a shell wants it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// As a shell reads it, without the program's name.
fn words(line: &str) -> Vec<String> {
    let script = format!("set -- {line}; shift; for word; do printf '%s\\n' \"$word\"; done");
    let out = std::process::Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn nobody_is_called_that_is_a_usage_error() {
    run(&["fault", "run", "--only", "Z-99"]).expect_code(2);
    run(&["fault", "run", "--client", "aria2c file.torrent"]).expect_code(2);
    run(&["fault", "run", "--layer", "sim", "--client", "aria2c {torrent}"]).expect_code(2);
    run(&["fault", "peer", "--behaviour", "nice"]).expect_code(2);
}

/// A server that listens, and the line in which it says where.
fn served(args: &[&str]) -> (Process, Value) {
    let mut process = Process::start("fault", tt().arg("fault").args(args).arg("--json"));
    let listening = process.wait_for("an address", WATCHDOG, |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["event"] == "listening").then_some(event)
    });
    (process, listening)
}

/// Ends it as Ctrl-C does; what it says it has done.
fn interrupted(process: Process) -> Value {
    process.signal(Signal::INT);
    let done = process.finish(Duration::from_secs(20));
    assert_eq!(done.code(), 0, "{}", done.err.join("\n"));
    let result: Value = serde_json::from_str(done.out.last().unwrap()).unwrap();
    assert_eq!((&result["event"], &result["exit_code"]), (&"result".into(), &0.into()), "{result}");
    result
}

#[test]
fn a_peer_a_relay_and_a_tracker_work_by_themselves() {
    let lab = Lab::new();
    let source = lab.at("source");
    let args = ["peer", "--behaviour", "reset_every=300k", "--size", "1M", "--dir", text(&source)];
    let (peer, shown) = served(&args);
    let torrent = shown["torrent"].as_str().unwrap().to_owned();
    let at = shown["addr"].as_str().unwrap().to_owned();
    let (relay, shown) = served(&["relay", "--to", &at, "--toxic", "latency=5ms,slicer:avg=1000"]);
    let named = format!("peers={},interval=0", shown["addr"].as_str().unwrap());
    let (tracker, shown) = served(&["tracker", "--behaviour", &named]);
    let out = lab.folder("out");
    let fetch = Fetch::new(torrent.as_ref(), &out).tracker(shown["url"].as_str().unwrap());
    fetch.run().expect_complete();
    assert_eq!(std::fs::read(out.join("payload.bin")).unwrap(), std::fs::read(source.join("payload.bin")).unwrap());
    assert!(interrupted(tracker)["announces"].as_u64().unwrap() >= 1);
    assert!(interrupted(relay)["down"].as_u64().unwrap() >= 1 << 20);
    assert!(interrupted(peer)["resets"].as_u64().unwrap() >= 3);

    // The same payload as the data of an existing torrent, over UDP.
    let (peer, shown) = served(&["peer", "--torrent", &torrent, "--dir", text(&source)]);
    let named = format!("peers={}", shown["addr"].as_str().unwrap());
    let (tracker, shown) = served(&["tracker", "--udp", "--behaviour", &named]);
    let again = lab.folder("again");
    Fetch::new(torrent.as_ref(), &again).tracker(shown["url"].as_str().unwrap()).run().expect_complete();
    assert!(interrupted(tracker)["announces"].as_u64().unwrap() >= 1);
    assert_eq!(interrupted(peer)["lies"], 0);
    // What is there already is left alone.
    run(&["fault", "peer", "--dir", text(&source)]).expect_code(16);
}
