//! What every layer of the harness has in common: what a scenario is called and covers, and what a run of it found.
//!
//! Knows no layer in particular. The catalogue is `catalogue`; each layer keeps its own list of scenarios.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// Where a scenario is played.
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
    /// As it is written behind `--layer`.
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

/// What a scenario is called and what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Unique in its layer: the id of the entry it covers first, then, after a dot, what is special (`P-14.one-bit`).
    pub name: &'static str,
    /// Entries of the catalogue that it automates.
    pub covers: &'static [&'static str],
    /// One line.
    pub title: &'static str,
    /// Where it is played.
    pub layer: Layer,
}

/// What the referee says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefereeVerdict {
    /// Everything held.
    Held,
    /// This machine cannot play it, and why. Never silent, never a success.
    Skipped(String),
    /// It did not complete in time after everything had healed (I3).
    NotLive(String),
    /// An invariant broke: which (`I1`) and how.
    Broke {
        /// `I1` to `I10`.
        invariant: &'static str,
        /// What was seen.
        how: String,
    },
    /// The process died, panicked where nothing was injected, or leaked (I4, I5).
    Crashed(String),
}

impl RefereeVerdict {
    /// The program's exit code: 0 held, 10 an invariant broke, 11 not live after healing, 12 crash or leak.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Held | Self::Skipped(_) => 0,
            Self::Broke { .. } => 10,
            Self::NotLive(_) => 11,
            Self::Crashed(_) => 12,
        }
    }

    /// One word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Skipped(_) => "skipped",
            Self::NotLive(_) => "not live",
            Self::Broke { .. } => "broke",
            Self::Crashed(_) => "crashed",
        }
    }

    /// Did it fail?
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

/// One run of one scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct ScenarioReport {
    /// Which.
    pub about: About,
    /// What decided every die.
    pub seed: u64,
    /// What was done to the client: kind of fault and how often.
    pub injected: BTreeMap<String, u64>,
    /// What was seen of it: counters, by name.
    pub observed: BTreeMap<String, u64>,
    /// Supervised restarts: (actor, cause) and how often.
    pub restarts: BTreeMap<(String, String), u64>,
    /// How long it took, on its own clock: virtual in the simulator.
    pub took: Duration,
    /// A hash of everything that happened, where that is deterministic.
    pub events: Option<u64>,
    /// What the referee says.
    pub verdict: RefereeVerdict,
}

impl ScenarioReport {
    /// Nothing has happened yet, and that held.
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

    /// The command that plays it again.
    pub fn replay(&self) -> String {
        format!("tt-actors fault run --layer {} --only {} --seed {}", self.about.layer, self.about.name, self.seed)
    }

    /// One JSON object. `commit` is the build that was tested.
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
    fn a_report_says_how_to_play_it_again() {
        let report = ScenarioReport { events: Some(0xff), ..ScenarioReport::new(ABOUT, 7) };
        assert_eq!(report.replay(), "tt-actors fault run --layer sim --only P-14.one-bit --seed 7");
        let json = report.to_json("abc");
        assert_eq!((&json["events"], &json["verdict"]), (&json!("00000000000000ff"), &json!("held")));
    }
}
