//! Floor 0: the basic types that all other floors use.
//!
//! Knows `std` and `bytes`. Does not know wire formats, time or I/O.

pub mod bitfield;
pub mod disconnect;
pub mod geometry;
pub mod ids;
pub mod limits;
pub mod locked;
pub mod safe;
pub mod scheme;
pub mod units;
