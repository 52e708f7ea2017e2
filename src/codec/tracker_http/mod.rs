//! HTTP trackers, the client's side (BEP 3, 7, 23, 24, 31, 48): makes URLs, reads replies.
//!
//! Many trackers break the rules: no interval, no counts, no peers, numbers as text (W-12). Every dictionary is
//! accepted as a reply, and an entry of the peer lists that cannot be read does not affect the others. The server's
//! side is in [`server`]. Knows nothing of HTTP itself.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::bencode::{BadBencode, BencodeLimits, View};
use super::compact::{self, V4_LEN, V6_LEN};
use super::tracker::{
    AnnounceReply, AnnounceRequest, Event, MAX_TRACKER_ID_LEN, Reply, RetryIn, ScrapeEntry, TrackerFailure, short_text,
};
use crate::base::ids::InfoHash;
use crate::base::limits::MAX_TRACKER_REPLY;

pub mod head;
pub mod server;

/// Why a body is not a reply of a tracker (T-05).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// The body is not acceptable bencode: garbage, HTML, cut short, or too deep.
    #[error("not a tracker's reply: {0}")]
    Bencode(#[from] BadBencode),
    /// The body has more than [`MAX_TRACKER_REPLY`] bytes (T-06).
    #[error("a reply of {len} bytes is too large")]
    TooLarge {
        /// The length of the body in bytes.
        len: usize,
    },
    /// The body is bencode but not a dictionary.
    #[error("not a tracker's reply: no dictionary")]
    NoDictionary,
    /// The reply to a scrape has no `files`.
    #[error("no `files` in the answer to a scrape")]
    NoFiles,
}

/// A well-formed reply to a scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScrapeReply {
    /// The counts of the swarms that the tracker knows, in the order of the reply.
    Entries(Vec<ScrapeEntry>),
    /// The tracker refused the scrape.
    Failure(TrackerFailure),
}

/// The URL of an announce. The query of `base` is kept, a fragment is dropped. Asks for compact peers.
pub fn announce_url(base: &str, request: &AnnounceRequest) -> String {
    let mut url = Query::on(base);
    url.bytes("info_hash", request.info_hash.as_bytes());
    url.bytes("peer_id", request.peer_id.as_bytes());
    url.number("port", request.port.into());
    url.number("uploaded", request.uploaded);
    url.number("downloaded", request.downloaded);
    url.number("left", request.left);
    url.number("compact", 1);
    url.number("numwant", request.num_want.into());
    url.bytes("key", format!("{:08x}", request.key).as_bytes());
    if let Some(event) = event_name(request.event) {
        url.bytes("event", event.as_bytes());
    }
    if let Some(id) = &request.tracker_id {
        url.bytes("trackerid", id);
    }
    url.text
}

/// The URL of a scrape of these swarms. `None` if the tracker has no scrape: "Find the last '/' in [the announce URL].
/// If the text immediately following that '/' isn't 'announce' it will be taken as a sign that that tracker doesn't
/// support the scrape convention" (BEP 48). `None` too if `swarms` is empty: such a scrape would ask for every swarm of
/// the tracker.
pub fn scrape_url(base: &str, swarms: &[InfoHash]) -> Option<String> {
    let base = without_fragment(base);
    let (head, tail) = base.rsplit_once('/')?;
    let tail = tail.strip_prefix("announce")?;
    let mut url = Query::on(&format!("{head}/scrape{tail}"));
    for swarm in swarms {
        url.bytes("info_hash", swarm.as_bytes());
    }
    (!swarms.is_empty()).then_some(url.text)
}

/// The word for an event in a query; `None` for a regular announce.
const fn event_name(event: Event) -> Option<&'static str> {
    match event {
        Event::Periodic => None,
        Event::Started => Some("started"),
        Event::Completed => Some("completed"),
        Event::Stopped => Some("stopped"),
        Event::Paused => Some("paused"),
    }
}

/// The URL up to its fragment.
fn without_fragment(url: &str) -> &str {
    url.split_once('#').map_or(url, |(url, _fragment)| url)
}

/// Builds a URL by appending to its query.
struct Query {
    text: String,
    /// The character before the next pair; `None` if the next pair needs no separator.
    glue: Option<char>,
}

impl Query {
    /// Begins with a URL that may have a query.
    fn on(base: &str) -> Self {
        let base = without_fragment(base);
        let glue = match base.chars().next_back() {
            Some('?' | '&') => None,
            _ if base.contains('?') => Some('&'),
            _ => Some('?'),
        };
        Self { text: base.to_owned(), glue }
    }

    /// Appends a pair. Every byte is escaped except the unreserved ones of RFC 3986; HTTP libraries do that to text,
    /// not to bytes.
    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.text.extend(self.glue.replace('&'));
        self.text.push_str(name);
        self.text.push('=');
        for byte in value {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
                self.text.push(char::from(*byte));
            } else {
                write!(self.text, "%{byte:02X}").expect("a string takes all");
            }
        }
    }

    /// Appends a pair with a number.
    fn number(&mut self, name: &str, value: u64) {
        self.bytes(name, value.to_string().as_bytes());
    }
}

/// Reads the body of a reply to an announce.
pub fn parse_announce(body: &[u8]) -> Result<Reply, BadReply> {
    let root = dictionary(body)?;
    if let Some(failure) = failure(root) {
        return Ok(Reply::Failure(failure));
    }
    let mut reply = AnnounceReply {
        interval: number(root, b"interval"),
        min_interval: number(root, b"min interval"),
        complete: count(root, b"complete"),
        incomplete: count(root, b"incomplete"),
        downloaded: count(root, b"downloaded"),
        // The specification wiki says "tracker id", many trackers send "trackerid".
        tracker_id: [&b"tracker id"[..], b"trackerid"]
            .into_iter()
            .find_map(|key| string(root, key))
            .filter(|id| (1..=MAX_TRACKER_ID_LEN).contains(&id.len()))
            .map(<[u8]>::to_vec),
        warning: string(root, b"warning message").map(short_text),
        external_ip: string(root, b"external ip").and_then(address),
        ..AnnounceReply::default()
    };
    reply.take_entries(peers(root));
    Ok(Reply::Peers(reply))
}

