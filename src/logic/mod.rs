//! Floor 2: every rule of BitTorrent, as plain structs that are told the time and hand back effects. Does not know actix, tokio, files or clocks.

pub mod assembly;
pub mod picker;
pub mod requests;
pub mod scheduler;
pub mod suspects;
