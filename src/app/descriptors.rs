//! How many descriptors this process may have, and who gets them (X-07, D-17). Knows no sockets and no files.

use rustix::process::{Resource, getrlimit};

/// 24 for what is neither a file of the torrent nor a peer: streams, poller, signals, lock, log, record, folders on the
/// way to a file, trackers and look-ups of names.
const RESERVE: usize = 24;

/// 128 open files: a quarter of what a shell gives by default (1,024).
const MAX_FILES: usize = 128;

/// 64 guests: each stays for 10 s at most, so six new peers a second find a place however many strangers say nothing.
const MAX_GUESTS: usize = 64;

/// 4 of each, however small the limit: with fewer nothing moves, and errors say it better.
const LEAST: usize = 4;

/// The shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// Open files of a torrent at most.
    pub files: usize,
    /// Connections at most.
    pub peers: usize,
    /// Connections that have not said yet what they want.
    pub guests: usize,
}

impl Descriptors {
    /// Of this many in all: a quarter of what is free for files, an eighth for guests, the rest for peers.
    pub fn of(limit: u64) -> Self {
        let free = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(RESERVE);
        let files = (free / 4).clamp(LEAST, MAX_FILES);
        let guests = (free / 8).clamp(LEAST, MAX_GUESTS);
        Self { files, guests, peers: free.saturating_sub(files + guests).max(LEAST) }
    }

    /// What each of so many torrents may have; strangers wait for all of them at one door.
    #[must_use]
    pub fn shared_by(self, torrents: usize) -> Self {
        let share = |all: usize| (all / torrents.max(1)).max(LEAST);
        Self { files: share(self.files), peers: share(self.peers), guests: self.guests }
    }

    /// Of as many as this process may have.
    pub fn of_this_process() -> Self {
        Self::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_guests_and_peers_share_what_is_left() {
        let table = [
            (0, (4, 4, 4)),
            (24, (4, 4, 4)),
            (64, (10, 5, 25)),
            (256, (58, 29, 145)),
            (1024, (128, 64, 808)),
            (u64::MAX, (128, 64, usize::MAX - 24 - 128 - 64)),
        ];
        let shared = Descriptors::of(1024).shared_by(10);
        assert_eq!((shared.files, shared.guests, shared.peers), (12, 64, 80));
        assert_eq!(Descriptors::of(1024).shared_by(1000).files, 4, "with fewer nothing moves");
        for (limit, (files, guests, peers)) in table {
            assert_eq!(Descriptors::of(limit), Descriptors { files, peers, guests }, "{limit}");
        }
    }
}
