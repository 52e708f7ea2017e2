//! The start of a writer: open the storage, hash what nobody vouches for, claim the files. Where the disk is too full for
//! what is to come, the start is held until there is room, if the user wants to wait.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::prelude::*;
use tokio::time::Instant;

use super::vetting::{MAX_ROUNDS, keeps_changing};
use super::{DiskNews, DiskWriter, MAX_JOBS, Totals};
use crate::actors::kit::Ctx;
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;
use crate::logic::disk::resume::OpenMode;
use crate::storage::record::StateTrouble;
use crate::storage::{DiskTrouble, Inventory, OpenTrouble, TroubleKind};

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
    /// How often something was hashed again because it was changed meanwhile.
    rounds: u32,
}

/// A step of the start that failed because the disk is full.
#[derive(Debug)]
pub(super) enum HeldStart {
    /// The storage could not be opened.
    Opening,
    /// The files could not be claimed.
    Admission {
        /// Pieces that are there.
        have: Bitfield,
        /// Bytes that were hashed for it.
        checked: u64,
        /// How often something was hashed again because it was changed meanwhile.
        rounds: u32,
    },
}

impl DiskWriter {
    pub(super) fn open(&mut self, ctx: &mut Ctx<Self>) {
        let opened = match self.cfg.mode {
            OpenMode::TrustRecord => self.cfg.storage.open(),
            OpenMode::Recheck => self.cfg.storage.open_to_recheck(),
        };
        let opened = opened.into_actor(self);
        ctx.spawn(opened.map(|opened, act, ctx| act.on_opened(opened, ctx)));
    }

    fn on_opened(&mut self, opened: Result<Inventory, OpenTrouble>, ctx: &mut Ctx<Self>) {
        match opened {
            Err(trouble) => self.on_refused(trouble, HeldStart::Opening, ctx),
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
        let Check { found, trusted, done, rounds, .. } = std::mem::take(&mut self.check);
        let mut have = trusted.unwrap_or_else(|| Bitfield::none(self.cfg.geometry.piece_count()));
        for piece in found {
            have.set(piece);
        }
        if self.cfg.must_be_whole && !have.is_all() {
            let geometry = &self.cfg.geometry;
            return self.cfg.torrent.do_send(DiskNews::Incomplete(geometry.len_of(have.pieces(geometry))));
        }
        self.claim(have, (done, rounds), ctx);
    }

    fn claim(&mut self, have: Bitfield, (checked, rounds): (u64, u32), ctx: &mut Ctx<Self>) {
        let snapshot = self.snapshot(&have, false);
        let admitted = self.cfg.storage.admit(snapshot).into_actor(self);
        let asked = have.clone();
        let vetted = admitted.then(move |admitted, act, _| {
            let storage = Arc::clone(&act.cfg.storage);
            let vet = async move {
                admitted?;
                Ok(storage.vet(asked).await?)
            };
            vet.into_actor(act)
        });
        ctx.spawn(vetted.map(move |vetted, act, ctx| act.on_admitted(have, (checked, rounds), vetted, ctx)));
    }

    /// The files are ours, and this is in doubt because somebody else was at them since they were first looked at.
    fn on_admitted(
        &mut self,
        mut have: Bitfield,
        (checked, rounds): (u64, u32),
        vetted: Result<Vec<PieceIndex>, OpenTrouble>,
        ctx: &mut Ctx<Self>,
    ) {
        match vetted {
            Err(trouble) => self.on_refused(trouble, HeldStart::Admission { have, checked, rounds }, ctx),
            Ok(doubtful) if doubtful.is_empty() => {
                self.on_well();
                self.have = Some(have.clone());
                self.cfg.torrent.do_send(DiskNews::Ready { have, checked });
                self.settle(ctx);
            }
            Ok(_) if rounds >= MAX_ROUNDS => {
                self.cfg.torrent.do_send(DiskNews::Refused(keeps_changing(&self.cfg.name).into()));
            }
            Ok(doubtful) => {
                for piece in &doubtful {
                    have.clear(*piece);
                }
                let total = checked + self.cfg.geometry.len_of(doubtful.iter().copied());
                let reason = Some("files were changed by another program: checking them".to_owned());
                let (left, trusted) = (doubtful.into(), Some(have));
                let rounds = rounds + 1;
                self.check = Check { left, trusted, reason, done: checked, total, rounds, ..Check::default() };
                self.go_on_checking(ctx);
            }
        }
    }

    /// A full disk is waited for where the user wants that, and said once; anything else ends it.
    fn on_refused(&mut self, trouble: OpenTrouble, held: HeldStart, ctx: &mut Ctx<Self>) {
        let Some(full) = as_full_disk(&trouble).filter(|_| self.cfg.patient && !self.closing) else {
            return self.cfg.torrent.do_send(DiskNews::Refused(trouble));
        };
        self.held_start = Some(held);
        if self.health.retry_at().is_none() {
            self.on_trouble(full.clone());
        }
        self.settle(ctx);
    }

    /// When the start that was held is tried again: as often as a full disk is looked at.
    pub(super) fn start_due(&self) -> Option<std::time::Instant> {
        self.held_start.as_ref().and(self.health.look_at())
    }

    pub(super) fn start_again(&mut self, ctx: &mut Ctx<Self>) {
        self.health.on_look(Instant::now().into_std());
        match self.held_start.take() {
            Some(HeldStart::Opening) => self.open(ctx),
            Some(HeldStart::Admission { have, checked, rounds }) => self.claim(have, (checked, rounds), ctx),
            None => {}
        }
    }
}

fn as_full_disk(trouble: &OpenTrouble) -> Option<&DiskTrouble> {
    let (OpenTrouble::Disk(trouble) | OpenTrouble::State(StateTrouble::Disk(trouble))) = trouble else { return None };
    Some(trouble).filter(|trouble| trouble.kind == TroubleKind::Full)
}
