//! The real network: tokio's sockets, optionally bound to a local address, to a device, or to both. Traffic that cannot
//! leave that way fails; it never takes another way (N-09).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use super::{BoxStream, ByteStream, DatagramSocket, Listen, Net, Network, Pending};

/// 1,024 pending connections, so that a burst of peers does not overflow the backlog; the kernel caps it at
/// `somaxconn`.
const BACKLOG: u32 = 1024;

/// The sockets of this machine.
#[derive(Debug, Clone, Default)]
pub struct Sockets {
    bind: Option<IpAddr>,
    device: Option<Arc<str>>,
}

impl Sockets {
    /// Sockets on all interfaces.
    pub fn any() -> Net {
        Arc::new(Self::default())
    }

    /// Sockets bound to this local address. Connecting to the other address family fails.
    pub fn bound_to(bind: IpAddr) -> Net {
        Self::only_by(Some(bind), None)
    }

    /// Sockets bound to this local address and this device, where they are given.
    pub fn only_by(bind: Option<IpAddr>, device: Option<&str>) -> Net {
        Arc::new(Self { bind, device: device.map(Arc::from) })
    }

    /// Binds a socket to the device before it is used. Fails if the device does not exist or if this process may not
    /// choose it.
    fn tie<'s, S: AsFd>(&self, socket: &'s S) -> io::Result<SockRef<'s>> {
        let socket = SockRef::from(socket);
        if let Some(device) = &self.device {
            let tied = socket.bind_device(Some(device.as_bytes()));
            tied.map_err(|error| io::Error::new(error.kind(), format!("device {device}: {error}")))?;
        }
        Ok(socket)
    }

    /// Fails if `other` is not of the family of the bound address.
    fn check_family(&self, other: SocketAddr) -> io::Result<()> {
        match self.bind {
            Some(bind) if bind.is_ipv4() != other.is_ipv4() => {
                Err(io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{other} cannot be reached from {bind}")))
            }
            _ => Ok(()),
        }
    }

    /// The local address to bind to: `at`, with the bound address in place of an unspecified one.
    fn local_for(&self, at: SocketAddr) -> SocketAddr {
        match self.bind {
            Some(bind) if at.ip().is_unspecified() => SocketAddr::new(bind, at.port()),
            _ => at,
        }
    }
}

impl Network for Sockets {
    fn connect(&self, to: SocketAddr) -> Pending<'static, BoxStream> {
        let me = self.clone();
        Box::pin(async move {
            me.check_family(to)?;
            let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            me.tie(&socket)?;
            if let Some(bind) = me.bind {
                socket.bind(SocketAddr::new(bind, 0))?;
            }
            tuned(socket.connect(to).await?)
        })
    }

    fn listen(&self, at: SocketAddr) -> Pending<'static, Box<dyn Listen>> {
        let (at, me) = (self.local_for(at), self.clone());
        Box::pin(async move {
            let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            let tied = me.tie(&socket)?;
            if at.is_ipv6() {
                // The unspecified address serves both families, whatever the system's default is.
                tied.set_only_v6(!at.ip().is_unspecified())?;
            }
            socket.bind(at)?;
            Ok(Box::new(Listener(socket.listen(BACKLOG)?)) as Box<dyn Listen>)
        })
    }

    fn datagrams(&self, at: SocketAddr) -> Pending<'static, Rc<dyn DatagramSocket>> {
        let local = self.local_for(at);
        let (family, me) = (self.check_family(at), self.clone());
        Box::pin(async move {
            family?;
            let socket = UdpSocket::bind(local).await?;
            me.tie(&socket)?;
            Ok(Rc::new(Udp(socket)) as Rc<dyn DatagramSocket>)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> Pending<'static, Vec<SocketAddr>> {
        let literal = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let me = self.clone();
        Box::pin(async move {
            // The system's resolver may ask over any interface, so names are not looked up while the device is missing.
            me.tie(&TcpSocket::new_v4()?)?;
            let all: Vec<_> = tokio::net::lookup_host((literal, port)).await?.collect();
            let in_reach: Vec<_> = all.iter().copied().filter(|addr| me.check_family(*addr).is_ok()).collect();
            // If no address can be reached, the dial reports that.
            Ok(if in_reach.is_empty() { all } else { in_reach })
        })
    }
}

