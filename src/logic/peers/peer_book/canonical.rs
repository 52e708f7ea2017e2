//! BEP 40, canonical peer priority: both ends of a connection give it the same rank. So a full swarm settles into a
//! well-mixed graph, and no peer can choose an address that every other peer prefers.

use std::net::{IpAddr, SocketAddr};

/// The rank of a connection between two addresses, the same from either end. Higher is dialled first.
///
/// IPv4 addresses are masked to `FF.FF.55.55`, to `FF.FF.FF.55` inside the same /16 and not at all inside the same /24;
/// IPv6 addresses keep 6 bytes, 7 inside the same /48, 8 inside the same /56, "derived in the same way" (BEP 40).
/// Two connections of one address pair are told apart by their ports.
pub(super) fn priority(ours: SocketAddr, theirs: SocketAddr) -> u32 {
    match (ours.ip(), theirs.ip()) {
        (a, b) if a == b => sorted_crc(&ours.port().to_be_bytes(), &theirs.port().to_be_bytes()),
        (IpAddr::V4(a), IpAddr::V4(b)) => masked(a.octets(), b.octets(), [2, 3, 4]),
        (IpAddr::V6(a), IpAddr::V6(b)) => masked(a.octets(), b.octets(), [6, 7, 8]),
        // The addresses are of different families. BEP 40 says nothing of this case, and both families are seldom in
        // one dial queue.
        (_, IpAddr::V4(b)) => crc32c(&b.octets()),
        (_, IpAddr::V6(b)) => crc32c(&b.octets()),
    }
}

/// Masks both addresses and returns their checksum. The first `whole[0]` bytes are kept; if they are equal the first
/// `whole[1]`; if these are equal too the first `whole[2]`. Of the other bytes every second bit is kept.
fn masked<const N: usize>(mut a: [u8; N], mut b: [u8; N], whole: [usize; 3]) -> u32 {
    let shared = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let kept = match shared {
        shared if shared >= whole[1] => whole[2],
        shared if shared >= whole[0] => whole[1],
        _ => whole[0],
    };
    for byte in a.iter_mut().skip(kept).chain(b.iter_mut().skip(kept)) {
        *byte &= 0x55;
    }
    sorted_crc(&a, &b)
}

/// The checksum of both values, the smaller first.
fn sorted_crc(a: &[u8], b: &[u8]) -> u32 {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    crc32c(&[low, high].concat())
}

/// CRC-32C (Castagnoli), bit by bit: for a few bytes per new address a table is not worth it.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _bit| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_bep_40_come_out() {
        let table =
            [("123.213.32.10:0", "98.76.54.32:0", 0xec2d_7224), ("123.213.32.10:0", "123.213.32.234:0", 0x9956_8189)];
        for (a, b, want) in table {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(priority(a, b), want, "{a} {b}");
            assert_eq!(priority(b, a), want, "{b} {a}");
        }
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn neighbours_behind_one_address_differ_by_port() {
        let at = |port: u16| SocketAddr::new([1, 2, 3, 4].into(), port);
        assert_ne!(priority(at(1), at(2)), priority(at(1), at(3)));
        assert_eq!(priority(at(1), at(2)), priority(at(2), at(1)));
    }
}
