//! `verify`: checks every file and every piece against the .torrent, on all cores.
//!
//! It reads the record and the part file of a fetch, and writes nothing. Data that is not there yet is *incomplete*;
//! data that should be right and is not is *damaged* (`logic::disk::piece_condition`).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use sha1::{Digest, Sha1};

use super::args::VerifyArgs;
use super::exit::{Problem, ProgramExit};
use super::hashing::HashProgress;
use super::output::Output;
use super::selection::select;
use super::{places, source, stop};
use crate::app::descriptors::Descriptors;
use crate::base::geometry::PieceIndex;
use crate::base::safe::Safe;
use crate::codec::metainfo::Metainfo;
use crate::codec::resume::{ResumeRecord, Witness};
use crate::logic::disk::piece_condition::{
    FileCondition, FileFacts, PieceCondition, WrittenRanges, counted, of_wrong_piece,
};
use crate::logic::torrent::selection::WantedPieces;
use crate::storage::check::{Halt, Hasher, data_ranges, every_piece};
use crate::storage::file_entry::specs_of;
use crate::storage::files::StoredFiles;
use crate::storage::folder::OutputFolder;
use crate::storage::part_file::Part;
use crate::storage::record::{FoundRecord, Peek, peek};
use crate::storage::trouble::DiskTrouble;
use crate::storage::whereabouts::is_anything_in;

/// At most 20 numbers of damaged pieces are shown to people; programs get all.
const MOST_NUMBERS: usize = 20;

/// Runs the verb.
pub fn run(args: &VerifyArgs, output: &Output) -> Result<ProgramExit, Problem> {
    let metainfo = source::load(&args.file, args.names.into())?;
    places::must_be_folder(&args.dir)?;
    let folder = OutputFolder::open(&args.dir);
    let folder =
        folder.map_err(|error| Problem::new(ProgramExit::NotFound, format!("{}: {error}", args.dir.display())))?;
    let chosen = select(&args.files, &metainfo)?;
    let record = look_at_state(&args.dir, &metainfo, output);
    let files = StoredFiles::new(folder, specs_of(&metainfo), Descriptors::of_this_process(1, 1).files);
    let files = with_part(files, &metainfo, record.as_ref()).map_err(problem)?;
    let wanted = chosen.as_ref().map_or_else(
        || WantedPieces::everything(&metainfo.info.geometry),
        |chosen| WantedPieces::of_files(&metainfo.info.geometry, files.layout(), chosen),
    );
    let wrong = check(&files, &metainfo, &wanted, output)?;
    let survey = Survey { metainfo: &metainfo, files: &files, record: record.as_ref(), wrong };
    let is_chosen = |file: usize| chosen.as_ref().is_none_or(|chosen| chosen.get(file) == Some(&true));
    let report = survey.report(is_chosen, output).map_err(problem)?;
    if !is_anything_in(&args.dir, &metainfo) {
        output.complain(&places::absent(&args.dir, &metainfo));
    }
    Ok(report.tell(&metainfo, &wanted, output))
}

fn problem(trouble: DiskTrouble) -> Problem {
    Problem::new((&trouble).into(), trouble)
}

/// Returns the record, if there is one that fits the torrent. Shows the process that is working on it.
fn look_at_state(dir: &Path, metainfo: &Metainfo, output: &Output) -> Option<ResumeRecord> {
    let Peek { found, holder } = peek(dir, metainfo.info.info_hash);
    if let Some(process) = holder {
        output.json(&json!({"event": "at_work", "process": process}));
        output.complain(&format!(
            "another tt-actors (process {process}) is at work on this torrent here; what it has not recorded yet counts as missing"
        ));
    }
    let FoundRecord::Record(record, _) = found else { return None };
    let fits = record.pieces == metainfo.info.geometry.piece_count() && record.files.len() == metainfo.info.files.len();
    fits.then_some(*record)
}

/// Returns the files with a part file in front: bytes of missing files come from the part file that a fetch of some
/// files left. So may those of a file that the record calls foreign, if the file in its place is wrong.
fn with_part(
    files: StoredFiles,
    metainfo: &Metainfo,
    record: Option<&ResumeRecord>,
) -> Result<StoredFiles, DiskTrouble> {
    let is_not_ours = |file: usize| record.is_some_and(|record| record.files.get(file) == Some(&Witness::NOT_OURS));
    let (mut held, mut strayed) = (Vec::new(), Vec::new());
    for file in 0..files.specs().len() {
        let is_absent = files.witness(file)?.is_none() && !metainfo.info.files[file].padding;
        held.push(is_absent);
        strayed.push(!is_absent && is_not_ours(file));
    }
    let part = Part::new((metainfo.info.info_hash, metainfo.info.geometry, files.layout()), held, strayed);
    Ok(files.with_part((part.is_needed() || part.has_strays()).then_some(part)))
}