/// 256 KiB of unsent bytes in the kernel. Such bytes cannot be taken back, and they are lost when the peer goes. A
/// larger value saves calls but no time, because it does not fit into the processor's cache.
const UNSENT_IN_KERNEL: u32 = 256 * 1024;

/// Sets the options of a connected socket.
fn tuned(stream: TcpStream) -> io::Result<BoxStream> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_IN_KERNEL)?;
    Ok(Box::new(Tcp { stream, home: thread::current().id() }))
}

/// A TCP stream.
#[derive(Debug)]
struct Tcp {
    stream: TcpStream,
    /// The thread whose runtime watches the stream.
    home: ThreadId,
}

impl ByteStream for Tcp {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    fn settle(self: Box<Self>) -> io::Result<BoxStream> {
        let here = thread::current().id();
        if self.home == here {
            return Ok(self);
        }
        Ok(Box::new(Self { stream: TcpStream::from_std(self.stream.into_std()?)?, home: here }))
    }

    fn limit_unsent(&self, bytes: u32) -> io::Result<()> {
        SockRef::from(&self.stream).set_tcp_notsent_lowat(bytes)
    }

    fn reset(self: Box<Self>) -> io::Result<()> {
        // With SO_LINGER at zero, close sends RST and drops the send buffer: RFC 9293, "abort".
        self.stream.set_zero_linger()
    }
}

impl AsyncRead for Tcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A listening TCP socket.
#[derive(Debug)]
struct Listener(TcpListener);

impl Listen for Listener {
    fn accept(&self) -> Pending<'_, (BoxStream, SocketAddr)> {
        Box::pin(async move {
            let (stream, from) = self.0.accept().await?;
            Ok((tuned(stream)?, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A UDP socket.
#[derive(Debug)]
struct Udp(UdpSocket);

impl DatagramSocket for Udp {
    fn send_to<'a>(&'a self, datagram: &'a [u8], to: SocketAddr) -> Pending<'a, usize> {
        Box::pin(self.0.send_to(datagram, to))
    }

    fn recv_from<'a>(&'a self, buffer: &'a mut [u8]) -> Pending<'a, (usize, SocketAddr)> {
        Box::pin(self.0.recv_from(buffer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// N-09: binding to a device needs a right that root has.
    #[test]
    fn nothing_leaves_by_a_missing_device() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let there = Sockets::any().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let at = there.local_addr().unwrap();
            let nowhere = Sockets::only_by(None, Some("nowhere0"));
            assert!(nowhere.connect(at).await.is_err());
            assert!(nowhere.listen("127.0.0.1:0".parse().unwrap()).await.is_err());
            assert!(nowhere.datagrams("127.0.0.1:0".parse().unwrap()).await.is_err());
            let asked = nowhere.resolve("localhost", 1).await.unwrap_err();
            assert!(asked.to_string().contains("device nowhere0"), "{asked}");
            let loopback = Sockets::only_by(None, Some("lo"));
            match loopback.connect(at).await {
                Ok(stream) => assert_eq!(stream.peer_addr().unwrap(), at),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
            }
        });
    }

    /// The runtime that accepted the stream is gone, and the stream still wakes its reader.
    #[test]
    fn a_stream_settles_on_another_arbiter() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let here = runtime();
        let at_the_door = thread::spawn(move || {
            let door = runtime();
            let ends = door.block_on(async {
                let listener = Sockets::any().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
                let near = Sockets::any().connect(listener.local_addr().unwrap()).await.unwrap();
                (near, listener.accept().await.unwrap().0)
            });
            (ends, door)
        });
        let ((near, far), door) = at_the_door.join().unwrap();
        here.block_on(async {
            let (mut near, mut far) = (near.settle().unwrap(), far.settle().unwrap());
            door.shutdown_background();
            let (read, ()) = tokio::join!(near.read_u8(), async {
                tokio::task::yield_now().await;
                far.write_u8(7).await.unwrap();
            });
            assert_eq!(read.unwrap(), 7);
        });
    }

    #[test]
    fn a_reset_arrives_as_a_reset_and_a_drop_as_an_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let net = Sockets::any();
            let listener = net.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let at = listener.local_addr().unwrap();
            for hard in [true, false] {
                let mut near = net.connect(at).await.unwrap();
                let (far, _) = listener.accept().await.unwrap();
                if hard {
                    far.reset().unwrap();
                    assert_eq!(near.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
                } else {
                    drop(far);
                    assert_eq!(near.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
                }
            }
        });
    }
}
