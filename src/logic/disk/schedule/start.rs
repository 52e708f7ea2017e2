//! The start of a torrent's disk: open the storage, hash what no record vouches for, claim the files, look at them once
//! more. Where the disk is too full for what is to come, the start waits for room.
//!
//! | stage | event | next stage | effects |
//! |---|---|---|---|
//! | `Opening` | the inventory is there | `Checking` | `Check` |
//! | `Checking` | pieces were hashed | `Checking` | `Checking` is told, `Check` the next |
//! | `Checking` | the last piece was hashed | `Claiming` | `Admit` |
//! | `Checking` | all must be there and is not | `Over` | `Incomplete` is told |
//! | `Claiming` | the files are ours | `Looking` | `Vet` |
//! | `Looking` | no file was changed meanwhile | `Over` | `Open` |
//! | `Looking` | files were changed | `Checking`, of what lies in them | `Check` |
//! | `Looking` | files were changed for the ninth time | `Over` | `Refused` is told |
//! | `Opening`, `Claiming`, `Looking` | the disk is full, and may be waited for | `Held` | `Trouble` is told, once |
//! | `Opening`, `Claiming`, `Looking` | any other trouble | `Over` | `Refused` is told |
//! | `Held` | 2 s have passed | `Opening`, `Claiming` | `OpenStorage`, `Admit` |

use std::collections::VecDeque;
use std::time::Instant;

use super::effects::{DiskNews, DiskNote, Totals};
use super::{CHECK_BYTES, DiskScheduleConfig, MAX_DIRTY_LOOKS, MAX_JOBS, keeps_changing};
use crate::base::bitfield::Bitfield;
use crate::base::geometry::PieceIndex;
use crate::logic::disk::health::{DiskHealth, Remedy};
use crate::logic::disk::trouble::{DiskTrouble, OpenTrouble};
use crate::logic::disk::values::{Inventory, Snapshot};

/// What is known of the pieces so far.
#[derive(Debug, Clone)]
struct Found {
    have: Bitfield,
    /// Bytes that were hashed for it.
    checked: u64,
    /// How often something was hashed again because it was changed meanwhile.
    rounds: u32,
}

/// Pieces that are being hashed.
#[derive(Debug)]
struct Checking {
    found: Found,
    left: VecDeque<PieceIndex>,
    jobs: usize,
    /// Bytes to hash in all.
    total: u64,
    reason: Option<String>,
}

#[derive(Debug)]
enum Stage {
    Opening,
    Checking(Checking),
    Claiming(Found),
    Looking(Found),
    /// The disk is full. With nothing found, the storage is opened again; else the files are claimed again.
    Held(Option<Found>),
    /// The files are ours, or the start has failed.
    Over,
}

/// What the start has to do.
#[derive(Debug)]
pub(super) enum StartEffect {
    /// Open the storage.
    OpenStorage,
    /// Hash these pieces.
    Check(Vec<PieceIndex>),
    /// Claim the files.
    Admit(Snapshot),
    /// Look at the files.
    Vet(Bitfield),
    /// Tell the torrent.
    Tell(DiskNews),
    /// Write this into the log.
    Note(DiskNote),
    /// The files are ours: the start is over.
    Open {
        /// Pieces that are there.
        have: Bitfield,
        /// Bytes that were hashed for it.
        checked: u64,
        /// Bytes moved in earlier runs.
        earlier: Totals,
    },
}

/// The start of one torrent's disk.
#[derive(Debug)]
pub(super) struct Start {
    cfg: DiskScheduleConfig,
    stage: Stage,
    health: DiskHealth,
    /// Bytes received and sent in earlier runs.
    earlier: Totals,
    outbox: VecDeque<StartEffect>,
}

impl Start {
    /// Asks for the storage to be opened.
    pub(super) fn new(cfg: DiskScheduleConfig) -> Self {
        let (health, earlier) = (DiskHealth::new(cfg.patient), Totals::default());
        Self { cfg, stage: Stage::Opening, health, earlier, outbox: VecDeque::from([StartEffect::OpenStorage]) }
    }

    /// The next thing to do.
    pub(super) fn poll(&mut self) -> Option<StartEffect> {
        self.outbox.pop_front()
    }

    /// The storage is open, or cannot be opened.
    pub(super) fn on_opened(&mut self, now: Instant, opened: Result<Inventory, OpenTrouble>) {
        match opened {
            Err(trouble) => self.on_trouble(now, trouble),
            Ok(Inventory { have, check, reason, received, sent }) => {
                self.earlier = Totals { received, sent };
                self.check(Found { have, checked: 0, rounds: 0 }, check, reason);
            }
        }
    }

    fn check(&mut self, found: Found, pieces: Vec<PieceIndex>, reason: Option<String>) {
        let total = found.checked + self.cfg.geometry.len_of(pieces.iter().copied());
        self.stage = Stage::Checking(Checking { found, left: pieces.into(), jobs: 0, total, reason });
        self.go_on_checking();
    }

