//! Decisions about the pieces of one torrent: which block is requested from which peer, and what becomes of a piece
//! until it is hashed.

pub mod assembly;
pub mod block_senders;
pub mod picker;
pub mod scheduler;
pub mod suspects;
