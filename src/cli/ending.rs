//! How a run ended: the exit code for the caller, the sentence for people, the figures for programs.

use serde_json::{Map, Value, json};

use super::exit::ProgramExit;
use super::output::Output;
use crate::app::outcome::{Ending, RunOutcome, TorrentOutcome};
use crate::base::safe::Safe;
use crate::base::units::{Bytes, DurationText};

/// Shows how the run ended. Returns the exit code of the first torrent that did not end well.
pub fn report(outcome: &RunOutcome, output: &Output) -> ProgramExit {
    for finish in &outcome.torrents {
        let (exit, _, error) = judge(finish);
        output.line(summary(finish, exit, outcome));
        if let Some(error) = error {
            let name = Safe::new(&finish.view.name);
            output.complain(&if outcome.torrents.len() > 1 { format!("{name}: {error}") } else { error });
        }
    }
    if let Some(restarts) = restarts(outcome) {
        output.line(restarts);
    }
    let (exit, result) = result_json(outcome);
    output.json(&result);
    exit
}

/// Returns the exit code, the word and the sentence for the end of a torrent.
pub fn judge(finish: &TorrentOutcome) -> (ProgramExit, &'static str, Option<String>) {
    match &finish.ending {
        Ending::Complete => (ProgramExit::Complete, "complete", None),
        Ending::Interrupted => (ProgramExit::Interrupted, "interrupted", None),
        Ending::Killed => (ProgramExit::Killed, "interrupted", None),
        Ending::Stalled(limit) => {
            let why = finish.view.why.as_ref().map(|why| format!(": {}", why.text)).unwrap_or_default();
            (ProgramExit::Stalled, "stalled", Some(format!("no byte came for {}{why}", DurationText(*limit))))
        }
        Ending::Failed(failure) => {
            (failure.into(), "failed", Some(finish.advice.clone().unwrap_or_else(|| failure.to_string())))
        }
        Ending::GaveUp(why) => (ProgramExit::GaveUp, "failed", Some(format!("the supervision tree gave up: {why}"))),
    }
}

/// Returns a summary such as `ubuntu.iso: complete, 1.0 GiB; 1.0 GiB received in 12s (85.3 MiB/s)`, with the restarts
/// and bans (W-18).
fn summary(finish: &TorrentOutcome, exit: ProgramExit, outcome: &RunOutcome) -> String {
    let view = &finish.view;
    let name = Safe::new(&view.name);
    let rate =
        u64::try_from(u128::from(view.bytes_received) * 1000 / outcome.took.as_millis().max(1)).unwrap_or(u64::MAX);
    let head = match exit {
        ProgramExit::Complete => format!("{name}: complete, {}", Bytes(view.bytes_selected)),
        ProgramExit::Interrupted | ProgramExit::Killed => {
            format!("{name}: stopped at {}; the same command goes on from there", view.progress_text())
        }
        _ => format!("{name}: {}", view.progress_text()),
    };
    let mut parts = vec![
        head,
        format!("{} received in {} ({}/s)", Bytes(view.bytes_received), DurationText(outcome.took), Bytes(rate)),
    ];
    if view.bytes_sent > 0 {
        parts.push(format!("{} sent", Bytes(view.bytes_sent)));
    }
    if view.bytes_kept > 0 {
        parts.push(format!("{} were there already", Bytes(view.bytes_kept)));
    }
    if view.bytes_wasted > 0 {
        parts.push(format!("{} of no use", Bytes(view.bytes_wasted)));
    }
    parts.join("; ")
}

fn restarts(outcome: &RunOutcome) -> Option<String> {
    let restarts: Vec<_> = outcome.restarts.iter().map(|r| format!("{} {} × {}", r.actor, r.cause, r.count)).collect();
    (!restarts.is_empty()).then(|| format!("restarts: {}", restarts.join(", ")))
}

/// Returns the result of a run as JSON. The figures of a single torrent are fields of the result; several torrents are
/// listed in it.
pub fn result_json(outcome: &RunOutcome) -> (ProgramExit, Value) {
    let judged: Vec<_> = outcome.torrents.iter().map(|finish| (finish, judge(finish))).collect();
    let first_bad = judged.iter().find(|(_, (exit, ..))| *exit != ProgramExit::Complete);
    let (exit, status, error) =
        first_bad.map_or((ProgramExit::Complete, "complete", None), |(_, judged)| judged.clone());
    let restarts = outcome.restarts.iter().map(|r| json!({"actor": r.actor, "cause": r.cause, "count": r.count}));
    let mut result = Map::new();
    result.insert("event".to_owned(), "result".into());
    match &judged[..] {
        [(only, judged)] => result.extend(torrent_json(only, judged)),
        all => {
            let all = all.iter().map(|(finish, judged)| Value::Object(torrent_json(finish, judged)));
            result.insert("torrents".to_owned(), all.collect());
        }
    }
    result.extend([
        ("status".to_owned(), status.into()),
        ("exit_code".to_owned(), (exit as u8).into()),
        ("seconds".to_owned(), outcome.took.as_secs_f64().into()),
        ("restarts".to_owned(), restarts.collect()),
        ("panics".to_owned(), outcome.panics.into()),
        ("error".to_owned(), error.into()),
    ]);
    (exit, Value::Object(result))
}

