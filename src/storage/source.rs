//! The file or folder from which a torrent is made, as it is now.
//!
//! Unlike the output folder it is trusted: symbolic links are followed, as mktorrent, libtorrent and Transmission do.
//! Files are ordered by the bytes of their paths, so that the same folder always makes the same torrent (mktorrent's
//! order, and libtorrent's canonical one). Does not know the format of a `.torrent`.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::check::Reader;
use super::files::read_ahead;
use super::trouble::DiskTrouble;
use crate::base::safe::Safe;
use crate::codec::resume::Witness;
use crate::logic::disk::layout::{FileSpan, Layout};

/// The folder of our own state beside the data (`docs/FORMATS.md`). It never becomes part of a torrent.
const STATE_FOLDER: &str = ".tt-actors";

/// A file or a folder from which a torrent is made.
#[derive(Debug)]
pub struct PayloadSource {
    /// The name of the file or folder.
    pub name: String,
    /// The source is a folder, even if there is a single file in it.
    pub is_folder: bool,
    /// The files, in the order of the torrent.
    pub files: Vec<SourceFile>,
    /// Paths that were left out because they are not files: sockets, pipes, devices.
    pub skipped: Vec<PathBuf>,
    /// The number of symbolic links that were followed. A client that does not follow links cannot seed the data in
    /// place.
    pub links: usize,
    layout: Layout,
}

/// One file of a [`PayloadSource`].
#[derive(Debug)]
pub struct SourceFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The path below the folder, `/` between the components; empty for a single file.
    pub inner: String,
    /// The length in bytes.
    pub len: u64,
    /// The owner may execute the file, as libtorrent defines executable.
    pub executable: bool,
    witness: Witness,
}

/// What is left out of a folder.
#[derive(Debug, Default)]
pub struct Except {
    /// The torrent file that is to be written, if it exists already.
    pub output: Option<Identity>,
    /// The user's patterns, matched against the path below the folder and against the name alone.
    pub patterns: globset::GlobSet,
}

/// Device and inode of a file.
pub type Identity = (u64, u64);

/// Why no torrent can be made of the source. The texts are safe to show.
#[derive(Debug, thiserror::Error)]
pub enum BadSource {
    /// The disk failed, or a file cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskTrouble),
    /// A name is not UTF-8, which names in a torrent must be.
    #[error("`{0}` is not UTF-8, and names in a torrent are; rename it or leave it out (--exclude)")]
    NotUtf8(String),
    /// The path has no name for the torrent.
    #[error("`{0}` has no name of its own; give a file or a folder")]
    Nameless(String),
    /// The path is neither a file nor a folder.
    #[error("`{0}` is neither a file nor a folder")]
    NoFile(String),
    /// A symbolic link leads to nothing.
    #[error("`{0}` is a symbolic link that leads nowhere; remove it or leave it out (--exclude)")]
    Dangling(String),
    /// A folder contains itself.
    #[error("`{0}` leads back to a folder that it is in; remove the link or leave it out (--exclude)")]
    Loop(String),
    /// A file was changed while it was read.
    #[error("`{path}` changed while it was being hashed: {what}; let it rest and try again")]
    Changed {
        /// The path of the file.
        path: String,
        /// How the change was detected.
        what: String,
    },
    /// The torrent would overwrite a file of its own data.
    #[error("`{0}` is the torrent that is to be written; name another file with -o")]
    IsOutput(String),
}

impl PayloadSource {
    /// Examines everything, and opens every file once: a file that cannot be read is found now, not after an hour of
    /// hashing.
    pub fn scan(path: &Path, except: &Except) -> Result<Self, BadSource> {
        let metadata = look_at(path)?;
        let mut walk = Walk { except, files: Vec::new(), skipped: Vec::new(), links: usize::from(path.is_symlink()) };
        if metadata.is_dir() {
            walk.folder(path)?;
        } else if !metadata.is_file() {
            return Err(BadSource::NoFile(shown(path)));
        } else if except.output == Some(identity(&metadata)) {
            return Err(BadSource::IsOutput(shown(path)));
        } else {
            walk.file(path.to_path_buf(), String::new(), &metadata)?;
        }
        let Walk { mut files, skipped, links, .. } = walk;
        files.sort_by(|a, b| a.inner.cmp(&b.inner));
        let layout = Layout::new(files.iter().map(|file| file.len));
        Ok(Self { name: name_of(path)?, is_folder: metadata.is_dir(), files, skipped, links, layout })
    }

