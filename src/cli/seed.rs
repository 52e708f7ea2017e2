//! `seed`: seeds torrents whose data is there.

use super::args::{Global, SeedArgs};
use super::exit::{Problem, ProgramExit};
use super::output::Output;
use super::{logs, places, swarm};
use crate::actors::torrent::Aim;
use crate::app::config::RunConfig;

/// Runs the verb.
pub fn run(args: &SeedArgs, global: &Global, output: &Output) -> Result<ProgramExit, Problem> {
    logs::install(global, output)?;
    places::must_be_folder(&args.dir)?;
    let jobs = swarm::jobs(&args.sources, &args.swarm)?;
    let config = RunConfig {
        aim: Aim::Seed(args.goal.goal()),
        verify: args.verify,
        super_seed: args.super_seed,
        ..swarm::config(&args.swarm, global, jobs, args.dir.clone())
    };
    swarm::run(&config, output)
}
