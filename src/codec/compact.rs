//! Compact peers: 6 bytes each for IPv4 (BEP 23), 18 for IPv6 (BEP 7), address then port, both big-endian.
//!
//! A list that is cut short still gives the peers before the cut; [`is_cut`] says whether there was a cut.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// 4 bytes of address, 2 of port.
pub const V4_LEN: usize = 6;

/// 16 bytes of address, 2 of port.
pub const V6_LEN: usize = 18;

/// The complete peers in a list of 6 bytes each, in the order in which they were sent.
pub fn v4_peers(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> {
    let (peers, _cut) = bytes.as_chunks::<V4_LEN>();
    peers.iter().map(|[a, b, c, d, high, low]| {
        SocketAddr::from((Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*high, *low])))
    })
}

/// The complete peers in a list of 18 bytes each, in the order in which they were sent.
pub fn v6_peers(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> {
    let (peers, _cut) = bytes.as_chunks::<V6_LEN>();
    peers.iter().map(|[ip @ .., high, low]| {
        let ip: [u8; 16] = *ip;
        SocketAddr::from((Ipv6Addr::from(ip), u16::from_be_bytes([*high, *low])))
    })
}

/// Whether the last peer of a list is incomplete; `each` is the length of a peer in bytes.
pub fn is_cut(bytes: &[u8], each: usize) -> bool {
    !bytes.len().is_multiple_of(each)
}

/// Appends a peer in the compact form of its address family.
pub fn put_peer(peer: SocketAddr, out: &mut Vec<u8>) {
    match peer.ip() {
        IpAddr::V4(ip) => out.extend(ip.octets()),
        IpAddr::V6(ip) => out.extend(ip.octets()),
    }
    out.extend(peer.port().to_be_bytes());
}

/// The peers as two compact lists: IPv4 and IPv6.
pub fn split(peers: &[SocketAddr]) -> (Vec<u8>, Vec<u8>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for peer in peers {
        put_peer(*peer, if peer.is_ipv4() { &mut v4 } else { &mut v6 });
    }
    (v4, v6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_big_endian() {
        let v4: Vec<_> = v4_peers(&[127, 0, 0, 1, 0x1a, 0xe1]).collect();
        assert_eq!(v4, ["127.0.0.1:6881".parse().unwrap()]);
        let v6: Vec<_> = v6_peers(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80]).collect();
        assert_eq!(v6, ["[2001:db8::1]:80".parse().unwrap()]);
    }

    #[test]
    fn the_whole_peers_of_a_cut_list_are_read() {
        for len in 0..64 {
            let bytes = vec![1; len];
            assert_eq!((v4_peers(&bytes).count(), is_cut(&bytes, V4_LEN)), (len / 6, len % 6 != 0), "{len}");
            assert_eq!((v6_peers(&bytes).count(), is_cut(&bytes, V6_LEN)), (len / 18, len % 18 != 0), "{len}");
        }
    }

    proptest! {
        #[test]
        fn peers_survive(peers in prop::collection::vec(any::<(IpAddr, u16)>(), 0..100)) {
            let peers: Vec<_> = peers.into_iter().map(SocketAddr::from).collect();
            let (v4, v6) = split(&peers);
            let (mut want, six): (Vec<_>, Vec<_>) = peers.into_iter().partition(SocketAddr::is_ipv4);
            want.extend(six);
            let got: Vec<_> = v4_peers(&v4).chain(v6_peers(&v6)).collect();
            prop_assert_eq!(got, want);
        }
    }
}
