//! Peer exchange (BEP 11): which peers are told of which others and when, and how many messages are read.
//!
//! This module knows addresses and the time. It knows neither connections nor the peer book. Private torrents do not
//! use it (BEP 27).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::base::ids::PeerKey;
use crate::codec::extended::{Pex, PexPeer, flag};
use crate::logic::peers::address::Class;

/// "A client should send no more than one PEX message per minute" (BEP 11).
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// 5 s between two checks for news: the first message comes early enough to be of use, and one message names a whole
/// burst of new connections.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// "at most 50 added peers" and as many dropped in one message (BEP 11).
const TOLD_MOST: usize = 50;

/// 50 s: the minute of BEP 11, less the drift of the peer's clock and of the network.
const HEARD_EVERY: Duration = Duration::from_secs(50);

/// After 10 messages that came too early no further one of that peer is read (P-22).
const PATIENCE: u32 = 10;

/// Decides what each peer that understands peer exchange is sent.
#[derive(Debug, Default)]
pub struct PexFeed {
    listeners: BTreeMap<PeerKey, Listener>,
    /// When to check for news. `None` while no peer listens.
    next_look: Option<Instant>,
}

/// A peer that understands peer exchange.
#[derive(Debug)]
struct Listener {
    /// Its own address, which it is not sent.
    addr: SocketAddr,
    /// The addresses that it has been told of and that have not been dropped since.
    told: BTreeSet<SocketAddr>,
    /// When the next message may be sent.
    due: Instant,
}

impl PexFeed {
    /// A peer understands peer exchange. `addr` is where others can dial it, or else its remote address.
    pub fn on_listener(&mut self, now: Instant, peer: PeerKey, addr: SocketAddr) {
        let told = BTreeSet::new();
        self.listeners.entry(peer).or_insert(Listener { addr, told, due: now }).addr = addr;
        self.next_look.get_or_insert(now + LOOK_EVERY);
    }

    /// The peer has left or does not understand peer exchange any more.
    pub fn on_left(&mut self, peer: PeerKey) {
        self.listeners.remove(&peer);
        if self.listeners.is_empty() {
            self.next_look = None;
        }
    }

    /// When to call [`PexFeed::on_timeout`]. `None` while no peer listens.
    pub const fn deadline(&self) -> Option<Instant> {
        self.next_look
    }

    /// Returns the messages to send now. `swarm` holds the connected peers that others can dial, with their BEP 11
    /// flags.
    pub fn on_timeout(&mut self, now: Instant, swarm: &BTreeMap<SocketAddr, u8>) -> Vec<(PeerKey, Pex)> {
        if self.next_look.is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.next_look = Some(now + LOOK_EVERY);
        let due = self.listeners.iter_mut().filter(|(_, listener)| listener.due <= now);
        due.filter_map(|(peer, listener)| Some((*peer, listener.news(now, swarm)?))).collect()
    }
}

impl Listener {
    /// The changes since the last message, if there are any. A peer is not told of its own address, and of local
    /// addresses only if it is in the same kind of network.
    fn news(&mut self, now: Instant, swarm: &BTreeMap<SocketAddr, u8>) -> Option<Pex> {
        let near = Class::of_ip(self.addr.ip());
        let speaks_of = |addr: &SocketAddr| {
            let class = Class::of(*addr);
            *addr != self.addr && (class == Class::Global || class == near) && class != Class::Nowhere
        };
        let new = swarm.iter().filter(|(addr, _)| !self.told.contains(addr) && speaks_of(addr));
        let added: Vec<_> = new.take(TOLD_MOST).map(|(addr, flags)| PexPeer { addr: *addr, flags: *flags }).collect();
        let gone = self.told.iter().filter(|addr| !swarm.contains_key(addr));
        let dropped: Vec<_> = gone.take(TOLD_MOST).copied().collect();
        if added.is_empty() && dropped.is_empty() {
            return None;
        }
        for addr in &dropped {
            self.told.remove(addr);
        }
        self.told.extend(added.iter().map(|peer| peer.addr));
        self.due = now + TOLD_EVERY;
        let named = added.len() + dropped.len();
        Some(Pex { added, dropped, named })
    }
}

/// Limits how many messages of one peer are read.
#[derive(Debug, Default)]
/// When the last message was read.
pub struct PexListener {
    /// How many messages came too early.
    last: Option<Instant>,
    too_early: u32,
}

impl PexListener {
    /// A message has arrived. Returns whether to read it. A message that comes too early is skipped; after
    /// `PATIENCE` of these no further one is read, so a flood costs its sender the extension (P-22).
    pub fn opens(&mut self, now: Instant) -> bool {
        if self.too_early >= PATIENCE {
            return false;
        }
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < HEARD_EVERY) {
            self.too_early += 1;
            return false;
        }
        self.last = Some(now);
        true
    }
}