    /// A reader for one thread.
    pub fn reader(&self) -> SourceReader<'_> {
        SourceReader { source: self, open: None }
    }

    /// Checks, after everything was read, that every file is still what it was when it was scanned.
    pub fn has_not_changed(&self) -> Result<(), BadSource> {
        self.files.iter().try_for_each(|file| file.compare(&look_at(&file.path)?))
    }
}

/// The name of the torrent: the last component of the path, also for `.` and `folder/..`.
pub fn name_of(path: &Path) -> Result<String, BadSource> {
    let absolute;
    let name = if let Some(name) = path.file_name() {
        name
    } else {
        absolute = path.canonicalize().map_err(|error| DiskTrouble::new("open", path, &error))?;
        absolute.file_name().ok_or_else(|| BadSource::Nameless(shown(path)))?
    };
    name.to_str().map(str::to_owned).ok_or_else(|| BadSource::NotUtf8(shown(path)))
}

/// A folder that has not been read yet.
struct Folder {
    path: PathBuf,
    /// The path below the root, with a `/` at its end; empty for the root.
    inner: String,
    /// The folder itself and all folders above it, up to the root.
    lineage: Vec<Identity>,
}

/// A walk through a folder that collects its files.
struct Walk<'a> {
    except: &'a Except,
    files: Vec<SourceFile>,
    skipped: Vec<PathBuf>,
    links: usize,
}

impl Walk<'_> {
    /// Reads a folder and all folders in it.
    fn folder(&mut self, root: &Path) -> Result<(), BadSource> {
        let lineage = vec![identity(&look_at(root)?)];
        let mut open = vec![Folder { path: root.to_path_buf(), inner: String::new(), lineage }];
        while let Some(folder) = open.pop() {
            let trouble = |error: io::Error| DiskTrouble::new("open", &folder.path, &error);
            for entry in std::fs::read_dir(&folder.path).map_err(trouble)? {
                let entry = entry.map_err(trouble)?;
                let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                let files = self.files.len();
                let inner = self.entry(&folder, entry.path())?;
                self.links += usize::from(is_link && (inner.is_some() || self.files.len() > files));
                open.extend(inner);
            }
        }
        Ok(())
    }

    /// Examines an entry: adds a file, leaves out what must be left out, returns a folder.
    fn entry(&mut self, folder: &Folder, path: PathBuf) -> Result<Option<Folder>, BadSource> {
        let name = path.file_name().unwrap_or_default();
        if name == STATE_FOLDER || self.is_excluded(Path::new(&folder.inner).join(name).as_path()) {
            return Ok(None);
        }
        if path.is_symlink() && !path.exists() {
            return Err(BadSource::Dangling(shown(&path)));
        }
        let metadata = look_at(&path)?;
        if self.except.output == Some(identity(&metadata)) {
            return Ok(None);
        }
        if !metadata.is_dir() && !metadata.is_file() {
            self.skipped.push(path);
            return Ok(None);
        }
        let name = name.to_str().ok_or_else(|| BadSource::NotUtf8(shown(&path)))?;
        let inner = format!("{}{name}", folder.inner);
        if metadata.is_file() {
            self.file(path, inner, &metadata)?;
            return Ok(None);
        }
        let itself = identity(&metadata);
        if folder.lineage.contains(&itself) {
            return Err(BadSource::Loop(shown(&path)));
        }
        let lineage = folder.lineage.iter().copied().chain([itself]).collect();
        Ok(Some(Folder { path, inner: inner + "/", lineage }))
    }

    /// Whether a pattern of the user matches the path below the folder or the name.
    fn is_excluded(&self, inner: &Path) -> bool {
        let patterns = &self.except.patterns;
        patterns.is_match(inner) || inner.file_name().is_some_and(|name| patterns.is_match(name))
    }

    /// Adds a file, which must be readable.
    fn file(&mut self, path: PathBuf, inner: String, metadata: &Metadata) -> Result<(), BadSource> {
        File::open(&path).map_err(|error| DiskTrouble::new("open", &path, &error))?;
        let executable = metadata.permissions().mode() & 0o100 != 0;
        self.files.push(SourceFile { path, inner, len: metadata.len(), executable, witness: witness(metadata) });
        Ok(())
    }
}

