//! One address of the peer book: what is remembered of it, and the rules of its back-off.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::config::PeerSource;
use super::window::Window;
use crate::base::disconnect::DisconnectReason;
use crate::base::ids::PeerId;
use crate::logic::peers::address::Class;

/// 1 s: an address that delivered is worth another dial soon (P-26). After a reset it is counted from the last dial,
/// and otherwise from the end of the connection: a broken line is back within a few round trips, and no address is
/// dialled more often than this.
pub(super) const PRODUCTIVE_BACKOFF: Duration = Duration::from_secs(1);

/// 60 s for each failure in a row (P-01).
const UNPRODUCTIVE_BACKOFF: Duration = Duration::from_secs(60);

/// Three failures in a row drop an address that never delivered (P-01).
const MAX_FAILS: u32 = 3;

/// 10 min: an address that once delivered is never dropped. Its back-off grows to this while other peers deliver.
const PROVEN_CAP: Duration = Duration::from_secs(600);

/// 15 s: while no peer delivers, addresses that once delivered are tried this often, so that a healed network or a
/// returned seed is in use within half a minute (N-01, P-32): 15 s of back-off and jitter, 10 s of connect and
/// handshake.
pub(super) const LONELY_CAP: Duration = Duration::from_secs(15);

/// 60 s: the longest back-off of an address given with `--peer`, which is never dropped.
const MANUAL_CAP: Duration = Duration::from_secs(60);

/// 2 s before a peer of the user is tried again, doubling up to [`MANUAL_CAP`]: a seed may start a moment after us.
const MANUAL_BASE: Duration = Duration::from_secs(2);

/// What the book remembers of one address.
#[derive(Debug)]
pub(super) struct BookEntry {
    /// The source that named it.
    pub(super) source: PeerSource,
    pub(super) state: AddressState,
    /// Among equal candidates the higher rank is dialled first (BEP 40, or random).
    pub(super) rank: u32,
    /// The number of dials in this run.
    pub(super) attempts: u32,
    /// When it was last dialled.
    pub(super) dialled: Option<Instant>,
    /// Unproductive attempts in a row.
    pub(super) fails: u32,
    /// How its last connection or dial ended.
    pub(super) last: Option<DisconnectReason>,
    /// The last back-off that it was given.
    pub(super) backoff: Duration,
    /// Whether it ever delivered a good block.
    pub(super) proven: bool,
    /// Whether it ever accepted a connection.
    pub(super) reached: bool,
    /// Its last unproductive dials.
    pub(super) window: Window,
    /// The peer id that was last seen there.
    pub(super) id: Option<PeerId>,
}

/// What the book does with an address at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressState {
    /// The address waits for its back-off, until this time.
    Waiting(Instant),
    /// The address is dialled as soon as there is a slot, in the order of these times.
    Ready(Instant),
    /// The address is being dialled.
    Dialling,
    /// The address is connected.
    Connected,
    /// Three failures: the address is dialled only when it is named again and its window is open.
    Dropped,
    /// The address is not dialled again in this run ([`RedialVerdict::Forget`](crate::base::disconnect::RedialVerdict::Forget)).
    Forgotten,
}

impl BookEntry {
    /// A new address, not queued yet.
    pub(super) fn new(source: PeerSource, rank: u32) -> Self {
        Self {
            source,
            state: AddressState::Forgotten,
            rank,
            attempts: 0,
            dialled: None,
            fails: 0,
            last: None,
            backoff: Duration::ZERO,
            proven: false,
            reached: false,
            window: Window::default(),
            id: None,
        }
    }

    /// Whether a dial or a connection is under way.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, AddressState::Dialling | AddressState::Connected)
    }

    /// Whether the limits on unknown addresses do not apply: the user named it, or it has delivered.
    pub(super) fn is_trusted(&self) -> bool {
        self.proven || self.source == PeerSource::Manual
    }

    /// The head start that better candidates have over this address, although they are due later.
    pub(super) fn handicap(&self) -> Duration {
        let secs = match (self.proven, self.source, self.attempts) {
            (true, ..) => 0,
            (_, PeerSource::Manual, _) => 10,
            (_, _, 0) => 20,
            _ => 60,
        };
        Duration::from_secs(secs)
    }

    /// The back-off after one more failure, which is counted in `fails` already. `None`: drop the address. `lonely`:
    /// no connected peer has ever delivered.
    pub(super) fn backoff_after_failure(&self, lonely: bool) -> Option<Duration> {
        let doubling = |base: Duration| base.saturating_mul(1 << (self.fails - 1).min(16));
        let steady = UNPRODUCTIVE_BACKOFF.saturating_mul(self.fails);
        match (self.proven, self.source) {
            (true, _) if lonely => Some(doubling(PRODUCTIVE_BACKOFF).min(LONELY_CAP)),
            (_, PeerSource::Manual) => Some(doubling(MANUAL_BASE).min(MANUAL_CAP)),
            (true, _) => Some(steady.min(PROVEN_CAP)),
            _ => (self.fails < MAX_FAILS).then_some(steady),
        }
    }

    /// How dispensable the address is, the most dispensable first. `None` if it must be kept: it is open, proven,
    /// manual or untried, or was dropped so lately that its dials still count (I7).
    pub(super) fn worth(&self, now: Instant) -> Option<(u8, u32)> {
        let kind = match self.state {
            AddressState::Dropped if self.window.opens_at(now).is_none() => 0,
            AddressState::Forgotten => 1,
            AddressState::Waiting(_) | AddressState::Ready(_) if self.attempts > 0 => 2,
            _ => return None,
        };
        (!self.is_trusted()).then_some((kind, u32::MAX - self.fails))
    }
}

/// Whether a source may name this address (T-19). A public tracker may name public addresses with ports that no
/// well-known service uses. A tracker on a local network may name its neighbours too. The user may name whatever can
/// be dialled. A peer may name public addresses, addresses of its own class of network, and itself.
pub(super) fn may_name(source: PeerSource, addr: SocketAddr, allow_local: bool) -> bool {
    let trusted = allow_local || matches!(source, PeerSource::Manual | PeerSource::Tracker { local: true });
    match (Class::of(addr), source) {
        (Class::Nowhere, _) => false,
        _ if trusted => true,
        (Class::Global, _) => addr.port() >= FIRST_FREE_PORT,
        (local, PeerSource::Peer(teller)) => local == teller && addr.port() >= FIRST_FREE_PORT,
        (_, PeerSource::Itself) => true,
        (Class::Loopback | Class::Private | Class::LinkLocal, _) => false,
    }
}

/// 1024: the ports below belong to well-known services, which are not peers but make good victims (T-19).
const FIRST_FREE_PORT: u16 = 1024;
