//! Decides which addresses a name in untrusted input may lead to (S-07). The tracker of a torrent or a redirect must
//! not make this machine send requests to its own services, its router or a cloud's metadata address.

use std::net::IpAddr;

use crate::logic::peers::address::Class;

/// The kind of network in which an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// This machine.
    Loopback,
    /// A private network, including shared networks of providers and VPNs.
    Private,
    /// The internet.
    Global,
    /// An address that no tracker can have: link-local (and with it the metadata services), multicast, unspecified,
    /// broadcast.
    Nowhere,
}

/// The zone of an address, by the classes of the peer book: a tracker is local exactly if peers at its address would
/// be.
pub fn zone(ip: IpAddr) -> Zone {
    match Class::of_ip(ip) {
        Class::Loopback => Zone::Loopback,
        Class::Private => Zone::Private,
        Class::Global => Zone::Global,
        Class::LinkLocal | Class::Nowhere => Zone::Nowhere,
    }
}

/// The origin of a request's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The URL is named by a torrent. As in libtorrent, this machine is then asked only under a path of a tracker.
    Tracker,
    /// The user has typed the URL.
    User,
}

/// Whether `path` may be asked for at this address. `before` is the zone of the server that redirected here. Returns
/// the zone of the address, or why it may not be asked.
pub fn may_ask(purpose: Purpose, ip: IpAddr, path: &str, before: Option<Zone>) -> Result<Zone, &'static str> {
    let here = zone(ip);
    let rank = |zone| match zone {
        Zone::Loopback => 0,
        Zone::Private => 1,
        Zone::Global | Zone::Nowhere => 2,
    };
    if here == Zone::Nowhere {
        return Err("no server can be at that address");
    }
    if before.is_some_and(|before| rank(here) < rank(before)) {
        return Err("a redirect from a public server to a local one is not followed");
    }
    let like_a_tracker = path.contains("/announce") || path.contains("/scrape");
    if here == Zone::Loopback && purpose == Purpose::Tracker && !like_a_tracker {
        return Err("a local address is asked only for an announce or a scrape");
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_where_a_tracker_can_be_are_asked() {
        let table = [
            ("8.8.8.8", "/announce", None, true),
            ("8.8.8.8", "/anything", None, true),
            ("127.0.0.1", "/announce", None, true),
            ("127.0.0.1", "/0123/announce.php", None, true),
            ("127.0.0.1", "/admin?delete=all", None, false),
            ("::1", "/scrape", None, true),
            ("::ffff:127.0.0.1", "/admin", None, false),
            ("169.254.169.254", "/announce", None, false),
            ("fe80::1", "/announce", None, false),
            ("0.0.0.0", "/announce", None, false),
            ("::", "/announce", None, false),
            ("224.0.0.1", "/announce", None, false),
            ("255.255.255.255", "/announce", None, false),
            ("ff02::1", "/announce", None, false),
            ("192.168.1.1", "/announce", None, true),
            ("192.168.1.1", "/announce", Some(Zone::Global), false),
            ("127.0.0.1", "/announce", Some(Zone::Global), false),
            ("127.0.0.1", "/announce", Some(Zone::Private), false),
            ("127.0.0.1", "/announce", Some(Zone::Loopback), true),
            ("8.8.8.8", "/announce", Some(Zone::Loopback), true),
            // Shared (RFC 6598) and test networks (RFC 2544), and IPv4 behind a translator (RFC 6052), are not public
            // servers.
            ("100.64.0.1", "/announce", None, true),
            ("100.64.0.1", "/announce", Some(Zone::Global), false),
            ("198.18.0.1", "/announce", Some(Zone::Global), false),
            ("64:ff9b::a9fe:a9fe", "/announce", None, false),
            ("64:ff9b::7f00:1", "/admin", None, false),
        ];
        for (ip, path, before, want) in table {
            assert_eq!(
                may_ask(Purpose::Tracker, ip.parse().unwrap(), path, before).is_ok(),
                want,
                "{ip}{path} {before:?}"
            );
        }
        let zones = ["10.0.0.1", "100.64.0.1", "198.19.255.1", "fd00::1"].map(|ip| zone(ip.parse().unwrap()));
        assert_eq!(zones, [Zone::Private; 4]);
        assert!(may_ask(Purpose::User, "127.0.0.1".parse().unwrap(), "/file.torrent", None).is_ok());
    }
}
