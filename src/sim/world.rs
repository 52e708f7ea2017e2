//! Runs a [`ScenarioPlan`]: one turmoil host for the client, one for each peer and tracker, and a loop that performs
//! the steps.
//!
//! The client is `app::run`, unmodified, in a simulated environment. Knows no scene and judges nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use turmoil::Sim;

use super::net::{SimNet, Wires};
use super::observation::{SimObservation, SimRun};
use super::plan::{CLIENT, PEER_PORT, PeerRole, ScenarioPlan, SimStep, TRACKER_PORT, TrackerRole};
use super::referee;
use super::trace::Trace;
use crate::actors::kit::injection::{self, InjectionSite};
use crate::actors::torrent::Aim;
use crate::actors::view::{TorrentPhase, TorrentView};
use crate::app::arbiters::Arbiters;
use crate::app::config::{Job, RunConfig};
use crate::app::outcome::Ending;
use crate::app::run::{Environment, run_on};
use crate::codec::metainfo::Metainfo;
use crate::faults::host::leech::{self, LeechTally};
use crate::faults::payload::Payload;
use crate::faults::peer::{PeerStats, spawn_peer};
use crate::faults::swarms::Swarms;
use crate::faults::torrent::{Offer, Recipe};
use crate::faults::tracker::TrackerRecord;
use crate::faults::tracker_http::spawn_http_tracker;
use crate::faults::tracker_udp::spawn_udp_tracker;
use crate::logic::torrent::seeding_goal::SeedingGoal;
use crate::net::Net;
use crate::storage::SharedStorage;
use crate::storage::memory::{Medium, Memory};

/// 10 ms: no message arrives sooner, so a finer step would only cost time.
const TICK: Duration = Duration::from_millis(10);

/// State that the hosts share with the loop outside.
#[derive(Debug, Default)]
struct Book {
    runs: Vec<SimRun>,
    stop: Option<mpsc::Sender<()>>,
    sleep: Option<mpsc::Sender<Duration>>,
    peers: BTreeMap<Ipv4Addr, Vec<watch::Receiver<PeerStats>>>,
    trackers: BTreeMap<Ipv4Addr, watch::Receiver<TrackerRecord>>,
    panics: Vec<InjectionSite>,
    late_panics: usize,
}

type Shared = Rc<RefCell<Book>>;

/// Runs a plan to its end, with `trace` as the subscriber.
pub fn run(plan: ScenarioPlan, trace: &Trace) -> Result<SimObservation, String> {
    trace.listen(|| World::build(plan, trace.clone())?.run())
}

struct World {
    sim: Sim<'static>,
    wires: Wires,
    medium: Medium,
    book: Shared,
    /// The source of random numbers for power cuts.
    dice: SmallRng,
    steps: Vec<(Duration, SimStep)>,
    limit: Duration,
    again_after: Option<Duration>,
    payload: Payload,
    piece_len: u32,
    trace: Trace,
    lies: Vec<String>,
    is_tampered_with: bool,
    /// How many records had been written at the last check.
    judged: u64,
    _panics: Option<injection::Armed>,
}

