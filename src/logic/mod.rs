//! Floor 2: every rule of BitTorrent, as plain structs that are told the time and hand back effects. Does not know actix, tokio, files or clocks.

pub mod address;
pub mod announce;
pub mod choke;
pub mod client_name;
pub mod layout;
pub mod peer_book;
pub mod rate;
pub mod restart;
pub mod resume;
#[cfg(test)]
pub(crate) mod testing;
pub mod tiers;
pub mod udp_exchange;
pub mod why;
