//! Peer exchange (BEP 11): the peers to which the sender has connected since its last message, and those it has left.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::Serialize;
use serde_bytes::ByteBuf;

use super::BadExtended;
use crate::codec::bencode::{BencodeLimits, View};
use crate::codec::compact::{self, V4_LEN, V6_LEN};

/// 100 added and 100 dropped peers are kept of a message: "at most 50 added peers per message" of each family (BEP 11).
/// The rest of a longer message is not read (P-22).
pub const MAX_PEX: usize = 100;

/// The bits of `added.f` (BEP 11).
pub mod flag {
    /// "Prefers encryption, as indicated by e field in extension handshake".
    pub const PREFERS_ENCRYPTION: u8 = 0x01;
    /// "Seed", or a peer that will not download (BEP 21).
    pub const SEED: u8 = 0x02;
    /// "Outgoing connection, peer is reachable".
    pub const REACHABLE: u8 = 0x10;
}

/// One peer that a message names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PexPeer {
    /// The address on which the peer listens, if the sender is honest.
    pub addr: SocketAddr,
    /// Bits of [`flag`]; 0 if no flags were sent.
    pub flags: u8,
}

/// One message of peer exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pex {
    /// Peers to which the sender has connected.
    pub added: Vec<PexPeer>,
    /// Addresses to which the sender is no longer connected.
    pub dropped: Vec<SocketAddr>,
    /// The number of peers that the message named, kept or not.
    pub named: usize,
}

impl Pex {
    /// Reads a payload. Keeps the first [`MAX_PEX`] added and the first [`MAX_PEX`] dropped peers, IPv4 before IPv6.
    /// IPv4 addresses that are mapped into IPv6 become IPv4.
    pub(super) fn decode(payload: &[u8]) -> Result<Self, BadExtended> {
        let view = View::parse(payload, BencodeLimits::WIRE)?;
        if !view.is_dict() {
            return Err(BadExtended::NoDictionary);
        }
        let [mut added, mut flags, mut added6, mut flags6, mut dropped, mut dropped6] = [&[][..]; 6];
        for (key, value) in view.entries() {
            let slot = match key {
                b"added" => &mut added,
                b"added.f" => &mut flags,
                b"added6" => &mut added6,
                b"added6.f" => &mut flags6,
                b"dropped" => &mut dropped,
                b"dropped6" => &mut dropped6,
                _ => continue,
            };
            *slot = value.bytes().unwrap_or_default();
        }
        // A list that is cut short still gives the peers before the cut.
        let v4 = compact::v4_peers(added).zip(flagged(flags));
        let v6 = compact::v6_peers(added6).zip(flagged(flags6));
        let added_all = v4.chain(v6).map(|(addr, flags)| PexPeer { addr: canonical(addr), flags });
        let dropped_all = compact::v4_peers(dropped).chain(compact::v6_peers(dropped6)).map(canonical);
        let lens = [(added, V4_LEN), (added6, V6_LEN), (dropped, V4_LEN), (dropped6, V6_LEN)];
        Ok(Self {
            added: added_all.take(MAX_PEX).collect(),
            dropped: dropped_all.take(MAX_PEX).collect(),
            named: lens.iter().map(|(run, each)| run.len().checked_div(*each).unwrap_or(0)).sum(),
        })
    }

    /// The payload of the message, with flags for all added peers.
    pub(super) fn encode(&self) -> Bytes {
        let addrs: Vec<SocketAddr> = self.added.iter().map(|peer| peer.addr).collect();
        let flags = |v6: bool| -> Vec<u8> {
            self.added.iter().filter(|peer| peer.addr.is_ipv6() == v6).map(|peer| peer.flags).collect()
        };
        let ((added, added6), (dropped, dropped6)) = (compact::split(&addrs), compact::split(&self.dropped));
        let run = |bytes: Vec<u8>| Some(ByteBuf::from(bytes)).filter(|bytes| !bytes.is_empty());
        let form = Form {
            added: ByteBuf::from(added),
            added_f: ByteBuf::from(flags(false)),
            added6: run(added6),
            added6_f: run(flags(true)),
            dropped: ByteBuf::from(dropped),
            dropped6: run(dropped6),
        };
        serde_bencode::to_bytes(&form).expect("strings have a form").into()
    }
}

/// The flags, followed by zeros without end: some peers may have no flag.
fn flagged(flags: &[u8]) -> impl Iterator<Item = u8> {
    flags.iter().copied().chain(std::iter::repeat(0))
}

/// The address, with an IPv4 address that is mapped into IPv6 as IPv4.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[derive(Serialize)]
struct Form {
    added: ByteBuf,
    #[serde(rename = "added.f")]
    added_f: ByteBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    added6: Option<ByteBuf>,
    #[serde(rename = "added6.f", skip_serializing_if = "Option::is_none")]
    added6_f: Option<ByteBuf>,
    dropped: ByteBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped6: Option<ByteBuf>,
}
