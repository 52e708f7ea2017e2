//! Which peer sent each block of a whole piece. One peer usually sent all of them, and then no list is kept.
//!
//! Senders are known by address, since a liar may come back over a new connection. The data itself is not kept here.

use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The sender of each block of a piece, in the order of the blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockSenders {
    /// One peer sent every block.
    Sole(SocketAddr),
    /// Several peers sent blocks, or there is no block.
    Each(Vec<SocketAddr>),
}

impl FromIterator<SocketAddr> for BlockSenders {
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(from: I) -> Self {
        let mut rest = from.into_iter();
        let Some(first) = rest.next() else { return Self::Each(Vec::new()) };
        let mut alike = 1;
        while let Some(next) = rest.next() {
            if next != first {
                return Self::Each(std::iter::repeat_n(first, alike).chain([next]).chain(rest).collect());
            }
            alike += 1;
        }
        Self::Sole(first)
    }
}

impl BlockSenders {
    /// The sender of all blocks, if one peer sent them all.
    pub const fn sole(&self) -> Option<SocketAddr> {
        match self {
            Self::Sole(addr) => Some(*addr),
            Self::Each(_) => None,
        }
    }

    /// The sender of the block with this number.
    pub fn of(&self, block: usize) -> Option<SocketAddr> {
        match self {
            Self::Sole(addr) => Some(*addr),
            Self::Each(from) => from.get(block).copied(),
        }
    }

    /// Whether this address sent any block.
    pub fn include(&self, addr: SocketAddr) -> bool {
        match self {
            Self::Sole(sole) => *sole == addr,
            Self::Each(from) => from.contains(&addr),
        }
    }

    /// Every sender, once.
    pub fn all(&self) -> BTreeSet<SocketAddr> {
        match self {
            Self::Sole(addr) => BTreeSet::from([*addr]),
            Self::Each(from) => from.iter().copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sole_sender_needs_no_list_and_several_keep_their_order() {
        let addr = |n: u16| SocketAddr::from(([10, 0, 0, 1], n));
        for (from, sole) in [
            (vec![], None),
            (vec![1], Some(1)),
            (vec![1, 1, 1], Some(1)),
            (vec![1, 2], None),
            (vec![1, 1, 2, 1, 3], None),
        ] {
            let senders: BlockSenders = from.iter().copied().map(addr).collect();
            assert_eq!(senders.sole(), sole.map(addr), "{from:?}");
            assert!(from.iter().enumerate().all(|(block, n)| senders.of(block) == Some(addr(*n))), "{from:?}");
            assert!((1..5).all(|n| senders.include(addr(n)) == from.contains(&n)), "{from:?}");
            assert_eq!(senders.all(), from.iter().copied().map(addr).collect(), "{from:?}");
        }
    }
}
