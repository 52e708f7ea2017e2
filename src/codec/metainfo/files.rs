//! The files of a torrent: `length` or `files` of `info`, with the attributes of BEP 47.

use super::warning::{TorrentWarning, Warnings};
use super::{BadTorrent, FileEntry, SymbolicLink};
use crate::base::geometry::BadGeometry;
use crate::base::safe::Safe;
use crate::codec::bencode::{Picked, View};
use crate::codec::safe_path::{self, NameRules, SafePath};

/// The files and the symbolic links of a torrent.
pub(super) struct TorrentFiles {
    pub(super) files: Vec<FileEntry>,
    pub(super) links: Vec<SymbolicLink>,
}

/// The keys that are read of a file.
const FILE_KEYS: [&[u8]; 5] = [b"attr", b"length", b"path", b"path.utf-8", b"symlink path"];

/// The list of files; `None` if the torrent has a single file. As in libtorrent, a list wins over a `length` beside it.
pub(super) fn list<'a>(info: &Picked<'a>) -> Option<View<'a>> {
    info.find(b"files").filter(|files| files.is_list())
}

/// A file as the torrent describes it, before its path is made safe.
pub(super) struct RawFile<'a> {
    /// The dictionary with `attr`, `length` and `symlink path`.
    entry: Picked<'a>,
    /// The path below the torrent's folder, not yet safe. Empty for a single file, and for padding without a path.
    pub(super) path: Vec<&'a [u8]>,
    /// The length in bytes. A symbolic link has 0, whatever its `length` says: libtorrent lays out the torrent that
    /// way.
    pub(super) len: Option<u64>,
    pub(super) kind: FileKind,
}

/// What the attributes say of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Plain,
    Padding,
    Link,
}

impl<'a> RawFile<'a> {
    /// Reads a member of the list of files.
    pub(super) fn of_many(file: View<'a>) -> Result<Self, BadTorrent> {
        let entry = file.pick(&FILE_KEYS);
        if let Some(key) = entry.repeated() {
            return Err(BadTorrent::Repeated { key });
        }
        let path = path_of(&entry);
        let file = Self::new(entry, path.unwrap_or_default());
        // Padding is not written to the disk, so libtorrent reads it without a path.
        if file.path.is_empty() && file.kind != FileKind::Padding {
            return Err(BadTorrent::Missing("`path` of a file"));
        }
        Ok(file)
    }

    /// Reads the file of a torrent without a list: `info` itself has its length and its attributes.
    pub(super) fn alone(info: Picked<'a>, name: &'a [u8]) -> Self {
        Self { path: vec![name], ..Self::new(info, Vec::new()) }
    }

    fn new(entry: Picked<'a>, path: Vec<&'a [u8]>) -> Self {
        let attributes = entry.find(b"attr").and_then(View::bytes).unwrap_or_default();
        let is_bitcomet_padding = path.last().is_some_and(|name| name.starts_with(BITCOMET_PADDING));
        let kind = if attributes.contains(&b'l') {
            FileKind::Link
        } else if attributes.contains(&b'p') || is_bitcomet_padding {
            FileKind::Padding
        } else {
            FileKind::Plain
        };
        let len = match kind {
            FileKind::Link => Some(0),
            _ => entry.find(b"length").and_then(View::number).and_then(|len| u64::try_from(len).ok()),
        };
        Self { entry, path, len, kind }
    }

    /// Whether the file has the attribute `x`.
    fn is_executable(&self) -> bool {
        self.entry.find(b"attr").and_then(View::bytes).is_some_and(|attributes| attributes.contains(&b'x'))
    }

    /// Whether the file's `length` is not 0.
    fn claims_bytes(&self) -> bool {
        self.entry.find(b"length").and_then(View::lenient_number).is_some_and(|len| len != 0)
    }

    /// The target of a symbolic link, made safe for showing.
    fn target(&self) -> String {
        let components = self.entry.find(b"symlink path").and_then(strings).unwrap_or_default();
        Safe::new(&components.join(&b'/')).to_string()
    }
}

