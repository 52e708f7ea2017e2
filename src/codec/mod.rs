//! Floor 1: encoders and parsers. Knows base and `serde_bencode`; does not know sockets, clocks or decisions.
//!
//! All input is untrusted: no function panics, whatever the bytes, and none allocates more than its input justifies.
//! The lints below show the usual mistakes.

// Tests may index: a panic there is a failed test.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

pub mod bencode;
pub mod compact;
pub mod entry;
pub mod extended;
pub mod http_chunked;
pub mod http_head;
pub mod metainfo;
pub mod resume;
pub mod safe_path;
pub mod swarm_state;
pub mod tracker;
pub mod tracker_http;
pub mod tracker_udp;
pub mod wire;
