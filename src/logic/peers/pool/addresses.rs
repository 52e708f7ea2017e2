//! The addresses of a pool: the peer book, our own address by vote, and how much more addresses are needed.
//!
//! The book is polled only after something that can give it work; a view of a connection, which comes once a second from
//! each, does not.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::values::PoolTerms;
use crate::logic::peer::protocol::PeerView;
use crate::logic::peers::external_ip::ExternalIp;
use crate::logic::peers::peer_book::{BookEffect, Census, PeerBook, PeerNeed, PeerStanding};

/// The peer book and what goes with it. Survives a restart of the pool.
#[derive(Debug)]
pub(super) struct Addresses {
    book: PeerBook,
    external_ip: ExternalIp,
    /// The need as last reported; none: the torrent has to be told.
    need: Option<PeerNeed>,
    /// Something has happened since the book was polled dry.
    is_due: bool,
}

impl Addresses {
    pub(super) fn new(terms: &PoolTerms) -> Self {
        let book = PeerBook::new(terms.book, terms.seed);
        Self { book, external_ip: ExternalIp::default(), need: None, is_due: true }
    }

    /// The book, for an input after which it has to be polled.
    pub(super) const fn change(&mut self) -> &mut PeerBook {
        self.is_due = true;
        &mut self.book
    }

    /// The pool was restarted: every connection is gone, and the torrent is told the need again.
    pub(super) fn on_restarted(&mut self, now: Instant) {
        self.need = None;
        self.change().on_pool_restarted(now);
    }

    /// The peer at this address has taken its first block.
    pub(super) fn on_served(&mut self, now: Instant, addr: SocketAddr) {
        self.book.on_served(now, addr);
    }

    /// How the connection to this address stands. `has_taken`: blocks went to the peer since the last view.
    pub(super) fn on_view(&mut self, now: Instant, addr: SocketAddr, view: &PeerView, has_taken: bool) {
        let gives = view.down_bps > 0;
        if has_taken || gives {
            self.book.on_active(now, addr);
        }
        let standing = PeerStanding {
            wanted: view.am_interested,
            wants: view.peer_interested,
            chokes_us: view.peer_choking,
            gives,
            takes: has_taken,
        };
        self.book.on_standing(now, addr, standing);
    }

    /// A peer says that we come from `seen`. Gives the address that is believed now, if it is another than before.
    pub(super) fn on_vote(&mut self, voter: IpAddr, seen: IpAddr, listen_port: Option<u16>) -> Option<IpAddr> {
        let ours = self.external_ip.on_vote(voter, seen)?;
        self.book.set_external(SocketAddr::new(ours, listen_port.unwrap_or(0)));
        Some(ours)
    }

    /// Has the book to be polled dry now? Says so once.
    pub(super) const fn take_due(&mut self) -> bool {
        std::mem::replace(&mut self.is_due, false)
    }

    /// The next thing that the book wants done, until there is none.
    pub(super) fn poll(&mut self, now: Instant) -> Option<BookEffect> {
        self.book.poll(now)
    }

    /// How much more addresses are needed, if that is not what was reported last.
    pub(super) fn poll_need(&mut self) -> Option<PeerNeed> {
        let need = self.book.need();
        (self.need != Some(need)).then(|| *self.need.insert(need))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.book.deadline()
    }

    pub(super) fn census(&self) -> Census {
        self.book.census()
    }

    /// The time to the next dial, while addresses wait for one.
    pub(super) fn next_dial(&self, now: Instant, census: &Census) -> Option<Duration> {
        let due = self.book.deadline().filter(|_| census.waiting > 0)?;
        Some(due.saturating_duration_since(now))
    }
}
