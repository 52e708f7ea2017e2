//! UDP trackers, the client's side (BEP 15): requests out, replies in.
//!
//! A datagram that is shorter than its head is dropped (T-12); of a list that is cut short, what is whole is used. The
//! server's side is in [`server`]. Knows nothing of time, of retries, or of who sent what.

use bytes::{Buf, BufMut};

use super::compact::{self, V4_LEN, V6_LEN};
use super::tracker::{AnnounceReply, AnnounceRequest, Event, short_text};
use crate::base::ids::InfoHash;

pub mod server;

/// 74 swarms: "Up to about 74 torrents can be scraped at once", so that the reply fits one packet.
pub const MAX_SCRAPE: usize = 74;

/// The "magic constant" in place of a connection id, with which a client asks for one.
pub const PROTOCOL_ID: u64 = 0x0417_2710_1980;

const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;

/// What a tracker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UdpReply {
    /// Requests may follow under this id, for a minute.
    Connected {
        /// To be sent with every request.
        connection_id: u64,
    },
    /// The answer to an announce.
    Announced(AnnounceReply),
    /// Seeds, completed downloads and leeches of each swarm, in the order they were asked for.
    Scraped(Vec<(u32, u32, u32)>),
    /// A refusal in the tracker's words, cut. Not made safe for showing.
    Error(String),
}

/// Why a datagram is dropped (T-11, T-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDatagram {
    /// Too short for what it says it is.
    #[error("{len} bytes are too short")]
    TooShort {
        /// Its length in bytes.
        len: usize,
    },
    /// The answer to something else, or a forgery.
    #[error("transaction {got:08x} instead of {want:08x}")]
    Transaction {
        /// As received.
        got: u32,
        /// As sent with the request.
        want: u32,
    },
    /// None of the four actions.
    #[error("unknown action {0}")]
    Action(u32),
    /// The names of the swarms in a request are cut short.
    #[error("{len} bytes of swarms are no multiple of 20")]
    Scrape {
        /// Bytes behind the head.
        len: usize,
    },
    /// A request that does not start with the magic constant.
    #[error("no connect request")]
    Protocol,
}

/// 16 bytes: asks for a connection id.
pub fn encode_connect(transaction_id: u32) -> Vec<u8> {
    head(PROTOCOL_ID, CONNECT, transaction_id)
}

/// 98 bytes, and no address of ours: the tracker sees it.
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

/// Appends the path and query of the tracker's URL to an announce (BEP 41): "The data should be concatenated from multiple
/// options", each of 255 bytes at most. A tracker without paths ignores what follows an announce.
pub fn put_url_data(announce: &mut Vec<u8>, url_data: &str) {
    for part in url_data.as_bytes().chunks(usize::from(u8::MAX)) {
        announce.put_u8(URL_DATA);
        announce.put_u8(u8::try_from(part.len()).unwrap_or(u8::MAX));
        announce.put_slice(part);
    }
}

/// 16 bytes and 20 for each swarm, of which only the first [`MAX_SCRAPE`] are asked for.
pub fn encode_scrape(connection_id: u64, transaction_id: u32, swarms: &[InfoHash]) -> Vec<u8> {
    let mut out = head(connection_id, SCRAPE, transaction_id);
    for swarm in swarms.iter().take(MAX_SCRAPE) {
        out.put_slice(swarm.as_bytes());
    }
    out
}

fn head(connection_id: u64, action: u32, transaction_id: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(98);
    out.put_u64(connection_id);
    out.put_u32(action);
    out.put_u32(transaction_id);
    out
}

const fn event_number(event: Event) -> u32 {
    match event {
        Event::Periodic | Event::Paused => 0,
        Event::Completed => 1,
        Event::Started => 2,
        Event::Stopped => 3,
    }
}

/// Reads an answer. `ipv6` is the family of the socket: "18 bytes per peer" there instead of 6. That the answer is to
/// a request of this kind is for the caller to see.
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

fn scraped(numbers: &[u8; 12]) -> (u32, u32, u32) {
    let mut rest = &numbers[..];
    (rest.get_u32(), rest.get_u32(), rest.get_u32())
}

#[cfg(test)]
mod tests;
