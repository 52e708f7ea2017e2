//! [`Network`] on turmoil's sockets, with what turmoil lacks: resets, addresses that never answer, links that are cut
//! in one direction, names.
//!
//! Every host has its own [`SimNet`]; all of them share one [`Wires`]. Knows no actor and no scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream, UdpSocket};

use crate::base::locked::Locked;
use crate::net::{BoxStream, ByteStream, DatagramSocket, Listen, Net, Network, Pending};

/// The first 10,000 dials are recorded: far more than a well-behaved client makes in any run.
const MAX_DIALS: usize = 10_000;

/// The state that all hosts share. Clones share the same state.
#[derive(Debug, Clone, Default)]
pub struct Wires(Arc<Locked<State>>);

#[derive(Debug, Default)]
struct State {
    /// (from, to): the side at `from` has reset its connection to `to`.
    resets: BTreeSet<(SocketAddr, SocketAddr)>,
    /// (from, to): nothing passes in this direction.
    cuts: BTreeSet<(IpAddr, IpAddr)>,
    names: BTreeMap<String, SimName>,
    dials: Vec<Dial>,
    bytes: u64,
}

/// What a host name resolves to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimName {
    /// These addresses.
    Leads(Vec<IpAddr>),
    /// One of these addresses, another one for each query.
    Flaps(Vec<IpAddr>),
    /// No answer.
    Hangs,
}

/// One attempt to open a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dial {
    /// The time since the start of the simulation.
    pub at: Duration,
    /// The address of the caller.
    pub from: IpAddr,
    /// The address that was called.
    pub to: SocketAddr,
}

impl Wires {
    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock())
    }

    /// Cuts or mends the direction from one host to another. The caller must tell turmoil itself.
    pub(super) fn set_cut(&self, from: IpAddr, to: IpAddr, is_cut: bool) {
        self.with(|state| if is_cut { state.cuts.insert((from, to)) } else { state.cuts.remove(&(from, to)) });
    }

    fn is_cut(&self, one: IpAddr, other: IpAddr) -> bool {
        self.with(|state| state.cuts.contains(&(one, other)) || state.cuts.contains(&(other, one)))
    }

    /// Sets what a host name resolves to.
    pub fn name(&self, name: &str, leads: SimName) {
        self.with(|state| state.names.insert(name.to_owned(), leads));
    }

    /// Returns the attempts to open a stream, in order; at most 10,000.
    pub fn dials(&self) -> Vec<Dial> {
        self.with(|state| state.dials.clone())
    }

    /// Returns the number of bytes that all hosts have read from their streams.
    pub fn bytes(&self) -> u64 {
        self.with(|state| state.bytes)
    }

    fn note_dial(&self, dial: Dial) {
        self.with(|state| {
            if state.dials.len() < MAX_DIALS {
                state.dials.push(dial);
            }
        });
    }
}

/// 50/8: addresses at which no SYN is answered. Real networks have them everywhere; here they need a range of their
/// own.
pub const VOID: u8 = 50;

/// The network of one host.
#[derive(Debug)]
pub struct SimNet {
    ip: IpAddr,
    wires: Wires,
}

impl SimNet {
    /// Returns the network of the host at this address. Its sockets work inside that host only.
    pub fn at(ip: Ipv4Addr, wires: &Wires) -> Net {
        Arc::new(Self { ip: IpAddr::V4(ip), wires: wires.clone() })
    }
}

/// Returns the IPv6 address of an IPv4 host: `64:ff9b::/96`, as a translator has it (RFC 6052). turmoil's hosts have
/// one address each; this serves as their second.
pub fn second_address(ip: Ipv4Addr) -> IpAddr {
    let [a, b, c, d] = ip.octets();
    IpAddr::from([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d])
}

fn translated(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) if v6.octets()[..4] == [0, 0x64, 0xff, 0x9b] => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        other => other,
    }
}

/// An unanswered SYN is sent again after 1, 2, 4 s ... (RFC 6298); once a second is close enough.
const SYN_RETRY: Duration = Duration::from_secs(1);

