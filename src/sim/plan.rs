//! What is going to happen in a simulation: who is there, what is done to whom and when, and by when it must be over.
//!
//! Data only; `world` plays it, `referee` judges it. Every die of a plan comes from its seed.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::net::SimName;
use super::seen::SimSeen;
use crate::actors::kit::injection::InjectionSite;
use crate::faults::behaviour::Behaviour;
use crate::faults::scenario::RefereeVerdict;
use crate::faults::tracker_behaviour::TrackerBehaviour;
use crate::storage::memory::{Health, Meddle, Operation};

/// Where the client lives. All addresses are public ones, so that the rules for the internet hold.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(20, 0, 0, 1);

/// The port of every peer.
pub const PEER_PORT: u16 = 6881;

/// The port of every tracker.
pub const TRACKER_PORT: u16 = 6969;

/// Something done to the world at some moment.
#[derive(Debug, Clone)]
pub enum SimDeed {
    /// Nothing passes between the client and this host; what is under way waits, as TCP would send it again.
    Hold(Ipv4Addr),
    /// It passes again.
    Release(Ipv4Addr),
    /// Nothing passes from the one to the other, and what is under way is lost.
    Cut {
        /// From here,
        from: Ipv4Addr,
        /// not to there.
        to: Ipv4Addr,
    },
    /// It passes again.
    Mend {
        /// From here,
        from: Ipv4Addr,
        /// to there.
        to: Ipv4Addr,
    },
    /// This host is gone, with everything it holds.
    Stop(Ipv4Addr),
    /// It is back, as it was at the start.
    Start(Ipv4Addr),
    /// The client is killed; its machine lives, so nothing that was written is lost.
    Kill,
    /// The client's machine loses power; what its disk has not synced may be lost, page by page.
    PowerCut,
    /// The client is started again, by the same command.
    Restart,
    /// The user wishes to stop.
    Wish,
    /// Messages take at most so long from now on, one way.
    Latency(Duration),
    /// The client's machine sleeps for so long.
    Suspend(Duration),
    /// The disk changes its health.
    Disk(Health),
    /// The n-th operation of this kind from now on fails, once.
    Strike(Operation, u64, std::io::ErrorKind),
    /// Somebody does this to the record.
    Tamper(fn(Option<Vec<u8>>) -> Option<Vec<u8>>),
    /// Another program does this to the files.
    Meddle(Meddle),
}

/// A peer of the cast.
#[derive(Debug, Clone)]
pub(super) struct PeerRole {
    pub(super) ip: Ipv4Addr,
    pub(super) behaviour: Behaviour,
    /// Trackers name it; otherwise the user does.
    pub(super) listed: bool,
}

/// A tracker of the cast.
#[derive(Debug, Clone)]
pub(super) struct TrackerRole {
    pub(super) ip: Ipv4Addr,
    pub(super) udp: bool,
    /// One for each life; the last one stays.
    pub(super) lives: Vec<TrackerBehaviour>,
}

/// Something the referee must see besides the invariants.
pub(super) type SimCriterion = Box<dyn Fn(&SimSeen) -> Result<(), RefereeVerdict>>;

/// Asked before every message: does the client panic here?
pub(super) type PanicPlan = Box<dyn FnMut(InjectionSite) -> bool>;

/// See the head of the file.
pub struct ScenarioPlan {
    /// For whatever a scene leaves to chance.
    pub dice: SmallRng,
    pub(super) seed: u64,
    pub(super) bytes: u64,
    pub(super) piece_len: u32,
    /// Paths and lengths; none for a single file.
    pub(super) files: Vec<(String, u64)>,
    /// Peers that have nothing and ask for everything.
    pub(super) leeches: Vec<Ipv4Addr>,
    /// For so long it is given to others once it is complete.
    pub(super) seeds_for: Option<Duration>,
    pub(super) peers: Vec<PeerRole>,
    pub(super) trackers: Vec<TrackerRole>,
    pub(super) tiers: Vec<Vec<String>>,
    pub(super) named: Vec<SocketAddr>,
    pub(super) names: Vec<(String, SimName)>,
    pub(super) deeds: Vec<(Duration, SimDeed)>,
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
    /// 2 MiB in pieces of 32 KiB, nobody there, five minutes of time, round trips of 20 to 100 ms.
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
            deeds: Vec::new(),
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

