//! UDP trackers, the server's side (BEP 15): reads requests, makes replies.

use bytes::{Buf, BufMut};

use super::{ANNOUNCE, BadDatagram, CONNECT, ERROR, MAX_SCRAPE, PROTOCOL_ID, SCRAPE};
use crate::base::ids::{InfoHash, PeerId};
use crate::codec::compact;
use crate::codec::tracker::{AnnounceReply, AnnounceRequest, Event};

/// A request of a client. The reply repeats the transaction id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UdpRequest {
    /// The client asks for a connection id.
    Connect {
        /// The client's number for this request.
        transaction_id: u32,
    },
    /// The client announces itself.
    Announce {
        /// The connection id in the request; not checked here.
        connection_id: u64,
        /// The client's number for this request.
        transaction_id: u32,
        /// The fields of the announce.
        request: AnnounceRequest,
    },
    /// The client asks for the counts of swarms.
    Scrape {
        /// The connection id in the request; not checked here.
        connection_id: u64,
        /// The client's number for this request.
        transaction_id: u32,
        /// The torrents, at most [`MAX_SCRAPE`].
        swarms: Vec<InfoHash>,
    },
}

/// Reads a request. The bytes after an announce (the options of BEP 41) are ignored, and so is the address that a
/// client claims to have.
pub fn decode_request(datagram: &[u8]) -> Result<UdpRequest, BadDatagram> {
    let too_short = |_cut| BadDatagram::TooShort { len: datagram.len() };
    let mut rest = datagram;
    let connection_id = rest.try_get_u64().map_err(too_short)?;
    let action = rest.try_get_u32().map_err(too_short)?;
    let transaction_id = rest.try_get_u32().map_err(too_short)?;
    match action {
        CONNECT if connection_id == PROTOCOL_ID => Ok(UdpRequest::Connect { transaction_id }),
        CONNECT => Err(BadDatagram::Protocol),
        ANNOUNCE => {
            let request = announce(rest).ok_or(BadDatagram::TooShort { len: datagram.len() })?;
            Ok(UdpRequest::Announce { connection_id, transaction_id, request })
        }
        SCRAPE => match rest.as_chunks::<20>() {
            (swarms, []) => {
                let swarms = swarms.iter().take(MAX_SCRAPE).map(|hash| InfoHash(*hash)).collect();
                Ok(UdpRequest::Scrape { connection_id, transaction_id, swarms })
            }
            _ => Err(BadDatagram::Scrape { len: rest.len() }),
        },
        unknown => Err(BadDatagram::Action(unknown)),
    }
}

/// Reads the 82 bytes of an announce after the head.
fn announce(mut rest: &[u8]) -> Option<AnnounceRequest> {
    let (info_hash, tail) = rest.split_first_chunk()?;
    let (peer_id, tail) = tail.split_first_chunk()?;
    rest = tail;
    let downloaded = rest.try_get_u64().ok()?;
    let left = rest.try_get_u64().ok()?;
    let uploaded = rest.try_get_u64().ok()?;
    let event = match rest.try_get_u32().ok()? {
        1 => Event::Completed,
        2 => Event::Started,
        3 => Event::Stopped,
        _ => Event::Periodic,
    };
    let _claimed_address = rest.try_get_u32().ok()?;
    Some(AnnounceRequest {
        info_hash: InfoHash(*info_hash),
        peer_id: PeerId(*peer_id),
        uploaded,
        downloaded,
        left,
        event,
        key: rest.try_get_u32().ok()?,
        num_want: rest.try_get_u32().ok()?,
        port: rest.try_get_u16().ok()?,
        tracker_id: None,
    })
}

/// A reply of 16 bytes that gives out a connection id.
pub fn encode_connected(transaction_id: u32, connection_id: u64) -> Vec<u8> {
    let mut out = head(CONNECT, transaction_id);
    out.put_u64(connection_id);
    out
}

/// A reply to an announce: 20 bytes and the peers of the socket's address family. Peers of the other family and fields
/// that BEP 15 does not have are not sent. An interval beyond 32 bits is capped.
pub fn encode_announced(transaction_id: u32, reply: &AnnounceReply, ipv6: bool) -> Vec<u8> {
    let mut out = head(ANNOUNCE, transaction_id);
    let interval = reply.interval.unwrap_or(0);
    let limit = if interval < 0 { i32::MIN } else { i32::MAX };
    out.put_i32(i32::try_from(interval).unwrap_or(limit));
    out.put_u32(reply.incomplete.unwrap_or(0));
    out.put_u32(reply.complete.unwrap_or(0));
    for peer in reply.peers.iter().filter(|peer| peer.is_ipv6() == ipv6) {
        compact::put_peer(*peer, &mut out);
    }
    out
}

/// A reply to a scrape: 8 bytes and 12 for each swarm: seeds, completed downloads, leeches.
pub fn encode_scraped(transaction_id: u32, swarms: &[(u32, u32, u32)]) -> Vec<u8> {
    let mut out = head(SCRAPE, transaction_id);
    for (complete, downloaded, incomplete) in swarms {
        out.put_u32(*complete);
        out.put_u32(*downloaded);
        out.put_u32(*incomplete);
    }
    out
}

/// A reply that refuses a request.
pub fn encode_error(transaction_id: u32, message: &str) -> Vec<u8> {
    let mut out = head(ERROR, transaction_id);
    out.put_slice(message.as_bytes());
    out
}

/// The head of a reply, 8 bytes.
fn head(action: u32, transaction_id: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.put_u32(action);
    out.put_u32(transaction_id);
    out
}
