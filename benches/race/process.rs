//! A client as a process: started, watched while it runs, measured when it has ended.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process, setrlimit, waitid,
};

/// The unit of processor time in /proc/PID/stat: 100 ticks in a second, on every Linux of today.
const TICK: f64 = 0.01;

/// Peak memory is read this often: the last value before the end is lost with the process.
const WATCH: Duration = Duration::from_millis(5);

/// How long a client may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// How one run ended and what it took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) wall: f64,
    /// User and system seconds of the process and of its dead children.
    pub(crate) cpu: f64,
    pub(crate) peak_mib: f64,
    /// It ended by itself, in time, and said that all is well.
    pub(crate) well: bool,
}

/// When the clock starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// With the process.
    Start,
    /// When it prints "ready" and the CPU seconds it has used: an interpreter is not what is measured.
    Ready,
}

pub(crate) struct Process {
    child: Child,
    began: Instant,
    /// CPU seconds before the clock started.
    before: f64,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command, log: &Path, from: From) -> Self {
        let log = File::create(log).unwrap();
        let began = Instant::now();
        command.stdin(Stdio::null()).stderr(log.try_clone().unwrap());
        command.stdout(if from == From::Ready { Stdio::piped() } else { log.into() });
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take();
        let mut process = Self { child, began, before: 0.0 };
        if let Some(stdout) = stdout {
            let mut lines = BufReader::new(stdout).lines();
            let ready = lines.find_map(|line| line.ok()?.strip_prefix("ready ")?.parse().ok());
            process.before = ready.unwrap_or_else(|| panic!("{command:?} is never ready"));
            process.began = Instant::now();
            thread::spawn(move || lines.for_each(drop));
        }
        process
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Until it ends, or is `done` in the eyes of who knows better (and is killed), or the time is up.
    pub(crate) fn run(mut self, limit: Duration, mut done: impl FnMut(u32) -> bool) -> Outcome {
        let pid = self.pid();
        let (told, ended) = channel();
        thread::spawn(move || {
            let watched = waitid(WaitId::Pid(pid_of(pid)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            told.send((Instant::now(), watched)).unwrap_or_default();
        });
        let mut peak_mib = 0.0;
        let (end, early) = loop {
            match ended.recv_timeout(WATCH) {
                Ok((at, _)) => break (at, None),
                Err(RecvTimeoutError::Disconnected) => panic!("{pid} cannot be waited for"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            peak_mib = peak_of(pid).unwrap_or(peak_mib);
            let is_done = done(pid);
            if is_done || self.began.elapsed() > limit {
                let now = Instant::now();
                self.child.kill().unwrap_or_default();
                ended.recv().unwrap_or_else(|_| panic!("{pid} cannot be waited for")).1.unwrap();
                break (now, Some(is_done));
            }
        };
        // It is dead and not yet buried: its times are still there. Each of the two is cut to a tick: half of one on average.
        let cpu = cpu_of(pid) + TICK - self.before;
        let status = self.child.wait().unwrap();
        let wall = end.duration_since(self.began).as_secs_f64();
        Outcome { wall, cpu, peak_mib, well: early.unwrap_or(status.success()) }
    }

    /// Asks the process to end, and kills it if it does not.
    pub(crate) fn stop(mut self) {
        kill_process(pid_of(self.pid()), Signal::INT).unwrap_or_default();
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if self.child.try_wait().unwrap().is_some() {
                return;
            }
            thread::sleep(WATCH);
        }
    }
}

impl Drop for Process {
    /// No process is left running, whatever went wrong.
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// As many descriptors as there may be, here and in every client: both ends of a thousand connections are on this machine.
pub(crate) fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap_or_default();
}

pub(crate) fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed()).unwrap()
}

/// User and system seconds so far, with those of children that have ended.
pub(crate) fn cpu_of(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(4).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() * TICK
}

/// `VmHWM` in MiB, while the process lives.
pub(crate) fn peak_of(pid: u32) -> Option<f64> {
    status_kib(pid, "VmHWM:").map(|kib| kib / 1024.0)
}

/// A line of /proc/PID/status that counts KiB.
pub(crate) fn status_kib(pid: u32, name: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix(" kB")?.parse().ok()
}

/// Bytes that its `read`s have brought, from wherever (`rchar`). What is mapped or received is not in it.
pub(crate) fn read_by(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok()).unwrap()
}

/// CPU time of this thread so far.
pub(crate) fn thread_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}
