//! Floor 4: the supervision tree. Thin shells that move messages in and effects out; no rule of BitTorrent lives here.

pub mod kit;
