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
    let (max_down_bps, max_up_bps) = args.limits.bps();
    let file_default = global.log_file.as_ref().map(|_| METRICS_INTO_FILE);
    Ok(FetchConfig {
        port: args.port,
        bind: args.bind,
        verify: args.verify,
        overwrite: args.overwrite,
        max_peers: usize::from(args.max_peers),
        max_down_bps,
        max_up_bps,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use clap::Parser;

    use super::super::args::{Args, Verb};
    use super::*;
    use crate::actors::view::{Failure, TorrentView};
    use crate::app::outcome::RestartCount;
    use crate::logic::why::{Reason, Why};
    use crate::storage::OpenTrouble;

    /// Two tiers: two trackers, and one.
    fn torrent() -> Metainfo {
        let first = ["http://a.example/x", "udp://b.example", "http://b.example:8/zz"];
        let tier = |urls: &[&str]| urls.iter().fold(String::new(), |tier, url| format!("{tier}{}:{url}", url.len()));
        let tiers = format!("13:announce-listll{}el{}ee", tier(&first), tier(&["http://c.example/x"]));
        let info = format!("4:infod6:lengthi3e4:name1:x12:piece lengthi16384e6:pieces20:{}e", "x".repeat(20));
        Metainfo::parse(format!("d{tiers}{info}e").as_bytes()).unwrap()
    }

    fn parsed(options: &[&str]) -> (FetchArgs, Global) {
        let line = ["tt-actors", "fetch", "x.torrent"].iter().chain(options);
        let Args { verb: Verb::Fetch(args), global } = Args::parse_from(line) else { panic!("another verb") };
        (*args, global)
    }

    #[test]
    fn trackers_are_added_in_front_and_left_out_by_pattern() {
        let all = "http://a.example/x udp://b.example http://b.example:8/zz | http://c.example/x";
        let table: [(&[&str], &str); 9] = [
            (&[], all),
            (&["--tracker", "udp://own"], &format!("udp://own | {all}")),
            (&["--tracker", "udp://1", "--tracker", "udp://2"], &format!("udp://1 udp://2 | {all}")),
            (&["--exclude-tracker", "*"], ""),
            (&["--exclude-tracker", "*b.example*"], "http://a.example/x | http://c.example/x"),
            (&["--exclude-tracker", "udp://*"], "http://a.example/x http://b.example:8/zz | http://c.example/x"),
            (&["--exclude-tracker", "*a.ex*", "--exclude-tracker", "*b.ex*"], "http://c.example/x"),
            (&["--exclude-tracker", "http://nobody.example/"], all),
            // What a person names is not left out by a pattern that is meant for the torrent's.
            (&["--exclude-tracker", "*", "--tracker", "http://own.example/x"], "http://own.example/x"),
        ];
        for (options, want) in table {
            let (args, _) = parsed(options);
            let tiers: Vec<_> = tiers(&args, &torrent()).unwrap().iter().map(|tier| tier.join(" ")).collect();
            assert_eq!(tiers.join(" | "), want, "{options:?}");
        }
    }

    #[test]
    fn a_pattern_that_is_none_is_a_usage_error_that_names_it() {
        let (args, _) = parsed(&["--exclude-tracker", "a[b"]);
        let problem = tiers(&args, &torrent()).unwrap_err();
        assert_eq!(problem.exit, Exit::Usage);
        assert!(problem.text.contains("--exclude-tracker a[b"), "{}", problem.text);
    }

    #[test]
    fn metrics_go_into_a_log_file_by_themselves() {
        let every = |options: &[&str]| {
            let (args, global) = parsed(options);
            config(&args, &global, torrent()).unwrap().metrics_every.map(|every| every.as_secs())
        };
        assert_eq!(every(&[]), None);
        assert_eq!(every(&["--log-file", "x"]), Some(10));
        assert_eq!(every(&["--log-file", "x", "--metrics-interval", "3s"]), Some(3));
        assert_eq!(every(&["--log-file", "x", "--metrics-interval", "0s"]), None);
        assert_eq!(every(&["--metrics-interval", "1m"]), Some(60));
    }

    fn ended(ending: Ending, change: impl FnOnce(&mut Outcome)) -> Outcome {
        let mut view = TorrentView::new("x\u{1b}[2J".to_owned(), torrent().info_hash, 4 << 20);
        (view.bytes_have, view.bytes_received) = (1 << 20, 1 << 20);
        let mut outcome = Outcome { ending, view, took: Duration::from_secs(2), restarts: Vec::new(), panics: 0 };
        change(&mut outcome);
        outcome
    }

    #[test]
    fn every_ending_has_its_number_and_its_sentence() {
        let blocked = OpenTrouble::WouldOverwrite { path: "/x".into(), why: "it is larger".to_owned() };
        let stalled = |outcome: &mut Outcome| {
            outcome.view.why = Some(Why { primary: Reason::Choked, text: "choked by 2 of 2".to_owned() });
        };
        let table = [
            (ended(Ending::Complete, |_| {}), 0, "complete", None),
            (ended(Ending::Interrupted, |_| {}), 7, "interrupted", None),
            (ended(Ending::Killed, |_| {}), 130, "interrupted", None),
            (
                ended(Ending::Stalled(Duration::from_secs(90)), stalled),
                5,
                "stalled",
                Some("no byte came for 1m 30s: choked by 2 of 2"),
            ),
            (
                ended(Ending::Failed(Failure::Open(Arc::new(blocked))), |_| {}),
                13,
                "failed",
                Some("/x would be overwritten"),
            ),
            (ended(Ending::GaveUp("a bug".to_owned()), |_| {}), 70, "failed", Some("gave up: a bug")),
        ];
        for (outcome, number, word, sentence) in table {
            let (exit, status, error) = judge(&outcome);
            assert_eq!((exit as u8, status), (number, word), "{:?}", outcome.ending);
            assert_eq!(error.is_some(), sentence.is_some(), "{:?}: {error:?}", outcome.ending);
            assert!(error.is_none_or(|error| error.contains(sentence.unwrap())), "{:?}", outcome.ending);
        }
    }

    #[test]
    fn the_last_line_says_what_it_took_and_nothing_harmful() {
        let restarts = vec![RestartCount { actor: "PeerConnection", cause: "reset".to_owned(), count: 7 }];
        let more = |outcome: &mut Outcome| {
            (outcome.view.bytes_kept, outcome.view.bytes_wasted, outcome.restarts) = (1 << 20, 1024, restarts);
        };
        let plain = summary(&ended(Ending::Complete, |_| {}), Exit::Complete);
        assert!(
            plain.contains("complete, 4.0 MiB; 1.0 MiB received in 2.0s (512.0 KiB/s)") && !plain.contains("of no use"),
            "{plain}"
        );
        let long = summary(&ended(Ending::Interrupted, more), Exit::Interrupted);
        for part in [
            "stopped at 1.0 MiB of 4.0 MiB; the same command goes on",
            "1.0 MiB were there already",
            "1.0 KiB of no use",
            "restarts: PeerConnection reset × 7",
        ] {
            assert!(long.contains(part), "no {part:?} in {long:?}");
        }
        assert!(!plain.contains('\u{1b}') && !long.contains('\u{1b}'));
    }

    #[test]
    fn the_result_for_programs_has_every_figure() {
        let outcome = ended(Ending::Complete, |outcome| outcome.view.bytes_wasted = 5);
        let result = result_json(&outcome, Exit::Complete, "complete", None);
        assert_eq!(
            (&result["event"], &result["exit_code"], &result["error"]),
            (&"result".into(), &0.into(), &Value::Null)
        );
        assert_eq!((&result["bytes_total"], &result["bytes_wasted"]), (&(4 << 20).into(), &5.into()));
        assert_eq!(result["info_hash"], torrent().info_hash.to_string());
    }
}
