//! Floor 3: how bytes leave this machine.
//!
//! One small object-safe trait, handed in by `app`: the same build runs on tokio's sockets, in a simulator and over any
//! later transport, and binding to an interface can fail closed because there is no other way out. Knows floors 0 to 2
//! and tokio. Does not know actors or storage.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub mod dial;
pub mod http;
pub mod link;
pub mod listen;
pub mod scrape;
pub mod sockets;
pub mod staging;
#[cfg(test)]
pub(crate) mod testing;
pub mod throttle;
pub mod tracker;
pub mod tracker_udp;
pub mod vet;

/// A future of this thread. Network objects travel between threads, what they do at once does not.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + 'a>>;

/// A connected byte stream, whatever carries it. It can be handed from one actor to another.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + Debug {
    /// The other end.
    fn peer_addr(&self) -> io::Result<SocketAddr>;
    /// This end.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// For whoever got it from another arbiter: from now on it wakes this one and no longer that one.
    fn settle(self: Box<Self>) -> io::Result<BoxStream>;
    /// Lets the kernel hold no more than so many bytes that it cannot send yet. A stream without a kernel has no such limit.
    fn limit_unsent(&self, _bytes: u32) -> io::Result<()> {
        Ok(())
    }
    /// Ends it with a reset (TCP: RST) instead of a farewell; what has not reached the other end yet is thrown away.
    fn reset(self: Box<Self>) -> io::Result<()>;
}

/// A stream as everybody holds it.
pub type BoxStream = Box<dyn ByteStream>;

/// A listening socket.
pub trait Listen: Debug {
    /// The next connection and who is at its other end.
    fn accept(&self) -> Pending<'_, (BoxStream, SocketAddr)>;
    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A datagram socket.
pub trait DatagramSocket: Debug {
    /// Sends one datagram.
    fn send_to<'a>(&'a self, datagram: &'a [u8], to: SocketAddr) -> Pending<'a, usize>;
    /// Receives one datagram; what does not fit the buffer is lost.
    fn recv_from<'a>(&'a self, buffer: &'a mut [u8]) -> Pending<'a, (usize, SocketAddr)>;
    /// Where it is bound.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The network: the only way out.
pub trait Network: Debug + Send + Sync {
    /// Opens a stream. Without a deadline of its own.
    fn connect(&self, to: SocketAddr) -> Pending<'static, BoxStream>;
    /// Listens for streams. Port 0 lets the system choose.
    fn listen(&self, at: SocketAddr) -> Pending<'static, Box<dyn Listen>>;
    /// Binds a datagram socket.
    fn datagrams(&self, at: SocketAddr) -> Pending<'static, Rc<dyn DatagramSocket>>;
    /// Addresses of a host name or of a literal address. Without a deadline of its own.
    fn resolve(&self, host: &str, port: u16) -> Pending<'static, Vec<SocketAddr>>;
}

/// A network as everybody holds it.
pub type Net = Arc<dyn Network>;
