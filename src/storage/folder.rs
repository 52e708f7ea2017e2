//! [`OutputFolder`]: the output folder. Files are opened below it and nowhere else (S-01, S-02).
//!
//! Every open is relative to a descriptor of the folder. A file that is opened for writing is not reached through any
//! symbolic link below the folder, so neither a torrent's names nor a link planted there lead out of it. A file that is
//! opened for reading only may be reached through links: data that its owner has moved elsewhere is found there
//! (`docs/decisions/0023-links.md`).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::base::locked::Locked;

/// An output folder that exists. Clones share one descriptor.
#[derive(Debug, Clone)]
pub struct OutputFolder {
    fd: Arc<Locked<Arc<OwnedFd>>>,
    path: Arc<Path>,
}

/// The output folders of a run. Each is opened once, however many torrents use it. Clones share the same folders.
#[derive(Debug, Clone, Default)]
pub struct Folders(Arc<Locked<BTreeMap<PathBuf, OutputFolder>>>);

impl Folders {
    /// Opens a folder as [`OutputFolder::create`] does; a folder that is open already is shared.
    pub fn create(&self, path: &Path) -> io::Result<OutputFolder> {
        let mut folders = self.0.lock();
        if let Some(folder) = folders.get(path) {
            return Ok(folder.clone());
        }
        let folder = OutputFolder::create(path)?;
        folders.insert(path.to_path_buf(), folder.clone());
        Ok(folder)
    }
}

impl OutputFolder {
    /// Opens the folder. Makes it and its parents if it does not exist.
    pub fn create(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Self::open(path)
    }

    /// Opens a folder that must exist.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { fd: Arc::new(Locked::new(Arc::new(open_dir_at(path)?))), path: path.into() })
    }

    /// Checks whether the folder's path still leads to the open folder. If the folder was moved away or removed, opens
    /// the folder that is at the path now, or makes it again with `may_create`, and returns `true`. Fails if the path
    /// leads to another device, because the folder's own device may only be unmounted (D-10).
    pub fn renew(&self, may_create: bool) -> io::Result<bool> {
        let held = self.fd();
        let was = rustix::fs::fstat(&*held)?;
        let is_elsewhere = |dev| dev != was.st_dev;
        let now = match open_dir_at(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_create => {
                if device_above(&self.path).is_none_or(is_elsewhere) {
                    return Err(error);
                }
                std::fs::create_dir_all(&self.path)?;
                open_dir_at(&self.path)?
            }
            opened => opened?,
        };
        let is = rustix::fs::fstat(&now)?;
        if (is.st_dev, is.st_ino) == (was.st_dev, was.st_ino) {
            return Ok(false);
        }
        if is_elsewhere(is.st_dev) {
            let what = "its path leads to another device now";
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        *self.fd.lock() = Arc::new(now);
        Ok(true)
    }

    /// The descriptor of the folder that is open now.
    fn fd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd.lock())
    }

    /// The path by which the folder was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the folder's device; `None` if it cannot be read.
    pub fn device(&self) -> Option<u64> {
        rustix::fs::fstat(&*self.fd()).ok().map(|stat| stat.st_dev)
    }

    /// Opens a file below the folder. Returns it with its metadata. Links are followed if it is opened for reading
    /// only.
    pub fn open_file(&self, relative: &Path, flags: OFlags) -> io::Result<(File, Metadata)> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
        let opened = match self.open_below(relative, flags, mode) {
            Err(error) if is_link(&error) && !is_to_write(flags) => self.open_by_links(relative, flags)?,
            opened => opened.map_err(told)?,
        };
        let file = File::from(opened);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok((file, meta))
    }

    /// The metadata of the file under a name below the folder, without opening the file. Links are followed.
    pub fn look(&self, relative: &Path) -> io::Result<Metadata> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let seen = self.open_below(relative, flags, Mode::empty()).and_then(|fd| File::from(fd).metadata());
        let leads_on = match &seen {
            Ok(meta) => meta.is_symlink(),
            Err(error) => is_link(error),
        };
        let meta = if leads_on { File::from(self.open_by_links(relative, flags)?).metadata()? } else { seen? };
        if meta.is_file() { Ok(meta) } else { Err(io::Error::other("it is not a regular file")) }
    }

    /// Makes the folders above a file.
    pub fn create_parents(&self, relative: &Path) -> io::Result<()> {
        let mut so_far = PathBuf::new();
        for component in relative.parent().into_iter().flat_map(Path::components) {
            so_far.push(component);
            match self.make_dir(&so_far) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the entries of a folder below this one, or of this one, durable.
    pub fn sync_dir(&self, relative: &Path) -> io::Result<()> {
        let dir = self.open_dir(relative)?;
        rustix::fs::fsync(&dir)?;
        Ok(())
    }

    /// Makes one folder.
    fn make_dir(&self, relative: &Path) -> io::Result<()> {
        let parent = self.open_dir(relative.parent().unwrap_or(Path::new("")))?;
        let name = relative.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o777))?;
        Ok(())
    }

    /// Opens a folder below this one without following links.
    fn open_dir(&self, relative: &Path) -> io::Result<OwnedFd> {
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        self.open_below(relative, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(told)
    }

    /// Opens a file through links of the user, wherever they lead, but not through those of `/proc`, which stand for
    /// open files.
    fn open_by_links(&self, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        if !relative.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = flags.difference(OFlags::NOFOLLOW);
        match rustix::fs::openat2(&*self.fd(), relative, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
            Err(Errno::NOSYS | Errno::PERM) => Ok(rustix::fs::openat(&*self.fd(), relative, flags, Mode::empty())?),
            opened => Ok(opened?),
        }
    }

    /// Opens a file without following links: by `openat2` if the kernel has it (5.6), else component by component.
    fn open_below(&self, relative: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd = self.fd();
        loop {
            match rustix::fs::openat2(&*fd, relative, flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOSYS | Errno::PERM) => return self.walk(relative, flags, mode),
                done => return Ok(done?),
            }
        }
    }

    /// Opens a file component by component, for kernels without `openat2`.
    fn walk(&self, relative: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let step = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut at = rustix::fs::openat(&*self.fd(), ".", step, Mode::empty())?;
        let mut components = relative.components().peekable();
        while let Some(component) = components.next() {
            let name = match component {
                Component::Normal(name) => name,
                Component::CurDir => continue,
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            };
            if components.peek().is_none() {
                return Ok(rustix::fs::openat(&at, name, flags | OFlags::NOFOLLOW, mode)?);
            }
            at = rustix::fs::openat(&at, name, step, Mode::empty()).map_err(|error| link_instead(&at, name, error))?;
        }
        Ok(at)
    }
}

