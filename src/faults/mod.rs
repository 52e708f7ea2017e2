//! Floor 5: peers and trackers for the demo, the tests and the fault-injection harness. Knows base, codec and net; shares no decision with the client.

pub mod behaviour;
pub mod payload;
pub mod peer;
pub mod torrent;
pub mod words;

mod answers;
mod conversation;
mod pipe;
