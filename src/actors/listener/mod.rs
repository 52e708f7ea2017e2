//! `Listener`: the door for peers that come by themselves.
//!
//! Owns the listening socket and the connections that have not said yet which torrent they want. Child of `Session`,
//! permanent, 10 restarts in 60 s; which torrents are served survives. Hears `RegisterTorrent`. Tells `PeerArrived` to the pool whose
//! info-hash a stranger names; one that names another is closed without a word. Asks nobody. Limits: those of
//! [`PendingInbound`], and [`HANDSHAKE_TIMEOUT`] for each. Ends when told to.

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

/// 1 s until the next try when connections cannot be taken, as when there are no descriptors.
const REST: Duration = Duration::from_secs(1);

/// Send whoever asks for this torrent there. The last word for an info-hash counts; a pool that has ended serves nobody.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RegisterTorrent {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Its pool.
    pub pool: Recipient<PeerArrived>,
}

/// All that a listener is given.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// The door, open.
    pub door: Rc<dyn Listen>,
    /// How many may wait on the doorstep.
    pub places: usize,
}

/// See the head of the file.
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
    /// Takes whoever comes when it starts.
    pub fn new(cfg: ListenerConfig) -> Self {
        let lobby = PendingInbound::new(cfg.places);
        Self { cfg, pools: BTreeMap::new(), lobby, waiting: BTreeMap::new() }
    }

    fn take_the_next(&self, ctx: &mut Ctx<Self>, rest: Duration) {
        let door = Rc::clone(&self.cfg.door);
        let taken = async move {
            // A sleep takes a millisecond at least, even one of no length.
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
            door.accept().await
        };
        ctx.spawn(taken.into_actor(self).map(|taken, act, ctx| act.on_taken(taken, ctx)));
    }

    fn on_taken(&mut self, taken: io::Result<(BoxStream, SocketAddr)>, ctx: &mut Ctx<Self>) {
        let rest = match taken {
            Ok((stream, from)) => {
                self.admit(stream, canonical(from), ctx);
                Duration::ZERO
            }
            // It left while it was being taken.
            Err(error) if DisconnectReason::from_io(&error) == DisconnectReason::Reset => Duration::ZERO,
            Err(error) => {
                tracing::warn!(%error, retry_s = REST.as_secs(), "no connection can be taken, will try again");
                REST
            }
        };
        self.take_the_next(ctx, rest);
    }

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
