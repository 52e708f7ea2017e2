//! What a scene stands on: a folder, a torrent with sources around it, dice, and the report that it fills.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;

use super::fetch::{ClientRun, Fetch, Fetching, Tampering};
use super::record;
use super::syscall_faults::SyscallFaults;
use crate::faults::folder::ScratchFolder;
use crate::faults::harness::{Harness, PeerSeen};
use crate::faults::payload::Payload;
use crate::faults::referee::{files_of, judge_bytes, judge_ending, judge_folder};
use crate::faults::scenario::{RefereeVerdict, ScenarioReport};
use crate::faults::torrent::{Offer, Recipe};

/// 64 pieces of 64 KiB and a little: enough for every sweep to have something behind the fault, little enough to be
/// hashed by a debug build in no time.
pub const LEN: u64 = 4 * MIB + 321;
/// Bytes in a piece.
pub const PIECE: u32 = 64 * 1024;
/// Bytes.
pub const MIB: u64 = 1 << 20;

/// Why a scene does not go on.
#[derive(Debug)]
pub enum Fall {
    /// The referee has seen enough.
    Verdict(RefereeVerdict),
    /// The machine did not do what the harness asked of it.
    Machine(io::Error),
}

impl From<io::Error> for Fall {
    fn from(error: io::Error) -> Self {
        Self::Machine(error)
    }
}

impl From<RefereeVerdict> for Fall {
    fn from(verdict: RefereeVerdict) -> Self {
        Self::Verdict(verdict)
    }
}

/// How a scene ends; without a fall everything held.
pub type Played = Result<(), Fall>;

/// See the head of the file.
#[derive(Debug)]
pub struct HostFixture<'a> {
    folder: ScratchFolder,
    /// The cast.
    pub harness: Harness,
    /// What is fetched, as its peers have it; only its numbers are used here.
    pub offer: Offer,
    /// The .torrent, without trackers.
    pub torrent: PathBuf,
    /// Its files, below the output folder.
    pub files: Vec<(PathBuf, u64)>,
    /// The output folder.
    pub out: PathBuf,
    /// All dice of the scene.
    pub dice: SmallRng,
    program: &'a Path,
    report: &'a mut ScenarioReport,
    logs: Cell<u32>,
}

impl<'a> HostFixture<'a> {
    /// One file of [`LEN`] bytes.
    pub fn new(program: &'a Path, report: &'a mut ScenarioReport) -> io::Result<Self> {
        let name = "payload.bin";
        Self::of(Recipe::single(name, PIECE, &[]), LEN, program, report)
    }

    /// Another torrent of so many bytes.
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

    /// A path beside the output folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An honest source, whom the words make slower or less honest.
    pub fn source(&mut self, words: &str) -> io::Result<PeerSeen> {
        let host = self.harness.host(self.dice.random_range(2..=254));
        self.harness.peer(host, words, self.report.seed)
    }

    /// The client's command line, to be finished and started.
    pub fn fetch(&self) -> Fetch {
        self.fetch_of(&self.torrent)
    }

    /// The same for another torrent.
    pub fn fetch_of(&self, torrent: &Path) -> Fetch {
        Fetch::new(self.program, torrent, &self.out, self.log())
    }

    fn log(&self) -> PathBuf {
        let number = self.logs.replace(self.logs.get() + 1);
        self.beside(&format!("strace-{number}"))
    }

    /// Begins to tamper with a client that runs.
    pub fn tamper(&self, with: &Fetching, meddling: &SyscallFaults) -> io::Result<Tampering> {
        Tampering::start(meddling, with, self.log())
    }

    /// Ends it: the fault is healed.
    pub fn heal(&mut self, tampering: Tampering) -> Played {
        let faults = tampering.end()?;
        let is_done = !faults.is_empty();
        self.count(&faults);
        if is_done { Ok(()) } else { Err(never_injected()) }
    }

