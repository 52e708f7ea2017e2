//! Names from a torrent on their way to the disk: the one function they pass (S-01, S-03, D-11).
//!
//! One rule for all systems, so that a torrent's files have the same names wherever they are. What tries to leave the
//! torrent's folder is refused, not repaired: nobody makes such a torrent by accident. What is merely impossible or
//! misleading somewhere (`a:b`, `CON`, right-to-left overrides, 300 bytes) is renamed by a rule that depends on the
//! name alone. Symbolic links that exist on the disk are not its business: `storage` opens without following them.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use icu_normalizer::DecomposingNormalizer;
use sha1::{Digest, Sha1};

use crate::base::safe::is_harmless;

/// 255 bytes: the longest name that ext4, XFS, Btrfs, APFS and NTFS all take.
pub const MAX_COMPONENT_LEN: usize = 255;

/// 2,048 bytes: half of Linux's `PATH_MAX`; the other half is for the folder the torrent goes to.
pub const MAX_PATH_LEN: usize = 2048;

/// 32 folders deep. Picked by eye: real torrents have a dozen, and every level costs an `openat`.
pub const MAX_DEPTH: usize = 32;

/// 11 bytes: what [`untangle`] may add to a name, `~4294967295`.
const NUMBER_ROOM: usize = 11;

/// Why a path is refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// No component, or an empty one.
    #[error("an empty name")]
    Empty,
    /// `.` or `..`, alone or between separators.
    #[error("a name that points elsewhere")]
    Dots,
    /// Starts at a root: `/etc`, `\\server`, `C:`.
    #[error("an absolute path")]
    Absolute,
    /// Two readers would see two different names.
    #[error("a name with a NUL in it")]
    Nul,
}

/// A relative path below the output folder: no component is empty, `.`, `..`, longer than [`MAX_COMPONENT_LEN`],
/// reserved or unprintable. At most [`MAX_PATH_LEN`] bytes and [`MAX_DEPTH`] components. Cannot be made otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SafePath {
    /// Components joined by `/`.
    text: String,
}

impl SafePath {
    /// From a torrent's components, outermost first.
    pub fn from_raw<'a>(components: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, BadPath> {
        let mut text = String::new();
        let mut depth: usize = 0;
        for raw in components {
            if depth > 0 {
                text.push('/');
            }
            text.push_str(&component(raw)?);
            depth = depth.saturating_add(1);
        }
        if text.is_empty() {
            return Err(BadPath::Empty);
        }
        if text.len() > MAX_PATH_LEN.saturating_sub(NUMBER_ROOM) || depth > MAX_DEPTH {
            text = shortened(&text);
        }
        Ok(Self { text })
    }

    /// Relative; `/` between the components on every system.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.text)
    }

    /// The same as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Outermost first, at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.text.split('/')
    }

    fn file_name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }

    fn set_file_name(&mut self, name: &str) {
        let kept = self.text.len().saturating_sub(self.file_name().len());
        self.text.truncate(kept);
        self.text.push_str(name);
    }
}

/// One name, made safe: refused if it points elsewhere, else as it is or renamed. What comes out stays the same when
/// it goes in again.
pub fn component(raw: &[u8]) -> Result<String, BadPath> {
    if raw.is_empty() {
        return Err(BadPath::Empty);
    }
    if raw.contains(&0) {
        return Err(BadPath::Nul);
    }
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push('_');
        }
    }
    refuse_escapes(&text)?;
    let mut text: String = text.chars().map(|c| if is_portable(c) { c } else { '_' }).collect();
    underline_the_tail(&mut text);
    if is_reserved(&text) {
        text.insert(0, '_');
    }
    Ok(if text.len() > MAX_COMPONENT_LEN { cut(&text, "") } else { text })
}

/// A name with separators inside is renamed if it merely looks odd (`AC/DC`), refused if it would lead somewhere.
fn refuse_escapes(text: &str) -> Result<(), BadPath> {
    let mut segments = text.split(['/', '\\']);
    let first = segments.next().unwrap_or_default();
    let is_drive = matches!(first.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic());
    if first.is_empty() || is_drive {
        return Err(BadPath::Absolute);
    }
    if matches!(first, "." | "..") || segments.any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(BadPath::Dots);
    }
    Ok(())
}

