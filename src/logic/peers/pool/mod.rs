//! All peers of one torrent: which are dialled, kept, unchoked, told of each other, and named pieces.
//!
//! [`PoolMachine`] owns the peer book, the choker, the feed of peer exchange, the super-seed and what is known of each
//! connection. It decides what each of them hears and when. Knows peers by their keys and the time as it is told; no
//! sockets and no actors.
//!
//! The contract: call one input, drain [`PoolMachine::poll`], call [`PoolMachine::on_timeout`] at
//! [`PoolMachine::deadline`].
//!
//! | input | what has happened | effects |
//! |---|---|---|
//! | `on_started` | the actor that drives the pool runs | `Dial`, `ReportNeed` |
//! | `on_restarted` | that actor has failed and starts again without connections | `ReportPeerLeft` for each connection |
//! | `on_peers_found` | a tracker or a person names addresses | `Dial`, `ReportNeed`, `Log` |
//! | `on_arrived` | a peer came by itself | gives the key of its connection, or none: `Log` says why; `Leave` for who gives way |
//! | `on_event` | a connection tells something of its peer | `Choke`, `Unchoke`, `NamePiece`, `Leave`, `Dial`, `Log` |
//! | `on_ended` | a connection has ended | `ReportPeerLeft`, then as `on_event`; the last one after `on_goodbye`: `Finish` |
//! | `on_ban` | the scheduler has proven that an address lies | `Leave` |
//! | `on_pardon` | it is not proven after all | `Dial` |
//! | `on_scheduler_ready` | the scheduler is new and knows no peer | `IntroduceAll` |
//! | `on_seeding_begun` | we have everything that we want | `Choke`, `Unchoke` |
//! | `on_fetching_resumed` | we lack something again | `Choke`, `Unchoke`, `Dial` |
//! | `on_survey` | the torrent asks what the pool knows | gives it; `RequestViews` |
//! | `on_timeout` | the deadline has come | what the timer is for (below) |
//! | `on_goodbye` | the pool is to end | `StopConnections`; `Finish` if there is no connection |
//!
//! `ReportChange` comes once after each survey, with the first input after which a survey would find something new.
//!
//! | timer | due | then |
//! |---|---|---|
//! | [`PoolTimer::Book`] | the next address may be dialled, or it is time to look who gives way to an untried one | `Dial`, `Leave` |
//! | [`PoolTimer::ChokeRound`] | the slots are dealt anew, or the time of a newcomer without a slot is over | `Choke`, `Unchoke` |
//! | [`PoolTimer::PexLook`] | it is time to look which peers that listen have to be told of changes | `SharePeers` |
//! | [`PoolTimer::StuckPeer`] | super-seeding: a peer has got no new piece for long | `NamePiece` |
//!
//! | stage | from | in it |
//! |---|---|---|
//! | `Fetching` | the start, `on_fetching_resumed` | slots go to those who give |
//! | `Seeding` | `on_seeding_begun` | slots go round |
//! | `Closing` | `on_goodbye` | no address is dialled, no peer is taken in, no timer runs |

mod addresses;
mod connections;
mod events;
mod values;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::base::disconnect::DisconnectReason;
use crate::base::ids::PeerKey;
use crate::logic::peers::address::canonical;
use crate::logic::peers::choke::{self, ChokeEffect, Choker};
use crate::logic::peers::peer_book::{BookEffect, Inbound, PeerSource};
use crate::logic::peers::pex::PexFeed;
use crate::logic::peers::super_seed::SuperSeed;

use addresses::Addresses;
use connections::{EndedConnection, Origin, PoolConnections};
pub use values::{PeerEvent, PeerRow, PoolEffect, PoolNote, PoolSurvey, PoolTerms, Redial};

/// The pool of one torrent. See the head of this file.
#[derive(Debug)]
pub struct PoolMachine {
    terms: PoolTerms,
    stage: PoolStage,
    addresses: Addresses,
    connections: PoolConnections,
    choker: Choker,
    pex: PexFeed,
    super_seed: Option<Box<SuperSeed>>,
    outbox: Outbox,
}

/// What the pool is for at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PoolStage {
    /// The torrent lacks something.
    Fetching,
    /// The torrent lacks nothing and is given to others.
    Seeding,
    /// The pool ends.
    Closing,
}

/// What the pool waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolTimer {
    /// The peer book: a dial, or a look at who gives way.
    Book,
    /// The choker: a round, or the end of a newcomer's time.
    ChokeRound,
    /// Peer exchange: a look at who has to be told of changes.
    PexLook,
    /// Super-seeding: a peer that does not get on.
    StuckPeer,
}

/// Effects that wait for [`PoolMachine::poll`].
#[derive(Debug, Default)]
struct Outbox {
    effects: VecDeque<PoolEffect>,
    /// A change was reported since the last survey.
    is_change_reported: bool,
}

impl Outbox {
    fn push(&mut self, effect: PoolEffect) {
        self.effects.push_back(effect);
    }

