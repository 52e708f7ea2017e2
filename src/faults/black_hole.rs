//! Addresses that give no answer: a listener that stays silent, and addresses without a listener.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use crate::net::{Listen, Net};

/// 1,000 connections are held; later ones wait in the backlog.
const MAX_HELD: usize = 1000;

/// 10 ms: after a failed accept (no descriptors left), the next one would fail too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A listener that accepts and never reads, writes or closes (P-02, T-03). It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the black hole ends when this is dropped"]
pub struct BlackHole {
    addr: SocketAddr,
    swallowed: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

/// Starts a black hole at this address. Must run where `spawn_local` works.
pub async fn spawn_black_hole(net: &Net, at: SocketAddr) -> io::Result<BlackHole> {
    let listener = net.listen(at).await?;
    let addr = listener.local_addr()?;
    let (sender, swallowed) = watch::channel(0);
    Ok(BlackHole { addr, swallowed, task: spawn_local(swallow(listener, sender)) })
}

async fn swallow(listener: Box<dyn Listen>, swallowed: watch::Sender<usize>) {
    let mut held = Vec::new();
    while held.len() < MAX_HELD {
        match listener.accept().await {
            Ok((stream, _from)) => held.push(stream),
            Err(_no_descriptors) => sleep(ACCEPT_PAUSE).await,
        }
        swallowed.send_replace(held.len());
    }
    std::future::pending::<()>().await;
}

impl BlackHole {
    /// Returns its address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns a channel with the number of connections it holds, to wait on from any thread.
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.swallowed.clone()
    }
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the `nth` of 65,536 loopback addresses without a listener, so that no packet leaves the machine (P-01,
/// T-18). Linux refuses connections to them at once; on other systems they time out.
pub fn dead_addr(nth: u16) -> SocketAddr {
    let [high, low] = nth.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 66, high, low), DEAD_PORT))
}

/// Below the ephemeral ports of the usual systems, above the usual ports of `BitTorrent` clients.
const DEAD_PORT: u16 = 7999;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::loopback::{ANY_PORT, run};
    use crate::net::sockets::Sockets;
    use tokio::io::AsyncWriteExt;

    #[test]
    fn a_black_hole_accepts_and_a_dead_address_refuses() {
        run(async {
            let net = Sockets::any();
            let hole = spawn_black_hole(&net, ANY_PORT).await.unwrap();
            let mut stream = net.connect(hole.addr()).await.unwrap();
            stream.write_all(b"anybody there?").await.unwrap();
            hole.watch().wait_for(|held| *held == 1).await.unwrap();
            for nth in [0, 1, u16::MAX] {
                assert!(net.connect(dead_addr(nth)).await.is_err());
            }
        });
    }
}
