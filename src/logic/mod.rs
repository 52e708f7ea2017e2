//! Floor 2: every rule of BitTorrent, as plain structs that are told the time and hand back effects. Does not know actix, tokio, files or clocks.

pub mod address;
pub mod announce;
pub mod assembly;
pub mod bucket;
pub mod choke;
pub mod client_name;
pub mod conversation;
pub mod disk_health;
pub mod doubt;
pub mod flush;
pub mod gather;
pub mod given;
pub mod layout;
pub mod lobby;
pub mod outside;
pub mod parts;
pub mod peer_book;
pub mod pex;
pub mod picker;
pub mod probe;
pub mod rate;
pub mod requests;
pub mod restart;
pub mod resume;
pub mod scheduler;
pub mod seeding;
pub mod selection;
pub mod share;
pub mod suspects;
#[cfg(test)]
pub(crate) mod testing;
pub mod tiers;
pub mod tracker;
pub mod udp_exchange;
pub mod uploads;
pub mod why;
