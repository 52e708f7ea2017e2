//! UDP trackers, the client's side (BEP 15): makes requests, reads replies.
//!
//! A datagram that is shorter than its head is dropped (T-12); of a list that is cut short the complete entries are
//! used. The server's side is in [`server`]. Knows nothing of time, of retries, or of addresses.

use bytes::{Buf, BufMut};

use super::compact::{self, V4_LEN, V6_LEN};
use super::tracker::{AnnounceReply, AnnounceRequest, Event, short_text};
use crate::base::ids::InfoHash;

pub mod server;

/// 74 swarms: "Up to about 74 torrents can be scraped at once", so that the reply fits one packet.
pub const MAX_SCRAPE: usize = 74;

/// The "magic constant" that a client sends in place of a connection id to ask for one.
pub const PROTOCOL_ID: u64 = 0x0417_2710_1980;

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

/// A reply of a tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UdpReply {
    /// The tracker gives out a connection id. Requests with it are accepted for a minute.
    Connected {
        /// The id to be sent with every request.
        connection_id: u64,
    },
    /// The reply to an announce.
    Announced(AnnounceReply),
    /// The numbers of seeds, completed downloads and leeches of each swarm, in the order of the request.
    Scraped(Vec<(u32, u32, u32)>),
    /// The tracker refused the request, for this reason in its own words, cut. Not made safe for showing.
    Error(String),
}

/// Why a datagram is dropped (T-11, T-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDatagram {
    /// The datagram is shorter than its action requires.
    #[error("{len} bytes are too short")]
    TooShort {
        /// The length of the datagram in bytes.
        len: usize,
    },
    /// The transaction id is another one: the reply belongs to another request, or is forged.
    #[error("transaction {got:08x} instead of {want:08x}")]
    Transaction {
        /// The transaction id in the datagram.
        got: u32,
        /// The transaction id of the request.
        want: u32,
    },
    /// The action is none of the four of BEP 15.
    #[error("unknown action {0}")]
    Action(u32),
    /// The list of info-hashes in a scrape request is cut short.
    #[error("{len} bytes of swarms are no multiple of 20")]
    Scrape {
        /// The length of the list in bytes.
        len: usize,
    },
    /// A connect request does not start with the magic constant.
    #[error("no connect request")]
    Protocol,
}

/// A connect request of 16 bytes, which asks for a connection id.
pub fn encode_connect(transaction_id: u32) -> Vec<u8> {
    head(PROTOCOL_ID, CONNECT, transaction_id)
}

/// An announce request of 98 bytes. It does not contain our address: the tracker sees it.
pub fn encode_announce(connection_id: u64, transaction_id: u32, request: &AnnounceRequest) -> Vec<u8> {
    let mut out = head(connection_id, ANNOUNCE, transaction_id);
    out.put_slice(request.info_hash.as_bytes());
    out.put_slice(request.peer_id.as_bytes());
    out.put_u64(request.downloaded);
    out.put_u64(request.left);
    out.put_u64(request.uploaded);
    out.put_u32(event_number(request.event));
    out.put_u32(0);
    out.put_u32(request.key);
    out.put_u32(request.num_want);
    out.put_u16(request.port);
    out
}

/// "URLData": the option of BEP 41 that holds the path and query of the tracker's URL.
const URL_DATA: u8 = 2;

/// Appends the path and query of the tracker's URL to an announce (BEP 41): "The data should be concatenated from
/// multiple options", each of 255 bytes at most. A tracker without BEP 41 ignores the bytes after an announce.
pub fn put_url_data(announce: &mut Vec<u8>, url_data: &str) {
    for part in url_data.as_bytes().chunks(usize::from(u8::MAX)) {
        announce.put_u8(URL_DATA);
        announce.put_u8(u8::try_from(part.len()).unwrap_or(u8::MAX));
        announce.put_slice(part);
    }
}

/// A scrape request: 16 bytes and 20 for each swarm. Only the first [`MAX_SCRAPE`] swarms are included.
pub fn encode_scrape(connection_id: u64, transaction_id: u32, swarms: &[InfoHash]) -> Vec<u8> {
    let mut out = head(connection_id, SCRAPE, transaction_id);
    for swarm in swarms.iter().take(MAX_SCRAPE) {
        out.put_slice(swarm.as_bytes());
    }
    out
}

/// The head of a request, 16 bytes.
fn head(connection_id: u64, action: u32, transaction_id: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(98);
    out.put_u64(connection_id);
    out.put_u32(action);
    out.put_u32(transaction_id);
    out
}

/// The number of an event in a request.
const fn event_number(event: Event) -> u32 {
    match event {
        Event::Periodic | Event::Paused => 0,
        Event::Completed => 1,
        Event::Started => 2,
        Event::Stopped => 3,
    }
}

/// Reads a reply. `want` is the transaction id of the request. `ipv6` is the address family of the socket: "18 bytes
/// per peer" there instead of 6. The caller must check that the reply is of the kind it asked for.
pub fn decode_reply(datagram: &[u8], want: u32, ipv6: bool) -> Result<UdpReply, BadDatagram> {
    let too_short = |_cut| BadDatagram::TooShort { len: datagram.len() };
    let mut rest = datagram;
    let action = rest.try_get_u32().map_err(too_short)?;
    let got = rest.try_get_u32().map_err(too_short)?;
    if got != want {
        return Err(BadDatagram::Transaction { got, want });
    }
    match action {
        CONNECT => rest.try_get_u64().map(|connection_id| UdpReply::Connected { connection_id }).map_err(too_short),
        ANNOUNCE => {
            let mut number = || rest.try_get_u32().map_err(too_short);
            let (interval, incomplete, complete) = (number()?, number()?, number()?);
            let mut reply = AnnounceReply {
                // "interval" is a 32-bit integer, and integers there are signed.
                interval: Some(interval.cast_signed().into()),
                incomplete: Some(incomplete),
                complete: Some(complete),
                ..AnnounceReply::default()
            };
            if ipv6 {
                reply.take_peers(compact::v6_peers(rest));
            } else {
                reply.take_peers(compact::v4_peers(rest));
            }
            let each = if ipv6 { V6_LEN } else { V4_LEN };
            reply.peers_unreadable = u32::from(compact::is_cut(rest, each));
            Ok(UdpReply::Announced(reply))
        }
        SCRAPE => match rest.as_chunks::<12>() {
            ([], [_, ..]) => Err(BadDatagram::TooShort { len: datagram.len() }),
            (swarms, _cut) => Ok(UdpReply::Scraped(swarms.iter().take(MAX_SCRAPE).map(scraped).collect())),
        },
        ERROR => Ok(UdpReply::Error(short_text(rest))),
        unknown => Err(BadDatagram::Action(unknown)),
    }
}

/// Seeds, completed downloads and leeches of one swarm.
fn scraped(numbers: &[u8; 12]) -> (u32, u32, u32) {
    let mut rest = &numbers[..];
    (rest.get_u32(), rest.get_u32(), rest.get_u32())
}

#[cfg(test)]
mod tests;
