//! What all layers of the harness share: what a scenario is called and covers, and what a run of it found.
//!
//! It knows no particular layer. The catalogue is in `catalogue`; each layer keeps its own list of scenarios.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// Where a scenario runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// The actor tree in a simulator, on virtual time.
    Sim,
    /// The program, or any other client, on real sockets of this machine.
    Net,
    /// The program under system-call injection, small disks, limits and signals. Needs root and Linux.
    Host,
}

impl Layer {
    /// Returns the word for `--layer`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Net => "net",
            Self::Host => "host",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name and the subject of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Unique in its layer: the id of the first entry that it covers, then, after a dot, what is special
    /// (`P-14.one-bit`).
    pub name: &'static str,
    /// The entries of the catalogue that it automates.
    pub covers: &'static [&'static str],
    /// One line for the list of scenarios.
    pub title: &'static str,
    /// Where it runs.
    pub layer: Layer,
}

/// The verdict of the referee on one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefereeVerdict {
    /// Every invariant held.
    Held,
    /// This machine cannot run it, for this reason. It is always reported and never counts as success.
    Skipped(String),
    /// It did not complete in time after every fault had healed (I3).
    NotLive(String),
    /// An invariant broke.
    Broke {
        /// Its number: `I1` to `I10`.
        invariant: &'static str,
        /// What was observed.
        how: String,
    },
    /// The process died, panicked without injection, or leaked (I4, I5).
    Crashed(String),
}

impl RefereeVerdict {
    /// Returns the exit code of the program: 0 held, 10 an invariant broke, 11 not live after healing, 12 crash or
    /// leak.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Held | Self::Skipped(_) => 0,
            Self::Broke { .. } => 10,
            Self::NotLive(_) => 11,
            Self::Crashed(_) => 12,
        }
    }

    /// Returns the verdict in a word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Skipped(_) => "skipped",
            Self::NotLive(_) => "not live",
            Self::Broke { .. } => "broke",
            Self::Crashed(_) => "crashed",
        }
    }

    /// Tells whether it is a failure.
    pub const fn is_failure(&self) -> bool {
        self.exit_code() != 0
    }
}

impl fmt::Display for RefereeVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("held"),
            Self::Skipped(why) => write!(f, "skipped: {why}"),
            Self::NotLive(how) => write!(f, "not live: {how}"),
            Self::Broke { invariant, how } => write!(f, "broke {invariant}: {how}"),
            Self::Crashed(how) => write!(f, "crashed: {how}"),
        }
    }
}

/// The report on one run of one scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct ScenarioReport {
    /// The scenario.
    pub about: About,
    /// The seed of all random numbers.
    pub seed: u64,
    /// Faults that were injected into the client: kind and count.
    pub injected: BTreeMap<String, u64>,
    /// Counters of what was observed: name and value.
    pub observed: BTreeMap<String, u64>,
    /// Supervised restarts: (actor, cause) and count.
    pub restarts: BTreeMap<(String, String), u64>,
    /// How long it took on its own clock, which is virtual in the simulator.
    pub took: Duration,
    /// A hash of all events, in deterministic layers.
    pub events: Option<u64>,
    /// The verdict of the referee.
    pub verdict: RefereeVerdict,
}

impl ScenarioReport {
    /// Returns an empty report with the verdict `Held`.
    pub const fn new(about: About, seed: u64) -> Self {
        Self {
            about,
            seed,
            injected: BTreeMap::new(),
            observed: BTreeMap::new(),
            restarts: BTreeMap::new(),
            took: Duration::ZERO,
            events: None,
            verdict: RefereeVerdict::Held,
        }
    }

    /// Returns the command that runs it again.
    pub fn replay(&self) -> String {
        format!("tt-actors fault run --layer {} --only {} --seed {}", self.about.layer, self.about.name, self.seed)
    }

    /// Returns one JSON object. `commit` is the tested build.
    pub fn to_json(&self, commit: &str) -> Value {
        let restarts = self.restarts.iter();
        let restarts: Vec<Value> =
            restarts.map(|((actor, cause), count)| json!({ "actor": actor, "cause": cause, "count": count })).collect();
        json!({
            "seed": self.seed,
            "commit": commit,
            "scenario": self.about.name,
            "layer": self.about.layer.name(),
            "injected": self.injected,
            "observed": self.observed,
            "restarts": restarts,
            "seconds": self.took.as_secs_f64(),
            "events": self.events.map(|hash| format!("{hash:016x}")),
            "verdict": self.verdict.word(),
            "detail": self.verdict.to_string(),
            "replay": self.replay(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About = About { name: "P-14.one-bit", covers: &["P-14"], title: "one bit", layer: Layer::Sim };

    #[test]
    fn every_verdict_has_the_exit_code_of_the_contract() {
        let table = [
            (RefereeVerdict::Held, 0),
            (RefereeVerdict::Skipped("no root".to_owned()), 0),
            (RefereeVerdict::Broke { invariant: "I1", how: "piece 3".to_owned() }, 10),
            (RefereeVerdict::NotLive("60 s after".to_owned()), 11),
            (RefereeVerdict::Crashed("signal 6".to_owned()), 12),
        ];
        for (verdict, code) in table {
            assert_eq!((verdict.exit_code(), verdict.is_failure()), (code, code != 0), "{verdict}");
        }
    }

    #[test]
    fn a_report_names_the_command_that_repeats_the_run() {
        let report = ScenarioReport { events: Some(0xff), ..ScenarioReport::new(ABOUT, 7) };
        assert_eq!(report.replay(), "tt-actors fault run --layer sim --only P-14.one-bit --seed 7");
        let json = report.to_json("abc");
        assert_eq!((&json["events"], &json["verdict"]), (&json!("00000000000000ff"), &json!("held")));
    }
}
