//! How a run ended, for the user and for other programs.

use std::time::Duration;

use crate::actors::kit;
use crate::actors::view::{TorrentFailure, TorrentView};

/// How a torrent ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// All wanted data is there and verified.
    Complete,
    /// The user stopped it. The state is saved, and the same command continues.
    Interrupted,
    /// The user asked to stop twice, so it ended at once.
    Killed,
    /// No byte was received for this time, the limit that the user has set.
    Stalled(Duration),
    /// An error made it impossible to continue.
    Failed(TorrentFailure),
    /// The supervision tree gave up, for this reason.
    GaveUp(String),
}

/// A cause of restarts and their number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartCount {
    /// The type of the actor.
    pub actor: &'static str,
    /// The cause.
    pub cause: String,
    /// The number of restarts.
    pub count: u64,
}

/// The outcome of one torrent of a run.
#[derive(Debug, Clone)]
pub struct TorrentOutcome {
    /// How the torrent ended.
    pub ending: Ending,
    /// The last view of the torrent.
    pub view: TorrentView,
    /// Why it failed and what the user can do, if more is known than the failure says.
    pub advice: Option<String>,
}

/// The outcome of a run.
#[derive(Debug, Clone)]
pub struct RunOutcome {
    /// Its torrents, in the order in which they were given.
    pub torrents: Vec<TorrentOutcome>,
    /// The duration of the run.
    pub took: Duration,
    /// The supervised restarts by cause.
    pub restarts: Vec<RestartCount>,
    /// The number of panics that were caught.
    pub panics: u64,
}

impl RunOutcome {
    /// The outcome of a run with these torrents; adds the counts of restarts and panics of this process.
    pub(super) fn new(torrents: Vec<TorrentOutcome>, took: Duration) -> Self {
        let restarts = kit::restarts_by_cause();
        let restarts = restarts.into_iter().map(|(actor, cause, count)| RestartCount { actor, cause, count }).collect();
        let panics = kit::snapshot().iter().map(|kind| kind.panics).sum();
        Self { torrents, took, restarts, panics }
    }
}
