//! Turnover: decides which connected peers are closed to make room for addresses that were never tried.
//!
//! When every place is taken, the peer that has been useless for longest is closed for an untried address. Otherwise
//! the peers that were named first keep all places however little they have, and the one peer with the missing pieces
//! is never dialled. A peer that uploads to us, downloads from us, or was named by the user keeps its place.
//!
//! While data moves, the rate is libtorrent's: 4 % of the places in five minutes. While nothing moves there is nothing
//! to lose: a tenth of the places every ten seconds, at least five.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::PeerBook;
use super::config::{BookEffect, PeerSource, PeerStanding};
use crate::base::disconnect::DisconnectReason;

/// 10 s between two checks: as often as the choker deals its slots.
const ROUND: Duration = Duration::from_secs(10);

/// 300 s between two turnovers while data moves (libtorrent's `peer_turnover_interval`).
const CALM_INTERVAL: Duration = Duration::from_secs(300);

/// 4 % of the places, and at least one, are freed in one turnover while data moves (libtorrent's `peer_turnover`).
const CALM_PERCENT: usize = 4;

/// A tenth of the places are freed in each check while nothing moves. With [`STARVING_LEAST`], 90 addresses are tried
/// within 180 s, whatever the number of places.
const STARVING_PERCENT: usize = 10;

/// At least five places are freed in each check while nothing moves.
const STARVING_LEAST: usize = 5;

/// After 30 s without a byte nothing moves. This is the wait for an optimistic unchoke (BEP 3).
const STARVING_AFTER: Duration = Duration::from_secs(30);

/// A peer that has nothing we want may be closed after 10 s: by then it has said what it has and heard what we have.
/// Three round trips of a slow line, picked by eye.
const UNWANTED_PATIENCE: Duration = Duration::from_secs(10);

/// A peer that has what we want and chokes us may be closed after 60 s: two turns of its optimistic unchoke (BEP 3).
const CHOKING_PATIENCE: Duration = Duration::from_secs(60);

/// How useful a connected peer is at present. The lesser is closed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// The peer has nothing that we want. While seeding: it wants nothing that we have.
    Unwanted,
    /// The peer has what we want, and chokes us.
    Choking,
    /// Data moves, or may begin to.
    Useful,
}

/// The place of one connected peer.
#[derive(Debug, Clone, Copy)]
struct Place {
    good_for: Use,
    /// When that began, or when data last moved.
    since: Instant,
}

/// The usefulness of all connected peers.
#[derive(Debug, Default)]
pub(super) struct Turnover {
    places: BTreeMap<SocketAddr, Place>,
    /// When data last moved in the direction that counts: to us, or from us while seeding.
    moved: Option<Instant>,
    /// When the last check took place.
    looked: Option<Instant>,
    /// When places were last freed.
    turned: Option<Instant>,
}

impl Turnover {
    /// A peer has connected.
    pub(super) fn on_joined(&mut self, now: Instant, addr: SocketAddr) {
        self.moved.get_or_insert(now);
        self.places.insert(addr, Place { good_for: Use::Unwanted, since: now });
    }

    /// A connection has ended.
    pub(super) fn on_left(&mut self, addr: SocketAddr) {
        self.places.remove(&addr);
    }

    /// The present standing of a connected peer.
    fn on_standing(&mut self, now: Instant, addr: SocketAddr, standing: PeerStanding, seeding: bool) {
        let Some(place) = self.places.get_mut(&addr) else { return };
        let moves = standing.gives || standing.takes;
        let has_business = if seeding { standing.wants } else { standing.wanted };
        let good_for = match has_business {
            _ if moves => Use::Useful,
            false => Use::Unwanted,
            true if standing.chokes_us && !seeding => Use::Choking,
            true => Use::Useful,
        };
        if moves || good_for != place.good_for {
            *place = Place { good_for, since: now };
        }
        let counts = if seeding { standing.takes } else { standing.gives };
        if counts {
            self.moved = Some(now);
        }
    }

    /// Whether no data has moved for [`STARVING_AFTER`].
    fn is_starving(&self, now: Instant) -> bool {
        self.moved.is_some_and(|moved| now >= moved + STARVING_AFTER)
    }

