//! The `info` dictionary: from its raw bytes to an [`Info`].

use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::warning::Warnings;
use super::{BadTorrent, TorrentWarning, files, hybrid, scan, sources, text};
use crate::base::geometry::{Geometry, PieceIndex};
use crate::base::ids::InfoHash;
use crate::base::safe::Safe;
use crate::codec::bencode::{Picked, View};
use crate::codec::safe_path::{NameRules, SafePath};

/// What the `info` dictionary says: the content of a torrent. It is read from the raw bytes of the dictionary alone, which
/// come with a `.torrent` file or from peers (BEP 9).
#[derive(Debug, Clone)]
pub struct Info {
    /// The dictionary itself, byte for byte.
    pub raw: Bytes,
    /// Its swarm's name: SHA-1 of `raw`.
    pub info_hash: InfoHash,
    /// The file's or the folder's name, made safe for the disk, not for showing.
    pub name: String,
    /// How the data is divided into pieces.
    pub geometry: Geometry,
    /// The hash of every piece.
    pub hashes: PieceHashes,
    /// In the order of the torrent; at least one. No two that are not padding have the same path.
    pub files: Vec<FileEntry>,
    /// Symbolic links (BEP 47), which are not created.
    pub links: Vec<SymbolicLink>,
    /// "Private": peers come from its trackers only (BEP 27).
    pub private: bool,
    /// The torrent has a folder of its own, even if there is a single file in it.
    pub multi_file: bool,
    /// Where it was made for; private trackers use it to make info-hashes differ. Not made safe for showing.
    pub source: Option<String>,
}

/// A symbolic link of a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolicLink {
    /// The path of the link, below the output folder.
    pub path: SafePath,
    /// The target of the link, as the torrent has it. Made safe for showing.
    pub target: String,
}

/// One file of a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// The path below the output folder. It starts with the torrent's name if the torrent has a folder of its own.
    pub path: SafePath,
    /// The length in bytes; may be zero.
    pub len: u64,
    /// The offset of the file's first byte in the torrent.
    pub offset: u64,
    /// Nothing but zeros so that the next file starts with a piece (BEP 47, BitComet): never on the disk, and its path
    /// may be another's.
    pub padding: bool,
    /// The file is made executable (BEP 47).
    pub executable: bool,
}

/// The SHA-1 of every piece. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct PieceHashes(Bytes);

impl PieceHashes {
    /// `hashes` is a part of `raw`, of which `kept` is a copy: no byte is kept twice.
    fn within(kept: &Bytes, raw: &[u8], hashes: &[u8]) -> Self {
        let start = hashes.as_ptr().addr().wrapping_sub(raw.as_ptr().addr());
        Self(kept.slice(start..start.saturating_add(hashes.len())))
    }

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

impl Info {
    /// Reads a dictionary that came without a file around it, and says what was tolerated. The caller has compared the
    /// SHA-1 of `raw` with the info-hash that it asked for (BEP 9).
    pub fn parse(raw: &[u8], names: NameRules) -> Result<(Self, Vec<TorrentWarning>), BadTorrent> {
        let (info, mut warnings) = scan(raw)?;
        if !info.is_dict() {
            return Err(BadTorrent::Missing("`info` dictionary"));
        }
        let info = Self::read(&info, names, &mut warnings)?;
        Ok((info, warnings.into_list()))
    }

    pub(super) fn read(raw: &View<'_>, names: NameRules, warnings: &mut Warnings) -> Result<Self, BadTorrent> {
        let info = raw.pick(&INFO_KEYS);
        if let Some(key) = info.repeated() {
            return Err(BadTorrent::Repeated { key });
        }
        let info_hash = InfoHash(Sha1::digest(raw.raw()).into());
        let hashes = hashes(&info, warnings)?;
        let raw_name = text(&info, b"name.utf-8", b"name").ok_or(BadTorrent::Missing("`name`"))?;
        let name = name_of(raw_name, &info, info_hash, names, warnings)?;
        let files::TorrentFiles { files, links } = files::read(&info, (&name, raw_name), names, warnings)?;
        hybrid::check(&info, raw_name)?;
        let total_len = files.last().map_or(0, |last| last.offset.saturating_add(last.len));
        let piece_len =
            info.find(b"piece length").and_then(View::number).ok_or(BadTorrent::Missing("`piece length`"))?;
        let geometry = Geometry::new(total_len, u64::try_from(piece_len).unwrap_or(0))?;
        let due = u64::from(geometry.piece_count()).saturating_mul(20);
        if u64::try_from(hashes.len()) != Ok(due) {
            return Err(BadTorrent::Hashes { bytes: hashes.len(), pieces: geometry.piece_count() });
        }
        let kept = Bytes::copy_from_slice(raw.raw());
        let hashes = PieceHashes::within(&kept, raw.raw(), hashes);
        Ok(Self {
            raw: kept,
            info_hash,
            name,
            geometry,
            hashes,
            files,
            links,
            private: is_private(&info),
            multi_file: files::list(&info).is_some(),
            source: sources::free_text(text(&info, b"source.utf-8", b"source")),
        })
    }
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

/// The keys that are read of `info`.
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
