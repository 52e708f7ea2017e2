//! Starts the client as a user does, with faults around it: strace, limits, closed streams.

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

/// 60 s (I3): without faults a run takes under 3 s; a full disk is checked again within 30 s.
pub const LIMIT: Duration = Duration::from_secs(60);

/// 20 ms between two samples of its memory.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);

/// A command line under construction.
#[derive(Debug)]
pub struct Fetch {
    /// The words in front of the program: strace, prlimit, a shell.
    wrappers: Vec<OsString>,
    program: PathBuf,
    args: Vec<OsString>,
    faults: Option<SyscallFaults>,
    log: PathBuf,
}

impl Fetch {
    /// Returns the command line that fetches a torrent into a folder, with results and log as JSON. The state is kept,
    /// so that the referee can read the last record. strace writes to `log`.
    pub fn new(program: &Path, torrent: &Path, out: &Path, log: PathBuf) -> Self {
        let mut args: Vec<OsString> = vec!["fetch".into(), torrent.into(), "-d".into(), out.into()];
        args.extend(["--json", "--log-format", "json", "--keep-state"].map(Into::into));
        Self { wrappers: Vec::new(), program: program.to_owned(), args, faults: None, log }
    }

    /// Adds a peer to fetch from.
    #[must_use]
    pub fn from(self, peer: SocketAddr) -> Self {
        self.args(&["--peer", &peer.to_string()])
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(Into::into));
        self
    }

    /// Starts the client through this command, which must replace itself with the client: `prlimit ..`,
    /// `sh -c 'exec "$@" ..' sh`.
    #[must_use]
    pub fn behind(mut self, words: &[&str]) -> Self {
        self.wrappers.extend(words.iter().map(Into::into));
        self
    }

    /// Injects these faults into its system calls.
    #[must_use]
    pub fn with_faults(mut self, faults: SyscallFaults) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Starts the client.
    pub fn start(self) -> io::Result<RunningFetch> {
        let mut words = self.wrappers;
        words.extend(self.faults.iter().flat_map(|faults| faults.words(&self.log)));
        words.push(self.program.into());
        words.extend(self.args);
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env_remove("RUST_LOG").env("RUST_BACKTRACE", "0");
        Ok(RunningFetch { program: ClientProgram::start(&mut command)?, log: self.faults.map(|_| self.log) })
    }

    /// Runs the client to its end.
    pub fn run(self) -> io::Result<ClientRun> {
        self.start()?.finish()
    }
}

/// A running client.
#[derive(Debug)]
pub struct RunningFetch {
    /// The process that was started: strace, if the client runs under it.
    pub program: ClientProgram,
    log: Option<PathBuf>,
}

impl RunningFetch {
    /// Waits until it has this many bytes. Returns `false` if that does not happen within [`LIMIT`].
    pub fn has(&mut self, bytes: u64) -> io::Result<bool> {
        let has = |event: &Value| event["event"] == "progress" && event["bytes_have"].as_u64() >= Some(bytes);
        let is_there = |line: &str| serde_json::from_str(line).is_ok_and(|event| has(&event)).then_some(());
        Ok(self.program.wait_for(LIMIT, is_there)?.is_some())
    }

    /// Waits until a line of either stream contains this text. Returns `false` if that does not happen within
    /// [`LIMIT`].
    pub fn says(&mut self, text: &str) -> io::Result<bool> {
        Ok(self.program.wait_for(LIMIT, |line| line.contains(text).then_some(()))?.is_some())
    }

    /// Lets it run for this long.
    pub fn runs(&mut self, time: Duration) -> io::Result<()> {
        self.ends_within(time).map(drop)
    }

    /// Waits for its end for at most this long. Returns `false` if it still runs then.
    pub fn ends_within(&mut self, time: Duration) -> io::Result<bool> {
        Ok(self.program.watch(time)?.is_some())
    }