impl World {
    fn build(plan: ScenarioPlan, trace: Trace) -> Result<Self, String> {
        let wires = Wires::default();
        plan.names.into_iter().for_each(|(name, leads)| wires.name(&name, leads));
        let payload = Payload::new(plan.seed, plan.bytes);
        let recipe = Recipe::single("simulated.bin", plan.piece_len, &[]);
        let recipe = Recipe { tiers: plan.tiers, files: plan.files, ..recipe };
        let torrent = recipe.make(payload).map_err(|bad| bad.to_string())?;
        let metainfo = Metainfo::parse(&torrent.file).map_err(|bad| bad.to_string())?;
        let medium = Medium::new(plan.bytes);
        medium.know(payload.read(0, usize::MAX));
        let book = Shared::default();
        let mut config = RunConfig::new(vec![Job::new(metainfo)], PathBuf::from("/"));
        (config.seed, config.peers, config.wait_for_space) = (plan.seed, plan.named, plan.patient);
        config.max_down_bps = plan.max_down_bps;
        config.max_peers = plan.max_peers.unwrap_or(config.max_peers);
        config.aim = Aim::Fetch { then: plan.seeds_for.map(|time| SeedingGoal { time: Some(time), ratio: None }) };
        let mut sim = turmoil::Builder::new()
            .rng_seed(plan.seed)
            .tick_duration(TICK)
            .simulation_duration(plan.limit + Duration::from_secs(86_400))
            .min_message_latency(plan.latency.0)
            .max_message_latency(plan.latency.1)
            .build();
        let listed = plan.peers.iter().filter(|peer| peer.listed).map(|peer| peer.ip);
        let listed: Vec<_> = listed.chain(plan.leeches.iter().copied()).collect();
        for leech in plan.leeches {
            host_leech(&mut sim, leech, torrent.offer.clone(), payload, &wires);
        }
        for peer in plan.peers {
            host_peer(&mut sim, peer, torrent.offer.clone(), plan.seed, &wires, &book);
        }
        for tracker in plan.trackers {
            host_tracker(&mut sim, tracker, (&torrent.offer, &listed), plan.seed, &wires, &book);
        }
        host_client(&mut sim, config, (&medium, payload), &wires, (&book, &trace));
        let mut steps = plan.steps;
        let is_tampered_with = steps.iter().any(|(_, step)| matches!(step, SimStep::ChangeFiles(_)));
        steps.sort_by_key(|(at, _)| *at);
        Ok(Self {
            sim,
            wires,
            medium,
            dice: SmallRng::seed_from_u64(plan.seed ^ 0x0C07),
            steps,
            limit: plan.limit,
            again_after: plan.again_after,
            payload,
            piece_len: plan.piece_len,
            trace,
            lies: Vec::new(),
            is_tampered_with,
            judged: 0,
            _panics: plan.panics.map(|strikes| arm(strikes, &book)),
            book,
        })
    }

    fn run(mut self) -> Result<SimObservation, String> {
        let mut took = self.limit;
        while self.sim.elapsed() < self.limit {
            while self.steps.first().is_some_and(|(at, _)| *at <= self.sim.elapsed()) {
                let (_, step) = self.steps.remove(0);
                self.perform(step);
            }
            self.sim.step().map_err(|error| error.to_string())?;
            self.look_for_lies();
            if let Some((at, is_complete)) = self.ended() {
                if is_complete {
                    took = at;
                    break;
                }
                self.start_again(at);
            }
        }
        self.look_for_lies();
        Ok(self.close(took))
    }

    /// Returns when the present run of the client ended, and whether it was complete; `None` while it runs.
    fn ended(&self) -> Option<(Duration, bool)> {
        let book = self.book.borrow();
        let (at, ending) = book.runs.last()?.ended.as_ref()?;
        Some((*at, matches!(ending, Ending::Complete)))
    }

    fn start_again(&mut self, ended: Duration) {
        let is_planned = self.steps.iter().any(|(_, step)| matches!(step, SimStep::Restart));
        if let Some(pause) = self.again_after.filter(|_| !is_planned) {
            self.steps.push((ended + pause, SimStep::Restart));
            self.steps.sort_by_key(|(at, _)| *at);
        }
    }

    fn perform(&mut self, step: SimStep) {
        let client = CLIENT.to_string();
        match step {
            SimStep::Hold(host) => self.sim.hold(client, host.to_string()),
            SimStep::Release(host) => self.sim.release(client, host.to_string()),
            SimStep::Cut { from, to } => {
                self.wires.set_cut(from.into(), to.into(), true);
                self.sim.partition_oneway(from.to_string(), to.to_string());
            }
            SimStep::Mend { from, to } => {
                self.wires.set_cut(from.into(), to.into(), false);
                self.sim.repair_oneway(from.to_string(), to.to_string());
            }
            SimStep::Latency(max) => self.sim.set_max_message_latency(max),
            SimStep::Stop(host) => self.sim.crash(host.to_string()),
            SimStep::Start(host) => self.sim.bounce(host.to_string()),
            SimStep::Kill => self.sim.crash(client),
            SimStep::PowerCut => {
                self.sim.crash(client);
                let dice = &mut self.dice;
                self.medium.cut_power(|| dice.random());
            }
            SimStep::Restart => self.sim.bounce(client),
            SimStep::UserStop => drop(self.book.borrow().stop.as_ref().map(|stop| stop.try_send(()))),
            SimStep::Suspend(time) => drop(self.book.borrow().sleep.as_ref().map(|sleep| sleep.try_send(time))),
            SimStep::Disk(health) => self.medium.change(|now| *now = health),
            SimStep::Strike(operation, nth, error) => self.medium.strike(operation, nth, error),
            SimStep::Tamper(tamper) => self.medium.tamper_with_record(tamper),
            SimStep::ChangeFiles(what) => self.medium.meddle(what),
        }
    }

