//! What the peer book is told at its start, and the values it takes in and hands out.

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::disconnect::DisconnectReason;
use crate::logic::peers::address::Class;

/// The limits of one torrent's peer book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookConfig {
    /// Connections at most, dialled and accepted, and dials under way with them.
    pub max_connected: usize,
    /// Dials under way at most.
    pub max_half_open: usize,
    /// Addresses remembered at most.
    pub max_known: usize,
    /// Whether anybody may name loopback, private and link-local addresses and low ports (a closed network, a test).
    pub allow_local: bool,
    /// Our own address as the outside sees it, for the dial order of BEP 40; without it the order is diced.
    pub external: Option<SocketAddr>,
}

impl Default for BookConfig {
    /// 200 connections (what libtorrent gives a session), 50 half-open (T-18), 4,000 addresses: one reply of the
    /// largest size accepted (`MAX_PEERS_PER_REPLY`) and room for what was known before.
    fn default() -> Self {
        Self { max_connected: 200, max_half_open: 50, max_known: 4000, allow_local: false, external: None }
    }
}

/// Who named an address. It decides which addresses are accepted (T-19) and how long they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerSource {
    /// A person, on the command line: every address that can be dialled is, and none is dropped for being unreachable.
    Manual,
    /// A tracker.
    Tracker {
        /// It is itself on this machine or a private network, so it may name peers there.
        local: bool,
    },
    /// A connected peer, of others (BEP 11), which is at such a place itself: it may name the public internet, and
    /// what is as near as it is.
    Peer(Class),
    /// A peer that came by itself, of where it listens (`p`, BEP 10).
    Itself,
}

/// What became of the addresses of one [`super::PeerBook::add`]; the counts sum up to the addresses given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddOutcome {
    /// New, and to be dialled.
    pub added: usize,
    /// Known already, in whatever state.
    pub known: usize,
    /// Of a class that its source may not name, or not dialable at all (T-19).
    pub filtered: usize,
    /// Banned, or ourselves.
    pub banned: usize,
    /// Not taken: the book is full of addresses that are no worse.
    pub full: usize,
}

/// What the pool has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookEffect {
    /// Start a connection to `addr`.
    Dial {
        /// Where to.
        addr: SocketAddr,
        /// 1 for the first dial of this address in this run, then counting up.
        attempt: u32,
        /// How the last connection to it ended: with it, this is a supervised restart and this its cause.
        last: Option<DisconnectReason>,
        /// How long the address had to wait for this dial since then, by the rules of back-off.
        backoff: Duration,
        /// How long to wait for the connection: shorter in a crowd, so that black holes do not keep honest peers
        /// waiting (T-18).
        timeout: Duration,
    },
    /// End this connection; its farewell still comes through [`super::PeerBook::on_farewell`].
    Close {
        /// Which one.
        addr: SocketAddr,
        /// Why.
        farewell: DisconnectReason,
    },
    /// Our own actors panic too often: nothing is dialled for this long. To be told to a person.
    Held {
        /// From now.
        pause: Duration,
    },
}

/// Whether an accepted connection may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// It may.
    Welcome,
    /// Close it without a word, for this reason (P-28).
    Refused(Refusal),
}

/// Why an accepted connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its address is banned.
    Banned,
    /// It is being dialled, or was, from our side.
    Duplicate,
    /// Its host has its share of connections already.
    PerHost,
    /// Every place is taken by a peer that has proven itself.
    Full,
}

/// What passes between us and a connected peer, for the choice of who gives way to an address that was not tried yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "three bits of BEP 3 and two facts, all independent")]
pub struct PeerStanding {
    /// It has something that we want.
    pub wanted: bool,
    /// We have something that it wants.
    pub wants: bool,
    /// It does not answer our requests.
    pub chokes_us: bool,
    /// Data comes from it.
    pub gives: bool,
    /// Data has gone to it since the last time.
    pub takes: bool,
}

/// How much a torrent needs the addresses of more peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum PeerNeed {
    /// It has enough, connected or yet to be tried.
    #[default]
    Enough,
    /// Fewer than are worth having (W-10).
    More,
    /// The same, and nobody is connected who ever delivered.
    Anybody,
    /// The same, and no peer is connected, none is being dialled and none is left to try.
    Alone,
}

impl PeerNeed {
    /// Peers are wanted.
    pub const fn is_short(self) -> bool {
        !matches!(self, Self::Enough)
    }
}

/// The book in numbers, for `why`, the metrics and the progress line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Addresses that were named, are not banned, and are still remembered (the forgotten and dropped included).
    pub known: usize,
    /// Of them, dialled at least once.
    pub tried: usize,
    /// Of those, the ones that ever accepted a connection: "12 of 200 reachable".
    pub reached: usize,
    /// Connections: those we dialled and the accepted ones.
    pub connected: usize,
    /// Of them, accepted ones.
    pub inbound: usize,
    /// Dials under way.
    pub half_open: usize,
    /// To be dialled, now or after their back-off.
    pub waiting: usize,
    /// Dropped as unreachable, or forgotten; not dialled again unless named again.
    pub resting: usize,
    /// Banned addresses and hosts.
    pub banned: usize,
}
