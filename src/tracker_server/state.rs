//! The state file of the tracker (`--state`): read once at the start, written at intervals and at the end.
//!
//! A broken file is renamed. A disk that fails costs the file, never the tracker. Decides when to write, and asks the
//! keeper for the swarms; `codec::swarm_state` has the format, and `TrackerDesk` decides what of a file is used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use actix::Addr;

use super::keeper::{RestoreSwarms, SavePart, SwarmKeeper};
use crate::codec::swarm_state::SavedState;
use crate::logic::tracker_server::{RegistryLimits, Stats, longest_state};
use crate::storage::DiskTrouble;
use crate::storage::state_file::{NoStateFile, StateFile};

/// Five minutes: what a killed tracker loses, clients announce again within their interval of half an hour.
pub(super) const SAVE_EVERY: Duration = Duration::from_secs(5 * 60);

/// A clock that returns seconds since 1970.
pub type WallClock = fn() -> u64;

/// Why the swarms were not saved.
#[derive(Debug, thiserror::Error)]
pub enum NotSaved {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
    /// The keeper is restarting.
    #[error("the swarms cannot be had now")]
    Restarting,
}

/// The result of reading the state file.
#[derive(Debug)]
pub enum Restored {
    /// There was no file.
    Nothing,
    /// The file was read. The statistics are those of the tracker afterwards.
    Swarms(Box<Stats>),
    /// The file could not be used, for this reason, and was renamed. If that failed too, the file is left alone, and
    /// swarms are not saved.
    Broken(String, Result<PathBuf, DiskTrouble>),
}

/// The state file, with what is needed to read and write it.
#[derive(Debug, Clone)]
pub(super) struct SwarmState {
    file: StateFile,
    wall: WallClock,
    longest: u64,
}

impl SwarmState {
    /// Locks the state file.
    pub(super) async fn open(path: &Path, wall: WallClock, limits: &RegistryLimits) -> Result<Self, NoStateFile> {
        let file = StateFile::open(path.to_owned()).await?;
        // The limits may have been higher in the run that wrote the file.
        let longest = longest_state(limits).max(longest_state(&RegistryLimits::default()));
        Ok(Self { file, wall, longest })
    }

    /// The path of the file.
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
        // If the clock was set back, the age is taken as 0.
        let away = Duration::from_secs((self.wall)().saturating_sub(saved_at));
        match keeper.send(RestoreSwarms { file, away }).await {
            Ok(stats) => Restored::Swarms(Box::new(stats)),
            Err(_restarting) => self.set_aside(NotSaved::Restarting.to_string()).await,
        }
    }

    /// Renames the file, which could not be used for this reason.
    async fn set_aside(&self, why: String) -> Restored {
        Restored::Broken(why, self.file.set_aside().await)
    }

    /// Replaces the file by one with the swarms that the keeper has now.
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
