//! How a connection comes into the pool: dialled because the book says so, or taken in because a peer came by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::{Ctx, Live, PeerArrived, PeerPool};
use crate::actors::kit;
use crate::actors::peer_connection::{PeerConfig, PeerConnection};
use crate::base::ids::PeerKey;
use crate::logic::conversation::PeerView;
use crate::logic::peer_book::Inbound;

impl PeerPool {
    pub(super) fn welcome(&mut self, PeerArrived { stream, addr, theirs }: PeerArrived, ctx: &mut Ctx<Self>) {
        match self.step(ctx, |book, now| book.on_inbound(now, addr)) {
            Inbound::Welcome => {
                let connection = PeerConnection::accepted(self.peer_config(addr, Duration::ZERO, ctx), stream, theirs);
                self.adopt(addr, None, connection, ctx);
            }
            Inbound::Refused(why) => tracing::debug!(%addr, ?why, "a peer that came by itself is not taken"),
        }
    }

    pub(super) fn connect(&mut self, addr: SocketAddr, connect_timeout: Duration, ctx: &mut Ctx<Self>) {
        let connection = PeerConnection::new(self.peer_config(addr, connect_timeout, ctx));
        self.adopt(addr, Some(addr), connection, ctx);
    }

    fn peer_config(&mut self, addr: SocketAddr, connect_timeout: Duration, ctx: &Ctx<Self>) -> PeerConfig {
        let key = PeerKey(self.next_key);
        self.next_key = self.next_key.wrapping_add(1);
        PeerConfig {
            key,
            addr,
            connect_timeout,
            net: Arc::clone(&self.cfg.net),
            staging: self.staging.clone(),
            limits: self.cfg.limits.clone(),
            given: self.given.clone(),
            info_hash: self.cfg.info_hash,
            our_id: self.cfg.our_id,
            listen_port: self.cfg.listen_port,
            pex: self.cfg.pex,
            geometry: self.cfg.geometry,
            scheduler: self.cfg.scheduler.clone(),
            pool: ctx.address().recipient(),
            disk: self.cfg.disk.clone(),
        }
    }

    /// `listens`: where others can dial it, as far as we know.
    fn adopt(&mut self, addr: SocketAddr, listens: Option<SocketAddr>, connection: PeerConnection, ctx: &Ctx<Self>) {
        let key = connection.key();
        let handle = kit::spawn_temporary(connection, ctx.address().recipient());
        self.by_child.insert(handle.id(), key);
        let view = PeerView::default();
        self.live.insert(
            key,
            Live {
                addr,
                listens,
                key,
                handle,
                id: None,
                client: String::new(),
                view,
                delivered: false,
                farewell: None,
            },
        );
    }
}
