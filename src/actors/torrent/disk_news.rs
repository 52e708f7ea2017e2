//! What the writer tells, and what follows from it for the torrent.

use std::sync::Arc;

use super::Torrent;
use crate::actors::disk_writer::DiskNews;
use crate::actors::kit::Ctx;
use crate::actors::peer_pool::FetchingResumed;
use crate::actors::piece_scheduler::{DiskLost, PieceGone};
use crate::actors::view::{TorrentFailure, TorrentPhase};

impl Torrent {
    pub(super) fn on_disk_news(&mut self, news: DiskNews, ctx: &mut Ctx<Self>) {
        match news {
            DiskNews::Checking { done, total, reason } => {
                self.view.phase = TorrentPhase::Checking { done, total, reason };
                self.publish();
            }
            DiskNews::Ready { have, checked } => self.on_ready(&have, checked, ctx),
            DiskNews::Incomplete(have) => self.fail(TorrentFailure::Incomplete { have, total: self.view.bytes_total }),
            DiskNews::Refused(trouble) => self.fail(TorrentFailure::Open(Arc::new(trouble))),
            DiskNews::Trouble { trouble, retry_in: None } => {
                tracing::error!(%trouble, "torrent cannot go on");
                self.pause(true);
                self.fail(TorrentFailure::Disk(trouble));
            }
            DiskNews::Trouble { trouble, retry_in: Some(retry_in) } => {
                tracing::warn!(%trouble, retry_s = retry_in.as_secs(), "disk trouble, will resume by itself");
                self.view.disk_trouble = Some(format!("{trouble}; will resume by itself"));
                self.pause(true);
                self.publish();
            }
            DiskNews::Well => {
                tracing::info!("disk is well again");
                self.view.disk_trouble = None;
                self.pause(false);
            }
            // Said at once: what the writer has seen of the files is true now, and may not be in a second.
            DiskNews::Durable => {
                if self.finishing {
                    self.on_complete(ctx);
                }
            }
            DiskNews::Gone(piece) => {
                if let Some(running) = &self.running {
                    running.scheduler.do_send(PieceGone(piece));
                }
                if self.cfg.wanted.pieces().has(piece) {
                    self.on_incomplete();
                }
            }
            DiskNews::Lost => {
                if let Some(running) = &self.running {
                    running.scheduler.do_send(DiskLost);
                }
                // It may have failed over the very word.
                if self.finishing {
                    self.finish();
                }
            }
        }
    }

    /// What was complete is not any more.
    fn on_incomplete(&mut self) {
        self.finishing = false;
        if let Some(running) = &self.running {
            running.pool.do_send(FetchingResumed);
        }
        if matches!(self.view.phase, TorrentPhase::Seeding) {
            self.view.phase = TorrentPhase::Fetching;
            self.publish();
        }
    }
}
