//! The views of a torrent that are shown to the outside: in the progress line, the JSON and the metrics.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use crate::base::ids::InfoHash;
use crate::base::units::Bytes;
use crate::logic::peers::peer_book::Census;
pub use crate::logic::peers::pool::PeerRow;
use crate::logic::torrent::why::Why;
use crate::storage::{DiskTrouble, OpenTrouble};

/// What a torrent is doing.
#[derive(Debug, Clone, Default)]
pub enum TorrentPhase {
    /// The record and the files are being examined.
    #[default]
    Opening,
    /// Data that was there at the start is being hashed.
    Checking {
        /// Bytes hashed.
        done: u64,
        /// Bytes to hash.
        total: u64,
        /// The reason of the check, as text.
        reason: Option<String>,
    },
    /// Missing pieces are downloaded.
    Fetching,
    /// Every selected piece is written and verified, and the torrent seeds.
    Seeding,
    /// Every selected piece is written and verified, and nothing is left to do.
    Complete,
    /// A user paused it, and its files are not being checked.
    Paused,
    /// The torrent has failed.
    Failed(TorrentFailure),
}

/// Why a torrent has failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TorrentFailure {
    /// The files cannot be opened.
    #[error(transparent)]
    Open(Arc<OpenTrouble>),
    /// The disk failed, and the torrent does not wait for it.
    #[error(transparent)]
    Disk(DiskTrouble),
    /// The torrent was to be seeded, and not all of it is there.
    #[error("not all of it is there: {} of {}; `verify` says what is missing, `fetch` brings it", Bytes(*have), Bytes(*total))]
    Incomplete {
        /// Bytes that are there and verified.
        have: u64,
        /// Bytes of the torrent.
        total: u64,
    },
    /// The supervision of the torrent gave up, for this reason.
    #[error("the torrent was given up: {0}")]
    GaveUp(String),
}

/// Sent by a child to its torrent: a survey would find a change. Sent once, for the first change after each survey, so
/// that an idle torrent need not survey its children.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Changed;

/// Sends [`Changed`] for a child, at most once between two surveys.
#[derive(Debug)]
pub(super) struct ChangeNotice {
    torrent: Recipient<Changed>,
    rung: bool,
}

impl ChangeNotice {
    pub(super) const fn new(torrent: Recipient<Changed>) -> Self {
        Self { torrent, rung: false }
    }

    /// Sends [`Changed`], unless it was sent since the last survey.
    pub(super) fn ring(&mut self) {
        if !std::mem::replace(&mut self.rung, true) {
            self.torrent.do_send(Changed);
        }
    }

    /// A survey begins: the next change is reported again.
    pub(super) const fn on_survey(&mut self) {
        self.rung = false;
    }
}

/// The peers and trackers of a torrent.
#[derive(Debug, Clone, Default)]
pub struct SwarmView {
    /// Counts of addresses.
    pub census: Census,
    /// The open connections.
    pub peers: Arc<Vec<PeerRow>>,
    /// Every tracker.
    pub trackers: Vec<TrackerRow>,
    /// Time to the next dial, if one is planned.
    pub next_dial: Option<Duration>,
}

/// One row of the tracker table.
#[derive(Debug, Clone)]
pub struct TrackerRow {
    /// Its URL without secrets.
    pub url: String,
    /// Its state as text: `working`, `refused, retry in 12s`.
    pub state: String,
    /// Whether the last announce was answered.
    pub works: bool,
    /// Whether the last announce failed.
    pub failed: bool,
    /// Time to the next announce, if one is planned.
    pub next_in: Option<Duration>,
    /// The numbers of seeds and leeches by its last answer.
    pub swarm: Option<(u32, u32)>,
}

/// What is published of a torrent.
#[derive(Debug, Clone)]
pub struct TorrentView {
    /// Its name, safe to show.
    pub name: String,
    /// Its info-hash.
    pub info_hash: InfoHash,
    /// What it is doing.
    pub phase: TorrentPhase,
    /// Bytes of the torrent.
    pub bytes_total: u64,
    /// Bytes of the selected files.
    pub bytes_selected: u64,
    /// Selected bytes that are written and verified.
    pub bytes_done: u64,
    /// Bytes that are written and verified, selected or not.
    pub bytes_have: u64,
    /// Verified bytes that were there at the start.
    pub bytes_kept: u64,
    /// Bytes hashed at the start.
    pub bytes_checked: u64,
    /// Bytes of blocks received in this run.
    pub bytes_received: u64,
    /// Received bytes that were of no use.
    pub bytes_wasted: u64,
    /// Bytes of blocks sent in this run.
    pub bytes_sent: u64,
    /// Bytes a second received.
    pub down_bps: u64,
    /// Bytes a second sent.
    pub up_bps: u64,
    /// Blocks that are requested and not received yet.
    pub requests_in_flight: u64,
    /// Bytes that may still be requested.
    pub credit_free: u64,
    /// Part of the last five seconds in which requests waited for the disk, in percent.
    pub disk_busy_percent: u8,
    /// How many times a piece failed its hash.
    pub hash_failures: u64,
    /// Selected pieces that are missing.
    pub pieces_missing: u32,
    /// Missing pieces that no connected peer has.
    pub pieces_nobody_has: u32,
    /// The present trouble of the disk, as text.
    pub disk_trouble: Option<String>,
    /// Its peers and trackers.
    pub swarm: SwarmView,
    /// The one reason for its present speed.
    pub why: Option<Why>,
}

impl TorrentView {
    /// The view of a torrent that has just been added.
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

    /// Its peers and trackers were stopped: nothing moves, and nothing is planned.
    pub(super) fn on_peers_stopped(&mut self) {
        (self.down_bps, self.up_bps, self.requests_in_flight) = (0, 0, 0);
        (self.credit_free, self.disk_busy_percent, self.pieces_nobody_has) = (0, 0, 0);
        self.swarm.census = Census { connected: 0, inbound: 0, half_open: 0, ..self.swarm.census };
        (self.swarm.peers, self.swarm.next_dial) = (Arc::default(), None);
        self.swarm.trackers.iter_mut().for_each(|tracker| tracker.next_in = None);
    }

    /// Time to completion at the present rate. `None` while nothing is received.
    pub fn eta(&self) -> Option<Duration> {
        let left = self.bytes_selected.saturating_sub(self.bytes_done);
        left.checked_div(self.down_bps).map(Duration::from_secs)
    }

    /// The number of peers that have unchoked us.
    pub fn unchoked(&self) -> usize {
        self.swarm.peers.iter().filter(|peer| !peer.view.peer_choking).count()
    }

    /// What keeps the torrent from its full speed, as a sentence. `None` if nothing does.
    pub fn trouble(&self) -> Option<&str> {
        let why = self.why.as_ref().filter(|why| !why.primary.is_healthy());
        self.disk_trouble.as_deref().or(why.map(|why| why.text.as_str()))
    }

    /// The progress as text: `12.5 MiB of 1.0 GiB`.
    pub fn progress_text(&self) -> String {
        format!("{} of {}", Bytes(self.bytes_done), Bytes(self.bytes_selected))
    }
}
