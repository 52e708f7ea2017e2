//! Classifies IP addresses. [`Class::of`] is the one function that vets an address before we dial it (T-19, T-21).
//!
//! Only the address itself counts here, not the source that named it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Which network an address belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The public internet.
    Global,
    /// This machine.
    Loopback,
    /// A private network: RFC 1918, shared (RFC 6598), benchmarking (RFC 2544), unique local (RFC 4193).
    Private,
    /// The local link (169.254/16, `fe80::/10`). Cloud metadata services live here.
    LinkLocal,
    /// Cannot be dialled: unspecified, multicast, broadcast, reserved, or port 0.
    Nowhere,
}

impl Class {
    /// The class of a socket address. Port 0 is `Nowhere`.
    pub fn of(addr: SocketAddr) -> Self {
        if addr.port() == 0 { Self::Nowhere } else { Self::of_ip(addr.ip()) }
    }

    /// The class of an address without its port. IPv4 inside IPv6 (mapped, NAT64, 6to4) has the class of the IPv4
    /// address.
    pub fn of_ip(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => of_v4(ip),
            IpAddr::V6(ip) => embedded_v4(ip).map_or_else(|| of_v6(ip), of_v4),
        }
    }

    /// Whether the address is on this machine or a local network rather than the public internet.
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Loopback | Self::Private | Self::LinkLocal)
    }
}

/// The block of addresses that one customer of a provider gets cheaply: a /24 of IPv4, a /64 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subnet {
    /// The first three bytes.
    V4([u8; 3]),
    /// The first eight bytes.
    V6(u64),
}

impl Subnet {
    /// The subnet of an address. IPv4 inside IPv6 counts as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments().map(u64::from);
                Self::V6(a << 48 | b << 32 | c << 16 | d)
            }
        }
    }
}

/// The address as the peer book and the logs write it: an IPv4 address mapped into IPv6 becomes IPv4, and what has a
/// meaning on one machine only (flow label, scope of a global address) is removed.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => addr,
        _ => SocketAddr::new(addr.ip().to_canonical(), addr.port()),
    }
}

/// The class of an IPv4 address.
fn of_v4(ip: Ipv4Addr) -> Class {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (0 | 224..=255, ..) => Class::Nowhere,
        (127, ..) => Class::Loopback,
        (169, 254, _) => Class::LinkLocal,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) | (198, 18..=19, _) | (192, 0, 0) => {
            Class::Private
        }
        _ => Class::Global,
    }
}

/// The class of an IPv6 address that holds no IPv4 address.
fn of_v6(ip: Ipv6Addr) -> Class {
    let head = ip.segments()[0];
    if ip.is_loopback() {
        Class::Loopback
    } else if ip.segments()[..6] == [0; 6] || ip.is_multicast() {
        Class::Nowhere
    } else if ip.is_unicast_link_local() {
        Class::LinkLocal
    } else if ip.is_unique_local() || head & 0xffc0 == 0xfec0 {
        Class::Private
    } else {
        Class::Global
    }
}

/// The IPv4 address to which a translator would send this: NAT64 (`64:ff9b::/96`, RFC 6052) or 6to4 (`2002::/16`, RFC
/// 3056).
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_its_class() {
        use Class::{Global, LinkLocal, Loopback, Nowhere, Private};
        let table = [
            ("8.8.8.8:6881", Global),
            ("172.15.0.1:1", Global),
            ("172.32.0.1:1", Global),
            ("100.63.255.255:1", Global),
            ("100.128.0.1:1", Global),
            ("223.255.255.255:1", Global),
            ("[2001:4860::8888]:1", Global),
            ("127.0.0.1:6881", Loopback),
            ("127.255.0.9:6881", Loopback),
            ("[::1]:1", Loopback),
            ("[::ffff:127.0.0.1]:1", Loopback),
            ("[64:ff9b::7f00:1]:1", Loopback),
            ("10.0.0.1:1", Private),
            ("172.16.0.1:1", Private),
            ("172.31.255.255:1", Private),
            ("192.168.1.1:1", Private),
            ("100.64.0.1:1", Private),
            ("198.18.0.1:1", Private),
            ("192.0.0.8:1", Private),
            ("[fd00::1]:1", Private),
            ("[fec0::1]:1", Private),
            ("[::ffff:192.168.0.1]:1", Private),
            ("[2002:a00:1::1]:1", Private),
            ("169.254.169.254:80", LinkLocal),
            ("[fe80::1]:1", LinkLocal),
            ("0.0.0.0:1", Nowhere),
            ("0.1.2.3:1", Nowhere),
            ("224.0.0.1:1", Nowhere),
            ("239.192.152.143:6771", Nowhere),
            ("240.0.0.1:1", Nowhere),
            ("255.255.255.255:1", Nowhere),
            ("[::]:1", Nowhere),
            ("[::2]:1", Nowhere),
            ("[::8.8.8.8]:1", Nowhere),
            ("[ff02::1]:1", Nowhere),
            ("8.8.8.8:0", Nowhere),
            ("127.0.0.1:0", Nowhere),
        ];
        for (addr, want) in table {
            assert_eq!(Class::of(addr.parse().unwrap()), want, "{addr}");
        }
        assert!([Loopback, Private, LinkLocal].into_iter().all(Class::is_local));
        assert!(![Global, Nowhere].into_iter().any(Class::is_local));
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        for (given, want) in [
            ("[::ffff:1.2.3.4]:5", "1.2.3.4:5"),
            ("1.2.3.4:5", "1.2.3.4:5"),
            ("[2001:db8::1]:5", "[2001:db8::1]:5"),
            ("[fe80::1%3]:5", "[fe80::1%3]:5"),
        ] {
            assert_eq!(canonical(given.parse().unwrap()), want.parse().unwrap(), "{given}");
        }
    }

    #[test]
    fn a_subnet_is_what_one_customer_has() {
        let subnet = |text: &str| Subnet::of(text.parse().unwrap());
        assert_eq!(subnet("80.4.4.200"), subnet("::ffff:80.4.4.7"));
        assert_ne!(subnet("80.4.4.200"), subnet("80.4.5.200"));
        assert_eq!(subnet("2001:db8::1"), subnet("2001:db8::2:3:4:5"));
        assert_ne!(subnet("2001:db8::1"), subnet("2001:db8:0:1::1"));
    }
}
