//! A running tracker and what it has heard: the same for HTTP and UDP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::swarms::Swarms;
use super::tracker_behaviour::TrackerBehaviour;
use crate::base::ids::InfoHash;
use crate::codec::tracker::{AnnounceReply, AnnounceRequest, ScrapeEntry};

/// 10,000 requests are remembered, later ones only counted: a client that sends more has failed already.
const MAX_HEARD: usize = 10_000;

/// What a tracker was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A connection id (BEP 15).
    Connect,
    /// Peers.
    Announce(AnnounceRequest),
    /// Numbers.
    Scrape(Vec<InfoHash>),
    /// Something no tracker understands.
    Nonsense,
}

/// One request: when, from whom, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardRequest {
    /// When it was understood.
    pub at: Instant,
    /// The other end of its connection.
    pub from: SocketAddr,
    /// What was asked.
    pub asked: Asked,
}

/// All that a tracker has heard and said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrackerRecord {
    /// Connections accepted (HTTP), datagrams received (UDP).
    pub arrivals: u64,
    /// Requests, also those that are no longer remembered.
    pub requests: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// The first 10,000 requests, in order.
    pub heard: Vec<HeardRequest>,
}

impl TrackerRecord {
    /// The announces, in order: when and what.
    pub fn announces(&self) -> impl DoubleEndedIterator<Item = (Instant, &AnnounceRequest)> {
        self.heard.iter().filter_map(|heard| match &heard.asked {
            Asked::Announce(request) => Some((heard.at, request)),
            _ => None,
        })
    }
}

/// A running tracker. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the tracker ends when this is dropped"]
pub struct FaultyTracker {
    pub(super) addr: SocketAddr,
    pub(super) url: String,
    pub(super) record: watch::Receiver<TrackerRecord>,
    pub(super) task: JoinHandle<()>,
}

impl FaultyTracker {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What goes into a torrent.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All that it has heard so far.
    pub fn record(&self) -> TrackerRecord {
        self.record.borrow().clone()
    }

    /// The same, for waiting until something has been heard, on any thread.
    pub fn watch(&self) -> watch::Receiver<TrackerRecord> {
        self.record.clone()
    }

    /// Ends it. Afterwards its port is closed.
    pub async fn stop(mut self) {
        self.task.abort();
        drop((&mut self.task).await);
    }
}

impl Drop for FaultyTracker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What both kinds of tracker do with a request.
#[derive(Debug)]
pub(super) struct RequestDesk {
    pub(super) swarms: Swarms,
    pub(super) behaviour: TrackerBehaviour,
    pub(super) record: watch::Sender<TrackerRecord>,
}

impl RequestDesk {
    pub(super) fn new(swarms: Swarms, behaviour: TrackerBehaviour) -> (Self, watch::Receiver<TrackerRecord>) {
        let (sender, record) = watch::channel(TrackerRecord::default());
        (Self { swarms, behaviour, record: sender }, record)
    }

    pub(super) fn note_arrival(&self) {
        self.record.send_modify(|record| record.arrivals += 1);
    }

    pub(super) fn note_bytes(&self, bytes: u64) {
        self.record.send_modify(|record| record.bytes += bytes);
    }

    pub(super) fn hear(&self, from: SocketAddr, asked: Asked) {
        self.record.send_modify(|record| {
            record.requests += 1;
            if record.heard.len() < MAX_HEARD {
                record.heard.push(HeardRequest { at: Instant::now(), from, asked });
            }
        });
    }

    /// Whether the request just heard is never answered.
    pub(super) fn hangs(&self) -> bool {
        let enough = |most: &u64| self.record.borrow().announces().count() as u64 > *most;
        self.behaviour.hang || self.behaviour.hang_after.as_ref().is_some_and(enough)
    }

    /// Waits as long as the behaviour says.
    pub(super) async fn think(&self) {
        if let Some(delay) = self.behaviour.delay {
            sleep(delay).await;
        }
    }

    /// The reply to an announce, lies about peers and the interval included.
    pub(super) fn announce(&self, request: &AnnounceRequest, from: IpAddr) -> AnnounceReply {
        let asker = SocketAddr::new(from, request.port);
        let honest = self.swarms.announce(request, asker);
        let peers = self.behaviour.listing.name(honest, asker);
        let ScrapeEntry { complete, incomplete, .. } = self.swarms.scrape(request.info_hash);
        AnnounceReply {
            interval: self.behaviour.interval.secs(),
            complete: Some(complete),
            incomplete: Some(incomplete),
            peers_named: u32::try_from(peers.len()).unwrap_or(u32::MAX),
            peers,
            ..AnnounceReply::default()
        }
    }
}

/// 10 ms: after a failed accept or receive the next one would fail as well.
pub(super) const TROUBLE_PAUSE: Duration = Duration::from_millis(10);

/// Refuses a behaviour with words that this kind of tracker cannot obey.
pub(super) fn refuse_unless(it_can: bool, what: &str) -> io::Result<()> {
    if it_can { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, what)) }
}
