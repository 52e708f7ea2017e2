//! `fetch`: bring the data home.

use globset::Glob;
use serde_json::{Value, json};

use super::args::{DiskFull, FetchArgs, Global};
use super::exit::{Exit, Problem};
use super::output::Output;
use super::progress::Progress;
use super::{info, logs, source};
use crate::app::config::FetchConfig;
use crate::app::outcome::{Ending, Outcome};
use crate::app::run;
use crate::base::safe::Safe;
use crate::base::units::{Bytes, Span};
use crate::codec::metainfo::Metainfo;

/// 10 s between metrics when a log file is given and nothing is said.
const METRICS_INTO_FILE: std::time::Duration = std::time::Duration::from_secs(10);

/// Runs the verb.
pub fn run(args: &FetchArgs, global: &Global, output: &Output) -> Result<Exit, Problem> {
    logs::install(global, output)?;
    let metainfo = source::load(&args.source)?;
    for warning in &metainfo.warnings {
        tracing::warn!(warning = %Safe::new(warning), "torrent is odd");
    }
    if args.list {
        info::list(&metainfo, output);
        return Ok(Exit::Complete);
    }
    let config = config(args, global, metainfo)?;
    let mut progress = Progress::new(output);
    let ran = run::fetch(&config, &mut |view| progress.show(view));
    let outcome = ran.map_err(|error| Problem::new(Exit::Unknown, format!("cannot start: {error}")))?;
    output.finish();
    Ok(report(&outcome, output))
}

fn config(args: &FetchArgs, global: &Global, metainfo: Metainfo) -> Result<FetchConfig, Problem> {
    let tiers = tiers(args, &metainfo)?;
    let file_default = global.log_file.as_ref().map(|_| METRICS_INTO_FILE);
    Ok(FetchConfig {
        port: args.port,
        bind: args.bind,
        verify: args.verify,
        overwrite: args.overwrite,
        max_peers: usize::from(args.max_peers),
        tiers,
        peers: args.peer.clone(),
        stall_timeout: args.stall_timeout,
        shutdown_timeout: args.shutdown_timeout,
        durability: args.durability.into(),
        wait_for_space: args.disk_full == DiskFull::Wait,
        metrics_every: args.metrics_interval.or(file_default).filter(|every| !every.is_zero()),
        ..FetchConfig::new(metainfo, args.dir.clone())
    })
}

/// The torrent's tiers without the excluded, and the user's additions as a first tier: they were asked for.
fn tiers(args: &FetchArgs, metainfo: &Metainfo) -> Result<Vec<Vec<String>>, Problem> {
    let mut excluded = Vec::new();
    for pattern in &args.exclude_tracker {
        let glob = Glob::new(pattern);
        let glob = glob.map_err(|error| Problem::new(Exit::Usage, format!("--exclude-tracker {pattern}: {error}")))?;
        excluded.push(glob.compile_matcher());
    }
    let is_wanted = |url: &String| !excluded.iter().any(|glob| glob.is_match(url));
    let kept = metainfo.tiers.iter().map(|tier| tier.iter().filter(|url| is_wanted(url)).cloned().collect::<Vec<_>>());
    let all = std::iter::once(args.tracker.clone()).chain(kept);
    Ok(all.filter(|tier| !tier.is_empty()).collect())
}

fn report(outcome: &Outcome, output: &Output) -> Exit {
    let (exit, status, error) = judge(outcome);
    output.json(&result_json(outcome, exit, status, error.as_deref()));
    output.line(summary(outcome, exit));
    if let Some(error) = error {
        output.complain(&error);
    }
    exit
}

/// The number, the word and the sentence for how a run ended.
pub(super) fn judge(outcome: &Outcome) -> (Exit, &'static str, Option<String>) {
    match &outcome.ending {
        Ending::Complete => (Exit::Complete, "complete", None),
        Ending::Interrupted => (Exit::Interrupted, "interrupted", None),
        Ending::Killed => (Exit::Killed, "interrupted", None),
        Ending::Stalled(limit) => {
            let why = outcome.view.why.as_ref().map(|why| format!(": {}", why.text)).unwrap_or_default();
            (Exit::Stalled, "stalled", Some(format!("no byte came for {}{why}", Span(*limit))))
        }
        Ending::Failed(failure) => (failure.into(), "failed", Some(failure.to_string())),
        Ending::GaveUp(why) => (Exit::GaveUp, "failed", Some(format!("the supervision tree gave up: {why}"))),
    }
}

/// `ubuntu.iso: 1.0 GiB in 12s (85.3 MiB/s), 3 restarts`, with what it took (W-18).
fn summary(outcome: &Outcome, exit: Exit) -> String {
    let view = &outcome.view;
    let name = Safe::new(&view.name);
    let rate =
        u64::try_from(u128::from(view.bytes_received) * 1000 / outcome.took.as_millis().max(1)).unwrap_or(u64::MAX);
    let head = match exit {
        Exit::Complete => format!("{name}: complete, {}", Bytes(view.bytes_total)),
        Exit::Interrupted | Exit::Killed => {
            format!("{name}: stopped at {}; the same command goes on from there", view.progress_text())
        }
        _ => format!("{name}: {}", view.progress_text()),
    };
    let mut parts =
        vec![head, format!("{} received in {} ({}/s)", Bytes(view.bytes_received), Span(outcome.took), Bytes(rate))];
    if view.bytes_kept > 0 {
        parts.push(format!("{} were there already", Bytes(view.bytes_kept)));
    }
    if view.bytes_wasted > 0 {
        parts.push(format!("{} of no use", Bytes(view.bytes_wasted)));
    }
    let restarts: Vec<_> = outcome.restarts.iter().map(|r| format!("{} {} × {}", r.actor, r.cause, r.count)).collect();
    if !restarts.is_empty() {
        parts.push(format!("restarts: {}", restarts.join(", ")));
    }
    parts.join("; ")
}

/// A run for programs.
pub(super) fn result_json(outcome: &Outcome, exit: Exit, status: &str, error: Option<&str>) -> Value {
    let view = &outcome.view;
    let restarts = outcome.restarts.iter().map(|r| json!({"actor": r.actor, "cause": r.cause, "count": r.count}));
    json!({
        "event": "result",
        "status": status,
        "exit_code": exit as u8,
        "info_hash": view.info_hash.to_string(),
        "name": view.name,
        "bytes_total": view.bytes_total,
        "bytes_have": view.bytes_have,
        "bytes_kept": view.bytes_kept,
        "bytes_checked": view.bytes_checked,
        "bytes_downloaded": view.bytes_received,
        "bytes_uploaded": view.bytes_sent,
        "bytes_wasted": view.bytes_wasted,
        "hash_failures": view.hash_failures,
        "seconds": outcome.took.as_secs_f64(),
        "restarts": restarts.collect::<Vec<_>>(),
        "panics": outcome.panics,
        "error": error,
    })
}
