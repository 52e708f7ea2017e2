//! The resume record: which pieces of a torrent are on stable storage, and in which files.
//!
//! The format is bencode, followed by its SHA-1. So a torn, truncated or damaged record is detected (D-13), and so is
//! one of a future version (D-14, X-12). `logic::disk::resume` decides what of a good record can be trusted. A bad
//! record means "check what is there", never "start anew".

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha1::{Digest, Sha1};

use super::bencode::{self, BadBencode, BencodeLimits, View};
use crate::base::bitfield::{BadBitfield, Bitfield};
use crate::base::ids::InfoHash;

/// The version of the format. No other version has existed, so no other is read.
pub const VERSION: i64 = 1;

/// What is known of a torrent's data on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeRecord {
    /// The torrent of the record; the reader must compare it with its own (D-14).
    pub info_hash: InfoHash,
    /// The number of pieces of the torrent.
    pub pieces: u32,
    /// The pieces whose bytes are on stable storage and hash right.
    pub have: Bitfield,
    /// The state of each file when the record was written, in the order of the torrent.
    pub files: Vec<Witness>,
    /// The state of the part file, which holds pieces' bytes of files that are not wanted.
    pub part: Witness,
    /// Bytes received in all runs; at most 2^63 - 1.
    pub downloaded: u64,
    /// Bytes sent in all runs; at most 2^63 - 1.
    pub uploaded: u64,
    /// The record was written at a clean stop, with no write outstanding.
    pub clean: bool,
}

