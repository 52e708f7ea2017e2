//! The children of a torrent: how each is made, and the two lots in which they end.

use std::sync::Arc;

use actix::prelude::*;

use super::{Aim, Running, Torrent};
use crate::actors::disk_writer::{DiskWriter, DiskWriterConfig};
use crate::actors::kit::{self, Ctx};
use crate::actors::listener::RegisterTorrent;
use crate::actors::peer_pool::{PeerPool, PeerPoolConfig, PeersFound};
use crate::actors::piece_scheduler::{PieceScheduler, PieceSchedulerConfig};
use crate::actors::policies;
use crate::actors::tracker_supervisor::{TrackerSupervisor, TrackerSupervisorConfig};
use crate::logic::disk::resume::OpenMode;
use crate::logic::peers::peer_book::PeerSource;
use crate::logic::torrent::lifecycle::TorrentLifecycle;

impl Torrent {
    pub(super) fn start_disk(&mut self, mode: OpenMode, ctx: &mut Ctx<Self>) {
        self.totals.on_disk_started();
        self.has_surveyed = false;
        self.view.why = None;
        let writer = DiskWriter::new(DiskWriterConfig {
            name: self.cfg.name.clone(),
            geometry: self.cfg.geometry,
            storage: Arc::clone(&self.cfg.storage),
            torrent: ctx.address().recipient(),
            patient: self.cfg.patient_disk,
            must_be_whole: matches!(self.cfg.aim, Aim::Seed(_)),
            mode,
        });
        let handle = kit::spawn(writer, policies::DISK_WRITER, self.cfg.seed ^ 1, ctx.address().recipient());
        self.disk = Some((handle.id(), self.children.adopt(handle)));
    }

    pub(super) fn stop_disk(&mut self, ctx: &mut Ctx<Self>) {
        self.disk = None;
        self.children.clear(ctx, self.cfg.stop_timeout, |act, ctx| act.step(ctx, TorrentLifecycle::on_disk_stopped));
    }

    pub(super) fn start_peers(&mut self, ctx: &mut Ctx<Self>) {
        let Some((_, disk)) = self.disk.clone() else { return };
        let scheduler = self.start_scheduler(&disk, ctx);
        let pool = self.start_pool(&disk, &scheduler, ctx);
        let trackers = self.start_trackers(&pool, ctx);
        self.running = Some(Running { scheduler, pool, trackers });
    }

    pub(super) fn stop_peers(&mut self, ctx: &mut Ctx<Self>) {
        self.running = None;
        let Some((disk, _)) = self.disk else { return };
        self.children.clear_after(disk, ctx, self.cfg.stop_timeout, |act, ctx| {
            act.view.on_peers_stopped();
            act.step(ctx, TorrentLifecycle::on_peers_stopped);
        });
    }

    fn start_scheduler(&mut self, disk: &Addr<DiskWriter>, ctx: &mut Ctx<Self>) -> Addr<PieceScheduler> {
        let me = ctx.address();
        let scheduler = PieceScheduler::new(PieceSchedulerConfig {
            name: self.cfg.name.clone(),
            geometry: self.cfg.geometry,
            wanted: Arc::clone(&self.cfg.wanted),
            credit: self.cfg.credit,
            max_bps: self.cfg.limits.down.bps(),
            seed: self.cfg.seed,
            disk: disk.clone().recipient(),
            have: disk.clone().recipient(),
            torrent: me.clone().recipient(),
        });
        self.children.adopt(kit::spawn(scheduler, policies::PIECE_SCHEDULER, self.cfg.seed ^ 2, me.recipient()))
    }

    /// Peers that come by themselves and peers that a user named are sent to it.
    fn start_pool(
        &mut self,
        disk: &Addr<DiskWriter>,
        scheduler: &Addr<PieceScheduler>,
        ctx: &mut Ctx<Self>,
    ) -> Addr<PeerPool> {
        self.totals.on_pool_started();
        let me = ctx.address();
        let pool = PeerPool::new(PeerPoolConfig {
            pex: !self.cfg.private,
            super_seed: self.cfg.super_seed,
            listen_port: Some(self.cfg.port).filter(|port| *port > 0),
            name: self.cfg.name.clone(),
            net: Arc::clone(&self.cfg.net),
            limits: self.cfg.limits.clone(),
            info_hash: self.cfg.info_hash,
            our_id: self.cfg.our_id,
            geometry: self.cfg.geometry,
            book: self.cfg.book,
            seed: self.cfg.seed,
            scheduler: scheduler.clone().recipient(),
            disk: disk.clone().recipient(),
            torrent: me.clone().recipient(),
            stirred: me.clone().recipient(),
        });
        let pool = self.children.adopt(kit::spawn(pool, policies::PEER_POOL, self.cfg.seed ^ 3, me.recipient()));
        if let Some(listener) = &self.cfg.listener {
            listener.do_send(RegisterTorrent { info_hash: self.cfg.info_hash, pool: pool.clone().recipient() });
        }
        if !self.cfg.peers.is_empty() {
            pool.do_send(PeersFound { addrs: self.cfg.peers.clone(), source: PeerSource::Manual });
        }
        pool
    }

    fn start_trackers(&mut self, pool: &Addr<PeerPool>, ctx: &mut Ctx<Self>) -> Addr<TrackerSupervisor> {
        let me = ctx.address();
        let trackers = TrackerSupervisor::new(TrackerSupervisorConfig {
            name: self.cfg.name.clone(),
            net: Arc::clone(&self.cfg.net),
            info_hash: self.cfg.info_hash,
            our_id: self.cfg.our_id,
            port: self.cfg.port,
            tiers: self.cfg.tiers.clone(),
            left: self.view.bytes_total - self.view.bytes_have,
            seed: self.cfg.seed,
            pool: pool.clone().recipient(),
            stirred: me.clone().recipient(),
            stop_timeout: self.cfg.stop_timeout,
        });
        self.children.adopt(kit::spawn(trackers, policies::TRACKER_SUPERVISOR, self.cfg.seed ^ 4, me.recipient()))
    }

    pub(super) fn tell_disk<M: Message<Result = ()> + Send + 'static>(&self, message: M)
    where
        DiskWriter: Handler<M>,
    {
        if let Some((_, disk)) = &self.disk {
            disk.do_send(message);
        }
    }

    pub(super) fn tell_scheduler<M: Message<Result = ()> + Send + 'static>(&self, message: M)
    where
        PieceScheduler: Handler<M>,
    {
        if let Some(running) = &self.running {
            running.scheduler.do_send(message);
        }
    }

    pub(super) fn tell_pool<M: Message<Result = ()> + Send + 'static>(&self, message: M)
    where
        PeerPool: Handler<M>,
    {
        if let Some(running) = &self.running {
            running.pool.do_send(message);
        }
    }

    pub(super) fn tell_trackers<M: Message<Result = ()> + Send + 'static>(&self, message: M)
    where
        TrackerSupervisor: Handler<M>,
    {
        if let Some(running) = &self.running {
            running.trackers.do_send(message);
        }
    }
}
