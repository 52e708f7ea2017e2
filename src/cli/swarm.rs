//! What `fetch` and `seed` share: makes a run of sources and options, and shows its views and its end.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;
use std::thread::available_parallelism;

use globset::Glob;

use super::args::{Global, GoalArgs, SwarmArgs};
use super::ending;
use super::exit::{Problem, ProgramExit};
use super::output::Output;
use super::progress::ProgressPrinter;
use super::{places, source};
use crate::actors::view::TorrentFailure;
use crate::app::config::{Job, RunConfig};
use crate::app::outcome::Ending;
use crate::app::run;
use crate::codec::metainfo::Metainfo;
use crate::logic::torrent::seeding_goal::SeedingGoal;
use crate::net::sockets::Sockets;

/// 10 s between metrics when a log file is given without `--metrics-interval`.
const METRICS_INTO_FILE: std::time::Duration = std::time::Duration::from_secs(10);

impl GoalArgs {
    /// Tells whether a limit was given.
    pub(super) const fn is_given(&self) -> bool {
        self.seed_ratio.is_some() || self.seed_time.is_some()
    }

    /// Returns the seeding goal.
    pub(super) const fn goal(&self) -> SeedingGoal {
        SeedingGoal { ratio: self.seed_ratio, time: self.seed_time }
    }
}

/// Returns the named torrents. Naming one twice is an error.
pub fn jobs(sources: &[OsString], args: &SwarmArgs) -> Result<Vec<Job>, Problem> {
    let net = Sockets::only_by(args.bind, args.interface.as_deref());
    let mut jobs: Vec<Job> = Vec::new();
    for source in sources {
        let metainfo = source::load_by(&net, source, args.names.into())?;
        for warning in &metainfo.warnings {
            tracing::warn!(%warning, "torrent is odd");
        }
        if jobs.iter().any(|job| job.metainfo.info.info_hash == metainfo.info.info_hash) {
            let shown = source::shown(source);
            return Err(Problem::new(ProgramExit::Usage, format!("{shown} is the same torrent as one before it")));
        }
        jobs.push(Job { tiers: tiers(args, &metainfo)?, ..Job::new(metainfo) });
    }
    Ok(jobs)
}

/// Returns the configuration of a run, as far as both verbs agree.
pub fn config(args: &SwarmArgs, global: &Global, jobs: Vec<Job>, dir: PathBuf) -> RunConfig {
    let (max_down_bps, max_up_bps) = args.limits.bps();
    let file_default = global.log_file.as_ref().map(|_| METRICS_INTO_FILE);
    RunConfig {
        arbiters: arbiters(args, jobs.len()),
        port: args.port,
        bind: args.bind,
        interface: args.interface.clone(),
        max_peers: usize::from(args.max_peers),
        max_down_bps,
        max_up_bps,
        peers: args.peer.clone(),
        shutdown_timeout: args.shutdown_timeout,
        keep_state: args.keep_state,
        metrics_every: args.metrics_interval.or(file_default).filter(|every| !every.is_zero()),
        ..RunConfig::new(jobs, dir)
    }
}

/// Returns the number of arbiters. A torrent lives on one arbiter.
fn arbiters(args: &SwarmArgs, torrents: usize) -> usize {
    let processors = || available_parallelism().map_or(1, NonZero::get);
    args.arbiters.map_or_else(processors, usize::from).min(torrents).max(1)
}

/// Performs the run and shows it.
pub fn run(config: &RunConfig, output: &Output) -> Result<ProgramExit, Problem> {
    let mut progress = ProgressPrinter::new(output, config.jobs.len());
    let ran = run::run(config, &mut |nth, view| progress.show(nth, view));
    let mut outcome = ran.map_err(|error| Problem::new(ProgramExit::Network, format!("cannot start: {error}")))?;
    for (finish, job) in outcome.torrents.iter_mut().zip(&config.jobs) {
        if let Ending::Failed(TorrentFailure::Incomplete { have, total }) = finish.ending {
            finish.advice = Some(places::advice(&config.dir, &job.metainfo, (have, total)));
        }
    }
    output.finish();
    Ok(ending::report(&outcome, output))
}