impl Network for SimNet {
    fn connect(&self, to: SocketAddr) -> Pending<'static, BoxStream> {
        let (from, wires) = (self.ip, self.wires.clone());
        Box::pin(async move {
            let at = turmoil::sim_elapsed().unwrap_or_default();
            wires.note_dial(Dial { at, from, to });
            if translated(to.ip()).is_ipv6() || to.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
                return Err(io::ErrorKind::NetworkUnreachable.into());
            }
            if matches!(to.ip(), IpAddr::V4(ip) if ip.octets()[0] == VOID) {
                return pending().await;
            }
            let to = SocketAddr::new(translated(to.ip()), to.port());
            while wires.is_cut(from, to.ip()) {
                tokio::time::sleep(SYN_RETRY).await;
            }
            let stream = TcpStream::connect(to).await?;
            Ok(Box::new(Tcp { stream: Some(stream), wires }) as BoxStream)
        })
    }

    fn listen(&self, at: SocketAddr) -> Pending<'static, Box<dyn Listen>> {
        let (ip, wires) = (self.ip, self.wires.clone());
        Box::pin(async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, at.port())).await?;
            let local = SocketAddr::new(ip, listener.local_addr()?.port());
            Ok(Box::new(Listener { socket: listener, local, wires }) as Box<dyn Listen>)
        })
    }

    fn datagrams(&self, at: SocketAddr) -> Pending<'static, Rc<dyn DatagramSocket>> {
        let ip = self.ip;
        Box::pin(async move {
            if at.is_ipv6() {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, at.port())).await?;
            let local = SocketAddr::new(ip, socket.local_addr()?.port());
            Ok(Rc::new(Udp { socket, local }) as Rc<dyn DatagramSocket>)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> Pending<'static, Vec<SocketAddr>> {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let name = self.wires.with(|state| match (literal, state.names.get_mut(host)) {
            (Ok(ip), _) => Some(SimName::Leads(vec![ip])),
            (Err(_not_literal), Some(SimName::Flaps(turns))) => {
                turns.rotate_left(1);
                Some(SimName::Leads(turns.last().copied().into_iter().collect()))
            }
            (Err(_not_literal), known) => known.cloned(),
        });
        Box::pin(async move {
            match name {
                Some(SimName::Leads(ips)) if !ips.is_empty() => {
                    Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
                }
                Some(SimName::Hangs) => pending().await,
                _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such name")),
            }
        })
    }
}

/// A stream; `None` after a reset.
#[derive(Debug)]
struct Tcp {
    stream: Option<TcpStream>,
    wires: Wires,
}

impl Tcp {
    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn ends(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        let stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok((stream.local_addr()?, stream.peer_addr()?))
    }
}

impl ByteStream for Tcp {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.ends()?.1)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.ends()?.0)
    }

    /// The simulator has one arbiter, so that the stream can stay as it is.
    fn settle(self: Box<Self>) -> io::Result<BoxStream> {
        Ok(self)
    }

    /// turmoil cannot send a RST: it sends an orderly end, which the other side reads as a reset.
    fn reset(mut self: Box<Self>) -> io::Result<()> {
        let ends = self.ends()?;
        self.wires.with(|state| state.resets.insert(ends));
        self.stream = None;
        Ok(())
    }
}

impl AsyncRead for Tcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.stream()?.poll_read(cx, buf);
        if matches!(polled, Poll::Ready(Ok(()))) {
            let read = buf.filled().len() - before;
            let (local, peer) = self.ends()?;
            let is_reset = self.wires.with(|state| {
                state.bytes += read as u64;
                read == 0 && buf.remaining() > 0 && state.resets.remove(&(peer, local))
            });
            if is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        polled
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

struct Listener {
    socket: TcpListener,
    local: SocketAddr,
    wires: Wires,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("local", &self.local).finish_non_exhaustive()
    }
}

impl Listen for Listener {
    fn accept(&self) -> Pending<'_, (BoxStream, SocketAddr)> {
        Box::pin(async move {
            let (stream, from) = self.socket.accept().await?;
            Ok((Box::new(Tcp { stream: Some(stream), wires: self.wires.clone() }) as BoxStream, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

#[derive(Debug)]
struct Udp {
    socket: UdpSocket,
    local: SocketAddr,
}

impl DatagramSocket for Udp {
    /// A datagram to an address without a host is lost, as on any network.
    fn send_to<'a>(&'a self, datagram: &'a [u8], to: SocketAddr) -> Pending<'a, usize> {
        Box::pin(async move {
            match self.socket.send_to(datagram, to).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(datagram.len()),
                sent => sent,
            }
        })
    }

    fn recv_from<'a>(&'a self, buffer: &'a mut [u8]) -> Pending<'a, (usize, SocketAddr)> {
        Box::pin(self.socket.recv_from(buffer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}