/// Properties of a file that are cheap to read and change when another program changes the file (D-09, D-10). All
/// zeros: the file did not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Witness {
    /// The length in bytes.
    pub len: u64,
    /// The number of the device. Another number means that another file system is mounted there.
    pub dev: u64,
    /// The number of the inode.
    pub ino: u64,
    /// The time of the last modification, in nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// Why bytes are not a resume record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// The checksum is wrong: the record was not written completely, is damaged, or is another file.
    #[error("torn or foreign: the checksum is wrong")]
    Torn,
    /// The checksum is right, but the record is of another version of this program.
    #[error("of version {0}, this program reads version {VERSION}")]
    Version(i64),
    /// The checksum is right, but the bencode is not a record.
    #[error("not a record: {0}")]
    Shape(#[from] BadBencode),
    /// The bitfield does not fit the number of pieces.
    #[error("not a record: {0}")]
    Have(#[from] BadBitfield),
    /// The info-hash or the list of files has an impossible length.
    #[error("not a record: `{0}` has a wrong length")]
    Length(&'static str),
}

/// The fields in the order of their keys, as bencode requires.
#[derive(Serialize, Deserialize)]
struct Raw {
    clean: u8,
    downloaded: i64,
    /// [`WITNESS_LEN`] bytes for each file: a list of dictionaries would be four times as long.
    files: ByteBuf,
    have: ByteBuf,
    info_hash: ByteBuf,
    /// One witness; empty if there is no part file.
    #[serde(default)]
    part: ByteBuf,
    pieces: u32,
    uploaded: i64,
    version: i64,
}

/// The length of an encoded witness: three unsigned numbers of 8 bytes and a signed one, big-endian.
const WITNESS_LEN: usize = 32;

/// The length of the SHA-1 at the end.
const TRAILER_LEN: usize = 20;

impl ResumeRecord {
    /// The bytes of the record as a file.
    pub fn encode(&self) -> Vec<u8> {
        let capped = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let raw = Raw {
            clean: self.clean.into(),
            downloaded: capped(self.downloaded),
            files: ByteBuf::from(self.files.iter().flat_map(Witness::encode).collect::<Vec<_>>()),
            have: ByteBuf::from(self.have.as_bytes()),
            info_hash: ByteBuf::from(self.info_hash.0),
            part: ByteBuf::from(self.part.encode()),
            pieces: self.pieces,
            uploaded: capped(self.uploaded),
            version: VERSION,
        };
        let mut out = serde_bencode::to_bytes(&raw).expect("strings and numbers have a form in bencode");
        let trailer: [u8; TRAILER_LEN] = Sha1::digest(&out).into();
        out.extend(trailer);
        out
    }

    /// Reads a record from the bytes of a file. A hostile file costs no more memory than it is long.
    pub fn decode(input: &[u8]) -> Result<Self, BadRecord> {
        let (body, trailer) = input.split_last_chunk::<TRAILER_LEN>().ok_or(BadRecord::Torn)?;
        let sum: [u8; TRAILER_LEN] = Sha1::digest(body).into();
        if sum != *trailer {
            return Err(BadRecord::Torn);
        }
        let version = View::parse(body, BencodeLimits::FILE)?.find(b"version").and_then(View::number).unwrap_or(0);
        if version != VERSION {
            return Err(BadRecord::Version(version));
        }
        let raw: Raw = bencode::decode(body, BencodeLimits::FILE)?;
        let info_hash = <[u8; 20]>::try_from(&raw.info_hash[..]).map_err(|_other| BadRecord::Length("info_hash"))?;
        let (files, []) = raw.files.as_chunks::<WITNESS_LEN>() else { return Err(BadRecord::Length("files")) };
        let (part, []) = raw.part.as_chunks::<WITNESS_LEN>() else { return Err(BadRecord::Length("part")) };
        Ok(Self {
            info_hash: InfoHash(info_hash),
            pieces: raw.pieces,
            have: Bitfield::from_wire(&raw.have, raw.pieces)?,
            files: files.iter().map(Witness::decode).collect(),
            part: part.first().map(Witness::decode).unwrap_or_default(),
            downloaded: raw.downloaded.try_into().unwrap_or(0),
            uploaded: raw.uploaded.try_into().unwrap_or(0),
            clean: raw.clean == 1,
        })
    }
}

impl Witness {
    /// Stands for a file that is not wanted: this client does not own the file, whether or not it exists.
    pub const NOT_OURS: Self = Self { len: u64::MAX, dev: 0, ino: 0, mtime_ns: 0 };

    /// The 32 bytes of the witness in a record.
    fn encode(&self) -> [u8; WITNESS_LEN] {
        let mut out = [0; WITNESS_LEN];
        let fields = [self.len, self.dev, self.ino, self.mtime_ns.cast_unsigned()];
        let (slots, _rest) = out.as_chunks_mut();
        for (slot, field) in slots.iter_mut().zip(fields) {
            *slot = field.to_be_bytes();
        }
        out
    }

    /// Reads the 32 bytes of a witness.
    fn decode(bytes: &[u8; WITNESS_LEN]) -> Self {
        let (fields, _rest) = bytes.as_chunks();
        let field = |nth: usize| fields.get(nth).map_or(0, |field| u64::from_be_bytes(*field));
        Self { len: field(0), dev: field(1), ino: field(2), mtime_ns: field(3).cast_signed() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> ResumeRecord {
        let witness = Witness { len: 5, dev: u64::MAX, ino: 7, mtime_ns: -1 };
        ResumeRecord {
            info_hash: InfoHash([7; 20]),
            pieces: 9,
            have: Bitfield::from_wire(&[0xa0, 0x80], 9).unwrap(),
            files: vec![witness, Witness::default()],
            part: witness,
            downloaded: 1,
            uploaded: u64::MAX,
            clean: true,
        }
    }

    fn sealed(body: &[u8]) -> Vec<u8> {
        let sum: [u8; 20] = Sha1::digest(body).into();
        [body, &sum].concat()
    }

    #[test]
    fn a_record_is_readable_bencode() {
        let bytes = record().encode();
        assert!(bytes.starts_with(b"d5:cleani1e10:downloadedi1e5:files64:\0\0\0\0\0\0\0\x05\xff"));
        assert_eq!(ResumeRecord::decode(&bytes), Ok(ResumeRecord { uploaded: i64::MAX.cast_unsigned(), ..record() }));
    }

    /// D-13: every cut and every flipped bit is detected.
    #[test]
    fn no_damage_goes_unnoticed() {
        let good = record().encode();
        for len in 0..good.len() {
            assert_eq!(ResumeRecord::decode(&good[..len]), Err(BadRecord::Torn), "{len}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ResumeRecord::decode(&bad), Err(BadRecord::Torn), "{bit}");
        }
        assert_eq!(ResumeRecord::decode(&[&good[..], &[0]].concat()), Err(BadRecord::Torn));
        assert_eq!(ResumeRecord::decode(&vec![0; good.len()]), Err(BadRecord::Torn));
    }

    /// D-14, X-12, and a forged record with a right checksum.
    #[test]
    fn valid_checksums_over_wrong_contents_are_refused() {
        assert_eq!(
            ResumeRecord::decode(&sealed(b"d7:versioni2e5:whatsle")),
            Err(BadRecord::Shape(BadBencode::CutShort { at: 22 }))
        );
        assert_eq!(ResumeRecord::decode(&sealed(b"d7:versioni2e4:whatlee")), Err(BadRecord::Version(2)));
        assert_eq!(ResumeRecord::decode(&sealed(b"de")), Err(BadRecord::Version(0)));
        assert!(matches!(
            ResumeRecord::decode(&sealed(b"d7:versioni1ee")),
            Err(BadRecord::Shape(BadBencode::Shape(_)))
        ));
        assert!(matches!(
            ResumeRecord::decode(&sealed(&vec![b'l'; 100_000])),
            Err(BadRecord::Shape(BadBencode::TooDeep { .. }))
        ));
        let raw = |files: usize, have: usize, hash: usize, pieces: &str| {
            let text = |len: usize| format!("{len}:{}", "\0".repeat(len));
            let (files, have, hash) = (text(files), text(have), text(hash));
            let body = format!(
                "d5:cleani0e10:downloadedi-1e5:files{files}4:have{have}9:info_hash{hash}6:pieces{pieces}8:uploadedi0e7:versioni1ee"
            );
            ResumeRecord::decode(&sealed(body.as_bytes()))
        };
        assert_eq!(raw(32, 2, 20, "i9e").map(|record| record.downloaded), Ok(0));
        assert_eq!(raw(31, 2, 20, "i9e"), Err(BadRecord::Length("files")));
        assert_eq!(raw(32, 2, 21, "i9e"), Err(BadRecord::Length("info_hash")));
        let claim = BadBitfield::Length { got: 2, want: 536_870_912 };
        assert_eq!(raw(32, 2, 20, "i4294967295e"), Err(BadRecord::Have(claim)));
        assert!(matches!(raw(32, 2, 20, "i-9e"), Err(BadRecord::Shape(_))));
    }

    proptest! {
        #[test]
        fn a_record_survives(
            info_hash: [u8; 20], pieces in 1_u32..300, bits: [u8; 38], counters: (u32, u32, bool),
            files in prop::collection::vec(any::<(u64, u64, u64, i64)>(), 0..20), part in any::<(u64, u64, u64, i64)>(),
        ) {
            let mut have = bits[..pieces.div_ceil(8) as usize].to_vec();
            *have.last_mut().unwrap() &= 0xff_u8.checked_shl(7 - (pieces - 1) % 8).unwrap();
            let witness = |(len, dev, ino, mtime_ns)| Witness { len, dev, ino, mtime_ns };
            let record = ResumeRecord {
                info_hash: InfoHash(info_hash),
                pieces,
                have: Bitfield::from_wire(&have, pieces).unwrap(),
                files: files.into_iter().map(witness).collect(),
                part: witness(part),
                downloaded: counters.0.into(),
                uploaded: counters.1.into(),
                clean: counters.2,
            };
            prop_assert_eq!(ResumeRecord::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _any = (ResumeRecord::decode(&body), ResumeRecord::decode(&sealed(&body)));
        }
    }
}
