//! `info`: shows the contents of a .torrent.

use std::fmt::Write;

use serde_json::{Value, json};

use super::args::InfoArgs;
use super::exit::{Problem, ProgramExit};
use super::output::Output;
use super::source;
use crate::base::safe::Safe;
use crate::base::units::Bytes;
use crate::codec::metainfo::Metainfo;

/// Runs the verb.
pub fn run(args: &InfoArgs, output: &Output) -> Result<ProgramExit, Problem> {
    let metainfo = source::load(&args.file, args.names.into())?;
    if args.magnet {
        output.answer(magnet(&metainfo, |_url| true));
    } else if output.is_json() {
        output.json(&as_json(&metainfo, None));
    } else {
        output.answer(as_text(&metainfo).trim_end());
    }
    Ok(ProgramExit::Complete)
}

/// Shows the files with the numbers that `--select-file` takes: from 1; padding is not shown but counted. With a
/// selection, a star marks each selected file.
pub fn list(metainfo: &Metainfo, select: Option<&[bool]>, output: &Output) {
    if output.is_json() {
        output.json(&as_json(metainfo, select));
        return;
    }
    for (file, entry) in metainfo.info.files.iter().enumerate().filter(|(_, entry)| !entry.padding) {
        let shown = entry.path.as_path().display().to_string();
        let mark = select.map_or("", |select| if select.get(file) == Some(&true) { "* " } else { "  " });
        let size = Bytes(entry.len).to_string();
        output.answer(format!("{:>5}  {mark}{size:>10}  {}", file + 1, Safe::new(&shown).at_most(400)));
    }
}

fn as_text(metainfo: &Metainfo) -> String {
    let geometry = metainfo.info.geometry;
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _infallible = writeln!(text, "{name:<12}{value}");
    };
    row("name", Safe::new(&metainfo.info.name).to_string());
    row("info-hash", metainfo.info.info_hash.to_string());
    row("size", format!("{} ({} bytes)", Bytes(geometry.total_len()), geometry.total_len()));
    let piece = Bytes(u64::from(geometry.nominal_piece_len()));
    row("pieces", format!("{} of {piece}", geometry.piece_count()));
    if metainfo.info.private {
        row("private", "yes: no peers but the trackers'".to_owned());
    }
    for (nth, tier) in (1..).zip(&metainfo.tiers) {
        for url in tier {
            row("tracker", format!("{} (tier {nth})", crate::base::safe::redact_url(url)));
        }
    }
    for url in &metainfo.web_seeds {
        row("web seed", crate::base::safe::redact_url(url));
    }
    for (name, value) in
        [("comment", &metainfo.comment), ("created by", &metainfo.created_by), ("source", &metainfo.info.source)]
    {
        if let Some(value) = value {
            row(name, Safe::new(value).to_string());
        }
    }
    for file in metainfo.info.files.iter().filter(|file| !file.padding) {
        let shown = file.path.as_path().display().to_string();
        row("file", format!("{:>10}  {}", Bytes(file.len).to_string(), Safe::new(&shown).at_most(400)));
    }
    for link in &metainfo.info.links {
        let shown = Safe::new(link.path.as_str()).at_most(400);
        row("link", format!("{:>10}  {shown} -> {}", "", link.target));
    }
    for warning in &metainfo.warnings {
        row("warning", warning.to_string());
    }
    text
}

fn as_json(metainfo: &Metainfo, select: Option<&[bool]>) -> Value {
    let files = metainfo.info.files.iter().enumerate().map(|(file, entry)| {
        json!({
            "number": file + 1,
            "path": entry.path.as_path().display().to_string(),
            "length": entry.len,
            "padding": entry.padding,
            "selected": !entry.padding && select.is_none_or(|select| select.get(file) == Some(&true)),
        })
    });
    // Links have no number, because they are neither fetched nor created.
    let links = metainfo.info.links.iter().map(|link| {
        json!({
            "number": null,
            "path": link.path.as_str(),
            "length": 0,
            "padding": false,
            "selected": false,
            "symlink": link.target,
        })
    });
    json!({
        "event": "result",
        "status": "complete",
        "exit_code": 0,
        "name": metainfo.info.name,
        "info_hash": metainfo.info.info_hash.to_string(),
        "bytes_total": metainfo.info.geometry.total_len(),
        "piece_length": metainfo.info.geometry.nominal_piece_len(),
        "pieces": metainfo.info.geometry.piece_count(),
        "private": metainfo.info.private,
        "trackers": metainfo.tiers.iter().map(|tier| redacted(tier)).collect::<Vec<_>>(),
        "web_seeds": redacted(&metainfo.web_seeds),
        "comment": metainfo.comment,
        "created_by": metainfo.created_by,
        "creation_date": metainfo.creation_date,
        "source": metainfo.info.source,
        "files": files.chain(links).collect::<Vec<_>>(),
        "warnings": metainfo.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// Returns the URLs without passkeys (S-20). Only `--magnet` shows them in full.
fn redacted(urls: &[String]) -> Vec<String> {
    urls.iter().map(|url| crate::base::safe::redact_url(url)).collect()
}

/// Tells whether a URL has no secret that a log would hide.
pub fn is_no_secret(url: &str) -> bool {
    crate::base::safe::redact_url(url) == url
}

/// Returns the magnet link (BEP 9) with those trackers that `named` accepts, in full: the user passes the link on.
pub fn magnet(metainfo: &Metainfo, named: impl Fn(&str) -> bool) -> String {
    let encode =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
    let mut link = format!("magnet:?xt=urn:btih:{}&dn={}", metainfo.info.info_hash, encode(&metainfo.info.name));
    for url in metainfo.tiers.iter().flatten().filter(|url| named(url)) {
        link.push_str("&tr=");
        link.push_str(&encode(url));
    }
    link
}