/// The error for opening one component of a path. The kernel reports a link that is not followed as "not a directory";
/// it becomes ELOOP here.
fn link_instead(folder: &OwnedFd, name: &OsStr, error: Errno) -> Errno {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    let is_link = stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
    if error == Errno::NOTDIR && is_link { Errno::LOOP } else { error }
}

/// Whether the error says that a symbolic link is in the way.
fn is_link(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::LOOP)
}

/// Replaces the error for a link by one whose text says so.
fn told(error: io::Error) -> io::Error {
    let words = "there is a symbolic link in the way, and nothing is written through links";
    if is_link(&error) { io::Error::other(words) } else { error }
}

/// Whether a file is opened for writing.
fn is_to_write(flags: OFlags) -> bool {
    flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC)
}

/// Opens a folder by its path.
fn open_dir_at(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// The device of the nearest folder above a path that exists.
fn device_above(path: &Path) -> Option<u64> {
    let above = |path: &Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_path_buf() };
    path.ancestors().skip(1).find_map(|path| rustix::fs::stat(above(path)).ok()).map(|stat| stat.st_dev)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn opens(folder: &OutputFolder, path: &str) -> [io::Result<()>; 2] {
        let flags = OFlags::RDWR | OFlags::CREATE;
        let by_hand = folder.walk(Path::new(path), flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o666));
        [folder.open_file(Path::new(path), flags).map(drop), by_hand.map(drop)]
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("canary"), "untouched").unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("canary"), inside.path().join("file")).unwrap();
        let folder = OutputFolder::open(inside.path()).unwrap();
        let absolute = outside.path().join("canary");
        for path in ["link/canary", "link/new", "file", "../x", absolute.to_str().unwrap()] {
            for opened in opens(&folder, path) {
                assert!(opened.is_err(), "{path} was opened");
            }
        }
        assert!(folder.create_parents(Path::new("link/sub/file")).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    /// The owner of the data may have moved it elsewhere: there it is read, but not written.
    #[test]
    fn reads_follow_links_and_writes_do_not() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::fs::create_dir(outside.path().join("album")).unwrap();
        std::fs::write(outside.path().join("album/song"), "la").unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, inside.path().join(name)).unwrap();
        link(&outside.path().join("album"), "album");
        link(Path::new("album/song"), "song");
        link(&outside.path().join("nothing"), "dangling");
        link(Path::new("circle"), "circle");
        let folder = OutputFolder::open(inside.path()).unwrap();
        for path in ["album/song", "song"] {
            let (file, meta) = folder.open_file(Path::new(path), OFlags::RDONLY).unwrap();
            assert_eq!((meta.len(), io::read_to_string(file).unwrap()), (2, "la".to_owned()), "{path}");
            assert!(opens(&folder, path).iter().all(Result::is_err), "{path} was opened to be written");
        }
        let kind = |path| folder.open_file(Path::new(path), OFlags::RDONLY).unwrap_err().kind();
        assert_eq!(kind("dangling"), io::ErrorKind::NotFound);
        assert_ne!(kind("circle"), io::ErrorKind::NotFound);
        let told = folder.open_file(Path::new("song"), OFlags::RDWR | OFlags::CREATE).unwrap_err().to_string();
        assert!(told.contains("symbolic link"), "{told}");
        let by_hand = folder.walk(Path::new("album/song"), OFlags::RDWR, Mode::empty()).unwrap_err();
        assert!(is_link(&by_hand), "{by_hand}");
    }

    #[test]
    fn torrents_of_one_run_have_one_descriptor_of_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (folders, path) = (Folders::default(), dir.path().join("a"));
        let [first, second] = [folders.create(&path).unwrap(), folders.clone().create(&path).unwrap()];
        assert!(Arc::ptr_eq(&first.fd, &second.fd));
        let other = folders.create(dir.path()).unwrap();
        assert!(!Arc::ptr_eq(&first.fd, &other.fd));
        assert_eq!(other.path(), dir.path());
    }

    #[test]
    fn files_are_made_below_with_their_parents() {
        let dir = tempfile::tempdir().unwrap();
        let folder = OutputFolder::create(&dir.path().join("a/b")).unwrap();
        folder.create_parents(Path::new("c/d/file")).unwrap();
        folder.create_parents(Path::new("c/d/file")).unwrap();
        for opened in opens(&folder, "c/d/file") {
            opened.unwrap();
        }
        let (mut file, meta) = folder.open_file(Path::new("c/d/file"), OFlags::WRONLY).unwrap();
        assert_eq!(meta.len(), 0);
        file.write_all(b"x").unwrap();
        folder.sync_dir(Path::new("c/d")).unwrap();
        folder.sync_dir(Path::new("")).unwrap();
        assert_eq!(std::fs::read(dir.path().join("a/b/c/d/file")).unwrap(), b"x");
        assert!(folder.open_file(Path::new("c"), OFlags::RDONLY).is_err(), "a folder is not a file");
    }

    /// D-09.
    #[test]
    fn a_folder_that_was_moved_away_is_found_again_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let folder = OutputFolder::create(&path).unwrap();
        assert!(!folder.renew(true).unwrap(), "it is where it was");
        std::fs::rename(dir.path().join("a"), dir.path().join("moved")).unwrap();
        assert_eq!(folder.renew(false).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(folder.clone().renew(true).unwrap(), "made again");
        folder.open_file(Path::new("file"), OFlags::RDWR | OFlags::CREATE).unwrap();
        assert!(path.join("file").is_file() && !dir.path().join("moved/b/file").exists());
    }

    #[test]
    fn a_file_is_examined_without_opening_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = OutputFolder::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("file"), "abc").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        assert_eq!(folder.look(Path::new("file")).unwrap().len(), 3);
        assert_eq!(folder.look(Path::new("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(folder.look(Path::new("link")).unwrap().len(), 3, "as it is read");
        assert!(folder.look(Path::new(".")).is_err());
    }
}
