//! Counts of kernel events of a process: `perf stat` where it is allowed to, else `strace -c`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::process::pid_of;

const SYSCALLS: &str = "raw_syscalls:sys_enter";
/// Futex calls wake or await another thread of the process.
const FUTEXES: &str = "syscalls:sys_enter_futex";
/// Made by this process, of whatever thread of whatever process.
const WAKE_UPS: &str = "sched:sched_wakeup";
const SWITCHES: &str = "context-switches";

/// Until the counter is attached to every thread.
const ATTACHED: Duration = Duration::from_millis(700);

/// The counts; those that the tool does not know are missing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Events {
    pub(crate) syscalls: Option<f64>,
    pub(crate) futexes: Option<f64>,
    pub(crate) wake_ups: Option<f64>,
    pub(crate) switches: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Perf,
    Strace,
}

impl Tool {
    /// Returns the best tool that works on this machine.
    pub(crate) fn found() -> Option<Self> {
        let works = |words: &[&str]| {
            let run = Command::new(words[0]).args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
            run.is_ok_and(|status| status.success())
        };
        if works(&["perf", "stat", "-e", SYSCALLS, "true"]) {
            Some(Self::Perf)
        } else {
            works(&["strace", "-c", "-f", "true"]).then_some(Self::Strace)
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Perf => "perf stat",
            Self::Strace => "strace -c -f",
        }
    }

    /// Returns the same command, counted from its start to its end.
    pub(crate) fn around(self, command: &Command, out: &Path) -> Command {
        let mut counted = self.words(out);
        if self == Self::Perf {
            counted.arg("--");
        }
        counted.arg(command.get_program()).args(command.get_args());
        counted
    }

    /// Counts what runs already, all its threads, until [`Attached::end`].
    pub(crate) fn attach(self, pid: u32, out: &Path) -> Attached {
        let mut command = self.words(out);
        command.args(["-p", &pid.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        thread::sleep(ATTACHED);
        Attached { tool: self, child, out: out.to_owned() }
    }

    fn words(self, out: &Path) -> Command {
        let mut command = match self {
            Self::Perf => Command::new("perf"),
            Self::Strace => Command::new("strace"),
        };
        match self {
            Self::Perf => {
                command.args(["stat", "-x,", "-e", &[SYSCALLS, FUTEXES, WAKE_UPS, SWITCHES].join(",")]);
            }
            Self::Strace => {
                command.args(["-c", "-f"]);
            }
        }
        command.arg("-o").arg(out);
        command
    }

    /// Returns what the tool wrote.
    pub(crate) fn read(self, out: &Path) -> Events {
        let text = fs::read_to_string(out).unwrap_or_default();
        if self == Self::Strace {
            let total = text.lines().find(|line| line.ends_with(" total"));
            // % time, seconds, usecs/call (missing in some versions), calls, errors (missing where there are none).
            let syscalls =
                total.and_then(|line| line.split_whitespace().filter(|word| !word.contains('.')).nth(1)?.parse().ok());
            return Events { syscalls, ..Events::default() };
        }
        let count = |event: &str| {
            let line = text.lines().find(|line| line.split(',').nth(2) == Some(event))?;
            line.split(',').next()?.parse().ok()
        };
        Events {
            syscalls: count(SYSCALLS),
            futexes: count(FUTEXES),
            wake_ups: count(WAKE_UPS),
            switches: count(SWITCHES),
        }
    }
}

pub(crate) struct Attached {
    tool: Tool,
    child: Child,
    out: PathBuf,
}

impl Attached {
    pub(crate) fn end(mut self) -> Events {
        kill_process(pid_of(self.child.id()), Signal::INT).unwrap_or_default();
        self.child.wait().unwrap();
        self.tool.read(&self.out)
    }
}
