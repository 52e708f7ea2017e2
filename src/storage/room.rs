//! The space that the torrents of a run still need, summed up for each file system.
//!
//! A torrent claims all the space that it will need before it begins, and the claim shrinks as it writes. This module
//! only adds numbers: its callers determine how much space is free and how much is needed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::base::ids::InfoHash;
use crate::base::locked::Locked;

/// The bytes that all torrents of a run still have to write. Clones share the same value.
#[derive(Debug, Clone, Default)]
pub struct Room(Arc<Locked<Claims>>);

/// The bytes that each torrent still has to write, by file system.
type Claims = BTreeMap<(u64, InfoHash), Arc<AtomicU64>>;

/// The bytes that one torrent still has to write. Dropping the claim ends it.
#[derive(Debug)]
pub struct Claim(Arc<AtomicU64>);

impl Room {
    /// Claims `need` bytes of a file system for a torrent. Fails if `free` is less than what all torrents there need
    /// together; the error is that sum.
    pub fn claim(&self, device: u64, torrent: InfoHash, need: u64, free: u64) -> Result<Claim, u64> {
        let mut claims = self.0.lock();
        let on_device = claims.range((device, InfoHash([0; 20]))..=(device, InfoHash([0xff; 20])));
        let others = on_device.filter(|((_, other), _)| *other != torrent).map(|(_, left)| left.load(Relaxed));
        let all = others.fold(need, u64::saturating_add);
        if need > 0 && all > free {
            return Err(all);
        }
        let left = Arc::new(AtomicU64::new(need));
        claims.insert((device, torrent), Arc::clone(&left));
        Ok(Claim(left))
    }

    /// The bytes that all torrents on this file system still have to write.
    pub fn needed(&self, device: u64) -> u64 {
        let claims = self.0.lock();
        let on_device = claims.range((device, InfoHash([0; 20]))..=(device, InfoHash([0xff; 20])));
        on_device.map(|(_, left)| left.load(Relaxed)).fold(0, u64::saturating_add)
    }
}

impl Claim {
    /// Reduces the claim by bytes that were written.
    pub fn on_written(&self, bytes: u64) {
        // The closure always has a value, so this cannot fail.
        _ = self.0.fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(bytes)));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torrents_on_one_file_system_add_up() {
        let (room, torrent) = (Room::default(), |number| InfoHash([number; 20]));
        let first = room.claim(1, torrent(1), 30, 40).unwrap();
        assert_eq!(room.claim(1, torrent(2), 20, 40).unwrap_err(), 50, "the first needs 30 of the 40");
        let _elsewhere = room.claim(2, torrent(3), 20, 20).unwrap();
        assert_eq!((room.needed(1), room.needed(2), room.needed(3)), (30, 20, 0));
        first.on_written(25);
        let _second = room.claim(1, torrent(2), 10, 15).unwrap();
        assert_eq!(room.needed(1), 15);
        first.on_written(1000);
        assert_eq!(room.needed(1), 10, "more than was claimed is no debt");
        drop(first);
        let first = room.claim(1, torrent(1), 5, 15).unwrap();
        assert_eq!(room.claim(1, torrent(1), 6, 15).unwrap_err(), 16, "its own old claim does not count twice");
        drop(first);
        assert_eq!(room.needed(1), 10);
        let _third = room.claim(1, torrent(3), 0, 0).expect("who needs nothing is not refused");
    }
}
