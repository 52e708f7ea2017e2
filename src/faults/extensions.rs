//! What a hostile peer sends in the extension protocol (BEP 10): bombs in its handshake, floods of peers (BEP 11), lies
//! about metadata (BEP 9).
//!
//! It only builds bytes, by hand. Some are sent without a request, and a client that does not speak the extension must
//! survive them.

use bytes::Bytes;

use super::answers::{frame, kind};
use super::behaviour::{Behaviour, ExtendedBehaviour, MetadataAnswer};
use super::black_hole::dead_addr;
use super::torrent::{int, text};
use crate::codec::compact;

/// "the bit selected for the extension protocol is bit 20 from the right" (BEP 10): byte 5, 0x10.
pub(super) const EXTENSION_BYTE: usize = 5;
/// The mask of that bit in its byte.
pub(super) const EXTENSION_BIT: u8 = 0x10;

/// The message id of the handshake (BEP 10).
const HANDSHAKE: u8 = 0;
/// The message ids that our handshake assigns to what the other side sends us.
const OUR_PEX: u8 = 1;
const OUR_METADATA: u8 = 2;

/// The message ids that the other side gave to its extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct MessageNames {
    pex: u8,
    metadata: u8,
}

impl Default for MessageNames {
    /// The ids that most clients use, for a client that has not announced its own.
    fn default() -> Self {
        Self { pex: 1, metadata: 2 }
    }
}

impl MessageNames {
    /// Reads the ids from the handshake of the other side. It searches for the names anywhere in the text: an honest
    /// client writes each name once.
    pub(super) fn learn(&mut self, handshake: &[u8]) {
        let number = |name: &[u8]| {
            let at = handshake.windows(name.len()).position(|window| window == name)?;
            let digits = handshake.get(at + name.len()..)?.split(|byte| *byte == b'e').next()?;
            std::str::from_utf8(digits).ok()?.parse().ok()
        };
        self.pex = number(b"6:ut_pexi").unwrap_or(self.pex);
        self.metadata = number(b"11:ut_metadatai").unwrap_or(self.metadata);
    }
}

/// Returns the extension handshake with its faults, if the behaviour speaks the extension protocol.
pub(super) fn handshake(behaviour: &Behaviour) -> Option<Bytes> {
    if !behaviour.speaks_extensions() {
        return None;
    }
    let mut out = vec![HANDSHAKE];
    if let ExtendedBehaviour::Deep(depth) = behaviour.extended {
        // Nested lists that are never closed.
        let depth = usize::try_from(depth).unwrap_or(usize::MAX).min(MAX_DEPTH);
        out.extend(b"d1:m");
        out.resize(out.len() + depth, b'l');
        return Some(frame(kind::EXTENDED, &out));
    }
    out.extend(b"d1:md11:ut_metadata");
    int(&mut out, OUR_METADATA);
    text(&mut out, b"ut_pex");
    int(&mut out, OUR_PEX);
    out.push(b'e');
    if let Some(size) = &behaviour.metadata_size {
        text(&mut out, b"metadata_size");
        int(&mut out, size.0.escape_ascii());
    }
    let (port, reqq, name) = match behaviour.extended {
        ExtendedBehaviour::Numbers => ("0", "-2147483648", 4),
        ExtendedBehaviour::Name(len) => ("6881", "250", usize::try_from(len).unwrap_or(usize::MAX).min(MAX_NAME)),
        _ => ("6881", "250", 4),
    };
    text(&mut out, b"p");
    int(&mut out, port);
    text(&mut out, b"reqq");
    int(&mut out, reqq);
    text(&mut out, b"v");
    text(&mut out, &b"\x1b[2Jx".repeat(name / 5 + 1));
    out.push(b'e');
    Some(frame(kind::EXTENDED, &out))
}

/// 1 MiB of nesting and a name of 16 MiB: far beyond the limits of any client.
const MAX_DEPTH: usize = 1 << 20;
const MAX_NAME: usize = 16 << 20;

