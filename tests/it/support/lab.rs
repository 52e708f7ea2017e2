//! One test's workbench: its own folder, and the check that the foreign programs it needs are there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tt_actors::faults::host::machine::MachineNeed;

use super::netns::can_make_hosts;
use crate::harness;

/// A foreign program, or a right, that a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// Python with libtorrent's binding.
    Libtorrent,
    Opentracker,
    Aria2,
    /// The daemon and its remote control.
    Transmission,
    /// The programs that make and show torrents.
    TransmissionCreate,
    /// The right to mount a tmpfs.
    Mount,
    /// The right to make network namespaces, and `ip` of iproute2.
    Namespaces,
    /// `script` of util-linux: a terminal for the client.
    Terminal,
    /// strace, and the right to trace.
    Strace,
    /// `prlimit` of util-linux.
    Prlimit,
    Git,
    Bash,
}

impl Needs {
    fn is_there(self) -> bool {
        match self {
            Self::Opentracker => answers("opentracker", &["-h"]),
            Self::Libtorrent => python().is_some(),
            Self::Aria2 => answers("aria2c", &["--version"]),
            Self::Transmission => {
                answers("transmission-daemon", &["--version"]) && answers("transmission-remote", &["--version"])
            }
            Self::TransmissionCreate => {
                answers("transmission-create", &["--version"]) && answers("transmission-show", &["--version"])
            }
            Self::Mount => rustix::process::geteuid().is_root() && can_mount(),
            Self::Namespaces => rustix::process::geteuid().is_root() && can_make_hosts(),
            Self::Terminal => answers("script", &["--version"]),
            Self::Strace => MachineNeed::Strace.missing().is_none(),
            Self::Prlimit => MachineNeed::Prlimit.missing().is_none(),
            Self::Git => answers("git", &["--version"]),
            Self::Bash => answers("bash", &["--version"]),
        }
    }

    /// As the summary names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Libtorrent => "libtorrent",
            Self::Opentracker => "opentracker",
            Self::Aria2 => "aria2",
            Self::Transmission => "transmission",
            Self::TransmissionCreate => "transmission-create",
            Self::Mount => "the right to mount",
            Self::Namespaces => "the right to make network namespaces",
            Self::Terminal => "script",
            Self::Strace => "strace",
            Self::Prlimit => "prlimit",
            Self::Git => "git",
            Self::Bash => "bash",
        }
    }

    /// What to do about it on Debian; `.ci/run` does the same.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Libtorrent => "python3 -m pip install libtorrent; TT_PYTHON names another Python that has it",
            Self::Opentracker => "apt-get install opentracker",
            Self::Aria2 => "apt-get install aria2",
            Self::Transmission => "apt-get install transmission-daemon transmission-cli",
            Self::TransmissionCreate => "apt-get install transmission-cli",
            Self::Mount => "run as root",
            Self::Namespaces => "apt-get install iproute2, run as root",
            Self::Terminal => "apt-get install bsdutils",
            Self::Strace => "apt-get install strace, allow tracing",
            Self::Prlimit => "apt-get install util-linux",
            Self::Git => "apt-get install git",
            Self::Bash => "apt-get install bash",
        }
    }
}

/// A folder of its own, gone at the end.
#[derive(Debug)]
pub(crate) struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    /// A workbench with these programs at hand. None where one is missing: the test returns and is counted as ignored.
    /// Where `TT_REQUIRE_PEERS=1` asks for all of them, as CI does, it fails instead.
    pub(crate) fn with(needs: &[Needs]) -> Option<Self> {
        let missing: Vec<_> = needs.iter().copied().filter(|need| !need.is_there()).collect();
        if missing.is_empty() {
            return Some(Self::new());
        }
        let lacks: Vec<_> = missing.iter().map(|need| format!("{} ({})", need.name(), need.remedy())).collect();
        let is_required = std::env::var("TT_REQUIRE_PEERS").as_deref() == Ok("1");
        assert!(!is_required, "this machine lacks {}", lacks.join(", "));
        harness::lack(&missing);
        None
    }

    /// A workbench for tests that need nothing.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("tt-actors-").tempdir().unwrap() }
    }

    /// A workbench in memory where there is room for `bytes`, else in the usual place: no test measures the disk.
    pub(crate) fn roomy(needs: &[Needs], bytes: u64) -> Option<Self> {
        let lab = Self::with(needs)?;
        let shm = Path::new("/dev/shm");
        let free = rustix::fs::statvfs(shm).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
        if free < bytes * 2 {
            return Some(lab);
        }
        Some(Self { dir: tempfile::Builder::new().prefix("tt-actors-").tempdir_in(shm).unwrap() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it, not yet made.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A folder in it, made.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

/// Held by tests that move gigabytes or measure: one of them at a time, in all test processes of this target folder.
pub(crate) fn heavy() -> File {
    let turn = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("heavy.lock")).unwrap();
    // Closing the file gives the lock up, also when the test fails.
    turn.lock().unwrap();
    turn
}

/// A Python that can import libtorrent: `TT_PYTHON`, the path's, the system's.
pub(crate) fn python() -> Option<&'static str> {
    static FOUND: OnceLock<Option<String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let own = std::env::var("TT_PYTHON").ok();
        let candidates = own.into_iter().chain(["python3".to_owned(), "/usr/bin/python3".to_owned()]);
        candidates.into_iter().find(|python| {
            let mut command = Command::new(python);
            command.args(["-W", "ignore", "-c", "import libtorrent"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        })
    });
    found.as_deref()
}

/// Whether the program can be started at all; its exit code is its own affair.
fn answers(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Root in a container may still lack the right to mount.
fn can_mount() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let lab = Lab::new();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tt-actors"]).arg(lab.path()).status();
        let mounted = mount.is_ok_and(|status| status.success());
        if mounted {
            Command::new("umount").arg(lab.path()).status().unwrap();
        }
        mounted
    })
}
