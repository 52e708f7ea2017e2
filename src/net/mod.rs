//! Floor 3: the network.
//!
//! `app` hands in one small object-safe trait. So the same code runs on tokio's sockets, in a simulator and over any
//! later transport. Binding to an interface is safe, because no traffic can leave in another way. Knows floors 0 to 2
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

/// A future that stays on its thread. Network objects may move between threads, but their operations may not.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + 'a>>;

/// A connected byte stream of any transport. It can be handed from one actor to another.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + Debug {
    /// The address of the peer.
    fn peer_addr(&self) -> io::Result<SocketAddr>;
    /// The local address.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// Registers the stream with the runtime of the current thread, for an actor that got it from another arbiter.
    fn settle(self: Box<Self>) -> io::Result<BoxStream>;
    /// Limits the bytes that the kernel holds because it cannot send them yet. A stream without a kernel has no such
    /// limit.
    fn limit_unsent(&self, _bytes: u32) -> io::Result<()> {
        Ok(())
    }
    /// Closes the stream with a reset (TCP: RST). Bytes that have not reached the peer are lost.
    fn reset(self: Box<Self>) -> io::Result<()>;
}

/// A stream of any transport.
pub type BoxStream = Box<dyn ByteStream>;

/// A listening socket.
pub trait Listen: Debug {
    /// Waits for the next inbound connection. Returns its stream and the address of the peer.
    fn accept(&self) -> Pending<'_, (BoxStream, SocketAddr)>;
    /// The local address.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A datagram socket.
pub trait DatagramSocket: Debug {
    /// Sends one datagram.
    fn send_to<'a>(&'a self, datagram: &'a [u8], to: SocketAddr) -> Pending<'a, usize>;
    /// Receives one datagram. Bytes beyond the buffer's length are lost.
    fn recv_from<'a>(&'a self, buffer: &'a mut [u8]) -> Pending<'a, (usize, SocketAddr)>;
    /// The local address.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The network. All traffic of the client goes through it.
pub trait Network: Debug + Send + Sync {
    /// Opens a stream. Has no time-out of its own.
    fn connect(&self, to: SocketAddr) -> Pending<'static, BoxStream>;
    /// Listens for streams. With port 0 the system chooses the port.
    fn listen(&self, at: SocketAddr) -> Pending<'static, Box<dyn Listen>>;
    /// Binds a datagram socket.
    fn datagrams(&self, at: SocketAddr) -> Pending<'static, Rc<dyn DatagramSocket>>;
    /// Resolves a host name or a literal address. Has no time-out of its own.
    fn resolve(&self, host: &str, port: u16) -> Pending<'static, Vec<SocketAddr>>;
}

/// A shared network.
pub type Net = Arc<dyn Network>;
