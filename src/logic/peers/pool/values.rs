//! What the pool is given at its start, what it takes in, and what it hands out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::base::disconnect::DisconnectReason;
use crate::base::geometry::{Geometry, PieceIndex};
use crate::base::ids::{PeerId, PeerKey};
use crate::codec::extended::{ExtendedHandshake, Pex};
use crate::logic::peer::protocol::PeerView;
use crate::logic::peers::peer_book::{AddOutcome, BookConfig, Census, PeerNeed, PeerSource, Refusal};

/// What does not change while a pool lives.
#[derive(Debug, Clone, Copy)]
pub struct PoolTerms {
    /// The limits of the peer book.
    pub book: BookConfig,
    /// The torrent's sizes.
    pub geometry: Geometry,
    /// Our peer id.
    pub our_id: PeerId,
    /// The port on which we listen, if we do.
    pub listen_port: Option<u16>,
    /// Peers may be exchanged: not in a private torrent (BEP 27).
    pub pex: bool,
    /// What we have is hidden and named piece by piece (BEP 16).
    pub super_seed: bool,
    /// Decides every die of the pool.
    pub seed: u64,
}

/// What one connection tells the pool. The last event of a connection is [`super::PoolMachine::on_ended`].
#[derive(Debug)]
pub enum PeerEvent {
    /// The stream is open.
    Connected,
    /// The peer has sent its handshake, with this id.
    Handshaken(PeerId),
    /// What the peer says of itself in its extended handshake; none of it is proven (BEP 10).
    Introduced(ExtendedHandshake),
    /// The peer names other peers (BEP 11).
    Named(Vec<SocketAddr>),
    /// Super-seeding: the peer takes messages; it is not known yet what it has.
    Ready,
    /// Super-seeding: the peer has got these pieces.
    Has(Vec<PieceIndex>),
    /// The first block has come from the peer.
    Delivered,
    /// The peer has taken its first block.
    Served,
    /// The peer wants to be unchoked, or no longer.
    Interested(bool),
    /// The state of the connection: sent when it is asked for, and when one of the four bits of BEP 3 has changed.
    View(PeerView),
    /// The connection is about to end, for this reason.
    Left(DisconnectReason),
}

/// What the actor that drives the pool has to do.
#[derive(Debug)]
pub enum PoolEffect {
    /// Start a connection that dials this address.
    Dial {
        /// The key of the new connection.
        peer: PeerKey,
        /// The address to dial.
        addr: SocketAddr,
        /// How long to wait for the stream.
        timeout: Duration,
        /// The supervised restart that this dial is; none: the address is dialled for the first time.
        redial: Option<Redial>,
    },
    /// End this connection for this reason.
    Leave(PeerKey, DisconnectReason),
    /// Choke this peer.
    Choke(PeerKey),
    /// Unchoke this peer.
    Unchoke(PeerKey),
    /// Tell this peer which other peers we know (BEP 11).
    SharePeers(PeerKey, Pex),
    /// Name this piece to this peer: it may ask for it from now on (BEP 16).
    NamePiece(PeerKey, PieceIndex),
    /// Have every connection introduce itself to the scheduler again.
    IntroduceAll,
    /// Ask every connection for a [`PeerEvent::View`].
    RequestViews,
    /// Tell the scheduler that this connection is gone.
    ReportPeerLeft(PeerKey),
    /// Tell the torrent how much more peers are needed.
    ReportNeed(PeerNeed),
    /// Tell the torrent that a survey would find something new.
    ReportChange,
    /// Write this into the log.
    Log(PoolNote),
    /// End every connection.
    StopConnections,
    /// Every connection has ended after [`super::PoolMachine::on_goodbye`]: the pool ends.
    Finish,
}

/// A dial of an address to which a connection has ended before: a supervised restart of that connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redial {
    /// How the last connection to the address ended.
    pub cause: DisconnectReason,
    /// How many restarts of the connection there were, this one included.
    pub restarts: u32,
    /// How long the address had to wait for this dial.
    pub backoff: Duration,
    /// The network caused the end; else our own code did.
    pub is_expected: bool,
}

/// What the log is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolNote {
    /// Addresses were named.
    Named {
        /// The peer that named them, if a peer did.
        by: Option<SocketAddr>,
        /// The kind of source that named them.
        source: PeerSource,
        /// What became of the addresses.
        outcome: AddOutcome,
    },
    /// A peer that came by itself was not taken in.
    Refused {
        /// The remote address.
        addr: SocketAddr,
        /// Why it was refused.
        why: Refusal,
    },
    /// A peer has sent its handshake.
    Handshaken {
        /// The remote address.
        addr: SocketAddr,
        /// The client, by its id; fit to be shown.
        client: Arc<str>,
    },
    /// A peer has named its client in its extended handshake.
    Introduced {
        /// The remote address.
        addr: SocketAddr,
        /// The client, by its id and by what it says; fit to be shown.
        client: Arc<str>,
    },
    /// A connection has ended.
    Left {
        /// The remote address.
        addr: SocketAddr,
        /// Why it has ended.
        reason: DisconnectReason,
        /// At least one block came through it.
        delivered: bool,
    },
    /// Peers agree that this is our address as the outside sees it.
    ExternalIp(IpAddr),
    /// Connections panic too often: no address is dialled for this long.
    DialsHeld(Duration),
}

/// One line of the peer table.
#[derive(Debug, Clone)]
pub struct PeerRow {
    /// The remote address.
    pub addr: SocketAddr,
    /// What it says it is (BEP 10, BEP 20), fit to be shown.
    pub client: Arc<str>,
    /// The state of the connection.
    pub view: PeerView,
}

/// What the pool knows, with views of the connections about a second old.
#[derive(Debug, Clone, Default)]
pub struct PoolSurvey {
    /// The peer book in numbers.
    pub census: Census,
    /// Connections whose handshake is through.
    pub peers: Arc<Vec<PeerRow>>,
    /// Bytes of blocks sent in this run, over all connections.
    pub sent: u64,
    /// The time to the next dial, if one is planned.
    pub next_dial: Option<Duration>,
}
