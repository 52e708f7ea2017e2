//! Inbound connections before their handshake: how many may wait, and which one is closed for a new one (P-28).
//!
//! A flood can fill neither the table nor the memory: a host has a few places and all hosts together have a fixed
//! number. When all are taken, the connection that has waited longest without a handshake is closed. This module knows
//! addresses and their order. It knows no sockets and no time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::logic::peers::address::Class;

/// Four connections of one host: several people behind one address may connect at the same moment.
const PER_HOST: usize = 4;

/// Identifies a waiting connection. A ticket is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Whether a new connection may wait for its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The connection may wait, under the first ticket. The second ticket, if any, is of the connection to close for it.
    Admitted(Ticket, Option<Ticket>),
    /// The host has all its places already: close the connection.
    Refused,
}

/// The inbound connections that have not sent their handshake yet.
#[derive(Debug, Clone)]
pub struct PendingInbound {
    /// The number of places.
    places: usize,
    /// The number of the next ticket.
    next: u64,
    /// The host of each waiting connection, the oldest first.
    waiting: BTreeMap<Ticket, IpAddr>,
}

impl PendingInbound {
    /// A table of `places` places, at least one.
    pub fn new(places: usize) -> Self {
        Self { places: places.max(1), next: 0, waiting: BTreeMap::new() }
    }

    /// A connection from this address was accepted.
    pub fn on_arrival(&mut self, from: SocketAddr) -> Admission {
        let host = host(from.ip());
        // This machine has no limit: a connection from here is intended.
        let of_host = self.waiting.values().filter(|other| **other == host).count();
        if of_host >= PER_HOST && Class::of_ip(host) != Class::Loopback {
            return Admission::Refused;
        }
        let oldest = self.waiting.keys().next().copied();
        let evicted = oldest.filter(|_| self.waiting.len() >= self.places);
        evicted.inspect(|ticket| self.on_left(*ticket));
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.insert(ticket, host);
        Admission::Admitted(ticket, evicted)
    }

    /// The connection has sent its handshake or is closed.
    pub fn on_left(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }
}

/// What one customer is likely to have: an IPv4 address, or the /64 of an IPv6 address (RFC 6177).
fn host(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(entry: Admission) -> (Ticket, Option<Ticket>) {
        let Admission::Admitted(ticket, evicted) = entry else { panic!("refused") };
        (ticket, evicted)
    }

    fn at(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([198, 51, 100, host], port))
    }

    #[test]
    fn a_host_has_four_places_and_gets_them_back() {
        let mut lobby = PendingInbound::new(100);
        let first = admitted(lobby.on_arrival(at(1, 1))).0;
        for port in 2..=4 {
            admitted(lobby.on_arrival(at(1, port)));
        }
        assert_eq!(lobby.on_arrival(at(1, 5)), Admission::Refused);
        assert_eq!(lobby.on_arrival("[::ffff:198.51.100.1]:9".parse().unwrap()), Admission::Refused, "the same host");
        admitted(lobby.on_arrival(at(2, 5)));
        lobby.on_left(first);
        admitted(lobby.on_arrival(at(1, 6)));
        for host in 1..=4 {
            admitted(lobby.on_arrival(format!("[2001:db8::{host}]:1").parse().unwrap()));
        }
        assert_eq!(lobby.on_arrival("[2001:db8::5]:1".parse().unwrap()), Admission::Refused, "one /64");
        admitted(lobby.on_arrival("[2001:db8:0:1::5]:1".parse().unwrap()));
        for port in 1..=50 {
            admitted(lobby.on_arrival(SocketAddr::from(([127, 0, 0, 1], port))));
        }
    }

    /// P-28: the oldest connection is closed, and the table does not grow.
    #[test]
    fn when_all_places_are_taken_the_oldest_connection_is_closed() {
        let mut lobby = PendingInbound::new(3);
        let tickets: Vec<_> = (1..=3).map(|host| admitted(lobby.on_arrival(at(host, 1))).0).collect();
        for (host, gone) in (4..=6).zip(tickets) {
            assert_eq!(admitted(lobby.on_arrival(at(host, 1))).1, Some(gone));
        }
        assert_eq!(lobby.waiting.len(), 3);
    }
}
