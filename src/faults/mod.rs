//! Floor 5: peers and trackers for the demo, the tests and the fault-injection harness. Knows base, codec and net;
//! shares no decision with the client.

pub mod behaviour;
pub mod behaviour_syntax;
pub mod black_hole;
pub mod catalogue;
pub mod client_output;
pub mod folder;
pub mod full_house;
pub mod gzip_bomb;
pub mod harness;
pub mod host;
pub mod payload;
pub mod peer;
pub mod program;
pub mod referee;
pub mod relay;
pub mod scenario;
pub mod sockets;
pub mod swarms;
pub mod torrent;
pub mod tracker;
pub mod tracker_behaviour;
pub mod tracker_http;
pub mod tracker_tls;
pub mod tracker_udp;

mod answers;
mod conversation;
mod extensions;
#[cfg(test)]
mod loopback;
mod pipe;
