//! stub
use crate::base::{bitfield::Bitfield, ids::InfoHash};
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)] pub struct Witness { pub len: u64, pub dev: u64, pub ino: u64, pub mtime_ns: i64 }
#[derive(Debug, Clone)] pub struct Record { pub info_hash: InfoHash, pub pieces: u32, pub have: Bitfield, pub files: Vec<Witness>, pub downloaded: u64, pub uploaded: u64, pub clean: bool }
#[derive(Debug, thiserror::Error)] #[error("bad")] pub struct BadRecord;
impl Record { pub fn encode(&self) -> Vec<u8> { vec![] } pub fn decode(_: &[u8]) -> Result<Self, BadRecord> { Err(BadRecord) } }
