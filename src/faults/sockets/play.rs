//! Plays a scene: starts the client, lets happen what is to happen, watches until the goal is reached or missed, judges.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::cast::NetCast;
use super::criteria::manners;
use super::seen::NetSeen;
use super::{Client, NetDeed, NetScene, STOP_LIMIT, SceneGoal, What};
use crate::base::units::DurationText;
use crate::faults::client_output::ClientOutput;
use crate::faults::folder::ScratchFolder;
use crate::faults::program::{ClientProgram, Finished};
use crate::faults::referee::{
    Caps, files_of, gravest, judge_bytes, judge_ending, judge_folder, judge_surroundings, judge_usage,
};
use crate::faults::scenario::{RefereeVerdict, ScenarioReport};
use crate::net::Net;

/// 20 ms between two looks at what is due.
const TICK: Duration = Duration::from_millis(20);

/// A client that does not leave by itself is asked four times a second whether its bytes are all there.
const COMPARE_EVERY: Duration = Duration::from_millis(250);

/// 10 s to leave by itself when all bytes are there; then it is told to. Some seed for ever.
const GRACE: Duration = Duration::from_secs(10);

/// What others may use up: four times what ours may. They have other architectures, and are judged all the same.
const CAPS_OF_OTHERS: Caps = Caps { memory: 1 << 30, descriptors: 4096 };

/// Folders beside the torrent.
const OUT: &str = "out";
const HOME: &str = "home";

/// Plays it once. `seed` makes the payload and every die of the cast.
pub fn play(scene: &NetScene, client: &Client, seed: u64) -> ScenarioReport {
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
    let cast = NetCast::new(scene, report.seed, folder.path())?;
    let port = free_port()?;
    let mut command = client.template.command(&cast.torrent, &out, port);
    command.env("HOME", folder.path().join(HOME)).env_remove("XDG_CONFIG_HOME").env_remove("RUST_LOG");
    let program = match ClientProgram::start(&mut command) {
        Ok(program) => program,
        Err(error) => {
            report.verdict = RefereeVerdict::NotLive(error.to_string());
            return Ok(());
        }
    };
    let files = files_of(cast.harness.recipe(), cast.harness.payload());
    let run = Run { scene, client, cast: &cast, program, port, out: &out, files: &files };
    let (ending, run) = run.play_out()?;
    report.took = run.took;
    let told = if client.is_ours { ClientOutput::read(&run.out, &run.err) } else { ClientOutput::default() };
    report.restarts = told.restarts();
    let seen = NetSeen::of(run, told, &cast);
    report.injected = seen.injected();
    report.observed = seen.observed();
    let ours = [OUT, HOME, "payload.bin.torrent"];
    let left = [judge_folder(&out, &files), judge_surroundings(folder.path(), &ours)];
    let arrived = judge_bytes(&out, &files, cast.harness.payload());
    let judged = ending.judge(scene, client, &seen.run, arrived);
    let verdicts = left.into_iter().flatten().chain(judged);
    report.verdict = gravest(verdicts.chain(owed(scene, client, &seen)));
    Ok(())
}

/// What is asked besides the goal: of every client that it stays small, of ours its manners and the scene's criteria.
fn owed(scene: &NetScene, client: &Client, seen: &NetSeen) -> Vec<RefereeVerdict> {
    let caps = if client.is_ours { Caps::default() } else { CAPS_OF_OTHERS };
    let mut verdicts: Vec<RefereeVerdict> = judge_usage(seen.run.usage, caps).into_iter().collect();
    if client.is_ours {
        verdicts.extend(manners(seen));
        verdicts.extend(scene.criteria.iter().filter_map(|criterion| criterion.judge(seen)));
    }
    verdicts
}

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Before we said anything.
    ByItself,
    /// We told it to stop when all bytes were there.
    Complete,
    /// The time was up, and we killed it.
    Late(Duration),
    /// It lived as long as it should, and we told it to stop.
    Told,
}

impl Ending {
    /// `differs` is how the bytes differ from the payload, if they do.
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
        // Who does not stop when told is killed for it, which is no crash of its own.
        let overstayed = matches!(self, Self::Told | Self::Complete) && run.code() == 128 + Signal::KILL.as_raw();
        let died = if overstayed { None } else { judge_ending(run, sent) };
        let missed = match (self, scene.goal) {
            (Self::Late(limit), _) => {
                Some(RefereeVerdict::NotLive(format!("not complete after {}{}", DurationText(limit), why(run))))
            }
            (Self::ByItself, SceneGoal::Lives(_)) => {
                Some(RefereeVerdict::NotLive(format!("it ended by itself with {}{}", run.code(), why(run))))
            }
            // What another client's exit code means is its own affair.
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

/// The last thing it said, for a verdict.
fn why(run: &Finished) -> String {
    let last = run.err.iter().chain(&run.out).rfind(|line| !line.trim().is_empty());
    last.map(|line| format!("; last words: {}", crate::base::safe::Safe::new(line))).unwrap_or_default()
}

/// Below the ports that the system deals to outgoing connections (32768 and up), so that none of those takes a port between
/// our look at it and its use.
const CLIENT_PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A port of this machine that is free now, for the client to listen on; another one each time, and in each process.
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

/// A client at work.
struct Run<'a> {
    scene: &'a NetScene,
    client: &'a Client,
    cast: &'a NetCast,
    program: ClientProgram,
    port: u16,
    out: &'a Path,
    files: &'a [(PathBuf, u64)],
}

impl Run<'_> {
    fn play_out(mut self) -> io::Result<(Ending, Finished)> {
        let mut deeds = self.scene.deeds.iter().peekable();
        let mut compared = Duration::ZERO;
        let mut complete = None;
        let ending = loop {
            while let Some(deed) = deeds.next_if(|deed| deed.at <= self.program.elapsed()) {
                self.happen(*deed)?;
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
        // Seeding is not part of the time it took.
        if let (Ending::Complete, Some(complete)) = (ending, complete) {
            run.took = complete;
        }
        Ok((ending, run))
    }

    fn is_complete(&self) -> bool {
        judge_bytes(self.out, self.files, self.cast.harness.payload()).is_none()
    }

    fn happen(&self, deed: NetDeed) -> io::Result<()> {
        match deed.what {
            What::Toxics(words) => {
                let toxics: crate::faults::relay::toxic::Toxics = words.parse().map_err(io::Error::other)?;
                for relay in &self.cast.relays {
                    relay.set(toxics.clone());
                }
                Ok(())
            }
            What::Flood(connections) => self.flood(connections),
        }
    }

    /// Opens connections to the client's port and holds those that it takes, 500 a second.
    fn flood(&self, connections: u32) -> io::Result<()> {
        const A_SECOND: u32 = 500;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        self.cast.harness.ask(move |thread| {
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
