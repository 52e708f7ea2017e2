//! What a torrent is given when it is made.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;

use crate::actors::kit::Place;
use crate::actors::listener::RegisterTorrent;
use crate::actors::view::TorrentView;
use crate::base::geometry::Geometry;
use crate::base::ids::{InfoHash, PeerId};
use crate::logic::peers::peer_book::BookConfig;
use crate::logic::torrent::seeding_goal::SeedingGoal;
use crate::logic::torrent::selection::WantedPieces;
use crate::net::Net;
use crate::net::throttle::RateLimits;
use crate::storage::SharedStorage;

/// What a torrent is worked on for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// To have it; and then, if somebody wishes so, to give it to others.
    Fetch {
        /// For how long it is given.
        then: Option<SeedingGoal>,
    },
    /// To give it to others: what is missing is not fetched.
    Seed(SeedingGoal),
}

impl Aim {
    pub(super) const fn goal(self) -> Option<SeedingGoal> {
        match self {
            Self::Fetch { then } => then,
            Self::Seed(goal) => Some(goal),
        }
    }
}

/// All that a torrent is given.
#[derive(Debug, Clone)]
pub struct TorrentConfig {
    /// Fit to be shown.
    pub name: String,
    /// The swarm.
    pub info_hash: InfoHash,
    /// The sizes.
    pub geometry: Geometry,
    /// What is to be fetched.
    pub wanted: Arc<WantedPieces>,
    /// What for.
    pub aim: Aim,
    /// Hide what we have from peers and name it piece by piece (BEP 16).
    pub super_seed: bool,
    /// Announce URLs by tier (BEP 12).
    pub tiers: Vec<Vec<String>>,
    /// No peer sources but the trackers (BEP 27).
    pub private: bool,
    /// Peers that a person named.
    pub peers: Vec<SocketAddr>,
    /// Who we are.
    pub our_id: PeerId,
    /// The port we tell trackers.
    pub port: u16,
    /// The way out.
    pub net: Net,
    /// What the session may read from peers and write to them.
    pub limits: RateLimits,
    /// Where the bytes go.
    pub storage: SharedStorage,
    /// Wait for a full disk to have space again.
    pub patient_disk: bool,
    /// Bytes that may be asked for and not yet be written.
    pub credit: u64,
    /// Limits of the peer book.
    pub book: BookConfig,
    /// How long children may take to end, each.
    pub stop_timeout: Duration,
    /// For all dice below.
    pub seed: u64,
    /// The listener, when there is one: peers that come by themselves.
    pub listener: Option<Recipient<RegisterTorrent>>,
    /// Where it lives.
    pub place: Place,
    /// Where the view is published.
    pub view: Arc<watch::Sender<TorrentView>>,
}
