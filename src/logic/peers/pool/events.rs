//! What connections tell the pool of their peers, and which of its machines hears what: the choker, the peer book, peer
//! exchange, the super-seed.

use std::time::Instant;

use super::PoolMachine;
use super::values::{PeerEvent, PoolEffect, PoolNote};
use crate::base::ids::{PeerId, PeerKey};
use crate::codec::extended::{ExtendedHandshake, HANDSHAKE};
use crate::logic::peer::protocol::PeerView;
use crate::logic::peers::address::Class;
use crate::logic::peers::choke::UploadStanding;
use crate::logic::peers::peer_book::PeerSource;

impl PoolMachine {
    /// A connection tells something of its peer. Events of connections that have ended mean nothing.
    pub fn on_event(&mut self, now: Instant, peer: PeerKey, event: &PeerEvent) {
        let Some(connection) = self.connections.get(peer) else { return };
        let addr = connection.addr();
        if !matches!(event, PeerEvent::View(view) if view == connection.view()) {
            self.outbox.report_change();
        }
        match event {
            PeerEvent::Connected => self.addresses.change().on_connected(now, addr),
            PeerEvent::Handshaken(id) => return self.on_handshake(now, peer, *id),
            PeerEvent::Introduced(theirs) => self.on_introduced(now, peer, theirs),
            PeerEvent::Named(addrs) => {
                self.take_addresses(now, Some(addr), addrs, PeerSource::Peer(Class::of_ip(addr.ip())));
            }
            PeerEvent::Delivered => {
                connection.on_delivered();
                self.addresses.change().on_productive(addr);
            }
            PeerEvent::Interested(interested) => self.choker.on_interest(now, peer, *interested),
            PeerEvent::Served => {
                self.addresses.on_served(now, addr);
                self.choker.on_served(now, peer);
            }
            PeerEvent::View(view) => self.on_view(now, peer, *view),
            PeerEvent::Ready => {
                self.super_seed.iter_mut().for_each(|super_seed| super_seed.on_joined(now, peer));
            }
            PeerEvent::Has(pieces) => {
                self.super_seed.iter_mut().for_each(|super_seed| super_seed.on_has(now, peer, pieces));
            }
            PeerEvent::Left(reason) => connection.on_leaving(*reason),
        }
        self.settle(now);
    }

    /// A peer has sent its handshake. It has to leave if it is ourselves, or is connected already.
    fn on_handshake(&mut self, now: Instant, peer: PeerKey, id: PeerId) {
        let Some(connection) = self.connections.get(peer) else { return };
        let (addr, client) = (connection.addr(), connection.on_handshake(id));
        self.outbox.log(PoolNote::Handshaken { addr, client });
        let verdict = self.addresses.change().on_handshake(now, addr, id, self.terms.our_id);
        self.settle(now);
        if let Err(reason) = verdict {
            self.outbox.push(PoolEffect::Leave(peer, reason));
        }
    }

    /// What a peer says of itself: a better name for the table, a vote on our own address, the place where it can be
    /// dialled, and whether it understands peer exchange.
    fn on_introduced(&mut self, now: Instant, peer: PeerKey, theirs: &ExtendedHandshake) {
        let Some(connection) = self.connections.get(peer) else { return };
        let addr = connection.addr();
        // Many of those that came by themselves could be one: only peers that we dialled have a vote.
        let seen = theirs.your_ip.filter(|_| connection.is_chosen());
        if let Some(client) = connection.on_introduced(theirs) {
            self.outbox.log(PoolNote::Introduced { addr, client });
        }
        let pex_addr = connection.pex_addr();
        if let Some(ours) = seen.and_then(|seen| self.addresses.on_vote(addr.ip(), seen, self.terms.listen_port)) {
            self.outbox.log(PoolNote::ExternalIp(ours));
        }
        match theirs.numbers.pex {
            Some(HANDSHAKE) => self.pex.on_left(peer),
            Some(_) if self.terms.pex => self.pex.on_listener(now, peer, pex_addr),
            _ => {}
        }
        let book = self.addresses.change();
        if let Some(port) = theirs.port {
            book.on_listens(addr, port);
        }
    }

    /// How a connection stands: the choker and the book judge the peer by it.
    fn on_view(&mut self, now: Instant, peer: PeerKey, view: PeerView) {
        let Some(connection) = self.connections.get(peer) else { return };
        let (addr, before) = (connection.addr(), connection.on_view(view));
        let PeerView { down_bps, up_bps, charged, asks, snubs, .. } = view;
        self.choker.on_standing(now, peer, UploadStanding { down_bps, up_bps, taken: charged, asks, snubs });
        self.addresses.on_view(now, addr, &view, view.sent > before.sent);
    }
}
