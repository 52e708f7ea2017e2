//! The client under test: started as a user starts it, read as a script reads it.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::lab::Lab;
use super::netns::Host;
use super::ports::free;
use super::process::{Finished, Process};

/// 120 s: a run that takes longer has hung, even with a debug build on two loaded cores.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(120);

/// The client's binary: cargo's, or with `TT_BIN` another build of it.
pub(crate) fn tt() -> Command {
    let mut command = Command::new(std::env::var("TT_BIN").unwrap_or(env!("CARGO_BIN_EXE_tt-actors").to_owned()));
    command.env_remove("RUST_LOG").env("RUST_BACKTRACE", "1");
    command
}

/// Runs a verb to its end.
pub(crate) fn run<A: AsRef<OsStr>>(args: &[A]) -> Outcome {
    Outcome::of(&Process::start("tt-actors", tt().args(args)).finish(WATCHDOG))
}

/// A `fetch` about to start: JSON results, JSON logs at the level of a run without a terminal, a free port.
#[derive(Debug)]
pub(crate) struct Fetch {
    command: Command,
    limit: Duration,
    /// Where it listens.
    pub(crate) port: u16,
}

impl Fetch {
    /// Of a torrent into a folder.
    pub(crate) fn new(torrent: &Path, dir: &Path) -> Self {
        let mut command = tt();
        command.arg("fetch").arg(torrent).arg("-d").arg(dir).args(["--json", "--log-format", "json"]);
        let port = free();
        command.args(["--port", &port.to_string()]);
        Self { command, port, limit: WATCHDOG }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn peer(mut self, addr: SocketAddr) -> Self {
        self.command.arg("--peer").arg(addr.to_string());
        self
    }

    pub(crate) fn tracker(mut self, url: &str) -> Self {
        self.command.arg("--tracker").arg(url);
        self
    }

    /// Started on another host.
    pub(crate) fn on(mut self, host: &Host) -> Self {
        self.command = host.command(&self.command);
        self
    }

    /// Started where this name leads to both 127.0.0.1 and `::1`, by a hosts file that only this process sees.
    pub(crate) fn where_a_name_has_both_families(mut self, name: &str, lab: &Lab) -> Self {
        let hosts = lab.at("hosts");
        std::fs::write(&hosts, format!("127.0.0.1 localhost {name}\n::1 {name}\n")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", r#"mount --bind "$1" /etc/hosts && shift && exec "$@""#, "sh"]).arg(&hosts);
        command.arg(self.command.get_program()).args(self.command.get_args());
        self.command = command;
        self
    }

    /// Another watchdog than [`WATCHDOG`].
    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Outcome {
        Outcome::of(&Process::start("tt-actors fetch", &mut self.command).finish(self.limit))
    }

    /// Starts it and hands it over.
    pub(crate) fn start(mut self) -> Fetching {
        Fetching { process: Process::start("tt-actors fetch", &mut self.command), limit: self.limit }
    }
}

/// A `fetch` that runs.
#[derive(Debug)]
pub(crate) struct Fetching {
    pub(crate) process: Process,
    limit: Duration,
}

impl Fetching {
    /// Waits until it says that it has this many bytes.
    pub(crate) fn wait_until_it_has(&mut self, bytes: u64) {
        self.process.wait_for(&format!("{bytes} bytes"), self.limit, |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["event"] == "progress" && event["bytes_have"].as_u64()? >= bytes).then_some(())
        });
    }

    /// Waits for a line of either stream that contains this.
    pub(crate) fn wait_until_it_says(&mut self, text: &str) {
        self.process.wait_for(text, self.limit, |line| line.contains(text).then_some(()));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    pub(crate) fn finish(self) -> Outcome {
        Outcome::of(&self.process.finish(self.limit))
    }

    /// Kills it with SIGKILL and waits for its end.
    pub(crate) fn kill(self) -> Outcome {
        Outcome::of(&self.process.kill())
    }
}

/// A run that has ended, and what it said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    /// Every line of standard output that is a JSON object.
    pub(crate) events: Vec<Value>,
    /// Every line of standard error that is a JSON object: the log.
    pub(crate) log: Vec<Value>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) peak_kib: u64,
    pub(crate) took: Duration,
}

impl Outcome {
    pub(crate) fn of(run: &Finished) -> Self {
        let objects = |lines: &[String]| {
            let parsed = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            parsed.filter(Value::is_object).collect::<Vec<_>>()
        };
        Self {
            code: run.code(),
            events: objects(&run.out),
            log: objects(&run.err),
            stdout: run.out.join("\n"),
            stderr: run.err.join("\n"),
            peak_kib: run.peak_kib,
            took: run.took,
        }
    }

    /// Fails unless it ended with this code; shows what it said.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "exit code\n--- stdout\n{}\n--- stderr\n{}",
            tail(&self.stdout),
            tail(&self.stderr)
        );
        self
    }

    /// Fails unless it ended with everything there, nothing panicked, and its last line says so.
    #[track_caller]
    pub(crate) fn expect_complete(self) -> Self {
        let outcome = self.expect_code(0);
        let result = outcome.result();
        assert_eq!(result["status"], "complete", "{result}");
        assert_eq!(result["exit_code"], 0, "{result}");
        assert_eq!(result["panics"], 0, "{result}");
        outcome
    }

    /// The last line.
    #[track_caller]
    pub(crate) fn result(&self) -> &Value {
        let last = self.events.last().unwrap_or_else(|| panic!("no JSON came\n--- stderr\n{}", tail(&self.stderr)));
        assert!(last["event"] == "result" || last.get("event").is_none(), "the last line is no result: {last}");
        last
    }

    /// A number of the result.
    #[track_caller]
    pub(crate) fn number(&self, field: &str) -> u64 {
        let result = self.result();
        result[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {result}"))
    }

    /// How many restarts of this actor for this cause the result counts.
    #[track_caller]
    pub(crate) fn restarts(&self, actor: &str, cause: &str) -> u64 {
        let all = self.result()["restarts"].as_array().unwrap();
        let of = all.iter().filter(|row| row["actor"] == actor && row["cause"] == cause);
        of.map(|row| row["count"].as_u64().unwrap()).sum()
    }

    /// The log's events with this message.
    pub(crate) fn logged(&self, message: &str) -> Vec<LogEvent<'_>> {
        self.log.iter().map(LogEvent).filter(|event| event.field("message") == message).collect()
    }
}

/// One event of the JSON log; its fields may stand in `fields`, as tracing's own format has them, or at the top.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogEvent<'a>(pub(crate) &'a Value);

impl<'a> LogEvent<'a> {
    pub(crate) fn field(self, name: &str) -> &'a Value {
        let inner = &self.0["fields"][name];
        if inner.is_null() { &self.0[name] } else { inner }
    }

    /// A field as a number, however the format writes it.
    #[track_caller]
    pub(crate) fn number(self, name: &str) -> u64 {
        let value = self.field(name);
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.unwrap_or_else(|| panic!("no number {name} in {}", self.0))
    }
}

/// A file or folder as the argument of a verb.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The last lines, for a failure.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Where the client keeps its state of a folder.
pub(crate) fn state_of(dir: &Path) -> PathBuf {
    dir.join(".tt-actors")
}
