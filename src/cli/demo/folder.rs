//! Where the demo puts its result: a folder of its own that goes with it, or one that stays.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::app::config::seed_from_system;

/// A folder that is removed when this is dropped, unless it is to stay.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    /// The one that was named, which always stays, or a new one among the temporary files of the system.
    pub(super) fn new(named: Option<&Path>, keep: bool) -> io::Result<Self> {
        if let Some(path) = named {
            std::fs::create_dir_all(path)?;
            return Ok(Self { path: path.to_owned(), kept: true });
        }
        // Nobody can guess the name, and one that is there already is refused: not a link, not somebody else's folder.
        let path = std::env::temp_dir().join(format!("tt-actors-demo-{:016x}", seed_from_system()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, kept: keep })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Does it stay?
    pub(super) const fn is_kept(&self) -> bool {
        self.kept
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "temporary folder cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_asked_for_is_removed() {
        let named = tempfile::tempdir().unwrap();
        for (dir, keep, stays) in [(None, false, false), (None, true, true), (Some(named.path()), false, true)] {
            let folder = Folder::new(dir, keep).unwrap();
            let path = folder.path().to_owned();
            std::fs::write(path.join("payload.bin"), b"x").unwrap();
            assert_eq!(folder.is_kept(), stays);
            drop(folder);
            assert_eq!(path.exists(), stays, "{dir:?} {keep}");
            if stays {
                std::fs::remove_dir_all(path).unwrap();
            }
        }
    }
}
