//! Turns names from a torrent into paths for the disk. All such names pass here (S-01, S-03, D-11).
//!
//! [`NameRules::Native`] keeps every name that Linux can have and changes the others as libtorrent does on Linux, so
//! that the data of other clients is found ([decision 25](../../../docs/decisions/0025-names.md)).
//! [`NameRules::Portable`] makes names that every system can have. Neither makes a path that leaves its folder. How a
//! name is shown on a terminal is decided in `base::safe`. Symbolic links on the disk are handled in `storage`, which
//! opens files without following them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use icu_normalizer::DecomposingNormalizer;
use sha1::{Digest, Sha1};

mod native;
mod portable;

/// 255 bytes: the longest name that ext4, XFS, Btrfs, APFS and NTFS all take.
pub const MAX_COMPONENT_LEN: usize = 255;

/// 3,072 bytes: three quarters of Linux's `PATH_MAX` of 4,096; the rest is for the folder that the torrent goes to.
pub const MAX_PATH_LEN: usize = 3072;

/// 2,048 bytes of a portable path: half of Linux's `PATH_MAX`.
const MAX_PORTABLE_LEN: usize = 2048;

/// 32 components of a portable path. Picked by eye: real torrents have a dozen.
const MAX_PORTABLE_DEPTH: usize = 32;

/// 11 bytes: the longest text that [`untangle`] adds to a name, `~4294967295`.
const NUMBER_ROOM: usize = 11;

/// Replaces a component of which no usable name is left, as in libtorrent.
const LOST: &str = "_";

/// The rule by which names in a torrent become names of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameRules {
    /// Every name that Linux can have stays as it is.
    #[default]
    Native,
    /// Names are changed to those that Linux, macOS and Windows can all have. Names that differ only in case are made
    /// different.
    Portable,
}

impl NameRules {
    /// Makes one name safe. `None` if no usable name is left of it. A safe name is returned unchanged.
    pub fn component(self, raw: &[u8]) -> Option<String> {
        match self {
            Self::Native => native::component(raw),
            Self::Portable => Some(portable::component(raw)),
        }
    }

    /// The longest path below the output folder in bytes, and the largest number of its components.
    const fn bounds(self) -> (usize, usize) {
        match self {
            Self::Native => (MAX_PATH_LEN, MAX_PATH_LEN),
            Self::Portable => (MAX_PORTABLE_LEN, MAX_PORTABLE_DEPTH),
        }
    }

    /// The form in which two names are equal if some file system takes them for the same: case folded, decomposed
    /// (NFD). With the native rule it is the name itself, because Linux tells all names apart.
    fn folded(self, name: &str) -> Cow<'_, str> {
        if self == Self::Native {
            return name.into();
        }
        if name.is_ascii() {
            return name.to_ascii_lowercase().into();
        }
        let nfd = DecomposingNormalizer::new_nfd();
        let folded: String =
            nfd.normalize(name).chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
        nfd.normalize(&folded).into_owned().into()
    }
}

/// A relative path below the output folder. No component is empty, `.`, `..`, longer than [`MAX_COMPONENT_LEN`] or
/// contains a `/` or a NUL. The path has at most [`MAX_PATH_LEN`] bytes. A path that breaks these rules cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SafePath {
    /// The components, joined by `/`.
    text: String,
}

impl SafePath {
    /// Makes a path of a torrent's components, outermost first. `None` if there are no components.
    pub fn from_raw<'a>(components: impl IntoIterator<Item = &'a [u8]>, names: NameRules) -> Option<Self> {
        let mut text = String::new();
        let mut depth: usize = 0;
        for raw in components {
            if depth > 0 {
                text.push('/');
            }
            text.push_str(names.component(raw).as_deref().unwrap_or(LOST));
            depth = depth.saturating_add(1);
        }
        let (longest, deepest) = names.bounds();
        if text.len() > longest.saturating_sub(NUMBER_ROOM) || depth > deepest {
            text = shortened(&text);
        }
        (depth > 0).then_some(Self { text })
    }

    /// The relative path; `/` separates the components on every system.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.text)
    }

    /// The path as text. Not made safe for showing.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The components, outermost first; at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.text.split('/')
    }

    /// The last component.
    fn file_name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }

    /// Replaces the last component, which must be a safe name.
    fn set_file_name(&mut self, name: &str) {
        let kept = self.text.len().saturating_sub(self.file_name().len());
        self.text.truncate(kept);
        self.text.push_str(name);
    }
}

