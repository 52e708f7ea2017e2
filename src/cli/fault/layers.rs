//! The scenarios of all layers. Each layer has a function that returns its list.

use std::path::PathBuf;

use crate::cli::exit::{Problem, ProgramExit};
use crate::cli::output::Output;
use crate::faults::host;
use crate::faults::program::Template;
use crate::faults::scenario::{About, Layer, ScenarioReport};
use crate::faults::sockets::{self, Client};
use crate::sim;

use super::args::RunArgs;

/// A scenario of any layer.
pub(super) struct Scenario {
    /// Its name, the entries that it covers, and its title.
    pub(super) about: About,
    /// Runs it with a seed.
    pub(super) run: Box<dyn Fn(u64) -> ScenarioReport + Send + Sync>,
}

/// Returns the descriptions of all scenarios, for `fault list`.
pub(super) fn abouts() -> Vec<About> {
    let sim = sim::scenes::all().map(|scene| scene.about).chain(sim::swarm::SWARMS.iter().map(|swarm| swarm.about));
    let net = sockets::scenes().into_iter().map(|scene| scene.about);
    sim.chain(net).chain(host::scenes().map(|scene| scene.about)).collect()
}

/// Returns the scenarios of one layer.
pub(super) fn scenarios(layer: Layer, args: &RunArgs, output: &Output) -> Result<Vec<Scenario>, Problem> {
    match layer {
        Layer::Sim => Ok(simulated(args, output)),
        Layer::Net => net(args),
        Layer::Host => host(),
    }
}

fn simulated(args: &RunArgs, output: &Output) -> Vec<Scenario> {
    let trace = args.trace;
    let scenario = |about, run: Box<dyn Fn(u64) -> (ScenarioReport, Vec<String>) + Send + Sync>| {
        let output = output.clone();
        let run = move |seed| {
            let (report, lines) = run(seed);
            output.trace(&lines);
            report
        };
        Scenario { about, run: Box::new(run) }
    };
    let scenes =
        sim::scenes::all().map(|scene| scenario(scene.about, Box::new(move |s| sim::run_scene(scene, s, trace))));
    // Swarms take minutes each and measure speed: they run only if `--only` names them.
    let swarms = sim::swarm::SWARMS.iter().filter(|_| !args.only.is_empty());
    let swarms = swarms.map(|swarm| scenario(swarm.about, Box::new(move |s| sim::swarm::run_scene(swarm, s, trace))));
    scenes.chain(swarms).collect()
}

fn net(args: &RunArgs) -> Result<Vec<Scenario>, Problem> {
    let client = match &args.client {
        Some(template) => Client { template: template.clone(), is_ours: false, limit: args.limit },
        None => Client { template: ours()?, is_ours: true, limit: args.limit },
    };
    let scenario = |scene: &'static sockets::NetScene| {
        let client = client.clone();
        Scenario { about: scene.about, run: Box::new(move |seed| sockets::run_scene(scene, &client, seed)) }
    };
    Ok(sockets::scenes().into_iter().map(scenario).collect())
}

fn host() -> Result<Vec<Scenario>, Problem> {
    let program = match std::env::var_os("TT_BIN") {
        Some(other) => PathBuf::from(other),
        None => here()?,
    };
    let scenario = |scene: &'static host::HostScene| {
        let program = program.clone();
        Scenario { about: scene.about, run: Box::new(move |seed| host::run_scene(scene, &program, seed)) }
    };
    Ok(host::scenes().map(scenario).collect())
}

/// Returns the path of this program.
fn here() -> Result<PathBuf, Problem> {
    let here = std::env::current_exe();
    here.map_err(|error| Problem::new(ProgramExit::NotFound, format!("cannot find this program: {error}")))
}

/// Returns the command line of our own client, as a script would run it.
fn ours() -> Result<Template, Problem> {
    let here = here()?;
    let words = ["fetch", "{torrent}", "--dir", "{dir}", "--port", "{port}", "--json", "--log-format", "json"];
    let mut all = vec![here.to_string_lossy().into_owned()];
    all.extend(words.map(str::to_owned));
    Ok(Template::of_words(&all))
}
