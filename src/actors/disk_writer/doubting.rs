//! Pieces that could not be read for a peer: hashed anew, and ours no longer unless they hash right (D-04).
//!
//! Bytes that are missing where a file has become shorter come back as zeros as soon as something is written behind
//! them. So after a file was found cut or gone nothing is believed: everything that was there is hashed anew, and given to
//! nobody before (I6). One job at a time: a dying disk is not asked for more than its peers ask of it.

use std::collections::BTreeSet;

use actix::prelude::*;
use tokio::time::Instant;

use super::opening::CHECK_BYTES;
use super::{DiskNews, DiskWriter};
use crate::actors::kit::Ctx;
use crate::base::geometry::PieceIndex;
use crate::storage::{DiskTrouble, TroubleKind};

/// The pieces that are to be looked at again.
#[derive(Debug, Default)]
pub(super) struct Unread {
    waiting: BTreeSet<PieceIndex>,
    under_way: BTreeSet<PieceIndex>,
}

impl Unread {
    pub(super) fn has(&self, piece: PieceIndex) -> bool {
        self.waiting.contains(&piece) || self.under_way.contains(&piece)
    }
}

impl DiskWriter {
    /// Reads failed, in these pieces, in these ways.
    pub(super) fn on_unread(&mut self, unread: Vec<(PieceIndex, TroubleKind)>, ctx: &mut Ctx<Self>) {
        let is_cut = unread.iter().any(|(_, kind)| *kind == TroubleKind::Missing);
        self.unread.waiting.extend(unread.into_iter().map(|(piece, _)| piece));
        if let Some(have) = self.have.as_ref().filter(|_| is_cut) {
            tracing::warn!(pieces = have.ones(), "a file was cut or removed, all that was there is checked anew");
            self.unread.waiting.extend(have.pieces(&self.cfg.geometry));
        }
        self.look_again(ctx);
    }

    fn look_again(&mut self, ctx: &mut Ctx<Self>) {
        if !self.unread.under_way.is_empty() || self.closing {
            return;
        }
        let mut bytes = 0;
        while bytes < CHECK_BYTES
            && let Some(piece) = self.unread.waiting.pop_first()
        {
            bytes += u64::from(self.cfg.geometry.piece_len(piece));
            self.unread.under_way.insert(piece);
        }
        if self.unread.under_way.is_empty() {
            return;
        }
        let checked = self.cfg.storage.check(self.unread.under_way.iter().copied().collect()).into_actor(self);
        ctx.spawn(checked.map(|results, act, ctx| {
            act.unread.under_way.clear();
            for (piece, result) in results {
                act.on_looked_again(piece, result);
            }
            act.settle(ctx);
            act.look_again(ctx);
        }));
    }

    fn on_looked_again(&mut self, piece: PieceIndex, result: Result<bool, DiskTrouble>) {
        match result {
            Ok(true) => return tracing::debug!(%piece, "piece can be read after all"),
            Ok(false) => tracing::warn!(%piece, "piece on the disk is not what was written, it is fetched again"),
            Err(trouble) => tracing::warn!(%piece, %trouble, "piece cannot be read any more, it is fetched again"),
        }
        if self.have.as_mut().is_some_and(|have| have.clear(piece)) {
            self.unrecorded.retain(|unrecorded| *unrecorded != piece);
            // The record still claims it.
            self.flush.on_written(Instant::now().into_std(), 0);
            self.cfg.torrent.do_send(DiskNews::Gone(piece));
        }
    }
}
