//! A toxic relay: passes traffic between a client and a peer or tracker, and damages it as configured, with toxiproxy's
//! names.
//!
//! The toxics can be changed while it runs, so that a fault can heal. It knows bytes and datagrams, not their meaning.

use std::net::SocketAddr;

use tokio::sync::watch;
use tokio::task::JoinHandle;

mod tcp;
pub mod toxic;
mod udp;

pub use tcp::spawn_tcp_relay;
use toxic::Toxics;
pub use udp::spawn_udp_relay;

/// What a relay has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayStats {
    /// Connections accepted; over UDP, addresses that sent something.
    pub connections: u64,
    /// Bytes passed on from the client.
    pub up: u64,
    /// Bytes passed back to the client.
    pub down: u64,
    /// Bytes discarded.
    pub lost: u64,
    /// Connections ended by a toxic.
    pub cut: u64,
}

/// A running relay. It ends, with all its connections, when this value is dropped.
#[derive(Debug)]
#[must_use = "the relay ends when this is dropped"]
pub struct Relay {
    addr: SocketAddr,
    toxics: watch::Sender<Toxics>,
    stats: watch::Receiver<RelayStats>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Returns the address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets the toxics, for open and new connections.
    pub fn set(&self, toxics: Toxics) {
        self.toxics.send_replace(toxics);
    }

    /// Returns a channel to set the toxics from any thread.
    pub fn toxics(&self) -> watch::Sender<Toxics> {
        self.toxics.clone()
    }

    /// Returns a channel with what it has done, to wait on from any thread.
    pub fn watch(&self) -> watch::Receiver<RelayStats> {
        self.stats.clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The state that all traffic of a relay shares.
#[derive(Debug)]
struct Post {
    to: SocketAddr,
    toxics: watch::Receiver<Toxics>,
    stats: watch::Sender<RelayStats>,
    seed: u64,
}

impl Post {
    fn note(&self, change: impl FnOnce(&mut RelayStats)) {
        self.stats.send_modify(change);
    }
}

#[cfg(test)]
mod tests;
