//! The clients of a race, and the command lines with which each fetches or seeds one torrent and does nothing else.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;

use crate::lab::Lab;
use crate::lean_seed::Seeds;
use crate::options::Options;
use crate::process::{From, Outcome, Process};

const WITH_LIBTORRENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/race/with_libtorrent.py");

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    TtActors,
    Libtorrent,
    LibtorrentTuned,
    #[value(name = "aria2")]
    Aria2,
    Rqbit,
    Transmission,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::TtActors, Self::Libtorrent, Self::LibtorrentTuned, Self::Aria2, Self::Rqbit, Self::Transmission];

    pub(crate) const OURS_AND_LIBTORRENT: [Self; 3] = [Self::TtActors, Self::Libtorrent, Self::LibtorrentTuned];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TtActors => "tt-actors",
            Self::Libtorrent => "libtorrent",
            Self::LibtorrentTuned => "libtorrent, tuned",
            Self::Aria2 => "aria2",
            Self::Rqbit => "rqbit",
            Self::Transmission => "Transmission",
        }
    }

    /// An interpreter is started before libtorrent is.
    pub(crate) fn from(self) -> From {
        if self.is_libtorrent() { From::Ready } else { From::Start }
    }

    fn is_libtorrent(self) -> bool {
        matches!(self, Self::Libtorrent | Self::LibtorrentTuned)
    }
}

/// Returns those of `wanted` that are installed, in that order, and names the others. `able` excludes clients without
/// the needed feature.
pub(crate) fn present(options: &Options, wanted: &[Kind], able: &[Kind]) -> Vec<Kind> {
    let wanted = wanted.iter().copied().filter(|kind| able.contains(kind));
    wanted
        .filter(|kind| {
            let version = version(options, *kind);
            println!("{}: {}", kind.name(), version.as_deref().unwrap_or("left out, not installed"));
            version.is_some()
        })
        .collect()
}

/// Returns the version that the client prints.
fn version(options: &Options, kind: Kind) -> Option<String> {
    let mut command = match kind {
        Kind::TtActors => program(&options.bin, ["--version"]),
        Kind::Libtorrent | Kind::LibtorrentTuned => {
            program(python(), ["-W", "ignore", "-c", "import libtorrent; print('libtorrent', libtorrent.__version__)"])
        }
        Kind::Aria2 => program("aria2c", ["--version"]),
        Kind::Rqbit => program("rqbit", ["--version"]),
        // It prints its version to standard error and exits with 0.
        Kind::Transmission => program("sh", ["-c", "transmission-cli --version 2>&1"]),
    };
    let output = command.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(|line| line.trim().to_owned())
}

fn program<A: AsRef<OsStr>>(name: impl AsRef<OsStr>, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(name);
    command.args(args);
    command
}

/// How many lines of its log are shown of a client that failed.
const LAST_LINES: usize = 10;

