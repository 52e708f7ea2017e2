//! Are the files still what was written? Asked before "complete" is said, now and then during a download, and whenever a
//! read found that another program has changed something.
//!
//! What the storage has doubts about is hashed again (`doubting`); what is wrong is fetched again. Before "complete" this
//! is repeated until a look finds nothing, so that the last thing that happened was that everything was right.

use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use super::{DiskNews, DiskWriter};
use crate::actors::kit::Ctx;
use crate::base::geometry::PieceIndex;
use crate::storage::DiskTrouble;

/// 10 s: a folder that was moved away costs what is written until it is noticed. A look takes 3 us for each file.
const VET_EVERY: Duration = Duration::from_secs(10);

/// 8 looks in a row that found changes, each after everything was hashed or fetched again: somebody will not stop.
/// Picked by eye.
pub(super) const MAX_ROUNDS: u32 = 8;

/// The looks at the files.
#[derive(Debug, Default)]
pub(super) struct Vetting {
    under_way: bool,
    last: Option<Instant>,
    /// Looks before "complete" that found changes, since one found none.
    rounds: u32,
    /// The last record failed. The files are not to blame for it, and it is tried again later.
    pub(super) is_unrecorded: bool,
}

impl Vetting {
    pub(super) const fn is_under_way(&self) -> bool {
        self.under_way
    }
}

impl DiskWriter {
    /// After a record: once in a while.
    pub(super) fn vet_if_due(&mut self, ctx: &mut Ctx<Self>) {
        let last = *self.vetting.last.get_or_insert_with(Instant::now);
        if !self.finishing && !self.closing && last.elapsed() >= VET_EVERY {
            self.vet(ctx);
        }
    }

    /// One look at a time.
    pub(super) fn vet(&mut self, ctx: &mut Ctx<Self>) {
        let Some(have) = self.have.clone().filter(|_| !self.vetting.under_way) else { return };
        self.vetting.under_way = true;
        // What is written or put in doubt after the question is not part of the answer.
        let is_last = self.is_all_but_vetted();
        let vetted = self.cfg.storage.vet(have).into_actor(self);
        ctx.spawn(vetted.map(move |vetted, act, ctx| {
            act.vetting.under_way = false;
            act.vetting.last = Some(Instant::now());
            act.on_vetted(vetted, is_last, ctx);
            act.settle(ctx);
        }));
    }

    /// Everything is written and hashed, and recorded if it can be: only this look is left before "complete".
    fn is_all_but_vetted(&self) -> bool {
        self.finishing && self.jobs == 0 && self.queue.is_empty() && self.unread.is_none()
    }

    fn on_vetted(&mut self, vetted: Result<Vec<PieceIndex>, DiskTrouble>, is_last: bool, ctx: &mut Ctx<Self>) {
        let was_blind = self.unread.see();
        match vetted {
            Err(trouble) if self.finishing => self.give_up(trouble),
            Err(trouble) => {
                tracing::warn!(%trouble, "files cannot be looked at");
                if was_blind {
                    self.doubt_everything(ctx);
                }
            }
            Ok(doubtful) if doubtful.is_empty() => {
                if is_last && self.is_all_but_vetted() {
                    self.vetting.rounds = 0;
                    self.finished();
                }
            }
            Ok(doubtful) => {
                tracing::warn!(
                    pieces = doubtful.len(),
                    "files were changed by another program, their pieces are hashed"
                );
                self.vetting.rounds += u32::from(is_last);
                if self.vetting.rounds > MAX_ROUNDS {
                    self.give_up(keeps_changing(&self.cfg.name));
                }
                self.look_at_these(doubtful, ctx);
            }
        }
    }

    /// Tells the torrent, unless the disk was given up: then that was the last news.
    fn finished(&mut self) {
        if std::mem::take(&mut self.finishing) && !self.given_up {
            self.cfg.torrent.do_send(DiskNews::Durable);
        }
    }
}

/// The reason why a torrent fails whose files another program does not leave alone.
pub(super) fn keeps_changing(name: &str) -> DiskTrouble {
    let reason = format!("another program keeps changing it (seen {MAX_ROUNDS} times in a row); end that program");
    DiskTrouble { reason, ..DiskTrouble::changed("complete", name.as_ref()) }
}
