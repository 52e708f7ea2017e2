//! The tracker that we serve, as a pure machine: requests of clients in, answers out (BEP 3, 7, 15, 23, 24, 31, 48).
//!
//! [`TrackerDesk`] decides which requests are served, how often, and which peers are named. It is given the time, the
//! address of each request, and its secrets. It knows no sockets, and of HTTP only the query of a URL.
//!
//! | file | decides |
//! |---|---|
//! | `registry`, `swarm`, `pool` | which peer is in which swarm, within limits; which peers are named |
//! | `networks` | how many entries each network has, and so which entry is removed when the table is full |
//! | `sizes` | how to draw any peer with equal probability |
//! | `ticks` | the age of a peer and two marks, in two bytes |
//! | `allow` | which torrents are served |
//! | `throttle` | how often a host may send requests |
//! | `tickets` | the connection ids of UDP |
//! | `counts` | counters of requests |

mod allow;
mod counts;
mod networks;
mod pool;
mod registry;
mod sizes;
mod swarm;
mod throttle;
mod tickets;
mod ticks;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

pub use allow::{AllowList, BadAllowList};
pub use counts::{Counts, Stats};
use pool::HashKey;
pub use registry::{Registry, RegistryLimits, SwarmAnswer};
use registry::{Return, Rhythm};
pub use swarm::{Tally, Visit, WantedPeers};
use throttle::AnnounceThrottle;
use tickets::Tickets;
use ticks::Tick;

use crate::base::ids::InfoHash;
use crate::codec::swarm_state::{PEER_LEN, SWARM_LEN, SavedState};
use crate::codec::tracker::{AnnounceReply, AnnounceRequest, RetryIn, ScrapeEntry, TrackerFailure};
use crate::codec::tracker_http::server::{
    BadQuery, encode_announce, encode_failure, encode_scrape, parse_query, parse_scrape_query,
};
use crate::codec::tracker_udp::MAX_SCRAPE;
use crate::codec::tracker_udp::server::{
    UdpRequest, decode_request, encode_announced, encode_connected, encode_error, encode_scraped,
};
use crate::logic::peers::address::Class;

/// 12 hours: a third of the range of the clock of peer ages.
pub const MAX_INTERVAL: Duration = Duration::from_secs(12 * 60 * 60);

/// 30 minutes: the usual interval of trackers since BEP 3.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// 30 requests a second: a seedbox of 10,000 torrents makes six, and its burst at the start is ten seconds of this
/// rate.
pub const DEFAULT_RATE: u32 = 30;

/// At most 200 peers are named: a reply over UDP and IPv4 is then 1,220 bytes, which fits any packet.
const MAX_WANTED: usize = 200;

/// At most 67 peers over UDP and IPv6: what fits a packet of 1,280 bytes, the least that IPv6 carries whole, after 48
/// bytes of headers and 20 of reply.
const MAX_WANTED_UDP_V6: usize = 67;

/// Once a second a part of the peers is checked for expiry.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// All peers are checked within an eighth of the expiry, so that a peer is removed at most that much later than due.
const SWEEP_PARTS: u64 = 8;

/// 50,000 peers are checked in less than a millisecond.
const MAX_SWEEP: usize = 50_000;

/// 256 KiB of swarms are encoded for the state file in one turn, in less than a millisecond.
const SAVED_PART: usize = 256 * 1024;

/// One hour: the torrent may be added to the list meanwhile.
const RETRY_UNREGISTERED: Duration = Duration::from_secs(60 * 60);

/// One minute, the least that BEP 31 can express.
const RETRY_TOO_FAST: Duration = Duration::from_secs(60);

/// The configuration of a tracker.
#[derive(Clone)]
pub struct DeskConfig {
    /// The interval that clients are told, at most [`MAX_INTERVAL`].
    pub interval: Duration,
    /// The most requests a second of each host; 0: no limit. Requests from this machine are not limited.
    pub rate: u32,
    /// The limits of its table.
    pub limits: RegistryLimits,
    /// The torrents that are served. `None`: all.
    pub allow: Option<AllowList>,
    /// The seed of random choices and hashes.
    pub seed: u64,
    /// The secret of the connection ids.
    pub secret: [u8; 32],
}

