//! `scrape`: seeders, leechers and completed downloads, as every tracker has them.

use futures_util::future::join_all;
use serde_json::json;

use super::args::{Global, ScrapeArgs};
use super::exit::{Exit, Problem};
use super::output::Output;
use super::{logs, source};
use crate::app::config::seed_from_system;
use crate::base::ids::InfoHash;
use crate::base::safe::redact_url;
use crate::codec::tracker::ScrapeEntry;
use crate::net::sockets::Sockets;
use crate::net::tracker::{TrackerTrouble, scrape_http};
use crate::net::tracker_udp::{UdpSession, scrape_udp};

/// Runs the verb: all trackers at once, each with its own outcome; 0 when at least one answered.
pub fn run(args: &ScrapeArgs, global: &Global, output: &Output) -> Result<Exit, Problem> {
    logs::install(global, output)?;
    let metainfo = source::load(&args.file)?;
    let urls: Vec<&String> = args.tracker.iter().chain(metainfo.tiers.iter().flatten()).collect();
    if urls.is_empty() {
        return Err(Problem::new(Exit::Network, "the torrent names no tracker; name one with --tracker"));
    }
    let asked = join_all(urls.iter().map(|url| scrape(url, metainfo.info_hash)));
    let outcomes = source::block_on(asked).map_err(|error| Problem::new(Exit::Unknown, error))?;
    let mut answered = 0;
    for (url, outcome) in urls.into_iter().zip(outcomes) {
        answered += u32::from(outcome.is_ok());
        show(url, &outcome, output);
    }
    let exit = if answered > 0 { Exit::Complete } else { Exit::Network };
    let status = if answered > 0 { "complete" } else { "failed" };
    let info_hash = metainfo.info_hash.to_string();
    output.json(&json!({"event": "result", "status": status, "exit_code": exit as u8, "info_hash": info_hash, "answered": answered}));
    Ok(exit)
}

async fn scrape(url: &str, info_hash: InfoHash) -> Result<ScrapeEntry, TrackerTrouble> {
    let net = Sockets::any();
    let entries = if url.starts_with("udp://") {
        scrape_udp(&net, &UdpSession::new(seed_from_system()), url, &[info_hash]).await?
    } else {
        scrape_http(&net, url, &[info_hash]).await?
    };
    let ours = entries.into_iter().find(|entry| entry.info_hash == info_hash);
    ours.ok_or_else(|| TrackerTrouble::new("unknown-torrent", "it does not know this torrent"))
}

fn show(url: &str, outcome: &Result<ScrapeEntry, TrackerTrouble>, output: &Output) {
    let shown = redact_url(url);
    match outcome {
        Ok(ScrapeEntry { complete, incomplete, downloaded, .. }) => {
            output.json(&json!({
                "event": "scrape",
                "tracker": shown,
                "ok": true,
                "seeders": complete,
                "leechers": incomplete,
                "completed": downloaded,
            }));
            output.line(format!("{shown}: {complete} seeders, {incomplete} leechers, {downloaded} completed"));
        }
        Err(trouble) => {
            output.json(&json!({
                "event": "scrape",
                "tracker": shown,
                "ok": false,
                "cause": trouble.cause,
                "error": trouble.text,
            }));
            output.line(format!("{shown}: {}", trouble.text));
        }
    }
}
