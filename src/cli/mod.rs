//! Floor 7: the command line. One file per verb.

use std::process::ExitCode;

use clap::Parser;

pub mod args;
pub mod completions;
pub mod create;
pub mod demo;
pub mod ending;
pub mod exit;
#[cfg(feature = "faults")]
pub mod fault;
pub mod fetch;
pub mod hashing;
pub mod info;
pub mod logs;
pub mod man;
pub mod names;
#[cfg(all(test, feature = "faults"))]
mod option_pages;
pub mod output;
pub mod places;
pub mod progress;
pub mod scrape;
pub mod seed;
pub mod selection;
pub mod source;
pub mod stop;
pub mod swarm;
pub mod tracker;
pub mod tree;
pub mod verify;

use crate::system::signals::survive_file_size_limit;
use args::{Args, Verb};
use exit::{Problem, ProgramExit};
use output::Output;

/// Runs the program. Returns its exit code.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let output = Output::new(args.global.json, args.global.quiet);
    let done = run(&args, &output);
    output.finish();
    done.unwrap_or_else(|problem| {
        output.problem(&problem);
        problem.exit.into()
    })
}

fn run(args: &Args, output: &Output) -> Result<ExitCode, Problem> {
    if let Err(error) = survive_file_size_limit() {
        output.complain(&format!("cannot catch SIGXFSZ: {error}; a write beyond `ulimit -f` will end the program"));
    }
    let exit = match &args.verb {
        #[cfg(feature = "faults")]
        Verb::Fault(fault) => return fault::run(fault, output),
        Verb::Fetch(fetch) => fetch::run(fetch, &args.global, output),
        Verb::Seed(seed) => seed::run(seed, &args.global, output),
        Verb::Demo(demo) => demo::run(demo, &args.global, output),
        Verb::Create(create) => create::run(create, output),
        Verb::Info(info) => info::run(info, output),
        Verb::Verify(verify) => verify::run(verify, output),
        Verb::Scrape(scrape) => scrape::run(scrape, &args.global, output),
        Verb::Tracker(tracker) => tracker::run(tracker, &args.global, output),
        Verb::Tree => Ok(tree::run(output)),
        Verb::Man(man) => man::run(man, output),
        Verb::Completions(completions) => Ok(completions::run(completions, output)),
    };
    exit.map(ExitCode::from)
}

/// Prints help and version to standard output (exit code 0), errors of the command line to standard error (exit code
/// 2).
fn usage(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { ProgramExit::Usage } else { ProgramExit::Complete };
    match error.print() {
        Ok(()) => exit.into(),
        Err(_nobody_reads) => exit.into(),
    }
}