fn torrent_json(finish: &TorrentOutcome, judged: &(ProgramExit, &'static str, Option<String>)) -> Map<String, Value> {
    let view = &finish.view;
    let (exit, status, error) = judged;
    let fields = [
        ("status", json!(status)),
        ("exit_code", json!(*exit as u8)),
        ("info_hash", json!(view.info_hash.to_string())),
        ("name", json!(view.name)),
        ("bytes_total", json!(view.bytes_total)),
        ("bytes_selected", json!(view.bytes_selected)),
        ("bytes_done", json!(view.bytes_done)),
        ("bytes_have", json!(view.bytes_have)),
        ("bytes_kept", json!(view.bytes_kept)),
        ("bytes_checked", json!(view.bytes_checked)),
        ("bytes_downloaded", json!(view.bytes_received)),
        ("bytes_uploaded", json!(view.bytes_sent)),
        ("bytes_wasted", json!(view.bytes_wasted)),
        ("hash_failures", json!(view.hash_failures)),
        ("error", json!(error)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::swarm::testing::torrent;
    use super::*;
    use crate::actors::view::{TorrentFailure, TorrentView};
    use crate::app::outcome::RestartCount;
    use crate::logic::torrent::why::{Why, WhyReason};
    use crate::storage::OpenTrouble;

    fn ended(ending: Ending, change: impl FnOnce(&mut TorrentView)) -> TorrentOutcome {
        let mut view = TorrentView::new("x\u{1b}[2J".to_owned(), torrent().info.info_hash, 4 << 20);
        (view.bytes_have, view.bytes_done, view.bytes_received) = (1 << 20, 1 << 20, 1 << 20);
        change(&mut view);
        TorrentOutcome { ending, view, advice: None }
    }

    fn run_of(torrents: Vec<TorrentOutcome>) -> RunOutcome {
        let restarts = vec![RestartCount { actor: "PeerConnection", cause: "reset".to_owned(), count: 7 }];
        RunOutcome { torrents, took: Duration::from_secs(2), restarts, panics: 0 }
    }

    #[test]
    fn every_ending_has_its_exit_code_and_its_sentence() {
        let blocked = OpenTrouble::WouldOverwrite { path: "/x".into(), why: "it is larger".to_owned() };
        let stalled = |view: &mut TorrentView| {
            view.why = Some(Why { primary: WhyReason::Choked, text: "choked by 2 of 2".to_owned() });
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
                ended(Ending::Failed(TorrentFailure::Open(Arc::new(blocked))), |_| {}),
                13,
                "failed",
                Some("/x would be overwritten"),
            ),
            (
                ended(Ending::Failed(TorrentFailure::Incomplete { have: 1 << 20, total: 4 << 20 }), |_| {}),
                32,
                "failed",
                Some("not all of it is there: 1.0 MiB of 4.0 MiB; `verify` says what is missing"),
            ),
            (ended(Ending::GaveUp("a bug".to_owned()), |_| {}), 70, "failed", Some("gave up: a bug")),
        ];
        for (finish, number, word, sentence) in table {
            let (exit, status, error) = judge(&finish);
            assert_eq!((exit as u8, status), (number, word), "{:?}", finish.ending);
            assert_eq!(error.is_some(), sentence.is_some(), "{:?}: {error:?}", finish.ending);
            assert!(error.is_none_or(|error| error.contains(sentence.unwrap())), "{:?}", finish.ending);
        }
    }

    #[test]
    fn the_summary_has_the_restarts_and_no_control_characters() {
        let outcome = run_of(Vec::new());
        let plain = summary(&ended(Ending::Complete, |_| {}), ProgramExit::Complete, &outcome);
        assert!(
            plain.contains("complete, 4.0 MiB; 1.0 MiB received in 2.0s (512.0 KiB/s)") && !plain.contains("of no use"),
            "{plain}"
        );
        let more = |view: &mut TorrentView| {
            (view.bytes_kept, view.bytes_wasted, view.bytes_sent) = (1 << 20, 1024, 2048);
        };
        let long = summary(&ended(Ending::Interrupted, more), ProgramExit::Interrupted, &outcome);
        for part in [
            "stopped at 1.0 MiB of 4.0 MiB; the same command goes on",
            "1.0 MiB were there already",
            "1.0 KiB of no use",
            "2.0 KiB sent",
        ] {
            assert!(long.contains(part), "no {part:?} in {long:?}");
        }
        assert!(!plain.contains('\u{1b}') && !long.contains('\u{1b}'));
        assert_eq!(restarts(&outcome).unwrap(), "restarts: PeerConnection reset × 7");
    }

    #[test]
    fn the_result_for_programs_has_every_figure() {
        let (exit, result) = result_json(&run_of(vec![ended(Ending::Complete, |view| view.bytes_wasted = 5)]));
        assert_eq!(exit, ProgramExit::Complete);
        assert_eq!(
            (&result["event"], &result["exit_code"], &result["error"]),
            (&"result".into(), &0.into(), &Value::Null)
        );
        assert_eq!((&result["bytes_total"], &result["bytes_wasted"]), (&(4 << 20).into(), &5.into()));
        assert_eq!((&result["restarts"][0]["count"], &result["panics"]), (&7.into(), &0.into()));
        assert_eq!(result["info_hash"], torrent().info.info_hash.to_string());
    }

    /// W-35: several torrents have one result, with the exit code of the first that did not end well.
    #[test]
    fn several_torrents_are_listed_and_the_first_failure_gives_the_exit_code() {
        let full = TorrentFailure::GaveUp("a bug".to_owned());
        let torrents = vec![ended(Ending::Complete, |_| {}), ended(Ending::Failed(full), |_| {})];
        let (exit, result) = result_json(&run_of(torrents));
        assert_eq!(
            (exit, &result["exit_code"], &result["status"]),
            (ProgramExit::GaveUp, &70.into(), &"failed".into())
        );
        let codes: Vec<_> = result["torrents"].as_array().unwrap().iter().map(|one| &one["exit_code"]).collect();
        assert_eq!(codes, [&Value::from(0), &Value::from(70)]);
        assert!(result.get("bytes_total").is_none());
    }
}
