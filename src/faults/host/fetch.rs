//! The client, started as a user starts it, behind whatever is done to it: strace, limits, closed streams.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::syscall_faults::{SyscallFaults, tally};
use crate::faults::client_output::ClientOutput;
use crate::faults::program::{ClientProgram, Finished};

/// 60 s (I3): without faults a run takes under 3 s, a full disk is looked at again within 30 s.
pub const LIMIT: Duration = Duration::from_secs(60);

/// 20 ms between two looks at its memory.
const LOOK: Duration = Duration::from_millis(20);

/// A command line that grows.
#[derive(Debug)]
pub struct Fetch {
    /// In front of the program: strace, prlimit, a shell.
    wrappers: Vec<OsString>,
    program: PathBuf,
    args: Vec<OsString>,
    meddling: Option<SyscallFaults>,
    log: PathBuf,
}

impl Fetch {
    /// Of a torrent into a folder, its results and its log as JSON. The state stays, so that the referee can read the last
    /// record. `log` is strace's.
    pub fn new(program: &Path, torrent: &Path, out: &Path, log: PathBuf) -> Self {
        let mut args: Vec<OsString> = vec!["fetch".into(), torrent.into(), "-d".into(), out.into()];
        args.extend(["--json", "--log-format", "json", "--keep-state"].map(Into::into));
        Self { wrappers: Vec::new(), program: program.to_owned(), args, meddling: None, log }
    }

    /// From this peer too.
    #[must_use]
    pub fn from(self, peer: SocketAddr) -> Self {
        self.args(&["--peer", &peer.to_string()])
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(Into::into));
        self
    }

    /// Started by this command, which must become the client: `prlimit ..`, `sh -c 'exec "$@" ..' sh`.
    #[must_use]
    pub fn behind(mut self, words: &[&str]) -> Self {
        self.wrappers.extend(words.iter().map(Into::into));
        self
    }

    /// With this done to its system calls.
    #[must_use]
    pub fn meddling(mut self, meddling: SyscallFaults) -> Self {
        self.meddling = Some(meddling);
        self
    }

    /// Starts it.
    pub fn start(self) -> io::Result<Fetching> {
        let mut words = self.wrappers;
        words.extend(self.meddling.iter().flat_map(|meddling| meddling.words(&self.log)));
        words.push(self.program.into());
        words.extend(self.args);
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env_remove("RUST_LOG").env("RUST_BACKTRACE", "0");
        Ok(Fetching { program: ClientProgram::start(&mut command)?, log: self.meddling.map(|_| self.log) })
    }

    /// Runs it to its end.
    pub fn run(self) -> io::Result<ClientRun> {
        self.start()?.finish()
    }
}

/// A client that runs.
#[derive(Debug)]
pub struct Fetching {
    /// What runs; strace, if it is behind that.
    pub program: ClientProgram,
    log: Option<PathBuf>,
}

impl Fetching {
    /// Waits until it has so many bytes; `false` if that does not come to pass.
    pub fn has(&mut self, bytes: u64) -> io::Result<bool> {
        let has = |event: &Value| event["event"] == "progress" && event["bytes_have"].as_u64() >= Some(bytes);
        let is_there = |line: &str| serde_json::from_str(line).is_ok_and(|event| has(&event)).then_some(());
        Ok(self.program.wait_for(LIMIT, is_there)?.is_some())
    }

    /// Waits until a line of either stream contains this; `false` if that does not come to pass.
    pub fn says(&mut self, text: &str) -> io::Result<bool> {
        Ok(self.program.wait_for(LIMIT, |line| line.contains(text).then_some(()))?.is_some())
    }

    /// Lets it run for so long.
    pub fn runs(&mut self, time: Duration) -> io::Result<()> {
        self.ends_within(time).map(drop)
    }

    /// Waits for its end for so long; `false` if it still runs then.
    pub fn ends_within(&mut self, time: Duration) -> io::Result<bool> {
        Ok(self.program.watch(time)?.is_some())
    }

