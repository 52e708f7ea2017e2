//! Which addresses a name from a stranger may lead to (S-07): a torrent's tracker or a redirect must not make
//! this machine talk to its own services, its router or a cloud's metadata address.

use std::net::IpAddr;

/// Where an address lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// This machine.
    Loopback,
    /// Private networks (RFC 1918, RFC 4193).
    Private,
    /// The internet.
    Global,
    /// Where no tracker is: link-local (and with it the metadata services), multicast, unspecified, broadcast.
    Nowhere,
}

/// The zone of an address; IPv4 in IPv6 counts as the IPv4 address.
pub fn zone(ip: IpAddr) -> Zone {
    match ip.to_canonical() {
        IpAddr::V4(v4) if v4.is_loopback() => Zone::Loopback,
        IpAddr::V4(v4) if v4.is_private() => Zone::Private,
        IpAddr::V4(v4) => {
            let nowhere = v4.is_link_local()
                || v4.is_multicast()
                || v4.is_unspecified()
                || v4.octets()[0] == 0
                || v4.octets()[0] >= 240;
            if nowhere { Zone::Nowhere } else { Zone::Global }
        }
        IpAddr::V6(v6) if v6.is_loopback() => Zone::Loopback,
        IpAddr::V6(v6) if v6.is_unique_local() => Zone::Private,
        IpAddr::V6(v6) => {
            let nowhere = v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified();
            if nowhere { Zone::Nowhere } else { Zone::Global }
        }
    }
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A URL that a torrent names. On this machine only a path that looks like a tracker's is asked, as in libtorrent.
    Tracker,
    /// A URL that the user typed.
    User,
}

/// May this address be asked for `path`? `before` is the zone of the server that redirected here.
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
        ];
        for (ip, path, before, want) in table {
            assert_eq!(
                may_ask(Purpose::Tracker, ip.parse().unwrap(), path, before).is_ok(),
                want,
                "{ip}{path} {before:?}"
            );
        }
        assert!(may_ask(Purpose::User, "127.0.0.1".parse().unwrap(), "/file.torrent", None).is_ok());
    }
}
