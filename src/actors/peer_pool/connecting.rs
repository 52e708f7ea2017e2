//! The connections of the pool as its children: how one starts, dialled or taken in, and how it is found again when it
//! has ended.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::{Ctx, PeerArrived, PeerPool};
use crate::actors::kit::{self, ChildId};
use crate::actors::peer_connection::{PeerConfig, PeerConnection, SharedConfig};
use crate::base::ids::PeerKey;
use crate::logic::peer::allowed_fast::GrantCounts;
use crate::logic::peers::pool::{PoolMachine, Redial};
use crate::logic::peers::upload_counts::UploadCounts;
use crate::net::staging::Staging;

impl PeerPool {
    pub(super) fn welcome(&mut self, PeerArrived { stream, addr, theirs }: PeerArrived, ctx: &mut Ctx<Self>) {
        let stream = match stream.settle() {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%addr, %error, "a peer that came by itself is lost"),
        };
        if let Some(key) = self.step(ctx, |pool: &mut PoolMachine, now| pool.on_arrived(now, addr)) {
            let cfg = PeerConfig { key, addr, connect_timeout: Duration::ZERO, shared: self.shared_config(ctx) };
            self.adopt(PeerConnection::accepted(cfg, stream, theirs), ctx);
        }
    }

    pub(super) fn dial(
        &mut self,
        key: PeerKey,
        addr: SocketAddr,
        connect_timeout: Duration,
        redial: Option<Redial>,
        ctx: &Ctx<Self>,
    ) {
        if let Some(Redial { cause, restarts, backoff, is_expected }) = redial {
            let id = addr.to_string();
            kit::record_restart("PeerConnection", &id, cause.label(), restarts, backoff, None, is_expected);
        }
        let cfg = PeerConfig { key, addr, connect_timeout, shared: self.shared_config(ctx) };
        self.adopt(PeerConnection::new(cfg), ctx);
    }

    fn adopt(&mut self, connection: PeerConnection, ctx: &Ctx<Self>) {
        let key = connection.key();
        let us = self.us.get_or_insert_with(|| Arc::new(ctx.address().recipient()));
        self.connections.insert(key, kit::spawn_temporary(connection, Arc::clone(us)));
    }

    /// A child has ended: drops its handle and gives its key. None: it was a connection of an earlier incarnation of the
    /// pool.
    pub(super) fn forget(&mut self, child: ChildId) -> Option<PeerKey> {
        let (key, _) = self.connections.iter().find(|(_, connection)| connection.id() == child)?;
        let key = *key;
        self.connections.remove(&key).map(|_| key)
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
}