    fn log(&mut self, note: PoolNote) {
        self.push(PoolEffect::Log(note));
    }

    /// A survey would find something new.
    fn report_change(&mut self) {
        if !std::mem::replace(&mut self.is_change_reported, true) {
            self.push(PoolEffect::ReportChange);
        }
    }

    const fn on_survey(&mut self) {
        self.is_change_reported = false;
    }

    /// Only what the scheduler has to know outlives a failure.
    fn on_restarted(&mut self) {
        self.effects.retain(|effect| matches!(effect, PoolEffect::ReportPeerLeft(_)));
        self.is_change_reported = false;
    }
}

fn choker(now: Instant, terms: &PoolTerms) -> Choker {
    Choker::new(now, choke::SLOTS, terms.geometry.nominal_piece_len(), terms.seed)
}

fn super_seed(terms: &PoolTerms) -> Option<Box<SuperSeed>> {
    terms.super_seed.then(|| Box::new(SuperSeed::new(terms.geometry, terms.seed)))
}

impl PoolMachine {
    /// A pool that knows no peer.
    pub fn new(now: Instant, terms: PoolTerms) -> Self {
        Self {
            stage: PoolStage::Fetching,
            addresses: Addresses::new(&terms),
            connections: PoolConnections::default(),
            choker: choker(now, &terms),
            pex: PexFeed::default(),
            super_seed: super_seed(&terms),
            outbox: Outbox::default(),
            terms,
        }
    }

    /// The actor that drives the pool runs, for the first time or again.
    pub fn on_started(&mut self, now: Instant) {
        self.settle(now);
    }

    /// The actor that drives the pool has failed, and every connection is gone. The peer book survives. To be followed by
    /// [`Self::on_started`]; until then only the scheduler is told.
    pub fn on_restarted(&mut self, now: Instant) {
        self.outbox.on_restarted();
        for peer in self.connections.close_all() {
            self.outbox.push(PoolEffect::ReportPeerLeft(peer));
        }
        self.choker = choker(now, &self.terms);
        if self.stage == PoolStage::Seeding {
            self.choker.on_complete(now);
        }
        self.pex = PexFeed::default();
        self.super_seed = super_seed(&self.terms);
        self.addresses.on_restarted(now);
    }

    /// These addresses are said to be those of peers.
    pub fn on_peers_found(&mut self, now: Instant, addrs: &[SocketAddr], source: PeerSource) {
        self.outbox.report_change();
        self.take_addresses(now, None, addrs, source);
        self.settle(now);
    }

    /// A peer came by itself, from this address. Gives the key of its connection, if it is taken in; else its stream is
    /// to be closed without a word.
    pub fn on_arrived(&mut self, now: Instant, addr: SocketAddr) -> Option<PeerKey> {
        if self.stage == PoolStage::Closing {
            return None;
        }
        let addr = canonical(addr);
        let peer = match self.addresses.change().on_inbound(now, addr) {
            Inbound::Welcome => Some(self.connections.open(addr, Origin::Accepted)),
            Inbound::Refused(why) => {
                self.outbox.log(PoolNote::Refused { addr, why });
                None
            }
        };
        self.settle(now);
        peer
    }

    /// A connection has ended. Its last event, if it had one, says why; a connection without one has panicked.
    pub fn on_ended(&mut self, now: Instant, peer: PeerKey) {
        let Some(ended) = self.connections.close(peer) else { return };
        self.outbox.report_change();
        self.outbox.push(PoolEffect::ReportPeerLeft(peer));
        self.choker.on_peer_left(now, peer);
        self.pex.on_left(peer);
        if let Some(super_seed) = &mut self.super_seed {
            super_seed.on_left(peer);
        }
        let EndedConnection { addr, reason, delivered } = ended;
        self.outbox.log(PoolNote::Left { addr, reason, delivered });
        self.addresses.change().on_farewell(now, addr, reason, delivered);
        self.settle(now);
        self.finish_if_closed();
    }

    /// The peer at this address is proven to have sent bad data: it is never connected again.
    pub fn on_ban(&mut self, now: Instant, addr: SocketAddr) {
        self.addresses.change().ban(now, addr);
        self.settle(now);
    }

    /// The address was banned and is not proven to have sent bad data after all.
    pub fn on_pardon(&mut self, now: Instant, addr: SocketAddr) {
        self.addresses.change().pardon(now, addr);
        self.settle(now);
    }

    /// The scheduler is new and knows no peer.
    pub fn on_scheduler_ready(&mut self, _now: Instant) {
        self.outbox.push(PoolEffect::IntroduceAll);
    }

    /// We have everything that we want. From now on peers are judged by what they take.
    pub fn on_seeding_begun(&mut self, now: Instant) {
        if self.stage == PoolStage::Fetching {
            self.stage = PoolStage::Seeding;
            self.choker.on_complete(now);
            self.addresses.change().on_complete();
            self.settle(now);
        }
    }

