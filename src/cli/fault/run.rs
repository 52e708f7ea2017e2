//! `fault run`: runs the chosen scenarios and prints a line for each run; at the end a table, and for each failure the
//! command that repeats it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use globset::{Glob, GlobMatcher};
use serde_json::json;

use super::args::{LayerArg, RunArgs};
use super::layers::{Scenario, scenarios};
use crate::actors::kit::injection;
use crate::base::units::{Bytes, DurationText};
use crate::cli::exit::{Problem, ProgramExit};
use crate::cli::output::Output;
use crate::faults::scenario::{About, Layer, RefereeVerdict, ScenarioReport};

/// The tested build: `TT_COMMIT` at compile time, else the version.
const COMMIT: &str = match option_env!("TT_COMMIT") {
    Some(commit) => commit,
    None => concat!("v", env!("CARGO_PKG_VERSION")),
};

/// Runs the verb. Returns the exit code of the gravest verdict.
pub(super) fn run(args: &RunArgs, output: &Output) -> Result<u8, Problem> {
    injection::hush();
    let only: Vec<GlobMatcher> = args.only.iter().map(Glob::compile_matcher).collect();
    let layers = match (args.layer, &args.client) {
        (Some(LayerArg::Net) | None, Some(_)) => vec![Layer::Net],
        (Some(_), Some(_)) => {
            return Err(Problem::new(ProgramExit::Usage, "another client can be put on the stage of --layer net only"));
        }
        (Some(layer), None) => vec![layer.into()],
        (None, None) => vec![Layer::Sim, Layer::Net, Layer::Host],
    };
    let mut reports = Vec::new();
    for layer in layers {
        let mut chosen = scenarios(layer, args, output)?;
        chosen.retain(|scenario| is_chosen(&scenario.about, &only));
        reports.extend(run_all(&chosen, args, output));
    }
    if reports.is_empty() {
        return Err(Problem::new(
            ProgramExit::Usage,
            "no scenario is called that; `tt-actors fault list` shows all of them",
        ));
    }
    let worst = reports.iter().map(|report| report.verdict.exit_code()).max().unwrap_or(0);
    summarize(&reports, output);
    list_failures(&reports, args, output);
    result(&reports, worst, output);
    Ok(worst)
}

fn is_chosen(about: &About, only: &[GlobMatcher]) -> bool {
    let mut names = about.covers.iter().chain([&about.name]);
    only.is_empty() || names.any(|name| only.iter().any(|glob| glob.is_match(name)))
}

