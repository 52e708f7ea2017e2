//! Whole swarms of our own client: one seed and many leeches, each with an upload limit, and how long the last leech
//! takes.
//!
//! Every host runs `app::run`, unmodified; there are no trackers and no other peers. Only the upload limits delay
//! bytes, so the least time that any protocol could need is known: `max(F/u_s, N F/(u_s + sum u_i))`, without download
//! limits. A leech that has completed goes on seeding. Knows no faults; the referee compares bytes and times.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use turmoil::Sim;

use super::net::{SimNet, Wires};
use super::plan::PEER_PORT;
use super::trace::Trace;
use crate::actors::torrent::Aim;
use crate::actors::view::{TorrentPhase, TorrentView};
use crate::app::arbiters::Arbiters;
use crate::app::config::{Job, RunConfig};
use crate::app::run::{Environment, run_on};
use crate::codec::metainfo::Metainfo;
use crate::faults::payload::Payload;
use crate::faults::scenario::{About, Layer, RefereeVerdict, ScenarioReport};
use crate::faults::torrent::Recipe;
use crate::logic::torrent::seeding_goal::SeedingGoal;
use crate::net::Net;
use crate::storage::SharedStorage;
use crate::storage::memory::{Medium, Memory};

/// 10 ms: the length of a slice of the rate limits.
const TICK: Duration = Duration::from_millis(10);

/// Round trips of 20 to 100 ms.
const LATENCY: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(50)];

/// 64 KiB/s: a slow line, and a simulation that ends in reasonable time.
const USUAL_BPS: u64 = 64 * 1024;

/// 512 B/s: enough for the requests of a free rider, and nothing to give.
const RIDER_BPS: u64 = 512;

/// Four times the least time. A swarm that takes longer has failed.
const FAILED_AFTER: f64 = 4.0;

/// The seed sends at most 1.1 times the length of the torrent, in swarms where it has the only complete copy.
const MOST_OF_SEED: f64 = 1.1;

/// A free rider takes at least a tenth longer than the last leech that uploads; 1.15 to 1.35 times as long in ten
/// seeds.
const RIDER_PAYS: f64 = 1.1;

/// A swarm: its name, its members, and its time limit.
#[derive(Debug, Clone, Copy)]
pub struct SwarmScenario {
    /// Its name and title.
    pub about: About,
    /// Length of the torrent, in bytes.
    bytes: u64,
    /// Upload limits of the leeches, in bytes a second.
    leeches: fn() -> Vec<u64>,
    /// The largest allowed ratio of the last leech's time to the least time.
    within: f64,
    /// Whether the seed announces its pieces one by one (BEP 16).
    super_seed: bool,
}

const fn swarm(
    name: &'static str,
    title: &'static str,
    mib: u64,
    leeches: fn() -> Vec<u64>,
    within: f64,
) -> SwarmScenario {
    SwarmScenario {
        about: About { name, covers: &[], title, layer: Layer::Sim },
        bytes: mib << 20,
        leeches,
        within,
        super_seed: false,
    }
}

/// All swarms.
#[rustfmt::skip]
pub const SWARMS: &[SwarmScenario] = &[
    swarm("swarm.8", "a seed and 8 leeches that upload alike", 16, || vec![USUAL_BPS; 8], 1.15),
    swarm("swarm.16", "a seed and 16 leeches that upload alike", 16, || vec![USUAL_BPS; 16], 1.15),
    swarm("swarm.32", "a seed and 32 leeches that upload alike", 16, || vec![USUAL_BPS; 32], 1.15),
    swarm("swarm.mixed", "a seed and 16 leeches from half to twice the usual upload", 16, mixed, 1.25),
    SwarmScenario { super_seed: true, ..swarm("swarm.super", "a super-seed and 8 leeches that upload alike", 4, || vec![USUAL_BPS; 8], 2.0) },
    swarm("swarm.rider", "a seed, 8 leeches that upload alike, and one that gives nothing", 16, with_a_rider, 1.4),
];

fn mixed() -> Vec<u64> {
    (0..16).map(|nth| [USUAL_BPS / 2, USUAL_BPS, USUAL_BPS, USUAL_BPS * 2][nth % 4]).collect()
}

fn with_a_rider() -> Vec<u64> {
    [vec![USUAL_BPS; 8], vec![RIDER_BPS]].concat()
}

/// One host, with the last that was seen of it.
#[derive(Debug, Clone, Default)]
struct Member {
    up_bps: u64,
    view: Option<TorrentView>,
    done: Option<Duration>,
}

