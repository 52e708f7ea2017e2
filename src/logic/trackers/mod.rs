//! Decisions about the trackers of one torrent: which one is announced to and when (BEP 3, 12, 15).

pub mod announce;
pub mod families;
pub mod probe;
pub mod standings;
pub mod tiers;
pub mod udp_exchange;
