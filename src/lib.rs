//! `tt-actors`: a BitTorrent client whose every moving part is a supervised actor.
//!
//! Imports go down only; see `docs/ARCHITECTURE.md` for the floors and what each must not know.

pub mod base;
pub mod codec;

// The fuzz targets call the codec and build nothing above it.
#[cfg(not(fuzzing))]
pub mod actors;
#[cfg(not(fuzzing))]
pub mod app;
#[cfg(not(fuzzing))]
pub mod cli;
#[cfg(not(fuzzing))]
pub mod faults;
#[cfg(not(fuzzing))]
pub mod logic;
#[cfg(not(fuzzing))]
pub mod net;
#[cfg(all(feature = "faults", not(fuzzing)))]
pub mod sim;
#[cfg(not(fuzzing))]
pub mod storage;
#[cfg(not(fuzzing))]
pub mod system;
#[cfg(not(fuzzing))]
pub mod tracker_server;