/// Can be in a file's name everywhere, and shows itself as what it is.
fn is_portable(c: char) -> bool {
    is_harmless(c) && !matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
}

/// Windows drops dots and spaces at the end: `a` and `a.` would be one file.
fn underline_the_tail(text: &mut String) {
    let kept = text.trim_end_matches(['.', ' ']).len();
    let dropped = text.len().saturating_sub(kept);
    text.truncate(kept);
    text.extend(std::iter::repeat_n('_', dropped));
}

/// The folder in which `fetch` keeps its state inside the output folder: no torrent may write there.
const STATE_FOLDER: &str = ".tt-actors";

/// Is it a device on Windows, with or without an extension, or our own state folder?
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ').to_ascii_uppercase();
    let is_device = match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$" => true,
        other => {
            let digit = other.strip_prefix("COM").or_else(|| other.strip_prefix("LPT")).unwrap_or_default();
            matches!(digit, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
        }
    };
    is_device || name.eq_ignore_ascii_case(STATE_FOLDER)
}

/// 16 bytes: an extension longer than that is part of the name.
const MAX_EXTENSION_LEN: usize = 16;

/// The name before its extension, and the extension with its dot.
fn split_extension(name: &str) -> (&str, &str) {
    let at = name.rfind('.').filter(|at| *at > 0).unwrap_or(name.len());
    let (stem, extension) = name.split_at(at);
    if extension.len() > MAX_EXTENSION_LEN { (name, "") } else { (stem, extension) }
}

/// The name with its middle replaced by a digest of it, so that it fits and two long names stay two.
fn cut(name: &str, mark: &str) -> String {
    let (stem, extension) = split_extension(name);
    let tail = format!("~{}{mark}{extension}", hex(&digest(&[name.as_bytes()])[..4]));
    let room = MAX_COMPONENT_LEN.saturating_sub(tail.len());
    let at = (0..=room.min(stem.len())).rev().find(|at| stem.is_char_boundary(*at)).unwrap_or(0);
    let (stem, _rest) = stem.split_at(at);
    format!("{stem}{tail}")
}

/// The second, third .. file of a name: `name~2.ext`.
fn numbered(name: &str, number: u32) -> String {
    let mark = format!("~{number}");
    if name.len().saturating_add(mark.len()) > MAX_COMPONENT_LEN {
        return cut(name, &mark);
    }
    let (stem, extension) = split_extension(name);
    format!("{stem}{mark}{extension}")
}

/// First folder, one folder named by a digest of the whole, last name.
fn shortened(text: &str) -> String {
    let first = text.split('/').next().unwrap_or_default();
    let last = text.rsplit('/').next().unwrap_or_default();
    format!("{first}/~{}/{last}", hex(&digest(&[text.as_bytes()])[..8]))
}

/// Gives every file a place of its own, also where `A` and `a`, or two spellings of `é`, are one name, and where one
/// file is called like another's folder: the first keeps its name, later ones become `name~2.ext`, `name~3.ext`.
///
/// The result depends on the paths and their order alone. Linear in their total length, however many are the same.
/// Gives the numbers of those renamed.
pub fn untangle(paths: &mut [&mut SafePath]) -> Vec<usize> {
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

/// Stands for a path, whatever its case and its spelling in Unicode; 16 bytes, so that a million deep paths do not
/// need a gigabyte.
type Place = [u8; 16];

const ROOT: Place = [0; 16];

fn below(folder: &Place, name: &str) -> Place {
    let digest = digest(&[folder, folded(name).as_bytes()]);
    let mut place = ROOT;
    place.copy_from_slice(&digest[..16]);
    place
}

/// The same for names that some file system takes for the same: case folded, decomposed (NFD).
fn folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let nfd = DecomposingNormalizer::new_nfd();
    let folded: String =
        nfd.normalize(name).chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    nfd.normalize(&folded).into_owned()
}

fn digest(parts: &[&[u8]]) -> [u8; 20] {
    let mut sha1 = Sha1::new();
    for part in parts {
        sha1.update(part);
    }
    sha1.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests;