    /// Sends a signal, to strace if it is behind that. It may have ended before: that is for others to judge.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match self.program.signal(signal) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
            sent => sent,
        }
    }

    /// Waits for its end.
    pub fn finish(self) -> io::Result<ClientRun> {
        self.finish_within(LIMIT)
    }

    /// Waits for its end, for so long.
    pub fn finish_within(mut self, limit: Duration) -> io::Result<ClientRun> {
        let late = self.program.watch(limit)?.is_none();
        let finished = self.program.finish(Duration::ZERO)?;
        let told = ClientOutput::read(&finished.out, &finished.err);
        let noted = self.log.and_then(|log| std::fs::read(log).ok()).unwrap_or_default();
        let trace = String::from_utf8_lossy(&noted).into_owned();
        Ok(ClientRun { finished, told, faults: tally(&trace), trace, late })
    }

    /// Pulls the plug.
    pub fn kill(self) -> io::Result<ClientRun> {
        self.signal(Signal::KILL)?;
        self.finish()
    }

    /// Pulls the plug of a client behind strace, which would otherwise let it go on.
    pub fn kill_all(self) -> io::Result<ClientRun> {
        self.finish_within(Duration::ZERO)
    }

    /// Watches until its end how much memory the client takes, behind strace too.
    pub fn peak_memory(&mut self) -> io::Result<u64> {
        let deadline = self.program.elapsed() + LIMIT;
        let mut peak = 0;
        while self.program.watch(LOOK)?.is_none() && self.program.elapsed() < deadline {
            peak = peak.max(memory_of_child(self.program.id()).unwrap_or(0));
        }
        Ok(peak)
    }
}

/// strace at work on a client that runs. Ends when this is dropped.
#[derive(Debug)]
pub struct Tampering {
    strace: ClientProgram,
    log: PathBuf,
}

impl Tampering {
    /// Begins.
    pub fn start(meddling: &SyscallFaults, with: &Fetching, log: PathBuf) -> io::Result<Self> {
        let mut words = meddling.words_for(with.program.id(), &log).into_iter();
        let mut strace = ClientProgram::start(Command::new(words.next().unwrap_or_default()).args(words))?;
        let begun = strace.wait_for(LIMIT, |line| line.contains(" attached").then_some(()))?;
        begun.ok_or_else(|| io::Error::other(format!("strace does not attach: {:?}", strace.err)))?;
        Ok(Self { strace, log })
    }

    /// Ends: the client goes on as if nothing had been. What was done to it.
    pub fn end(self) -> io::Result<BTreeMap<String, u64>> {
        self.strace.signal(Signal::TERM)?;
        drop(self.strace.finish(LIMIT)?);
        Ok(tally(&String::from_utf8_lossy(&std::fs::read(self.log)?)))
    }
}

/// A run that has ended.
#[derive(Debug)]
pub struct ClientRun {
    /// As a process.
    pub finished: Finished,
    /// What it told.
    pub told: ClientOutput,
    /// What strace did to it.
    pub faults: BTreeMap<String, u64>,
    /// What strace saw.
    pub trace: String,
    /// It did not end by itself in time.
    pub late: bool,
}

impl ClientRun {
    /// The error of its result; empty without one.
    pub fn error(&self) -> &str {
        self.told.result.as_ref().and_then(|result| result["error"].as_str()).unwrap_or_default()
    }

    /// A figure of its result.
    pub fn number(&self, field: &str) -> u64 {
        self.told.number(field).unwrap_or(0)
    }

    /// The end of what it said.
    pub fn last_words(&self) -> String {
        let last = |lines: &[String]| lines.iter().rev().take(2).rev().cloned().collect::<Vec<_>>().join(" | ");
        format!("{} || {}", last(&self.finished.out), last(&self.finished.err))
    }
}

/// The peak of resident memory, in bytes, of a process's first child.
fn memory_of_child(process: u32) -> Option<u64> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", children.split(' ').next()?)).ok()?;
    let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = high.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
