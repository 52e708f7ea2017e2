//! How many descriptors this process may have, and who gets them (X-07, D-17). Knows no sockets and no files.

use rustix::process::{Resource, getrlimit};

/// 24 for what is neither a file of the torrent nor a peer: streams, poller, signals, lock, log, record, folders on the
/// way to a file, trackers and look-ups of names.
const RESERVE: usize = 24;

/// 128 open files: a quarter of what a shell gives by default (1,024).
const MAX_FILES: usize = 128;

/// 4 of each, however small the limit: with fewer nothing moves, and errors say it better.
const LEAST: usize = 4;

/// The shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// Open files of a torrent at most.
    pub files: usize,
    /// Connections at most.
    pub peers: usize,
}

impl Descriptors {
    /// Of this many in all: a quarter of what is free for files, the rest for peers.
    pub fn of(limit: u64) -> Self {
        let free = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(RESERVE);
        let files = (free / 4).clamp(LEAST, MAX_FILES);
        Self { files, peers: free.saturating_sub(files).max(LEAST) }
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
    fn files_and_peers_share_what_is_left() {
        let table = [
            (0, (4, 4)),
            (24, (4, 4)),
            (64, (10, 30)),
            (256, (58, 174)),
            (1024, (128, 872)),
            (u64::MAX, (128, usize::MAX - 24 - 128)),
        ];
        for (limit, (files, peers)) in table {
            assert_eq!(Descriptors::of(limit), Descriptors { files, peers }, "{limit}");
        }
    }
}
