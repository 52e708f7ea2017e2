//! What connected peers say of themselves (BEP 10) and of others (BEP 11), and what the pool makes of it: a better name for
//! the table, a vote on our own address, a place to dial a peer that came by itself, addresses for the book; and what
//! they are told of each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::time::Instant;

use super::{Ctx, Live, PeerPool};
use crate::actors::peer_connection;
use crate::base::ids::PeerKey;
use crate::codec::extended::{ExtendedHandshake, HANDSHAKE, flag};
use crate::logic::peer::client_name::told_name;
use crate::logic::peers::address::Class;
use crate::logic::peers::peer_book::PeerSource;

impl PeerPool {
    pub(super) fn on_introduced(&mut self, peer: PeerKey, theirs: &ExtendedHandshake, ctx: &mut Ctx<Self>) {
        let Some(live) = self.live.get_mut(&peer) else { return };
        let addr = live.addr;
        if let (Some(id), Some(said)) = (&live.id, &theirs.client) {
            live.client = told_name(id, said).into();
            tracing::debug!(%addr, client = &*live.client, "peer says who it is");
        }
        // Strangers choose us, and many of them could be one: only whom we chose has a vote.
        let has_vote = live.listens == Some(addr);
        if let Some(port) = theirs.port {
            live.listens.get_or_insert(SocketAddr::new(addr.ip(), port));
        }
        let listens = live.listens.unwrap_or(addr);
        let seen = theirs.your_ip.filter(|_| has_vote).and_then(|seen| self.outside.on_vote(addr.ip(), seen));
        if let Some(ours) = seen {
            tracing::info!(address = %ours, "peers agree on our address");
            self.book.set_external(SocketAddr::new(ours, self.cfg.listen_port.unwrap_or(0)));
        }
        match theirs.numbers.pex {
            Some(HANDSHAKE) => self.gossip.on_left(peer),
            Some(_) if self.cfg.pex => self.gossip.on_listener(Instant::now().into_std(), peer, listens),
            _ => {}
        }
        self.step(ctx, |book, _| {
            if let Some(port) = theirs.port {
                book.on_listens(addr, port);
            }
        });
    }

    pub(super) fn on_named(&mut self, by: SocketAddr, addrs: &[SocketAddr], ctx: &mut Ctx<Self>) {
        let source = PeerSource::Peer(Class::of_ip(by.ip()));
        let outcome = self.step(ctx, |book, now| book.add(now, addrs, source));
        tracing::debug!(%by, ?outcome, "peer names peers");
    }

    /// Tells everybody who listens whom else we know: those that we dialled, and those that say where they can be.
    pub(super) fn spread_gossip(&mut self) {
        let pieces = self.cfg.geometry.piece_count();
        let flags = |live: &Live| {
            let reachable = if live.listens == Some(live.addr) { flag::REACHABLE } else { 0 };
            reachable | if live.view.pieces == pieces { flag::SEED } else { 0 }
        };
        let known = self.live.values().filter(|live| live.id.is_some());
        let swarm: BTreeMap<SocketAddr, u8> = known.filter_map(|live| Some((live.listens?, flags(live)))).collect();
        for (peer, pex) in self.gossip.on_timeout(Instant::now().into_std(), &swarm) {
            tracing::debug!(peer = peer.0, added = pex.added.len(), dropped = pex.dropped.len(), "peers are told");
            self.tell(peer, peer_connection::SharePeers(pex));
        }
    }
}
