//! Torrents made in memory from a payload, and what a peer needs in order to serve one.
//!
//! It writes bencode by hand and shares no code with the client's parser, so that errors of the parser show.

use sha1::{Digest, Sha1};

use super::payload::{Content, Payload};
use crate::base::geometry::{BadGeometry, Geometry};
use crate::base::ids::InfoHash;
use crate::codec::metainfo::Metainfo;

/// The contents of a .torrent (BEP 3, BEP 12, BEP 27). The bytes of the payload are the bytes of the files, one after
/// the other.
#[derive(Debug, Clone, Default)]
pub struct Recipe {
    /// The name of the file, or of the folder.
    pub name: String,
    /// Paths inside the folder, with `/`, and lengths in bytes, which must add up to the length of the payload. Empty:
    /// a single file.
    pub files: Vec<(String, u64)>,
    /// Length of a piece, in bytes.
    pub piece_len: u32,
    /// Announce URLs by tier. A single URL is written as `announce`; more are written as `announce-list` too.
    pub tiers: Vec<Vec<String>>,
    /// The `private` flag (BEP 27).
    pub private: bool,
}

/// Why a recipe cannot become a torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRecipe {
    /// The lengths of the files do not add up.
    #[error("the files have {files} bytes, the payload has {payload}")]
    Lengths {
        /// The sum of the lengths of the files, in bytes.
        files: u128,
        /// The length of the payload, in bytes.
        payload: u64,
    },
    /// Sizes that no torrent can have.
    #[error(transparent)]
    Geometry(#[from] BadGeometry),
}

/// A finished torrent: its file and what its peers serve.
#[derive(Debug, Clone)]
pub struct MadeTorrent {
    /// The .torrent.
    pub file: Vec<u8>,
    /// What [`spawn_peer`](super::peer::spawn_peer) serves.
    pub offer: Offer,
}

/// What a peer offers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The info-hash of the torrent.
    pub info_hash: InfoHash,
    /// The layout of its pieces and blocks.
    pub geometry: Geometry,
    /// Its bytes.
    pub content: Content,
}

impl Offer {
    /// Returns the offer for a torrent made elsewhere; `content` is all its files, one after the other.
    pub fn of(torrent: &Metainfo, content: impl Into<Content>) -> Self {
        Self { info_hash: torrent.info.info_hash, geometry: torrent.info.geometry, content: content.into() }
    }
}

impl Recipe {
    /// Returns the recipe of a single file.
    pub fn single(name: &str, piece_len: u32, announce: &[String]) -> Self {
        let tiers = announce.iter().map(|url| vec![url.clone()]).collect();
        Self { name: name.to_owned(), piece_len, tiers, ..Self::default() }
    }

    /// Returns the recipe of a folder of files.
    pub fn folder(name: &str, files: &[(&str, u64)], piece_len: u32, announce: &[String]) -> Self {
        let files = files.iter().map(|(path, len)| ((*path).to_owned(), *len)).collect();
        Self { files, ..Self::single(name, piece_len, announce) }
    }

    /// Hashes the payload and writes the .torrent.
    pub fn make(&self, payload: Payload) -> Result<MadeTorrent, BadRecipe> {
        let files: u128 = self.files.iter().map(|(_, len)| u128::from(*len)).sum();
        if !self.files.is_empty() && files != u128::from(payload.len()) {
            return Err(BadRecipe::Lengths { files, payload: payload.len() });
        }
        let geometry = Geometry::new(payload.len(), u64::from(self.piece_len))?;
        let info = self.info(payload, &hashes(payload, &geometry));
        let info_hash = InfoHash(Sha1::digest(&info).into());
        let mut file = vec![b'd'];
        if let Some(first) = self.tiers.iter().flatten().next() {
            text(&mut file, b"announce");
            text(&mut file, first.as_bytes());
        }
        if self.tiers.iter().flatten().count() > 1 {
            text(&mut file, b"announce-list");
            let tier = |out: &mut Vec<u8>, urls: &Vec<String>| list(out, urls, |out, url| text(out, url.as_bytes()));
            list(&mut file, &self.tiers, tier);
        }
        text(&mut file, b"info");
        file.extend(info);
        file.push(b'e');
        Ok(MadeTorrent { file, offer: Offer { info_hash, geometry, content: payload.into() } })
    }

