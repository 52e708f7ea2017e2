//! `tt-actors`: a BitTorrent client whose every moving part is a supervised actor.
//!
//! Imports go down only; see `docs/ARCHITECTURE.md` for the floors and what each must not know.

pub mod base;
