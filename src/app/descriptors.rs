//! How many descriptors this process may have, and who gets them (X-07, D-17). Knows no sockets and no files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// 24 for what is neither a file of a torrent nor a peer: streams, poller, signals, log, record, folders on the way to a
/// file, trackers and look-ups of names.
const RESERVE: usize = 24;

/// 4 for each arbiter besides the first: its poller, what wakes it, signals.
const OF_AN_ARBITER: usize = 4;

/// 128 open files: a quarter of what a shell gives by default (1,024).
const MAX_FILES: usize = 128;

/// 64 guests: each stays for 10 s at most, so six new peers a second find a place however many strangers say nothing.
const MAX_GUESTS: usize = 64;

/// 4 of each, however small the limit: with fewer nothing moves, and errors say it better.
const LEAST: usize = 4;

/// 1,048,576: what Linux lets a process have at most by default (`fs.nr_open`). Where more is allowed, a program that we
/// run and that closes all it could have would be at it for minutes.
const MOST: u64 = 1 << 20;

/// More torrents than there are descriptors to lock them by.
#[derive(Debug, thiserror::Error)]
#[error(
    "{torrents} torrents need at least {need} descriptors and this process may have {limit}; \
     raise the hard limit (ulimit -Hn, LimitNOFILE= of systemd) or name fewer of them"
)]
pub struct TooFew {
    torrents: usize,
    need: u64,
    limit: u64,
}

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
    /// What each of so many torrents may have of this many in all, when each holds its lock: a quarter of what is free
    /// for files, an eighth for guests, who wait for all of them at one door, the rest for peers. Where there are more
    /// torrents than files, none keeps one open: thousands that nobody asks for would hold what the few need.
    pub fn of(limit: u64, torrents: usize) -> Self {
        let free = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(RESERVE + torrents);
        let files = (free / 4).clamp(LEAST, MAX_FILES);
        let guests = (free / 8).clamp(LEAST, MAX_GUESTS);
        let peers = free.saturating_sub(files + guests);
        let sharers = torrents.max(1);
        Self { files: files / sharers, peers: (peers / sharers).max(LEAST), guests }
    }

    /// Of as many as this process may have, on so many arbiters.
    pub fn of_this_process(torrents: usize, arbiters: usize) -> Self {
        Self::of(limit(arbiters), torrents)
    }
}

/// Takes as many as this process may have: the soft limit is for programs that count descriptors in a `select`, which
/// this one does not.
pub fn take_all() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let all = maximum.unwrap_or(MOST).min(MOST);
    if current.is_some_and(|current| current < all) {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(all), maximum });
        tracing::debug!(from = current, to = all, ?raised, "limit of descriptors is raised");
    }
}

/// Is there one for each of so many torrents, and the least of everything else?
pub fn suffice_for(torrents: usize, arbiters: usize) -> Result<(), TooFew> {
    suffice(limit(arbiters), torrents)
}

fn suffice(limit: u64, torrents: usize) -> Result<(), TooFew> {
    let need = (RESERVE + 3 * LEAST + torrents) as u64;
    if need > limit { Err(TooFew { torrents, need, limit }) } else { Ok(()) }
}

/// What is left of the limit by the arbiters.
fn limit(arbiters: usize) -> u64 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    limit.saturating_sub((OF_AN_ARBITER * arbiters.saturating_sub(1)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_guests_and_peers_share_what_is_left() {
        let table = [
            (0, (4, 4, 4)),
            (24, (4, 4, 4)),
            (64, (9, 4, 26)),
            (256, (57, 28, 146)),
            (1024, (128, 64, 807)),
            (u64::MAX, (128, 64, usize::MAX - 25 - 128 - 64)),
        ];
        let shared = Descriptors::of(1024, 10);
        assert_eq!((shared.files, shared.guests, shared.peers), (12, 64, 79));
        assert_eq!(Descriptors::of(20_000, 1000).files, 0, "each is opened when it is needed");
        assert_eq!(Descriptors::of(1024, 1000).peers, 4, "with fewer nothing moves");
        for (limit, (files, guests, peers)) in table {
            assert_eq!(Descriptors::of(limit, 1), Descriptors { files, peers, guests }, "{limit}");
        }
    }

    #[test]
    fn torrents_that_could_not_all_be_locked_are_refused_with_the_way_out() {
        assert!(suffice(64, 1).is_ok() && suffice(64, 28).is_ok());
        let refused = suffice(64, 29).unwrap_err().to_string();
        for part in ["29 torrents", "65 descriptors", "may have 64", "ulimit"] {
            assert!(refused.contains(part), "{refused}");
        }
    }
}
