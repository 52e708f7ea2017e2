//! `create`: makes a .torrent of a file or a folder.
//!
//! The same data and options always give the same bytes: files are sorted, and a date is written only if it is given.
//! Names and options are checked before the data is read.

use std::path::{Path, PathBuf};

use globset::{Glob, GlobSetBuilder};
use serde_json::json;

use self::args::CreateArgs;
use super::exit::{Problem, ProgramExit};
use super::hashing::HashProgress;
use super::output::Output;
use super::{info, stop};
use crate::base::geometry::{PieceIndex, automatic_piece_len};
use crate::base::safe::Safe;
use crate::base::units::Bytes;
use crate::codec::metainfo::Metainfo;
use crate::codec::metainfo::draft::{BadDraft, Contents, PlannedFile, TorrentDraft, TorrentPlan};
use crate::storage::check::{Halt, Hasher, every_piece};
use crate::storage::publish::{NotPublished, publish};
use crate::storage::source::{BadSource, Except, PayloadSource, identity_of, name_of};
use crate::storage::trouble::TroubleKind;

pub mod args;

/// Runs the verb.
pub fn run(args: &CreateArgs, output: &Output) -> Result<ProgramExit, Problem> {
    let (file, source) = look(args)?;
    for skipped in &source.skipped {
        let shown = skipped.display().to_string();
        output.complain(&format!("left out: {} is no regular file", Safe::new(&shown).at_most(400)));
    }
    if source.links > 0 {
        output.complain(&format!(
            "{} symbolic links were followed; the torrent has the files that they lead to",
            source.links
        ));
    }
    let draft = TorrentDraft::new(plan(args, &source)).map_err(|bad| of_draft(&bad))?;
    let hashes = hash(&source, &draft, output)?;
    source.has_not_changed().map_err(|bad| of_source(&bad))?;
    let torrent = draft.finish(&hashes);
    let metainfo = Metainfo::parse_named(&torrent, args.names.into()).map_err(|bad| of_draft(&bad.into()))?;
    publish(&file, &torrent, args.overwrite).map_err(|error| of_publishing(&error))?;
    report(&file, &metainfo, output);
    Ok(ProgramExit::Complete)
}

/// Returns where the torrent goes and what it is made of.
fn look(args: &CreateArgs) -> Result<(PathBuf, PayloadSource), Problem> {
    let mut patterns = GlobSetBuilder::new();
    for pattern in &args.exclude {
        patterns.add(Glob::new(pattern).map_err(|error| Problem::new(ProgramExit::Usage, error))?);
    }
    let patterns = patterns.build().map_err(|error| Problem::new(ProgramExit::Usage, error))?;
    let name = name_of(&args.path).map_err(|bad| of_source(&bad))?;
    let file = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.torrent")));
    if !args.overwrite && file.symlink_metadata().is_ok() {
        return Err(of_publishing(&NotPublished::Exists(file)));
    }
    let except = Except { output: identity_of(&file), patterns };
    let source = PayloadSource::scan(&args.path, &except).map_err(|bad| of_source(&bad))?;
    Ok((file, source))
}

fn plan(args: &CreateArgs, source: &PayloadSource) -> TorrentPlan {
    let contents = match &source.files[..] {
        [file] if !source.is_folder => Contents::File { len: file.len, executable: file.executable },
        files => {
            let files = files.iter().map(|file| PlannedFile {
                path: file.inner.clone(),
                len: file.len,
                executable: file.executable,
            });
            Contents::Folder(files.collect())
        }
    };
    let total_len = source.files.iter().map(|file| file.len).fold(0, u64::saturating_add);
    // As in mktorrent, commas separate URLs of one tier: a URL contains no comma.
    let tier = |urls: &String| urls.split(',').map(str::to_owned).collect();
    TorrentPlan {
        name: source.name.clone(),
        names: args.names.into(),
        contents,
        piece_len: args.piece_length.unwrap_or_else(|| automatic_piece_len(total_len)),
        private: args.private,
        source: args.source.clone(),
        tiers: args.announce.iter().map(tier).collect(),
        web_seeds: args.web_seed.clone(),
        comment: args.comment.clone(),
        created_by: Some(concat!("tt-actors/", env!("CARGO_PKG_VERSION")).to_owned()),
        creation_date: args.creation_date,
    }
}

fn hash(source: &PayloadSource, draft: &TorrentDraft, output: &Output) -> Result<Vec<[u8; 20]>, Problem> {
    let geometry = draft.geometry();
    let meter = HashProgress::new(output, "hashing", geometry.total_len());
    let stop = stop::on_signal()?;
    let whole_run = |hasher: &mut Hasher<_>, run: &[PieceIndex]| hasher.hash(run).into_iter().collect();
    every_piece(geometry, || source.reader(), whole_run, |done| meter.show(done), &stop).map_err(|halt| match halt {
        Halt::Stopped => Problem::new(ProgramExit::Interrupted, "stopped; nothing was written"),
        Halt::Failed(bad) => of_source(&bad),
    })
}

fn report(file: &Path, metainfo: &Metainfo, output: &Output) {
    let geometry = metainfo.info.geometry;
    let piece_len = geometry.nominal_piece_len();
    output.json(&json!({
        "event": "result",
        "status": "complete",
        "exit_code": 0,
        "file": file.display().to_string(),
        "name": metainfo.info.name,
        "info_hash": metainfo.info.info_hash.to_string(),
        "bytes_total": geometry.total_len(),
        "files": metainfo.info.files.len(),
        "pieces": geometry.piece_count(),
        "piece_length": piece_len,
        "magnet": info::magnet(metainfo, info::is_no_secret),
    }));
    let shown = file.display().to_string();
    output.line(format!("{}", Safe::new(&shown).at_most(400)));
    output.line(format!("info-hash   {}", metainfo.info.info_hash));
    output.line(format!("files       {} ({})", metainfo.info.files.len(), Bytes(geometry.total_len())));
    output.line(format!("pieces      {} of {}", geometry.piece_count(), Bytes(piece_len.into())));
}

fn of_source(bad: &BadSource) -> Problem {
    let exit = match bad {
        BadSource::Disk(trouble) if trouble.kind == TroubleKind::Missing => ProgramExit::NotFound,
        BadSource::Disk(trouble) if trouble.operation == "open" => ProgramExit::CannotOpen,
        BadSource::Disk(trouble) => trouble.into(),
        BadSource::NotUtf8(_)
        | BadSource::Nameless(_)
        | BadSource::NoFile(_)
        | BadSource::Dangling(_)
        | BadSource::Loop(_) => ProgramExit::CannotOpen,
        BadSource::Changed { .. } => ProgramExit::Io,
        BadSource::IsOutput(_) => ProgramExit::WouldOverwrite,
    };
    Problem::new(exit, bad)
}

fn of_draft(bad: &BadDraft) -> Problem {
    let exit = match bad {
        BadDraft::Url { .. } | BadDraft::SurplusUrl { .. } | BadDraft::Text { .. } => ProgramExit::Usage,
        BadDraft::Name { .. } | BadDraft::TooLarge(_) | BadDraft::Torrent(_) => ProgramExit::UnsafeTorrent,
    };
    Problem::new(exit, bad)
}

fn of_publishing(error: &NotPublished) -> Problem {
    let exit = match error {
        NotPublished::Exists(_) => ProgramExit::WouldOverwrite,
        NotPublished::Disk(trouble) if trouble.kind == TroubleKind::Full => ProgramExit::DiskFull,
        NotPublished::Disk(_) => ProgramExit::CannotCreate,
    };
    Problem::new(exit, error)
}
