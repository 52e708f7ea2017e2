//! `tt-actors`: a BitTorrent client whose every moving part is a supervised actor.
//!
//! Imports go down only; see `docs/ARCHITECTURE.md` for the floors and what each must not know.

pub mod actors;
pub mod app;
pub mod base;
pub mod cli;
pub mod codec;
pub mod faults;
pub mod logic;
pub mod net;
#[cfg(feature = "faults")]
pub mod sim;
pub mod storage;
pub mod tracker;