    /// I1, after every change of the record: what it claims is on the disk, also after a power cut at this moment.
    fn look_for_lies(&mut self) {
        let records = self.medium.records();
        if records != self.judged {
            let (durable, record) = self.medium.durable();
            let found = referee::lies(&durable, record.as_deref(), self.payload, self.piece_len);
            self.lies.extend(found.map(|lie| format!("{lie}, at {:.2} s", self.sim.elapsed().as_secs_f64())));
        }
        self.judged = records;
    }

    fn close(self, took: Duration) -> SimObservation {
        let book = self.book.borrow();
        let peers = book.peers.iter().map(|(ip, lives)| (*ip, sum(lives))).collect();
        let trackers = book.trackers.iter().map(|(ip, record)| (*ip, record.borrow().clone())).collect();
        self.trace.stir(self.wires.bytes());
        SimObservation {
            payload: self.payload,
            piece_len: self.piece_len,
            medium: self.medium.clone(),
            trace: self.trace.clone(),
            wires: self.wires.clone(),
            runs: book.runs.clone(),
            peers,
            trackers,
            is_tampered_with: self.is_tampered_with,
            lies: self.lies.clone(),
            panics: book.panics.clone(),
            late_panics: book.late_panics,
            took,
        }
    }
}

fn arm(mut strikes: impl FnMut(InjectionSite) -> bool + 'static, book: &Shared) -> injection::Armed {
    let book = Rc::clone(book);
    injection::arm(move |site| {
        let strikes = strikes(site);
        let mut book = book.borrow_mut();
        // An actor that panics after completion may be told to stop before it is started again.
        let last = book.runs.last().and_then(|run| run.view.as_ref());
        let is_ending = last.is_some_and(|view| matches!(view.phase, TorrentPhase::Complete));
        if strikes && is_ending {
            book.late_panics += 1;
        } else if strikes {
            book.panics.push(site);
        }
        strikes
    })
}

fn sum(lives: &[watch::Receiver<PeerStats>]) -> PeerStats {
    lives.iter().fold(PeerStats::default(), |sum, life| {
        let life = *life.borrow();
        PeerStats {
            connections: sum.connections + life.connections,
            handshakes: sum.handshakes + life.handshakes,
            requests: sum.requests + life.requests,
            blocks: sum.blocks + life.blocks,
            bytes: sum.bytes + life.bytes,
            received: sum.received + life.received,
            lies: sum.lies + life.lies,
            resets: sum.resets + life.resets,
            closes: sum.closes + life.closes,
            lost: sum.lost + life.lost,
        }
    })
}

fn host_peer(sim: &mut Sim<'static>, role: PeerRole, offer: Offer, seed: u64, wires: &Wires, book: &Shared) {
    let net = SimNet::at(role.ip, wires);
    let book = Rc::clone(book);
    let seed = seed ^ u64::from(u32::from(role.ip));
    sim.host(role.ip.to_string(), move || {
        let (net, book, role, offer) = (Net::clone(&net), Rc::clone(&book), role.clone(), offer.clone());
        async move {
            let peer = spawn_peer(&net, SocketAddr::from((role.ip, PEER_PORT)), offer, role.behaviour, seed).await?;
            book.borrow_mut().peers.entry(role.ip).or_default().push(peer.watch());
            pending::<()>().await;
            drop(peer);
            Ok(())
        }
    });
}

