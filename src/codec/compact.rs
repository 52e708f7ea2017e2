//! Compact peers: 6 bytes each for IPv4 (BEP 23), 18 for IPv6 (BEP 7), address then port, both big-endian.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// 4 bytes of address, 2 of port.
pub const V4_LEN: usize = 6;

/// 16 bytes of address, 2 of port.
pub const V6_LEN: usize = 18;

/// A run of peers whose length is no multiple of a peer's: cut short, or of the other family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes of compact peers are no multiple of {each}")]
pub struct BadCompact {
    /// Bytes received.
    pub len: usize,
    /// Bytes that each peer takes.
    pub each: usize,
}

/// The peers in a run of 6 bytes each, as sent.
pub fn v4_peers(bytes: &[u8]) -> Result<impl Iterator<Item = SocketAddr>, BadCompact> {
    whole::<V4_LEN>(bytes).map(|peers| {
        peers.iter().map(|[a, b, c, d, high, low]| {
            SocketAddr::from((Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*high, *low])))
        })
    })
}

/// The peers in a run of 18 bytes each, as sent.
pub fn v6_peers(bytes: &[u8]) -> Result<impl Iterator<Item = SocketAddr>, BadCompact> {
    whole::<V6_LEN>(bytes).map(|peers| {
        peers.iter().map(|[ip @ .., high, low]| {
            let ip: [u8; 16] = *ip;
            SocketAddr::from((Ipv6Addr::from(ip), u16::from_be_bytes([*high, *low])))
        })
    })
}

/// Appends a peer in the form of its family.
pub fn put_peer(peer: SocketAddr, out: &mut Vec<u8>) {
    match peer.ip() {
        IpAddr::V4(ip) => out.extend(ip.octets()),
        IpAddr::V6(ip) => out.extend(ip.octets()),
    }
    out.extend(peer.port().to_be_bytes());
}

/// The peers of a list as two runs, IPv4 and IPv6.
pub fn split(peers: &[SocketAddr]) -> (Vec<u8>, Vec<u8>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for peer in peers {
        put_peer(*peer, if peer.is_ipv4() { &mut v4 } else { &mut v6 });
    }
    (v4, v6)
}

fn whole<const N: usize>(bytes: &[u8]) -> Result<&[[u8; N]], BadCompact> {
    match bytes.as_chunks::<N>() {
        (peers, []) => Ok(peers),
        (_peers, _rest) => Err(BadCompact { len: bytes.len(), each: N }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_big_endian() {
        let v4: Vec<_> = v4_peers(&[127, 0, 0, 1, 0x1a, 0xe1]).unwrap().collect();
        assert_eq!(v4, ["127.0.0.1:6881".parse().unwrap()]);
        let v6: Vec<_> = v6_peers(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80]).unwrap().collect();
        assert_eq!(v6, ["[2001:db8::1]:80".parse().unwrap()]);
    }

    #[test]
    fn only_whole_peers_are_accepted() {
        for len in 0..64 {
            assert_eq!(v4_peers(&vec![1; len]).is_ok(), len % 6 == 0, "{len}");
            assert_eq!(v6_peers(&vec![1; len]).is_ok(), len % 18 == 0, "{len}");
        }
    }

    proptest! {
        #[test]
        fn peers_survive(peers in prop::collection::vec(any::<(IpAddr, u16)>(), 0..100)) {
            let peers: Vec<_> = peers.into_iter().map(SocketAddr::from).collect();
            let (v4, v6) = split(&peers);
            let (mut want, six): (Vec<_>, Vec<_>) = peers.into_iter().partition(SocketAddr::is_ipv4);
            want.extend(six);
            let got: Vec<_> = v4_peers(&v4).unwrap().chain(v6_peers(&v6).unwrap()).collect();
            prop_assert_eq!(got, want);
        }
    }
}
