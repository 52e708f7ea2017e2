//! Floor 5: a tracker that serves, beside the client (`tt-actors tracker`).
//!
//! What it decides is `logic::tracker_server`; here are its actors and its sockets. Knows the kit and the metrics of `actors`,
//! not the client's tree, and nothing of the terminal.
//!
//! ```text
//! TrackerServer      the root: its end is the program's end
//! ├─ Metrics         counters into the log
//! ├─ SwarmKeeper     all swarms, in one struct
//! ├─ HttpDesk × n    one listening socket: requests to the keeper, its answers back
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