    /// Sends a signal, to strace if the client runs under it. It is no error if the process has ended before.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match self.program.signal(signal) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
            sent => sent,
        }
    }

    /// Waits for its end, for at most [`LIMIT`].
    pub fn finish(self) -> io::Result<ClientRun> {
        self.finish_within(LIMIT)
    }

    /// Waits for its end for at most this long, then kills it.
    pub fn finish_within(mut self, limit: Duration) -> io::Result<ClientRun> {
        let late = self.program.watch(limit)?.is_none();
        let finished = self.program.finish(Duration::ZERO)?;
        let output = ClientOutput::read(&finished.out, &finished.err);
        let noted = self.log.and_then(|log| std::fs::read(log).ok()).unwrap_or_default();
        let trace = String::from_utf8_lossy(&noted).into_owned();
        Ok(ClientRun { finished, output, faults: tally(&trace), trace, late })
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(self) -> io::Result<ClientRun> {
        self.signal(Signal::KILL)?;
        self.finish()
    }

    /// Kills a client that runs under strace, which on its own would let the client go on.
    pub fn kill_all(self) -> io::Result<ClientRun> {
        self.finish_within(Duration::ZERO)
    }

    /// Waits for its end. Returns its peak of resident memory in bytes, also under strace.
    pub fn peak_memory(&mut self) -> io::Result<u64> {
        let deadline = self.program.elapsed() + LIMIT;
        let mut peak = 0;
        while self.program.watch(SAMPLE_INTERVAL)?.is_none() && self.program.elapsed() < deadline {
            peak = peak.max(memory_of_child(self.program.id()).unwrap_or(0));
        }
        Ok(peak)
    }
}

/// strace, attached to a running client. It detaches when this value is dropped.
#[derive(Debug)]
pub struct Tampering {
    strace: ClientProgram,
    log: PathBuf,
}

impl Tampering {
    /// Attaches strace to a running client.
    pub fn start(faults: &SyscallFaults, with: &RunningFetch, log: PathBuf) -> io::Result<Self> {
        let mut words = faults.words_for(with.program.id(), &log).into_iter();
        let mut strace = ClientProgram::start(Command::new(words.next().unwrap_or_default()).args(words))?;
        let begun = strace.wait_for(LIMIT, |line| line.contains(" attached").then_some(()))?;
        begun.ok_or_else(|| io::Error::other(format!("strace does not attach: {:?}", strace.err)))?;
        Ok(Self { strace, log })
    }

    /// Detaches: the client goes on without faults. Returns what was injected: kind and count.
    pub fn end(self) -> io::Result<BTreeMap<String, u64>> {
        self.strace.signal(Signal::TERM)?;
        drop(self.strace.finish(LIMIT)?);
        Ok(tally(&String::from_utf8_lossy(&std::fs::read(self.log)?)))
    }
}

/// A run that has ended.
#[derive(Debug)]
pub struct ClientRun {
    /// The process: status, output, resources.
    pub finished: Finished,
    /// The parsed output.
    pub output: ClientOutput,
    /// What strace injected: kind and count.
    pub faults: BTreeMap<String, u64>,
    /// The trace that strace wrote.
    pub trace: String,
    /// Whether it had to be killed because it did not end in time.
    pub late: bool,
}

impl ClientRun {
    /// Returns the error in its result; empty without one.
    pub fn error(&self) -> &str {
        self.output.result.as_ref().and_then(|result| result["error"].as_str()).unwrap_or_default()
    }

    /// Returns a number of its result; 0 if it is missing.
    pub fn number(&self, field: &str) -> u64 {
        self.output.number(field).unwrap_or(0)
    }

    /// Returns the last lines of its output.
    pub fn last_words(&self) -> String {
        let last = |lines: &[String]| lines.iter().rev().take(2).rev().cloned().collect::<Vec<_>>().join(" | ");
        format!("{} || {}", last(&self.finished.out), last(&self.finished.err))
    }
}

/// Returns the peak of resident memory, in bytes, of the first child of a process.
fn memory_of_child(process: u32) -> Option<u64> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", children.split(' ').next()?)).ok()?;
    let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = high.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
