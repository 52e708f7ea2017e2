//! `verify`: is the data what the .torrent says? Every file, every piece, on all cores.

use serde_json::json;

use super::args::VerifyArgs;
use super::exit::{Exit, Problem};
use super::hashing::Meter;
use super::output::Output;
use super::selection::select;
use super::{source, stop};
use crate::app::descriptors::Descriptors;
use crate::base::geometry::PieceIndex;
use crate::base::safe::Safe;
use crate::codec::metainfo::Metainfo;
use crate::logic::selection::Wanted;
use crate::storage::check::{Halt, Hasher, every_piece};
use crate::storage::files::Files;
use crate::storage::folder::Folder;
use crate::storage::part::Part;
use crate::storage::spec::specs_of;
use crate::storage::trouble::DiskTrouble;

/// Runs the verb.
pub fn run(args: &VerifyArgs, output: &Output) -> Result<Exit, Problem> {
    let metainfo = source::load(&args.file, args.names.into())?;
    let folder = Folder::open(&args.dir);
    let folder = folder.map_err(|error| Problem::new(Exit::NotFound, format!("{}: {error}", args.dir.display())))?;
    let select = select(&args.files, &metainfo)?;
    let is_chosen = |file: usize| select.as_ref().is_none_or(|select| select.get(file) == Some(&true));
    let files = Files::new(folder, specs_of(&metainfo), Descriptors::of_this_process(1, 1).files);
    let wanted = select.as_ref().map_or_else(
        || Wanted::everything(&metainfo.geometry),
        |select| Wanted::of_files(&metainfo.geometry, files.layout(), select),
    );
    let files = with_part(files, &metainfo, is_chosen)?;
    let bad = check(&files, &metainfo, &wanted, output)?;
    let mut bad_files = 0;
    let chosen = metainfo.files.iter().enumerate().filter(|(file, entry)| !entry.padding && is_chosen(*file));
    for (file, entry) in chosen {
        let end = entry.offset + entry.len;
        let pieces = metainfo.geometry.pieces_of(entry.offset..end).filter(|piece| bad.contains(piece)).count();
        let witness = files.witness(file).map_err(|trouble| Problem::new((&trouble).into(), &trouble))?;
        let fault = match witness {
            None => Some("missing".to_owned()),
            Some(found) if found.len != entry.len => Some(format!("{} bytes where {} are due", found.len, entry.len)),
            Some(_) if pieces > 0 => Some(format!("{pieces} pieces are wrong")),
            Some(_) => None,
        };
        bad_files += u32::from(fault.is_some());
        let shown = entry.path.as_path().display().to_string();
        output.json(
            &json!({"event": "file", "path": shown, "ok": fault.is_none(), "bad_pieces": pieces, "fault": fault}),
        );
        output.line(
            format!("{:<8} {}", if fault.is_none() { "ok" } else { "WRONG" }, Safe::new(&shown).at_most(400))
                + &fault.map(|fault| format!(": {fault}")).unwrap_or_default(),
        );
    }
    Ok(report(&metainfo, &wanted, &bad, bad_files, output))
}

/// Bytes of files that were not chosen and are not there come from the part file that a fetch of the same choice left.
fn with_part(files: Files, metainfo: &Metainfo, is_chosen: impl Fn(usize) -> bool) -> Result<Files, Problem> {
    let is_absent = |file: usize| files.witness(file).map(|found| found.is_none());
    let held: Result<Vec<bool>, _> =
        (0..files.specs().len()).map(|file| Ok(!is_chosen(file) && is_absent(file)?)).collect();
    let held = held.map_err(|trouble: DiskTrouble| Problem::new((&trouble).into(), &trouble))?;
    let part = Part::new((metainfo.info_hash, metainfo.geometry, files.layout()), held, Vec::new());
    Ok(files.with_part(part.is_needed().then_some(part)))
}

fn report(metainfo: &Metainfo, wanted: &Wanted, bad: &[PieceIndex], bad_files: u32, output: &Output) -> Exit {
    let ok = bad.is_empty() && bad_files == 0;
    let exit = if ok { Exit::Complete } else { Exit::HashMismatch };
    output.json(&json!({
        "event": "result",
        "status": if ok { "complete" } else { "mismatch" },
        "exit_code": exit as u8,
        "info_hash": metainfo.info_hash.to_string(),
        "pieces": metainfo.geometry.piece_count(),
        "pieces_selected": wanted.pieces().ones(),
        "bad_pieces": bad.iter().map(|piece| piece.get()).collect::<Vec<_>>(),
        "bad_files": bad_files,
    }));
    let of = wanted.pieces().ones();
    if ok {
        output.line(format!("all {of} pieces are right"));
    } else {
        let numbers: Vec<String> = bad.iter().take(20).map(ToString::to_string).collect();
        let more = if bad.len() > 20 { ", …" } else { "" };
        output.line(format!("{} of {of} pieces are wrong: {}{more}", bad.len(), numbers.join(", ")));
    }
    exit
}

/// The pieces that do not hash right, ascending.
fn check(files: &Files, metainfo: &Metainfo, wanted: &Wanted, output: &Output) -> Result<Vec<PieceIndex>, Problem> {
    let geometry = metainfo.geometry;
    let meter = Meter::new(output, "checking", geometry.total_len());
    let wrong_ones = |hasher: &mut Hasher<&Files>, run: &[PieceIndex]| {
        let run: Vec<PieceIndex> = run.iter().copied().filter(|piece| wanted.pieces().has(*piece)).collect();
        let judged = hasher.are_right(&metainfo.hashes, &run).into_iter().zip(&run);
        let wrong = judged.filter_map(|(right, piece)| right.map(|right| (!right).then_some(*piece)).transpose());
        wrong.collect::<Result<Vec<_>, _>>()
    };
    let wrong = every_piece(geometry, || files, wrong_ones, |done| meter.show(done), &*stop::on_signal()?);
    wrong.map_err(|halt| match halt {
        Halt::Stopped => Problem::new(Exit::Interrupted, "stopped before everything was checked"),
        Halt::Failed(trouble) => Problem::new((&trouble).into(), &trouble),
    })
}
