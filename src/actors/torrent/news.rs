//! What the disk writer and the piece scheduler tell, as inputs of the machine and figures of the view.

use std::sync::Arc;

use actix::prelude::*;

use super::Torrent;
use super::publishing::CheckProgress;
use crate::actors::disk_writer::DiskNews;
use crate::actors::kit::Ctx;
use crate::actors::peer_pool::{Ban, Pardon};
use crate::actors::piece_scheduler::SchedulerNews;
use crate::actors::view::TorrentFailure;
use crate::base::bitfield::Bitfield;
use crate::logic::torrent::lifecycle::TorrentLifecycle;

impl Handler<DiskNews> for Torrent {
    type Result = ();

    fn handle(&mut self, news: DiskNews, ctx: &mut Ctx<Self>) {
        match news {
            DiskNews::Checking { done, total, reason } => {
                self.check = CheckProgress { done, total, reason };
                self.step(ctx, TorrentLifecycle::on_checking);
            }
            DiskNews::Ready { have, checked } => self.on_ready(&have, checked, ctx),
            DiskNews::Incomplete(have) => {
                self.fail(TorrentFailure::Incomplete { have, total: self.view.bytes_total }, ctx);
            }
            DiskNews::Refused(trouble) => self.fail(TorrentFailure::Open(Arc::new(trouble)), ctx),
            DiskNews::Trouble { trouble, retry_in: None } => {
                tracing::error!(%trouble, "torrent cannot go on");
                self.fail(TorrentFailure::Disk(trouble), ctx);
            }
            DiskNews::Trouble { trouble, retry_in: Some(retry_in) } => {
                tracing::warn!(%trouble, retry_s = retry_in.as_secs(), "disk trouble, will resume by itself");
                self.view.disk_trouble = Some(format!("{trouble}; will resume by itself"));
                self.step(ctx, TorrentLifecycle::on_disk_trouble);
            }
            DiskNews::Well => {
                tracing::info!("disk is well again");
                self.step(ctx, TorrentLifecycle::on_disk_well);
            }
            DiskNews::Durable => self.step(ctx, TorrentLifecycle::on_durable),
            DiskNews::Gone(piece) => {
                let is_wanted = self.cfg.wanted.pieces().has(piece);
                self.step(ctx, |machine, now| machine.on_piece_lost(now, piece, is_wanted));
            }
            DiskNews::Lost => self.step(ctx, TorrentLifecycle::on_disk_restarted),
        }
    }
}

impl Torrent {
    /// Pieces that were fetched before a recheck were not there at the start.
    fn on_ready(&mut self, have: &Bitfield, checked: u64, ctx: &mut Ctx<Self>) {
        let geometry = self.cfg.geometry;
        self.view.bytes_have = geometry.len_of(have.pieces(&geometry));
        self.view.bytes_done = self.cfg.wanted.bytes_had(&geometry, have);
        if !self.machine.is_rechecking() {
            (self.view.bytes_kept, self.view.bytes_checked) = (self.view.bytes_have, checked);
        }
        let is_met = self.cfg.wanted.is_met_by(have);
        self.step(ctx, |machine, now| machine.on_disk_ready(now, is_met));
    }

    fn fail(&mut self, failure: TorrentFailure, ctx: &mut Ctx<Self>) {
        self.failure = Some(failure);
        self.step(ctx, TorrentLifecycle::on_disk_failed);
    }
}

impl Handler<SchedulerNews> for Torrent {
    type Result = ();

    fn handle(&mut self, news: SchedulerNews, ctx: &mut Ctx<Self>) {
        match news {
            SchedulerNews::Ready => {
                self.totals.on_scheduler_started();
                self.step(ctx, TorrentLifecycle::on_scheduler_ready);
            }
            SchedulerNews::Liar { addr, piece } => self.tell_pool(Ban { addr, piece }),
            SchedulerNews::Acquitted { addr } => self.tell_pool(Pardon(addr)),
            SchedulerNews::PieceSuspect { piece, failures } => {
                tracing::warn!(%piece, failures, "piece fails from every source");
            }
            SchedulerNews::Completed { whole } => self.step(ctx, |machine, now| machine.on_fetched(now, whole)),
        }
        self.step(ctx, TorrentLifecycle::on_changed);
    }
}
