//! What the HTTP and the UDP test tracker share: a handle on a running tracker, and the record of its requests.

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

/// 10,000 requests are recorded and later ones are only counted: a client that sends more has failed already.
const MAX_HEARD: usize = 10_000;

/// What a request asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A connection id (BEP 15).
    Connect,
    /// Peers.
    Announce(AnnounceRequest),
    /// A scrape of these torrents.
    Scrape(Vec<InfoHash>),
    /// Something that is not a request to a tracker.
    Nonsense,
}

/// A recorded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardRequest {
    /// When it was decoded.
    pub at: Instant,
    /// The address of the client.
    pub from: SocketAddr,
    /// What it asked for.
    pub asked: Asked,
}

/// Everything that a tracker received and sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrackerRecord {
    /// Connections accepted (HTTP), datagrams received (UDP).
    pub arrivals: u64,
    /// Requests, including those beyond the 10,000 that are recorded.
    pub requests: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// The first 10,000 requests, in order.
    pub heard: Vec<HeardRequest>,
}

impl TrackerRecord {
    /// Returns the announces in order, with their times.
    pub fn announces(&self) -> impl DoubleEndedIterator<Item = (Instant, &AnnounceRequest)> {
        self.heard.iter().filter_map(|heard| match &heard.asked {
            Asked::Announce(request) => Some((heard.at, request)),
            _ => None,
        })
    }
}

/// A running tracker. It ends when this value is dropped.
#[derive(Debug)]
#[must_use = "the tracker ends when this is dropped"]
pub struct FaultyTracker {
    pub(super) addr: SocketAddr,
    pub(super) url: String,
    pub(super) record: watch::Receiver<TrackerRecord>,
    pub(super) task: JoinHandle<()>,
}

impl FaultyTracker {
    /// Returns the address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns its announce URL, as it is written into a torrent.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns everything that it has received so far.
    pub fn record(&self) -> TrackerRecord {
        self.record.borrow().clone()
    }

    /// Returns a channel with its record, to wait on from any thread.
    pub fn watch(&self) -> watch::Receiver<TrackerRecord> {
        self.record.clone()
    }

    /// Stops it. Afterwards its port is closed.
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

/// Handles requests for both kinds of tracker.
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

    /// Tells whether the request that was just recorded stays without an answer.
    pub(super) fn hangs(&self) -> bool {
        let enough = |most: &u64| self.record.borrow().announces().count() as u64 > *most;
        self.behaviour.hang || self.behaviour.hang_after.as_ref().is_some_and(enough)
    }

    /// Waits for the delay of the behaviour.
    pub(super) async fn think(&self) {
        if let Some(delay) = self.behaviour.delay {
            sleep(delay).await;
        }
    }

    /// Returns the reply to an announce, with the false peers and the interval of the behaviour.
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

/// 10 ms: after a failed accept or receive, the next one would fail too.
pub(super) const TROUBLE_PAUSE: Duration = Duration::from_millis(10);

/// Refuses a behaviour with words that this kind of tracker cannot carry out.
pub(super) fn refuse_unless(it_can: bool, what: &str) -> io::Result<()> {
    if it_can { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, what)) }
}