    /// We had everything and lack something again: peers are judged by what they give, and seeds are dialled again.
    pub fn on_fetching_resumed(&mut self, now: Instant) {
        if self.stage == PoolStage::Seeding {
            self.stage = PoolStage::Fetching;
            self.choker.on_incomplete(now);
            self.addresses.change().on_incomplete(now);
            self.settle(now);
        }
    }

    /// The torrent asks what the pool knows. The connections are asked for their views, for the next survey.
    pub fn on_survey(&mut self, now: Instant) -> PoolSurvey {
        self.outbox.on_survey();
        self.outbox.push(PoolEffect::RequestViews);
        let census = self.addresses.census();
        let next_dial = self.addresses.next_dial(now, &census);
        let peers = Arc::new(self.connections.rows());
        PoolSurvey { census, peers, sent: self.connections.sent(), next_dial }
    }

    /// The deadline has come. Which timers are due is for their owners to tell.
    pub fn on_timeout(&mut self, now: Instant) {
        self.choker.on_timeout(now);
        if let Some(super_seed) = &mut self.super_seed {
            super_seed.on_timeout(now);
        }
        self.share_peers(now);
        self.addresses.change();
        self.settle(now);
    }

    /// The pool is to end, after its connections.
    pub fn on_goodbye(&mut self, _now: Instant) {
        self.stage = PoolStage::Closing;
        self.outbox.push(PoolEffect::StopConnections);
        self.finish_if_closed();
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<PoolEffect> {
        self.outbox.effects.pop_front()
    }

    /// When to call [`Self::on_timeout`]. Never while the pool closes.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_timer().map(|(due, _)| due)
    }

    /// The timer that is due first, and when.
    pub fn next_timer(&self) -> Option<(Instant, PoolTimer)> {
        if self.stage == PoolStage::Closing {
            return None;
        }
        let timers = [
            (self.addresses.deadline(), PoolTimer::Book),
            (self.choker.deadline(), PoolTimer::ChokeRound),
            (self.pex.deadline(), PoolTimer::PexLook),
            (self.super_seed.as_ref().and_then(|super_seed| super_seed.deadline()), PoolTimer::StuckPeer),
        ];
        timers.into_iter().filter_map(|(due, timer)| Some((due?, timer))).min_by_key(|(due, _)| *due)
    }

    /// After every input: what the machines inside want done.
    fn settle(&mut self, now: Instant) {
        while let Some(effect) = self.choker.poll() {
            self.outbox.push(match effect {
                ChokeEffect::Choke(peer) => PoolEffect::Choke(peer),
                ChokeEffect::Unchoke(peer) => PoolEffect::Unchoke(peer),
            });
        }
        while let Some(naming) = self.super_seed.as_mut().and_then(|super_seed| super_seed.poll()) {
            self.outbox.push(PoolEffect::NamePiece(naming.peer, naming.piece));
        }
        if self.stage == PoolStage::Closing || !self.addresses.take_due() {
            return;
        }
        while let Some(effect) = self.addresses.poll(now) {
            self.outbox.report_change();
            self.obey_book(effect);
        }
        if let Some(need) = self.addresses.poll_need() {
            self.outbox.push(PoolEffect::ReportNeed(need));
        }
    }

    fn obey_book(&mut self, effect: BookEffect) {
        match effect {
            BookEffect::Dial { addr, attempt, last, backoff, timeout } => {
                let redial = last.map(|cause| Redial {
                    cause,
                    restarts: attempt.saturating_sub(1),
                    backoff,
                    is_expected: cause != DisconnectReason::Panicked,
                });
                let peer = self.connections.open(addr, Origin::Dialled);
                self.outbox.push(PoolEffect::Dial { peer, addr, timeout, redial });
            }
            BookEffect::Close { addr, farewell } => {
                for peer in self.connections.to(addr) {
                    self.outbox.push(PoolEffect::Leave(peer, farewell));
                }
            }
            BookEffect::Held { pause } => self.outbox.log(PoolNote::DialsHeld(pause)),
        }
    }

    fn take_addresses(&mut self, now: Instant, by: Option<SocketAddr>, addrs: &[SocketAddr], source: PeerSource) {
        let outcome = self.addresses.change().add(now, addrs, source);
        self.outbox.log(PoolNote::Named { by, source, outcome });
    }

    /// Tells those who listen of the peers that have come and gone, if it is time (BEP 11).
    fn share_peers(&mut self, now: Instant) {
        if self.pex.deadline().is_some_and(|due| due <= now) {
            let dialable = self.connections.dialable(self.terms.geometry.piece_count());
            for (peer, pex) in self.pex.on_timeout(now, &dialable) {
                self.outbox.push(PoolEffect::SharePeers(peer, pex));
            }
        }
    }

    fn finish_if_closed(&mut self) {
        if self.stage == PoolStage::Closing && self.connections.is_empty() {
            self.outbox.push(PoolEffect::Finish);
        }
    }
}

#[cfg(test)]
mod tests;