/// The greatest length of the state file with these limits, in bytes, with room for swarms and peers that change while
/// it is written.
pub fn longest_state(limits: &RegistryLimits) -> u64 {
    let all = limits.swarms.saturating_mul(SWARM_LEN).saturating_add(limits.peers.saturating_mul(PEER_LEN));
    (all as u64).saturating_mul(2).saturating_add(SAVED_PART as u64)
}

impl std::fmt::Debug for DeskConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeskConfig").field("interval", &self.interval).finish_non_exhaustive()
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Bad(#[from] BadQuery),
    #[error("unregistered torrent")]
    Unregistered,
    #[error("too many requests, slow down")]
    TooFast,
    #[error("scrape of all torrents is not served, name them by info_hash")]
    WholeScrape,
}

impl Refusal {
    const fn retry_in(self) -> Option<RetryIn> {
        match self {
            Self::Bad(_) => None,
            Self::WholeScrape => Some(RetryIn::Never),
            Self::Unregistered => Some(RetryIn::After(RETRY_UNREGISTERED)),
            Self::TooFast => Some(RetryIn::After(RETRY_TOO_FAST)),
        }
    }
}

/// Answers the requests of clients. The head of this file lists its parts.
#[derive(Debug)]
pub struct TrackerDesk {
    /// The configuration, with the interval within its limits.
    cfg: DeskConfig,
    /// When the tracker started.
    epoch: Instant,
    registry: Registry,
    throttle: AnnounceThrottle,
    tickets: Tickets,
    /// The key of the hashes of hosts.
    hosts: HashKey,
    counts: Counts,
    /// When to check peers for expiry next.
    sweep_at: Instant,
}

impl TrackerDesk {
    /// A tracker that starts at `now` without peers.
    pub fn new(cfg: DeskConfig, now: Instant) -> Self {
        let interval = cfg.interval.clamp(Duration::from_secs(1), MAX_INTERVAL);
        Self {
            epoch: now,
            registry: Registry::new(cfg.limits, rhythm(interval), cfg.seed),
            throttle: AnnounceThrottle::new(now, cfg.rate),
            tickets: Tickets::new(now, cfg.secret),
            hosts: HashKey::new(cfg.seed.wrapping_add(1)),
            counts: Counts::default(),
            sweep_at: now + SWEEP_EVERY,
            cfg: DeskConfig { interval, ..cfg },
        }
    }

    /// Answers a datagram (BEP 15). `None`: no answer. Without a valid connection id no answer is longer than its
    /// request, so that a forged source address gains nothing.
    pub fn on_datagram(&mut self, now: Instant, datagram: &[u8], from: IpAddr) -> Option<Vec<u8>> {
        let from = from.to_canonical();
        let Ok(request) = decode_request(datagram) else {
            self.counts.malformed += 1;
            return None;
        };
        match request {
            UdpRequest::Connect { transaction_id } => {
                self.counts.connects += 1;
                Some(encode_connected(transaction_id, self.tickets.issue(now, from)))
            }
            UdpRequest::Announce { connection_id, transaction_id, .. }
            | UdpRequest::Scrape { connection_id, transaction_id, .. }
                if !self.tickets.is_good(now, from, connection_id) =>
            {
                self.counts.bad_connection_ids += 1;
                let error = encode_error(transaction_id, "bad connection id");
                (error.len() <= datagram.len()).then_some(error)
            }
            // No answer: this slows down a sender that does not read, and a client that does retries less and less
            // often.
            _ if !self.admits(now, from) => None,
            UdpRequest::Announce { transaction_id, request, .. } => {
                self.counts.announces_udp += 1;
                let most = if from.is_ipv4() { MAX_WANTED } else { MAX_WANTED_UDP_V6 };
                let wanted = WantedPeers::SameFamily(most.min(request.num_want as usize));
                Some(match self.announce(now, &request, from, wanted) {
                    Ok(reply) => encode_announced(transaction_id, &reply, from.is_ipv6()),
                    Err(refusal) => encode_error(transaction_id, &refusal.to_string()),
                })
            }
            UdpRequest::Scrape { transaction_id, swarms, .. } => {
                self.counts.scrapes_udp += 1;
                let numbers = |info_hash| {
                    let known = self.numbers(info_hash);
                    known.map_or((0, 0, 0), |swarm| (swarm.complete, swarm.downloaded, swarm.incomplete))
                };
                Some(encode_scraped(transaction_id, &swarms.iter().map(numbers).collect::<Vec<_>>()))
            }
        }
    }

