//! When which tracker is announced to (BEP 3, 12, 15).

pub mod announce;
pub mod families;
pub mod probe;
pub mod tiers;
pub mod udp_exchange;