fn host_tracker(
    sim: &mut Sim<'static>,
    role: TrackerRole,
    (offer, listed): (&Offer, &[Ipv4Addr]),
    seed: u64,
    wires: &Wires,
    book: &Shared,
) {
    let net = SimNet::at(role.ip, wires);
    let book = Rc::clone(book);
    let (info_hash, listed) = (offer.info_hash, listed.to_vec());
    let lives = Cell::new(0);
    sim.host(role.ip.to_string(), move || {
        let (net, book, role) = (Net::clone(&net), Rc::clone(&book), role.clone());
        let life = lives.replace(lives.get() + 1).min(role.lives.len() - 1);
        let behaviour = role.lives[life].clone();
        let swarms = Swarms::default();
        for ip in &listed {
            swarms.add_seed(info_hash, SocketAddr::from((*ip, PEER_PORT)));
        }
        async move {
            let at = SocketAddr::from((role.ip, TRACKER_PORT));
            let tracker = if role.udp {
                spawn_udp_tracker(&net, at, &swarms, behaviour, seed).await?
            } else {
                spawn_http_tracker(&net, at, &swarms, behaviour).await?
            };
            book.borrow_mut().trackers.insert(role.ip, tracker.watch());
            pending::<()>().await;
            drop(tracker);
            Ok(())
        }
    });
}

/// Describes a view in one line.
fn remark(view: &TorrentView) -> String {
    let why = view.why.as_ref().map_or("", |why| why.text.as_str());
    let [have, total] = [view.bytes_have, view.bytes_total];
    format!(
        "VIEW {have} of {total} bytes, {} requests in flight, {} B/s: {why}",
        view.requests_in_flight, view.down_bps
    )
}

/// Tells whether the client says that every byte is there. What it uploads afterwards is judged separately.
fn says_complete(view: &TorrentView) -> bool {
    matches!(view.phase, TorrentPhase::Complete)
}

fn host_leech(sim: &mut Sim<'static>, ip: Ipv4Addr, offer: Offer, payload: Payload, wires: &Wires) {
    let net = SimNet::at(ip, wires);
    sim.host(ip.to_string(), move || {
        let (net, offer) = (Net::clone(&net), offer.clone());
        async move {
            let listener = net.listen(SocketAddr::from((ip, PEER_PORT))).await?;
            leech::serve(listener, offer, payload, leech::Appetite::Endless, watch::channel(LeechTally::default()).0)
                .await;
            Ok(())
        }
    });
}

fn host_client(
    sim: &mut Sim<'static>,
    config: RunConfig,
    (medium, payload): (&Medium, Payload),
    wires: &Wires,
    (book, trace): (&Shared, &Trace),
) {
    let net = SimNet::at(CLIENT, wires);
    let (medium, book, trace) = (medium.clone(), Rc::clone(book), trace.clone());
    sim.host(CLIENT.to_string(), move || {
        let storage: SharedStorage = Arc::new(Memory::new(&config.jobs[0].metainfo, medium.clone()));
        let (stop, stops) = mpsc::channel(2);
        let environment =
            Environment { net: Net::clone(&net), arbiters: Arbiters::default(), storages: vec![storage], stops };
        let (book, trace, mut config) = (Rc::clone(&book), trace.clone(), config.clone());
        let medium = medium.clone();
        async move {
            let began = turmoil::sim_elapsed().unwrap_or_default();
            let nth = {
                let mut book = book.borrow_mut();
                (book.stop, book.sleep) = (Some(stop), Some(sleeper()));
                book.runs.push(SimRun { began, ended: None, view: None, kept: 0, untrue: None });
                book.runs.len() - 1
            };
            // Each run of the same command line gets other random numbers.
            config.seed = config.seed.wrapping_add(nth as u64);
            let outcome = run_on(environment, &config, &mut |_, view| {
                trace.remark(|| remark(view));
                let run = &mut book.borrow_mut().runs[nth];
                // Checked at once: another program may change the files in the next step.
                if says_complete(view) && !run.view.as_ref().is_some_and(says_complete) && run.untrue.is_none() {
                    run.untrue = referee::is_untrue(&medium, payload);
                }
                (run.kept, run.view) = (view.bytes_kept, Some(view.clone()));
            })
            .await?;
            let ended = turmoil::sim_elapsed().unwrap_or_default();
            book.borrow_mut().runs[nth].ended = outcome.torrents.into_iter().next().map(|one| (ended, one.ending));
            Ok(())
        }
    });
}

/// Starts a task that suspends the machine of this host: its clock jumps, and those of other hosts do not. Returns a
/// channel for the times to suspend.
fn sleeper() -> mpsc::Sender<Duration> {
    let (sleep, mut naps) = mpsc::channel(1);
    spawn_local(async move {
        while let Some(nap) = naps.recv().await {
            tokio::time::advance(nap).await;
        }
    });
    sleep
}