    /// Answers the query of an announce over HTTP. A refusal is an answer too.
    pub fn on_announce(&mut self, now: Instant, query: &str, from: IpAddr) -> Vec<u8> {
        let from = from.to_canonical();
        let answered = self.http_announce(now, query, from);
        answered.unwrap_or_else(encode_refusal)
    }

    /// Answers the query of a scrape over HTTP (BEP 48). Torrents without any announce are left out.
    pub fn on_scrape(&mut self, now: Instant, query: &str, from: IpAddr) -> Vec<u8> {
        let from = from.to_canonical();
        let answered = self.http_scrape(now, query, from);
        answered.unwrap_or_else(encode_refusal)
    }

    /// Serves only these torrents from now on; `None`: all. Entries of other torrents expire with time.
    pub fn on_allow_list(&mut self, allow: Option<AllowList>) {
        self.cfg.allow = allow;
    }

    /// Removes peers that have not announced for too long. Call it at [`TrackerDesk::deadline`].
    pub fn on_timeout(&mut self, now: Instant) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP_EVERY;
        let expiry = self.cfg.interval * 2;
        let round_s = usize::try_from((expiry.as_secs() / SWEEP_PARTS).max(1)).unwrap_or(usize::MAX);
        let all = self.registry.total().peers() + self.registry.swarms();
        let age = (self.tick(now), ticks::ticks_beyond(expiry));
        let allow = &self.cfg.allow;
        let keep = |info_hash: &InfoHash| allow.as_ref().is_none_or(|allow| allow.has(info_hash));
        self.registry.sweep(age, (all / round_s + 1).min(MAX_SWEEP), keep);
    }

    /// When to call [`TrackerDesk::on_timeout`].
    pub const fn deadline(&self) -> Instant {
        self.sweep_at
    }

    /// The counters and the size of the table.
    pub fn stats(&self, now: Instant) -> Stats {
        Stats {
            uptime: now.saturating_duration_since(self.epoch),
            swarms: self.registry.swarms(),
            peers: self.registry.total(),
            allowed: self.cfg.allow.as_ref().map(AllowList::len),
            counts: self.counts,
        }
    }

    /// A part of all swarms for the state file, from position `below` down, and the position at which to continue.
    /// `None`: this was the last part. Pass `usize::MAX` as `below` for the first part.
    pub fn save(&self, now: Instant, below: usize) -> (Vec<u8>, Option<usize>) {
        let mut part = Vec::new();
        let next = self.registry.save(self.tick(now), below, SAVED_PART, &mut part);
        (part, next)
    }

    /// Adds saved swarms, which were saved `away` ago by the wall clock: those that have not expired, are served, and
    /// fit the limits.
    pub fn restore(&mut self, now: Instant, state: &SavedState<'_>, away: Duration) {
        let back = Return {
            now: self.tick(now),
            away: ticks::ticks_beyond(away).saturating_sub(1),
            max_age: ticks::ticks_beyond(self.cfg.interval * 2),
        };
        for swarm in state.swarms() {
            if self.allows(&swarm.info_hash) {
                self.registry.restore(&swarm, back);
            }
        }
    }

    /// After a panic: keeps the peers if every count and index is right. Otherwise the table starts empty, and peers
    /// return with their next announce.
    pub fn recover(&mut self, now: Instant) {
        if !self.registry.is_sound() {
            *self = Self { counts: self.counts, ..Self::new(self.cfg.clone(), now) };
        }
    }

    /// Answers an announce over HTTP or refuses it.
    fn http_announce(&mut self, now: Instant, query: &str, from: IpAddr) -> Result<Vec<u8>, Refusal> {
        self.admit(now, from)?;
        let query = parse_query(query).inspect_err(|_bad| self.counts.malformed += 1)?;
        self.counts.announces_http += 1;
        let wanted = WantedPeers::AnyFamily(MAX_WANTED.min(query.request.num_want as usize));
        let reply = self.announce(now, &query.request, believed(query.ip, from), wanted)?;
        let external_ip = Some(from);
        Ok(encode_announce(&AnnounceReply { external_ip, ..reply }, query.compact))
    }

    /// Answers a scrape over HTTP or refuses it.
    fn http_scrape(&mut self, now: Instant, query: &str, from: IpAddr) -> Result<Vec<u8>, Refusal> {
        self.admit(now, from)?;
        let swarms = parse_scrape_query(query).inspect_err(|_bad| self.counts.malformed += 1)?;
        if swarms.is_empty() {
            return Err(Refusal::WholeScrape);
        }
        self.counts.scrapes_http += 1;
        let known: Vec<_> = swarms.iter().take(MAX_SCRAPE).filter_map(|info_hash| self.numbers(info_hash)).collect();
        Ok(encode_scrape(&known))
    }

    /// Handles an announce of either protocol.
    fn announce(
        &mut self,
        now: Instant,
        request: &AnnounceRequest,
        from: IpAddr,
        wanted: WantedPeers,
    ) -> Result<AnnounceReply, Refusal> {
        if !self.allows(&request.info_hash) {
            self.counts.unregistered += 1;
            return Err(Refusal::Unregistered);
        }
        self.counts.note(request.event);
        let addr = SocketAddr::new(from, request.port);
        let visit = Visit { addr, event: request.event, is_seed: request.left == 0 };
        let SwarmAnswer { numbers, peers } = self.registry.hear(request.info_hash, &visit, wanted, self.tick(now));
        Ok(AnnounceReply {
            interval: i64::try_from(self.cfg.interval.as_secs()).ok(),
            min_interval: i64::try_from(self.cfg.interval.as_secs() / 2).ok(),
            complete: Some(numbers.complete),
            incomplete: Some(numbers.incomplete),
            downloaded: Some(numbers.downloaded),
            peers,
            ..AnnounceReply::default()
        })
    }

    /// The counts of a swarm, if it is known and served.
    fn numbers(&self, info_hash: &InfoHash) -> Option<ScrapeEntry> {
        self.registry.numbers(info_hash).filter(|_| self.allows(info_hash))
    }

    /// Whether the torrent is served.
    fn allows(&self, info_hash: &InfoHash) -> bool {
        self.cfg.allow.as_ref().is_none_or(|allow| allow.has(info_hash))
    }

    /// Refuses a request of a host with too many.
    fn admit(&mut self, now: Instant, from: IpAddr) -> Result<(), Refusal> {
        if self.admits(now, from) { Ok(()) } else { Err(Refusal::TooFast) }
    }

    /// Whether the host may send a request now. Counts it if so.
    fn admits(&mut self, now: Instant, from: IpAddr) -> bool {
        let host = match from {
            IpAddr::V4(ip) => self.hosts.hash(&ip.octets()),
            // A /64, the addresses of one customer.
            IpAddr::V6(ip) => self.hosts.hash(&ip.octets()[..8]),
        };
        let admitted = Class::of_ip(from) == Class::Loopback || self.throttle.admits(now, host);
        self.counts.too_fast += u64::from(!admitted);
        admitted
    }

    fn tick(&self, now: Instant) -> Tick {
        Tick::at(self.epoch, now)
    }
}

/// An announce after the minimum interval or later confirms a peer. A peer is overdue when it is late by more than an
/// eighth of the interval.
fn rhythm(interval: Duration) -> Rhythm {
    let overdue_after = ticks::ticks_beyond(interval + interval / 8);
    Rhythm { confirm_after: ticks::ticks_within(interval / 2), overdue_after }
}

/// The address under which a peer is listed: that of its request. An address in the request (`ip=`) is accepted only
/// from this machine and its own networks, whose clients may know their external address. From others it could direct
/// a swarm at a victim.
fn believed(claimed: Option<IpAddr>, from: IpAddr) -> IpAddr {
    let is_ours = Class::of_ip(from).is_local();
    let claimed = claimed.filter(|claimed| is_ours && Class::of_ip(*claimed) != Class::Nowhere);
    claimed.unwrap_or(from).to_canonical()
}

/// A refusal as an HTTP reply.
fn encode_refusal(refusal: Refusal) -> Vec<u8> {
    encode_failure(&TrackerFailure { reason: refusal.to_string(), retry_in: refusal.retry_in() })
}

#[cfg(test)]
mod tests;
