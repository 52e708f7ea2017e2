//! What is said to a tracker and what it answers, whatever the transport (BEP 3, 15, 23, 31, 48).
//!
//! Replies are as the tracker sent them, but for their size and for addresses nobody can dial. What an interval of -1
//! means, and which addresses are wise to dial, is decided elsewhere.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::ids::{InfoHash, PeerId};
use crate::base::limits::MAX_PEERS_PER_REPLY;

/// 1,000 bytes kept of a failure reason or a warning: five times what is ever shown of one (T-09).
pub const MAX_TEXT_LEN: usize = 1000;

/// 1,000 bytes of a tracker id: it goes into every later URL.
pub const MAX_TRACKER_ID_LEN: usize = 1000;

/// Why an announce is made (BEP 3 `event`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Event {
    /// Nothing happened: "one of the announcements done at regular intervals".
    #[default]
    Periodic,
    /// "Sent when a download first begins."
    Started,
    /// "Sent when the download is complete"; never if it was complete at the start.
    Completed,
    /// "Sent when the downloader ceases downloading."
    Stopped,
    /// The regular announce of one that has all it wants, and not all there is (BEP 21). UDP has no number for it.
    Paused,
}

/// One announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// The swarm.
    pub info_hash: InfoHash,
    /// Who we are.
    pub peer_id: PeerId,
    /// Where we listen.
    pub port: u16,
    /// Bytes sent to peers since `started`.
    pub uploaded: u64,
    /// Bytes received from peers since `started`.
    pub downloaded: u64,
    /// Bytes we lack.
    pub left: u64,
    /// Why now.
    pub event: Event,
    /// Proves that we are the same client should our address change.
    pub key: u32,
    /// How many peers we would like.
    pub num_want: u32,
    /// What the tracker called us in its last reply, to be sent back as it is.
    pub tracker_id: Option<Vec<u8>>,
}

/// A good answer to an announce.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnnounceReply {
    /// Seconds until the next announce, as sent: it may be zero, negative or absurd (T-15). `None`: not sent, or text.
    pub interval: Option<i64>,
    /// Seconds that must pass at least, as sent.
    pub min_interval: Option<i64>,
    /// Seeds.
    pub complete: Option<u32>,
    /// Leeches.
    pub incomplete: Option<u32>,
    /// How often the torrent was downloaded.
    pub downloaded: Option<u32>,
    /// Peers that can be dialled, each once, at most [`MAX_PEERS_PER_REPLY`]; IPv4 ones inside IPv6 are unwrapped.
    pub peers: Vec<SocketAddr>,
    /// How many peers the tracker named, before duplicates and impossible ones went (W-11, W-15).
    pub peers_named: u32,
    /// How many entries of its peer lists cannot be read: a list that is cut short counts one, an entry without an
    /// address or without a port counts one. The others are used.
    pub peers_unreadable: u32,
    /// To be sent back with the next announce; at most [`MAX_TRACKER_ID_LEN`] bytes.
    pub tracker_id: Option<Vec<u8>>,
    /// "Similar to failure reason, but the response still gets processed normally" (T-10). Not made safe for showing.
    pub warning: Option<String>,
    /// Our address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
}

impl AnnounceReply {
    /// Takes the peers a tracker has named: counts all, keeps those [`vetted`].
    pub(super) fn take_peers(&mut self, named: impl IntoIterator<Item = SocketAddr>) {
        self.take_entries(named.into_iter().map(Some));
    }

    /// As [`Self::take_peers`], for lists in which `None` is an entry that cannot be read.
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

/// When a tracker that has failed may be asked again (BEP 31).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetryIn {
    /// Not before that.
    After(Duration),
    /// "The client should never retry."
    Never,
}

/// The tracker says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerFailure {
    /// In the tracker's words, at most [`MAX_TEXT_LEN`] bytes. Not made safe for showing.
    pub reason: String,
    /// When to come back, if it said so.
    pub retry_in: Option<RetryIn>,
}

/// Any well-formed answer to an announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Peers, and when to come back.
    Peers(AnnounceReply),
    /// A refusal.
    Failure(TrackerFailure),
}

/// The numbers of one swarm (BEP 48).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrapeEntry {
    /// The swarm.
    pub info_hash: InfoHash,
    /// Seeds.
    pub complete: u32,
    /// Leeches.
    pub incomplete: u32,
    /// How often the torrent was downloaded.
    pub downloaded: u32,
}

/// Each address once and in the order named, without those nobody can dial (port 0, `0.0.0.0`, `::`), at most
/// [`MAX_PEERS_PER_REPLY`] (T-16). Reads all of `named`, however many.
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

/// A stranger's text, at most [`MAX_TEXT_LEN`] bytes of it, whatever is not UTF-8 replaced.
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