    /// How many of `places` may be freed now.
    fn quota(&self, now: Instant, places: usize) -> usize {
        if self.is_starving(now) {
            (places * STARVING_PERCENT / 100).max(STARVING_LEAST)
        } else if self.turned.is_none_or(|turned| now >= turned + CALM_INTERVAL) {
            (places * CALM_PERCENT / 100).max(1)
        } else {
            0
        }
    }

    /// The peers that may be closed, the longest useless first. A peer that chokes us is closed only while nothing
    /// moves.
    fn useless(&self, now: Instant) -> Vec<SocketAddr> {
        let starving = self.is_starving(now);
        let is_useless = |place: &Place| match place.good_for {
            Use::Unwanted => now >= place.since + UNWANTED_PATIENCE,
            Use::Choking => starving && now >= place.since + CHOKING_PATIENCE,
            Use::Useful => false,
        };
        let mut useless: Vec<_> = self
            .places
            .iter()
            .filter(|(_, place)| is_useless(place))
            .map(|(at, p)| (p.good_for, p.since, *at))
            .collect();
        useless.sort_unstable();
        useless.into_iter().map(|(_, _, addr)| addr).collect()
    }

    /// When the next check is due. `None`: at once.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.looked.map(|looked| looked + ROUND)
    }
}

impl PeerBook {
    /// The present standing of a connected peer. Cheap; call it whenever the standing is known.
    pub fn on_standing(&mut self, now: Instant, addr: SocketAddr, standing: PeerStanding) {
        self.turnover.on_standing(now, super::canonical(addr), standing, self.seeding);
    }

    /// Closes useless peers if all places are taken and there are untried addresses that can be dialled.
    pub(super) fn turn_over(&mut self, now: Instant) {
        if !self.is_turnover_possible() || self.turnover.next_look().is_some_and(|next| now < next) {
            return;
        }
        self.turnover.looked = Some(now);
        let quota = self.turnover.quota(now, self.config.max_connected);
        let untried = self.queue.ready().filter(|addr| self.is_untried(now, *addr)).take(quota).count();
        let is_named =
            |addr: &SocketAddr| self.entries.get(addr).is_some_and(|entry| entry.source == PeerSource::Manual);
        let useless = self.turnover.useless(now).into_iter().filter(|addr| !is_named(addr));
        let leaving: Vec<_> = useless.take(untried).collect();
        for addr in leaving {
            self.turnover.turned = Some(now);
            self.turnover.on_left(addr);
            self.outbox.push_back(BookEffect::Close { addr, farewell: DisconnectReason::GivesWay });
        }
    }

    /// Whether all places are taken while an untried address and a free dial slot exist.
    pub(super) fn is_turnover_possible(&self) -> bool {
        self.free_places() == 0 && self.untried > 0 && self.half_open < self.config.max_half_open
    }

    /// Removes the peer that has been useless for longest, to make room for a newly accepted one. `of_guests`: only an
    /// accepted peer may be removed.
    pub(super) fn useless_for_newcomer(&mut self, now: Instant, of_guests: bool) -> Option<SocketAddr> {
        let may_go = |addr: &SocketAddr| match self.entries.get(addr).filter(|entry| entry.is_open()) {
            Some(entry) => !of_guests && entry.source != PeerSource::Manual,
            None => self.accepted.has(*addr),
        };
        let addr = self.turnover.useless(now).into_iter().find(may_go)?;
        self.turnover.on_left(addr);
        self.accepted.remove(addr);
        Some(addr)
    }

