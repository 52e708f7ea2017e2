//! The scenes of the second layer: a client, ours or any other, on real sockets of this machine, among trackers and
//! peers with scripted behaviours.
//!
//! A scene is data: its trackers and peers, its timed actions, its goal and criteria. `run` sets it up, watches and
//! judges. There is one file of scenes per theme.

use std::time::Duration;

use super::program::Template;
use super::scenario::{About, Layer};
use super::tracker_tls::Distrust;

/// One peer of an honest swarm of three, which gives 2 MiB a second together.
const H: ScenePeers = ScenePeers::Honest("max_rate=700k");

/// 45 s: 4 MiB take 2 s; the rest is for handshakes that take their ten seconds, and for loaded cores.
const IN_THE_SWARM: SceneGoal = SceneGoal::Completes(secs(45));

/// A scene of these peers among three honest ones. Visible in the modules below.
macro_rules! among_three {
    ($name:literal, $covers:expr, $title:literal, [$($peers:expr),+], $criteria:expr) => {
        $crate::faults::sockets::NetScene {
            about: $crate::faults::sockets::about($name, $covers, $title),
            bytes: 4 * $crate::faults::sockets::MIB,
            trackers: &[$crate::faults::sockets::SceneTracker::Good],
            peers: &[$($peers),+, $crate::faults::sockets::H, $crate::faults::sockets::H, $crate::faults::sockets::H],
            steps: &[],
            goal: $crate::faults::sockets::IN_THE_SWARM,
            criteria: $criteria,
        }
    };
}

mod criteria;
mod networks;
mod observation;
mod peers_data;
mod peers_floods;
mod peers_greetings;
mod peers_messages;
mod run;
mod setup;
mod trackers_http;
mod trackers_lists;
mod trackers_udp;

pub use criteria::NetCriterion;
pub use run::run_scene;

/// One scene.
#[derive(Debug)]
pub struct NetScene {
    /// Its name, the catalogue entries that it covers, and its title.
    pub about: About,
    /// Length of the payload, in bytes.
    pub bytes: u64,
    /// The trackers of the torrent, each in a tier of its own.
    pub trackers: &'static [SceneTracker],
    /// The peers.
    pub peers: &'static [ScenePeers],
    /// What happens during the run, in order of time.
    pub steps: &'static [NetStep],
    /// What the run must reach.
    pub goal: SceneGoal,
    /// Further criteria for our own client. Other clients are judged by the goal and by their use of resources only.
    pub criteria: &'static [NetCriterion],
}

/// A tracker of the torrent. In behaviours, `{good}` stands for the URL of the first good tracker and `{crowd}` for the
/// addresses of the crowd, joined with `+`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SceneTracker {
    /// An honest HTTP tracker that names every peer but the crowd.
    Good,
    /// An HTTP tracker with this behaviour that names only the peers in it.
    Http(&'static str),
    /// An HTTP tracker with this behaviour that also names every peer but the crowd.
    HttpKnows(&'static str),
    /// A UDP tracker with this behaviour that names only the peers in it.
    Udp(&'static str),
    /// A UDP tracker with this behaviour that also names every peer but the crowd.
    UdpKnows(&'static str),
    /// An honest UDP tracker behind a relay with these toxics.
    UdpBehind(&'static str),
    /// An honest HTTP tracker behind a relay with these toxics.
    HttpBehind(&'static str),
    /// An HTTPS tracker whose certificate must be refused; it names every peer but the crowd.
    Tls(Distrust),
    /// This URL, unchanged.
    Url(&'static str),
    /// This many URLs of HTTP trackers without a listener.
    Dead(u16),
    /// A URL of a UDP tracker without a listener.
    DeadUdp,
    /// A port that answers no SYN.
    FullHouse,
    /// A port that accepts connections and stays silent.
    Hole,
}

/// Peers of a scene. The texts are behaviours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScenePeers {
    /// One honest peer, which must not be banned.
    Honest(&'static str),
    /// One honest peer with this behaviour (second) behind a relay with these toxics (first). Trackers name the relay.
    Behind(&'static str, &'static str),
    /// This many hostile peers, each on a host of its own.
    Hostile(u8, &'static str),
    /// This many hostile peers on ports of one host; only `{crowd}` names them.
    Crowd(u8, &'static str),
    /// This many addresses that answer no SYN.
    FullHouses(u8),
    /// This many addresses without a listener.
    Dead(u16),
}

/// An action at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetStep {
    /// The time after the start.
    pub at: Duration,
    /// What happens.
    pub action: NetAction,
}

/// What a scene does during the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetAction {
    /// All relays get these toxics; an empty text heals them.
    Toxics(&'static str),
    /// This many connections to the client's port are opened and held, without a byte.
    Flood(u32),
}

/// What a run must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SceneGoal {
    /// All bytes are there, at the latest this long after the start.
    Completes(Duration),
    /// It cannot complete and must still run after this long. Then it is told to stop, within [`STOP_LIMIT`].
    Lives(Duration),
}

/// "≤15 s" from the signal to the end.
pub const STOP_LIMIT: Duration = Duration::from_secs(15);

/// The client that is tested.
#[derive(Debug, Clone)]
pub struct Client {
    /// The command line that starts it.
    pub template: Template,
    /// Whether it is our own. Then its JSON is read, and the criteria of the scene apply.
    pub is_ours: bool,
    /// A time limit that replaces that of every scene with the goal `Completes`.
    pub limit: Option<Duration>,
}

/// Returns all scenes, in the order of the catalogue.
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

/// The sort key: T before P before N, then by number and name.
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