    /// Another payload.
    pub const fn payload(&mut self, bytes: u64, piece_len: u32) {
        (self.bytes, self.piece_len) = (bytes, piece_len);
    }

    /// The payload in so many files of different lengths.
    pub fn files(&mut self, count: u64) {
        let share = self.bytes / count;
        // Each a little longer than the one before, so that no border of a file is one of a piece.
        let len = |nth: u64| {
            if nth + 1 == count {
                self.bytes - (0..nth).map(|nth| share - 999 + nth).sum::<u64>()
            } else {
                share - 999 + nth
            }
        };
        self.files = (0..count).map(|nth| (format!("folder/{nth}"), len(nth))).collect();
    }

    /// It is given to others for so long, and so many ask for all of it, over and over.
    pub fn seed_for(&mut self, time: Duration, leeches: u8) {
        self.seeds_for = Some(time);
        self.leeches = (0..leeches).map(|nth| Ipv4Addr::new(41, nth, 0, 1)).collect();
    }

    /// A peer that every tracker names. Words as for `fault peer --behaviour`.
    pub fn peer(&mut self, words: &str) -> Ipv4Addr {
        self.join(words, true)
    }

    /// A peer that the user names, and no tracker.
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

    /// An address that the user names and where there may be nobody.
    pub fn name_peer(&mut self, peer: SocketAddr) {
        self.named.push(peer);
    }

    /// An HTTP tracker in a tier of its own. Words as for `fault tracker --behaviour`.
    pub fn tracker(&mut self, words: &str) -> Ipv4Addr {
        self.add_tracker(&[words], false)
    }

    /// One that behaves otherwise each time it is started.
    pub fn tracker_of_lives(&mut self, lives: &[&str]) -> Ipv4Addr {
        self.add_tracker(lives, false)
    }

    /// The same over UDP.
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

    /// One more announce URL, in a tier of its own.
    pub fn tier(&mut self, urls: &[String]) {
        self.tiers.push(urls.to_vec());
    }

    /// Makes a name lead somewhere.
    pub fn dns(&mut self, name: &str, leads: SimName) {
        self.names.push((name.to_owned(), leads));
    }

    /// Does something after so long.
    pub fn at(&mut self, at: Duration, deed: SimDeed) {
        self.deeds.push((at, deed));
    }

    /// By when it must be complete, from the start (I3).
    pub const fn within(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// A full disk ends the run, as it does by default on the command line.
    pub const fn leave_when_full(&mut self) {
        self.patient = false;
    }

    /// Bytes a second that the client reads from peers at most.
    pub const fn max_download(&mut self, bps: u64) {
        self.max_down_bps = Some(bps);
    }

    /// The user starts it again so long after each end that is not a complete one.
    pub const fn start_again_after(&mut self, pause: Duration) {
        self.again_after = Some(pause);
    }

    /// It cannot become complete, and that is right: the invariants are judged when the time is over.
    pub const fn stay_incomplete(&mut self) {
        self.stays_incomplete = true;
    }

    /// Connected peers at most.
    pub const fn max_peers(&mut self, peers: usize) {
        self.max_peers = Some(peers);
    }

    /// Panics where this says so.
    pub fn panic_where(&mut self, strikes: impl FnMut(InjectionSite) -> bool + 'static) {
        self.panics = Some(Box::new(strikes));
    }

    /// The referee must see this as well.
    pub fn expect(&mut self, criterion: impl Fn(&SimSeen) -> Result<(), RefereeVerdict> + 'static) {
        self.criteria.push(Box::new(criterion));
    }

    /// A moment between these two, by the dice.
    pub fn moment(&mut self, from: f64, to: f64) -> Duration {
        Duration::from_secs_f64(self.dice.random_range(from..to))
    }
}

/// The announce URL of a tracker of the cast.
pub fn url(host: &str, udp: bool) -> String {
    let scheme = if udp { "udp" } else { "http" };
    format!("{scheme}://{host}:{TRACKER_PORT}/announce")
}
