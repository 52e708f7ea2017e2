//! Identities: torrents, peers, connections.

use std::fmt;
use std::str::FromStr;

/// The SHA-1 of a torrent's raw `info` dictionary (BEP 3): the name of a swarm. 20 bytes, shown as 40 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InfoHash(pub [u8; 20]);

impl InfoHash {
    /// The 20 raw bytes, as they go over the wire.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoHash({self})")
    }
}

/// The text of an info-hash is not 40 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadInfoHash;

impl fmt::Display for BadInfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an info-hash is 40 hex digits")
    }
}

impl std::error::Error for BadInfoHash {}

impl FromStr for InfoHash {
    type Err = BadInfoHash;

    fn from_str(text: &str) -> Result<Self, BadInfoHash> {
        let digits = text.as_bytes();
        if digits.len() != 40 {
            return Err(BadInfoHash);
        }
        let mut hash = [0; 20];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |digit: u8| char::from(digit).to_digit(16).ok_or(BadInfoHash);
            let value = nibble(pair[0])? << 4 | nibble(pair[1])?;
            *byte = u8::try_from(value).expect("two nibbles make a byte");
        }
        Ok(Self(hash))
    }
}

/// The 20-byte peer id that a peer gives itself (BEP 3), in any client's convention (BEP 20). It is not text: show it
/// through [`crate::base::safe::Safe`] or `logic::peer::client_name`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub [u8; 20]);

impl PeerId {
    /// Makes our own id: `-TA0100-` and twelve characters drawn by `random`. One per run (W-24); `-TT` is taken by
    /// `TuoTu`.
    pub fn ours(random: [u8; 12]) -> Self {
        const ALPHABET: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-.";
        let mut id = *b"-TA0100-000000000000";
        for (slot, dice) in id[8..].iter_mut().zip(random) {
            *slot = ALPHABET[usize::from(dice % 64)];
        }
        Self(id)
    }

    /// The 20 raw bytes, as they go over the wire.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.0.escape_ascii())
    }
}

/// The number of one incarnation of one connection to a peer. The pool gives it out and never uses it twice in a run,
/// so a message with the number of an ended connection has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey(pub u32);

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_info_hash_survives_its_own_text() {
        let hash = InfoHash(std::array::from_fn(|i| u8::try_from(i * 13).unwrap()));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for bad in ["", "zz", "0123456789012345678901234567890123456789x", "+123456789012345678901234567890123456789"] {
            assert_eq!(bad.parse::<InfoHash>(), Err(BadInfoHash), "{bad}");
        }
    }

    #[test]
    fn our_peer_id_has_our_prefix_and_readable_dice() {
        let id = PeerId::ours([255; 12]);
        assert_eq!(id.as_bytes(), b"-TA0100-............");
    }
}
