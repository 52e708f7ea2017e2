//! A child process in a group of its own, with its output read all the time, a watchdog, and an end at drop.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use serde_json::Value;

/// 10 ms between two checks of an event that prints no line (an exit, a port). A wait for a line ends as soon as it comes.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// How many lines of the output a failure shows.
const TAIL: usize = 40;

#[derive(Debug)]
enum Line {
    Out(String),
    Err(String),
}

/// A running child. Dropped, it is killed with all its children.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Receiver<Line>,
    started: Instant,
    pub(crate) out: Vec<String>,
    pub(crate) err: Vec<String>,
    peak_kib: u64,
}

/// What is known of a child that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) out: Vec<String>,
    pub(crate) err: Vec<String>,
    /// Largest resident memory seen while it ran, from `VmHWM`.
    pub(crate) peak_kib: u64,
    pub(crate) took: Duration,
}

impl Finished {
    /// The exit code; 128 + n for a child that signal n ended, as a shell says it.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal)).unwrap()
    }
}

impl Process {
    /// Starts it, without standard input.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let (tell, lines) = channel();
        read_lines(child.stdout.take().unwrap(), tell.clone(), Line::Out);
        read_lines(child.stderr.take().unwrap(), tell, Line::Err);
        let name = name.to_owned();
        Self { name, child, lines, started: Instant::now(), out: Vec::new(), err: Vec::new(), peak_kib: 0 }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process itself.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.as_pid(), signal).unwrap();
    }

    /// Waits for a line, on either stream, that `wanted` makes something of. Panics when the time is up or the child ends first.
    pub(crate) fn wait_for<T>(&mut self, what: &str, limit: Duration, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        loop {
            match self.next_line(deadline) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.fail(&format!("{what} did not come in {limit:?}")),
                Err(RecvTimeoutError::Disconnected) => self.fail(&format!("it ended before {what}")),
            }
        }
    }

    /// Waits for an event of each torrent that `wanted` says yes to. Torrents are told apart by their sizes, and come in
    /// whatever order they like: each may live on a thread of its own.
    pub(crate) fn wait_for_each(
        &mut self,
        what: &str,
        limit: Duration,
        sizes: impl IntoIterator<Item = u64>,
        wanted: impl Fn(&Value) -> bool,
    ) {
        let deadline = Instant::now() + limit;
        let mut missing: BTreeSet<u64> = sizes.into_iter().collect();
        while !missing.is_empty() {
            let what = format!("{what} (the torrents of {missing:?} bytes)");
            let came = self.wait_for(&what, deadline.saturating_duration_since(Instant::now()), |line| {
                let event: Value = serde_json::from_str(line).ok()?;
                event["bytes_total"].as_u64().filter(|_| wanted(&event))
            });
            missing.remove(&came);
        }
    }

    /// Tells whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end, for at most `limit`: then the watchdog kills it and the test fails.
    pub(crate) fn finish(mut self, limit: Duration) -> Finished {
        let deadline = Instant::now() + limit;
        // A process that closed both streams has no more lines to wait for; its end is awaited instead.
        let mut are_open = true;
        while are_open {
            match self.next_line((Instant::now() + LOOK).min(deadline)) {
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => are_open = false,
            }
            self.look_at_memory();
            if !are_open || self.child.try_wait().unwrap().is_some() {
                break;
            }
            if Instant::now() >= deadline {
                self.fail(&format!("still running after {limit:?}"));
            }
        }
        let Some(status) = self.wait_until(deadline) else { self.fail(&format!("still running after {limit:?}")) };
        let took = self.started.elapsed();
        let rest = Instant::now() + Duration::from_secs(5);
        while self.next_line(rest).is_ok() {}
        let (out, err) = (std::mem::take(&mut self.out), std::mem::take(&mut self.err));
        Finished { status, out, err, peak_kib: self.peak_kib, took }
    }

    /// Waits for the end of the process, without reading its output. Returns `None` when the deadline has passed.
    fn wait_until(&mut self, deadline: Instant) -> Option<ExitStatus> {
        let pid = self.as_pid();
        let (sender, ended) = channel();
        // `WNOWAIT` leaves the process to be waited for here.
        std::thread::spawn(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            // The receiver is gone when the deadline has passed.
            sender.send(waitid(WaitId::Pid(pid), options).is_ok()).unwrap_or_default();
        });
        ended.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
        Some(self.child.wait().unwrap())
    }

    /// Kills it with SIGKILL and returns its output.
    pub(crate) fn kill(mut self) -> Finished {
        self.look_at_memory();
        self.signal(Signal::KILL);
        self.finish(Duration::from_secs(10))
    }

    /// Fails the test, showing the last lines of both streams.
    pub(crate) fn fail(&self, why: &str) -> ! {
        let tail = |lines: &[String]| lines[lines.len().saturating_sub(TAIL)..].join("\n");
        panic!("{}: {why}\n--- stdout\n{}\n--- stderr\n{}", self.name, tail(&self.out), tail(&self.err));
    }

    fn next_line(&mut self, deadline: Instant) -> Result<String, RecvTimeoutError> {
        let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))?;
        self.look_at_memory();
        let (Line::Out(text) | Line::Err(text)) = &line;
        let text = text.clone();
        match line {
            Line::Out(line) => self.out.push(line),
            Line::Err(line) => self.err.push(line),
        }
        Ok(text)
    }

    fn look_at_memory(&mut self) {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())) else { return };
        let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = high.and_then(|rest| rest.trim().strip_suffix(" kB")).and_then(|kib| kib.trim().parse().ok());
        self.peak_kib = self.peak_kib.max(kib.unwrap_or(0));
    }

    fn as_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is the usual case, and nothing to complain about while a test may be failing.
        if kill_process_group(self.as_pid(), Signal::KILL).is_ok() {
            drop(self.child.wait());
        }
    }
}

fn read_lines(stream: impl Read + Send + 'static, tell: Sender<Line>, wrap: fn(String) -> Line) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
            line.clear();
            if tell.send(wrap(text)).is_err() {
                return;
            }
        }
    });
}

/// Polls until `done` returns `true`, for at most `limit`: other programs do not signal what a test waits for here.
pub(crate) fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen in {limit:?}");
        std::thread::sleep(LOOK);
    }
}
