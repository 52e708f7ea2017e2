//! The plan of a simulation: its peers and trackers, timed steps, and the time limit.
//!
//! Data only: `world` runs it, `referee` judges it. All random numbers of a plan follow from its seed.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::net::SimName;
use super::observation::SimObservation;
use crate::actors::kit::injection::InjectionSite;
use crate::faults::behaviour::Behaviour;
use crate::faults::scenario::RefereeVerdict;
use crate::faults::tracker_behaviour::TrackerBehaviour;
use crate::storage::memory::{Health, Meddle, Operation};

/// The address of the client. All addresses are public ones, so that the rules for the internet hold.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(20, 0, 0, 1);

/// The port of every peer.
pub const PEER_PORT: u16 = 6881;

/// The port of every tracker.
pub const TRACKER_PORT: u16 = 6969;

/// A change of the simulated world at some moment.
#[derive(Debug, Clone)]
pub enum SimStep {
    /// Holds all traffic between the client and this host. Nothing is lost: TCP would send it again.
    Hold(Ipv4Addr),
    /// Ends [`Hold`](Self::Hold).
    Release(Ipv4Addr),
    /// Cuts one direction. What is under way is lost.
    Cut {
        /// The sending host.
        from: Ipv4Addr,
        /// The receiving host.
        to: Ipv4Addr,
    },
    /// Ends [`Cut`](Self::Cut).
    Mend {
        /// The sending host.
        from: Ipv4Addr,
        /// The receiving host.
        to: Ipv4Addr,
    },
    /// This host stops and loses its memory.
    Stop(Ipv4Addr),
    /// This host starts again, in its initial state.
    Start(Ipv4Addr),
    /// The client is killed. Its machine keeps running, so everything that was written stays.
    Kill,
    /// The client's machine loses power. What was not synced may be lost, page by page.
    PowerCut,
    /// The client is started again, with the same command line.
    Restart,
    /// The user asks the client to stop.
    UserStop,
    /// From now on messages take at most this long in one direction.
    Latency(Duration),
    /// The client's machine is suspended for this long.
    Suspend(Duration),
    /// The disk changes its health.
    Disk(Health),
    /// The n-th operation of this kind from now on fails, once.
    Strike(Operation, u64, std::io::ErrorKind),
    /// The record is replaced by what this function makes of it.
    Tamper(fn(Option<Vec<u8>>) -> Option<Vec<u8>>),
    /// Another program changes the files.
    ChangeFiles(Meddle),
}

/// A peer of the simulation.
#[derive(Debug, Clone)]
pub(super) struct PeerRole {
    pub(super) ip: Ipv4Addr,
    pub(super) behaviour: Behaviour,
    /// Whether trackers name it; otherwise the user does.
    pub(super) listed: bool,
}

/// A tracker of the simulation.
#[derive(Debug, Clone)]
pub(super) struct TrackerRole {
    pub(super) ip: Ipv4Addr,
    pub(super) udp: bool,
    /// The behaviour after each start of the host; further starts use the last one.
    pub(super) lives: Vec<TrackerBehaviour>,
}

/// A condition that must hold besides the invariants.
pub(super) type SimCriterion = Box<dyn Fn(&SimObservation) -> Result<(), RefereeVerdict>>;

/// Called before every message of an actor: `true` makes the client panic there.
pub(super) type PanicPlan = Box<dyn FnMut(InjectionSite) -> bool>;

/// The plan of one simulation.
pub struct ScenarioPlan {
    /// The source of all random choices of the scene.
    pub dice: SmallRng,
    pub(super) seed: u64,
    pub(super) bytes: u64,
    pub(super) piece_len: u32,
    /// Paths and lengths in bytes; empty for a single file.
    pub(super) files: Vec<(String, u64)>,
    /// Peers that have nothing and request everything.
    pub(super) leeches: Vec<Ipv4Addr>,
    /// How long the client seeds after it has completed; `None`: not at all.
    pub(super) seeds_for: Option<Duration>,
    pub(super) peers: Vec<PeerRole>,
    pub(super) trackers: Vec<TrackerRole>,
    pub(super) tiers: Vec<Vec<String>>,
    pub(super) named: Vec<SocketAddr>,
    pub(super) names: Vec<(String, SimName)>,
    pub(super) steps: Vec<(Duration, SimStep)>,
    pub(super) latency: (Duration, Duration),
    pub(super) limit: Duration,
    pub(super) patient: bool,
    pub(super) max_down_bps: Option<u64>,
    pub(super) max_peers: Option<usize>,
    pub(super) again_after: Option<Duration>,
    pub(super) stays_incomplete: bool,
    pub(super) panics: Option<PanicPlan>,
    pub(super) criteria: Vec<SimCriterion>,
}

impl fmt::Debug for ScenarioPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("seed", &self.seed).field("peers", &self.peers).finish_non_exhaustive()
    }
}

impl ScenarioPlan {
    /// Makes a plan of 2 MiB in pieces of 32 KiB, without peers and trackers, with a limit of five minutes and round
    /// trips of 20 to 100 ms.
    pub fn new(seed: u64) -> Self {
        Self {
            dice: SmallRng::seed_from_u64(seed),
            seed,
            bytes: 2 * 1024 * 1024,
            piece_len: 32 * 1024,
            files: Vec::new(),
            leeches: Vec::new(),
            seeds_for: None,
            peers: Vec::new(),
            trackers: Vec::new(),
            tiers: Vec::new(),
            named: Vec::new(),
            names: Vec::new(),
            steps: Vec::new(),
            latency: (Duration::from_millis(10), Duration::from_millis(50)),
            limit: Duration::from_secs(300),
            patient: true,
            max_down_bps: None,
            max_peers: None,
            again_after: None,
            stays_incomplete: false,
            panics: None,
            criteria: Vec::new(),
        }
    }