    fn go_on_checking(&mut self) {
        let Stage::Checking(checking) = &mut self.stage else { return };
        while checking.jobs < MAX_JOBS && !checking.left.is_empty() {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while bytes < CHECK_BYTES
                && let Some(piece) = checking.left.pop_front()
            {
                bytes += u64::from(self.cfg.geometry.piece_len(piece));
                batch.push(piece);
            }
            checking.jobs += 1;
            self.outbox.push_back(StartEffect::Check(batch));
        }
        if checking.jobs == 0 {
            let found = checking.found.clone();
            self.claim(found);
        }
    }

    /// Pieces were hashed.
    pub(super) fn on_checked(&mut self, results: Vec<(PieceIndex, Result<bool, DiskTrouble>)>) {
        let Stage::Checking(checking) = &mut self.stage else { return };
        checking.jobs -= 1;
        for (piece, result) in results {
            checking.found.checked += u64::from(self.cfg.geometry.piece_len(piece));
            match result {
                Ok(true) => _ = checking.found.have.set(piece),
                Ok(false) => {}
                Err(trouble) => {
                    self.outbox.push_back(StartEffect::Note(DiskNote::UnreadableAtStart(piece, trouble)));
                }
            }
        }
        let (done, total, reason) = (checking.found.checked, checking.total, checking.reason.clone());
        self.tell(DiskNews::Checking { done, total, reason });
        self.go_on_checking();
    }

    /// Everything is hashed.
    fn claim(&mut self, found: Found) {
        let geometry = self.cfg.geometry;
        if self.cfg.must_be_whole && !found.have.is_all() {
            self.stage = Stage::Over;
            return self.tell(DiskNews::Incomplete(geometry.len_of(found.have.pieces(&geometry))));
        }
        let Totals { received, sent } = self.earlier;
        let start = Snapshot { have: found.have.clone(), received, sent, clean: false, done: false };
        self.stage = Stage::Claiming(found);
        self.outbox.push_back(StartEffect::Admit(start));
    }

    /// The files are claimed, or cannot be.
    pub(super) fn on_admitted(&mut self, now: Instant, admitted: Result<(), OpenTrouble>) {
        if let Err(trouble) = admitted {
            return self.on_trouble(now, trouble);
        }
        if let Stage::Claiming(found) = std::mem::replace(&mut self.stage, Stage::Over) {
            self.outbox.push_back(StartEffect::Vet(found.have.clone()));
            self.stage = Stage::Looking(found);
        }
    }

    /// The files were looked at, and these pieces lie in files that were changed since they were hashed.
    pub(super) fn on_vetted(&mut self, now: Instant, vetted: Result<Vec<PieceIndex>, DiskTrouble>) {
        let doubtful = match vetted {
            Err(trouble) => return self.on_trouble(now, trouble.into()),
            Ok(doubtful) => doubtful,
        };
        let Stage::Looking(mut found) = std::mem::replace(&mut self.stage, Stage::Over) else { return };
        if doubtful.is_empty() {
            return self.open(found);
        }
        if found.rounds >= MAX_DIRTY_LOOKS {
            return self.tell(DiskNews::Refused(keeps_changing(&self.cfg.name).into()));
        }
        found.rounds += 1;
        for piece in &doubtful {
            found.have.clear(*piece);
        }
        self.check(found, doubtful, Some("files were changed by another program: checking them".to_owned()));
    }

    fn open(&mut self, Found { have, checked, .. }: Found) {
        if self.health.on_success() {
            self.tell(DiskNews::Well);
        }
        self.outbox.push_back(StartEffect::Open { have, checked, earlier: self.earlier });
    }

    /// A full disk is waited for where the user wants that, and told once; anything else ends the start.
    fn on_trouble(&mut self, now: Instant, trouble: OpenTrouble) {
        let found = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Claiming(found) | Stage::Looking(found) => Some(found),
            _ => None,
        };
        let Some(full) = trouble.full_disk().filter(|_| self.cfg.patient) else {
            return self.tell(DiskNews::Refused(trouble));
        };
        self.stage = Stage::Held(found);
        if self.health.retry_at().is_none()
            && let Some(Remedy::RetryAt(at)) = self.health.on_trouble(now, full)
        {
            let retry_in = Some(at.saturating_duration_since(now));
            self.tell(DiskNews::Trouble { trouble: full.clone(), retry_in });
        }
    }

    /// When a start that waits for room is tried again: as often as a full disk is looked at.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.health.look_at().filter(|_| matches!(self.stage, Stage::Held(_)))
    }

    /// The deadline has come.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|due| now < due) {
            return;
        }
        self.health.on_look(now);
        match std::mem::replace(&mut self.stage, Stage::Opening) {
            Stage::Held(Some(found)) => self.claim(found),
            _ => self.outbox.push_back(StartEffect::OpenStorage),
        }
    }

    fn tell(&mut self, news: DiskNews) {
        self.outbox.push_back(StartEffect::Tell(news));
    }
}
