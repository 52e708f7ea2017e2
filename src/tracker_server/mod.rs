//! Floor 5: our tracker, which runs beside the client (`tt-actors tracker`).
//!
//! `logic::tracker_server` makes the decisions; this folder has the actors and the sockets. Knows the kit and the
//! metrics of `actors`, but neither the client's tree nor the terminal.
//!
//! ```text
//! TrackerServer      the root: the program ends with it
//! ├─ Metrics         logs counters
//! ├─ SwarmKeeper     all swarms, in one struct
//! ├─ HttpDesk × n    one listening socket: passes requests to the keeper and answers back
//! └─ UdpDesk × n     one datagram socket: the same, in batches
//! ```

mod connections;
mod http;
mod keeper;
pub mod pages;
pub mod run;
mod server;
pub mod state;
mod turns;
mod udp;

#[cfg(test)]
mod tests;
