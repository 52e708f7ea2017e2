//! `Listener`: accepts inbound connections and passes each to the pool of its torrent.
//!
//! * Owns the listening socket and the connections before their handshake.
//! * Parent: `Session`. Restart policy: permanent, ten restarts in a minute. The list of served torrents survives.
//! * Handles `RegisterTorrent`. Sends `PeerArrived` to the pool with the info-hash of the handshake. Asks no other
//!   actor.
//! * Closes a connection for another info-hash without a message.
//! * Limits: those of [`PendingInbound`], and [`HANDSHAKE_TIMEOUT`] for each connection.
//! * Stops when its parent tells it to.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::future::{AbortHandle, abortable};
use tokio::time::timeout;

use super::kit::{Child, Ctx, Goodbye};
use super::peer_pool::PeerArrived;
use crate::base::disconnect::DisconnectReason;
use crate::base::ids::InfoHash;
use crate::base::limits::HANDSHAKE_TIMEOUT;
use crate::codec::wire::Handshake;
use crate::logic::peers::address::canonical;
use crate::logic::peers::pending_inbound::{Admission, PendingInbound, Ticket};
use crate::net::listen::greeting;
use crate::net::{BoxStream, Listen};

/// 1 s until the next attempt when no connection can be accepted, as without free descriptors.
const REST: Duration = Duration::from_secs(1);

/// Passes inbound connections for this torrent to this pool. The last message for an info-hash counts; a pool that has
/// ended is removed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RegisterTorrent {
    /// The info-hash of the torrent.
    pub info_hash: InfoHash,
    /// The pool of the torrent.
    pub pool: Recipient<PeerArrived>,
}

/// What a listener is made from.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// The listening socket.
    pub door: Rc<dyn Listen>,
    /// The most connections that may wait for their handshake.
    pub places: usize,
}

/// The listener. The head of this file describes it.
#[derive(Debug)]
pub struct Listener {
    cfg: ListenerConfig,
    // Kept over restarts.
    pools: BTreeMap<InfoHash, Recipient<PeerArrived>>,
    // Live.
    lobby: PendingInbound,
    waiting: BTreeMap<Ticket, AbortHandle>,
}

crate::metered!(Listener, "Listener");

impl Listener {
    /// A listener that accepts connections once it is started.
    pub fn new(cfg: ListenerConfig) -> Self {
        let lobby = PendingInbound::new(cfg.places);
        Self { cfg, pools: BTreeMap::new(), lobby, waiting: BTreeMap::new() }
    }

    /// Accepts the next connection after `rest`.
    fn take_the_next(&self, ctx: &mut Ctx<Self>, rest: Duration) {
        let door = Rc::clone(&self.cfg.door);
        let taken = async move {
            // `sleep` takes at least a millisecond, even for a zero duration.
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
            door.accept().await
        };
        ctx.spawn(taken.into_actor(self).map(|taken, act, ctx| act.on_taken(taken, ctx)));
    }

    /// Handles an accepted connection or the error, and accepts the next one.
    fn on_taken(&mut self, taken: io::Result<(BoxStream, SocketAddr)>, ctx: &mut Ctx<Self>) {
        let rest = match taken {
            Ok((stream, from)) => {
                self.admit(stream, canonical(from), ctx);
                Duration::ZERO
            }
            // The peer closed the connection while it was accepted.
            Err(error) if DisconnectReason::from_io(&error) == DisconnectReason::Reset => Duration::ZERO,
            Err(error) => {
                tracing::warn!(%error, retry_s = REST.as_secs(), "no connection can be taken, will try again");
                REST
            }
        };
        self.take_the_next(ctx, rest);
    }

    /// Reads the handshake of a connection, if it may wait.
    fn admit(&mut self, mut stream: BoxStream, from: SocketAddr, ctx: &mut Ctx<Self>) {
        let Admission::Admitted(ticket, evicted) = self.lobby.on_arrival(from) else {
            return tracing::debug!(addr = %from, "too many come from there, one is not taken");
        };
        if let Some(evicted) = evicted.and_then(|evicted| self.waiting.remove(&evicted)) {
            evicted.abort();
        }
        let (greeted, handle) = abortable(async move {
            let greeted = timeout(HANDSHAKE_TIMEOUT, greeting(&mut stream)).await;
            greeted.unwrap_or(Err(DisconnectReason::HandshakeTimeout)).map(|theirs| (stream, theirs))
        });
        self.waiting.insert(ticket, handle);
        ctx.spawn(greeted.into_actor(self).map(move |greeted, act, _| {
            act.lobby.on_left(ticket);
            act.waiting.remove(&ticket);
            match greeted {
                Ok(Ok((stream, theirs))) => act.route(stream, from, theirs),
                Ok(Err(farewell)) => tracing::debug!(addr = %from, cause = farewell.label(), "a stranger is gone"),
                Err(_aborted) => tracing::debug!(addr = %from, "a stranger waited for too long, others come"),
            }
        }));
    }

    /// Passes a connection to the pool that its handshake names.
    fn route(&mut self, stream: BoxStream, addr: SocketAddr, theirs: Handshake) {
        self.pools.retain(|_, pool| pool.connected());
        let Some(pool) = self.pools.get(&theirs.info_hash) else {
            return tracing::debug!(%addr, info_hash = %theirs.info_hash, "a stranger wants what is not served here");
        };
        pool.do_send(PeerArrived { stream, addr, theirs });
    }
}

impl Actor for Listener {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.take_the_next(ctx, Duration::ZERO);
    }
}

impl Supervised for Listener {
    fn restarting(&mut self, _: &mut Ctx<Self>) {
        self.lobby = PendingInbound::new(self.cfg.places);
        self.waiting.clear();
    }
}

impl Child for Listener {
    fn id(&self) -> String {
        self.cfg.door.local_addr().map_or_else(|_unknown| "door".to_owned(), |at| at.to_string())
    }
}

impl Handler<RegisterTorrent> for Listener {
    type Result = ();

    fn handle(&mut self, RegisterTorrent { info_hash, pool }: RegisterTorrent, _: &mut Ctx<Self>) {
        self.pools.insert(info_hash, pool);
    }
}

impl Handler<Goodbye> for Listener {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;
