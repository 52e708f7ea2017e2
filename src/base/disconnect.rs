//! Why a connection to a peer ended, and what that means for its address (W-01: one place decides it).

use std::fmt;
use std::io;

/// The reason for which a connection to a peer ended. Every way to end is listed; logs and counters use its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DisconnectReason {
    /// No program listens at the address (ECONNREFUSED).
    Refused,
    /// There is no route, or the network is down.
    Unreachable,
    /// The connect was not answered within [`super::limits::CONNECT_TIMEOUT`] (P-01).
    ConnectTimeout,
    /// The handshake was not complete within [`super::limits::HANDSHAKE_TIMEOUT`] (P-02).
    HandshakeTimeout,
    /// The peer does not speak the BitTorrent protocol, or asks for another torrent (P-04).
    BadHandshake,
    /// The peer is this client itself (T-17).
    Ourselves,
    /// The same peer is already connected (P-05).
    Duplicate,
    /// The connection was reset by the peer or by the network (W-02).
    Reset,
    /// The peer closed the connection cleanly.
    Closed,
    /// The peer sent no byte for [`super::limits::SILENCE_TIMEOUT`] (P-25).
    Silent,
    /// The peer's side accepted none of our bytes for a minute (P-21).
    WriteStalled,
    /// The peer sent a message that the protocol forbids.
    ProtocolViolation,
    /// The peer was proven to have sent bad data (P-14).
    BadData,
    /// Both sides are seeds, so neither needs the other.
    BothSeeds,
    /// The peer had connected to us and had the least claim to its slot, so a newer inbound peer got the slot (P-28).
    Evicted,
    /// The peer was of no use for a long time, so its slot went to an untried address or to a new inbound peer.
    GivesWay,
    /// This client is stopping.
    Shutdown,
    /// Our own actor panicked; the peer did nothing wrong.
    Panicked,
    /// The socket reported any other error.
    SocketError,
}

/// What the peer book does with the address after the connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedialVerdict {
    /// Do not dial the address again in this run; nothing is held against the peer.
    Forget,
    /// Dial the address again after a back-off.
    Retry,
    /// Never connect to the address again.
    Ban,
}

impl DisconnectReason {
    /// The name of the reason in logs, counters and reports: `reset`, `refused`, `connect-timeout`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::ConnectTimeout => "connect-timeout",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::BadHandshake => "bad-handshake",
            Self::Ourselves => "ourselves",
            Self::Duplicate => "duplicate",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::WriteStalled => "write-stalled",
            Self::ProtocolViolation => "protocol-violation",
            Self::BadData => "bad-data",
            Self::BothSeeds => "both-seeds",
            Self::Evicted => "evicted",
            Self::GivesWay => "gives-way",
            Self::Shutdown => "shutdown",
            Self::Panicked => "panicked",
            Self::SocketError => "socket-error",
        }
    }

    /// What the peer book does with the address.
    pub const fn verdict(self) -> RedialVerdict {
        match self {
            Self::Ourselves | Self::BadData => RedialVerdict::Ban,
            Self::BadHandshake | Self::Duplicate | Self::BothSeeds | Self::Shutdown => RedialVerdict::Forget,
            Self::Refused
            | Self::Unreachable
            | Self::ConnectTimeout
            | Self::HandshakeTimeout
            | Self::Reset
            | Self::Closed
            | Self::Silent
            | Self::WriteStalled
            | Self::ProtocolViolation
            | Self::Evicted
            | Self::GivesWay
            | Self::Panicked
            | Self::SocketError => RedialVerdict::Retry,
        }
    }

    /// The reason that an error of the socket stands for.
    pub fn from_io(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Self::Reset,
            Kind::UnexpectedEof => Self::Closed,
            Kind::TimedOut => Self::ConnectTimeout,
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown | Kind::AddrNotAvailable => {
                Self::Unreachable
            }
            _ => Self::SocketError,
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
