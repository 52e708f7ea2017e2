//! What our address looks like from outside, by what peers say (`yourip`, BEP 10).
//!
//! A vote, not a proof: it decides the order in which addresses are dialled (BEP 40) and what is shown, never whom we
//! trust. A network has one vote, the last votes count, and nothing is believed before three agree and are the most.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::logic::peers::address::Class;

/// 50 votes are kept: a change of address is believed within as many new connections.
const VOTES: usize = 50;

/// 3 networks must agree: one liar, or one proxy, is not the outside.
const AGREED: usize = 3;

/// The votes and what they say.
#[derive(Debug, Default)]
pub struct ExternalIp {
    votes: VecDeque<(Network, IpAddr)>,
    believed: Option<IpAddr>,
}

/// A /24 of IPv4, a /48 of IPv6: what one operator has.
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
    /// `voter` says that we come from `seen`. Gives the address that is believed now, if it is another than before.
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

    /// More than half of all votes: two addresses that take turns are none.
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