/// Returns the torrent's tiers without the excluded trackers. The user's additions are the first tier and are never
/// excluded.
fn tiers(args: &SwarmArgs, metainfo: &Metainfo) -> Result<Vec<Vec<String>>, Problem> {
    let mut excluded = Vec::new();
    for pattern in &args.exclude_tracker {
        let glob = Glob::new(pattern);
        let glob =
            glob.map_err(|error| Problem::new(ProgramExit::Usage, format!("--exclude-tracker {pattern}: {error}")))?;
        excluded.push(glob.compile_matcher());
    }
    let is_wanted = |url: &String| !excluded.iter().any(|glob| glob.is_match(url));
    let kept = metainfo.tiers.iter().map(|tier| tier.iter().filter(|url| is_wanted(url)).cloned().collect::<Vec<_>>());
    let all = std::iter::once(args.tracker.clone()).chain(kept);
    Ok(all.filter(|tier| !tier.is_empty()).collect())
}

#[cfg(test)]
pub(super) mod testing {
    use super::Metainfo;

    /// A torrent with two tiers: three trackers, and one.
    pub(in crate::cli) fn torrent() -> Metainfo {
        let first = ["http://a.example/x", "udp://b.example", "http://b.example:8/zz"];
        let tier = |urls: &[&str]| urls.iter().fold(String::new(), |tier, url| format!("{tier}{}:{url}", url.len()));
        let tiers = format!("13:announce-listll{}el{}ee", tier(&first), tier(&["http://c.example/x"]));
        let info = format!("4:infod6:lengthi3e4:name1:x12:piece lengthi16384e6:pieces20:{}e", "x".repeat(20));
        Metainfo::parse(format!("d{tiers}{info}e").as_bytes()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Args, Verb};
    use super::testing::torrent;
    use super::*;

    fn parsed(options: &[&str]) -> (SwarmArgs, Global) {
        let line = ["tt-actors", "seed", "x.torrent"].iter().chain(options);
        let Args { verb: Verb::Seed(args), global } = Args::parse_from(line) else { panic!("another verb") };
        (args.swarm, global)
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
            // `--exclude-tracker` applies to the trackers of the torrent, not to those that the user adds.
            (&["--exclude-tracker", "*", "--tracker", "http://own.example/x"], "http://own.example/x"),
        ];
        for (options, want) in table {
            let (args, _) = parsed(options);
            let tiers: Vec<_> = tiers(&args, &torrent()).unwrap().iter().map(|tier| tier.join(" ")).collect();
            assert_eq!(tiers.join(" | "), want, "{options:?}");
        }
    }

    #[test]
    fn an_invalid_pattern_is_a_usage_error_that_names_it() {
        let (args, _) = parsed(&["--exclude-tracker", "a[b"]);
        let problem = tiers(&args, &torrent()).unwrap_err();
        assert_eq!(problem.exit, ProgramExit::Usage);
        assert!(problem.text.contains("--exclude-tracker a[b"), "{}", problem.text);
    }

    #[test]
    fn metrics_go_into_a_log_file_by_default() {
        let every = |options: &[&str]| {
            let (args, global) = parsed(options);
            config(&args, &global, Vec::new(), ".".into()).metrics_every.map(|every| every.as_secs())
        };
        assert_eq!(every(&[]), None);
        assert_eq!(every(&["--log-file", "x"]), Some(10));
        assert_eq!(every(&["--log-file", "x", "--metrics-interval", "3s"]), Some(3));
        assert_eq!(every(&["--log-file", "x", "--metrics-interval", "0s"]), None);
        assert_eq!(every(&["--metrics-interval", "1m"]), Some(60));
    }

    #[test]
    fn the_same_torrent_twice_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            b"d4:infod6:lengthi3e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee",
        )
        .unwrap();
        let name = file.path().as_os_str().to_owned();
        let (args, _) = parsed(&[]);
        assert_eq!(jobs(std::slice::from_ref(&name), &args).unwrap().len(), 1);
        let problem = jobs(&[name.clone(), name], &args).unwrap_err();
        assert!(problem.exit == ProgramExit::Usage && problem.text.contains("same torrent"), "{}", problem.text);
    }
}
