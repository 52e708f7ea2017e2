//! Messages of the extension protocol (BEP 10): its handshake, `ut_pex` (BEP 11), `lt_donthave` (BEP 54) and
//! `upload_only` (BEP 21).
//!
//! Everything here is read from strangers: what has the wrong form is refused, what is out of range counts as not said,
//! and a list is cut where nobody needs more of it (P-22, P-24). Does not know who may send what, or how often.

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

/// What we call the messages that others may send us: libtorrent's numbers, so that traces read alike.
pub const PEX: u8 = 1;
/// `upload_only`.
pub const UPLOAD_ONLY: u8 = 3;
/// `lt_donthave`.
pub const DONT_HAVE: u8 = 7;

/// A message by one of our numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtendedMessage {
    /// Who the sender is and what it calls its messages.
    Handshake(ExtendedHandshake),
    /// Whom the sender is, or is no longer, connected to.
    Pex(Pex),
    /// It lost a piece that it had announced; whether that piece exists is not checked.
    DontHave(u32),
    /// It will take nothing, or will again.
    UploadOnly(bool),
}

/// Why a payload is not what its number says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadExtended {
    /// No number of ours.
    #[error("extended message {0} is unknown")]
    Unknown(u8),
    /// Not the bencode we accept.
    #[error("extended message: {0}")]
    Bencode(#[from] BadBencode),
    /// Bencode, but no dictionary.
    #[error("extended message is no dictionary")]
    NoDictionary,
    /// A payload of a fixed length that has another.
    #[error("extended message {id} of {len} bytes")]
    Length {
        /// Its number.
        id: u8,
        /// Its bytes.
        len: usize,
    },
}

/// Reads a message that was sent by one of our numbers.
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
    /// The payload, without its number: that is the receiver's.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Handshake(handshake) => handshake.encode(),
            Self::Pex(pex) => pex.encode(),
            Self::DontHave(piece) => Bytes::copy_from_slice(&piece.to_be_bytes()),
            Self::UploadOnly(only) => Bytes::copy_from_slice(&[u8::from(*only)]),
        }
    }
}