/// The folder inside the output folder in which `fetch` keeps its state. No torrent may write there. The name is
/// compared without case, because some file systems do not distinguish upper and lower case.
const STATE_FOLDER: &str = ".tt-actors";

/// Whether the name is that of our state folder, in upper or lower case.
fn is_state_folder(name: &str) -> bool {
    name.eq_ignore_ascii_case(STATE_FOLDER)
}

/// 16 bytes: a longer text after the last dot is not an extension but part of the name.
const MAX_EXTENSION_LEN: usize = 16;

/// Splits a name into the part before its extension, and the extension with its dot.
fn split_extension(name: &str) -> (&str, &str) {
    let at = name.rfind('.').filter(|at| *at > 0).unwrap_or(name.len());
    let (stem, extension) = name.split_at(at);
    if extension.len() > MAX_EXTENSION_LEN { (name, "") } else { (stem, extension) }
}

/// Shortens a name to [`MAX_COMPONENT_LEN`]: a digest of the name and `mark` replace its middle, so that two long names
/// stay different.
fn cut(name: &str, mark: &str) -> String {
    let (stem, extension) = split_extension(name);
    let tail = format!("~{}{mark}{extension}", hex(&digest(&[name.as_bytes()])[..4]));
    let room = MAX_COMPONENT_LEN.saturating_sub(tail.len());
    let at = (0..=room.min(stem.len())).rev().find(|at| stem.is_char_boundary(*at)).unwrap_or(0);
    let (stem, _rest) = stem.split_at(at);
    format!("{stem}{tail}")
}

/// The name of the second, third .. file with the same name: `name~2.ext`.
fn numbered(name: &str, number: u32) -> String {
    let mark = format!("~{number}");
    if name.len().saturating_add(mark.len()) > MAX_COMPONENT_LEN {
        return cut(name, &mark);
    }
    let (stem, extension) = split_extension(name);
    format!("{stem}{mark}{extension}")
}

/// Shortens a path to three components: the first folder, a folder named by a digest of the whole path, and the file's
/// name.
fn shortened(text: &str) -> String {
    let first = text.split('/').next().unwrap_or_default();
    let last = text.rsplit('/').next().unwrap_or_default();
    format!("{first}/~{}/{last}", hex(&digest(&[text.as_bytes()])[..8]))
}

/// Gives every file a different path. A file is renamed if another file or a folder has its path; for portable names
/// `A` and `a`, or two spellings of `é`, are the same. The first file keeps its name, later ones become `name~2.ext`,
/// `name~3.ext`.
///
/// The result depends on the paths and their order alone. Linear in their total length, however many are the same.
/// Returns the indices of the renamed files.
pub fn untangle(paths: &mut [&mut SafePath], names: NameRules) -> Vec<usize> {
    let below = |folder: &Place, name: &str| below(folder, &names.folded(name));
    let mut folders = HashSet::new();
    for path in &*paths {
        let mut place = ROOT;
        let mut components = path.components();
        components.next_back();
        for folder in components {
            place = below(&place, folder);
            folders.insert(place);
        }
    }
    let mut files = HashSet::new();
    let mut numbers: HashMap<Place, u32> = HashMap::new();
    let mut renamed = Vec::new();
    for (at, path) in paths.iter_mut().enumerate() {
        let mut components = path.components();
        let name = components.next_back().unwrap_or_default().to_owned();
        let folder = components.fold(ROOT, |place, component| below(&place, component));
        let mut take = |name: &str| {
            let place = below(&folder, name);
            !folders.contains(&place) && files.insert(place)
        };
        if take(&name) {
            continue;
        }
        let next = numbers.entry(below(&folder, &name)).or_insert(2);
        loop {
            let other = numbered(&name, *next);
            *next = next.saturating_add(1);
            if take(&other) {
                path.set_file_name(&other);
                renamed.push(at);
                break;
            }
        }
    }
    renamed
}

/// A digest of a path's folded components. It has 16 bytes, so that a million deep paths do not need a gigabyte.
type Place = [u8; 16];

const ROOT: Place = [0; 16];

/// The place of a name in a folder.
fn below(folder: &Place, name: &str) -> Place {
    let digest = digest(&[folder, name.as_bytes()]);
    let mut place = ROOT;
    place.copy_from_slice(&digest[..16]);
    place
}

/// The SHA-1 of these parts.
fn digest(parts: &[&[u8]]) -> [u8; 20] {
    let mut sha1 = Sha1::new();
    for part in parts {
        sha1.update(part);
    }
    sha1.finalize().into()
}

/// The bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests;