    /// Sets the length of the payload and of a piece, in bytes.
    pub const fn payload(&mut self, bytes: u64, piece_len: u32) {
        (self.bytes, self.piece_len) = (bytes, piece_len);
    }

    /// Splits the payload into `count` files of different lengths.
    pub fn files(&mut self, count: u64) {
        let share = self.bytes / count;
        // Each file is a little longer than the one before, so that no file ends at the end of a piece.
        let len = |nth: u64| {
            if nth + 1 == count {
                self.bytes - (0..nth).map(|nth| share - 999 + nth).sum::<u64>()
            } else {
                share - 999 + nth
            }
        };
        self.files = (0..count).map(|nth| (format!("folder/{nth}"), len(nth))).collect();
    }

    /// Lets the client seed for `time` after it has completed, to this many leeches that request everything again and
    /// again.
    pub fn seed_for(&mut self, time: Duration, leeches: u8) {
        self.seeds_for = Some(time);
        self.leeches = (0..leeches).map(|nth| Ipv4Addr::new(41, nth, 0, 1)).collect();
    }

    /// Adds a peer that every tracker names. Returns its address. `words` is a behaviour as for
    /// `fault peer --behaviour`.
    pub fn peer(&mut self, words: &str) -> Ipv4Addr {
        self.join(words, true)
    }

    /// Adds a peer that the user names, and no tracker. Returns its address.
    pub fn known_peer(&mut self, words: &str) -> Ipv4Addr {
        let ip = self.join(words, false);
        self.named.push(SocketAddr::from((ip, PEER_PORT)));
        ip
    }

    fn join(&mut self, words: &str, listed: bool) -> Ipv4Addr {
        let behaviour = words.parse().unwrap_or_else(|bad| unreachable!("`{words}`: {bad}"));
        let nth = u8::try_from(self.peers.len()).expect("fewer than 256 peers");
        let ip = Ipv4Addr::new(40, nth, 0, 1);
        self.peers.push(PeerRole { ip, behaviour, listed });
        ip
    }

    /// Adds an address to those that the user names; it may have no host.
    pub fn name_peer(&mut self, peer: SocketAddr) {
        self.named.push(peer);
    }

    /// Adds an HTTP tracker in a tier of its own. Returns its address. `words` is a behaviour as for
    /// `fault tracker --behaviour`.
    pub fn tracker(&mut self, words: &str) -> Ipv4Addr {
        self.add_tracker(&[words], false)
    }

    /// Adds an HTTP tracker that has another behaviour after each start.
    pub fn tracker_of_lives(&mut self, lives: &[&str]) -> Ipv4Addr {
        self.add_tracker(lives, false)
    }

    /// Adds a UDP tracker in a tier of its own. Returns its address.
    pub fn udp_tracker(&mut self, words: &str) -> Ipv4Addr {
        self.add_tracker(&[words], true)
    }

    fn add_tracker(&mut self, lives: &[&str], udp: bool) -> Ipv4Addr {
        let life = |words: &&str| words.parse().unwrap_or_else(|bad| unreachable!("`{words}`: {bad}"));
        let lives = lives.iter().map(life).collect();
        let nth = u8::try_from(self.trackers.len()).expect("fewer than 256 trackers");
        let ip = Ipv4Addr::new(30, nth, 0, 1);
        self.trackers.push(TrackerRole { ip, udp, lives });
        self.tiers.push(vec![url(&ip.to_string(), udp)]);
        ip
    }

    /// Adds a tier with these announce URLs.
    pub fn tier(&mut self, urls: &[String]) {
        self.tiers.push(urls.to_vec());
    }

    /// Sets what a host name resolves to.
    pub fn dns(&mut self, name: &str, leads: SimName) {
        self.names.push((name.to_owned(), leads));
    }

    /// Adds a step at this time after the start.
    pub fn at(&mut self, at: Duration, step: SimStep) {
        self.steps.push((at, step));
    }

    /// Sets the time from the start by which the client must be complete (I3).
    pub const fn within(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Lets a full disk end the run, which is the default on the command line.
    pub const fn leave_when_full(&mut self) {
        self.patient = false;
    }

    /// Sets the client's download limit, in bytes a second.
    pub const fn max_download(&mut self, bps: u64) {
        self.max_down_bps = Some(bps);
    }

    /// Lets the user start the client again this long after each end before completion.
    pub const fn start_again_after(&mut self, pause: Duration) {
        self.again_after = Some(pause);
    }

    /// Expects that the client cannot complete: the invariants are judged when the time is over.
    pub const fn stay_incomplete(&mut self) {
        self.stays_incomplete = true;
    }

    /// Sets the largest number of connected peers.
    pub const fn max_peers(&mut self, peers: usize) {
        self.max_peers = Some(peers);
    }

    /// Injects a panic wherever this function returns `true`.
    pub fn panic_where(&mut self, strikes: impl FnMut(InjectionSite) -> bool + 'static) {
        self.panics = Some(Box::new(strikes));
    }

    /// Adds a condition for the referee.
    pub fn expect(&mut self, criterion: impl Fn(&SimObservation) -> Result<(), RefereeVerdict> + 'static) {
        self.criteria.push(Box::new(criterion));
    }

    /// Returns a random time between these two, in seconds.
    pub fn moment(&mut self, from: f64, to: f64) -> Duration {
        Duration::from_secs_f64(self.dice.random_range(from..to))
    }
}

/// Returns the announce URL of a tracker of the simulation.
pub fn url(host: &str, udp: bool) -> String {
    let scheme = if udp { "udp" } else { "http" };
    format!("{scheme}://{host}:{TRACKER_PORT}/announce")
}
