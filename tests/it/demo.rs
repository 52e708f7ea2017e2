//! The demo, as a new user runs it first.

use std::process::{Command, Output};

use serde_json::Value;

/// Small, so that the payload costs nothing; the seed is one whose liar lies early, and is cut off while it does.
const ARGS: [&str; 5] = ["demo", "--size", "8M", "--seed", "1"];

/// The demo, with temporary files in a folder of its own, which it must leave empty.
fn demo(more: &[&str]) -> (Output, String) {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tt-actors"));
    command.args(ARGS).args(more).env("TMPDIR", temporary.path()).env_remove("RUST_LOG");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{:?}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "something was left behind");
    (output, text)
}

#[test]
fn the_demo_shows_restarts_and_ends_with_the_same_hash() {
    let (output, text) = demo(&[]);
    for part in ["(dead): refused", "(resetting): reset", "(hasty): closed", "BANNED ", "(lying)", "panics: 0"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let resets = text.lines().filter(|line| line.contains("RESTART") && line.contains("(resetting): reset")).count();
    assert!(resets >= 2, "{text}");
    let hash = |title: &str| {
        let line = text.lines().find_map(|line| line.split_once(title)).unwrap().1;
        line.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(hash("SHA-256    payload"), hash("           result"));
    assert!(text.trim_end().ends_with("equal"), "{text}");
    let liar = text.lines().rev().find(|line| line.trim_start().starts_with("lying ")).unwrap();
    assert_ne!(liar.split_whitespace().last(), Some("0"), "a banned liar told no lie: {text}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_demo_tells_programs_every_restart_it_counts() {
    let (_, text) = demo(&["--json"]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is = |line: &&Value, event: &str| line["event"] == event;
    assert!(is(&lines.first().unwrap(), "cast"));
    let result = lines.last().unwrap();
    assert!(is(&result, "result"));
    assert_eq!((&result["status"], &result["exit_code"]), (&"complete".into(), &0.into()));
    assert_eq!(result["sha256_payload"], result["sha256_result"]);
    assert_eq!((&result["peers_banned"], &result["panics"]), (&1.into(), &0.into()));
    for counted in result["restarts"].as_array().unwrap() {
        let same = |line: &&Value| line["actor"] == counted["actor"] && line["cause"] == counted["cause"];
        let shown = lines.iter().filter(|line| is(line, "restart")).filter(same).count();
        assert_eq!(Some(shown as u64), counted["count"].as_u64(), "{counted}");
    }
}
