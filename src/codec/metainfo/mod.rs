//! `.torrent` files (BEP 3, 12, 19, 27, 47): from bytes to a [`Metainfo`] that cannot exist in a bad form.
//!
//! The parser is strict where two readers could see two different torrents (the info-hash, the pieces, the files). It
//! is tolerant everywhere else, with a [`TorrentWarning`] for what it tolerated ([decision
//! 26](../../../docs/decisions/0026-tolerant-torrents.md)). The info-hash is the digest of the raw bytes of `info`, so
//! unknown keys and odd orders do not change it. Only version 1 is supported; of a hybrid torrent the version 1 part is
//! used, and its integrity rests on SHA-1 alone: against an attacker who can make colliding pieces (S-25) only version
//! 2 would help.
//!
//! Does not know which data is on the disk, nor which of the trackers can be asked.

use std::sync::Arc;

use self::warning::Warnings;
use super::bencode::{BadBencode, BencodeLimits, Picked, View};
use super::safe_path::NameRules;
use crate::base::geometry::BadGeometry;

pub mod draft;
mod files;
mod hybrid;
mod info;
mod sources;
mod warning;

pub use self::info::{FileEntry, Info, PieceHashes, SymbolicLink};
pub use self::warning::TorrentWarning;

/// A torrent, as its file describes it: its content, and fields on which the peers of a swarm need not agree.
#[derive(Debug, Clone)]
pub struct Metainfo {
    /// The content, which the info-hash identifies.
    pub info: Arc<Info>,
    /// Trackers, best tier first (BEP 12); the one of `announce` if there is no list. Each URL once, as given.
    pub tiers: Vec<Vec<String>>,
    /// URLs of web seeds (BEP 19), each once, as given.
    pub web_seeds: Vec<String>,
    /// A comment. Not made safe for showing.
    pub comment: Option<String>,
    /// The program that made the torrent. Not made safe for showing.
    pub created_by: Option<String>,
    /// The creation date in seconds since 1970.
    pub creation_date: Option<i64>,
    /// What was tolerated in the file and in its `info`: odd fields, renamed files.
    pub warnings: Vec<TorrentWarning>,
}

/// Why bytes are no torrent, or one that must not be touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTorrent {
    /// The input is not bencode, or exceeds the limits of bencode.
    #[error("not a torrent: {0}")]
    Bencode(#[from] BadBencode),
    /// A required field is missing or has the wrong type.
    #[error("not a torrent: no {0}")]
    Missing(&'static str),
    /// A version 2 torrent (BEP 52) without a version 1 part.
    #[error("a version 2 torrent (BEP 52) without a version 1 part: only version 1 and hybrid torrents are supported")]
    VersionTwo,
    /// The name of a single file is empty or leads out of the folder, and no usable name is left of it. The text is
    /// safe to show.
    #[error("unsafe torrent: `{name}` is no name for a file")]
    Name {
        /// The name, made safe for showing.
        name: String,
    },
    /// A key that identifies the torrent comes twice, so two readers could see two different torrents.
    #[error("broken torrent: `{}` comes twice", key.escape_ascii())]
    Repeated {
        /// The key.
        key: &'static [u8],
    },
    /// The two parts of a hybrid torrent describe different files.
    #[error("broken torrent: its version 1 and its version 2 part describe different files")]
    TwoTorrents,
    /// The sizes are out of bounds.
    #[error("broken torrent: {0}")]
    Geometry(#[from] BadGeometry),
    /// A file without a length, or with a negative one. The text is safe to show.
    #[error("broken torrent: no good length for `{name}`")]
    FileLen {
        /// The file's name, made safe for showing.
        name: String,
    },
    /// There is neither `length` nor `files`.
    #[error("broken torrent: it has neither a `length` nor a list of `files`")]
    OneOrMany,
    /// The hashes do not have 20 bytes for each piece.
    #[error("broken torrent: {bytes} bytes of hashes for {pieces} pieces")]
    Hashes {
        /// The length of the field `pieces` in bytes.
        bytes: usize,
        /// The number of pieces, by the sizes.
        pieces: u32,
    },
}

impl BadTorrent {
    /// Whether the torrent could be read but is unsafe or contradicts itself (exit code 26). Otherwise it could not be
    /// read at all (exit code 25).
    pub const fn is_unsafe(&self) -> bool {
        !matches!(self, Self::Bencode(_) | Self::Missing(_) | Self::VersionTwo)
    }
}

impl Metainfo {
    /// Reads a `.torrent` file with the name rule of this system. Time and memory are linear in the input.
    pub fn parse(input: &[u8]) -> Result<Self, BadTorrent> {
        Self::parse_named(input, NameRules::default())
    }

    /// Reads a `.torrent` file with this name rule.
    pub fn parse_named(input: &[u8], names: NameRules) -> Result<Self, BadTorrent> {
        let (root, mut warnings) = scan(input)?;
        let root = root.pick(&ROOT_KEYS);
        let raw_info = root.find(b"info").filter(|info| info.is_dict());
        let raw_info = raw_info.ok_or(BadTorrent::Missing("`info` dictionary"))?;
        if let Some(key) = root.repeated().filter(|key| *key == b"info") {
            return Err(BadTorrent::Repeated { key });
        }
        let info = Info::read(&raw_info, names, &mut warnings)?;
        Ok(Self {
            info: Arc::new(info),
            tiers: sources::tiers(&root, &mut warnings),
            web_seeds: sources::web_seeds(&root, &mut warnings),
            comment: sources::free_text(text(&root, b"comment.utf-8", b"comment")),
            created_by: sources::free_text(text(&root, b"created by.utf-8", b"created by")),
            creation_date: root.find(b"creation date").and_then(View::lenient_number),
            warnings: warnings.into_list(),
        })
    }
}

/// Reads the dictionary at the head of the file. Returns it with warnings about its form.
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

/// A string under the first key that has one; `.utf-8` keys come from makers whose plain ones are in another encoding.
fn text<'a>(dict: &Picked<'a>, preferred: &[u8], plain: &[u8]) -> Option<&'a [u8]> {
    let string = |key| dict.find(key).and_then(View::bytes);
    string(preferred).filter(|text| !text.is_empty()).or_else(|| string(plain))
}

#[cfg(test)]
mod tests;