/// A piece whose hash is wrong with the bytes of its files.
#[derive(Debug, Clone, Copy)]
struct Wrong {
    piece: PieceIndex,
    /// Whether its hash is right with the bytes in the part file.
    right_with_part: bool,
}

/// Returns the pieces whose hash is wrong, in ascending order.
fn check(
    files: &StoredFiles,
    metainfo: &Metainfo,
    wanted: &WantedPieces,
    output: &Output,
) -> Result<Vec<Wrong>, Problem> {
    let geometry = metainfo.info.geometry;
    let meter = HashProgress::new(output, "checking", geometry.total_len());
    let wrong_ones = |hasher: &mut Hasher<&StoredFiles>, run: &[PieceIndex]| {
        let run: Vec<PieceIndex> = run.iter().copied().filter(|piece| wanted.pieces().has(*piece)).collect();
        let judged = hasher.are_right(&metainfo.info.hashes, &run).into_iter().zip(&run);
        let wrong = judged.filter_map(|(right, piece)| right.map(|right| (!right).then_some(*piece)).transpose());
        let wrong =
            wrong.map(|piece| piece.map(|piece| Wrong { piece, right_with_part: is_strayed(files, metainfo, piece) }));
        wrong.collect::<Result<Vec<_>, _>>()
    };
    let wrong = every_piece(geometry, || files, wrong_ones, |done| meter.show(done), &*stop::on_signal()?);
    wrong.map_err(|halt| match halt {
        Halt::Stopped => Problem::new(ProgramExit::Interrupted, "stopped before everything was checked"),
        Halt::Failed(trouble) => problem(trouble),
    })
}

fn is_strayed(files: &StoredFiles, metainfo: &Metainfo, piece: PieceIndex) -> bool {
    if !files.part().is_some_and(Part::has_strays) {
        return false;
    }
    let mut bytes = vec![0; metainfo.info.geometry.piece_len(piece) as usize];
    files.read_strayed(metainfo.info.geometry.piece_start(piece), &mut bytes).is_ok()
        && <[u8; 20]>::from(Sha1::digest(&bytes)) == metainfo.info.hashes.get(piece)
}

/// Everything that was found out.
struct Survey<'a> {
    metainfo: &'a Metainfo,
    files: &'a StoredFiles,
    record: Option<&'a ResumeRecord>,
    wrong: Vec<Wrong>,
}

impl Survey<'_> {
    /// Shows the state of each chosen file. Returns the numbers.
    fn report(&self, is_chosen: impl Fn(usize) -> bool, output: &Output) -> Result<Report, DiskTrouble> {
        let conditions = self.conditions()?;
        let mut report = Report::of(&conditions, &self.wrong);
        let shown =
            self.metainfo.info.files.iter().enumerate().filter(|(file, entry)| !entry.padding && is_chosen(*file));
        for (file, entry) in shown {
            let facts = self.facts(file, &conditions)?;
            let (condition, fault) = facts.judge();
            let path = entry.path.as_path().display().to_string();
            let state = word_for(condition);
            output.json(&json!({
                "event": "file",
                "path": path,
                "state": state,
                "ok": condition == FileCondition::Ok,
                "pieces": facts.pieces,
                "missing_pieces": facts.missing,
                "damaged_pieces": facts.damaged,
                "bad_pieces": facts.missing + facts.damaged,
                "fault": fault,
            }));
            let path = Safe::new(&path).at_most(400).to_string();
            let sentence = fault.map_or_else(|| path.clone(), |fault| format!("{path} {fault}"));
            output.line(format!("{state:<10} {sentence}"));
            report.count(condition, sentence);
        }
        Ok(report)
    }

    /// Returns the condition of each piece that is not right.
    fn conditions(&self) -> Result<BTreeMap<PieceIndex, PieceCondition>, DiskTrouble> {
        if self.wrong.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut written = data_ranges(self.files)?;
        let padding = self.metainfo.info.files.iter().filter(|file| file.padding);
        written.extend(padding.map(|file| file.offset..file.offset + file.len));
        let (written, geometry) = (WrittenRanges::new(written), &self.metainfo.info.geometry);
        let recorded = self.record.map(|record| &record.have);
        let judge = |wrong: &Wrong| (wrong.piece, of_wrong_piece(wrong.piece, geometry, &written, recorded));
        Ok(self.wrong.iter().map(judge).collect())
    }

    fn facts(&self, file: usize, conditions: &BTreeMap<PieceIndex, PieceCondition>) -> Result<FileFacts, DiskTrouble> {
        let entry = &self.metainfo.info.files[file];
        let range = entry.offset..entry.offset + entry.len;
        let is_strayed = self.files.part().is_some_and(|part| !part.holds(file) && part.held_once(file));
        let elsewhere = |piece: &PieceIndex| {
            let at = self.wrong.binary_search_by_key(piece, |wrong| wrong.piece);
            !is_strayed && at.is_ok_and(|at| self.wrong[at].right_with_part)
        };
        let pieces = || self.metainfo.info.geometry.pieces_of(range.clone());
        let count =
            |condition| pieces().filter(|piece| conditions.get(piece) == Some(&condition) && !elsewhere(piece)).count();
        Ok(FileFacts {
            found: self.files.witness(file)?.map(|found| found.len),
            due: entry.len,
            pieces: pieces().count(),
            missing: count(PieceCondition::Missing),
            damaged: count(PieceCondition::Damaged),
            is_recorded: self.record.is_some_and(|record| pieces().any(|piece| record.have.has(piece))),
        })
    }
}