/// Returns the addresses of a message that are worth dialling. A seed (`complete`) does not dial seeds. Dropped peers
/// are ignored: that the sender has dropped a peer says nothing about it.
pub fn worth_trying(pex: &Pex, complete: bool) -> Vec<SocketAddr> {
    let useful = |peer: &&PexPeer| !(complete && peer.flags & flag::SEED != 0);
    pex.added.iter().filter(useful).take(2 * TOLD_MOST).map(|peer| peer.addr).collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::logic::testing::base_instant;

    fn addr(n: u16) -> SocketAddr {
        SocketAddr::from(([8, 8, n.to_be_bytes()[0], n.to_be_bytes()[1]], 6881))
    }

    fn swarm(numbers: impl IntoIterator<Item = u16>) -> BTreeMap<SocketAddr, u8> {
        numbers.into_iter().map(|n| (addr(n), flag::REACHABLE)).collect()
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// The messages to send as text, such as `1 tells +2 -3`.
    fn said(gossip: &mut PexFeed, now: Instant, swarm: &BTreeMap<SocketAddr, u8>) -> String {
        let number = |addr: &SocketAddr| match addr.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        };
        gossip.on_timeout(now, swarm).iter().fold(String::new(), |mut text, (peer, pex)| {
            write!(text, "{}:", peer.0).unwrap();
            for peer in &pex.added {
                write!(text, " +{}", number(&peer.addr)).unwrap();
            }
            for addr in &pex.dropped {
                write!(text, " -{}", number(addr)).unwrap();
            }
            text + ";"
        })
    }

    #[test]
    fn every_peer_is_told_of_the_others_soon_and_of_changes_once_a_minute() {
        let t0 = base_instant();
        let mut gossip = PexFeed::default();
        assert_eq!(gossip.deadline(), None, "no peer listens");
        gossip.on_listener(t0, PeerKey(1), addr(1));
        gossip.on_listener(t0, PeerKey(2), addr(2));
        assert_eq!(gossip.deadline(), Some(t0 + secs(5)));
        assert_eq!(said(&mut gossip, t0, &swarm([1, 2, 3])), "", "not yet");
        assert_eq!(said(&mut gossip, t0 + secs(5), &swarm([1, 2, 3])), "1: +2 +3;2: +1 +3;");
        for early in [10, 60, 64] {
            assert_eq!(said(&mut gossip, t0 + secs(early), &swarm([1, 2, 4])), "", "{early} s");
        }
        assert_eq!(said(&mut gossip, t0 + secs(69), &swarm([1, 2, 4])), "1: +4 -3;2: +4 -3;");
        assert_eq!(said(&mut gossip, t0 + secs(200), &swarm([1, 2, 4])), "", "no news");
        gossip.on_left(PeerKey(1));
        assert_eq!(said(&mut gossip, t0 + secs(205), &swarm([2])), "2: -1 -4;", "and is told when there is some");
        gossip.on_left(PeerKey(2));
        assert_eq!(gossip.deadline(), None);
    }

    #[test]
    fn a_message_names_fifty_peers_and_the_next_one_the_rest() {
        let t0 = base_instant();
        let mut gossip = PexFeed::default();
        gossip.on_listener(t0, PeerKey(1), addr(999));
        let mut sizes = Vec::new();
        for minute in 0..6 {
            let who = if minute < 3 { swarm(0..120) } else { swarm([]) };
            let told = gossip.on_timeout(t0 + secs(65 * minute + 5), &who);
            sizes.extend(told.iter().map(|(_, pex)| (pex.added.len(), pex.dropped.len())));
        }
        assert_eq!(sizes, [(50, 0), (50, 0), (20, 0), (0, 50), (0, 50), (0, 20)]);
        assert!(gossip.listeners[&PeerKey(1)].told.is_empty());
    }

    #[test]
    fn addresses_of_a_local_network_are_told_inside_it_only() {
        let t0 = base_instant();
        let all = ["10.0.0.1:6881", "127.0.0.1:6881", "8.8.8.8:6881", "8.8.8.8:0"].map(|at| (at.parse().unwrap(), 0));
        for (to, want) in [("9.9.9.9:1", 1), ("10.9.9.9:1", 2), ("127.0.0.1:1", 2), ("127.0.0.1:6881", 1)] {
            let mut gossip = PexFeed::default();
            gossip.on_listener(t0, PeerKey(1), to.parse().unwrap());
            let told = gossip.on_timeout(t0 + secs(5), &BTreeMap::from(all));
            assert_eq!(told[0].1.added.len(), want, "{to}");
        }
    }

    /// P-22: messages that come too early.
    #[test]
    fn a_flood_costs_its_sender_the_extension() {
        let (t0, mut ear) = (base_instant(), PexListener::default());
        let heard: Vec<u64> = (0..3600).filter(|s| ear.opens(t0 + secs(*s))).collect();
        assert_eq!(heard, [0]);
        let mut ear = PexListener::default();
        let heard = (0..3600).step_by(60).filter(|s| ear.opens(t0 + secs(*s))).count();
        assert_eq!(heard, 60, "once a minute for an hour");
    }

    #[test]
    fn a_seed_does_not_try_seeds() {
        let peer = |n, flags| PexPeer { addr: addr(n), flags };
        let added = vec![peer(1, flag::SEED | flag::REACHABLE), peer(2, 0)];
        let pex = Pex { added, dropped: vec![addr(3)], named: 3 };
        assert_eq!(worth_trying(&pex, false), [addr(1), addr(2)]);
        assert_eq!(worth_trying(&pex, true), [addr(2)]);
    }
}
