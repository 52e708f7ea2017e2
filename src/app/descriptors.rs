//! How many file descriptors this process may have, and how they are shared out (X-07, D-17). Knows no sockets and no
//! files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// 24 for everything that is neither a file of a torrent nor a peer: standard streams, poller, signals, log, record,
/// folders on the way to a file, trackers and look-ups of names.
const RESERVE: usize = 24;

/// 4 for each arbiter besides the first: its poller, its waker, signals.
const OF_AN_ARBITER: usize = 4;

/// 128 open files: a quarter of what a shell gives by default (1,024).
const MAX_FILES: usize = 128;

/// 64 inbound connections before their handshake: each stays for 10 s at most, so six new peers a second find a place,
/// however many connections are silent.
const MAX_GUESTS: usize = 64;

/// 4 of each kind, however small the limit: with fewer no transfer is possible, and an error explains that better.
const LEAST: usize = 4;

/// 1,048,576: the most that Linux allows a process by default (`fs.nr_open`). With a higher limit, a program that we
/// run and that closes all possible descriptors would need minutes.
const MOST: u64 = 1 << 20;

/// There are more torrents than descriptors for their locks.
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

/// The shares of the descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// The largest number of open files of a torrent.
    pub files: usize,
    /// The largest number of connections of a torrent.
    pub peers: usize,
    /// The largest number of inbound connections before their handshake, for all torrents.
    pub guests: usize,
}

impl Descriptors {
    /// The shares of `torrents` torrents in `limit` descriptors. Each torrent needs one for its lock. Of the free rest,
    /// a quarter is for files, an eighth for inbound connections before their handshake (all torrents share one
    /// listener), and the remainder for peers. If there are more torrents than files, no torrent keeps a file open:
    /// otherwise thousands of idle torrents would hold the descriptors that the few active ones need.
    pub fn of(limit: u64, torrents: usize) -> Self {
        let free = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(RESERVE + torrents);
        let files = (free / 4).clamp(LEAST, MAX_FILES);
        let guests = (free / 8).clamp(LEAST, MAX_GUESTS);
        let peers = free.saturating_sub(files + guests);
        let sharers = torrents.max(1);
        Self { files: files / sharers, peers: (peers / sharers).max(LEAST), guests }
    }

    /// The shares in all descriptors of this process, with this number of arbiters.
    pub fn of_this_process(torrents: usize, arbiters: usize) -> Self {
        Self::of(limit(arbiters), torrents)
    }
}

/// Raises the soft limit to the hard limit. The soft limit protects programs that use `select`, which this one does
/// not.
pub fn take_all() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let all = maximum.unwrap_or(MOST).min(MOST);
    if current.is_some_and(|current| current < all) {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(all), maximum });
        tracing::debug!(from = current, to = all, ?raised, "limit of descriptors is raised");
    }
}

/// Checks that there is a descriptor for each torrent, and the minimum for everything else.
pub fn suffice_for(torrents: usize, arbiters: usize) -> Result<(), TooFew> {
    suffice(limit(arbiters), torrents)
}

/// Checks the limit for [`suffice_for`].
fn suffice(limit: u64, torrents: usize) -> Result<(), TooFew> {
    let need = (RESERVE + 3 * LEAST + torrents) as u64;
    if need > limit { Err(TooFew { torrents, need, limit }) } else { Ok(()) }
}

/// The descriptors of this process without those of the arbiters.
fn limit(arbiters: usize) -> u64 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    limit.saturating_sub((OF_AN_ARBITER * arbiters.saturating_sub(1)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_inbound_connections_and_peers_share_the_rest() {
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
    fn more_torrents_than_descriptors_are_refused_with_advice() {
        assert!(suffice(64, 1).is_ok() && suffice(64, 28).is_ok());
        let refused = suffice(64, 29).unwrap_err().to_string();
        for part in ["29 torrents", "65 descriptors", "may have 64", "ulimit"] {
            assert!(refused.contains(part), "{refused}");
        }
    }
}
