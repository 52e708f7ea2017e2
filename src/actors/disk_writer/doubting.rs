//! Pieces that could not be read for a peer: hashed anew, and ours no longer if they are wrong (D-04).
//!
//! Bytes that are missing where a file has become shorter come back as zeros as soon as something is written behind
//! them. So after a file was found cut or gone nothing is given to anybody (I6) before all files were looked at
//! (`vetting`); then what lies in those that were changed is hashed anew. When to hash which piece is decided by
//! `logic::disk::unreadable`.

use actix::prelude::*;
use tokio::time::Instant;

use super::opening::CHECK_BYTES;
use super::{DiskNews, DiskWriter};
use crate::actors::kit::Ctx;
use crate::base::geometry::PieceIndex;
use crate::logic::disk::unreadable::{Hashed, Judgement};
use crate::storage::{DiskTrouble, TroubleKind};

impl DiskWriter {
    /// Reads failed, in these pieces, in these ways.
    pub(super) fn on_unread(&mut self, unread: Vec<(PieceIndex, TroubleKind)>, ctx: &mut Ctx<Self>) {
        let is_cut = unread.iter().any(|(_, kind)| *kind == TroubleKind::Missing);
        let is_changed = unread.iter().any(|(_, kind)| *kind == TroubleKind::Changed);
        // What was changed is in doubt with all of its file: the look says which pieces those are.
        let pieces = unread.into_iter().filter(|(_, kind)| *kind != TroubleKind::Changed).map(|(piece, _)| piece);
        self.unread.doubt(pieces);
        if is_cut {
            self.unread.on_cut();
        }
        if is_cut || is_changed {
            self.vet(ctx);
        }
        self.look_again(ctx);
        self.settle(ctx);
    }

    /// These are hashed anew, and given to nobody before.
    pub(super) fn look_at_these(&mut self, pieces: Vec<PieceIndex>, ctx: &mut Ctx<Self>) {
        self.unread.doubt(pieces);
        self.look_again(ctx);
    }

    /// Nobody knows what was changed.
    pub(super) fn doubt_everything(&mut self, ctx: &mut Ctx<Self>) {
        if let Some(have) = &self.have {
            self.unread.doubt(have.pieces(&self.cfg.geometry));
        }
        self.look_again(ctx);
        self.settle(ctx);
    }

    pub(super) fn look_again(&mut self, ctx: &mut Ctx<Self>) {
        if self.closing {
            return;
        }
        let geometry = self.cfg.geometry;
        let now = Instant::now().into_std();
        let batch = self.unread.next_batch(now, CHECK_BYTES, |piece| geometry.piece_len(piece).into());
        if batch.is_empty() {
            return;
        }
        let checked = self.cfg.storage.check(batch).into_actor(self);
        ctx.spawn(checked.map(|results, act, ctx| {
            let lost = results.into_iter().filter_map(|(piece, result)| act.on_looked_again(piece, result)).count();
            if lost > 0 {
                tracing::warn!(
                    pieces = lost,
                    "pieces on the disk are not what was written, they are not given to others"
                );
            }
            act.look_again(ctx);
            act.settle(ctx);
        }));
    }

    /// Returns the piece if it was ours and is so no longer.
    fn on_looked_again(&mut self, piece: PieceIndex, result: Result<bool, DiskTrouble>) -> Option<PieceIndex> {
        let hashed = match &result {
            Ok(true) => Hashed::Right,
            Ok(false) => Hashed::Wrong,
            Err(trouble) if trouble.kind == TroubleKind::Missing => Hashed::Wrong,
            Err(_) => Hashed::Failed,
        };
        let judgement = self.unread.on_hashed(Instant::now().into_std(), piece, hashed);
        tracing::debug!(%piece, ?judgement, trouble = result.err().map(tracing::field::display), "piece was hashed again");
        if judgement != Judgement::Lost || !self.have.as_mut()?.clear(piece) {
            return None;
        }
        self.unrecorded.retain(|unrecorded| *unrecorded != piece);
        // The record still claims it.
        self.flush.on_written(Instant::now().into_std(), 0);
        self.cfg.torrent.do_send(DiskNews::Gone(piece));
        Some(piece)
    }
}