/// Runs every scenario with every seed, several at a time, and prints each report when it comes.
fn run_all(chosen: &[Scenario], args: &RunArgs, output: &Output) -> Vec<ScenarioReport> {
    let seeds = args.seed..args.seed.saturating_add(args.seeds);
    let all: Vec<(&Scenario, u64)> = seeds.flat_map(|seed| chosen.iter().map(move |one| (one, seed))).collect();
    let next = AtomicUsize::new(0);
    let mut reports = Vec::new();
    std::thread::scope(|scope| {
        let (sender, reports_in) = channel();
        for _ in 0..usize::from(args.jobs).min(all.len()) {
            let (sender, all, next) = (sender.clone(), &all, &next);
            scope.spawn(move || {
                while let Some((scenario, seed)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send((scenario.run)(*seed)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for report in reports_in {
            show(&report, args, output);
            reports.push(report);
        }
    });
    reports
}

/// Prints one run: `seed commit scenario injected observed restarts seconds verdict`.
fn show(report: &ScenarioReport, args: &RunArgs, output: &Output) {
    let mut json = report.to_json(COMMIT);
    json["event"] = "run".into();
    json["replay"] = replay(report, args).into();
    output.json(&json);
    let restarts = report.restarts.iter().map(|((actor, cause), count)| (format!("{actor} {cause}"), *count)).collect();
    output.line(format!(
        "seed {}  {COMMIT}  {}:{}  injected {}  observed {}  restarts {}  {}  {}",
        report.seed,
        report.about.layer,
        report.about.name,
        counts(&report.injected),
        counts(&report.observed),
        counts(&restarts),
        DurationText(report.took),
        report.verdict,
    ));
}

/// Returns counts as `{lies: 3, resets: 1}`.
fn counts(counts: &BTreeMap<String, u64>) -> String {
    let shown: Vec<String> = counts.iter().map(|(name, count)| format!("{name}: {count}")).collect();
    format!("{{{}}}", shown.join(", "))
}

/// Returns the command that repeats the run, with the same client and limit.
fn replay(report: &ScenarioReport, args: &RunArgs) -> String {
    let mut line = report.replay();
    if let Some(client) = &args.client {
        line = format!("{line} --client '{}'", client.to_string().replace('\'', "'\\''"));
    }
    if let Some(limit) = args.limit {
        line = format!("{line} --limit {}ms", limit.as_millis());
    }
    line
}

/// Prints one line for each scenario, over all its seeds.
fn summarize(reports: &[ScenarioReport], output: &Output) {
    let mut rows: BTreeMap<(Layer, &str), Vec<&ScenarioReport>> = BTreeMap::new();
    for report in reports {
        rows.entry((report.about.layer, report.about.name)).or_default().push(report);
    }
    output
        .line(format!("\n{:<24}{:>10}{:>10}{:>12}{:>11}  verdict", "scenario", "held", "seconds", "peak", "announces"));
    for ((layer, name), runs) in rows {
        let held = runs.iter().filter(|run| run.verdict == RefereeVerdict::Held).count();
        let longest = runs.iter().map(|run| run.took).max().unwrap_or(Duration::ZERO);
        let most = |name: &str| runs.iter().filter_map(|run| run.observed.get(name)).max().copied().unwrap_or(0);
        let worst = runs.iter().max_by_key(|run| run.verdict.exit_code());
        output.line(format!(
            "{:<24}{:>10}{:>10.1}{:>12}{:>11}  {}",
            format!("{layer}:{name}"),
            format!("{held}/{}", runs.len()),
            longest.as_secs_f64(),
            Bytes(most("peak_kib") * 1024).to_string(),
            most("announces"),
            worst.map_or("", |worst| worst.verdict.word()),
        ));
    }
}

/// Prints each failed run again: in a long run its own line is far up.
fn list_failures(reports: &[ScenarioReport], args: &RunArgs, output: &Output) {
    for report in reports.iter().filter(|report| report.verdict.is_failure()) {
        output.line(format!("\nfailed: {}:{} {}", report.about.layer, report.about.name, report.verdict));
        output.line(format!("replay: {}", replay(report, args)));
    }
}

fn result(reports: &[ScenarioReport], worst: u8, output: &Output) {
    let count = |word: &str| reports.iter().filter(|report| report.verdict.word() == word).count();
    let [held, skipped, not_live, broke, crashed] = ["held", "skipped", "not live", "broke", "crashed"].map(count);
    output.line(format!(
        "\n{} runs: {held} held, {skipped} skipped, {not_live} not live, {broke} broke, {crashed} crashed",
        reports.len(),
    ));
    output.json(&json!({
        "event": "result",
        "status": if worst == 0 { "complete" } else { "failed" },
        "exit_code": worst,
        "runs": reports.len(),
        "held": held,
        "skipped": skipped,
        "not_live": not_live,
        "broke": broke,
        "crashed": crashed,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About = About { name: "P-14.every", covers: &["P-14", "P-16"], title: "", layer: Layer::Net };

    #[test]
    fn scenarios_are_chosen_by_name_and_by_what_they_cover() {
        for (globs, want) in [
            (&[][..], true),
            (&["P-14"], true),
            (&["P-1*"], true),
            (&["P-14.e*"], true),
            (&["P-16"], true),
            (&["P-15", "*every"], true),
            (&["P"], false),
            (&["P-14.some"], false),
        ] {
            let globs: Vec<_> = globs.iter().map(|glob| Glob::new(glob).unwrap().compile_matcher()).collect();
            assert_eq!(is_chosen(&ABOUT, &globs), want, "{globs:?}");
        }
    }
}
