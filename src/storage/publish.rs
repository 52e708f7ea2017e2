//! Writes a small file completely or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::trouble::DiskTrouble;
use crate::base::safe::shown_path;

/// Writes a file. When this returns, the file is complete and durable. A file that existed before is replaced in one
/// step; with `overwrite` false it is kept, and the error is `NotPublished::Exists`.
pub fn publish(path: &Path, bytes: &[u8], overwrite: bool) -> Result<(), NotPublished> {
    let beside = Beside::of(path)?;
    let trouble = |error: io::Error| DiskTrouble::new("create", path, &error);
    let mut file = File::create_new(&beside.0).map_err(trouble)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(trouble)?;
    match rename(&beside.0, path, overwrite) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(NotPublished::Exists(path.to_path_buf())),
        renamed => Ok(renamed.map_err(trouble)?),
    }?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(synced.map_err(trouble)?)
}

/// Why the file was not written.
#[derive(Debug, thiserror::Error)]
pub enum NotPublished {
    /// A file of that name exists.
    #[error("{} is there already; name another file with -o, or say --overwrite", shown_path(.0))]
    Exists(PathBuf),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
}

/// The temporary name under which the file is written. Dropping this value removes a file of that name.
struct Beside(PathBuf);

impl Beside {
    /// A hidden name in the folder of `path`.
    fn of(path: &Path) -> Result<Self, DiskTrouble> {
        let no_name = || DiskTrouble::new("create", path, &io::ErrorKind::IsADirectory.into());
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().ok_or_else(no_name)?);
        name.push(format!(".{}.part", std::process::id()));
        Ok(Self(path.with_file_name(name)))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::debug!(%error, "a part file is left"),
            _gone => {}
        }
    }
}

/// Renames a file. On file systems without `RENAME_NOREPLACE` (NFS) it first checks whether the target exists; there it
/// is not one step.
fn rename(from: &Path, to: &Path, overwrite: bool) -> io::Result<()> {
    if overwrite {
        return std::fs::rename(from, to);
    }
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(from, to)
        }
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_existing_file_is_replaced_only_with_overwrite() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.torrent");
        publish(&path, b"one", false).unwrap();
        assert!(matches!(publish(&path, b"two", false), Err(NotPublished::Exists(there)) if there == path));
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        publish(&path, b"three", true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three");
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        assert!(matches!(publish(&dir.path().join("link"), b"four", false), Err(NotPublished::Exists(_))));
        assert_eq!(names(dir.path()), ["a.torrent", "link"], "nothing else is left");
    }

    #[test]
    fn a_failed_write_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("no/such/folder"), dir.path().to_path_buf(), dir.path().join("..")] {
            assert!(publish(&path, b"x", true).is_err(), "{}", path.display());
        }
        assert!(names(dir.path()).is_empty());
    }
}