type Members = Rc<RefCell<Vec<Member>>>;

/// Runs a swarm until the last leech has completed. Returns the report, and the lines of the log if `keep` is set.
pub fn run_scene(swarm: &SwarmScenario, seed: u64, keep: bool) -> (ScenarioReport, Vec<String>) {
    let trace = Trace::new(keep);
    let mut report = ScenarioReport::new(swarm.about, seed);
    let ran = catch_unwind(AssertUnwindSafe(|| trace.listen(|| World::build(swarm, seed, &trace)?.run())));
    match ran {
        Err(_panic) => report.verdict = RefereeVerdict::Crashed("a panic left the tree".to_owned()),
        Ok(Err(error)) => report.verdict = RefereeVerdict::Crashed(error),
        Ok(Ok(members)) => judge(swarm, &members, &mut report),
    }
    report.events = Some(trace.hash());
    (report, trace.lines())
}

struct World {
    sim: Sim<'static>,
    members: Members,
    media: Vec<Medium>,
    payload: Payload,
    limit: Duration,
}

impl World {
    fn build(swarm: &SwarmScenario, seed: u64, trace: &Trace) -> Result<Self, String> {
        let payload = Payload::new(seed, swarm.bytes);
        let torrent = Recipe::single("swarm.bin", PIECE_LEN, &[]).make(payload);
        let torrent = torrent.map_err(|bad| bad.to_string())?;
        let metainfo = Metainfo::parse(&torrent.file).map_err(|bad| bad.to_string())?;
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(86_400))
            .min_message_latency(LATENCY[0])
            .max_message_latency(LATENCY[1])
            .build();
        let rates: Vec<u64> = [vec![USUAL_BPS], (swarm.leeches)()].concat();
        let members = rates.iter().map(|up_bps| Member { up_bps: *up_bps, ..Member::default() }).collect();
        let members = Rc::new(RefCell::new(members));
        let wires = Wires::default();
        let mut media = vec![Medium::holding(payload.read(0, usize::MAX))];
        media.extend(rates.iter().skip(1).map(|_| Medium::new(swarm.bytes)));
        for (nth, medium) in media.iter().enumerate() {
            let mut config = RunConfig::new(vec![Job::new(metainfo.clone())], PathBuf::from("/"));
            config.aim = if nth == 0 { Aim::Seed(FOR_EVER) } else { Aim::Fetch { then: Some(FOR_EVER) } };
            config.super_seed = swarm.super_seed && nth == 0;
            // Each pair of hosts connects once.
            config.peers = (0..nth).map(|other| SocketAddr::from((address(other), PEER_PORT))).collect();
            (config.port, config.max_up_bps) = (Some(PEER_PORT), Some(rates[nth]));
            config.seed = seed.wrapping_mul(1000).wrapping_add(nth as u64);
            host(&mut sim, nth, config, (medium, &wires), (&members, trace));
        }
        let limit = least_time(swarm.bytes, &rates).mul_f64(FAILED_AFTER);
        Ok(Self { sim, members, media, payload, limit })
    }

    fn run(mut self) -> Result<Vec<Member>, String> {
        while self.sim.elapsed() < self.limit && !self.members.borrow().iter().all(|member| member.done.is_some()) {
            self.sim.step().map_err(|error| error.to_string())?;
        }
        let want = self.payload.read(0, usize::MAX);
        let members = self.members.borrow().clone();
        for (nth, (member, medium)) in members.iter().zip(&self.media).enumerate() {
            if member.done.is_some() && medium.visible() != want {
                return Err(format!("host {nth} is done, and its bytes are wrong"));
            }
        }
        Ok(members)
    }
}

/// No limit of ratio or time.
const FOR_EVER: SeedingGoal = SeedingGoal { ratio: None, time: None };

fn address(nth: usize) -> Ipv4Addr {
    Ipv4Addr::new(40, u8::try_from(nth).expect("fewer than 256 hosts"), 0, 1)
}

/// 1,024 pieces of one block, as many as torrents have. What two leeches request from the seed at the same time is sent
/// twice: a few pieces, whatever their number.
const PIECE_LEN: u32 = 16 * 1024;

