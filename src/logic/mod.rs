//! Floor 2: every rule of BitTorrent, as plain structs that are told the time and hand back effects. Does not know actix, tokio, files or clocks.

pub mod bucket;
pub mod busy_ratio;
pub mod disk;
pub mod peer;
pub mod peers;
pub mod pieces;
pub mod rate;
pub mod restart;
#[cfg(test)]
pub(crate) mod testing;
pub mod torrent;
pub mod tracker_server;
pub mod trackers;
