//! The handshake, the first message of both sides (BEP 3), and the meaning of its reserved bits.

use bytes::{Buf, BufMut};

use crate::base::ids::{InfoHash, PeerId};

/// The first 20 bytes of every connection: a length byte and the name of the protocol.
pub const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// The handshake of either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// Bits for the protocols that the sender supports; see [`features`].
    pub reserved: [u8; 8],
    /// The torrent that the sender wants.
    pub info_hash: InfoHash,
    /// The peer id that the sender gives itself.
    pub peer_id: PeerId,
}

/// The first bytes are not those of the BitTorrent protocol (P-04).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the BitTorrent protocol")]
pub struct BadHandshake;

/// The extension protocol: "the bit selected for the extension protocol is bit 20 from the right" (BEP 10).
const EXTENDED: u8 = 0x10;

/// The Fast extension: "the third least significant bit in the last reserved byte" (BEP 6).
const FAST: u8 = 0x04;

impl Handshake {
    /// The length of a handshake in bytes.
    pub const LEN: usize = 68;

    /// The reserved bytes that this client sends.
    pub const OURS: [u8; 8] = [0, 0, 0, 0, 0, EXTENDED, 0, FAST];

    /// Whether the sender supports the extension protocol (BEP 10).
    pub const fn speaks_extensions(&self) -> bool {
        let [.., byte, _, _] = self.reserved;
        byte & EXTENDED != 0
    }

    /// Whether the sender supports the Fast extension (BEP 6).
    pub const fn speaks_fast(&self) -> bool {
        let [.., last] = self.reserved;
        last & FAST != 0
    }

    /// The bytes of the handshake.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        let mut rest = &mut out[..];
        rest.put_slice(PROTOCOL);
        rest.put_slice(&self.reserved);
        rest.put_slice(self.info_hash.as_bytes());
        rest.put_slice(self.peer_id.as_bytes());
        out
    }

    /// Reads a handshake from the first bytes received; `None` until there are 68. Bytes after those are ignored.
    /// Another protocol is refused at its first wrong byte.
    pub fn decode(input: &[u8]) -> Result<Option<Self>, BadHandshake> {
        if input.iter().zip(PROTOCOL).any(|(got, want)| got != want) {
            return Err(BadHandshake);
        }
        let Some(mut rest) = input.get(PROTOCOL.len()..Self::LEN) else { return Ok(None) };
        let mut handshake = Self { reserved: [0; 8], info_hash: InfoHash([0; 20]), peer_id: PeerId([0; 20]) };
        rest.copy_to_slice(&mut handshake.reserved);
        rest.copy_to_slice(&mut handshake.info_hash.0);
        rest.copy_to_slice(&mut handshake.peer_id.0);
        Ok(Some(handshake))
    }
}

/// The reserved bits with a known meaning: byte, mask, name (W-09). From BEP 4, 5, 6, 10 and 52 and the list in the
/// BitTorrent specification wiki.
const FEATURES: [(usize, u8, &str); 9] = [
    (0, 0x80, "Azureus messaging"),
    (2, 0x08, "location-aware protocol"),
    (5, EXTENDED, "extension protocol"),
    (5, 0x03, "extension negotiation"),
    (7, 0x01, "DHT"),
    (7, 0x02, "XBT peer exchange"),
    (7, FAST, "Fast"),
    (7, 0x08, "NAT traversal"),
    (7, 0x10, "v2 upgrade"),
];

/// The names of the reserved bits that are set in a handshake (W-09). The extensions for metadata and holepunch have no
/// bit: they are announced in the extension protocol.
pub fn features(reserved: &[u8; 8]) -> Vec<&'static str> {
    let set = |at: &usize, mask: &u8| reserved.get(*at).is_some_and(|byte| byte & mask != 0);
    FEATURES.iter().filter(|(at, mask, _name)| set(at, mask)).map(|(_at, _mask, name)| *name).collect()
}
