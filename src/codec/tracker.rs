//! Announces, scrapes and their replies, for every transport (BEP 3, 15, 23, 31, 48).
//!
//! Replies are kept as the tracker sent them, except that their size is limited and addresses that cannot be dialled
//! are dropped. What an interval of -1 means, and which of the addresses are dialled, is decided elsewhere.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::ids::{InfoHash, PeerId};
use crate::base::limits::MAX_PEERS_PER_REPLY;

/// 1,000 bytes are kept of a failure reason or a warning: five times the length that is shown (T-09).
pub const MAX_TEXT_LEN: usize = 1000;

/// 1,000 bytes of a tracker id: it becomes part of every later URL.
pub const MAX_TRACKER_ID_LEN: usize = 1000;

/// The reason for an announce (BEP 3 `event`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Event {
    /// A regular announce: "one of the announcements done at regular intervals".
    #[default]
    Periodic,
    /// "Sent when a download first begins."
    Started,
    /// "Sent when the download is complete"; never if it was complete at the start.
    Completed,
    /// "Sent when the downloader ceases downloading."
    Stopped,
    /// A regular announce of a client that has all it wants but not all of the torrent (BEP 21). UDP has no number for
    /// it.
    Paused,
}

/// An announce of a client to a tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The client's peer id.
    pub peer_id: PeerId,
    /// The port on which the client listens.
    pub port: u16,
    /// Bytes sent to peers since `started`.
    pub uploaded: u64,
    /// Bytes received from peers since `started`.
    pub downloaded: u64,
    /// Bytes that the client still lacks.
    pub left: u64,
    /// The reason for the announce.
    pub event: Event,
    /// Proves to the tracker that this is the same client if its address changes.
    pub key: u32,
    /// The number of peers that the client wants.
    pub num_want: u32,
    /// The tracker id of the last reply, sent back unchanged.
    pub tracker_id: Option<Vec<u8>>,
}

/// The reply to an announce that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnnounceReply {
    /// Seconds until the next announce, as sent: it may be zero, negative or absurd (T-15). `None`: not sent, or text.
    pub interval: Option<i64>,
    /// Seconds that must pass at least until the next announce, as sent.
    pub min_interval: Option<i64>,
    /// The number of seeds.
    pub complete: Option<u32>,
    /// The number of leeches.
    pub incomplete: Option<u32>,
    /// How many downloads were completed.
    pub downloaded: Option<u32>,
    /// The peers that can be dialled, each once, at most [`MAX_PEERS_PER_REPLY`]. IPv4 addresses mapped into IPv6
    /// become IPv4.
    pub peers: Vec<SocketAddr>,
    /// The number of peers in the reply, before duplicates and unusable addresses were dropped (W-11, W-15).
    pub peers_named: u32,
    /// The number of entries of the peer lists that cannot be read: a list that is cut short counts as one, and so does
    /// an entry without an address or without a port. The other entries are used.
    pub peers_unreadable: u32,
    /// The client sends this back with the next announce; at most [`MAX_TRACKER_ID_LEN`] bytes.
    pub tracker_id: Option<Vec<u8>>,
    /// "Similar to failure reason, but the response still gets processed normally" (T-10). Not made safe for showing.
    pub warning: Option<String>,
    /// The client's address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
}

impl AnnounceReply {
    /// Stores the peers that a tracker has named: counts all, keeps those that pass [`vetted`].
    pub(super) fn take_peers(&mut self, named: impl IntoIterator<Item = SocketAddr>) {
        self.take_entries(named.into_iter().map(Some));
    }

    /// Stores peers as [`Self::take_peers`] does. `None` stands for an entry that cannot be read.
    pub(super) fn take_entries(&mut self, entries: impl IntoIterator<Item = Option<SocketAddr>>) {
        let (mut named, mut unreadable): (u32, u32) = (0, 0);
        self.peers = vetted(entries.into_iter().filter_map(|entry| {
            let count = if entry.is_some() { &mut named } else { &mut unreadable };
            *count = count.saturating_add(1);
            entry
        }));
        (self.peers_named, self.peers_unreadable) = (named, unreadable);
    }
}

/// When the client may ask again a tracker that has failed (BEP 31).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetryIn {
    /// Not before this time has passed.
    After(Duration),
    /// "The client should never retry."
    Never,
}

/// The reply of a tracker that refuses the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerFailure {
    /// The reason in the tracker's words, at most [`MAX_TEXT_LEN`] bytes. Not made safe for showing.
    pub reason: String,
    /// When the client may ask again, if the tracker has said so.
    pub retry_in: Option<RetryIn>,
}

/// A well-formed reply to an announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The announce succeeded.
    Peers(AnnounceReply),
    /// The tracker refused the announce.
    Failure(TrackerFailure),
}

/// The counts of one swarm (BEP 48).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrapeEntry {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The number of seeds.
    pub complete: u32,
    /// The number of leeches.
    pub incomplete: u32,
    /// How many downloads were completed.
    pub downloaded: u32,
}

/// Filters the peers that a tracker has named: each address once, in order, at most [`MAX_PEERS_PER_REPLY`] (T-16),
/// without those that cannot be dialled (port 0, `0.0.0.0`, `::`). Reads all of `named`, however many they are.
pub fn vetted(named: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for peer in named {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let is_possible = peer.port() != 0 && !peer.ip().is_unspecified();
        if is_possible && kept.len() < MAX_PEERS_PER_REPLY && seen.insert(peer) {
            kept.push(peer);
        }
    }
    kept
}

/// The beginning of a text, at most [`MAX_TEXT_LEN`] bytes, with replacement characters for what is not UTF-8.
pub(super) fn short_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..MAX_TEXT_LEN).unwrap_or(bytes)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-16, T-21, W-15.
    #[test]
    fn duplicates_and_impossible_addresses_go_but_are_counted() {
        let named = [
            "10.0.0.1:1",
            "10.0.0.1:1",
            "10.0.0.1:2",
            "0.0.0.0:5",
            "10.0.0.2:0",
            "[::]:6",
            "[2001:db8::1]:7",
            "[::ffff:10.0.0.1]:2",
            "[::ffff:0.0.0.0]:2",
            "[fe80::1]:9",
        ];
        let mut reply = AnnounceReply::default();
        reply.take_peers(named.iter().map(|text| text.parse().unwrap()));
        let kept: Vec<_> = reply.peers.iter().map(ToString::to_string).collect();
        assert_eq!(kept, ["10.0.0.1:1", "10.0.0.1:2", "[2001:db8::1]:7", "[fe80::1]:9"]);
        assert_eq!(reply.peers_named, 10);
    }

    #[test]
    fn at_most_three_thousand_peers_are_kept() {
        let named = (0..10_000_u32).map(|n| SocketAddr::from((n.to_be_bytes(), 6881)));
        let mut reply = AnnounceReply::default();
        reply.take_peers(named);
        assert_eq!((reply.peers.len(), reply.peers_named), (MAX_PEERS_PER_REPLY, 10_000));
    }
}
