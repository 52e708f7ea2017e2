//! The simulator from outside: one seed decides everything, in every process.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::client::run;

/// Twenty seeds of three scenarios are 120 simulated runs, which take a debug build half a minute.
const SEEDS: usize = 20;

/// Returns the hash of all events and the verdict, by scenario and seed.
fn hashes() -> BTreeMap<(String, u64), (String, String)> {
    let only = "D-12,mix.bad-day";
    let seeds = SEEDS.to_string();
    let outcome =
        run(&["fault", "run", "--layer", "sim", "--only", only, "--seed", "100", "--seeds", &seeds, "--json"]);
    let outcome = outcome.expect_code(0);
    let text = |run: &Value, field: &str| run[field].as_str().unwrap().to_owned();
    let row = |run: &Value| {
        ((text(run, "scenario"), run["seed"].as_u64().unwrap()), (text(run, "events"), text(run, "verdict")))
    };
    outcome.events.iter().filter(|event| event["event"] == "run").map(row).collect()
}

#[test]
fn the_same_seed_gives_the_same_events_in_another_process() {
    let (first, second) = (hashes(), hashes());
    assert_eq!(first.len(), 3 * SEEDS, "D-05 covers D-12 as well");
    assert_eq!(first, second);
    let hashes: std::collections::BTreeSet<_> = first.values().map(|(events, _)| events).collect();
    assert_eq!(hashes.len(), first.len(), "no two runs are the same");
}
