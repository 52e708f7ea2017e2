//! HTTP trackers, the server's side: reads queries, makes replies.
//!
//! Knows nothing of HTTP itself and keeps no swarms.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde_bytes::ByteBuf;

use crate::base::ids::{InfoHash, PeerId};
use crate::codec::compact;
use crate::codec::tracker::{
    AnnounceReply, AnnounceRequest, Event, MAX_TRACKER_ID_LEN, RetryIn, ScrapeEntry, TrackerFailure,
};

/// 50: the number that trackers give if the client does not send `numwant` (BEP 3's usual default).
pub const DEFAULT_NUM_WANT: u32 = 50;

/// `left` of a client that sends none, or a negative number as some do for a magnet link. It makes the client no seed.
const UNKNOWN_LEFT: u64 = u64::MAX;

/// An announce, as read from a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnounceQuery {
    /// The fields of the announce.
    pub request: AnnounceRequest,
    /// The peers may be compact (BEP 23), which is the default unless `compact=0` was sent.
    pub compact: bool,
    /// The peer ids may be left out in the dictionary model.
    pub no_peer_id: bool,
    /// The address that the client claims to have, if it sends one. Not to be trusted.
    pub ip: Option<IpAddr>,
}

/// Why a query is not an announce or a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// A required pair is missing.
    #[error("missing {0}")]
    Missing(&'static str),
    /// A pair cannot be read.
    #[error("invalid {0}")]
    Invalid(&'static str),
}

/// Reads the query of an announce: the text after the `?` of the request target. Unknown pairs are ignored; if a pair
/// comes twice, the last one counts.
///
/// As tolerant as opentracker: only the info-hash is required. A peer without a port gets a reply but cannot be listed.
/// A number that cannot be read counts as missing, and an unknown event is a regular announce.
pub fn parse_query(query: &str) -> Result<AnnounceQuery, BadQuery> {
    let mut info_hash = None;
    let mut request = AnnounceRequest {
        info_hash: InfoHash([0; 20]),
        peer_id: PeerId([0; 20]),
        port: 0,
        uploaded: 0,
        downloaded: 0,
        left: UNKNOWN_LEFT,
        event: Event::Periodic,
        key: 0,
        num_want: DEFAULT_NUM_WANT,
        tracker_id: None,
    };
    let (mut compact, mut no_peer_id, mut ip) = (true, false, None);
    for (name, value) in pairs(query) {
        match name {
            "info_hash" => info_hash = Some(twenty(&value).ok_or(BadQuery::Invalid("info_hash"))?),
            "peer_id" => request.peer_id = PeerId(twenty(&value).ok_or(BadQuery::Invalid("peer_id"))?),
            "port" => request.port = port(&value)?,
            "uploaded" => request.uploaded = number(&value).unwrap_or(0),
            "downloaded" => request.downloaded = number(&value).unwrap_or(0),
            "left" => request.left = number(&value).unwrap_or(UNKNOWN_LEFT),
            "event" => request.event = event(&value),
            // The key is opaque. A client that does not send eight hex digits has key 0.
            "key" => request.key = text(&value).and_then(|key| u32::from_str_radix(key, 16).ok()).unwrap_or(0),
            // Some clients send -1 for the tracker's default.
            "numwant" => request.num_want = number(&value).map_or(DEFAULT_NUM_WANT, saturated),
            "trackerid" if value.len() <= MAX_TRACKER_ID_LEN => request.tracker_id = Some(value),
            "compact" => compact = value != b"0",
            "no_peer_id" => no_peer_id = value == b"1",
            "ip" => ip = text(&value).and_then(|ip| ip.parse().ok()),
            _ => {}
        }
    }
    request.info_hash = InfoHash(info_hash.ok_or(BadQuery::Missing("info_hash"))?);
    Ok(AnnounceQuery { request, compact, no_peer_id, ip })
}

/// Reads the query of a scrape. Returns the swarms that are asked for; none means all swarms.
pub fn parse_scrape_query(query: &str) -> Result<Vec<InfoHash>, BadQuery> {
    let hashes = pairs(query).filter(|(name, _value)| *name == "info_hash");
    hashes.map(|(_name, value)| twenty(&value).map(InfoHash).ok_or(BadQuery::Invalid("info_hash"))).collect()
}

/// The pairs of a query: names and unescaped values. A `+` stays a `+`: clients that escape by hand mean it so.
fn pairs(query: &str) -> impl Iterator<Item = (&str, Vec<u8>)> {
    let query = query.strip_prefix('?').unwrap_or(query);
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name, unescaped(value)))
}

/// Unescapes a value: `%xx` becomes a byte; a `%` before anything else stays as it is.
fn unescaped(value: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = (first == b'%').then(|| tail.split_first_chunk::<2>()).flatten();
        let byte = escape.and_then(|([high, low], tail)| Some((nibble(*high)? << 4 | nibble(*low)?, tail)));
        let (byte, tail) = byte.unwrap_or((first, tail));
        out.push(byte);
        rest = tail;
    }
    out
}

