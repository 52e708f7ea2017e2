//! `completions`: completion scripts for shells.

use clap::CommandFactory;

use super::args::{Args, CompletionsArgs};
use super::exit::ProgramExit;
use super::output::Output;

/// Runs the verb.
pub fn run(args: &CompletionsArgs, output: &Output) -> ProgramExit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "tt-actors", &mut script);
    output.answer(String::from_utf8_lossy(&script).trim_end());
    ProgramExit::Complete
}
