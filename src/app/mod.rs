//! Floor 5: configuration, placement of actors, start and stop. Does not know the terminal.

pub mod arbiters;
pub mod config;
pub mod descriptors;
pub mod hook;
pub mod outcome;
pub mod run;
mod stall;
mod torrents;
