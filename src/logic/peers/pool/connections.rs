//! The connections of a pool: what is known of each one from its start to its end.
//!
//! Knows no rule: not the book, not the choker.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::values::PeerRow;
use crate::base::disconnect::DisconnectReason;
use crate::base::ids::{PeerId, PeerKey};
use crate::codec::extended::{ExtendedHandshake, flag};
use crate::logic::peer::client_name::{client_name, told_name};
use crate::logic::peer::protocol::PeerView;

/// All connections, by their keys. A key is never used twice before all have been used.
#[derive(Debug, Default)]
pub(super) struct PoolConnections {
    /// Boxed: a map of large values that grows at its end is half empty.
    open: BTreeMap<PeerKey, Box<PoolConnection>>,
    next_key: u32,
    /// Bytes of blocks sent by connections that have ended.
    sent_before: u64,
}

/// One connection.
#[derive(Debug)]
pub(super) struct PoolConnection {
    addr: SocketAddr,
    origin: Origin,
    /// Where others can dial the peer: where we did, or where it says that it listens.
    listens: Option<SocketAddr>,
    /// Known from the handshake on.
    id: Option<PeerId>,
    /// What the peer is, as far as it has said so; fit to be shown.
    client: Arc<str>,
    view: PeerView,
    delivered: bool,
    /// Why it is about to end; a connection that ends without a reason has panicked.
    reason: Option<DisconnectReason>,
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// We dialled the peer.
    Dialled,
    /// The peer came by itself.
    Accepted,
}

/// What is left of a connection that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndedConnection {
    pub(super) addr: SocketAddr,
    pub(super) reason: DisconnectReason,
    /// At least one block came through it.
    pub(super) delivered: bool,
}

impl PoolConnections {
    /// A connection begins.
    pub(super) fn open(&mut self, addr: SocketAddr, origin: Origin) -> PeerKey {
        let key = PeerKey(self.next_key);
        self.next_key = self.next_key.wrapping_add(1);
        let connection = PoolConnection {
            addr,
            origin,
            listens: (origin == Origin::Dialled).then_some(addr),
            id: None,
            client: Arc::default(),
            view: PeerView::default(),
            delivered: false,
            reason: None,
        };
        self.open.insert(key, Box::new(connection));
        key
    }

    /// A connection has ended. None: it is not known.
    pub(super) fn close(&mut self, peer: PeerKey) -> Option<EndedConnection> {
        let PoolConnection { addr, view, delivered, reason, .. } = *self.open.remove(&peer)?;
        self.sent_before += view.sent;
        Some(EndedConnection { addr, reason: reason.unwrap_or(DisconnectReason::Panicked), delivered })
    }

    /// Every connection has ended; gives their keys.
    pub(super) fn close_all(&mut self) -> impl Iterator<Item = PeerKey> + use<> {
        self.sent_before = self.sent();
        std::mem::take(&mut self.open).into_keys()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn get(&mut self, peer: PeerKey) -> Option<&mut PoolConnection> {
        self.open.get_mut(&peer).map(|connection| &mut **connection)
    }

    /// The connections to this address.
    pub(super) fn to(&self, addr: SocketAddr) -> impl Iterator<Item = PeerKey> {
        self.open.iter().filter(move |(_, connection)| connection.addr == addr).map(|(key, _)| *key)
    }

    /// Bytes of blocks sent in this run.
    pub(super) fn sent(&self) -> u64 {
        self.sent_before + self.open.values().map(|connection| connection.view.sent).sum::<u64>()
    }

    /// The peer table: all whose handshake is through.
    pub(super) fn rows(&self) -> Vec<PeerRow> {
        let mut rows = Vec::with_capacity(self.open.len());
        let shaken = self.open.values().filter(|connection| connection.id.is_some());
        rows.extend(shaken.map(|connection| connection.row()));
        rows
    }

    /// What peers may be told of each other: the addresses at which others can dial them, with the flags of BEP 11. A
    /// peer with `pieces` pieces is a seed.
    pub(super) fn dialable(&self, pieces: u32) -> BTreeMap<SocketAddr, u8> {
        let shaken = self.open.values().filter(|connection| connection.id.is_some());
        shaken.filter_map(|connection| Some((connection.listens?, connection.flags(pieces)))).collect()
    }
}

impl PoolConnection {
    pub(super) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where others can dial the peer, else where it is connected from.
    pub(super) fn pex_addr(&self) -> SocketAddr {
        self.listens.unwrap_or(self.addr)
    }

    /// We dialled the peer: the address is one that we chose.
    pub(super) fn is_chosen(&self) -> bool {
        self.origin == Origin::Dialled
    }

    pub(super) const fn view(&self) -> &PeerView {
        &self.view
    }

    /// The peer has sent its handshake; gives the name of its client.
    pub(super) fn on_handshake(&mut self, id: PeerId) -> Arc<str> {
        self.id = Some(id);
        self.client = client_name(&id).into();
        Arc::clone(&self.client)
    }

    /// The peer has sent its extended handshake; gives the name of its client, if it says one.
    pub(super) fn on_introduced(&mut self, theirs: &ExtendedHandshake) -> Option<Arc<str>> {
        if let Some(port) = theirs.port {
            self.listens.get_or_insert(SocketAddr::new(self.addr.ip(), port));
        }
        let (id, said) = (self.id?, theirs.client.as_ref()?);
        self.client = told_name(&id, said).into();
        Some(Arc::clone(&self.client))
    }

    /// Gives the view before.
    pub(super) const fn on_view(&mut self, view: PeerView) -> PeerView {
        std::mem::replace(&mut self.view, view)
    }

    pub(super) const fn on_delivered(&mut self) {
        self.delivered = true;
    }

    pub(super) const fn on_leaving(&mut self, reason: DisconnectReason) {
        self.reason = Some(reason);
    }

    fn row(&self) -> PeerRow {
        PeerRow { addr: self.addr, client: Arc::clone(&self.client), view: self.view }
    }

    fn flags(&self, pieces: u32) -> u8 {
        let reachable = if self.is_chosen() { flag::REACHABLE } else { 0 };
        reachable | if self.view.pieces == pieces { flag::SEED } else { 0 }
    }
}
