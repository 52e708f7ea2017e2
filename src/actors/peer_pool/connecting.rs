//! How a connection comes into the pool: dialled because the book says so, or taken in because a peer came by itself.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::{Ctx, Live, PeerArrived, PeerPool};
use crate::actors::kit;
use crate::actors::peer_connection::{PeerConfig, PeerConnection, SharedConfig};
use crate::base::ids::PeerKey;
use crate::logic::peer::allowed_fast::GrantCounts;
use crate::logic::peer::protocol::PeerView;
use crate::logic::peers::peer_book::Inbound;
use crate::logic::peers::upload_counts::UploadCounts;
use crate::net::staging::Staging;

impl PeerPool {
    pub(super) fn welcome(&mut self, PeerArrived { stream, addr, theirs }: PeerArrived, ctx: &mut Ctx<Self>) {
        let stream = match stream.settle() {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%addr, %error, "a peer that came by itself is lost"),
        };
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
        PeerConfig { key, addr, connect_timeout, shared: self.shared_config(ctx) }
    }

    fn shared_config(&mut self, ctx: &Ctx<Self>) -> Rc<SharedConfig> {
        let Self { shared, cfg, .. } = self;
        let shared = shared.get_or_insert_with(|| {
            Rc::new(SharedConfig {
                net: Arc::clone(&cfg.net),
                staging: Staging::default(),
                limits: cfg.limits.clone(),
                given: UploadCounts::default(),
                ledger: GrantCounts::default(),
                info_hash: cfg.info_hash,
                our_id: cfg.our_id,
                listen_port: cfg.listen_port,
                pex: cfg.pex,
                super_seed: cfg.super_seed,
                geometry: cfg.geometry,
                scheduler: cfg.scheduler.clone(),
                pool: ctx.address().recipient(),
                disk: cfg.disk.clone(),
            })
        });
        Rc::clone(shared)
    }

    /// `listens`: where others can dial it, as far as we know.
    fn adopt(&mut self, addr: SocketAddr, listens: Option<SocketAddr>, connection: PeerConnection, ctx: &Ctx<Self>) {
        let key = connection.key();
        let us = self.us.get_or_insert_with(|| Arc::new(ctx.address().recipient()));
        let handle = kit::spawn_temporary(connection, Arc::clone(us));
        let live = Live {
            addr,
            listens,
            key,
            handle,
            id: None,
            client: Arc::default(),
            view: PeerView::default(),
            delivered: false,
            farewell: None,
        };
        self.live.insert(key, Box::new(live));
    }
}
