//! Messages of the extension protocol (BEP 10): its handshake, `ut_pex` (BEP 11), `lt_donthave` (BEP 54) and
//! `upload_only` (BEP 21).
//!
//! All input is untrusted: a wrong form is refused, a value out of range counts as missing, and lists are cut at a
//! limit (P-22, P-24). This module does not know which peer may send a message, or how often.

mod handshake;
mod pex;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::bencode::BadBencode;
pub use handshake::{ExtendedHandshake, MAX_CLIENT_LEN, Numbers};
pub use pex::{MAX_PEX, Pex, PexPeer, flag};

/// "The extended message ID. 0 = handshake" (BEP 10).
pub const HANDSHAKE: u8 = 0;

/// The number that we assign to `ut_pex`. All our numbers are libtorrent's, so that traces look alike.
pub const PEX: u8 = 1;
/// The number that we assign to `upload_only`.
pub const UPLOAD_ONLY: u8 = 3;
/// The number that we assign to `lt_donthave`.
pub const DONT_HAVE: u8 = 7;

/// A message of the extension protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtendedMessage {
    /// The sender's properties and its message numbers.
    Handshake(ExtendedHandshake),
    /// The peers to which the sender is now, or is no longer, connected.
    Pex(Pex),
    /// The sender lost a piece that it had announced. Whether the piece number exists is not checked.
    DontHave(u32),
    /// Whether the sender is a partial seed or seed that will not download.
    UploadOnly(bool),
}

/// Why a payload is not the message that its number stands for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadExtended {
    /// We have assigned this number to no message.
    #[error("extended message {0} is unknown")]
    Unknown(u8),
    /// The payload is not acceptable bencode.
    #[error("extended message: {0}")]
    Bencode(#[from] BadBencode),
    /// The payload is bencode but not a dictionary.
    #[error("extended message is no dictionary")]
    NoDictionary,
    /// The payload of a message of fixed length has another length.
    #[error("extended message {id} of {len} bytes")]
    Length {
        /// The number of the message.
        id: u8,
        /// The length of the payload in bytes.
        len: usize,
    },
}

/// Reads the payload of a message that was sent with one of our numbers.
pub fn decode(id: u8, payload: &[u8]) -> Result<ExtendedMessage, BadExtended> {
    match (id, payload) {
        (HANDSHAKE, _) => ExtendedHandshake::decode(payload).map(ExtendedMessage::Handshake),
        (PEX, _) => Pex::decode(payload).map(ExtendedMessage::Pex),
        (DONT_HAVE, [a, b, c, d]) => Ok(ExtendedMessage::DontHave(u32::from_be_bytes([*a, *b, *c, *d]))),
        (UPLOAD_ONLY, [only]) => Ok(ExtendedMessage::UploadOnly(*only != 0)),
        (DONT_HAVE | UPLOAD_ONLY, _) => Err(BadExtended::Length { id, len: payload.len() }),
        _ => Err(BadExtended::Unknown(id)),
    }
}

impl ExtendedMessage {
    /// The payload without the message number, which the receiver has assigned.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Handshake(handshake) => handshake.encode(),
            Self::Pex(pex) => pex.encode(),
            Self::DontHave(piece) => Bytes::copy_from_slice(&piece.to_be_bytes()),
            Self::UploadOnly(only) => Bytes::copy_from_slice(&[u8::from(*only)]),
        }
    }
}
