//! `scrape`: seeders, leechers and completed downloads of several torrents, as each tracker reports them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use serde_json::json;

use super::args::{Global, ScrapeArgs};
use super::exit::{Problem, ProgramExit};
use super::output::Output;
use super::{logs, source};
use crate::app::config::seed_from_system;
use crate::base::ids::InfoHash;
use crate::base::safe::{Safe, redact_url};
use crate::codec::metainfo::Metainfo;
use crate::codec::safe_path::NameRules;
use crate::codec::tracker::ScrapeEntry;
use crate::net::Net;
use crate::net::scrape::scrape;
use crate::net::sockets::Sockets;
use crate::net::tracker::TrackerTrouble;

/// 32 trackers at the same time: a list of hundreds takes a few time-outs, and descriptors do not run out.
const AT_ONCE: usize = 32;

type Answer = Result<ScrapeEntry, TrackerTrouble>;
type Answers = BTreeMap<(String, InfoHash), Answer>;

/// Runs the verb: shows the outcome of every tracker. The exit code is 0 if at least one answered.
pub fn run(args: &ScrapeArgs, global: &Global, output: &Output) -> Result<ProgramExit, Problem> {
    logs::install(global, output)?;
    let mut seen = BTreeSet::new();
    let mut torrents = Vec::new();
    for file in &args.file {
        let torrent = source::load(file, NameRules::default())?;
        if seen.insert(torrent.info.info_hash) {
            torrents.push(torrent);
        }
    }
    let questions = questions(&torrents, &args.tracker);
    if questions.is_empty() {
        return Err(Problem::new(ProgramExit::Network, "no torrent names a tracker; name one with --tracker"));
    }
    let answers =
        source::block_on(ask(&Sockets::any(), questions)).map_err(|error| Problem::new(ProgramExit::Unknown, error))?;
    for torrent in &torrents {
        if torrents.len() > 1 {
            output.line(Safe::new(&torrent.info.name));
        }
        for url in trackers(torrent, &args.tracker) {
            if let Some(answer) = answers.get(&(url.clone(), torrent.info.info_hash)) {
                show(torrent, url, answer, output);
            }
        }
    }
    Ok(report(&torrents, &answers, output))
}

/// Returns the trackers of a torrent, those of the command line first, each once.
fn trackers<'a>(torrent: &'a Metainfo, more: &'a [String]) -> impl Iterator<Item = &'a String> {
    let mut seen = BTreeSet::new();
    more.iter().chain(torrent.tiers.iter().flatten()).filter(move |url| seen.insert(*url))
}

/// Returns the info-hashes to ask each tracker for.
fn questions(torrents: &[Metainfo], more: &[String]) -> BTreeMap<String, Vec<InfoHash>> {
    let mut questions: BTreeMap<String, Vec<InfoHash>> = BTreeMap::new();
    for torrent in torrents {
        for url in trackers(torrent, more) {
            questions.entry(url.clone()).or_default().push(torrent.info.info_hash);
        }
    }
    questions
}

async fn ask(net: &Net, questions: BTreeMap<String, Vec<InfoHash>>) -> Answers {
    let asked = questions.into_iter().map(async |(url, swarms)| {
        let answers = scrape(net, &url, &swarms, seed_from_system()).await;
        swarms.into_iter().zip(answers).map(|(swarm, answer)| ((url.clone(), swarm), answer)).collect::<Vec<_>>()
    });
    let answers: Vec<Vec<_>> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    answers.into_iter().flatten().collect()
}

fn show(torrent: &Metainfo, url: &str, answer: &Answer, output: &Output) {
    let shown = redact_url(url);
    let mut row = json!({
        "event": "scrape",
        "info_hash": torrent.info.info_hash.to_string(),
        "name": torrent.info.name,
        "tracker": shown,
        "ok": answer.is_ok(),
    });
    let (fields, text) = match answer {
        Ok(ScrapeEntry { complete, incomplete, downloaded, .. }) => (
            json!({"seeders": complete, "leechers": incomplete, "completed": downloaded}),
            format!("{complete} seeders, {incomplete} leechers, {downloaded} completed"),
        ),
        Err(trouble) => (json!({"cause": trouble.cause, "error": trouble.text}), trouble.text.clone()),
    };
    if let (Some(row), Some(fields)) = (row.as_object_mut(), fields.as_object()) {
        row.extend(fields.clone());
    }
    output.json(&row);
    output.line(format!("{shown}: {text}"));
}

fn report(torrents: &[Metainfo], answers: &Answers, output: &Output) -> ProgramExit {
    let answered = answers.values().filter(|answer| answer.is_ok()).count();
    let exit = if answered > 0 { ProgramExit::Complete } else { ProgramExit::Network };
    let of_one = if let [torrent] = torrents { Some(torrent.info.info_hash.to_string()) } else { None };
    output.json(&json!({
        "event": "result",
        "status": if answered > 0 { "complete" } else { "failed" },
        "exit_code": exit as u8,
        "info_hash": of_one,
        "torrents": torrents.len(),
        "answered": answered,
    }));
    exit
}
