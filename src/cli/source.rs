//! The source of a torrent: a file, standard input, or a URL.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use crate::base::limits::MAX_TORRENT_FILE;
use crate::base::safe::{redact_url, shown_path};
use crate::base::scheme::Scheme;
use crate::codec::metainfo::Metainfo;
use crate::codec::safe_path::NameRules;
use crate::logic::trackers::families::IpFamily;
use crate::net::Net;
use crate::net::http::{Get, get};
use crate::net::sockets::Sockets;
use crate::net::vet::Purpose;

use super::exit::{Problem, ProgramExit};

/// One minute to download a .torrent: enough for the largest accepted one at a megabyte a second.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads the torrent that a SOURCE argument names. The name of the file may be any bytes.
pub fn load(source: &OsStr, names: NameRules) -> Result<Metainfo, Problem> {
    load_by(&Sockets::any(), source, names)
}

/// Reads the torrent, over this network if the source is a URL.
pub fn load_by(net: &Net, source: &OsStr, names: NameRules) -> Result<Metainfo, Problem> {
    let bytes = match source.to_str() {
        Some("-") => read(std::io::stdin().lock(), "standard input")?,
        Some(link) if link.starts_with("magnet:") => {
            return Err(Problem::new(ProgramExit::Usage, "magnet links are not understood yet; give a .torrent file"));
        }
        Some(url) if Scheme::of(url).is_some_and(Scheme::is_http) => download(url, net)?,
        _ => {
            let file = std::fs::File::open(source).map_err(|error| {
                let exit = if error.kind() == std::io::ErrorKind::NotFound {
                    ProgramExit::NotFound
                } else {
                    ProgramExit::CannotOpen
                };
                Problem::new(exit, format!("cannot open {}: {error}", shown(source)))
            })?;
            read(file, &shown(source))?
        }
    };
    Metainfo::parse_named(&bytes, names).map_err(|error| {
        let exit = if error.is_unsafe() { ProgramExit::UnsafeTorrent } else { ProgramExit::BadTorrent };
        Problem::new(exit, format!("{} is not a torrent that can be used: {error}", shown(source)))
    })
}

/// Returns a SOURCE for display: without secrets and control characters.
pub fn shown(source: &OsStr) -> String {
    match source.to_str() {
        Some(url) if url.contains("://") => redact_url(url),
        _ => shown_path(Path::new(source)),
    }
}

fn read(from: impl Read, name: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_TORRENT_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| Problem::new(ProgramExit::CannotOpen, format!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > MAX_TORRENT_FILE {
        return Err(Problem::new(ProgramExit::BadTorrent, format!("{name} is larger than any torrent accepted")));
    }
    Ok(bytes)
}

fn download(url: &str, net: &Net) -> Result<Vec<u8>, Problem> {
    let limit = usize::try_from(MAX_TORRENT_FILE).unwrap_or(usize::MAX);
    let request = Get { url, purpose: Purpose::User, timeout: DOWNLOAD_TIMEOUT, limit, family: IpFamily::Any };
    let problem =
        |error: &dyn std::fmt::Display| Problem::new(ProgramExit::Network, format!("{}: {error}", redact_url(url)));
    let got = block_on(get(net, request)).map_err(|error| problem(&error))?;
    Ok(got.map_err(|error| problem(&error))?.body)
}

/// Runs a future to its end on this thread, for verbs without actors.
pub fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(tokio::task::LocalSet::new().block_on(&runtime, future))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_source_without_a_torrent_is_an_error_that_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.display().to_string()
        };
        let info =
            |name: &str| format!("d4:infod6:lengthi3e4:name{name}12:piece lengthi1e6:pieces60:{}ee", "x".repeat(60));
        let table = [
            (dir.path().join("absent").display().to_string(), ProgramExit::NotFound),
            (dir.path().display().to_string(), ProgramExit::CannotOpen),
            ("magnet:?xt=urn:btih:0".to_owned(), ProgramExit::Usage),
            (file("empty", b""), ProgramExit::BadTorrent),
            (file("text", b"<html>"), ProgramExit::BadTorrent),
            (file("deep", &vec![b'l'; 100_000]), ProgramExit::BadTorrent),
            (file("outside", info("2:..").as_bytes()), ProgramExit::UnsafeTorrent),
        ];
        for (source, want) in table {
            let problem = load(source.as_ref(), NameRules::Native).unwrap_err();
            assert_eq!(problem.exit, want, "{source}: {}", problem.text);
        }
        let good = file("good", info("1:x").as_bytes());
        assert_eq!(load(good.as_ref(), NameRules::Native).unwrap().info.name, "x");
    }

    #[test]
    fn a_torrent_file_whose_own_name_is_not_utf8_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(OsStr::from_bytes(b"caf\xe9\x1b.torrent"));
        std::fs::write(&path, format!("d4:infod6:lengthi3e4:name1:x12:piece lengthi3e6:pieces20:{}ee", "x".repeat(20)))
            .unwrap();
        assert_eq!(load(path.as_os_str(), NameRules::Native).unwrap().info.name, "x");
        std::fs::write(&path, "no torrent").unwrap();
        let problem = load(path.as_os_str(), NameRules::Native).unwrap_err();
        assert!(problem.text.contains(r"caf\xe9\u{1b}.torrent is not a torrent"), "{}", problem.text);
    }
}
