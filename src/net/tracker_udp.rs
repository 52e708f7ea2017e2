//! One announce or scrape over UDP (BEP 15): performs the effects of [`UdpExchange`].
//!
//! The addresses of a tracker are asked one after the other until one answers, all within one time-out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep_until};

use super::http::{HttpTrouble, Reached, resolve_tracker};
use super::tracker::{Announced, TrackerTrouble, UdpEndpoint};
use super::vet::{Zone, zone};
use super::{DatagramSocket, Net};
use crate::base::ids::InfoHash;
use crate::base::limits::ANNOUNCE_TIMEOUT;
use crate::codec::tracker::{AnnounceRequest, ScrapeEntry};
use crate::codec::tracker_udp::UdpReply;
use crate::logic::trackers::families::IpFamily;
use crate::logic::trackers::udp_exchange::{ExchangeEffect, UdpConnection, UdpExchange, UdpQuestion, UdpTrouble};

/// The largest UDP payload: a reply may fill it, since BEP 15 sets no lower limit.
const MAX_DATAGRAM: usize = 65_535;

/// Kept between two requests to one tracker: its connection ids by address, and the sockets they were given to. A
/// tracker may tie an id to the port of the client and refuse it from another port.
#[derive(Debug, Clone)]
pub struct UdpSession {
    dice: Rc<RefCell<SmallRng>>,
    known: Rc<RefCell<BTreeMap<SocketAddr, UdpConnection>>>,
    /// The sockets by address family; the key is whether the family is IPv4.
    sockets: Rc<RefCell<BTreeMap<bool, Rc<dyn DatagramSocket>>>>,
}

impl UdpSession {
    /// A session without connection ids. `seed` is for transaction ids.
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Rc::new(RefCell::new(SmallRng::seed_from_u64(seed))),
            known: Rc::default(),
            sockets: Rc::default(),
        }
    }
}

/// Sends one announce to an address of this family.
pub async fn announce_udp(
    net: &Net,
    session: &UdpSession,
    base: &str,
    request: &AnnounceRequest,
    family: IpFamily,
) -> Result<Announced, TrackerTrouble> {
    let endpoint = UdpEndpoint::of(base)?;
    let ask = UdpQuestion::Announce(request.clone(), endpoint.url_data.clone());
    let (reply, from, path) = converse(net, session, &endpoint, &ask, family).await?;
    match reply {
        UdpReply::Announced(reply) => Ok(Announced { reply, local: zone(from.ip()) != Zone::Global, path }),
        _ => Err(TrackerTrouble::new("bad-reply", "it answered something else")),
    }
}

/// Sends one scrape of at most 74 swarms.
pub async fn scrape_udp(
    net: &Net,
    session: &UdpSession,
    base: &str,
    swarms: &[InfoHash],
) -> Result<Vec<ScrapeEntry>, TrackerTrouble> {
    let ask = UdpQuestion::Scrape(swarms.to_vec());
    let (reply, ..) = converse(net, session, &UdpEndpoint::of(base)?, &ask, IpFamily::Any).await?;
    match reply {
        UdpReply::Scraped(numbers) => {
            let entry = |(info_hash, (complete, downloaded, incomplete)): (&InfoHash, (u32, u32, u32))| ScrapeEntry {
                info_hash: *info_hash,
                complete,
                incomplete,
                downloaded,
            };
            Ok(swarms.iter().zip(numbers).map(entry).collect())
        }
        _ => Err(TrackerTrouble::new("bad-reply", "it answered something else")),
    }
}