/// The components of a file's path, not yet safe; `None` if there is no list of strings.
fn path_of<'a>(file: &Picked<'a>) -> Option<Vec<&'a [u8]>> {
    let list = |key: &[u8]| file.find(key).filter(|path| path.is_list());
    list(b"path.utf-8").or_else(|| list(b"path")).and_then(strings)
}

/// The members of a list of strings; `None` if a member is not a string.
fn strings(list: View<'_>) -> Option<Vec<&[u8]>> {
    list.items().map(View::bytes).collect()
}

/// Reads the files in order and gives each one a path of its own. `name` is the torrent's name made safe, `raw_name`
/// the name as the torrent has it.
pub(super) fn read(
    info: &Picked<'_>,
    (name, raw_name): (&str, &[u8]),
    names: NameRules,
    warnings: &mut Warnings,
) -> Result<TorrentFiles, BadTorrent> {
    let mut list = List {
        name,
        raw_name,
        names,
        files: TorrentFiles { files: Vec::new(), links: Vec::new() },
        total_len: 0,
        warnings,
    };
    if let Some(files) = self::list(info) {
        if info.find(b"length").is_some() {
            list.warnings.add(TorrentWarning::LengthBesideFiles);
        }
        for file in files.items() {
            list.add(&RawFile::of_many(file)?)?;
        }
    } else if info.find(b"length").is_some() {
        if info.find(b"files").is_some() {
            list.warnings.add(TorrentWarning::FilesIsNoList);
        }
        list.add(&RawFile::new(info.clone(), Vec::new()))?;
    } else {
        return Err(BadTorrent::OneOrMany);
    }
    list.untangle();
    Ok(list.files)
}

/// The files read so far, and what is needed to read the next one.
struct List<'a> {
    name: &'a str,
    raw_name: &'a [u8],
    names: NameRules,
    files: TorrentFiles,
    total_len: u64,
    warnings: &'a mut Warnings,
}

impl List<'_> {
    /// Adds a file or a link.
    fn add(&mut self, file: &RawFile<'_>) -> Result<(), BadTorrent> {
        let safe = std::iter::once(self.name.as_bytes()).chain(file.path.iter().copied());
        let path = SafePath::from_raw(safe, self.names).ok_or(BadTorrent::Missing("`name`"))?;
        let raw = || std::iter::once(self.raw_name).chain(file.path.iter().copied());
        let shown = || Safe::new(&raw().collect::<Vec<_>>().join(&b'/')).to_string();
        if file.kind == FileKind::Link {
            self.warnings.add(TorrentWarning::LinkNotCreated(shown()));
            if file.claims_bytes() {
                self.warnings.add(TorrentWarning::LinkWithLength(shown()));
            }
            self.files.links.push(SymbolicLink { path, target: file.target() });
            return Ok(());
        }
        let len = file.len.ok_or_else(|| BadTorrent::FileLen { name: shown() })?;
        let padding = file.kind == FileKind::Padding;
        if !padding && !path.components().map(str::as_bytes).eq(raw()) {
            let to = Safe::new(path.as_str()).to_string();
            self.warnings.add(TorrentWarning::Renamed { from: shown(), to });
        }
        let offset = self.total_len;
        self.total_len = offset.checked_add(len).ok_or(BadGeometry::Overflow)?;
        let executable = file.is_executable();
        self.files.files.push(FileEntry { path, len, offset, padding, executable });
        Ok(())
    }

    /// Gives files with the same path different paths. Padding is left out, because it is never on the disk.
    fn untangle(&mut self) {
        let files = self.files.files.iter_mut();
        let mut paths: Vec<_> = files.filter(|file| !file.padding).map(|file| &mut file.path).collect();
        for at in safe_path::untangle(&mut paths, self.names) {
            if let Some(path) = paths.get(at) {
                self.warnings.add(TorrentWarning::Twin(Safe::new(path.as_str()).to_string()));
            }
        }
    }
}

/// The beginning of the name that BitComet gives to padding. BitComet used it before BEP 47 existed.
const BITCOMET_PADDING: &[u8] = b"_____padding_file";
