//! `fetch`: downloads torrents.

use std::ffi::OsString;

use super::args::{DiskFull, FetchArgs, Global};
use super::exit::{Problem, ProgramExit};
use super::output::Output;
use super::selection::select;
use super::{info, logs, places, swarm};
use crate::actors::torrent::Aim;
use crate::app::config::{Job, RunConfig};
use crate::app::hook::CompletionHook;

/// Runs the verb.
pub fn run(args: &FetchArgs, global: &Global, output: &Output) -> Result<ProgramExit, Problem> {
    logs::install(global, output)?;
    places::must_not_be_file(&args.dir)?;
    let mut jobs = swarm::jobs(&args.sources, &args.swarm)?;
    for job in &mut jobs {
        job.select = select(&args.files, &job.metainfo)?;
    }
    if args.list {
        for job in &jobs {
            info::list(&job.metainfo, job.select.as_deref(), output);
        }
        return Ok(ProgramExit::Complete);
    }
    let on_complete = hook(&args.on_complete)?;
    swarm::run(&RunConfig { on_complete, ..config(args, global, jobs) }, output)
}

/// Finds the program of `--on-complete`, before anything is fetched.
fn hook(words: &[OsString]) -> Result<Option<CompletionHook>, Problem> {
    let Some((program, args)) = words.split_first() else { return Ok(None) };
    let found = CompletionHook::find(program.as_ref(), args.to_vec());
    found.map(Some).map_err(|error| {
        let exit =
            if error.kind() == std::io::ErrorKind::NotFound { ProgramExit::NotFound } else { ProgramExit::CannotOpen };
        Problem::new(exit, format!("--on-complete {}: {error}", program.display()))
    })
}

fn config(args: &FetchArgs, global: &Global, jobs: Vec<Job>) -> RunConfig {
    let is_wanted = args.seed || args.goal.is_given();
    // With several torrents, a full disk must not end all of them.
    let default = if jobs.len() > 1 { DiskFull::Wait } else { DiskFull::Exit };
    RunConfig {
        aim: Aim::Fetch { then: is_wanted.then(|| args.goal.goal()) },
        verify: args.verify,
        overwrite: args.overwrite,
        stall_timeout: args.stall_timeout,
        durability: args.durability.into(),
        wait_for_space: args.disk_full.unwrap_or(default) == DiskFull::Wait,
        ..swarm::config(&args.swarm, global, jobs, args.dir.clone())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Args, Verb};
    use super::super::swarm::testing::torrent;
    use super::*;
    use crate::logic::torrent::seeding_goal::SeedingGoal;

    fn configured(options: &[&str], torrents: usize) -> RunConfig {
        let line = ["tt-actors", "fetch", "x.torrent"].iter().chain(options);
        let Args { verb: Verb::Fetch(args), global } = Args::parse_from(line) else { panic!("another verb") };
        config(&args, &global, vec![Job::new(torrent()); torrents])
    }

    #[test]
    fn it_seeds_with_seed_or_with_a_goal() {
        let then = |options: &[&str]| {
            let Aim::Fetch { then } = configured(options, 1).aim else { panic!("another aim") };
            then
        };
        let time = Some(std::time::Duration::from_secs(60));
        assert_eq!(then(&[]), None);
        assert_eq!(then(&["--seed"]), Some(SeedingGoal::default()));
        assert_eq!(then(&["--seed-ratio", "1.5"]), Some(SeedingGoal { ratio: Some(1.5), time: None }));
        assert_eq!(then(&["--seed", "--seed-time", "1m"]), Some(SeedingGoal { ratio: None, time }));
        for bad in ["-1", "nan", "inf", "x"] {
            let line = ["tt-actors", "fetch", "x.torrent", &format!("--seed-ratio={bad}")];
            assert!(Args::try_parse_from(line).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_torrent_leaves_a_full_disk_and_several_wait() {
        let waits = |options: &[&str], torrents| configured(options, torrents).wait_for_space;
        assert_eq!((waits(&[], 1), waits(&[], 2)), (false, true));
        assert_eq!((waits(&["--disk-full", "wait"], 1), waits(&["--disk-full", "exit"], 2)), (true, false));
    }
}
