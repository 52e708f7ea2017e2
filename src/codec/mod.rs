//! Floor 1: bytes to values and back. Knows base and `serde_bencode`; does not know sockets, clocks or decisions.
//!
//! Everything read here comes from a stranger: no function panics, whatever the bytes, and none allocates more than
//! its input justifies. The lints below make the usual slips visible.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

pub mod bencode;
pub mod compact;
pub mod tracker;
pub mod wire;
