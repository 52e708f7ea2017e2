//! What a torrent looks like from outside: for the progress line, the JSON, the metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use crate::base::ids::InfoHash;
use crate::base::units::Bytes;
use crate::logic::peer::protocol::PeerView;
use crate::logic::peers::peer_book::Census;
use crate::logic::torrent::why::Why;
use crate::storage::{DiskTrouble, OpenTrouble};

/// Where a torrent stands.
#[derive(Debug, Clone, Default)]
pub enum TorrentPhase {
    /// Looking at what is there.
    #[default]
    Opening,
    /// Hashing what is there.
    Checking {
        /// Bytes hashed.
        done: u64,
        /// Bytes to hash.
        total: u64,
        /// Why, in words.
        reason: Option<String>,
    },
    /// Fetching.
    Fetching,
    /// Everything is there and verified, and given to others.
    Seeding,
    /// Everything is there and verified, and nothing more is to be done.
    Complete,
    /// It cannot go on.
    Failed(TorrentFailure),
}

/// Why a torrent cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TorrentFailure {
    /// Its files cannot be worked on.
    #[error(transparent)]
    Open(Arc<OpenTrouble>),
    /// The disk, and nobody waits for it.
    #[error(transparent)]
    Disk(DiskTrouble),
    /// It was to be given to others, and is not all there.
    #[error("not all of it is there: {} of {}; `verify` says what is missing, `fetch` brings it", Bytes(*have), Bytes(*total))]
    Incomplete {
        /// Bytes that are there and hash right.
        have: u64,
        /// All bytes.
        total: u64,
    },
    /// Its supervision gave up.
    #[error("the torrent was given up: {0}")]
    GaveUp(String),
}

/// From a child to its torrent: a survey would find something new. Said once, for the first change after each survey, so
/// that a torrent in which nothing happens need not ask.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Changed;

/// Says [`Changed`] for a child, and keeps still until the next survey.
#[derive(Debug)]
pub(super) struct ChangeNotice {
    torrent: Recipient<Changed>,
    rung: bool,
}

impl ChangeNotice {
    pub(super) const fn new(torrent: Recipient<Changed>) -> Self {
        Self { torrent, rung: false }
    }

    pub(super) fn ring(&mut self) {
        if !std::mem::replace(&mut self.rung, true) {
            self.torrent.do_send(Changed);
        }
    }

    pub(super) const fn on_survey(&mut self) {
        self.rung = false;
    }
}

/// One line of the peer table.
#[derive(Debug, Clone)]
pub struct PeerRow {
    /// The other end.
    pub addr: SocketAddr,
    /// What it says it is (BEP 10, BEP 20), fit to be shown.
    pub client: Arc<str>,
    /// How it stands.
    pub view: PeerView,
}

/// Peers and trackers of a torrent.
#[derive(Debug, Clone, Default)]
pub struct SwarmView {
    /// Addresses by state.
    pub census: Census,
    /// Open connections.
    pub peers: Arc<Vec<PeerRow>>,
    /// Every tracker.
    pub trackers: Vec<TrackerRow>,
    /// The time to the next dial, if one is planned.
    pub next_dial: Option<Duration>,
}

/// One line of the tracker table.
#[derive(Debug, Clone)]
pub struct TrackerRow {
    /// Without secrets.
    pub url: String,
    /// In words: `working`, `refused, retry in 12s`.
    pub state: String,
    /// It has answered, last time it was asked.
    pub works: bool,
    /// It has failed, last time it was asked.
    pub failed: bool,
    /// When it is asked next.
    pub next_in: Option<Duration>,
    /// Seeds and leeches, as it says.
    pub swarm: Option<(u32, u32)>,
}

/// What a torrent looks like from outside.
#[derive(Debug, Clone)]
pub struct TorrentView {
    /// Its name, fit to be shown.
    pub name: String,
    /// Its swarm.
    pub info_hash: InfoHash,
    /// Where it stands.
    pub phase: TorrentPhase,
    /// All bytes.
    pub bytes_total: u64,
    /// Bytes of the files that are wanted.
    pub bytes_selected: u64,
    /// Of those, the ones that are written and verified.
    pub bytes_done: u64,
    /// Bytes that are written and verified, wanted or not.
    pub bytes_have: u64,
    /// Of those, the ones that were there at the start.
    pub bytes_kept: u64,
    /// Bytes hashed at the start.
    pub bytes_checked: u64,
    /// Bytes of blocks received in this run.
    pub bytes_received: u64,
    /// Of those, the ones that were of no use.
    pub bytes_wasted: u64,
    /// Bytes of blocks sent in this run.
    pub bytes_sent: u64,
    /// Bytes per second, received.
    pub down_bps: u64,
    /// Bytes per second, sent.
    pub up_bps: u64,
    /// Blocks asked for and not yet here.
    pub requests_in_flight: u64,
    /// Bytes that may still be asked for.
    pub credit_free: u64,
    /// Share of the last seconds in which requests waited for the disk.
    pub disk_busy_percent: u8,
    /// Pieces that did not hash right.
    pub hash_failures: u64,
    /// Pieces we lack.
    pub pieces_missing: u32,
    /// Of them, those that no connected peer has.
    pub pieces_nobody_has: u32,
    /// Trouble of the disk that is being waited out.
    pub disk_trouble: Option<String>,
    /// Peers and trackers.
    pub swarm: SwarmView,
    /// The one reason for its present speed.
    pub why: Option<Why>,
}

impl TorrentView {
    /// Before anything is known.
    pub fn new(name: String, info_hash: InfoHash, bytes_total: u64) -> Self {
        Self {
            name,
            info_hash,
            phase: TorrentPhase::Opening,
            bytes_total,
            bytes_selected: bytes_total,
            bytes_done: 0,
            bytes_have: 0,
            bytes_kept: 0,
            bytes_checked: 0,
            bytes_received: 0,
            bytes_wasted: 0,
            bytes_sent: 0,
            down_bps: 0,
            up_bps: 0,
            requests_in_flight: 0,
            credit_free: 0,
            disk_busy_percent: 0,
            hash_failures: 0,
            pieces_missing: 0,
            pieces_nobody_has: 0,
            disk_trouble: None,
            swarm: SwarmView::default(),
            why: None,
        }
    }

    /// Time to the end at the present rate.
    pub fn eta(&self) -> Option<Duration> {
        let left = self.bytes_selected.saturating_sub(self.bytes_done);
        left.checked_div(self.down_bps).map(Duration::from_secs)
    }

    /// Peers that let us ask.
    pub fn unchoked(&self) -> usize {
        self.swarm.peers.iter().filter(|peer| !peer.view.peer_choking).count()
    }

    /// What holds it up, in a sentence; `None` when nothing does.
    pub fn trouble(&self) -> Option<&str> {
        let why = self.why.as_ref().filter(|why| !why.primary.is_healthy());
        self.disk_trouble.as_deref().or(why.map(|why| why.text.as_str()))
    }

    /// `12.5 MiB of 1.0 GiB`.
    pub fn progress_text(&self) -> String {
        format!("{} of {}", Bytes(self.bytes_done), Bytes(self.bytes_selected))
    }
}
