//! Faults that strace injects into the system calls of the client: they fail, wait, are interrupted, or end the
//! process.
//!
//! It builds strace's command line and counts what strace did. strace counts calls by thread: "the third write" is the
//! third one of each thread. It knows no torrents.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which calls are affected, counted from 1 in each thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Every call.
    Always,
    /// This call only.
    Nth(u32),
    /// This call and all later ones.
    From(u32),
    /// The call of the first number, then every further one after as many calls as the second number says.
    Every(u32, u32),
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("1+"),
            Self::Nth(nth) => write!(f, "{nth}"),
            Self::From(nth) => write!(f, "{nth}+"),
            Self::Every(first, step) => write!(f, "{first}+{step}"),
        }
    }
}

/// A set of injections.
#[derive(Debug, Clone, Default)]
pub struct SyscallFaults {
    calls: Vec<&'static str>,
    injections: Vec<String>,
    only: Vec<PathBuf>,
    kills: bool,
    paths: bool,
}

impl SyscallFaults {
    /// These calls (names as strace has them, separated by commas) fail with this error and have no effect.
    #[must_use]
    pub fn fail(self, calls: &'static str, errno: &str, when: When) -> Self {
        self.inject(calls, &format!("error={errno}"), when)
    }

    /// These calls return this value and have no effect.
    #[must_use]
    pub fn answer(self, calls: &'static str, value: u64, when: When) -> Self {
        self.inject(calls, &format!("retval={value}"), when)
    }

    /// These calls take this much longer.
    #[must_use]
    pub fn delay(self, calls: &'static str, by: Duration, when: When) -> Self {
        self.inject(calls, &format!("delay_enter={}", by.as_micros()), when)
    }

    /// The process is killed in front of this call.
    #[must_use]
    pub fn kill(mut self, calls: &'static str, nth: u32) -> Self {
        self.kills = true;
        self.inject(calls, "signal=KILL", When::Nth(nth))
    }

    /// These calls are recorded with the paths of their files, and not changed.
    #[must_use]
    pub fn watch(mut self, calls: &'static str) -> Self {
        self.calls.push(calls);
        self.paths = true;
        self
    }

    /// Only calls on these files are affected.
    #[must_use]
    pub fn only(mut self, path: PathBuf) -> Self {
        self.only.push(path);
        self
    }

    fn inject(mut self, calls: &'static str, what: &str, when: When) -> Self {
        self.calls.push(calls);
        self.injections.push(format!("inject={calls}:{what}:when={when}"));
        self
    }

    /// Returns the words in front of the client's command. strace writes what it does to `log`.
    pub fn words(&self, log: &Path) -> Vec<OsString> {
        let mut words = self.options(log);
        if !self.kills {
            // With this option only the affected calls stop the client. strace 6.1 delivers no signal with it.
            words.push("--seccomp-bpf".into());
        }
        words.extend(["-qq".into(), "--".into()]);
        words
    }

    /// Returns the command that injects the faults into a running process until the command is ended. It prints a line
    /// when it has attached.
    pub fn words_for(&self, process: u32, log: &Path) -> Vec<OsString> {
        let mut words = self.options(log);
        words.extend(["-p".into(), process.to_string().into()]);
        words
    }

    fn options(&self, log: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["strace", "-f", "-e", "signal=none"].map(Into::into).into();
        words.extend(["-e".into(), format!("trace={}", self.calls.join(",")).into()]);
        for injection in &self.injections {
            words.extend(["-e".into(), injection.into()]);
        }
        for path in &self.only {
            words.extend(["-P".into(), path.into()]);
        }
        if self.paths {
            words.push("-y".into());
        }
        words.extend(["-o".into(), log.into()]);
        words
    }
}

/// Counts what strace injected: the kind, such as `pwritev ENOSPC`, and how often.
pub fn tally(log: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in log.lines() {
        if let Some(fault) = fault_of(line) {
            *counts.entry(fault).or_default() += 1;
        }
    }
    counts
}

/// Returns the injected fault in a line such as
/// `12 pwritev(3, [..], 1, 0) = -1 ENOSPC (No space left on device) (INJECTED)`, or in the second part of a split line.
fn fault_of(line: &str) -> Option<String> {
    let (_thread, said) = line.split_once(' ')?;
    let call = match said.trim_start().strip_prefix("<... ") {
        Some(resumed) => resumed.split(' ').next()?,
        None => said.trim_start().split('(').next()?,
    };
    let (_, result) = line.rsplit_once(" = ")?;
    if line.ends_with("(DELAYED)") {
        return Some(format!("{call} delayed"));
    }
    let injected = result.strip_suffix("(INJECTED)")?;
    let mut words = injected.split_whitespace();
    let fault = match (words.next()?, words.next()) {
        ("-1", Some(errno)) => errno.to_owned(),
        (value, _) => format!("answers {value}"),
    };
    Some(format!("{call} {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn injections_become_words() {
        let faults = SyscallFaults::default()
            .fail("pwritev", "ENOSPC", When::From(3))
            .delay("fdatasync", Duration::from_millis(2), When::Always)
            .only("/x/y".into());
        let words: Vec<_> = faults.words(Path::new("/log")).into_iter().map(|w| w.into_string().unwrap()).collect();
        let options = "strace -f -e signal=none -e trace=pwritev,fdatasync -e inject=pwritev:error=ENOSPC:when=3+ \
            -e inject=fdatasync:delay_enter=2000:when=1+ -P /x/y -o /log";
        assert_eq!(words.join(" "), format!("{options} --seccomp-bpf -qq --"));
        let words: Vec<_> =
            faults.words_for(7, Path::new("/log")).into_iter().map(|w| w.into_string().unwrap()).collect();
        assert_eq!(words.join(" "), format!("{options} -p 7"));
        let killing = SyscallFaults::default().kill("rename", 2).words(Path::new("/log"));
        assert!(!killing.contains(&"--seccomp-bpf".into()), "{killing:?}");
        assert!(killing.contains(&"inject=rename:signal=KILL:when=2".into()), "{killing:?}");
    }

    #[test]
    fn injected_faults_are_counted() {
        let log = "\
7 pwritev(3, [{iov_base=\"(x = 1) \", iov_len=10}], 1, 0) = 10
7 pwritev(3, [{iov_base=\"x\", iov_len=10}], 1, 0) = -1 ENOSPC (No space left on device) (INJECTED)
8 <... pwritev resumed>)            = -1 ENOSPC (No space left on device) (INJECTED)
8 pread64(4, \"\", 100, 0)          = 0 (INJECTED)
9 fdatasync(4 <unfinished ...>
9 <... fdatasync resumed>)          = 0 (DELAYED)
9 write(4, \"a\", 1)                = -1 EIO (Input/output error)
9 +++ killed by SIGKILL +++
";
        let counts: Vec<_> = tally(log).into_iter().collect();
        let want = [("fdatasync delayed", 1), ("pread64 answers 0", 1), ("pwritev ENOSPC", 2)];
        assert_eq!(counts, want.map(|(fault, count)| (fault.to_owned(), count)));
    }
}
