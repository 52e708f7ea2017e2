//! The handshake of the extension protocol (BEP 10).

use std::net::IpAddr;

use bytes::Bytes;
use serde::Serialize;
use serde_bytes::ByteBuf;

use super::{BadExtended, DONT_HAVE, PEX, UPLOAD_ONLY};
use crate::codec::bencode::{BencodeLimits, View};

/// 200 bytes of a client's name: the longest in use have 40 bytes, and 64 characters are shown (P-24).
pub const MAX_CLIENT_LEN: usize = 200;

/// The message numbers that a peer assigns to the extensions it supports. `None`: the peer has not named the extension;
/// 0: "the extension is not supported", or no longer supported (BEP 10).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// `ut_pex` (BEP 11).
    pub pex: Option<u8>,
    /// `upload_only` (BEP 21).
    pub upload_only: Option<u8>,
    /// `lt_donthave` (BEP 54).
    pub dont_have: Option<u8>,
}

impl Numbers {
    /// The numbers that this client assigns; `ut_pex` only if `pex`, because private torrents do not allow it (BEP 27).
    pub fn ours(pex: bool) -> Self {
        Self { pex: pex.then_some(PEX), upload_only: Some(UPLOAD_ONLY), dont_have: Some(DONT_HAVE) }
    }

    /// Merges a later handshake into an earlier one: "the receiving end should not assume an extension disabled because
    /// it is not mentioned" (BEP 10).
    #[must_use]
    pub fn updated_by(self, later: Self) -> Self {
        Self {
            pex: later.pex.or(self.pex),
            upload_only: later.upload_only.or(self.upload_only),
            dont_have: later.dont_have.or(self.dont_have),
        }
    }
}

/// The extended handshake of a peer. Every field may be missing, and none need be true.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtendedHandshake {
    /// `m`: the message numbers of the peer.
    pub numbers: Numbers,
    /// `v`: name and version of the client; untrusted bytes, at most [`MAX_CLIENT_LEN`].
    pub client: Option<Vec<u8>>,
    /// `p`: the port on which the peer listens; not 0.
    pub port: Option<u16>,
    /// `reqq`: how many outstanding requests the peer accepts; not 0.
    pub reqq: Option<u32>,
    /// `yourip`: our address as the peer sees it.
    pub your_ip: Option<IpAddr>,
    /// `upload_only`: the peer will not download (BEP 21).
    pub upload_only: Option<bool>,
}

impl ExtendedHandshake {
    /// Reads a payload. A field that has the wrong type or is out of range counts as missing.
    pub(super) fn decode(payload: &[u8]) -> Result<Self, BadExtended> {
        let view = View::parse(payload, BencodeLimits::WIRE)?;
        if !view.is_dict() {
            return Err(BadExtended::NoDictionary);
        }
        let mut handshake = Self::default();
        for (key, value) in view.entries() {
            match key {
                b"m" => handshake.numbers = numbers(value),
                b"v" => handshake.client = value.bytes().map(client),
                b"p" => handshake.port = value.number().and_then(|port| port.try_into().ok()).filter(|port| *port > 0),
                b"reqq" => {
                    let reqq = value.number().filter(|reqq| *reqq > 0);
                    handshake.reqq = reqq.map(|reqq| u32::try_from(reqq).unwrap_or(u32::MAX));
                }
                b"yourip" => handshake.your_ip = value.bytes().and_then(ip),
                b"upload_only" => handshake.upload_only = value.number().map(|only| only != 0),
                _ => {}
            }
        }
        Ok(handshake)
    }

    /// The payload of the message.
    pub(super) fn encode(&self) -> Bytes {
        let Numbers { pex, upload_only, dont_have } = self.numbers;
        let form = Form {
            m: NumbersForm { lt_donthave: dont_have, upload_only, ut_pex: pex },
            p: self.port,
            reqq: self.reqq,
            upload_only: self.upload_only.map(u8::from),
            v: self.client.clone().map(ByteBuf::from),
            yourip: self.your_ip.map(|ip| match ip {
                IpAddr::V4(ip) => ByteBuf::from(ip.octets()),
                IpAddr::V6(ip) => ByteBuf::from(ip.octets()),
            }),
        };
        serde_bencode::to_bytes(&form).expect("numbers and strings have a form").into()
    }
}

/// The first [`MAX_CLIENT_LEN`] bytes of a client's name.
fn client(name: &[u8]) -> Vec<u8> {
    name.iter().copied().take(MAX_CLIENT_LEN).collect()
}

/// Reads the message numbers of the dictionary `m`.
fn numbers(m: View<'_>) -> Numbers {
    let mut numbers = Numbers::default();
    for (name, value) in m.entries() {
        let slot = match name {
            b"ut_pex" => &mut numbers.pex,
            b"upload_only" => &mut numbers.upload_only,
            b"lt_donthave" => &mut numbers.dont_have,
            _ => continue,
        };
        *slot = value.number().and_then(|number| number.try_into().ok());
    }
    numbers
}

/// An address of 4 or 16 bytes.
fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(|ip| IpAddr::from(ip).to_canonical());
    v4().or_else(|_| v6()).ok()
}

#[derive(Serialize)]
struct Form {
    m: NumbersForm,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reqq: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_only: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<ByteBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    yourip: Option<ByteBuf>,
}

#[derive(Serialize)]
struct NumbersForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    lt_donthave: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_only: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ut_pex: Option<u8>,
}
