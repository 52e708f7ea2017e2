//! A port whose every SYN goes unanswered, on loopback: its queue of connections is full and nobody takes one out (P-01,
//! T-02). Linux only: other systems refuse.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// 4 connections: a queue of 0 takes one, and every attempt beyond is dropped on the floor.
const GUESTS: usize = 4;

/// A listener with a full queue. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the full house ends when this is dropped"]
pub struct FullHouse {
    addr: SocketAddr,
    _listener: Socket,
    _guests: Vec<Socket>,
}

impl FullHouse {
    /// On any port of this address.
    pub fn open(at: Ipv4Addr) -> io::Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from((at, 0)).into())?;
        listener.listen(0)?;
        let not_ip = || io::Error::other("a listener without an address");
        let addr = listener.local_addr()?.as_socket().ok_or_else(not_ip)?;
        let guests = (0..GUESTS).map(|_| arrive(addr)).collect::<io::Result<_>>()?;
        Ok(Self { addr, _listener: listener, _guests: guests })
    }

    /// Where nobody gets in.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Connects without waiting for an answer.
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

    /// Two hundred times what loopback takes to answer; that nothing comes cannot be seen without waiting.
    const PATIENCE: Duration = Duration::from_millis(200);

    #[test]
    fn nobody_gets_in_and_nobody_is_refused() {
        run(async {
            let house = FullHouse::open(Ipv4Addr::LOCALHOST).unwrap();
            let net = Sockets::any();
            assert!(tokio::time::timeout(PATIENCE, net.connect(house.addr())).await.is_err());
        });
    }
}
