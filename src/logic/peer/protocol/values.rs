//! What a conversation tells and wants done, and how it looks from outside.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::base::bitfield::Bitfield;
use crate::base::disconnect::DisconnectReason;
use crate::base::geometry::{BlockAddr, Geometry, PieceIndex, PieceRange};
use crate::base::ids::InfoHash;
use crate::codec::extended::ExtendedHandshake;
use crate::codec::wire::Message;
use crate::logic::pieces::scheduler::ReceivedBlock;

/// What is settled when both handshakes are through.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "four facts, all independent")]
pub struct Terms {
    /// The torrent's sizes.
    pub geometry: Geometry,
    /// The swarm.
    pub info_hash: InfoHash,
    /// Where the peer is.
    pub ip: IpAddr,
    /// Both speak the Fast extension (BEP 6).
    pub fast: bool,
    /// Both speak the extension protocol (BEP 10).
    pub extended: bool,
    /// Where we listen, if we do.
    pub listen_port: Option<u16>,
    /// Bytes a second that all uploads share, if that is limited.
    pub max_up_bps: Option<u64>,
    /// Peers may be exchanged: not in a private torrent (BEP 27).
    pub pex: bool,
    /// What we have is hidden, and named piece by piece (BEP 16).
    pub super_seed: bool,
}

/// What the scheduler of the torrent is told.
#[derive(Debug)]
pub enum SchedulerNotice {
    /// What the peer has, all at once.
    Bitfield(Bitfield),
    /// Pieces that the peer has got.
    Have(Vec<PieceIndex>),
    /// A piece that the peer has no longer (BEP 54).
    Lost(PieceIndex),
    /// The peer answers for these pieces only (BEP 6: it chokes us, and allows them); none: for all that it has.
    Within(Option<BTreeSet<PieceIndex>>),
    /// The peer could have this many blocks outstanding, those it has included.
    Depth(u32),
    /// Blocks that came.
    Blocks(Vec<ReceivedBlock>),
    /// Blocks that this peer will not deliver, or not in time.
    Returned(Vec<BlockAddr>),
}

/// What is to be done.
#[derive(Debug)]
pub enum PeerEffect {
    /// Send this to the peer.
    Send(Message),
    /// Send this block of ours to the peer.
    Give(PieceRange, Bytes),
    /// Read these for the peer and hand them to [`super::PeerProtocol::on_read`].
    Read(Vec<PieceRange>),
    /// Tell the scheduler.
    Report(SchedulerNotice),
    /// The peer wants to be unchoked, or no longer.
    PeerInterested(bool),
    /// What the peer says of itself; none of it is proven (BEP 10).
    Introduced(ExtendedHandshake),
    /// The peer names others that we might try (BEP 11).
    PeersNamed(Vec<SocketAddr>),
    /// Super-seeding: the peer has got these.
    PeerHas(Vec<PieceIndex>),
    /// The first good-looking block came: the address is worth dialling again.
    Delivered,
    /// The peer has taken its first block.
    Served,
    /// End the connection.
    Leave(DisconnectReason),
}

/// What one peer looks like from outside (W-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the four bits of BEP 3 are independent, and so are the others")]
pub struct PeerView {
    /// We do not answer its requests.
    pub am_choking: bool,
    /// It has something we want.
    pub am_interested: bool,
    /// It does not answer our requests.
    pub peer_choking: bool,
    /// We have something it wants.
    pub peer_interested: bool,
    /// Pieces it has.
    pub pieces: u32,
    /// Blocks asked of it and not yet here.
    pub outstanding: u32,
    /// It does not choke us, is asked, and has sent nothing for a minute (P-12).
    pub snubs: bool,
    /// Bytes per second from it.
    pub down_bps: u64,
    /// Bytes per second to it.
    pub up_bps: u64,
    /// Bytes of blocks sent to it.
    pub sent: u64,
    /// The same, with a block for every request that is for less.
    pub charged: u64,
    /// It has asked for something that it was not given yet.
    pub asks: bool,
}
