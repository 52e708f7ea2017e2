//! Runs a scene: starts the client, performs the timed actions, watches until the goal is reached or missed, and
//! judges.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::criteria::manners;
use super::observation::NetObservation;
use super::setup::NetSetup;
use super::{Client, NetAction, NetScene, NetStep, STOP_LIMIT, SceneGoal};
use crate::base::units::DurationText;
use crate::faults::client_output::ClientOutput;
use crate::faults::folder::ScratchFolder;
use crate::faults::program::{ClientProgram, Finished};
use crate::faults::referee::{
    Caps, files_of, gravest, judge_bytes, judge_ending, judge_folder, judge_surroundings, judge_usage,
};
use crate::faults::scenario::{RefereeVerdict, ScenarioReport};
use crate::net::Net;

/// 20 ms between two checks of what is due.
const TICK: Duration = Duration::from_millis(20);

/// 250 ms: how often the files of a client that does not exit by itself are compared with the payload.
const COMPARE_EVERY: Duration = Duration::from_millis(250);

/// 10 s to exit after all bytes are there; then the client is told to stop. Some clients seed for ever.
const GRACE: Duration = Duration::from_secs(10);

/// What other clients may use up: four times what ours may. They are built differently, but are judged too.
const CAPS_OF_OTHERS: Caps = Caps { memory: 1 << 30, descriptors: 4096 };

/// Folders beside the torrent.
const OUT: &str = "out";
const HOME: &str = "home";

/// Runs the scene once. The payload and all random numbers follow from `seed`.
pub fn run_scene(scene: &NetScene, client: &Client, seed: u64) -> ScenarioReport {
    let mut report = ScenarioReport::new(scene.about, seed);
    if let Err(error) = attempt(scene, client, &mut report) {
        report.verdict = RefereeVerdict::Skipped(format!("the stage cannot be set: {error}"));
    }
    report
}

fn attempt(scene: &NetScene, client: &Client, report: &mut ScenarioReport) -> io::Result<()> {
    let folder = ScratchFolder::new(None, false)?;
    let out = folder.path().join(OUT);
    std::fs::create_dir(&out)?;
    std::fs::create_dir(folder.path().join(HOME))?;
    let setup = NetSetup::new(scene, report.seed, folder.path())?;
    let port = free_port()?;
    let mut command = client.template.command(&setup.torrent, &out, port);
    command.env("HOME", folder.path().join(HOME)).env_remove("XDG_CONFIG_HOME").env_remove("RUST_LOG");
    let program = match ClientProgram::start(&mut command) {
        Ok(program) => program,
        Err(error) => {
            report.verdict = RefereeVerdict::NotLive(error.to_string());
            return Ok(());
        }
    };
    let files = files_of(setup.harness.recipe(), setup.harness.payload());
    let run = Run { scene, client, setup: &setup, program, port, out: &out, files: &files };
    let (ending, run) = run.watch_run()?;
    report.took = run.took;
    let output = if client.is_ours { ClientOutput::read(&run.out, &run.err) } else { ClientOutput::default() };
    report.restarts = output.restarts();
    let observation = NetObservation::of(run, output, &setup);
    report.injected = observation.injected();
    report.observed = observation.observed();
    let ours = [OUT, HOME, "payload.bin.torrent"];
    let left = [judge_folder(&out, &files), judge_surroundings(folder.path(), &ours)];
    let arrived = judge_bytes(&out, &files, setup.harness.payload());
    let judged = ending.judge(scene, client, &observation.run, arrived);
    let verdicts = left.into_iter().flatten().chain(judged);
    report.verdict = gravest(verdicts.chain(owed(scene, client, &observation)));
    Ok(())
}

/// Returns the verdicts besides the goal: for every client its use of resources, for ours the common rules and the
/// criteria of the scene.
fn owed(scene: &NetScene, client: &Client, observation: &NetObservation) -> Vec<RefereeVerdict> {
    let caps = if client.is_ours { Caps::default() } else { CAPS_OF_OTHERS };
    let mut verdicts: Vec<RefereeVerdict> = judge_usage(observation.run.usage, caps).into_iter().collect();
    if client.is_ours {
        verdicts.extend(manners(observation));
        verdicts.extend(scene.criteria.iter().filter_map(|criterion| criterion.judge(observation)));
    }
    verdicts
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The client ended before it got a signal.
    ByItself,
    /// All bytes were there, and it was told to stop.
    Complete,
    /// The time was up after this long, and it was killed.
    Late(Duration),
    /// It ran as long as the scene wants, and was told to stop.
    Told,
}

