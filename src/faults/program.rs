//! A client as a black box: a command line with blanks to fill in, started without a shell and watched from outside.
//!
//! It knows processes and what Linux reports about them; it knows no torrents. It waits on the channel that brings the
//! program's lines, so that it never sleeps.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::Instant;

/// 10 ms between two checks of what sends no line: memory, descriptors, the end.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(10);

/// 64 MiB of each stream are kept and the rest is discarded: ten times what a verbose client prints in a minute.
const MAX_KEPT: usize = 64 << 20;

/// 1 MiB: a longer line is cut into pieces.
const MAX_LINE: u64 = 1 << 20;

/// `USER_HZ`, the unit of processor time in `/proc`: 100 on all Linux machines of today.
const TICKS_A_SECOND: u64 = 100;

/// 5 s to read the last lines of a program that has ended: its children may still hold its streams.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A command line with `{torrent}`, `{dir}` and `{port}` to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// As it was written.
    text: String,
    words: Vec<String>,
}

/// The error for a text that is not a command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// The text is empty.
    #[error("no program is named")]
    Empty,
    /// A quotation mark is never closed.
    #[error("a {0} is never closed")]
    Unclosed(char),
    /// `{torrent}` is missing.
    #[error("the command line does not say {{torrent}}, so it could not know what to fetch")]
    NoTorrent,
}

impl FromStr for Template {
    type Err = BadTemplate;