impl SourceFile {
    /// Fails if the file is not what it was when it was scanned.
    fn compare(&self, now: &Metadata) -> Result<(), BadSource> {
        let (was, is) = (self.witness, witness(now));
        let what = if was.len != is.len {
            format!("it had {} bytes and has {}", was.len, is.len)
        } else if (was.dev, was.ino) != (is.dev, is.ino) {
            "another file has taken its place".to_owned()
        } else if was.mtime_ns != is.mtime_ns {
            "it was written to".to_owned()
        } else {
            return Ok(());
        };
        Err(BadSource::Changed { path: shown(&self.path), what })
    }
}

/// Reads a [`PayloadSource`] with one file open at a time.
#[derive(Debug)]
pub struct SourceReader<'a> {
    source: &'a PayloadSource,
    open: Option<(usize, File)>,
}

impl SourceReader<'_> {
    /// The file with this number, opened if it is not the open one.
    fn file(&mut self, number: usize) -> Result<&File, BadSource> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            let wanted = &self.source.files[number];
            let trouble = |error: io::Error| DiskTrouble::new("open", &wanted.path, &error);
            let file = File::open(&wanted.path).map_err(trouble)?;
            wanted.compare(&file.metadata().map_err(trouble)?)?;
            self.open = Some((number, file));
        }
        let (_, file) = self.open.as_ref().expect("it was opened above");
        Ok(file)
    }
}

impl Reader for SourceReader<'_> {
    type Error = BadSource;

    /// Only for the first file of the range: small files are read at once anyway.
    fn announce(&mut self, bytes: Range<u64>) {
        let first = self.source.layout.spans(bytes.start, bytes.end - bytes.start).next();
        if let Some(FileSpan { file, offset, len }) = first
            && let Ok(file) = self.file(file)
        {
            read_ahead(file, offset, len);
        }
    }

    fn read(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), BadSource> {
        let source = self.source;
        let mut rest = buffer;
        for FileSpan { file, offset, len } in source.layout.spans(start, rest.len() as u64) {
            let (part, tail) = rest.split_at_mut(usize::try_from(len).expect("a span lies inside the buffer"));
            rest = tail;
            let path = &source.files[file].path;
            self.file(file)?.read_exact_at(part, offset).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    BadSource::Changed { path: shown(path), what: "it became shorter".to_owned() }
                }
                _ => DiskTrouble::new("read", path, &error).at(offset).into(),
            })?;
        }
        Ok(())
    }
}

/// Device and inode of the file that a path leads to; `None` if there is none.
pub fn identity_of(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|metadata| identity(&metadata))
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

fn look_at(path: &Path) -> Result<Metadata, DiskTrouble> {
    std::fs::metadata(path).map_err(|error| DiskTrouble::new("open", path, &error))
}

/// The witness of a file's metadata.
fn witness(metadata: &Metadata) -> Witness {
    let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    Witness { len: metadata.len(), dev: metadata.dev(), ino: metadata.ino(), mtime_ns }
}

