//! What connected peers say of themselves (BEP 10), and what the pool makes of it: a better name for the table, a vote on
//! our own address, a place to dial a peer that came by itself.

use std::net::SocketAddr;

use super::{Ctx, PeerPool};
use crate::base::ids::PeerKey;
use crate::codec::extended::ExtendedHandshake;
use crate::logic::client_name::told_name;

impl PeerPool {
    pub(super) fn on_introduced(&mut self, peer: PeerKey, theirs: &ExtendedHandshake, ctx: &mut Ctx<Self>) {
        let Some(live) = self.live.get_mut(&peer) else { return };
        let addr = live.addr;
        if let (Some(id), Some(said)) = (&live.id, &theirs.client) {
            live.client = told_name(id, said);
            tracing::debug!(%addr, client = live.client, "peer says who it is");
        }
        let seen = theirs.your_ip.and_then(|seen| self.outside.on_vote(addr.ip(), seen));
        if let Some(ours) = seen {
            tracing::info!(address = %ours, "peers agree on our address");
            self.book.set_external(SocketAddr::new(ours, self.cfg.listen_port.unwrap_or(0)));
        }
        if let Some(port) = theirs.port {
            self.step(ctx, |book, _| book.on_listens(addr, port));
        }
    }
}