    /// Stops it in good order when a part is there; how many bytes.
    pub fn stopped(&mut self) -> Result<u64, Fall> {
        let source = self.source("max_rate=2M")?;
        let mut fetch = self.fetch().from(source.addr).start()?;
        let has_part = fetch.has(1)?;
        self.check("I3", has_part, || "no byte ever came".to_owned())?;
        fetch.signal(Signal::TERM)?;
        let run = fetch.finish()?;
        self.ended(&run, 7)?;
        self.harness.dismiss_peer(&source)?;
        Ok(run.number("bytes_have"))
    }

    /// The same command line once more, with nothing in its way: it has to complete.
    pub fn heals(&mut self) -> Result<ClientRun, Fall> {
        let source = self.source("")?;
        let run = self.fetch().from(source.addr).run()?;
        self.complete(&run)?;
        Ok(run)
    }

    /// The data file of a torrent that has one.
    pub fn data(&self) -> PathBuf {
        self.files.first().map(|(path, _)| self.out.join(path)).unwrap_or_default()
    }

    /// The file that becomes the newest record.
    pub fn new_record(&self) -> PathBuf {
        record::newest(&self.out, &self.offer).with_extension("resume.new")
    }

    /// I1: how many pieces the records call had, all of which have to be there. Not judged where the client had to rename
    /// files, and the referee does not know how.
    pub fn claimed(&mut self) -> Result<u32, Fall> {
        if self.files.is_empty() {
            return Ok(0);
        }
        let claimed = record::judge(&self.out, &self.files, &self.offer, self.harness.payload())?;
        self.note("pieces on record", u64::from(claimed));
        Ok(claimed)
    }

    /// It ended with 0, everything is there and nothing else, and the record is true.
    pub fn complete(&mut self, run: &ClientRun) -> Played {
        self.ended(run, 0)?;
        self.whole()
    }

    /// What is there is the torrent's, all of it, and the record is true.
    pub fn whole(&mut self) -> Played {
        let payload = self.harness.payload();
        let wrong = judge_bytes(&self.out, &self.files, payload).or_else(|| judge_folder(&self.out, &self.files));
        match wrong {
            Some(verdict) => Err(verdict.into()),
            None => self.claimed().map(drop),
        }
    }

    /// It ended with this code and did not panic, and the record is true.
    pub fn ended(&mut self, run: &ClientRun, code: i32) -> Played {
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
        let panics = run.told.number("panics").unwrap_or(0);
        self.check("I4", panics == 0, || format!("{panics} panics"))?;
        self.claimed().map(drop)
    }

    /// I10: its error names what and where.
    pub fn error_names(&mut self, run: &ClientRun, words: &[&str]) -> Played {
        let error = run.error();
        words.iter().try_for_each(|word| {
            self.check("I10", error.contains(word), || format!("its error does not say `{word}`: {error}"))
        })
    }

    /// I10: its log names what and where.
    pub fn log_names(&mut self, run: &ClientRun, words: &[&str]) -> Played {
        let is_said = run.finished.err.iter().any(|line| words.iter().all(|word| line.contains(word)));
        self.check("I10", is_said, || format!("no line of the log says {words:?}"))
    }

    /// What strace was told to do has happened.
    pub fn injected(&mut self, run: &ClientRun) -> Played {
        let is_done = !run.faults.is_empty() || run.finished.code() == 137;
        if is_done { Ok(()) } else { Err(never_injected()) }
    }

    /// A demand of an invariant.
    pub fn check(&mut self, invariant: &'static str, holds: bool, how: impl FnOnce() -> String) -> Played {
        if holds { Ok(()) } else { Err(RefereeVerdict::Broke { invariant, how: how() }.into()) }
    }

    /// A figure for the report; the largest counts.
    pub fn note(&mut self, what: &str, figure: u64) {
        let noted = self.report.observed.entry(what.to_owned()).or_default();
        *noted = figure.max(*noted);
    }

    /// A fault that was not strace's.
    pub fn inject(&mut self, what: &str) {
        *self.report.injected.entry(what.to_owned()).or_default() += 1;
    }

    /// The figures of a run.
    pub fn take_in(&mut self, run: &ClientRun) {
        self.count(&run.faults);
        for (restart, count) in run.told.restarts() {
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

/// A fault that did not happen proves nothing.
fn never_injected() -> Fall {
    Fall::Machine(io::Error::other("strace injected nothing"))
}