/// The path made safe for showing.
fn shown(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    Safe::new(path.as_os_str().as_bytes()).at_most(400).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join("top").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn scan(dir: &tempfile::TempDir) -> Result<PayloadSource, BadSource> {
        PayloadSource::scan(&dir.path().join("top"), &Except::default())
    }

    fn inner(source: &PayloadSource) -> Vec<&str> {
        source.files.iter().map(|file| file.inner.as_str()).collect()
    }

    fn read(source: &PayloadSource) -> Result<Vec<u8>, BadSource> {
        let mut bytes = vec![0; usize::try_from(source.layout.total_len()).unwrap()];
        let mut reader = source.reader();
        reader.announce(0..bytes.len() as u64);
        reader.read(0, &mut bytes).map(|()| bytes)
    }

    #[test]
    fn files_come_in_the_order_of_their_paths() {
        let dir =
            tree(&[("b", "4"), ("a/x", "3"), ("a-b", "1"), ("a.txt", "2"), ("B", "0"), (".hid/den", ""), ("é", "5")]);
        let source = scan(&dir).unwrap();
        assert_eq!(inner(&source), [".hid/den", "B", "a-b", "a.txt", "a/x", "b", "é"]);
        assert_eq!(read(&source).unwrap(), b"012345");
        assert_eq!((source.name.as_str(), source.is_folder), ("top", true));
        source.has_not_changed().unwrap();
    }

    #[test]
    fn a_folder_by_its_dots_has_its_own_name() {
        let dir = tree(&[("a/b", "1")]);
        let top = dir.path().join("top");
        for path in [top.join("a/.."), top.join("."), top.clone()] {
            assert_eq!(name_of(&path).unwrap(), "top", "{}", path.display());
        }
        assert!(matches!(name_of(Path::new("/")), Err(BadSource::Nameless(_))));
    }

    #[test]
    fn links_are_followed_but_not_round_in_circles() {
        let dir = tree(&[("a/x", "1"), ("b/y", "2")]);
        let top = dir.path().join("top");
        symlink("../b", top.join("a/link")).unwrap();
        symlink("a/x", top.join("x")).unwrap();
        assert_eq!(inner(&scan(&dir).unwrap()), ["a/link/y", "a/x", "b/y", "x"]);
        assert_eq!(scan(&dir).unwrap().links, 2);
        symlink("..", top.join("b/up")).unwrap();
        assert!(matches!(scan(&dir), Err(BadSource::Loop(path)) if path.ends_with("/up")));
        std::fs::remove_file(top.join("b/up")).unwrap();
        symlink("nowhere", top.join("dangling")).unwrap();
        assert!(matches!(scan(&dir), Err(BadSource::Dangling(path)) if path.ends_with("/dangling")));
    }

    #[test]
    fn what_is_excluded_is_left_out() {
        let dir =
            tree(&[("a/x.txt", "1"), ("a/y", "2"), ("z.txt", "3"), (".tt-actors/state", "4"), ("out.torrent", "5")]);
        let top = dir.path().join("top");
        let mut patterns = globset::GlobSetBuilder::new();
        patterns.add(globset::Glob::new("a/x*").unwrap()).add(globset::Glob::new("z.*").unwrap());
        let except = Except { output: identity_of(&top.join("out.torrent")), patterns: patterns.build().unwrap() };
        let source = PayloadSource::scan(&top, &except).unwrap();
        assert_eq!(inner(&source), ["a/y"]);
        let itself = PayloadSource::scan(&top.join("out.torrent"), &except);
        assert!(matches!(itself, Err(BadSource::IsOutput(_))));
    }

    #[test]
    fn entries_that_are_no_files_are_left_out_and_reported() {
        let dir = tree(&[("a", "1")]);
        let top = dir.path().join("top");
        let _socket = std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
        let source = scan(&dir).unwrap();
        assert_eq!((inner(&source), &source.skipped), (vec!["a"], &vec![top.join("socket")]));
        let alone = PayloadSource::scan(&top.join("socket"), &Except::default());
        assert!(matches!(alone, Err(BadSource::NoFile(_))));
    }

    #[test]
    fn a_name_that_is_not_utf8_is_refused() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tree(&[("a", "1")]);
        std::fs::write(dir.path().join("top").join(std::ffi::OsStr::from_bytes(b"\xff\x1b")), "x").unwrap();
        let refused = scan(&dir).unwrap_err();
        assert!(matches!(&refused, BadSource::NotUtf8(shown) if shown.ends_with(r"\xff\u{1b}")), "{refused}");
    }

    /// Tests changes before, during and after the reading.
    #[test]
    fn a_file_that_changes_is_found_out() {
        let changed = |ended: Result<(), BadSource>, word: &str| match ended {
            Err(BadSource::Changed { path, what }) => assert!(path.ends_with("top/b") && what.contains(word), "{what}"),
            other => panic!("{other:?}"),
        };
        let dir = tree(&[("a", "11"), ("b", "22")]);
        let path = dir.path().join("top/b");
        let source = scan(&dir).unwrap();
        std::fs::write(&path, "333").unwrap();
        changed(read(&source).map(drop), "2 bytes and has 3");

        let source = scan(&dir).unwrap();
        let mut reader = source.reader();
        reader.read(2, &mut [0; 1]).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(1).unwrap();
        changed(reader.read(3, &mut [0; 2]), "shorter");

        let source = scan(&dir).unwrap();
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(before + std::time::Duration::from_secs(1)).unwrap();
        changed(source.has_not_changed(), "written to");

        let source = scan(&dir).unwrap();
        std::fs::write(dir.path().join("new"), "4").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        changed(source.has_not_changed(), "taken its place");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(source.has_not_changed(), Err(BadSource::Disk(_))));
    }
}