    /// Whether the address was never dialled and may be dialled now.
    fn is_untried(&self, now: Instant, addr: SocketAddr) -> bool {
        self.entries.get(&addr).is_some_and(|entry| entry.attempts == 0) && self.obstacle(now, addr).is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{BookConfig, Inbound, Refusal};
    use super::*;
    use crate::logic::testing::base_instant;

    const SECOND: Duration = Duration::from_secs(1);
    const PUBLIC: PeerSource = PeerSource::Tracker { local: false };

    const UNWANTED: PeerStanding =
        PeerStanding { wanted: false, wants: false, chokes_us: true, gives: false, takes: false };
    const WANTS: PeerStanding = PeerStanding { wants: true, ..UNWANTED };
    const CHOKES: PeerStanding = PeerStanding { wanted: true, ..UNWANTED };
    const READY: PeerStanding = PeerStanding { wanted: true, chokes_us: false, ..UNWANTED };
    const GIVES: PeerStanding = PeerStanding { gives: true, ..READY };
    const TAKES: PeerStanding = PeerStanding { takes: true, ..WANTS };

    fn hosts(count: u32) -> Vec<SocketAddr> {
        (0..count).map(|n| SocketAddr::new((0x0800_0000 + n * 7).to_be_bytes().into(), 6881)).collect()
    }

    /// A swarm in which every dial succeeds and every peer has the standing that `standing` returns, second by second.
    struct Swarm {
        book: PeerBook,
        now: Instant,
        connected: BTreeSet<SocketAddr>,
        dialled: Vec<SocketAddr>,
        let_go: Vec<SocketAddr>,
    }

    impl Swarm {
        fn new(places: usize, addrs: &[SocketAddr], source: PeerSource) -> Self {
            let now = base_instant();
            let mut book = PeerBook::new(BookConfig { max_connected: places, ..BookConfig::default() }, 1);
            book.add(now, addrs, source);
            Self { book, now, connected: BTreeSet::new(), dialled: Vec::new(), let_go: Vec::new() }
        }

        fn pass(&mut self, secs: u32, standing: impl Fn(SocketAddr) -> PeerStanding) {
            for _second in 0..secs {
                self.obey();
                for addr in &self.connected {
                    self.book.on_standing(self.now, *addr, standing(*addr));
                }
                self.now += SECOND;
            }
        }

        fn obey(&mut self) {
            while let Some(effect) = self.book.poll(self.now) {
                match effect {
                    BookEffect::Dial { addr, .. } => {
                        self.dialled.push(addr);
                        self.connected.insert(addr);
                        self.book.on_connected(self.now, addr);
                    }
                    BookEffect::Close { addr, farewell } => {
                        assert_eq!(farewell, DisconnectReason::GivesWay);
                        self.let_go.push(addr);
                        self.connected.remove(&addr);
                        self.book.on_farewell(self.now, addr, farewell, false);
                    }
                    BookEffect::Held { .. } => panic!("no actor panicked"),
                }
            }
        }
    }

    #[test]
    fn while_nothing_moves_every_known_address_has_its_turn() {
        for places in [5, 10, 50, 80] {
            let addrs = hosts(91);
            let mut swarm = Swarm::new(places, &addrs, PUBLIC);
            swarm.pass(330, |_| UNWANTED);
            let dialled: BTreeSet<_> = swarm.dialled.iter().copied().collect();
            assert_eq!(dialled.len(), 91, "{places} places: 91 addresses are known for 330 s");
            assert!(swarm.dialled.len() <= 3 * 91, "I7");
        }
    }

    #[test]
    fn while_data_moves_four_of_a_hundred_give_way_in_five_minutes() {
        let addrs = hosts(200);
        let mut swarm = Swarm::new(50, &addrs, PUBLIC);
        swarm.pass(1, |_| UNWANTED);
        let giver = swarm.dialled[0];
        swarm.pass(1500, |addr| if addr == giver { GIVES } else { UNWANTED });
        assert!((8..=12).contains(&swarm.let_go.len()), "{} in 25 minutes", swarm.let_go.len());
        assert!(!swarm.let_go.contains(&giver));
    }

    /// The standing; whether the peer is closed while nothing moves; whether a seed without downloads closes it.
    #[test]
    fn a_useful_peer_keeps_its_place() {
        for (standing, downloading, seeding) in [
            (UNWANTED, true, true),
            (WANTS, true, false),
            (CHOKES, true, true),
            (READY, false, true),
            (GIVES, false, false),
            (TAKES, false, false),
        ] {
            for (is_seed, want) in [(false, downloading), (true, seeding)] {
                let mut swarm = Swarm::new(10, &hosts(20), PUBLIC);
                if is_seed {
                    swarm.book.on_complete();
                }
                swarm.pass(200, |_| standing);
                assert_eq!(!swarm.let_go.is_empty(), want, "{standing:?} seed: {is_seed}");
            }
        }
    }

    #[test]
    fn a_peer_that_chokes_us_is_closed_only_while_no_peer_uploads_to_us() {
        let mut swarm = Swarm::new(10, &hosts(20), PUBLIC);
        swarm.pass(1, |_| CHOKES);
        let giver = swarm.dialled[0];
        swarm.pass(1000, |addr| if addr == giver { GIVES } else { CHOKES });
        assert_eq!(swarm.let_go, []);
    }

    #[test]
    fn no_peer_gives_way_to_an_address_that_was_tried_before() {
        let mut swarm = Swarm::new(10, &hosts(10), PUBLIC);
        swarm.pass(1000, |_| UNWANTED);
        assert_eq!((swarm.let_go.len(), swarm.book.deadline()), (0, None), "nor does it wake up for that");
    }

    #[test]
    fn a_peer_that_the_user_named_keeps_its_place() {
        let addrs = hosts(20);
        let mut swarm = Swarm::new(10, &addrs[..10], PeerSource::Manual);
        swarm.pass(1, |_| UNWANTED);
        swarm.book.add(swarm.now, &addrs[10..], PUBLIC);
        swarm.pass(1000, |_| UNWANTED);
        assert_eq!(swarm.let_go, []);
    }

    /// An accepted peer that is closed for an untried address says where it listens. It is not added as an untried
    /// address itself.
    #[test]
    fn a_guest_that_gives_way_is_not_dialled_in_the_place_of_another() {
        let mut swarm = Swarm::new(10, &[], PUBLIC);
        for guest in hosts(5) {
            let guest = SocketAddr::new(guest.ip(), 50_000);
            assert_eq!(swarm.book.on_inbound(swarm.now, guest), Inbound::Welcome);
            swarm.book.on_listens(guest, 6881);
            swarm.connected.insert(guest);
        }
        let addrs: Vec<_> = hosts(15).split_off(5);
        swarm.book.add(swarm.now, &addrs, PUBLIC);
        swarm.pass(60, |addr| if addr.port() == 50_000 { UNWANTED } else { READY });
        assert_eq!(swarm.let_go.len(), 5);
        assert!(swarm.dialled.iter().all(|addr| addrs.contains(addr)), "{:?}", swarm.dialled);
    }

    /// Accepted peers that once downloaded a block are not closed for a new one; those that want nothing more are.
    #[test]
    fn a_newcomer_has_the_place_of_a_guest_that_wants_nothing_more() {
        for (standing, want) in [(UNWANTED, Inbound::Welcome), (TAKES, Inbound::Refused(Refusal::Full))] {
            let mut swarm = Swarm::new(10, &[], PUBLIC);
            swarm.book.on_complete();
            for guest in hosts(5) {
                assert_eq!(swarm.book.on_inbound(swarm.now, guest), Inbound::Welcome);
                swarm.book.on_productive(guest);
                swarm.connected.insert(guest);
            }
            swarm.pass(30, |_| standing);
            assert_eq!(swarm.book.on_inbound(swarm.now, "9.9.9.9:50000".parse().unwrap()), want, "{standing:?}");
        }
    }

    #[test]
    fn a_newcomer_has_the_place_of_a_peer_of_no_use() {
        let newcomer = "9.9.9.9:50000".parse().unwrap();
        for (standing, want) in [(UNWANTED, Inbound::Welcome), (WANTS, Inbound::Refused(Refusal::Full))] {
            let mut swarm = Swarm::new(10, &hosts(10), PUBLIC);
            swarm.book.on_complete();
            swarm.pass(30, |_| standing);
            assert_eq!(swarm.book.on_inbound(swarm.now, newcomer), want, "{standing:?}");
            swarm.obey();
            assert_eq!(swarm.let_go.len(), usize::from(want == Inbound::Welcome));
        }
    }
}