/// Returns one message of BEP 11 with this many peers: private, local and duplicate addresses, and many ports of one
/// host. `nth` makes the peers differ from those of other messages.
pub(super) fn pex(names: MessageNames, peers: u32, nth: u32) -> Bytes {
    let spread = |number: u32| {
        let low = u16::try_from(number.wrapping_add(nth.wrapping_mul(peers)) % 65_536).unwrap_or(0);
        match number % 4 {
            0 => std::net::SocketAddr::from(([192, 168, 1, 1], low | 1)),
            1 => std::net::SocketAddr::from(([127, 66, 0, 1], low | 1)),
            2 => std::net::SocketAddr::from(([127, 0, 0, 1], 22)),
            _ => dead_addr(low),
        }
    };
    let named: Vec<_> = (0..peers).map(spread).collect();
    let (v4, _none) = compact::split(&named);
    let mut out = vec![names.pex];
    out.extend(b"d5:added");
    text(&mut out, &v4);
    text(&mut out, b"added.f");
    text(&mut out, &vec![0x02; named.len()]);
    out.push(b'e');
    frame(kind::EXTENDED, &out)
}

/// Returns an answer about metadata, or an unrequested one: always about piece 0, with a false size.
pub(super) fn metadata(names: MessageNames, answer: MetadataAnswer) -> Option<Bytes> {
    let (kind_of, piece, len) = match answer {
        MetadataAnswer::Nothing => return None,
        MetadataAnswer::Reject => (2, "0", 0),
        MetadataAnswer::WrongHash => (1, "0", METADATA_PIECE),
        MetadataAnswer::WrongPiece => (1, "4294967296", METADATA_PIECE),
    };
    let mut out = vec![names.metadata];
    out.extend(b"d8:msg_type");
    int(&mut out, kind_of);
    text(&mut out, b"piece");
    int(&mut out, piece);
    if len > 0 {
        text(&mut out, b"total_size");
        int(&mut out, len);
    }
    out.push(b'e');
    out.resize(out.len() + len, b'd');
    Some(frame(kind::EXTENDED, &out))
}

/// The length of a metadata piece: "16KiB (16384 Bytes)" (BEP 9).
const METADATA_PIECE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(frame: &[u8]) -> String {
        frame.get(5..).unwrap().escape_ascii().to_string()
    }

    fn greeting(words: &str) -> Option<String> {
        handshake(&words.parse().unwrap()).map(|frame| shown(&frame))
    }

    #[test]
    fn each_handshake_word_yields_its_handshake() {
        assert_eq!(greeting(""), None);
        let honest = "\\x00d1:md11:ut_metadatai2e6:ut_pexi1ee1:pi6881e4:reqqi250e1:v5:\\x1b[2Jxe";
        assert_eq!(greeting("extended").unwrap(), honest);
        assert_eq!(greeting("pex_flood=10").unwrap(), honest);
        assert_eq!(greeting("extended_deep=4").unwrap(), "\\x00d1:mllll");
        assert!(greeting("extended_numbers").unwrap().contains("1:pi0e4:reqqi-2147483648e"));
        assert!(greeting("extended_name=1M").unwrap().len() > 1 << 20);
        assert!(greeting("metadata_size=-1").unwrap().contains("13:metadata_sizei-1e"));
    }

    #[test]
    fn the_ids_of_the_other_side_are_read() {
        let mut names = MessageNames::default();
        names.learn(b"d1:md11:ut_metadatai13e6:ut_pexi7ee1:v1:xe");
        assert_eq!((names.pex, names.metadata), (7, 13));
        names.learn(b"no bencode at all 6:ut_pexi");
        assert_eq!((names.pex, names.metadata), (7, 13));
    }

    #[test]
    fn floods_and_lies_are_frames_of_their_kind() {
        let flood = pex(MessageNames::default(), 100, 3);
        assert!(shown(&flood).starts_with("\\x01d5:added600:"));
        let table = [
            (MetadataAnswer::Reject, "\\x02d8:msg_typei2e5:piecei0ee"),
            (MetadataAnswer::WrongHash, "\\x02d8:msg_typei1e5:piecei0e10:total_sizei16384ee"),
            (MetadataAnswer::WrongPiece, "\\x02d8:msg_typei1e5:piecei4294967296e10:total_sizei16384ee"),
        ];
        for (answer, want) in table {
            assert!(shown(&metadata(MessageNames::default(), answer).unwrap()).starts_with(want), "{answer:?}");
        }
        assert_eq!(metadata(MessageNames::default(), MetadataAnswer::Nothing), None);
    }
}