/// The Python interpreter of the tests.
fn python() -> String {
    std::env::var("TT_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// A port that is free now, and on every address: a connection that a leech has closed keeps its own for a minute.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port()
}

/// A run of a client: its command, its port, and the file that says that it is done, if it does not exit.
pub(crate) struct Turn {
    kind: Kind,
    pub(crate) command: Command,
    pub(crate) addr: SocketAddrV4,
    pub(crate) folder: PathBuf,
    log: PathBuf,
    done: Option<PathBuf>,
}

impl Turn {
    /// Fetches what `lab` is about into a fresh folder, from whom the tracker names or from `peer` alone.
    pub(crate) fn fetch(options: &Options, kind: Kind, lab: &Lab, peer: Option<SocketAddrV4>) -> Self {
        let folder = lab.fresh("out");
        let port = free_port();
        let mut turn = Self::new(kind, lab, folder, port);
        turn.command = match kind {
            Kind::TtActors => {
                let mut command = program(&options.bin, ["fetch", "-q", "--port", &port.to_string(), "-d"]);
                command.arg(&turn.folder).arg(lab.torrent());
                if let Some(peer) = peer {
                    command.args(["--exclude-tracker", "*", "--peer", &peer.to_string()]);
                }
                command
            }
            Kind::Libtorrent | Kind::LibtorrentTuned => {
                let mut command = libtorrent(kind, "fetch", lab, &turn.folder);
                command.arg(port.to_string());
                command.args(peer.iter().flat_map(|peer| ["--peer".to_owned(), peer.to_string()]));
                command
            }
            Kind::Aria2 => aria2(lab, &turn.folder, port, &["--seed-time=0"]),
            Kind::Rqbit => rqbit(lab, &turn.folder, port, &["-e"]),
            Kind::Transmission => {
                let (script, done) = (lab.path("done.sh"), lab.path("done"));
                fs::remove_file(&done).unwrap_or_default();
                fs::write(&script, format!("#!/bin/sh\n: > {}\n", done.display())).unwrap();
                fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
                let mut command = transmission(lab, &turn.folder, port);
                command.arg("-f").arg(script);
                turn.done = Some(done);
                command
            }
        };
        turn
    }

    /// Seeds the data in `source`.
    pub(crate) fn seed(options: &Options, kind: Kind, lab: &Lab, source: &Path) -> Self {
        let port = free_port();
        let mut turn = Self::new(kind, lab, source.to_owned(), port);
        turn.command = match kind {
            Kind::TtActors => {
                let mut command = program(&options.bin, ["seed", "-q", "--port", &port.to_string(), "-d"]);
                command.arg(source).arg(lab.torrent());
                command
            }
            Kind::Libtorrent | Kind::LibtorrentTuned => {
                let mut command = libtorrent(kind, "seed", lab, source);
                command.arg(port.to_string());
                command
            }
            Kind::Aria2 => aria2(lab, source, port, &["--seed-ratio=0", "--bt-seed-unverified=true", "-V"]),
            Kind::Rqbit => rqbit(lab, source, port, &["--overwrite"]),
            Kind::Transmission => transmission(lab, source, port),
        };
        turn
    }

    fn new(kind: Kind, lab: &Lab, folder: PathBuf, port: u16) -> Self {
        let log = lab.path(&format!("{}.log", kind.name()));
        let addr = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Self { kind, command: Command::new(""), addr, folder, log, done: None }
    }

    /// Returns the last lines of its log, which say why it failed.
    pub(crate) fn last_words(&self) -> String {
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    pub(crate) fn start(&mut self) -> Process {
        Process::spawn(&mut self.command, &self.log, self.kind.from())
    }

    /// From the start until it ends; `watch` is called now and then with its process id.
    pub(crate) fn run(&mut self, limit: Duration, seeds: &Seeds, mut watch: impl FnMut(u32)) -> Outcome {
        // Transmission takes no loopback address from a tracker: its seeds come to it.
        let dialling = self.done.is_some().then(|| seeds.dial(self.addr));
        let done = self.done.clone();
        let outcome = self.start().run(limit, |pid| {
            watch(pid);
            done.as_ref().is_some_and(|done| done.exists())
        });
        if let Some(over) = dialling {
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        outcome
    }
}

fn libtorrent(kind: Kind, verb: &str, lab: &Lab, folder: &Path) -> Command {
    let mut command = with_libtorrent(verb);
    if kind == Kind::LibtorrentTuned {
        command.arg("--tuned");
    }
    command.arg(lab.torrent()).arg(folder);
    command
}

pub(crate) fn with_libtorrent(verb: &str) -> Command {
    program(python(), ["-W", "ignore", WITH_LIBTORRENT, verb])
}

fn aria2(lab: &Lab, folder: &Path, port: u16, more: &[&str]) -> Command {
    let mut command = program("aria2c", ["-q", "--enable-dht=false", "--enable-dht6=false", "--disable-ipv6=true"]);
    command.args(["--bt-enable-lpd=false", "--enable-peer-exchange=false", "--file-allocation=none"]);
    command.args(["--no-conf", "--summary-interval=0", &format!("--listen-port={port}")]).args(more);
    command.arg("-d").arg(folder).arg(lab.torrent());
    command
}

fn rqbit(lab: &Lab, folder: &Path, port: u16, more: &[&str]) -> Command {
    let mut command = program("rqbit", ["--disable-dht", "--disable-lsd", "--disable-upnp-port-forward"]);
    command.args(["--listen-port", &port.to_string(), "download"]).args(more);
    command.arg("-o").arg(folder).arg(lab.torrent());
    command
}

fn transmission(lab: &Lab, folder: &Path, port: u16) -> Command {
    let config = lab.fresh("transmission");
    let settings = serde_json::json!({
        "bind-address-ipv4": "127.0.0.1", "dht-enabled": false, "lpd-enabled": false, "pex-enabled": false,
        "utp-enabled": false, "encryption": 0, "upload-slots-per-torrent": 50, "ratio-limit-enabled": false,
    });
    fs::write(config.join("settings.json"), settings.to_string()).unwrap();
    let mut command = program("transmission-cli", ["-M", "-et", "-p", &port.to_string(), "-g"]);
    command.arg(config).arg("-w").arg(folder).arg(lab.torrent());
    command
}