    /// Splits the text at blanks; `'..'`, `".."` and `\` quote. There is no shell.
    fn from_str(text: &str) -> Result<Self, BadTemplate> {
        let words = split(text)?;
        if words.is_empty() {
            return Err(BadTemplate::Empty);
        }
        if !words.iter().any(|word| word.contains("{torrent}")) {
            return Err(BadTemplate::NoTorrent);
        }
        Ok(Self { text: text.to_owned(), words })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Template {
    /// Makes a template of words that are already split.
    pub fn of_words<W: AsRef<str>>(words: &[W]) -> Self {
        let words: Vec<String> = words.iter().map(|word| word.as_ref().to_owned()).collect();
        Self { text: words.join(" "), words }
    }

    /// Returns the command with its blanks filled in.
    pub fn command(&self, torrent: &Path, dir: &Path, port: u16) -> Command {
        let port = port.to_string();
        let blanks = [("{torrent}", torrent.as_os_str()), ("{dir}", dir.as_os_str()), ("{port}", OsStr::new(&port))];
        let mut words = self.words.iter().map(|word| fill(word, &blanks));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }
}

fn fill(word: &str, blanks: &[(&str, &OsStr)]) -> OsString {
    let mut out = Vec::new();
    let mut rest = word;
    while let Some((at, name, value)) =
        blanks.iter().filter_map(|(name, value)| Some((rest.find(name)?, name, value))).min_by_key(|(at, ..)| *at)
    {
        let (before, after) = rest.split_at(at);
        out.extend(before.as_bytes());
        out.extend(value.as_encoded_bytes());
        rest = after.strip_prefix(name).unwrap_or_default();
    }
    out.extend(rest.as_bytes());
    OsString::from_vec(out)
}

fn split(text: &str) -> Result<Vec<String>, BadTemplate> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' | '"' => {
                let quoted = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or(BadTemplate::Unclosed(letter))? {
                        end if end == letter => break,
                        '\\' if letter == '"' => quoted.extend(letters.next()),
                        other => quoted.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(letters.next()),
            blank if blank.is_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// What a program has used up so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Peak resident memory, in KiB.
    pub peak_kib: u64,
    /// Largest number of open descriptors.
    pub descriptors: usize,
    /// Processor time, user and system.
    pub cpu: Duration,
}

/// What is known of a program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Lines of standard output.
    pub out: Vec<String>,
    /// Lines of standard error.
    pub err: Vec<String>,
    /// What it used up.
    pub usage: Usage,
    /// The time from its start to its end.
    pub took: Duration,
}

impl Finished {
    /// Returns the exit code; 128 + n if signal n ended it, as a shell reports it.
    pub fn code(&self) -> i32 {
        self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
    }
}

#[derive(Debug)]
enum Line {
    Out(String),
    Err(String),
}

/// A running program, in a process group of its own. When this value is dropped, the whole group is killed.
#[derive(Debug)]
pub struct ClientProgram {
    child: Child,
    lines: Receiver<Line>,
    /// A sender that keeps the channel open: receiving from a closed channel would not wait.
    _hold: Sender<Line>,
    readers: usize,
    started: Instant,
    /// Lines of standard output so far.
    pub out: Vec<String>,
    /// Lines of standard error so far.
    pub err: Vec<String>,
    usage: Usage,
}

impl ClientProgram {
    /// Starts it without standard input. Both outputs are read all the time.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy();
            io::Error::new(error.kind(), format!("cannot start {program}: {error}"))
        })?;
        let (tell, lines) = channel();
        let mut readers = 0;
        if let Some(out) = child.stdout.take() {
            read_lines(out, tell.clone(), Line::Out)?;
            readers += 1;
        }
        if let Some(err) = child.stderr.take() {
            read_lines(err, tell.clone(), Line::Err)?;
            readers += 1;
        }
        let (out, err) = (Vec::new(), Vec::new());
        Ok(Self { child, lines, _hold: tell, readers, started: Instant::now(), out, err, usage: Usage::default() })
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the time since its start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns what it has used up so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Sends a signal to the process itself, not to its group.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Returns how it ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.look();
        self.child.try_wait()
    }

    /// Waits until `wanted` returns a value for a line of either stream. Returns `None` when the time is up or the
    /// program has ended.
    pub fn wait_for<T>(&mut self, limit: Duration, mut wanted: impl FnMut(&str) -> Option<T>) -> io::Result<Option<T>> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.ended()?.is_some();
            while let Some(line) = self.next_line((Instant::now() + SAMPLE_INTERVAL).min(deadline)) {
                if let Some(found) = wanted(&line) {
                    return Ok(Some(found));
                }
            }
            if ended || Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    /// Reads and samples for this long, or until it ends. Returns how it ended, if it has.
    pub fn watch(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            let look = (Instant::now() + SAMPLE_INTERVAL).min(deadline);
            while self.next_line(look).is_some() {}
        }
    }

    /// Waits for its end. When `limit` has passed, the whole process group is killed.
    pub fn finish(mut self, limit: Duration) -> io::Result<Finished> {
        let status = if let Some(status) = self.watch(limit)? {
            status
        } else {
            kill_process_group(Pid::from_child(&self.child), Signal::KILL)?;
            self.child.wait()?
        };
        let took = self.started.elapsed();
        let rest = Instant::now() + LAST_WORDS;
        while self.readers > 0 && Instant::now() < rest {
            self.next_line(rest);
        }
        let (out, err) = (std::mem::take(&mut self.out), std::mem::take(&mut self.err));
        Ok(Finished { status, out, err, usage: self.usage, took })
    }

    /// Stores and returns the next line that comes before the deadline. An empty batch is not a line.
    fn next_line(&mut self, deadline: Instant) -> Option<String> {
        loop {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
            let (kept, text) = match line {
                Line::Out(text) => (&mut self.out, text),
                Line::Err(text) => (&mut self.err, text),
            };
            if text == END {
                self.readers -= 1;
                if self.readers == 0 {
                    return None;
                }
                continue;
            }
            kept.push(text.clone());
            return Some(text);
        }
    }

    fn look(&mut self) {
        let id = self.child.id();
        if !is_begun(id) {
            return;
        }
        if let Some(kib) = peak_kib(id) {
            self.usage.peak_kib = self.usage.peak_kib.max(kib);
        }
        if let Ok(open) = std::fs::read_dir(format!("/proc/{id}/fd")) {
            self.usage.descriptors = self.usage.descriptors.max(open.count());
        }
        if let Some(cpu) = cpu(id) {
            self.usage.cpu = self.usage.cpu.max(cpu);
        }
    }
}

impl Drop for ClientProgram {
    fn drop(&mut self) {
        // Usually the group is gone already. Children of the program may have outlived it.
        let killed = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        tracing::trace!(?killed, "the program's group");
        drop(self.child.wait());
    }
}

/// What a reader sends when its stream is closed; no line ends with a line feed.
const END: &str = "\n";

fn read_lines(stream: impl Read + Send + 'static, tell: Sender<Line>, wrap: fn(String) -> Line) -> io::Result<()> {
    let body = move || {
        let mut stream = BufReader::new(stream);
        let mut kept = 0;
        let mut line = Vec::new();
        while (&mut stream).take(MAX_LINE).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            kept += line.len();
            let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
            line.clear();
            if kept <= MAX_KEPT && tell.send(wrap(text)).is_err() {
                return;
            }
        }
        drop(tell.send(wrap(END.to_owned())));
    };
    std::thread::Builder::new().name("reader".to_owned()).spawn(body).map(drop)
}

