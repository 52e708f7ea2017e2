//! `man`: manual pages of the program and of each verb.

use clap::CommandFactory;

use super::args::{Args, ManArgs};
use super::exit::{Problem, ProgramExit};
use super::output::Output;

/// Runs the verb.
pub fn run(args: &ManArgs, output: &Output) -> Result<ProgramExit, Problem> {
    let mut program = Args::command();
    program.build();
    let command = match &args.verb {
        None => program,
        Some(verb) => {
            let unknown = || Problem::new(ProgramExit::Usage, format!("there is no verb `{verb}`; see --help"));
            program.find_subcommand(verb).cloned().ok_or_else(unknown)?
        }
    };
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command).source(concat!("tt-actors ", env!("CARGO_PKG_VERSION")));
    man.render(&mut page).map_err(|error| Problem::new(ProgramExit::Unknown, error))?;
    output.answer(String::from_utf8_lossy(&page).trim_end());
    Ok(ProgramExit::Complete)
}
