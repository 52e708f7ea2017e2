//! The folder for the result of a run: a temporary one, or one that stays.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that is removed when this value is dropped, unless it is to be kept.
#[derive(Debug)]
pub struct ScratchFolder {
    path: PathBuf,
    kept: bool,
}

/// 1,000 names are tried: more folders than an earlier process with the same process id leaves behind.
const MAX_NAMES: u32 = 1000;

impl ScratchFolder {
    /// Returns the named folder, which is always kept, or a new one in the system's temporary folder.
    pub fn new(named: Option<&Path>, keep: bool) -> io::Result<Self> {
        if let Some(path) = named {
            std::fs::create_dir_all(path)?;
            return Ok(Self { path: path.to_owned(), kept: true });
        }
        Self::temporary_in(&std::env::temp_dir(), keep)
    }

    /// Creates a new folder in `parent`.
    pub fn temporary_in(parent: &Path, keep: bool) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..MAX_NAMES {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("tt-actors-{}-{number}", std::process::id()));
            // An existing path is refused: it may be a link, or the folder of another user.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, kept: keep }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether it is kept.
    pub const fn is_kept(&self) -> bool {
        self.kept
    }
}

impl Drop for ScratchFolder {
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
    fn only_an_unnamed_folder_is_removed() {
        let named = tempfile::tempdir().unwrap();
        for (dir, keep, stays) in [(None, false, false), (None, true, true), (Some(named.path()), false, true)] {
            let folder = ScratchFolder::new(dir, keep).unwrap();
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
