//! Our external IP address, as peers report it (`yourip`, BEP 10).
//!
//! The address is found by vote and is not proven. It decides the order in which addresses are dialled (BEP 40) and
//! what is shown, never whether a peer is trusted. A network has one vote. Only the most recent votes count, and an
//! address is believed once three networks and more than half of the votes agree.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::logic::peers::address::Class;

/// The last 50 votes count: after a change of address the new one is believed within as many new connections.
const VOTES: usize = 50;

/// Three networks must agree: a single liar or proxy must not decide.
const AGREED: usize = 3;

/// The votes, and the address that they agree on.
#[derive(Debug, Default)]
pub struct ExternalIp {
    /// The last votes, one for each network.
    votes: VecDeque<(Network, IpAddr)>,
    /// The address that the votes agree on.
    believed: Option<IpAddr>,
}

/// The network of a voter: a /24 of IPv4 or a /48 of IPv6, which one operator has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    V4(u32),
    V6(u128),
}

impl Network {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits() >> 8),
            IpAddr::V6(ip) => Self::V6(ip.to_bits() >> 80),
        }
    }
}

impl ExternalIp {
    /// The peer at `voter` reports that it sees us at `seen`. Returns the believed address if this vote changed it.
    pub fn on_vote(&mut self, voter: IpAddr, seen: IpAddr) -> Option<IpAddr> {
        let seen = seen.to_canonical();
        if Class::of_ip(seen) != Class::Global {
            return None;
        }
        let network = Network::of(voter);
        self.votes.retain(|(other, _)| *other != network);
        self.votes.push_back((network, seen));
        if self.votes.len() > VOTES {
            self.votes.pop_front();
        }
        let believed = self.winner();
        let is_news = believed.is_some() && believed != self.believed;
        self.believed = believed;
        believed.filter(|_| is_news)
    }

    /// The address with more than half of all votes and at least [`AGREED`]. Two addresses in turns have no majority.
    fn winner(&self) -> Option<IpAddr> {
        let count = |ip: &IpAddr| self.votes.iter().filter(|(_, seen)| seen == ip).count();
        let best = self.votes.iter().map(|(_, seen)| seen).max_by_key(|ip| count(ip))?;
        (count(best) >= AGREED && count(best) * 2 > self.votes.len()).then_some(*best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn three_networks_must_agree_and_be_the_most() {
        let us = ip("203.0.113.9");
        let mut outside = ExternalIp::default();
        let mut says = |voter: &str, seen: &str| outside.on_vote(ip(voter), ip(seen));
        assert_eq!(says("198.51.100.1", "203.0.113.9"), None);
        assert_eq!(says("198.51.100.2", "203.0.113.9"), None, "one network, one vote");
        assert_eq!(says("198.51.101.1", "203.0.113.9"), None);
        assert_eq!(says("198.51.102.1", "127.0.0.1"), None, "no outside at all");
        assert_eq!(says("2001:db8::1", "::ffff:203.0.113.9"), Some(us));
        assert_eq!(says("198.51.103.1", "203.0.113.9"), None, "no news");
        for n in 0..3 {
            assert_eq!(says(&format!("192.0.{n}.1"), "203.0.113.66"), None, "still not the most");
        }
        assert_eq!(says("192.0.3.1", "203.0.113.66"), None, "as many as the others");
        assert_eq!(says("192.0.4.1", "203.0.113.66"), Some(ip("203.0.113.66")));
    }

    #[test]
    fn old_votes_are_forgotten() {
        let mut outside = ExternalIp::default();
        for n in 0..200_u8 {
            outside.on_vote(IpAddr::from([100, 0, n, 1]), ip("203.0.113.9"));
        }
        assert_eq!(outside.votes.len(), VOTES);
        let news: Vec<_> =
            (0..50_u8).filter_map(|n| outside.on_vote(IpAddr::from([101, 0, n, 1]), ip("203.0.113.10"))).collect();
        assert_eq!(news, [ip("203.0.113.10")]);
    }
}