/// The value of a hexadecimal digit.
fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The value as text, if it is UTF-8.
fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

/// The value as a decimal number.
fn number(value: &[u8]) -> Option<u64> {
    text(value)?.parse().ok()
}

/// The number, capped to a `u32`.
fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The value, if it has 20 bytes.
fn twenty(value: &[u8]) -> Option<[u8; 20]> {
    value.try_into().ok()
}

/// A port. Clients that cannot be dialled send a negative number, which becomes 0.
fn port(value: &[u8]) -> Result<u16, BadQuery> {
    let is_negative = text(value).and_then(|port| port.parse().ok()).is_some_and(|port: i64| port < 0);
    if is_negative {
        return Ok(0);
    }
    number(value).and_then(|port| port.try_into().ok()).ok_or(BadQuery::Invalid("port"))
}

/// The event of an announce. `paused` (BEP 21) and any unknown word are a regular announce here.
fn event(value: &[u8]) -> Event {
    match value {
        b"started" => Event::Started,
        b"completed" => Event::Completed,
        b"stopped" => Event::Stopped,
        _ => Event::Periodic,
    }
}

/// The fields in the order of their keys, as bencode requires; `None` is not sent.
#[derive(Serialize, Default)]
struct RawReply {
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    downloaded: Option<u32>,
    #[serde(rename = "external ip", skip_serializing_if = "Option::is_none")]
    external_ip: Option<ByteBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<i64>,
    #[serde(rename = "min interval", skip_serializing_if = "Option::is_none")]
    min_interval: Option<i64>,
    peers: RawPeers,
    #[serde(skip_serializing_if = "Option::is_none")]
    peers6: Option<ByteBuf>,
    #[serde(rename = "tracker id", skip_serializing_if = "Option::is_none")]
    tracker_id: Option<ByteBuf>,
    #[serde(rename = "warning message", skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RawPeers {
    Compact(ByteBuf),
    Listed(Vec<RawPeer>),
}

impl Default for RawPeers {
    fn default() -> Self {
        Self::Compact(ByteBuf::new())
    }
}

#[derive(Serialize)]
struct RawPeer {
    ip: String,
    port: u16,
}

/// The body of a reply to an announce. Compact peers are split into `peers` and `peers6`; in the dictionary model all
/// are in `peers`, without peer ids.
pub fn encode_announce(reply: &AnnounceReply, compact: bool) -> Vec<u8> {
    let (peers, peers6) = if compact {
        let (v4, v6) = compact::split(&reply.peers);
        (RawPeers::Compact(ByteBuf::from(v4)), (!v6.is_empty()).then(|| ByteBuf::from(v6)))
    } else {
        let listed = reply.peers.iter().map(|peer| RawPeer { ip: peer.ip().to_string(), port: peer.port() });
        (RawPeers::Listed(listed.collect()), None)
    };
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ByteBuf::from(ip.octets()),
        IpAddr::V6(ip) => ByteBuf::from(ip.octets()),
    };
    encode(&RawReply {
        complete: reply.complete,
        downloaded: reply.downloaded,
        external_ip: reply.external_ip.map(octets),
        incomplete: reply.incomplete,
        interval: reply.interval,
        min_interval: reply.min_interval,
        peers,
        peers6,
        tracker_id: reply.tracker_id.clone().map(ByteBuf::from),
        warning: reply.warning.clone(),
    })
}

/// The body of a reply that refuses a request.
pub fn encode_failure(failure: &TrackerFailure) -> Vec<u8> {
    #[derive(Serialize)]
    struct Raw<'a> {
        #[serde(rename = "failure reason")]
        reason: &'a str,
        #[serde(rename = "retry in", skip_serializing_if = "Option::is_none")]
        retry_in: Option<Retry>,
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Retry {
        Minutes(u64),
        Never(&'static str),
    }
    let retry_in = failure.retry_in.map(|retry| match retry {
        RetryIn::After(time) => Retry::Minutes(time.as_secs().div_ceil(60)),
        RetryIn::Never => Retry::Never("never"),
    });
    encode(&Raw { reason: &failure.reason, retry_in })
}

/// The body of a reply to a scrape; each swarm comes once.
pub fn encode_scrape(entries: &[ScrapeEntry]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Numbers {
        complete: u32,
        downloaded: u32,
        incomplete: u32,
    }
    #[derive(Serialize)]
    struct Raw {
        files: BTreeMap<ByteBuf, Numbers>,
    }
    let numbers = |entry: &ScrapeEntry| Numbers {
        complete: entry.complete,
        downloaded: entry.downloaded,
        incomplete: entry.incomplete,
    };
    let files = entries.iter().map(|entry| (ByteBuf::from(entry.info_hash.0), numbers(entry))).collect();
    encode(&Raw { files })
}

/// The bencode of a reply.
fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_bencode::to_bytes(value).expect("strings, numbers and dictionaries of them have a form in bencode")
}
