//! Peer exchange (BEP 11): the peers that somebody has got to know since the last time, and those it has left.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::Serialize;
use serde_bytes::ByteBuf;

use super::BadExtended;
use crate::codec::bencode::{BencodeLimits, View};
use crate::codec::compact::{self, V4_LEN, V6_LEN};

/// 100 added and 100 dropped are kept of a message: "at most 50 added peers per message" of each family (BEP 11), and the
/// rest of a longer one is not looked at (P-22).
pub const MAX_PEX: usize = 100;

/// The bits of `added.f` (BEP 11).
pub mod flag {
    /// "Prefers encryption, as indicated by e field in extension handshake".
    pub const PREFERS_ENCRYPTION: u8 = 0x01;
    /// "Seed", or one that takes nothing (BEP 21).
    pub const SEED: u8 = 0x02;
    /// "Outgoing connection, peer is reachable".
    pub const REACHABLE: u8 = 0x10;
}

/// One peer that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PexPeer {
    /// Where it listens, if the sender is honest.
    pub addr: SocketAddr,
    /// Bits of [`flag`]; 0 where none were sent.
    pub flags: u8,
}

/// One message of peer exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pex {
    /// New ones.
    pub added: Vec<PexPeer>,
    /// Those the sender is no longer connected to.
    pub dropped: Vec<SocketAddr>,
    /// Peers that the message named, kept or not.
    pub named: usize,
}

impl Pex {
    /// Reads a payload; keeps [`MAX_PEX`] added and as many dropped, those that come first, IPv4 before IPv6. IPv6
    /// addresses that mean IPv4 ones come out as such.
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
        // A list that is cut short still names the peers before the cut.
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

    /// The payload. Flags are sent for all.
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

/// One for each peer, also where there are too few.
fn flagged(flags: &[u8]) -> impl Iterator<Item = u8> {
    flags.iter().copied().chain(std::iter::repeat(0))
}

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
