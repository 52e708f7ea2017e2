//! Decisions about all peers of one torrent: which to dial, to keep, to unchoke and to name to others.

pub mod address;
pub mod choke;
pub mod external_ip;
pub mod peer_book;
pub mod pending_inbound;
pub mod pex;
pub mod pool;
pub mod super_seed;
pub mod upload_counts;
