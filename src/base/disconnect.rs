//! Why a connection to a peer ended, and what follows for its address (W-01: one place for it).

use std::fmt;
use std::io;

/// Why a peer goes. Every way a connection can end is here; the label is what logs and counters call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DisconnectReason {
    /// Nobody listens there (ECONNREFUSED).
    Refused,
    /// No route, or the network is down.
    Unreachable,
    /// No answer to the dial within [`super::limits::CONNECT_TIMEOUT`] (P-01).
    ConnectTimeout,
    /// The handshake was not whole within [`super::limits::HANDSHAKE_TIMEOUT`] (P-02).
    HandshakeTimeout,
    /// Not the BitTorrent protocol, or another torrent (P-04).
    BadHandshake,
    /// It is ourselves (T-17).
    Ourselves,
    /// The same peer is connected already (P-05).
    Duplicate,
    /// The connection was reset (W-02).
    Reset,
    /// The peer closed the connection in good order.
    Closed,
    /// Not a byte for [`super::limits::SILENCE_TIMEOUT`] (P-25).
    Silent,
    /// It would not take what we sent for a minute (P-21).
    WriteStalled,
    /// A message that the protocol forbids.
    ProtocolViolation,
    /// It was proven to have sent bad data (P-14).
    BadData,
    /// Nothing to give, nothing to take: both are seeds.
    BothSeeds,
    /// It kept its promise for too long: unchoked but never delivered (P-12).
    Evicted,
    /// Of no use for long, it gave its place to an address that was not tried yet, or to a newcomer.
    GivesWay,
    /// We are stopping.
    Shutdown,
    /// Our own actor panicked; the peer did nothing wrong.
    Panicked,
    /// Any other error of the socket.
    SocketError,
}

/// What the peer book does with the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedialVerdict {
    /// Never dial it again in this run, and say nothing bad of it.
    Forget,
    /// Dial it again after a back-off.
    Retry,
    /// Never again.
    Ban,
}

impl DisconnectReason {
    /// The cause in logs, counters and reports: `reset`, `refused`, `connect-timeout`.
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

    /// What follows for the address.
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

    /// What an error of the socket means.
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
