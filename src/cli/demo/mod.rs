//! `demo`: a payload, trackers and peers on loopback, honest and hostile, and a real fetch that reports every restart;
//! at the end the hashes are compared. It needs no other program and no network.
//!
//! Uses the fetch as the verb `fetch` does, and knows the peers by their addresses.

mod narrator;
mod swarm;

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tracing_subscriber::Layer;

use super::args::{DemoArgs, Global};
use super::exit::{Problem, ProgramExit};
use super::output::Output;
use super::{ending, logs};
use crate::app::config::{Job, RunConfig, seed_from_system};
use crate::app::outcome::RunOutcome;
use crate::app::run as app;
use crate::base::units::{Bytes, DurationText};
use crate::codec::metainfo::Metainfo;
use crate::faults::folder::ScratchFolder;
use crate::faults::payload::Payload;
use crate::faults::peer::PeerStats;
use narrator::{Audible, Narrator};
use swarm::{DemoPeer, DemoSwarm};

/// 60 s without a byte: all peers are on this machine, so that would be a bug, and a demo must end.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// 64 KiB: how much of the result is read at once.
const READ_LEN: usize = 64 * 1024;

/// Runs the verb.
pub fn run(args: &DemoArgs, global: &Global, output: &Output) -> Result<ProgramExit, Problem> {
    let seed = args.seed.unwrap_or_else(|| seed_from_system() % 1_000_000);
    let payload = Payload::new(seed, args.size);
    let swarm = DemoSwarm::start(payload, seed)
        .map_err(|error| Problem::new(ProgramExit::Network, format!("no stage: {error}")))?;
    let metainfo = Metainfo::parse(&swarm.torrent).map_err(|error| Problem::new(ProgramExit::BadTorrent, error))?;
    let folder = ScratchFolder::new(args.dir.as_deref(), args.keep);
    let folder =
        folder.map_err(|error| Problem::new(ProgramExit::CannotCreate, format!("cannot make a folder: {error}")))?;
    let wanted = hex(payload.sha256());
    introduce(&swarm, &metainfo, seed, &wanted, output);
    let narrator = Narrator::new(&swarm, output);
    logs::install_beside(global, output, Some("off"), Some(narrator.clone().with_filter(Audible).boxed()))?;
    let result = folder.path().join(&metainfo.info.name);
    let defaults = RunConfig::new(vec![Job::new(metainfo)], folder.path().to_owned());
    let config = RunConfig { seed, stall_timeout: Some(STALL_TIMEOUT), ..defaults };
    let ran = app::run(&config, &mut |_, view| narrator.on_view(view));
    let outcome = ran.map_err(|error| Problem::new(ProgramExit::Unknown, format!("cannot start: {error}")))?;
    output.finish();
    let found = sha256_of(&result).map_or_else(|error| format!("unreadable: {error}"), hex);
    show_supervision(&outcome, output);
    show_peers(&swarm, output);
    let exit = report(&outcome, (&wanted, &found), output);
    if folder.is_kept() {
        output.line(format!("kept       {}", result.display()));
    }
    Ok(exit)
}

/// Shows the trackers and peers before the fetch starts.
fn introduce(swarm: &DemoSwarm, metainfo: &Metainfo, seed: u64, sha256: &str, output: &Output) {
    let role = |role: &DemoPeer| json!({"name": role.name, "at": role.at, "does": role.does});
    let roles = |roles: &[DemoPeer]| roles.iter().map(role).collect::<Vec<_>>();
    output.json(&json!({
        "event": "cast",
        "seed": seed,
        "bytes_total": metainfo.info.geometry.total_len(),
        "sha256": sha256,
        "trackers": roles(&swarm.trackers),
        "peers": roles(&swarm.peers),
    }));
    let geometry = metainfo.info.geometry;
    let piece = Bytes(u64::from(geometry.nominal_piece_len()));
    output.line(format!(
        "payload    {} in {} pieces of {piece}, seed {seed}",
        Bytes(geometry.total_len()),
        geometry.piece_count()
    ));
    for (title, roles) in [("trackers", &swarm.trackers), ("peers", &swarm.peers)] {
        for (nth, DemoPeer { name, at, does, .. }) in roles.iter().enumerate() {
            output.line(format!("{:<11}{name:<11}{at:<35}{does}", if nth == 0 { title } else { "" }));
        }
    }
    output.line("");
}

/// Shows the bytes, the restarts by actor and cause, and the bans of the run.
fn show_supervision(outcome: &RunOutcome, output: &Output) {
    let view = &outcome.torrents[0].view;
    let (have, received, wasted) = (view.progress_text(), Bytes(view.bytes_received), Bytes(view.bytes_wasted));
    output.line(format!(
        "\nfetched    {have} in {}; received {received}, of no use {wasted}",
        DurationText(outcome.took)
    ));
    output.line("\nrestarts   (each counts when the next incarnation is due)");
    for restart in &outcome.restarts {
        output.line(format!("           {:<16}{:<16}{:>3}", restart.actor, restart.cause, restart.count));
    }
    output.line(format!("           peers banned for lying: {}; panics: {}", view.swarm.census.banned, outcome.panics));
}

/// Shows what the peers recorded, to be compared with what the client noticed.
fn show_peers(swarm: &DemoSwarm, output: &Output) {
    output.line("\npeers                 connections        sent  resets  hang-ups  lies");
    for DemoPeer { name, stats, .. } in &swarm.peers {
        let Some(stats) = stats.as_ref().map(|stats| *stats.borrow()) else { continue };
        let PeerStats { connections, bytes, resets, closes, lies, .. } = stats;
        let sent = Bytes(bytes).to_string();
        output.line(format!("           {name:<11}{connections:>11}{sent:>12}{resets:>8}{closes:>10}{lies:>6}"));
    }
}

/// Shows the hashes and the result. The exit code is 0 only if every byte is there and the hashes are equal.
fn report(outcome: &RunOutcome, (wanted, found): (&str, &str), output: &Output) -> ProgramExit {
    let (mut exit, mut result) = ending::result_json(outcome);
    let is_wrong = exit == ProgramExit::Complete && wanted != found;
    if is_wrong {
        exit = ProgramExit::HashMismatch;
    }
    let verdict = match exit {
        _ if wanted == found => "equal",
        ProgramExit::HashMismatch => "DIFFERENT",
        _ => "not complete",
    };
    output.line(format!("\nSHA-256    payload  {wanted}\n           result   {found}  {verdict}"));
    if let Value::Object(fields) = &mut result {
        fields.insert("sha256_payload".to_owned(), wanted.into());
        fields.insert("sha256_result".to_owned(), found.into());
        fields.insert("peers_banned".to_owned(), outcome.torrents[0].view.swarm.census.banned.into());
        if is_wrong {
            fields.insert("status".to_owned(), "mismatch".into());
            fields.insert("exit_code".to_owned(), (exit as u8).into());
            fields.insert("error".to_owned(), "the result is not the payload".into());
        }
    }
    output.json(&result);
    if let Some(error) = result["error"].as_str() {
        output.complain(error);
    }
    exit
}

fn sha256_of(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_LEN];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            len => hasher.update(&buffer[..len]),
        }
    }
}

fn hex(digest: [u8; 32]) -> String {
    digest.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
