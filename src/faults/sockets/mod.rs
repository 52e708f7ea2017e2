//! The scenes of the second layer: a client, ours or any other, on real sockets of this machine, among trackers and peers
//! that behave as their words say.
//!
//! A scene is data: who is there, what happens when, what must come of it. `play` sets it up, watches and judges. The
//! scenes are in one file per theme.

use std::time::Duration;

use super::program::Template;
use super::scenario::{About, Layer};
use super::tracker_tls::Distrust;

/// One of an honest swarm of three, 2 MiB a second together.
const H: ScenePeers = ScenePeers::Honest("max_rate=700k");

/// 4 MiB from 2 MiB a second; the rest is for handshakes that take their ten seconds, and loaded cores.
const IN_THE_SWARM: SceneGoal = SceneGoal::Completes(secs(45));

/// These peers among three honest ones. Known to the files below.
macro_rules! among_three {
    ($name:literal, $covers:expr, $title:literal, [$($role:expr),+], $criteria:expr) => {
        $crate::faults::sockets::NetScene {
            about: $crate::faults::sockets::about($name, $covers, $title),
            bytes: 4 * $crate::faults::sockets::MIB,
            trackers: &[$crate::faults::sockets::SceneTracker::Good],
            peers: &[$($role),+, $crate::faults::sockets::H, $crate::faults::sockets::H, $crate::faults::sockets::H],
            deeds: &[],
            goal: $crate::faults::sockets::IN_THE_SWARM,
            criteria: $criteria,
        }
    };
}

mod cast;
mod criteria;
mod networks;
mod peers_data;
mod peers_floods;
mod peers_greetings;
mod peers_messages;
mod play;
mod seen;
mod trackers_http;
mod trackers_lists;
mod trackers_udp;

pub use criteria::NetCriterion;
pub use play::play;

/// One scene.
#[derive(Debug)]
pub struct NetScene {
    /// Name, entries of the catalogue, title.
    pub about: About,
    /// Bytes of the payload.
    pub bytes: u64,
    /// Trackers of the torrent, each a tier of its own: whom one hides, another shows.
    pub trackers: &'static [SceneTracker],
    /// Peers.
    pub peers: &'static [ScenePeers],
    /// What happens on the way: what heals, what breaks.
    pub deeds: &'static [NetDeed],
    /// What must come of it.
    pub goal: SceneGoal,
    /// What else must hold of our own client. Of others only what every client owes is asked.
    pub criteria: &'static [NetCriterion],
}

/// A tracker of the torrent. In words, `{good}` stands for the URL of the first good one, `{crowd}` for the addresses of
/// the crowd with `+` between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SceneTracker {
    /// Over HTTP, honest, knows every peer but the crowd.
    Good,
    /// Over HTTP, behaves as its words say, knows nobody but whom they name.
    Http(&'static str),
    /// The same, and knows every peer but the crowd.
    HttpKnows(&'static str),
    /// Over UDP, knows nobody but whom its words name.
    Udp(&'static str),
    /// The same, and knows every peer but the crowd.
    UdpKnows(&'static str),
    /// Honest, over UDP, behind a relay with these toxics.
    UdpBehind(&'static str),
    /// Honest, over HTTP, behind a relay with these toxics.
    HttpBehind(&'static str),
    /// Over HTTPS, with a certificate that nobody should believe; knows every peer but the crowd.
    Tls(Distrust),
    /// This URL, as it stands.
    Url(&'static str),
    /// So many times an HTTP tracker where nobody listens.
    Dead(u16),
    /// The same over UDP.
    DeadUdp,
    /// A port that answers no SYN.
    FullHouse,
    /// A port that accepts and says nothing.
    Hole,
}

/// Peers. The words are those of `behaviour`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScenePeers {
    /// One that gives what it has: never to be blamed.
    Honest(&'static str),
    /// The same behind a relay with these toxics, which is what the trackers name.
    Behind(&'static str, &'static str),
    /// So many of these, each a host of its own.
    Hostile(u8, &'static str),
    /// So many of these on ports of one host; only `{crowd}` names them.
    Crowd(u8, &'static str),
    /// So many addresses that answer no SYN.
    FullHouses(u8),
    /// So many addresses where nobody listens.
    Dead(u16),
}

/// What happens on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetDeed {
    /// So long after the start.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// All relays get these toxics; none heals.
    Toxics(&'static str),
    /// So many connections to the client's port, held open and silent.
    Flood(u32),
}

/// What must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SceneGoal {
    /// Every byte is there, at the latest so long after the start.
    Completes(Duration),
    /// It cannot complete, and is alive after so long; then it is told to stop and has [`STOP_LIMIT`].
    Lives(Duration),
}

/// "≤15 s" from the signal to the end.
pub const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Who is put on the stage.
#[derive(Debug, Clone)]
pub struct Client {
    /// How it is started.
    pub template: Template,
    /// It is our own: its JSON is read, and the scene's criteria hold.
    pub is_ours: bool,
    /// Another limit for everything that is to complete.
    pub limit: Option<Duration>,
}

/// All of them, in the order of the catalogue.
pub fn scenes() -> Vec<&'static NetScene> {
    let mut all: Vec<&NetScene> = [
        trackers_http::SCENES,
        trackers_udp::SCENES,
        trackers_lists::SCENES,
        peers_greetings::SCENES,
        peers_messages::SCENES,
        peers_data::SCENES,
        peers_floods::SCENES,
        networks::SCENES,
    ]
    .into_iter()
    .flatten()
    .collect();
    all.sort_by_key(|scene| order(scene.about.name));
    all
}

/// T before P before N, then by number and name.
fn order(name: &'static str) -> (usize, &'static str) {
    let letter = name.chars().next().and_then(|letter| "TPDXN".find(letter));
    (letter.unwrap_or(usize::MAX), name)
}

const MIB: u64 = 1 << 20;

const fn about(name: &'static str, covers: &'static [&'static str], title: &'static str) -> About {
    About { name, covers, title, layer: Layer::Net }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[cfg(test)]
mod tests;
