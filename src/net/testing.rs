//! Shared by tests above the sockets: streams in memory, and networks with a fixed behaviour.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::{BoxStream, ByteStream, DatagramSocket, Listen, Net, Network, Pending};

/// Runs a test with real sockets and real time.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// Both ends of a stream in memory that holds `room` bytes in each direction.
pub(crate) fn pipe(room: usize) -> (BoxStream, DuplexStream) {
    let (near, far) = tokio::io::duplex(room);
    (Box::new(Memory { pipe: near, ends: [ANY; 2] }), far)
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// One end of a pipe in memory.
#[derive(Debug)]
struct Memory {
    pipe: DuplexStream,
    ends: [SocketAddr; 2],
}

impl ByteStream for Memory {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.ends[1])
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.ends[0])
    }

    fn settle(self: Box<Self>) -> io::Result<BoxStream> {
        Ok(self)
    }

    fn reset(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Memory {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Memory {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// The addresses of the name `both.example`.
pub(crate) const BOTH_FAMILIES: [&str; 2] = ["192.0.2.9", "2001:db8::9"];

/// The result of every dial.
#[derive(Debug, Clone)]
enum Dial {
    Fails(io::ErrorKind),
    Hangs,
    Loops(SocketAddr),
    Arrives(mpsc::Sender<Arrived>),
}

/// The address that was dialled, and the far end of the stream.
pub(crate) type Arrived = (SocketAddr, DuplexStream);

/// A network in which every dial has the same result. It has no listeners and no datagrams.
#[derive(Debug)]
pub(crate) struct FakeNet(Dial);

impl FakeNet {
    /// Every dial fails with the error, or hangs if there is none.
    pub(crate) fn failing(error: Option<io::ErrorKind>) -> Net {
        Arc::new(Self(error.map_or(Dial::Hangs, Dial::Fails)))
    }

    /// Every dial succeeds; the far ends arrive in the channel.
    pub(crate) fn connected() -> (Net, mpsc::Receiver<Arrived>) {
        let (arrives, far) = mpsc::channel(1000);
        (Arc::new(Self(Dial::Arrives(arrives))), far)
    }

    /// Every dial gives a stream that has the same address at both ends.
    pub(crate) fn looped(at: SocketAddr) -> Net {
        Arc::new(Self(Dial::Loops(at)))
    }
}

impl Network for FakeNet {
    fn connect(&self, to: SocketAddr) -> Pending<'static, BoxStream> {
        match self.0.clone() {
            Dial::Fails(kind) => Box::pin(async move { Err(kind.into()) }),
            Dial::Hangs => Box::pin(std::future::pending()),
            Dial::Loops(at) => Box::pin(async move {
                let (pipe, _far) = tokio::io::duplex(64);
                Ok(Box::new(Memory { pipe, ends: [at; 2] }) as BoxStream)
            }),
            Dial::Arrives(arrives) => Box::pin(async move {
                let (pipe, far) = tokio::io::duplex(1 << 20);
                arrives.send((to, far)).await.map_err(io::Error::other)?;
                Ok(Box::new(Memory { pipe, ends: [ANY, to] }) as BoxStream)
            }),
        }
    }

    fn listen(&self, _: SocketAddr) -> Pending<'static, Box<dyn Listen>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn datagrams(&self, _: SocketAddr) -> Pending<'static, Rc<dyn DatagramSocket>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn resolve(&self, host: &str, port: u16) -> Pending<'static, Vec<SocketAddr>> {
        let literal = host.parse().map(|ip| vec![SocketAddr::new(ip, port)]);
        let both = BOTH_FAMILIES.map(|ip| SocketAddr::new(ip.parse().expect("an address"), port));
        let found = if host == "both.example" { Ok(both.to_vec()) } else { literal };
        Box::pin(async move { found.map_err(io::Error::other) })
    }
}
