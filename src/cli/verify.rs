//! `verify`: is the data what the .torrent says? Every file, every piece, on all cores.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use serde_json::json;

use super::args::VerifyArgs;
use super::exit::{Exit, Problem};
use super::output::Output;
use super::source;
use crate::app::descriptors::Descriptors;
use crate::base::geometry::PieceIndex;
use crate::base::safe::Safe;
use crate::base::units::Bytes;
use crate::codec::metainfo::Metainfo;
use crate::storage::DiskTrouble;
use crate::storage::check::piece_is_right;
use crate::storage::disk::specs_of;
use crate::storage::files::Files;
use crate::storage::folder::Folder;

/// Runs the verb.
pub fn run(args: &VerifyArgs, output: &Output) -> Result<Exit, Problem> {
    let metainfo = source::load(&args.file)?;
    let folder = Folder::open(&args.dir);
    let folder = folder.map_err(|error| Problem::new(Exit::NotFound, format!("{}: {error}", args.dir.display())))?;
    let files = Files::new(folder, specs_of(&metainfo), Descriptors::of_this_process().files);
    let bad = check(&files, &metainfo, output).map_err(|trouble| Problem::new((&trouble).into(), &trouble))?;
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
fn check(files: &Files, metainfo: &Metainfo, output: &Output) -> Result<Vec<PieceIndex>, DiskTrouble> {
    let geometry = metainfo.geometry;
    let next = AtomicU32::new(0);
    let done = AtomicU64::new(0);
    let work = || {
        let mut bad = Vec::new();
        while let Some(piece) = geometry.piece(next.fetch_add(1, Ordering::Relaxed)) {
            if !piece_is_right(files, &geometry, &metainfo.hashes, piece)? {
                bad.push(piece);
            }
            let bytes = u64::from(geometry.piece_len(piece));
            let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            output.progress(format!("checking {} of {}", Bytes(done), Bytes(geometry.total_len())));
        }
        Ok(bad)
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let found: Vec<Result<Vec<PieceIndex>, DiskTrouble>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut bad = Vec::new();
    for part in found {
        bad.extend(part?);
    }
    bad.sort_unstable();
    Ok(bad)
}
