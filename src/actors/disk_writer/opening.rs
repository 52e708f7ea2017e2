//! The start of a writer: open the storage, hash what nobody vouches for, claim the files.

use std::collections::VecDeque;

use actix::prelude::*;

use super::{DiskNews, DiskWriter, MAX_JOBS, Totals};
use crate::actors::kit::Ctx;
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;
use crate::storage::{DiskTrouble, Inventory, OpenTrouble};

/// 16 MiB hashed per job while checking: progress moves several times a second.
pub(super) const CHECK_BYTES: u64 = 16 * 1024 * 1024;

/// The hashing at the start.
#[derive(Debug, Default)]
pub(super) struct Check {
    left: VecDeque<PieceIndex>,
    jobs: usize,
    found: Vec<PieceIndex>,
    trusted: Option<Bitfield>,
    reason: Option<String>,
    done: u64,
    total: u64,
}

impl DiskWriter {
    pub(super) fn on_opened(&mut self, opened: Result<Inventory, OpenTrouble>, ctx: &mut Ctx<Self>) {
        match opened {
            Err(trouble) => self.cfg.torrent.do_send(DiskNews::Refused(trouble)),
            Ok(Inventory { have, check, reason, received, sent }) => {
                self.before = Totals { received, sent };
                let total = self.cfg.geometry.len_of(check.iter().copied());
                self.check = Check { left: check.into(), trusted: Some(have), reason, total, ..Check::default() };
                self.go_on_checking(ctx);
            }
        }
    }

    fn go_on_checking(&mut self, ctx: &mut Ctx<Self>) {
        while self.check.jobs < MAX_JOBS && !self.check.left.is_empty() {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while bytes < CHECK_BYTES
                && let Some(piece) = self.check.left.pop_front()
            {
                bytes += u64::from(self.cfg.geometry.piece_len(piece));
                batch.push(piece);
            }
            self.check.jobs += 1;
            let checked = self.cfg.storage.check(batch).into_actor(self);
            ctx.spawn(checked.map(move |results, act, ctx| act.on_checked(results, bytes, ctx)));
        }
        if self.check.jobs == 0 {
            self.admit(ctx);
        }
    }

    fn on_checked(&mut self, results: Vec<(PieceIndex, Result<bool, DiskTrouble>)>, bytes: u64, ctx: &mut Ctx<Self>) {
        self.check.jobs -= 1;
        self.check.done += bytes;
        for (piece, result) in results {
            match result {
                Ok(true) => self.check.found.push(piece),
                Ok(false) => {}
                Err(trouble) => tracing::warn!(%piece, %trouble, "piece cannot be read, it is fetched again"),
            }
        }
        let Check { done, total, reason, .. } = &self.check;
        self.cfg.torrent.do_send(DiskNews::Checking { done: *done, total: *total, reason: reason.clone() });
        self.go_on_checking(ctx);
    }

    fn admit(&mut self, ctx: &mut Ctx<Self>) {
        let Check { found, trusted, done, .. } = std::mem::take(&mut self.check);
        let mut have = trusted.unwrap_or_else(|| Bitfield::none(self.cfg.geometry.piece_count()));
        for piece in found {
            have.set(piece);
        }
        if self.cfg.must_be_whole && !have.is_all() {
            let geometry = &self.cfg.geometry;
            return self.cfg.torrent.do_send(DiskNews::Incomplete(geometry.len_of(have.pieces(geometry))));
        }
        let snapshot = self.snapshot(&have, false);
        let admitted = self.cfg.storage.admit(snapshot).into_actor(self);
        ctx.spawn(admitted.map(move |admitted, act, _| {
            let news = if let Err(trouble) = admitted {
                DiskNews::Refused(trouble)
            } else {
                act.have = Some(have.clone());
                DiskNews::Ready { have, checked: done }
            };
            act.cfg.torrent.do_send(news);
        }));
    }
}