/// Asks the addresses of a tracker in turn. Each gets an equal share of the remaining time.
async fn converse(
    net: &Net,
    session: &UdpSession,
    endpoint: &UdpEndpoint,
    ask: &UdpQuestion,
    family: IpFamily,
) -> Result<(UdpReply, SocketAddr, Reached), TrackerTrouble> {
    let deadline = Instant::now() + ANNOUNCE_TIMEOUT;
    let all = resolve_tracker(net, &endpoint.host, endpoint.port).await?;
    let addrs: Vec<_> = all.iter().copied().filter(|addr| family.takes(*addr)).collect();
    let mut last = TrackerTrouble::from(HttpTrouble::NoAddress(family));
    let mut left = u32::try_from(addrs.len()).unwrap_or(u32::MAX);
    for addr in addrs {
        let patience = deadline.saturating_duration_since(Instant::now()) / left.max(1);
        left = left.saturating_sub(1);
        match converse_with(net, session, addr, ask.clone(), patience).await {
            Ok(reply) => return Ok((reply, addr, Reached::at(addr, &all))),
            Err(trouble) => last = trouble,
        }
    }
    Err(last)
}

/// Asks one address of a tracker.
async fn converse_with(
    net: &Net,
    session: &UdpSession,
    addr: SocketAddr,
    ask: UdpQuestion,
    patience: Duration,
) -> Result<UdpReply, TrackerTrouble> {
    let socket = socket_for(net, session, addr).await?;
    let known = session.known.borrow().get(&addr).copied();
    let seed = session.dice.borrow_mut().random();
    let mut exchange = UdpExchange::new(Instant::now().into_std(), ask, known, addr.is_ipv6(), patience, seed);
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        while let Some(effect) = exchange.poll() {
            match effect {
                ExchangeEffect::Send(datagram) => {
                    let sent = socket.send_to(&datagram, addr).await;
                    sent.map_err(|error| lost_socket(session, "unreachable", &error))?;
                }
                ExchangeEffect::Done(outcome) => {
                    remember(session, addr, exchange.connection());
                    return outcome.map_err(|trouble| trouble_of(&trouble, exchange.ignored()));
                }
            }
        }
        tokio::select! {
            biased;
            received = socket.recv_from(&mut buffer) => match received {
                // Only the address that was asked may answer (T-13).
                Ok((len, from)) if from == addr => exchange.on_datagram(Instant::now().into_std(), &buffer[..len]),
                Ok(_stranger) => {}
                Err(error) => return Err(lost_socket(session, "refused", &error)),
            },
            () = until(exchange.deadline()) => exchange.on_timeout(Instant::now().into_std()),
        }
    }
}

/// Drops the sockets after an error, so that they are not used again.
fn lost_socket(session: &UdpSession, cause: &'static str, error: &std::io::Error) -> TrackerTrouble {
    session.sockets.borrow_mut().clear();
    TrackerTrouble::new(cause, error)
}

/// The session's socket for the family of `addr`, made on first use.
async fn socket_for(
    net: &Net,
    session: &UdpSession,
    addr: SocketAddr,
) -> Result<Rc<dyn DatagramSocket>, TrackerTrouble> {
    let kept = session.sockets.borrow().get(&addr.is_ipv4()).map(Rc::clone);
    if let Some(socket) = kept {
        return Ok(socket);
    }
    let any: IpAddr = if addr.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let bound = net.datagrams(SocketAddr::new(any, 0)).await;
    let socket = bound.map_err(|error| TrackerTrouble::new("unreachable", error))?;
    session.sockets.borrow_mut().insert(addr.is_ipv4(), Rc::clone(&socket));
    Ok(socket)
}

/// Waits until the deadline; for ever if there is none.
async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(Instant::from_std(deadline)).await,
        None => pending().await,
    }
}

/// Stores the connection id of an address for the next request, or removes it.
fn remember(session: &UdpSession, addr: SocketAddr, connection: Option<UdpConnection>) {
    let mut known = session.known.borrow_mut();
    match connection {
        Some(connection) => known.insert(addr, connection),
        None => known.remove(&addr),
    };
}

/// The failure for an exchange that failed after `ignored` datagrams did not belong to it.
fn trouble_of(trouble: &UdpTrouble, ignored: u32) -> TrackerTrouble {
    let cause = match trouble {
        UdpTrouble::NoAnswer { .. } => "timeout",
        UdpTrouble::Refused(_) => "tracker-failure",
    };
    let forged = if ignored > 0 { format!(", {ignored} packets did not belong") } else { String::new() };
    TrackerTrouble::new(cause, format!("{trouble}{forged}"))
}
