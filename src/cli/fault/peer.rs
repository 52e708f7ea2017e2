//! `fault peer`: one peer with a given behaviour, which serves the data of a torrent or a payload made for it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::PeerArgs;
use super::serve::until_interrupted;
use crate::base::units::Bytes;
use crate::cli::exit::{Problem, ProgramExit};
use crate::cli::output::Output;
use crate::cli::source;
use crate::codec::metainfo::Metainfo;
use crate::codec::safe_path::NameRules;
use crate::faults::payload::Payload;
use crate::faults::peer::{FaultyPeer, spawn_peer};
use crate::faults::torrent::{Offer, Recipe};
use crate::net::sockets::Sockets;

/// The name of the file in a torrent that is made here.
const NAME: &str = "payload.bin";

/// 256 KiB: what other clients choose for files of this size.
const PIECE_LEN: u32 = 256 * 1024;

/// Runs the verb.
pub(super) fn run(args: &PeerArgs, output: &Output) -> Result<(), Problem> {
    let (offer, torrent) = match &args.torrent {
        Some(torrent) => (served(torrent, &args.dir)?, torrent.clone()),
        None => made(args)?,
    };
    let info_hash = offer.info_hash.to_string();
    let net = Sockets::any();
    let start = spawn_peer(&net, args.at, offer, args.behaviour.clone(), args.seed);
    let behaviour = args.behaviour.to_string();
    let listening = |peer: &FaultyPeer| {
        let (addr, torrent) = (peer.addr().to_string(), torrent.display().to_string());
        let line = format!("peer      {addr}\ntorrent   {torrent}\ninfo-hash {info_hash}\nbehaviour {behaviour}");
        (line, json!({"addr": addr, "torrent": torrent, "info_hash": info_hash, "behaviour": behaviour}))
    };
    let summary = |peer: &FaultyPeer| {
        let stats = peer.stats();
        let line = format!(
            "{} connections, {} blocks, {} sent, {} lies, {} resets",
            stats.connections,
            stats.blocks,
            Bytes(stats.bytes),
            stats.lies,
            stats.resets
        );
        let json = json!({
            "connections": stats.connections,
            "handshakes": stats.handshakes,
            "requests": stats.requests,
            "blocks": stats.blocks,
            "bytes": stats.bytes,
            "lies": stats.lies,
            "resets": stats.resets,
        });
        (line, json)
    };
    until_interrupted(start, listening, summary, output)
}

/// Writes a payload and its .torrent into the folder. Files that are there already stay as they are.
fn made(args: &PeerArgs) -> Result<(Offer, PathBuf), Problem> {
    let payload = Payload::new(args.seed, args.size);
    let made = Recipe::single(NAME, PIECE_LEN, &[]).make(payload);
    let made = made.map_err(|bad| Problem::new(ProgramExit::Usage, bad))?;
    let (data, torrent) = (args.dir.join(NAME), args.dir.join(format!("{NAME}.torrent")));
    let written = std::fs::create_dir_all(&args.dir)
        .and_then(|()| File::create_new(&data))
        .and_then(|mut file| payload.write_to(&mut file))
        .and_then(|()| File::create_new(&torrent))
        .and_then(|mut file| io::Write::write_all(&mut file, &made.file));
    written.map_err(|error| {
        let dir = args.dir.display();
        Problem::new(
            ProgramExit::CannotCreate,
            format!("{NAME} and its torrent cannot be made in {dir}: {error}; choose another folder with --dir"),
        )
    })?;
    Ok((made.offer, torrent))
}

/// Returns the offer for a torrent and its data, all of it in memory.
fn served(torrent: &Path, dir: &Path) -> Result<Offer, Problem> {
    let metainfo = source::load(torrent.as_os_str(), NameRules::default())?;
    let content = content(&metainfo, dir);
    let content = content.map_err(|error| Problem::new(ProgramExit::CannotOpen, error))?;
    Ok(Offer::of(&metainfo, content))
}

/// Returns the contents of all files, one after the other.
fn content(metainfo: &Metainfo, dir: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    for file in &metainfo.info.files {
        let path = dir.join(file.path.as_path());
        let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if file.padding {
            return Err(at(io::Error::other("is a padding file (BEP 47), which this peer does not serve")));
        }
        let read = File::open(&path).and_then(|data| data.take(file.len).read_to_end(&mut content)).map_err(at)?;
        if read as u64 != file.len {
            return Err(at(io::Error::other(format!("has {read} bytes, the torrent says {}", file.len))));
        }
    }
    Ok(content)
}