fn host(
    sim: &mut Sim<'static>,
    nth: usize,
    config: RunConfig,
    (medium, wires): (&Medium, &Wires),
    (members, trace): (&Members, &Trace),
) {
    let net = SimNet::at(address(nth), wires);
    let (medium, members, trace) = (medium.clone(), Rc::clone(members), trace.clone());
    sim.host(address(nth).to_string(), move || {
        let storage: SharedStorage = Arc::new(Memory::new(&config.jobs[0].metainfo, medium.clone()));
        let (stop, stops) = mpsc::channel(1);
        let environment =
            Environment { net: Net::clone(&net), arbiters: Arbiters::default(), storages: vec![storage], stops };
        let (members, trace, config) = (Rc::clone(&members), trace.clone(), config.clone());
        async move {
            run_on(environment, &config, &mut |_, view| {
                trace.remark(|| remark(nth, view));
                let member = &mut members.borrow_mut()[nth];
                if matches!(view.phase, TorrentPhase::Seeding) && member.done.is_none() {
                    member.done = turmoil::sim_elapsed();
                }
                member.view = Some(view.clone());
            })
            .await?;
            drop(stop);
            Ok(())
        }
    });
}

fn remark(nth: usize, view: &TorrentView) -> String {
    let peers = &view.swarm.peers;
    let given = peers.iter().filter(|peer| !peer.view.am_choking && peer.view.peer_interested).count();
    let giving = peers.iter().filter(|peer| !peer.view.peer_choking && peer.view.am_interested).count();
    let [have, up, down] = [view.bytes_have, view.up_bps, view.down_bps].map(|bytes| bytes / 1024);
    format!("HOST {nth} has {have} KiB, {up} up, {down} down, gives to {given}, takes from {giving} of {}", peers.len())
}

/// Returns `max(F/u_s, N F/(u_s + sum u_i))`; the first rate is that of the seed.
fn least_time(bytes: u64, rates: &[u64]) -> Duration {
    let leeches = rates.len() as u64 - 1;
    let alone_ms = bytes * 1000 / rates[0];
    let together_ms = bytes * leeches * 1000 / rates.iter().sum::<u64>();
    Duration::from_millis(alone_ms.max(together_ms))
}

fn judge(swarm: &SwarmScenario, members: &[Member], report: &mut ScenarioReport) {
    let rates: Vec<u64> = members.iter().map(|member| member.up_bps).collect();
    let least = least_time(swarm.bytes, &rates);
    let (riders, givers): (Vec<_>, Vec<_>) = members[1..].iter().partition(|member| member.up_bps == RIDER_BPS);
    let last = |of: &[&Member]| of.iter().map(|member| member.done).max().flatten();
    let first = givers.iter().filter_map(|member| member.done).min().unwrap_or_default();
    let is_done = members.iter().all(|member| member.done.is_some());
    let (Some(took), true) = (last(&givers), is_done) else {
        let done = members.iter().filter(|member| member.done.is_some()).count();
        report.verdict =
            RefereeVerdict::NotLive(format!("{done} of {} done after {FAILED_AFTER} times {least:?}", members.len()));
        return;
    };
    report.took = took;
    // Bytes in the queues of its sockets at the end count as sent, but have not passed its limit.
    let passed = swarm.bytes.max(members[0].up_bps * took.as_secs());
    let from_seed = members[0].view.as_ref().map_or(0, |view| view.bytes_sent).min(passed);
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let percent = |part: u64, whole: u64| part * 100 / whole.max(1);
    let rider = last(&riders).unwrap_or_default();
    let observed = [
        ("least_ms", ms(least)),
        ("first_ms", ms(first)),
        ("last_ms", ms(took)),
        ("last_percent_of_least", percent(ms(took), ms(least))),
        ("seed_percent_of_payload", percent(from_seed, swarm.bytes)),
        ("rider_ms", ms(rider)),
        ("wasted_bytes", members.iter().filter_map(|member| member.view.as_ref()).map(|view| view.bytes_wasted).sum()),
    ];
    report.observed = observed.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    let missed = if took > least.mul_f64(swarm.within) {
        Some(format!("the last one took {took:.1?}, more than {} of {least:.1?}", swarm.within))
    } else if !riders.is_empty() && rider < took.mul_f64(RIDER_PAYS) {
        Some(format!("who gives nothing took {rider:.1?}, who gives {took:.1?}"))
    } else if riders.is_empty() && percent(from_seed, swarm.bytes) > percent_of(MOST_OF_SEED) {
        Some(format!("the seed sent {from_seed} bytes of {}", swarm.bytes))
    } else {
        None
    };
    report.verdict = missed.map_or(RefereeVerdict::Held, |how| RefereeVerdict::Broke { invariant: "criterion", how });
}

const fn percent_of(share: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive constant")]
    let percent = (share * 100.0) as u64;
    percent
}