impl Ending {
    /// Judges the end of the run. `differs` is how the bytes differ from the payload, if they do.
    fn judge(
        self,
        scene: &NetScene,
        client: &Client,
        run: &Finished,
        differs: Option<RefereeVerdict>,
    ) -> Vec<RefereeVerdict> {
        let sent = match self {
            Self::ByItself => None,
            Self::Complete | Self::Told => Some(Signal::TERM.as_raw()),
            Self::Late(_) => Some(Signal::KILL.as_raw()),
        };
        // A client that does not stop when told is killed for that, which is not a crash of its own.
        let overstayed = matches!(self, Self::Told | Self::Complete) && run.code() == 128 + Signal::KILL.as_raw();
        let died = if overstayed { None } else { judge_ending(run, sent) };
        let missed = match (self, scene.goal) {
            (Self::Late(limit), _) => {
                Some(RefereeVerdict::NotLive(format!("not complete after {}{}", DurationText(limit), why(run))))
            }
            (Self::ByItself, SceneGoal::Lives(_)) => {
                Some(RefereeVerdict::NotLive(format!("it ended by itself with {}{}", run.code(), why(run))))
            }
            // The exit codes of other clients are not judged if all bytes are there.
            (Self::ByItself, SceneGoal::Completes(_)) if run.code() != 0 && (client.is_ours || differs.is_some()) => {
                Some(RefereeVerdict::NotLive(format!("it gave up with {}{}", run.code(), why(run))))
            }
            (Self::ByItself | Self::Complete, SceneGoal::Completes(_)) => differs,
            (Self::Told, _) if overstayed && client.is_ours => {
                let how = format!("it did not stop in {}", DurationText(STOP_LIMIT));
                Some(RefereeVerdict::Broke { invariant: "I8", how })
            }
            _ => None,
        };
        died.into_iter().chain(missed).collect()
    }
}

/// Returns the last line of the output, for a verdict.
fn why(run: &Finished) -> String {
    let last = run.err.iter().chain(&run.out).rfind(|line| !line.trim().is_empty());
    last.map(|line| format!("; last words: {}", crate::base::safe::Safe::new(line))).unwrap_or_default()
}

/// Below the ports that the system gives to outgoing connections (32768 and up), so that none of those takes a port
/// between the check here and its use by the client.
const CLIENT_PORTS: std::ops::Range<u16> = 10_000..32_000;

/// Returns a port of this machine that is free now, for the client to listen on; another one for each call, and in each
/// process.
fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(CLIENT_PORTS.end - CLIENT_PORTS.start);
    let mut taken = io::ErrorKind::AddrInUse.into();
    for _ in 0..100 {
        let nth = std::process::id().wrapping_mul(977).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = CLIENT_PORTS.start + u16::try_from(nth).unwrap_or_default();
        match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
            Ok(_free) => return Ok(port),
            Err(error) => taken = error,
        }
    }
    Err(taken)
}

/// A running client and its scene.
struct Run<'a> {
    scene: &'a NetScene,
    client: &'a Client,
    setup: &'a NetSetup,
    program: ClientProgram,
    port: u16,
    out: &'a Path,
    files: &'a [(PathBuf, u64)],
}

impl Run<'_> {
    fn watch_run(mut self) -> io::Result<(Ending, Finished)> {
        let mut steps = self.scene.steps.iter().peekable();
        let mut compared = Duration::ZERO;
        let mut complete = None;
        let ending = loop {
            while let Some(step) = steps.next_if(|step| step.at <= self.program.elapsed()) {
                self.happen(*step)?;
            }
            if self.program.watch(TICK)?.is_some() {
                break Ending::ByItself;
            }
            let now = self.program.elapsed();
            match self.scene.goal {
                SceneGoal::Lives(wanted) if now >= wanted => break Ending::Told,
                SceneGoal::Lives(_) => {}
                SceneGoal::Completes(limit) => {
                    if complete.is_none() && !self.client.is_ours && now >= compared + COMPARE_EVERY {
                        complete = self.is_complete().then_some(now);
                        compared = now;
                    }
                    if complete.is_some_and(|complete| now >= complete + GRACE) {
                        break Ending::Complete;
                    }
                    let limit = self.client.limit.unwrap_or(limit);
                    if complete.is_none() && now >= limit {
                        break Ending::Late(limit);
                    }
                }
            }
        };
        let patience = match ending {
            Ending::Late(_) => Duration::ZERO,
            Ending::ByItself => STOP_LIMIT,
            Ending::Complete | Ending::Told => {
                self.program.signal(Signal::TERM)?;
                STOP_LIMIT
            }
        };
        let mut run = self.program.finish(patience)?;
        // Seeding does not count for the time that the run took.
        if let (Ending::Complete, Some(complete)) = (ending, complete) {
            run.took = complete;
        }
        Ok((ending, run))
    }

    fn is_complete(&self) -> bool {
        judge_bytes(self.out, self.files, self.setup.harness.payload()).is_none()
    }

    fn happen(&self, step: NetStep) -> io::Result<()> {
        match step.action {
            NetAction::Toxics(words) => {
                let toxics: crate::faults::relay::toxic::Toxics = words.parse().map_err(io::Error::other)?;
                for relay in &self.setup.relays {
                    relay.set(toxics.clone());
                }
                Ok(())
            }
            NetAction::Flood(connections) => self.flood(connections),
        }
    }

    /// Opens connections to the client's port, 500 a second, and holds those that it accepts.
    fn flood(&self, connections: u32) -> io::Result<()> {
        const A_SECOND: u32 = 500;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        self.setup.harness.ask(move |thread| {
            let mut flood = JoinSet::new();
            for nth in 0..connections {
                let net = Net::clone(&thread.net);
                flood.spawn_local(async move {
                    sleep(Duration::from_secs(1) * nth / A_SECOND).await;
                    if let Ok(stream) = net.connect(to).await {
                        std::future::pending::<()>().await;
                        drop(stream);
                    }
                });
            }
            thread.keep(flood);
            Box::pin(std::future::ready(Ok(())))
        })
    }
}
