//! The listening port for inbound peers, and the handshake of an inbound connection.
//!
//! Chooses the port. Does not decide which peers may stay.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::rc::Rc;

use tokio::io::AsyncReadExt;

use super::{BoxStream, Listen, Net};
use crate::base::disconnect::DisconnectReason;
use crate::codec::wire::Handshake;

/// "port number this peer is listening on. Common behavior is for a downloader to try to listen on port 6881 and if
/// that port is taken try 6882, then 6883, etc. and give up after 6889" (BEP 3). If all of these are taken, the system
/// chooses a port (W-16).
const USUAL: RangeInclusive<u16> = 6881..=6889;

/// Opens the listening socket: at `port`; or, without one, at the first free port from 6881 to 6889, or else at a port
/// that the system chooses. Listens on IPv4 and IPv6, unless `bind` names one local address or this machine has no
/// IPv6.
pub async fn open(net: &Net, bind: Option<IpAddr>, port: Option<u16>) -> io::Result<Rc<dyn Listen>> {
    let ports: Vec<u16> = port.map_or_else(|| USUAL.chain([0]).collect(), |port| vec![port]);
    let mut last = io::ErrorKind::AddrInUse.into();
    for port in ports {
        match open_at(net, bind, port).await {
            Ok(door) => return Ok(door),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Opens the listening socket at this port.
async fn open_at(net: &Net, bind: Option<IpAddr>, port: u16) -> io::Result<Rc<dyn Listen>> {
    if let Some(ip) = bind {
        return net.listen(SocketAddr::new(ip, port)).await.map(Rc::from);
    }
    match net.listen(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            net.listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)).await.map(Rc::from)
        }
        opened => opened.map(Rc::from),
    }
}

/// Reads the handshake of an inbound connection. Another protocol is refused at its first wrong byte. Bytes after the
/// handshake stay in the stream. Has no time-out of its own.
pub async fn greeting(stream: &mut BoxStream) -> Result<Handshake, DisconnectReason> {
    let mut heard = [0; Handshake::LEN];
    let mut len = 0;
    loop {
        match stream.read(&mut heard[len..]).await {
            Ok(0) => return Err(DisconnectReason::Closed),
            Ok(more) => len += more,
            Err(error) => return Err(DisconnectReason::from_io(&error)),
        }
        match Handshake::decode(&heard[..len]) {
            Ok(Some(handshake)) => return Ok(handshake),
            Ok(None) => {}
            Err(_another_protocol) => return Err(DisconnectReason::BadHandshake),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::base::ids::{InfoHash, PeerId};
    use crate::net::dial::dial;
    use crate::net::sockets::Sockets;
    use crate::net::testing::{pipe, run};

    /// W-16: 6881 to 6889 may be taken on the test machine, so only their order is tested.
    #[test]
    fn a_taken_port_leads_to_the_next_unless_it_was_named() {
        run(async {
            let net = Sockets::any();
            let first = open(&net, None, None).await.unwrap();
            let second = open(&net, None, None).await.unwrap();
            let [one, other] = [&first, &second].map(|door| door.local_addr().unwrap().port());
            assert!(one < other || !USUAL.contains(&other), "{one}, {other}");
            let taken = open(&net, None, Some(one)).await.unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        });
    }

    /// W-14: one listening socket serves both families.
    #[test]
    fn both_families_come_in() {
        run(async {
            let net = Sockets::any();
            let door = open(&net, None, Some(0)).await.unwrap();
            let port = door.local_addr().unwrap().port();
            dial(&net, SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
            if door.local_addr().unwrap().is_ipv6() {
                dial(&net, SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port)).await.unwrap();
            }
            let only = open(&net, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), Some(0)).await.unwrap();
            assert_eq!(only.local_addr().unwrap().ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        });
    }

    #[test]
    fn a_handshake_may_arrive_slowly_and_another_protocol_is_refused_at_once() {
        let ours = Handshake { reserved: [1; 8], info_hash: InfoHash([2; 20]), peer_id: PeerId([3; 20]) };
        let whole = [ours.encode().as_slice(), b"more"].concat();
        run(async {
            let (mut stream, mut far) = pipe(1);
            let drips = async { far.write_all(&whole[..Handshake::LEN]).await };
            let (heard, _) = tokio::join!(greeting(&mut stream), drips);
            assert_eq!(heard.unwrap(), ours);
            let (mut stream, mut far) = pipe(100);
            far.write_all(&whole).await.unwrap();
            assert_eq!(greeting(&mut stream).await.unwrap(), ours);
            assert_eq!(stream.read_u8().await.unwrap(), b'm', "what follows is left");
            for (said, want) in
                [(&b"GET /"[..], DisconnectReason::BadHandshake), (&whole[..20], DisconnectReason::Closed)]
            {
                let (mut stream, mut far) = pipe(100);
                far.write_all(said).await.unwrap();
                drop(far);
                assert_eq!(greeting(&mut stream).await.unwrap_err(), want);
            }
        });
    }
}
