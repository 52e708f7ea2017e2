//! The fixture of a scene: a folder, a torrent with peers around it, random numbers, and the report that it fills.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;

use super::fetch::{ClientRun, Fetch, RunningFetch, Tampering};
use super::record;
use super::syscall_faults::SyscallFaults;
use crate::faults::folder::ScratchFolder;
use crate::faults::harness::{Harness, PeerHandle};
use crate::faults::payload::Payload;
use crate::faults::referee::{files_of, judge_bytes, judge_ending, judge_folder};
use crate::faults::scenario::{RefereeVerdict, ScenarioReport};
use crate::faults::torrent::{Offer, Recipe};

/// 64 pieces of 64 KiB and a little more: enough data behind every injected fault, and hashed quickly even by a debug
/// build.
pub const LEN: u64 = 4 * MIB + 321;
/// Length of a piece, in bytes.
pub const PIECE: u32 = 64 * 1024;
/// 1 MiB, in bytes.
pub const MIB: u64 = 1 << 20;

/// Why a scene ends early.
#[derive(Debug)]
pub enum SceneFailure {
    /// An invariant broke: the verdict of the referee.
    Verdict(RefereeVerdict),
    /// This machine did not do what the harness needs.
    Machine(io::Error),
}

impl From<io::Error> for SceneFailure {
    fn from(error: io::Error) -> Self {
        Self::Machine(error)
    }
}

impl From<RefereeVerdict> for SceneFailure {
    fn from(verdict: RefereeVerdict) -> Self {
        Self::Verdict(verdict)
    }
}

/// The result of a scene: `Ok` if everything held.
pub type SceneResult = Result<(), SceneFailure>;

/// The surroundings of one run of a scene.
#[derive(Debug)]
pub struct HostFixture<'a> {
    folder: ScratchFolder,
    /// The peers and trackers.
    pub harness: Harness,
    /// The torrent as its peers hold it. Only its numbers are used here.
    pub offer: Offer,
    /// The path of the .torrent, which has no trackers.
    pub torrent: PathBuf,
    /// The files of the torrent: paths below the output folder, and lengths in bytes.
    pub files: Vec<(PathBuf, u64)>,
    /// The output folder.
    pub out: PathBuf,
    /// The source of all random numbers of the scene.
    pub dice: SmallRng,
    program: &'a Path,
    report: &'a mut ScenarioReport,
    logs: Cell<u32>,
}

impl<'a> HostFixture<'a> {
    /// Makes a fixture with a torrent of one file of [`LEN`] bytes.
    pub fn new(program: &'a Path, report: &'a mut ScenarioReport) -> io::Result<Self> {
        let name = "payload.bin";
        Self::of(Recipe::single(name, PIECE, &[]), LEN, program, report)
    }

    /// Makes a fixture with this torrent of `len` bytes.
    pub fn of(recipe: Recipe, len: u64, program: &'a Path, report: &'a mut ScenarioReport) -> io::Result<Self> {
        let payload = Payload::new(report.seed, len);
        let folder = ScratchFolder::new(None, false)?;
        let made = recipe.make(payload).map_err(io::Error::other)?;
        let files = files_of(&recipe, payload);
        let harness = Harness::new(recipe, payload)?;
        let torrent = harness.write_torrent(folder.path(), Vec::new())?;
        let out = folder.path().join("out");
        std::fs::create_dir(&out)?;
        let dice = SmallRng::seed_from_u64(report.seed);
        Ok(Self { offer: made.offer, folder, harness, torrent, files, out, dice, program, report, logs: Cell::new(0) })
    }

    /// Returns a path beside the output folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a peer with this behaviour; an empty one is an honest seed.
    pub fn source(&mut self, words: &str) -> io::Result<PeerHandle> {
        let host = self.harness.host(self.dice.random_range(2..=254));
        self.harness.peer(host, words, self.report.seed)
    }

    /// Returns the client's command line for the torrent, to be extended and started.
    pub fn fetch(&self) -> Fetch {
        self.fetch_of(&self.torrent)
    }

    /// Returns the client's command line for another torrent.
    pub fn fetch_of(&self, torrent: &Path) -> Fetch {
        Fetch::new(self.program, torrent, &self.out, self.log())
    }

    fn log(&self) -> PathBuf {
        let number = self.logs.replace(self.logs.get() + 1);
        self.beside(&format!("strace-{number}"))
    }

    /// Starts a fetch and waits until it has this many bytes.
    pub fn started(&mut self, fetch: Fetch, bytes: u64) -> Result<RunningFetch, SceneFailure> {
        let mut fetch = fetch.start()?;
        let has_part = fetch.has(bytes)?;
        self.check("I3", has_part, || format!("it never had {bytes} B"))?;
        Ok(fetch)
    }

    /// Attaches strace to a running client.
    pub fn tamper(&self, with: &RunningFetch, faults: &SyscallFaults) -> io::Result<Tampering> {
        Tampering::start(faults, with, self.log())
    }

    /// Detaches strace, which heals the fault. Fails if nothing was injected.
    pub fn heal(&mut self, tampering: Tampering) -> SceneResult {
        let faults = tampering.end()?;
        let is_done = !faults.is_empty();
        self.count(&faults);
        if is_done { Ok(()) } else { Err(never_injected()) }
    }

