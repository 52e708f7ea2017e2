//! Hybrid torrents (BEP 52): checks that the version 1 and the version 2 part describe the same files.
//!
//! A client that reads the other part must see the same torrent; otherwise two clients write different data under one
//! name. Compares raw names and lengths, in order; padding exists in version 1 only. Linear in the input.

use super::BadTorrent;
use super::files::{self, FileKind, RawFile};
use crate::codec::bencode::{Picked, TreeStep, View};

/// The keys that are read of a file in the tree.
const LEAF_KEYS: [&[u8]; 2] = [b"attr", b"length"];

/// Compares `file tree` with `length` or `files`, which were checked before. `Ok` if there is no tree.
pub(super) fn check(info: &Picked<'_>, raw_name: &[u8]) -> Result<(), BadTorrent> {
    let Some(tree) = info.find(b"file tree") else { return Ok(()) };
    let mut files = version_one(info, raw_name);
    let mut path = Vec::new();
    for step in tree.walk() {
        match step {
            TreeStep::Enter(name) => path.push(name),
            TreeStep::Leave => {
                path.pop();
            }
            TreeStep::Value(b"", leaf) if leaf.is_dict() && !path.is_empty() => {
                let file = files.next().transpose()?;
                if file.is_none_or(|file| file.path != path || file.len.is_none() || file.len != len_of(leaf)) {
                    return Err(BadTorrent::TwoTorrents);
                }
            }
            TreeStep::Value(..) => return Err(BadTorrent::TwoTorrents),
        }
    }
    if files.next().is_none() { Ok(()) } else { Err(BadTorrent::TwoTorrents) }
}

/// The files and links of the version 1 part, without padding.
fn version_one<'a>(
    info: &Picked<'a>,
    raw_name: &'a [u8],
) -> Box<dyn Iterator<Item = Result<RawFile<'a>, BadTorrent>> + 'a> {
    match files::list(info) {
        Some(files) => Box::new(
            files
                .items()
                .map(RawFile::of_many)
                .filter(|file| !matches!(file, Ok(RawFile { kind: FileKind::Padding, .. }))),
        ),
        None => Box::new(std::iter::once(Ok(RawFile::alone(info.clone(), raw_name)))),
    }
}

/// The length in bytes of a file in the tree; 0 for a symbolic link; `None` if there is no clear length.
fn len_of(leaf: View<'_>) -> Option<u64> {
    let leaf = leaf.pick(&LEAF_KEYS);
    if leaf.repeated().is_some() {
        return None;
    }
    let is_link = leaf.find(b"attr").and_then(View::bytes).is_some_and(|attributes| attributes.contains(&b'l'));
    let len = || leaf.find(b"length").and_then(View::number).and_then(|len| u64::try_from(len).ok());
    if is_link { Some(0) } else { len() }
}
