//! `.torrent` files (BEP 3, 12, 19, 27, 47): from bytes to a [`Metainfo`] that cannot exist in a bad form.
//!
//! Strict where two readers could see two different torrents (the info-hash, the pieces, the files), tolerant everywhere
//! else, with a [`TorrentWarning`] for what was tolerated
//! ([decision 26](../../../docs/decisions/0026-tolerant-torrents.md)). The info-hash is taken over the raw bytes of
//! `info`, so unknown keys and odd orders survive. Only version 1 is understood; of a hybrid torrent the version 1 part is
//! used, and its integrity rests on SHA-1 alone: against somebody who can make colliding pieces (S-25) only version 2
//! would help.
//!
//! Does not know what is on the disk, nor which of the trackers make sense.

use bytes::Bytes;
use sha1::{Digest, Sha1};

use self::warning::Warnings;
use super::bencode::{BadBencode, BencodeLimits, Picked, View};
use super::safe_path::{NameRules, SafePath};
use crate::base::geometry::{BadGeometry, Geometry, PieceIndex};
use crate::base::ids::InfoHash;
use crate::base::safe::Safe;

pub mod draft;
mod files;
mod hybrid;
mod sources;
mod warning;

pub use self::warning::TorrentWarning;

/// A torrent, as its file describes it.
#[derive(Debug, Clone)]
pub struct Metainfo {
    /// Its swarm's name: SHA-1 of the raw `info` dictionary.
    pub info_hash: InfoHash,
    /// The file's or the folder's name, made safe for the disk, not for showing.
    pub name: String,
    /// How its bytes fall into pieces.
    pub geometry: Geometry,
    /// The hash of every piece.
    pub hashes: PieceHashes,
    /// In the order of the torrent; at least one. No two that are not padding have the same path.
    pub files: Vec<FileEntry>,
    /// Symbolic links (BEP 47), which are not created.
    pub links: Vec<SymbolicLink>,
    /// "Private": peers come from its trackers only (BEP 27).
    pub private: bool,
    /// Has a folder of its own, even with a single file in it.
    pub multi_file: bool,
    /// Trackers, best tier first (BEP 12); the one of `announce` if there is no list. Each URL once, as given.
    pub tiers: Vec<Vec<String>>,
    /// Web seeds (BEP 19), each once, as given.
    pub web_seeds: Vec<String>,
    /// Free text. Not made safe for showing.
    pub comment: Option<String>,
    /// The program that made it. Not made safe for showing.
    pub created_by: Option<String>,
    /// Seconds since 1970.
    pub creation_date: Option<i64>,
    /// Where it was made for; private trackers use it to make info-hashes differ. Not made safe for showing.
    pub source: Option<String>,
    /// What was tolerated: odd fields, renamed files.
    pub warnings: Vec<TorrentWarning>,
}

/// A symbolic link of a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolicLink {
    /// Where it would be, below the output folder.
    pub path: SafePath,
    /// Where it would lead, as the torrent says. Safe to show.
    pub target: String,
}

/// One file of a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Below the output folder; starts with the torrent's name if that has a folder of its own.
    pub path: SafePath,
    /// Bytes; may be zero.
    pub len: u64,
    /// Where it starts in the torrent.
    pub offset: u64,
    /// Nothing but zeros so that the next file starts with a piece (BEP 47, BitComet): never on the disk, and its path
    /// may be another's.
    pub padding: bool,
    /// To be made executable (BEP 47).
    pub executable: bool,
}

/// The SHA-1 of every piece. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct PieceHashes(Bytes);

impl PieceHashes {
    /// What a piece must hash to. For a piece of another torrent that this one has not: zeros, which nothing hashes to.
    pub fn get(&self, piece: PieceIndex) -> [u8; 20] {
        let (hashes, _rest) = self.0.as_chunks();
        hashes.get(piece.at()).copied().unwrap_or_default()
    }
}

impl std::fmt::Debug for PieceHashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PieceHashes({} bytes)", self.0.len())
    }
}

