//! Floor 4: the supervision tree. Thin shells that move messages in and effects out; no rule of BitTorrent lives here.

pub mod arbiter_root;
pub mod disk_writer;
pub mod kit;
pub mod listener;
pub mod metrics;
pub mod peer_connection;
pub mod peer_pool;
pub mod piece_scheduler;
pub mod policies;
pub mod session;
#[cfg(test)]
pub(crate) mod testing;
pub mod torrent;
pub mod tracker;
pub mod tracker_supervisor;
pub mod view;
