//! The relay for datagrams: one outer socket, and one inner socket for each client address, so that answers find their
//! client.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::sleep;

use super::tcp::late;
use super::toxic::Toxics;
use super::{Post, Relay, RelayStats};
use crate::faults::pipe::PipePace;
use crate::faults::tracker::{TROUBLE_PAUSE, refuse_unless};
use crate::net::{DatagramSocket, Net};

/// 64 KiB: any datagram.
const RECEIVE_LEN: usize = 64 * 1024;

/// 1,000 datagrams may wait for their delay; further ones are lost, as in a router.
const MAX_WAITING: usize = 1000;

/// 100 addresses: more clients than any scene has.
const MAX_CLIENTS: usize = 100;

/// Starts a relay for datagrams that listens at `at` (port 0: any) and sends to `to`. Must run where `spawn_local`
/// works. `timeout` and `stall` lose datagrams. Toxics that only a stream has (ends, resets, slices, limits) are
/// refused.
pub async fn spawn_udp_relay(
    net: &Net,
    at: SocketAddr,
    to: SocketAddr,
    toxics: Toxics,
    seed: u64,
) -> io::Result<Relay> {
    let Toxics { slow_close, reset_peer, slice, slice_variation, slice_delay, limit_data, .. } = &toxics;
    let times = [slow_close, reset_peer, slice_delay].iter().all(|toxic| toxic.is_none());
    let sizes = [slice, slice_variation, limit_data].iter().all(|toxic| toxic.is_none());
    refuse_unless(
        times && sizes,
        "datagrams have no ends, resets, slices or limits: latency, bandwidth, timeout, stall",
    )?;
    let socket = net.datagrams(at).await?;
    let addr = socket.local_addr()?;
    let (set, toxics) = watch::channel(toxics);
    let (tell, stats) = watch::channel(RelayStats::default());
    let post = Rc::new(Post { to, toxics, stats: tell, seed });
    let task = spawn_local(receive(socket, Net::clone(net), post));
    Ok(Relay { addr, toxics: set, stats, task })
}

async fn receive(socket: Rc<dyn DatagramSocket>, net: Net, post: Rc<Post>) {
    let mut clients: BTreeMap<SocketAddr, Rc<dyn DatagramSocket>> = BTreeMap::new();
    let mut way = Road::new(&post, true);
    let mut backs = JoinSet::new();
    let mut buffer = vec![0; RECEIVE_LEN];
    loop {
        let received = tokio::select! {
            biased;
            Some(_ended) = backs.join_next() => continue,
            received = socket.recv_from(&mut buffer) => received,
        };
        let Ok((len, from)) = received else {
            sleep(TROUBLE_PAUSE).await;
            continue;
        };
        if !clients.contains_key(&from) && clients.len() < MAX_CLIENTS {
            let any = SocketAddr::new(unspecified(post.to), 0);
            let Ok(far) = net.datagrams(any).await else { continue };
            post.note(|stats| stats.connections += 1);
            backs.spawn_local(back(Rc::clone(&far), Rc::clone(&socket), from, Rc::clone(&post)));
            clients.insert(from, far);
        }
        if let Some(far) = clients.get(&from) {
            way.carry(Bytes::copy_from_slice(&buffer[..len]), far, post.to).await;
        }
    }
}

fn unspecified(like: SocketAddr) -> std::net::IpAddr {
    if like.is_ipv4() { std::net::Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() }
}

/// Passes the answers for one client back until the relay ends.
async fn back(far: Rc<dyn DatagramSocket>, near: Rc<dyn DatagramSocket>, client: SocketAddr, post: Rc<Post>) {
    let mut way = Road::new(&post, false);
    let mut buffer = vec![0; RECEIVE_LEN];
    while !post.stats.is_closed() {
        match far.recv_from(&mut buffer).await {
            Ok((len, from)) if from == post.to => {
                way.carry(Bytes::copy_from_slice(&buffer[..len]), &near, client).await;
            }
            Ok(_stranger) => {}
            Err(_unreachable) => sleep(TROUBLE_PAUSE).await,
        }
    }
}

/// One direction.
struct Road {
    post: Rc<Post>,
    up: bool,
    dice: SmallRng,
    under_way: JoinSet<()>,
    pace: Option<(u64, PipePace)>,
}

impl Road {
    fn new(post: &Rc<Post>, up: bool) -> Self {
        let dice = SmallRng::seed_from_u64(post.seed ^ u64::from(up));
        Self { post: Rc::clone(post), up, dice, under_way: JoinSet::new(), pace: None }
    }

    /// Sends the datagram when it is due, or loses it.
    async fn carry(&mut self, datagram: Bytes, by: &Rc<dyn DatagramSocket>, to: SocketAddr) {
        while self.under_way.try_join_next().is_some() {}
        let toxics = self.post.toxics.borrow().holding(self.up);
        let len = datagram.len() as u64;
        if toxics.timeout.is_some() || toxics.stall || self.under_way.len() >= MAX_WAITING {
            return self.post.note(|stats| stats.lost += len);
        }
        if let Some(rate) = toxics.bandwidth {
            if self.pace.as_ref().is_none_or(|(old, _)| *old != rate) {
                self.pace = Some((rate, PipePace::new(rate)));
            }
            if let Some((_, pace)) = &self.pace {
                pace.pass(len).await;
            }
        }
        let wait = late(&toxics, &mut self.dice);
        let (by, post, up) = (Rc::clone(by), Rc::clone(&self.post), self.up);
        self.under_way.spawn_local(async move {
            sleep(wait).await;
            if by.send_to(&datagram, to).await.is_ok() {
                post.note(|stats| *(if up { &mut stats.up } else { &mut stats.down }) += len);
            }
        });
    }
}
