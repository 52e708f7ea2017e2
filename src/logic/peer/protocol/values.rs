//! The inputs, effects and views of the protocol with one peer.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::base::bitfield::Bitfield;
use crate::base::disconnect::DisconnectReason;
use crate::base::geometry::{BlockAddr, Geometry, PieceIndex, PieceRange};
use crate::base::ids::InfoHash;
use crate::codec::extended::ExtendedHandshake;
use crate::codec::wire::Message;
use crate::logic::peer::received_block::ReceivedBlock;

/// What both handshakes settled.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "four facts, all independent")]
pub struct Terms {
    /// The sizes of the torrent.
    pub geometry: Geometry,
    /// The info-hash of the swarm.
    pub info_hash: InfoHash,
    /// The IP address of the peer.
    pub ip: IpAddr,
    /// Whether both sides support the Fast extension (BEP 6).
    pub fast: bool,
    /// Whether both sides support the extension protocol (BEP 10).
    pub extended: bool,
    /// The port on which we listen, if we do.
    pub listen_port: Option<u16>,
    /// The limit of all uploads together in bytes a second, if there is one.
    pub max_up_bps: Option<u64>,
    /// Whether peers may be exchanged: not in a private torrent (BEP 27).
    pub pex: bool,
    /// Whether we super-seed: what we have is hidden and announced piece by piece (BEP 16).
    pub super_seed: bool,
}

/// A report for the torrent's scheduler.
#[derive(Debug)]
pub enum SchedulerNotice {
    /// All pieces that the peer has.
    Bitfield(Bitfield),
    /// Pieces that the peer has completed.
    Have(Vec<PieceIndex>),
    /// A piece that the peer no longer has (BEP 54).
    Lost(PieceIndex),
    /// The peer answers requests for these pieces only, since it chokes us and allows them (BEP 6). `None`: for all
    /// that it has.
    Within(Option<BTreeSet<PieceIndex>>),
    /// The number of blocks that may be outstanding at the peer, including those that are.
    Depth(u32),
    /// Received blocks.
    Blocks(Vec<ReceivedBlock>),
    /// Blocks that this peer will not deliver, or not in time.
    Returned(Vec<BlockAddr>),
}

/// What the connection's actor must do.
#[derive(Debug)]
pub enum PeerEffect {
    /// Send this message to the peer.
    Send(Message),
    /// Send this block to the peer.
    Give(PieceRange, Bytes),
    /// Read these ranges from the disk and pass them to [`super::PeerProtocol::on_read`].
    Read(Vec<PieceRange>),
    /// Send this report to the scheduler.
    Report(SchedulerNotice),
    /// Tell the choker whether the peer is interested in us.
    PeerInterested(bool),
    /// The peer's extended handshake; nothing of it is proven (BEP 10).
    Introduced(ExtendedHandshake),
    /// The peer named these addresses of other peers (BEP 11).
    PeersNamed(Vec<SocketAddr>),
    /// Super-seeding: the peer has completed these pieces.
    PeerHas(Vec<PieceIndex>),
    /// The first requested block arrived: the address is worth another dial.
    Delivered,
    /// The peer has received its first block.
    Served,
    /// Close the connection for this reason.
    Leave(DisconnectReason),
}

/// The state of one connection for reports and metrics (W-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the four bits of BEP 3 are independent, and so are the others")]
pub struct PeerView {
    /// Whether we choke the peer.
    pub am_choking: bool,
    /// Whether the peer has a piece that we want.
    pub am_interested: bool,
    /// Whether the peer chokes us.
    pub peer_choking: bool,
    /// Whether the peer wants a piece that we have.
    pub peer_interested: bool,
    /// The number of pieces that the peer has.
    pub pieces: u32,
    /// Blocks requested from the peer and not received yet.
    pub outstanding: u32,
    /// Whether the peer is unchoked and asked, and has sent no block for a minute (P-12).
    pub snubs: bool,
    /// Bytes a second from the peer.
    pub down_bps: u64,
    /// Bytes a second to the peer.
    pub up_bps: u64,
    /// Bytes of blocks sent to the peer.
    pub sent: u64,
    /// Like `sent`, with the bytes of a whole block for every smaller request.
    pub charged: u64,
    /// Whether the peer has requests that we have not answered yet.
    pub asks: bool,
}
