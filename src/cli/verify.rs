//! `verify`: is the data what the .torrent says? Every file, every piece, on all cores.

use serde_json::json;

use super::args::VerifyArgs;
use super::exit::{Exit, Problem};
use super::hashing::Meter;
use super::output::Output;
use super::{source, stop};
use crate::app::descriptors::Descriptors;
use crate::base::geometry::PieceIndex;
use crate::base::safe::Safe;
use crate::codec::metainfo::Metainfo;
use crate::storage::check::{Halt, Hasher, every_piece};
use crate::storage::disk::specs_of;
use crate::storage::files::Files;
use crate::storage::folder::Folder;

/// Runs the verb.
pub fn run(args: &VerifyArgs, output: &Output) -> Result<Exit, Problem> {
    let metainfo = source::load(&args.file)?;
    let folder = Folder::open(&args.dir);
    let folder = folder.map_err(|error| Problem::new(Exit::NotFound, format!("{}: {error}", args.dir.display())))?;
    let files = Files::new(folder, specs_of(&metainfo), Descriptors::of_this_process().files);
    let bad = check(&files, &metainfo, output)?;
    let mut bad_files = 0;
    for (file, entry) in metainfo.files.iter().enumerate().filter(|(_, entry)| !entry.padding) {
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
    Ok(report(&metainfo, &bad, bad_files, output))
}

fn report(metainfo: &Metainfo, bad: &[PieceIndex], bad_files: u32, output: &Output) -> Exit {
    let ok = bad.is_empty() && bad_files == 0;
    let exit = if ok { Exit::Complete } else { Exit::HashMismatch };
    output.json(&json!({
        "event": "result",
        "status": if ok { "complete" } else { "mismatch" },
        "exit_code": exit as u8,
        "info_hash": metainfo.info_hash.to_string(),
        "pieces": metainfo.geometry.piece_count(),
        "bad_pieces": bad.iter().map(|piece| piece.get()).collect::<Vec<_>>(),
        "bad_files": bad_files,
    }));
    let of = metainfo.geometry.piece_count();
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
fn check(files: &Files, metainfo: &Metainfo, output: &Output) -> Result<Vec<PieceIndex>, Problem> {
    let geometry = metainfo.geometry;
    let meter = Meter::new(output, "checking", geometry.total_len());
    let judge = |hasher: &mut Hasher<&Files>, piece| {
        let right = hasher.is_right(&metainfo.hashes, piece)?;
        Ok((!right).then_some(piece))
    };
    let judged = every_piece(geometry, || files, judge, |done| meter.show(done), &*stop::on_signal()?);
    let judged = judged.map_err(|halt| match halt {
        Halt::Stopped => Problem::new(Exit::Interrupted, "stopped before everything was checked"),
        Halt::Failed(trouble) => Problem::new((&trouble).into(), &trouble),
    })?;
    Ok(judged.into_iter().flatten().collect())
}
