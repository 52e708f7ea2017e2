//! `fault`: the fault-injection harness: the catalogue, the runs, and single hostile servers (`docs/FAULTS.md`).

pub mod args;
mod layers;
mod list;
mod peer;
mod relay;
mod run;
mod serve;
mod tracker;

use std::process::ExitCode;

use args::{FaultArgs, FaultVerb};

use super::exit::Problem;
use super::output::Output;

/// Runs the verb. It has exit codes of its own: 10, 11 and 12 are verdicts.
pub fn run(args: &FaultArgs, output: &Output) -> Result<ExitCode, Problem> {
    let done = match &args.verb {
        FaultVerb::Run(args) => return run::run(args, output).map(ExitCode::from),
        FaultVerb::List(args) => {
            list::run(args, output);
            Ok(())
        }
        FaultVerb::Peer(args) => peer::run(args, output),
        FaultVerb::Tracker(args) => tracker::run(args, output),
        FaultVerb::Relay(args) => relay::run(args, output),
    };
    done.map(|()| ExitCode::SUCCESS)
}
