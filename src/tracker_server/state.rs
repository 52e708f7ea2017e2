//! The swarms in a file (`--state`): read once at the start, written on a timer and at the end.
//!
//! A file that is broken is set aside, and a disk that fails costs the file, never the tracker. Knows when to write and whom to
//! ask; the bytes are `codec::swarm_state`'s, what is believed of them is the desk's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use actix::Addr;

use super::keeper::{RestoreSwarms, SavePart, SwarmKeeper};
use crate::codec::swarm_state::SavedState;
use crate::logic::tracker_server::{RegistryLimits, Stats, longest_state};
use crate::storage::DiskTrouble;
use crate::storage::state_file::{NoStateFile, StateFile};

/// Five minutes: what a kill forgets, clients say again within the half hour of their interval.
pub(super) const SAVE_EVERY: Duration = Duration::from_secs(5 * 60);

/// Seconds since 1970 by the clock on the wall.
pub type WallClock = fn() -> u64;

/// Why the swarms are not in the file.
#[derive(Debug, thiserror::Error)]
pub enum NotSaved {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
    /// Whoever has the swarms restarts.
    #[error("the swarms cannot be had now")]
    Restarting,
}

/// What came of reading the file.
#[derive(Debug)]
pub enum Restored {
    /// There was none.
    Nothing,
    /// It was read; the tracker now holds this.
    Swarms(Box<Stats>),
    /// It could not be used, for this reason, and has another name now. Where that failed too, it is left alone, and swarms
    /// are not kept.
    Broken(String, Result<PathBuf, DiskTrouble>),
}

/// The file of a tracker.
#[derive(Debug, Clone)]
pub(super) struct SwarmState {
    file: StateFile,
    wall: WallClock,
    longest: u64,
}

impl SwarmState {
    /// Takes the file.
    pub(super) async fn open(path: &Path, wall: WallClock, limits: &RegistryLimits) -> Result<Self, NoStateFile> {
        let file = StateFile::open(path.to_owned()).await?;
        // The limits may have been higher in the run that wrote it.
        let longest = longest_state(limits).max(longest_state(&RegistryLimits::default()));
        Ok(Self { file, wall, longest })
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Reads the file into the keeper.
    pub(super) async fn restore(&self, keeper: &Addr<SwarmKeeper>) -> Restored {
        let saved_at = |file: &[u8]| SavedState::read(file).map(|state| state.saved_at());
        let (file, saved_at) = match self.file.read(self.longest).await {
            Ok(None) => return Restored::Nothing,
            Ok(Some(file)) => match saved_at(&file) {
                Ok(saved_at) => (file, saved_at),
                Err(bad) => return self.set_aside(bad.to_string()).await,
            },
            Err(error) => return self.set_aside(error.to_string()).await,
        };
        // A clock that was set back makes nothing older.
        let away = Duration::from_secs((self.wall)().saturating_sub(saved_at));
        match keeper.send(RestoreSwarms { file, away }).await {
            Ok(stats) => Restored::Swarms(Box::new(stats)),
            Err(_restarting) => self.set_aside(NotSaved::Restarting.to_string()).await,
        }
    }

    async fn set_aside(&self, why: String) -> Restored {
        Restored::Broken(why, self.file.set_aside().await)
    }

    /// Replaces the file with what the keeper has now.
    pub(super) async fn save(self, keeper: Addr<SwarmKeeper>) -> Result<(), NotSaved> {
        let mut draft = self.file.begin((self.wall)()).await?;
        let mut below = Some(usize::MAX);
        while let Some(at) = below {
            let (part, next) = keeper.send(SavePart(at)).await.map_err(|_restarting| NotSaved::Restarting)?;
            draft = self.file.append(draft, part).await?;
            below = next;
        }
        Ok(self.file.replace(draft).await?)
    }
}
