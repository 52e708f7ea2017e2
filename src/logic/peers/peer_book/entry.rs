//! One address of the peer book: what is remembered of it, and the rules of its back-off.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::config::PeerSource;
use super::window::Window;
use crate::base::disconnect::DisconnectReason;
use crate::base::ids::PeerId;
use crate::logic::peers::address::Class;

/// 1 s: an address that delivered is worth another dial at once (P-26). After a reset it is counted from the last dial, after
/// all else from the end: a line that breaks is back within a few round trips, and nobody is dialled more often.
pub(super) const PRODUCTIVE_BACKOFF: Duration = Duration::from_secs(1);

/// 60 s for each failure in a row (P-01).
const UNPRODUCTIVE_BACKOFF: Duration = Duration::from_secs(60);

/// Three failures in a row drop an address that never delivered (P-01).
const MAX_FAILS: u32 = 3;

/// 10 min: an address that once delivered is not dropped; its back-off stops growing here while others deliver.
const PROVEN_CAP: Duration = Duration::from_secs(600);

/// 15 s: while nobody delivers, those who did are tried this often, so that a healed network or a returned seed is in
/// use within half a minute (N-01, P-32): 15 s of back-off and jitter, 10 s of connect and handshake.
pub(super) const LONELY_CAP: Duration = Duration::from_secs(15);

/// 60 s: what the brief of `--peer` asks: never dropped, back-off only.
const MANUAL_CAP: Duration = Duration::from_secs(60);

/// 2 s before a person's peer is tried again, doubling up to [`MANUAL_CAP`]: a seed that starts a moment after us.
const MANUAL_BASE: Duration = Duration::from_secs(2);

/// What the book remembers of one address.
#[derive(Debug)]
pub(super) struct BookEntry {
    pub(super) source: PeerSource,
    pub(super) state: AddressState,
    /// Higher is dialled first among equals (BEP 40, or diced).
    pub(super) rank: u32,
    pub(super) attempts: u32,
    /// When it was last dialled.
    pub(super) dialled: Option<Instant>,
    /// Unproductive attempts in a row.
    pub(super) fails: u32,
    pub(super) last: Option<DisconnectReason>,
    pub(super) backoff: Duration,
    /// It delivered a good block at least once.
    pub(super) proven: bool,
    /// It accepted a connection at least once.
    pub(super) reached: bool,
    pub(super) window: Window,
    /// The id of the peer last found there.
    pub(super) id: Option<PeerId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressState {
    /// To be dialled from this time on.
    Waiting(Instant),
    /// To be dialled as soon as there is a slot; the time is its turn.
    Ready(Instant),
    Dialling,
    Connected,
    /// Three failures: comes back when it is named again and its window is open.
    Dropped,
    /// Never again in this run ([`Verdict::Forget`]).
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

    /// A dial or a connection is under way.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, AddressState::Dialling | AddressState::Connected)
    }

    /// Exempt from the limits on strangers' addresses: a person named it, or it has delivered.
    pub(super) fn is_trusted(&self) -> bool {
        self.proven || self.source == PeerSource::Manual
    }

    /// How long others go first though they are due later.
    pub(super) fn handicap(&self) -> Duration {
        let secs = match (self.proven, self.source, self.attempts) {
            (true, ..) => 0,
            (_, PeerSource::Manual, _) => 10,
            (_, _, 0) => 20,
            _ => 60,
        };
        Duration::from_secs(secs)
    }

    /// The wait after one more failure, counted in `fails`; `None` drops the address. `lonely`: nobody delivers now.
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

    /// How little is lost by forgetting it, least first; `None` for what is kept: open, proven, manual, untried, and
    /// those dropped so lately that forgetting them would forget their dials (I7).
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

/// T-19: a public tracker may name public addresses and ports nobody reserves; a tracker on a local network, its
/// neighbours too; a person, whatever can be dialled; a peer, what is as near to it, and itself.
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

/// 1024: the ports below belong to well-known services, which are no peers but make good victims (T-19).
const FIRST_FREE_PORT: u16 = 1024;
