//! The configuration of the peer book, its inputs and its effects.

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::disconnect::DisconnectReason;
use crate::logic::peers::address::Class;

/// The limits of one torrent's peer book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookConfig {
    /// The most connections, dialled and accepted, including dials under way.
    pub max_connected: usize,
    /// The most dials under way.
    pub max_half_open: usize,
    /// The most addresses that are remembered.
    pub max_known: usize,
    /// Whether every source may name loopback, private and link-local addresses and low ports (a closed network, a
    /// test).
    pub allow_local: bool,
    /// Our external address, for the dial order of BEP 40. Without it the order is random.
    pub external: Option<SocketAddr>,
}

impl Default for BookConfig {
    /// 200 connections (what libtorrent gives a session), 50 half-open (T-18), 4,000 addresses: one reply of the
    /// largest size accepted (`MAX_PEERS_PER_REPLY`) and room for what was known before.
    fn default() -> Self {
        Self { max_connected: 200, max_half_open: 50, max_known: 4000, allow_local: false, external: None }
    }
}

/// The source that named an address. It decides whether the address is accepted (T-19) and how long it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerSource {
    /// The user, on the command line: every address that can be dialled is accepted, and none is dropped as
    /// unreachable.
    Manual,
    /// A tracker.
    Tracker {
        /// Whether it is on this machine or a private network itself, so that it may name peers there.
        local: bool,
    },
    /// A connected peer, naming others (BEP 11). Its own class of network is given: it may name addresses of that
    /// class and public ones.
    Peer(Class),
    /// An accepted peer, naming the address at which it listens (`p`, BEP 10).
    Itself,
}

/// What became of the addresses of one [`super::PeerBook::add`]. The counts sum up to the number of addresses given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddOutcome {
    /// New, and queued to be dialled.
    pub added: usize,
    /// Known already, in any state.
    pub known: usize,
    /// Not dialable at all, or of a class that the source may not name (T-19).
    pub filtered: usize,
    /// Banned, or ourselves.
    pub banned: usize,
    /// Refused, because the book is full of addresses that are no worse.
    pub full: usize,
}

/// What the pool must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookEffect {
    /// Start a connection to `addr`.
    Dial {
        /// The address to dial.
        addr: SocketAddr,
        /// 1 for the first dial of this address in this run, then counting up.
        attempt: u32,
        /// How the last connection to it ended. If there was one, this dial is a supervised restart and this is its
        /// cause.
        last: Option<DisconnectReason>,
        /// The back-off that the address has waited for this dial.
        backoff: Duration,
        /// The time-out of the connection attempt. Shorter when many addresses wait, so that addresses that never
        /// answer do not keep honest peers waiting (T-18).
        timeout: Duration,
    },
    /// Close this connection. Its end is still reported through [`super::PeerBook::on_farewell`].
    Close {
        /// The address of the connection.
        addr: SocketAddr,
        /// The reason, for the peer's actor and the logs.
        farewell: DisconnectReason,
    },
    /// Too many of our own actors panic: nothing is dialled for this long. Tell the user.
    Held {
        /// The length of the pause, from now.
        pause: Duration,
    },
}

/// Whether an accepted connection may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// The connection may stay.
    Welcome,
    /// Close it without a message, for this reason (P-28).
    Refused(Refusal),
}

/// Why an accepted connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its address is banned.
    Banned,
    /// The address is already being dialled or connected.
    Duplicate,
    /// Its host already has its share of connections.
    PerHost,
    /// Every place is taken by a peer that has proven itself.
    Full,
}

/// The traffic with a connected peer. It decides which peer gives way to an untried address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "three bits of BEP 3 and two facts, all independent")]
pub struct PeerStanding {
    /// Whether it has a piece that we want.
    pub wanted: bool,
    /// Whether we have a piece that it wants.
    pub wants: bool,
    /// Whether it chokes us.
    pub chokes_us: bool,
    /// Whether it has uploaded to us since the last report.
    pub gives: bool,
    /// Whether it has downloaded from us since the last report.
    pub takes: bool,
}

/// How much a torrent needs the addresses of more peers. Each level includes the need of the levels above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum PeerNeed {
    /// Enough peers are connected or untried.
    #[default]
    Enough,
    /// Fewer than enough (W-10).
    More,
    /// Fewer than enough, and no connected peer has ever delivered.
    Anybody,
    /// Fewer than enough, and no peer is connected, being dialled or left to try.
    Alone,
}

impl PeerNeed {
    /// Whether more peers are needed.
    pub const fn is_short(self) -> bool {
        !matches!(self, Self::Enough)
    }
}

/// Counts of the peer book, for `why`, the metrics and the progress line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Addresses that are remembered and not banned, the forgotten and dropped ones included.
    pub known: usize,
    /// Known addresses that were dialled at least once.
    pub tried: usize,
    /// Known addresses that ever accepted a connection: "12 of 200 reachable".
    pub reached: usize,
    /// Open connections, dialled and accepted.
    pub connected: usize,
    /// Accepted connections.
    pub inbound: usize,
    /// Dials under way.
    pub half_open: usize,
    /// Addresses that will be dialled, now or after their back-off.
    pub waiting: usize,
    /// Addresses that were dropped as unreachable or forgotten. They are dialled only if they are named again.
    pub resting: usize,
    /// Banned addresses and hosts.
    pub banned: usize,
}