/// Why bytes are no torrent, or one that must not be touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTorrent {
    /// Not bencode, or a bomb.
    #[error("not a torrent: {0}")]
    Bencode(#[from] BadBencode),
    /// Something without which there is no torrent is missing, or is of the wrong type.
    #[error("not a torrent: no {0}")]
    Missing(&'static str),
    /// BEP 52 without a version 1 part.
    #[error("a version 2 torrent (BEP 52) without a version 1 part: only version 1 and hybrid torrents are supported")]
    VersionTwo,
    /// A single file whose name is empty or leads elsewhere, with nothing else in it. The text is safe to show.
    #[error("unsafe torrent: `{name}` is no name for a file")]
    Name {
        /// The name, made safe for showing.
        name: String,
    },
    /// A key that identifies the torrent comes twice: two readers could see two different torrents.
    #[error("broken torrent: `{}` comes twice", key.escape_ascii())]
    Repeated {
        /// Which.
        key: &'static [u8],
    },
    /// The parts of a hybrid torrent differ.
    #[error("broken torrent: its version 1 and its version 2 part describe different files")]
    TwoTorrents,
    /// Sizes out of bounds.
    #[error("broken torrent: {0}")]
    Geometry(#[from] BadGeometry),
    /// A file without a length, or with a negative one. The text is safe to show.
    #[error("broken torrent: no good length for `{name}`")]
    FileLen {
        /// The file's name, made safe for showing.
        name: String,
    },
    /// Neither `length` nor `files`.
    #[error("broken torrent: it has neither a `length` nor a list of `files`")]
    OneOrMany,
    /// Not 20 bytes of hash for each piece.
    #[error("broken torrent: {bytes} bytes of hashes for {pieces} pieces")]
    Hashes {
        /// How many bytes `pieces` has.
        bytes: usize,
        /// How many pieces the sizes make.
        pieces: u32,
    },
}

impl BadTorrent {
    /// It could be read, but is unsafe or contradicts itself (exit code 26); else it could not even be read (25).
    pub const fn is_unsafe(&self) -> bool {
        !matches!(self, Self::Bencode(_) | Self::Missing(_) | Self::VersionTwo)
    }
}

impl Metainfo {
    /// Reads a `.torrent` file, its names by the rule of this system. Time and memory are linear in the input.
    pub fn parse(input: &[u8]) -> Result<Self, BadTorrent> {
        Self::parse_named(input, NameRules::default())
    }

    /// The same with names by that rule.
    pub fn parse_named(input: &[u8], names: NameRules) -> Result<Self, BadTorrent> {
        let (root, mut warnings) = scan(input)?;
        let root = root.pick(&ROOT_KEYS);
        let raw_info = root.find(b"info").filter(|info| info.is_dict());
        let raw_info = raw_info.ok_or(BadTorrent::Missing("`info` dictionary"))?;
        let info = raw_info.pick(&INFO_KEYS);
        if let Some(key) = root.repeated().filter(|key| *key == b"info").or(info.repeated()) {
            return Err(BadTorrent::Repeated { key });
        }
        let info_hash = InfoHash(Sha1::digest(raw_info.raw()).into());
        let hashes = hashes(&info, &mut warnings)?;
        let raw_name = text(&info, b"name.utf-8", b"name").ok_or(BadTorrent::Missing("`name`"))?;
        let name = name_of(raw_name, &info, info_hash, names, &mut warnings)?;
        let files::TorrentFiles { files, links } = files::read(&info, (&name, raw_name), names, &mut warnings)?;
        hybrid::check(&info, raw_name)?;
        let total_len = files.last().map_or(0, |last| last.offset.saturating_add(last.len));
        let piece_len =
            info.find(b"piece length").and_then(View::number).ok_or(BadTorrent::Missing("`piece length`"))?;
        let geometry = Geometry::new(total_len, u64::try_from(piece_len).unwrap_or(0))?;
        let due = u64::from(geometry.piece_count()).saturating_mul(20);
        if u64::try_from(hashes.len()) != Ok(due) {
            return Err(BadTorrent::Hashes { bytes: hashes.len(), pieces: geometry.piece_count() });
        }
        Ok(Self {
            info_hash,
            name,
            geometry,
            hashes: PieceHashes(Bytes::copy_from_slice(hashes)),
            files,
            links,
            private: is_private(&info),
            multi_file: files::list(&info).is_some(),
            tiers: sources::tiers(&root, &mut warnings),
            web_seeds: sources::web_seeds(&root, &mut warnings),
            comment: sources::free_text(text(&root, b"comment.utf-8", b"comment")),
            created_by: sources::free_text(text(&root, b"created by.utf-8", b"created by")),
            creation_date: root.find(b"creation date").and_then(View::lenient_number),
            source: sources::free_text(text(&info, b"source.utf-8", b"source")),
            warnings: warnings.into_list(),
        })
    }
}

/// The dictionary at the head of the file, and what is odd about its form.
fn scan(input: &[u8]) -> Result<(View<'_>, Warnings), BadTorrent> {
    let (root, scan) = View::scan(input, BencodeLimits::FILE)?;
    let mut warnings = Warnings::default();
    if scan.len < input.len() {
        warnings.add(TorrentWarning::TrailingBytes(input.len().saturating_sub(scan.len)));
    }
    if !scan.sorted {
        warnings.add(TorrentWarning::UnsortedKeys);
    }
    if scan.repeated_key.is_some() {
        warnings.add(TorrentWarning::RepeatedKey);
    }
    if scan.odd_number.is_some() {
        warnings.add(TorrentWarning::OddNumber);
    }
    Ok((root, warnings))
}

/// The torrent's name as the disk can have it. A folder whose name has nothing in it is called by the info-hash, as in
/// libtorrent; a single file is refused there too.
fn name_of(
    raw: &[u8],
    info: &Picked<'_>,
    info_hash: InfoHash,
    names: NameRules,
    warnings: &mut Warnings,
) -> Result<String, BadTorrent> {
    match names.component(raw) {
        Some(name) => Ok(name),
        None if files::list(info).is_some() => {
            warnings.add(TorrentWarning::NameIsInfoHash);
            Ok(info_hash.to_string())
        }
        None => Err(BadTorrent::Name { name: Safe::new(raw).to_string() }),
    }
}

/// What is read of the torrent.
const ROOT_KEYS: [&[u8]; 9] = [
    b"announce",
    b"announce-list",
    b"comment",
    b"comment.utf-8",
    b"created by",
    b"created by.utf-8",
    b"creation date",
    b"info",
    b"url-list",
];

/// What is read of its `info`.
const INFO_KEYS: [&[u8]; 12] = [
    b"attr",
    b"file tree",
    b"files",
    b"length",
    b"meta version",
    b"name",
    b"name.utf-8",
    b"piece length",
    b"pieces",
    b"private",
    b"source",
    b"source.utf-8",
];

/// The concatenated hashes; what tells version 1, 2 and hybrid torrents apart (BEP 52).
fn hashes<'a>(info: &Picked<'a>, warnings: &mut Warnings) -> Result<&'a [u8], BadTorrent> {
    let is_version_two = info.find(b"meta version").is_some() || info.find(b"file tree").is_some();
    match info.find(b"pieces").and_then(View::bytes) {
        Some(hashes) => {
            if is_version_two {
                warnings.add(TorrentWarning::Hybrid);
            }
            Ok(hashes)
        }
        None if is_version_two => Err(BadTorrent::VersionTwo),
        None => Err(BadTorrent::Missing("`pieces`")),
    }
}

/// "private=1" (BEP 27). Some makers write it as text; a torrent that wants to be private is taken at its word.
fn is_private(info: &Picked<'_>) -> bool {
    info.find(b"private").is_some_and(|flag| match flag.number() {
        Some(number) => number != 0,
        None => flag.bytes() == Some(b"1") || flag.lenient_number().is_some_and(|number| number != 0),
    })
}

/// A string under the first key that has one; `.utf-8` keys come from makers whose plain ones are in another encoding.
fn text<'a>(dict: &Picked<'a>, preferred: &[u8], plain: &[u8]) -> Option<&'a [u8]> {
    let string = |key| dict.find(key).and_then(View::bytes);
    string(preferred).filter(|text| !text.is_empty()).or_else(|| string(plain))
}

#[cfg(test)]
mod tests;
