//! Where a torrent comes from: a file, standard input, a URL.

use std::io::Read;
use std::time::Duration;

use crate::base::limits::MAX_TORRENT_FILE;
use crate::base::safe::redact_url;
use crate::codec::metainfo::Metainfo;
use crate::logic::families::IpFamily;
use crate::net::Net;
use crate::net::http::{Get, get};
use crate::net::sockets::Sockets;
use crate::net::vet::Purpose;

use super::exit::{Exit, Problem};

/// One minute for a .torrent from the web: the largest accepted comes at a megabyte a second.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The torrent that a SOURCE argument names.
pub fn load(source: &str) -> Result<Metainfo, Problem> {
    load_by(&Sockets::any(), source)
}

/// The same by this network, where it has to be fetched.
pub fn load_by(net: &Net, source: &str) -> Result<Metainfo, Problem> {
    let bytes = match source {
        "-" => read(std::io::stdin().lock(), "standard input")?,
        link if link.starts_with("magnet:") => {
            return Err(Problem::new(Exit::Usage, "magnet links are not understood yet; give a .torrent file"));
        }
        url if url.starts_with("http://") || url.starts_with("https://") => download(url, net)?,
        path => {
            let file = std::fs::File::open(path).map_err(|error| {
                let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::CannotOpen };
                Problem::new(exit, format!("cannot open {path}: {error}"))
            })?;
            read(file, path)?
        }
    };
    parse(&bytes, source)
}

fn parse(bytes: &[u8], source: &str) -> Result<Metainfo, Problem> {
    Metainfo::parse(bytes).map_err(|error| {
        let exit = if error.is_unsafe() { Exit::UnsafeTorrent } else { Exit::BadTorrent };
        let shown = if source.contains("://") { redact_url(source) } else { source.to_owned() };
        Problem::new(exit, format!("{shown} is not a torrent that can be used: {error}"))
    })
}

fn read(from: impl Read, name: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_TORRENT_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| Problem::new(Exit::CannotOpen, format!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > MAX_TORRENT_FILE {
        return Err(Problem::new(Exit::BadTorrent, format!("{name} is larger than any torrent accepted")));
    }
    Ok(bytes)
}

fn download(url: &str, net: &Net) -> Result<Vec<u8>, Problem> {
    let limit = usize::try_from(MAX_TORRENT_FILE).unwrap_or(usize::MAX);
    let request = Get { url, purpose: Purpose::User, timeout: DOWNLOAD_TIMEOUT, limit, family: IpFamily::Any };
    let problem = |error: &dyn std::fmt::Display| Problem::new(Exit::Network, format!("{}: {error}", redact_url(url)));
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
    use super::*;

    #[test]
    fn what_is_no_torrent_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.display().to_string()
        };
        let info =
            |name: &str| format!("d4:infod6:lengthi3e4:name{name}12:piece lengthi1e6:pieces60:{}ee", "x".repeat(60));
        let table = [
            (dir.path().join("absent").display().to_string(), Exit::NotFound),
            (dir.path().display().to_string(), Exit::CannotOpen),
            ("magnet:?xt=urn:btih:0".to_owned(), Exit::Usage),
            (file("empty", b""), Exit::BadTorrent),
            (file("text", b"<html>"), Exit::BadTorrent),
            (file("deep", &vec![b'l'; 100_000]), Exit::BadTorrent),
            (file("outside", info("2:..").as_bytes()), Exit::UnsafeTorrent),
        ];
        for (source, want) in table {
            let problem = load(&source).unwrap_err();
            assert_eq!(problem.exit, want, "{source}: {}", problem.text);
        }
        assert_eq!(load(&file("good", info("1:x").as_bytes())).unwrap().name, "x");
    }
}