const fn word_for(condition: FileCondition) -> &'static str {
    match condition {
        FileCondition::Ok => "ok",
        FileCondition::Incomplete => "incomplete",
        FileCondition::Damaged => "damaged",
    }
}

/// The result in numbers.
#[derive(Default)]
struct Report {
    missing: Vec<PieceIndex>,
    damaged: Vec<PieceIndex>,
    incomplete_files: u32,
    damaged_files: u32,
    /// A sentence about the first file that is not right.
    first_fault: Option<String>,
}

impl Report {
    fn of(conditions: &BTreeMap<PieceIndex, PieceCondition>, wrong: &[Wrong]) -> Self {
        let mut report = Self::default();
        for Wrong { piece, .. } in wrong.iter().filter(|wrong| !wrong.right_with_part) {
            match conditions.get(piece) {
                Some(PieceCondition::Damaged) => report.damaged.push(*piece),
                _ => report.missing.push(*piece),
            }
        }
        report
    }

    fn count(&mut self, condition: FileCondition, sentence: String) {
        match condition {
            FileCondition::Ok => return,
            FileCondition::Incomplete => self.incomplete_files += 1,
            FileCondition::Damaged => self.damaged_files += 1,
        }
        self.first_fault.get_or_insert(sentence);
    }

    fn tell(&self, metainfo: &Metainfo, wanted: &WantedPieces, output: &Output) -> ProgramExit {
        let Self { missing, damaged, incomplete_files, damaged_files, first_fault } = self;
        let (status, exit) = match (incomplete_files + u32::from(!missing.is_empty()), damaged_files) {
            (0, 0) if damaged.is_empty() => ("complete", ProgramExit::Complete),
            (_, 0) if damaged.is_empty() => ("incomplete", ProgramExit::HashMismatch),
            _ => ("damaged", ProgramExit::HashMismatch),
        };
        let numbers = |pieces: &[PieceIndex]| pieces.iter().map(|piece| piece.get()).collect::<Vec<_>>();
        let mut bad = [numbers(missing), numbers(damaged)].concat();
        bad.sort_unstable();
        output.json(&json!({
            "event": "result",
            "status": status,
            "exit_code": exit as u8,
            "info_hash": metainfo.info.info_hash.to_string(),
            "pieces": metainfo.info.geometry.piece_count(),
            "pieces_selected": wanted.pieces().ones(),
            "bad_pieces": bad,
            "damaged_pieces": numbers(damaged),
            "bad_files": incomplete_files + damaged_files,
            "incomplete_files": incomplete_files,
            "damaged_files": damaged_files,
        }));
        let of = counted(wanted.pieces().ones() as usize);
        let mut parts = Vec::new();
        if !missing.is_empty() {
            parts.push(format!("{} of {of} {} missing", missing.len(), is_or_are(missing)));
        }
        if !damaged.is_empty() {
            let shown: Vec<String> = damaged.iter().take(MOST_NUMBERS).map(ToString::to_string).collect();
            let more = if damaged.len() > MOST_NUMBERS { ", …" } else { "" };
            parts.push(format!("{} of {of} {} damaged: {}{more}", damaged.len(), is_or_are(damaged), shown.join(", ")));
        }
        output.line(match (&parts[..], first_fault) {
            ([], None) => format!("all {of} are right"),
            ([], Some(fault)) => format!("all {of} are right, but {fault}"),
            (parts, _) => parts.join("; "),
        });
        exit
    }
}

const fn is_or_are(pieces: &[PieceIndex]) -> &'static str {
    if pieces.len() == 1 { "is" } else { "are" }
}