    /// Runs a fetch and stops it with SIGINT when a part is there. Returns the number of bytes that it had.
    pub fn stopped(&mut self) -> Result<u64, SceneFailure> {
        let source = self.source("max_rate=2M")?;
        let fetch = self.started(self.fetch().from(source.addr), 1)?;
        fetch.signal(Signal::TERM)?;
        let run = fetch.finish()?;
        self.ended(&run, 7)?;
        self.harness.stop_peer(&source)?;
        Ok(run.number("bytes_have"))
    }

    /// Runs the same command line again, without faults. It must complete.
    pub fn heals(&mut self) -> Result<ClientRun, SceneFailure> {
        let source = self.source("")?;
        let run = self.fetch().from(source.addr).run()?;
        self.complete(&run)?;
        Ok(run)
    }

    /// Returns the path of the data file of a single-file torrent.
    pub fn data(&self) -> PathBuf {
        self.files.first().map(|(path, _)| self.out.join(path)).unwrap_or_default()
    }

    /// Returns the path of the temporary file that becomes the newest record.
    pub fn new_record(&self) -> PathBuf {
        record::newest(&self.out, &self.offer).with_extension("resume.new")
    }

    /// I1: returns how many pieces the records claim; all of them must be there. Not judged where the client had to
    /// rename files, because the referee does not know its rules for that.
    pub fn claimed(&mut self) -> Result<u32, SceneFailure> {
        if self.files.is_empty() {
            return Ok(0);
        }
        let claimed = record::judge(&self.out, &self.files, &self.offer, self.harness.payload())?;
        self.note("pieces on record", u64::from(claimed));
        Ok(claimed)
    }

    /// Checks that a run ended with 0, that exactly the torrent's files are there, and that the record is true.
    pub fn complete(&mut self, run: &ClientRun) -> SceneResult {
        self.ended(run, 0)?;
        self.whole()
    }

    /// Checks that exactly the torrent's files are there, and that the record is true.
    pub fn whole(&mut self) -> SceneResult {
        let payload = self.harness.payload();
        let wrong = judge_bytes(&self.out, &self.files, payload).or_else(|| judge_folder(&self.out, &self.files));
        match wrong {
            Some(verdict) => Err(verdict.into()),
            None => self.claimed().map(drop),
        }
    }

    /// Checks that a run ended with this code and without a panic, and that the record is true.
    pub fn ended(&mut self, run: &ClientRun, code: i32) -> SceneResult {
        self.take_in(run);
        if let Some(verdict) = judge_ending(&run.finished, Some(code - 128)) {
            return Err(verdict.into());
        }
        if run.late {
            let how = format!("still running after {:?}; it last said: {}", run.finished.took, run.last_words());
            return Err(RefereeVerdict::NotLive(how).into());
        }
        let got = run.finished.code();
        self.check("I4", got == code, || format!("exit code {got}, {code} is due: {}", run.last_words()))?;
        let panics = run.output.number("panics").unwrap_or(0);
        self.check("I4", panics == 0, || format!("{panics} panics"))?;
        self.claimed().map(drop)
    }

    /// I10: checks that the error of a run contains these words.
    pub fn error_names(&mut self, run: &ClientRun, words: &[&str]) -> SceneResult {
        let error = run.error();
        words.iter().try_for_each(|word| {
            self.check("I10", error.contains(word), || format!("its error does not say `{word}`: {error}"))
        })
    }

    /// I10: checks that one line of the log contains all these words.
    pub fn log_names(&mut self, run: &ClientRun, words: &[&str]) -> SceneResult {
        let is_said = run.finished.err.iter().any(|line| words.iter().all(|word| line.contains(word)));
        self.check("I10", is_said, || format!("no line of the log says {words:?}"))
    }

    /// Checks that strace injected something into the run.
    pub fn injected(&mut self, run: &ClientRun) -> SceneResult {
        let is_done = !run.faults.is_empty() || run.finished.code() == 137;
        if is_done { Ok(()) } else { Err(never_injected()) }
    }

    /// Checks a condition of an invariant.
    pub fn check(&mut self, invariant: &'static str, holds: bool, how: impl FnOnce() -> String) -> SceneResult {
        if holds { Ok(()) } else { Err(RefereeVerdict::Broke { invariant, how: how() }.into()) }
    }

    /// Puts a figure into the report; the largest value counts.
    pub fn note(&mut self, what: &str, figure: u64) {
        let noted = self.report.observed.entry(what.to_owned()).or_default();
        *noted = figure.max(*noted);
    }

    /// Counts a fault that strace did not inject.
    pub fn inject(&mut self, what: &str) {
        *self.report.injected.entry(what.to_owned()).or_default() += 1;
    }

    /// Adds the figures of a run to the report.
    pub fn take_in(&mut self, run: &ClientRun) {
        self.count(&run.faults);
        for (restart, count) in run.output.restarts() {
            *self.report.restarts.entry(restart).or_default() += count;
        }
        *self.report.observed.entry("runs".to_owned()).or_default() += 1;
    }

    fn count(&mut self, faults: &BTreeMap<String, u64>) {
        for (fault, count) in faults {
            *self.report.injected.entry(fault.clone()).or_default() += count;
        }
    }
}

/// The failure for a fault that was never injected: such a run proves nothing.
fn never_injected() -> SceneFailure {
    SceneFailure::Machine(io::Error::other("strace injected nothing"))
}
