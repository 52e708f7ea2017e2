//! The files of a torrent: `length` or `files` of `info`, with the attributes of BEP 47.

use super::{BadTorrent, FileEntry, Warnings, bad_path};
use crate::base::geometry::BadGeometry;
use crate::base::safe::Safe;
use crate::codec::bencode::{Picked, View};
use crate::codec::safe_path::{self, SafePath};

pub(super) struct Files {
    pub(super) files: Vec<FileEntry>,
    pub(super) multi_file: bool,
}

/// What is read of a file.
const FILE_KEYS: [&[u8]; 4] = [b"attr", b"length", b"path", b"path.utf-8"];

/// Reads them in order and gives each a path of its own.
pub(super) fn read(info: &Picked<'_>, name: &[u8], warnings: &mut Warnings) -> Result<Files, BadTorrent> {
    let mut list = List { name, files: Vec::new(), total_len: 0, warnings };
    let multi_file = match (info.find(b"length"), info.find(b"files")) {
        (Some(_), None) => {
            list.add(info, &[])?;
            false
        }
        (None, Some(files)) if files.is_list() => {
            for file in files.items() {
                let file = file.pick(&FILE_KEYS);
                list.add(&file, &path_of(&file)?)?;
            }
            true
        }
        _ => return Err(BadTorrent::OneOrMany),
    };
    list.untangle();
    Ok(Files { files: list.files, multi_file })
}

/// The components of a file's path, not yet safe.
fn path_of<'a>(file: &Picked<'a>) -> Result<Vec<&'a [u8]>, BadTorrent> {
    let list = |key: &[u8]| file.find(key).filter(|path| path.is_list());
    let path = list(b"path.utf-8").or_else(|| list(b"path")).ok_or(BadTorrent::Missing("`path` of a file"))?;
    let components: Option<Vec<_>> = path.items().map(View::bytes).collect();
    components.filter(|path| !path.is_empty()).ok_or(BadTorrent::Missing("`path` of a file"))
}

struct List<'a> {
    name: &'a [u8],
    files: Vec<FileEntry>,
    total_len: u64,
    warnings: &'a mut Warnings,
}

impl List<'_> {
    /// `file` is the dictionary with the length and the attributes, `inner` the path below the torrent's folder.
    fn add(&mut self, file: &Picked<'_>, inner: &[&[u8]]) -> Result<(), BadTorrent> {
        let raw = || std::iter::once(self.name).chain(inner.iter().copied());
        let joined = || raw().collect::<Vec<_>>().join(&b'/');
        let path = SafePath::from_raw(raw()).map_err(|why| bad_path(&joined(), why))?;
        let attributes = file.find(b"attr").and_then(View::bytes).unwrap_or_default();
        let len = file.find(b"length").and_then(View::number).and_then(|len| u64::try_from(len).ok());
        if attributes.contains(&b'l') && len.unwrap_or(0) == 0 {
            self.warnings.add(format!("symbolic link `{}` is not created", Safe::new(&joined())));
            return Ok(());
        }
        let len = len.ok_or_else(|| BadTorrent::FileLen { name: Safe::new(&joined()).to_string() })?;
        let padding = attributes.contains(&b'p') || inner.last().is_some_and(|name| name.starts_with(BITCOMET_PADDING));
        if !padding && !path.components().map(str::as_bytes).eq(raw()) {
            self.warnings.add(format!("`{}` is renamed to `{}`", Safe::new(&joined()), Safe::new(path.as_str())));
        }
        let offset = self.total_len;
        self.total_len = offset.checked_add(len).ok_or(BadGeometry::Overflow)?;
        self.files.push(FileEntry { path, len, offset, padding, executable: attributes.contains(&b'x') });
        Ok(())
    }

    /// Padding needs no place of its own: it is never on the disk.
    fn untangle(&mut self) {
        let mut paths: Vec<_> = self.files.iter_mut().filter(|file| !file.padding).map(|file| &mut file.path).collect();
        for at in safe_path::untangle(&mut paths) {
            if let Some(path) = paths.get(at) {
                let shown = Safe::new(path.as_str());
                self.warnings.add(format!("a file is renamed to `{shown}`: another one has its name"));
            }
        }
    }
}

/// How BitComet calls padding; it had it before BEP 47.
const BITCOMET_PADDING: &[u8] = b"_____padding_file";
