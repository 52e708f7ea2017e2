//! A loopback port that answers no SYN: its accept queue is full and stays full (P-01, T-02). Linux only: other systems
//! refuse the connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// 4 connections: a backlog of 0 holds one, and the kernel drops the SYN of every further one.
const GUESTS: usize = 4;

/// A listener with a full accept queue. It ends when this value is dropped.
#[derive(Debug)]
#[must_use = "the full house ends when this is dropped"]
pub struct FullHouse {
    addr: SocketAddr,
    _listener: Socket,
    _guests: Vec<Socket>,
}

impl FullHouse {
    /// Opens one on any free port of this address.
    pub fn open(at: Ipv4Addr) -> io::Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from((at, 0)).into())?;
        listener.listen(0)?;
        let not_ip = || io::Error::other("a listener without an address");
        let addr = listener.local_addr()?.as_socket().ok_or_else(not_ip)?;
        let guests = (0..GUESTS).map(|_| arrive(addr)).collect::<io::Result<_>>()?;
        Ok(Self { addr, _listener: listener, _guests: guests })
    }

    /// Returns the address that answers no SYN.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Starts to connect, without waiting for the answer.
fn arrive(addr: SocketAddr) -> io::Result<Socket> {
    let guest = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    guest.set_nonblocking(true)?;
    match guest.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(guest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::faults::loopback::run;
    use crate::net::sockets::Sockets;

    /// 200 ms: two hundred times the round trip on loopback. A missing answer can only be seen by waiting.
    const ANSWER_WAIT: Duration = Duration::from_millis(200);

    #[test]
    fn a_connection_is_neither_accepted_nor_refused() {
        run(async {
            let house = FullHouse::open(Ipv4Addr::LOCALHOST).unwrap();
            let net = Sockets::any();
            assert!(tokio::time::timeout(ANSWER_WAIT, net.connect(house.addr())).await.is_err());
        });
    }
}
