//! A peer on a listening socket: an honest seed by default, hostile as its [`Behaviour`] says.
//!
//! One task accepts connections, one task per connection runs the protocol. It knows no trackers.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::sleep;

use super::behaviour::Behaviour;
use super::conversation::{PeerShared, converse};
use super::torrent::Offer;
use crate::net::{Listen, Net};

/// 1,000 connections: more than any test opens, fewer than the descriptors of a process.
const MAX_CONNECTIONS: usize = 1000;

/// 10 ms: after a failed accept (no descriptors left), the next one would fail too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What a peer has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// Connections accepted.
    pub connections: u64,
    /// Valid handshakes received for our torrent.
    pub handshakes: u64,
    /// Requests received.
    pub requests: u64,
    /// Blocks sent in answer: good, bad and duplicate ones, and those that the end of the connection cut off.
    pub blocks: u64,
    /// Bytes sent, all of them.
    pub bytes: u64,
    /// Bytes of blocks that were sent to this peer.
    pub received: u64,
    /// False blocks and false answers, also those that the end of the connection cut off.
    pub lies: u64,
    /// Connections that this peer reset.
    pub resets: u64,
    /// Connections that this peer closed.
    pub closes: u64,
    /// Connections that ended otherwise: the other side closed them or broke the protocol.
    pub lost: u64,
}

/// A running peer. It ends, with all its connections, when this value is dropped.
#[derive(Debug)]
#[must_use = "the peer ends when this is dropped"]
pub struct FaultyPeer {
    addr: SocketAddr,
    stats: watch::Receiver<PeerStats>,
    task: JoinHandle<()>,
}

/// Starts a peer that listens at `at` (port 0: any). Must run where `spawn_local` works. All its random numbers follow
/// from `seed`.
pub async fn spawn_peer(
    net: &Net,
    at: SocketAddr,
    offer: Offer,
    behaviour: Behaviour,
    seed: u64,
) -> io::Result<FaultyPeer> {
    let listener = net.listen(at).await?;
    let addr = listener.local_addr()?;
    let (sender, stats) = watch::channel(PeerStats::default());
    let shared = PeerShared::new(offer, behaviour, seed, sender);
    let task = spawn_local(accept(listener, Rc::new(shared)));
    Ok(FaultyPeer { addr, stats, task })
}

async fn accept(listener: Box<dyn Listen>, shared: Rc<PeerShared>) {
    let mut talks = JoinSet::new();
    let mut nth = 0;
    loop {
        tokio::select! {
            biased;
            Some(_ended) = talks.join_next() => {}
            accepted = listener.accept(), if talks.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _from)) => {
                    nth += 1;
                    shared.note(|stats| stats.connections += 1);
                    talks.spawn_local(converse(stream, Rc::clone(&shared), nth));
                }
                Err(_no_descriptors) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

impl FaultyPeer {
    /// Returns the address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns what it has done so far.
    pub fn stats(&self) -> PeerStats {
        *self.stats.borrow()
    }

    /// Returns a channel with what it has done, to wait on from any thread.
    pub fn watch(&self) -> watch::Receiver<PeerStats> {
        self.stats.clone()
    }

    /// Stops it. Afterwards its port and its connections are closed.
    pub async fn stop(mut self) {
        self.task.abort();
        drop((&mut self.task).await);
    }
}

impl Drop for FaultyPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