/// Tells whether the child has replaced our image. `spawn` returns when the child has memory of its own; the kernel
/// closes the descriptors that it inherited after that. Once its command line can be read, they are closed.
fn is_begun(id: u32) -> bool {
    std::fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// Returns `VmHWM`, the peak of resident memory, in KiB.
fn peak_kib(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    high.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Returns the user and system time so far (`proc_pid_stat(5)`: fields 14 and 15; the third field is the first behind
/// the name).
fn cpu(id: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields = stat.rsplit_once(") ")?.1.split(' ').skip(14 - 3);
    let ticks: u64 = fields.take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(ticks * 1000 / TICKS_A_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_as_a_shell_would_and_never_given_to_one() {
        let table: [(&str, Result<&[&str], BadTemplate>); 9] = [
            ("a {torrent}", Ok(&["a", "{torrent}"])),
            ("  a   b{torrent} ", Ok(&["a", "b{torrent}"])),
            ("'a b' \"c 'd'\" {torrent}", Ok(&["a b", "c 'd'", "{torrent}"])),
            ("a\\ b \"c\\\"d\" '' {torrent}", Ok(&["a b", "c\"d", "", "{torrent}"])),
            ("a $(b);c&|{torrent}", Ok(&["a", "$(b);c&|{torrent}"])),
            ("", Err(BadTemplate::Empty)),
            ("a 'b", Err(BadTemplate::Unclosed('\''))),
            ("a \"b {torrent}", Err(BadTemplate::Unclosed('"'))),
            ("a b", Err(BadTemplate::NoTorrent)),
        ];
        for (text, want) in table {
            let words = text.parse::<Template>().map(|template| template.words);
            assert_eq!(words, want.map(|words| words.iter().map(|word| (*word).to_owned()).collect()), "{text}");
        }
    }

    #[test]
    fn blanks_are_filled_in_once() {
        let template: Template = "x --port={port}{port} -d {dir} {torrent}".parse().unwrap();
        let command = template.command(Path::new("/{dir} t"), Path::new("/d"), 7);
        let args: Vec<_> = command.get_args().map(|arg| arg.to_str().unwrap()).collect();
        assert_eq!((command.get_program(), &args[..]), (OsStr::new("x"), &["--port=77", "-d", "/d", "/{dir} t"][..]));
    }

    fn shell(script: &str) -> ClientProgram {
        ClientProgram::start(Command::new("sh").args(["-c", script])).unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_a_program_says_and_how_it_ends_is_noted() {
        let done = shell("echo one; echo two >&2; exit 3").finish(LONG).unwrap();
        assert_eq!((done.code(), done.out, done.err), (3, vec!["one".to_owned()], vec!["two".to_owned()]));
        let done = shell("kill -SEGV $$").finish(LONG).unwrap();
        assert_eq!(done.code(), 128 + 11);
    }

    #[test]
    fn a_line_is_waited_for_and_an_end_ends_the_wait() {
        let mut program = shell("echo ready; read nothing; exec sleep 600");
        assert_eq!(program.wait_for(LONG, |line| (line == "ready").then_some(7)).unwrap(), Some(7));
        program.signal(Signal::TERM).unwrap();
        assert_eq!(program.wait_for(LONG, |_| None::<()>).unwrap(), None);
        assert_eq!(program.finish(LONG).unwrap().code(), 128 + 15);
    }

    #[test]
    fn a_program_that_runs_too_long_is_killed_with_its_children() {
        let done = shell("sleep 600 & sleep 600").finish(Duration::from_millis(50)).unwrap();
        assert_eq!(done.code(), 128 + 9);
    }

    #[test]
    fn memory_descriptors_and_time_are_measured() {
        let mut program = shell("exec 9</dev/null; echo ready; while :; do :; done");
        program.wait_for(LONG, |line| (line == "ready").then_some(())).unwrap();
        let deadline = Instant::now() + LONG;
        while program.usage().cpu < Duration::from_millis(50) {
            assert!(Instant::now() < deadline, "{:?}", program.usage());
            program.watch(SAMPLE_INTERVAL).unwrap();
        }
        let usage = program.usage();
        assert!(usage.peak_kib > 100 && usage.descriptors >= 4, "{usage:?}");
    }

    /// `N-01.cut` seed 17 counted 822 descriptors of a client that had 17; the others were those of the harness.
    #[test]
    fn descriptors_of_the_harness_are_not_counted() {
        let ours: Vec<_> = (0..300).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        for _ in 0..100 {
            let done = shell("exit").finish(LONG).unwrap();
            assert!(done.usage.descriptors < 50, "{:?} with {} of ours", done.usage, ours.len());
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let why = ClientProgram::start(&mut Command::new("/nowhere/client")).unwrap_err().to_string();
        assert!(why.starts_with("cannot start /nowhere/client: "), "{why}");
    }
}
