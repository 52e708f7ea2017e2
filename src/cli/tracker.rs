//! `tracker`: runs a tracker over HTTP and UDP until it is stopped.

use std::path::Path;

use serde_json::json;

use super::args::{Global, TrackerArgs};
use super::exit::{Problem, ProgramExit};
use super::logs;
use super::output::Output;
use crate::app::config::{secret_from_system, seed_from_system, wall_clock};
use crate::app::descriptors::Descriptors;
use crate::base::units::DurationText;
use crate::logic::tracker_server::{RegistryLimits, Stats};
use crate::storage::state_file::NoStateFile;
use crate::tracker_server::pages::stats_json;
use crate::tracker_server::run::{ServerEvent, ServerTrouble, TrackerServerConfig, serve};
use crate::tracker_server::state::Restored;

/// 6969: the usual port of trackers since the first one.
const DEFAULT_AT: &str = "0.0.0.0:6969";

/// 4,096 connections: an announce takes a fraction of a millisecond, so most of these are clients that keep their
/// connection open.
const MAX_CONNECTIONS: usize = 4096;

/// Runs the verb.
pub fn run(args: &TrackerArgs, global: &Global, output: &Output) -> Result<ProgramExit, Problem> {
    logs::install(global, output)?;
    let config = config(args)?;
    let served = serve(&config, &mut |news| tell(news, output));
    let stats = served.map_err(|trouble| Problem::new(exit_of(&trouble), trouble))?;
    report(stats.as_ref(), output);
    Ok(ProgramExit::Complete)
}

fn config(args: &TrackerArgs) -> Result<TrackerServerConfig, Problem> {
    let (mut http, mut udp) = (args.http.clone(), args.udp.clone());
    if http.is_empty() && udp.is_empty() {
        let at = DEFAULT_AT.parse().map_err(|error| Problem::new(ProgramExit::Unknown, error))?;
        (http, udp) = (vec![at], vec![at]);
    }
    let limits = RegistryLimits { peers: args.max_peers, swarms: args.max_torrents, ..RegistryLimits::default() };
    let secret = secret_from_system()
        .map_err(|error| Problem::new(ProgramExit::Unknown, format!("no dice for connection ids: {error}")))?;
    Ok(TrackerServerConfig {
        http,
        udp,
        interval: args.interval,
        rate: args.max_rate,
        max_connections: Descriptors::of_this_process(0, 1).peers.min(MAX_CONNECTIONS),
        limits,
        allow: args.allow.clone(),
        state: args.state.clone(),
        wall: wall_clock,
        metrics_every: args.metrics_interval,
        seed: seed_from_system(),
        secret,
    })
}

fn tell(news: &ServerEvent, output: &Output) {
    match news {
        ServerEvent::Listening { http, udp, allowed } => {
            let http: Vec<_> = http.iter().map(|at| format!("http://{at}/announce")).collect();
            let udp: Vec<_> = udp.iter().map(|at| format!("udp://{at}/announce")).collect();
            output.json(&json!({"event": "listening", "http": http, "udp": udp, "torrents_allowed": allowed}));
            http.iter().chain(&udp).for_each(|url| output.line(format!("tracker   {url}")));
            if let Some(allowed) = allowed {
                output.line(format!("serving   {allowed} torrents of the list"));
            }
        }
        ServerEvent::Reread(Ok(allowed)) => {
            output.json(&json!({"event": "reread", "torrents_allowed": allowed}));
            output.line(format!("serving   {allowed} torrents of the list, read again"));
        }
        ServerEvent::Reread(Err(trouble)) => {
            let error = trouble.to_string();
            output.json(&json!({"event": "reread", "error": error}));
            output.complain(&format!("{error}; the old list stays"));
        }
        ServerEvent::Restored(path, restored) => tell_restored(path, restored, output),
        ServerEvent::NotSaved(path, why) => {
            let error = format!("the swarms are not saved in {}: {why}", path.display());
            output.json(&json!({"event": "not_saved", "error": error}));
            output.complain(&error);
        }
    }
}

fn tell_restored(path: &Path, restored: &Restored, output: &Output) {
    match restored {
        Restored::Nothing => {}
        Restored::Swarms(stats) => {
            let (torrents, peers) = (stats.swarms, stats.peers.peers());
            output.json(&json!({"event": "restored", "torrents": torrents, "peers": peers}));
            output.line(format!("restored  {peers} peers in {torrents} torrents from {}", path.display()));
        }
        Restored::Broken(why, aside) => {
            let now = match aside {
                Ok(aside) => format!("it is kept as {}", aside.display()),
                Err(trouble) => format!("it stays there ({trouble}), and swarms are not kept"),
            };
            let error = format!("the swarms in {} cannot be read: {why}; {now}", path.display());
            output.json(&json!({"event": "restored", "error": error}));
            output.complain(&error);
        }
    }
}

fn report(stats: Option<&Stats>, output: &Output) {
    let mut result = stats.map_or_else(|| json!({}), stats_json);
    result["event"] = "result".into();
    result["status"] = "complete".into();
    result["exit_code"] = 0.into();
    output.json(&result);
    if let Some(Stats { uptime, swarms, peers, counts, .. }) = stats {
        let announces = counts.announces_http + counts.announces_udp;
        let scrapes = counts.scrapes_http + counts.scrapes_udp;
        output.line(format!(
            "served    {announces} announces and {scrapes} scrapes in {}; at the end {} peers in {swarms} torrents",
            DurationText(*uptime),
            peers.peers(),
        ));
    }
}

fn exit_of(trouble: &ServerTrouble) -> ProgramExit {
    match trouble {
        ServerTrouble::Runtime(_) => ProgramExit::Unknown,
        ServerTrouble::Listen { .. } => ProgramExit::Network,
        ServerTrouble::StateFile(NoStateFile::Locked(_)) => ProgramExit::Locked,
        ServerTrouble::StateFile(NoStateFile::Disk(trouble)) => trouble.into(),
        ServerTrouble::AllowFile { .. } | ServerTrouble::StateFile(NoStateFile::NotRegular(_)) => {
            ProgramExit::CannotOpen
        }
        ServerTrouble::AllowList { .. } => ProgramExit::Usage,
        ServerTrouble::GaveUp(_) => ProgramExit::GaveUp,
    }
}