    fn info(&self, payload: Payload, hashes: &[u8]) -> Vec<u8> {
        let mut out = vec![b'd'];
        if self.files.is_empty() {
            text(&mut out, b"length");
            int(&mut out, payload.len());
        } else {
            text(&mut out, b"files");
            list(&mut out, &self.files, |out, (path, len)| {
                out.push(b'd');
                text(out, b"length");
                int(out, *len);
                text(out, b"path");
                let parts: Vec<&str> = path.split('/').collect();
                list(out, &parts, |out, part| text(out, part.as_bytes()));
                out.push(b'e');
            });
        }
        text(&mut out, b"name");
        text(&mut out, self.name.as_bytes());
        text(&mut out, b"piece length");
        int(&mut out, u64::from(self.piece_len));
        text(&mut out, b"pieces");
        text(&mut out, hashes);
        if self.private {
            text(&mut out, b"private");
            int(&mut out, 1);
        }
        out.push(b'e');
        out
    }
}

/// Returns the SHA-1 hashes of all pieces, concatenated.
fn hashes(payload: Payload, geometry: &Geometry) -> Vec<u8> {
    let mut buffer = vec![0; geometry.nominal_piece_len() as usize];
    let hash = |piece| {
        let bytes = &mut buffer[..geometry.piece_len(piece) as usize];
        payload.fill(geometry.piece_start(piece), bytes);
        <[u8; 20]>::from(Sha1::digest(&*bytes))
    };
    geometry.pieces().flat_map(hash).collect()
}

/// Appends a byte string (BEP 3).
pub(super) fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes.len().to_string().as_bytes());
    out.push(b':');
    out.extend(bytes);
}

/// Appends an integer (BEP 3).
pub(super) fn int(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    out.extend(format!("i{number}e").as_bytes());
}

fn list<T>(out: &mut Vec<u8>, items: &[T], mut each: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'l');
    for item in items {
        each(out, item);
    }
    out.push(b'e');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_file_is_written_as_bep_3_says() {
        let torrent = Recipe::single("a", 4, &["http://t/a".to_owned()]).make(Payload::new(0, 6)).unwrap();
        let mut want = b"d8:announce10:http://t/a4:infod6:lengthi6e4:name1:a12:piece lengthi4e6:pieces40:".to_vec();
        let bytes = Payload::new(0, 6).read(0, 6);
        want.extend(Sha1::digest(&bytes[..4]));
        want.extend(Sha1::digest(&bytes[4..]));
        want.extend(b"ee");
        assert_eq!(torrent.file, want);
        let info = &want[b"d8:announce10:http://t/a4:info".len()..want.len() - 1];
        assert_eq!(torrent.offer.info_hash.as_bytes()[..], Sha1::digest(info)[..]);
        assert_eq!(torrent.offer.geometry.piece_count(), 2);
    }

    #[test]
    fn a_folder_lists_its_files_and_its_tiers() {
        let urls = ["http://a/".to_owned(), "udp://b/".to_owned()];
        let recipe = Recipe { private: true, ..Recipe::folder("d", &[("x/y", 3), ("z", 0)], 16384, &urls) };
        let file = recipe.make(Payload::new(0, 3)).unwrap().file;
        let shown = file.escape_ascii().to_string();
        for part in [
            "d8:announce9:http://a/13:announce-listll9:http://a/el8:udp://b/ee4:infod",
            "5:filesld6:lengthi3e4:pathl1:x1:yeed6:lengthi0e4:pathl1:zeee4:name1:d",
            "7:privatei1eee",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn the_clients_own_parser_agrees() {
        let urls = ["http://a/".to_owned(), "udp://b/".to_owned()];
        let payload = Payload::new(9, 100_000);
        let made = Recipe::folder("d", &[("x/y", 99_999), ("z", 1)], 32768, &urls).make(payload).unwrap();
        let read = Metainfo::parse(&made.file).unwrap();
        let offer = Offer::of(&read, payload);
        assert_eq!((offer.info_hash, offer.geometry), (made.offer.info_hash, made.offer.geometry));
        let last = read.info.geometry.last_piece();
        let bytes = payload.read(read.info.geometry.piece_start(last), 32768);
        assert_eq!(read.info.hashes.get(last)[..], Sha1::digest(bytes)[..]);
        assert_eq!((read.info.files.len(), read.tiers.concat()), (2, urls.to_vec()));
    }

    #[test]
    fn lengths_that_do_not_add_up_are_refused() {
        let recipe = Recipe::folder("d", &[("x", 3)], 16384, &[]);
        assert_eq!(recipe.make(Payload::new(0, 4)).unwrap_err(), BadRecipe::Lengths { files: 3, payload: 4 });
        let nothing = Recipe::single("d", 16384, &[]).make(Payload::new(0, 0)).unwrap_err();
        assert_eq!(nothing, BadRecipe::Geometry(BadGeometry::Empty));
    }
}
