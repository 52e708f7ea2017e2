//! How a run ended, for people and for programs.

use std::time::Duration;

use crate::actors::kit;
use crate::actors::view::{TorrentFailure, TorrentView};

/// How it ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// Every byte is there and verified.
    Complete,
    /// The user stopped it; the state is safe and the same command goes on.
    Interrupted,
    /// The user stopped it twice: it ended at once.
    Killed,
    /// No byte came for as long as the user would wait.
    Stalled(Duration),
    /// It could not go on.
    Failed(TorrentFailure),
    /// The supervision tree gave up, and why.
    GaveUp(String),
}

/// One cause of restarts and how often it struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartCount {
    /// The kind of actor.
    pub actor: &'static str,
    /// Why.
    pub cause: String,
    /// How often.
    pub count: u64,
}

/// One torrent of a run, looked back on.
#[derive(Debug, Clone)]
pub struct TorrentOutcome {
    /// How it ended.
    pub ending: Ending,
    /// As it was last seen.
    pub view: TorrentView,
    /// Why it failed and what to do, where more is known than its failure says.
    pub advice: Option<String>,
}

/// A run, looked back on.
#[derive(Debug, Clone)]
pub struct RunOutcome {
    /// Its torrents, in the order in which they were given.
    pub torrents: Vec<TorrentOutcome>,
    /// How long it took.
    pub took: Duration,
    /// Supervised restarts.
    pub restarts: Vec<RestartCount>,
    /// Panics that were caught.
    pub panics: u64,
}

impl RunOutcome {
    pub(super) fn new(torrents: Vec<TorrentOutcome>, took: Duration) -> Self {
        let restarts = kit::restarts_by_cause();
        let restarts = restarts.into_iter().map(|(actor, cause, count)| RestartCount { actor, cause, count }).collect();
        let panics = kit::snapshot().iter().map(|kind| kind.panics).sum();
        Self { torrents, took, restarts, panics }
    }
}