/// Reads the body of a reply to a scrape. Swarms whose key is not an info-hash are dropped.
pub fn parse_scrape(body: &[u8]) -> Result<ScrapeReply, BadReply> {
    let root = dictionary(body)?;
    let Some(files) = root.find(b"files").filter(|files| files.is_dict()) else {
        return failure(root).map(ScrapeReply::Failure).ok_or(BadReply::NoFiles);
    };
    let entry = |(name, numbers): (&[u8], View<'_>)| {
        let number = |key: &[u8]| count(numbers, key).unwrap_or(0);
        Some(ScrapeEntry {
            info_hash: InfoHash(name.try_into().ok()?),
            complete: number(b"complete"),
            incomplete: number(b"incomplete"),
            downloaded: number(b"downloaded"),
        })
    };
    Ok(ScrapeReply::Entries(files.entries().filter_map(entry).collect()))
}

/// Reads the dictionary of a reply. Scripts may print a line break after it, or a byte order mark and blanks before it;
/// these are ignored.
fn dictionary(body: &[u8]) -> Result<View<'_>, BadReply> {
    if body.len() > MAX_TRACKER_REPLY {
        return Err(BadReply::TooLarge { len: body.len() });
    }
    let body = body.trim_ascii_start();
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body).trim_ascii_start();
    let root = View::parse(body, BencodeLimits::WIRE)?;
    if root.is_dict() { Ok(root) } else { Err(BadReply::NoDictionary) }
}

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// "If a tracker response has a key failure reason, then that maps to a human readable string which explains why the
/// query failed, and no other keys are required" (BEP 3). `retry in` (BEP 31) is in minutes, or `never`. Trackers
/// without BEP 31 may send `interval` and `min interval` here. The longest of these times is used.
fn failure(root: View<'_>) -> Option<TrackerFailure> {
    let reason = short_text(string(root, b"failure reason")?);
    let asked = root.find(b"retry in").and_then(|retry| match (retry.lenient_number(), retry.bytes()) {
        (Some(minutes), _) => u64::try_from(minutes).ok().map(after_minutes),
        (None, Some(b"never")) => Some(RetryIn::Never),
        (None, Some(text)) => std::str::from_utf8(text).ok()?.parse().ok().map(after_minutes),
        (None, None) => None,
    });
    let seconds = |key| number(root, key).and_then(|secs| u64::try_from(secs).ok()).filter(|secs| *secs > 0);
    let intervals = [seconds(b"interval"), seconds(b"min interval")].into_iter().flatten();
    let after = intervals.map(|secs| RetryIn::After(Duration::from_secs(secs)));
    Some(TrackerFailure { reason, retry_in: after.chain(asked).max() })
}

/// The time to wait in a tracker's `retry in`.
fn after_minutes(minutes: u64) -> RetryIn {
    RetryIn::After(Duration::from_secs(minutes.saturating_mul(60)))
}

/// The entries of `peers` and `peers6`, each compact or a list of dictionaries; a missing list is empty, and `None` is
/// an entry that cannot be read. An iterator, so that a reply full of peers does not cost many times its size (T-06).
fn peers(root: View<'_>) -> impl Iterator<Item = Option<SocketAddr>> {
    let run = |key| string(root, key).unwrap_or_default();
    let listed = move |key| root.find(key).into_iter().flat_map(View::items).map(listed_peer);
    let cut = |run, each| std::iter::repeat_n(None, usize::from(compact::is_cut(run, each)));
    let (v4, v6) = (run(b"peers"), run(b"peers6"));
    let in_v4 = compact::v4_peers(v4).map(Some).chain(cut(v4, V4_LEN)).chain(listed(b"peers"));
    let in_v6 = compact::v6_peers(v6).map(Some).chain(cut(v6, V6_LEN)).chain(listed(b"peers6"));
    in_v4.chain(in_v6)
}

/// A peer in the dictionary model of BEP 3. Host names instead of addresses are not looked up: otherwise a tracker
/// could make this client ask any name server for any name.
fn listed_peer(peer: View<'_>) -> Option<SocketAddr> {
    let ip = std::str::from_utf8(string(peer, b"ip")?).ok()?;
    let ip: IpAddr = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip).parse().ok()?;
    let port = peer.find(b"port")?.lenient_number().and_then(|port| u16::try_from(port).ok())?;
    Some(SocketAddr::new(ip, port))
}

/// An address of 4 or 16 bytes (BEP 24).
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|ip| IpAddr::V4(Ipv4Addr::from(ip)));
    v4.or_else(|_not_four| <[u8; 16]>::try_from(bytes).map(|ip| IpAddr::V6(Ipv6Addr::from(ip)))).ok()
}

/// The string of a key.
fn string<'a>(dict: View<'a>, key: &[u8]) -> Option<&'a [u8]> {
    dict.find(key)?.bytes()
}

/// The number of a key, canonical or not.
fn number(dict: View<'_>, key: &[u8]) -> Option<i64> {
    dict.find(key)?.lenient_number()
}

/// A number of peers; `None` if negative, capped if it is too large.
fn count(dict: View<'_>, key: &[u8]) -> Option<u32> {
    number(dict, key).filter(|count| *count >= 0).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
