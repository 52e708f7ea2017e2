//! How many entries of a table each network has, in a fixed amount of memory.
//!
//! An address belongs to a site (the /24 of IPv4, the /48 of IPv6) and to a provider (/16, /32). This module knows no
//! peers and no swarms.

use std::net::IpAddr;

use super::pool::HashKey;

/// 65,536 counters in each row: a thousand flooding networks fill a sixty-fourth of them.
const COUNTERS: usize = 1 << 16;

/// Two rows. A network is charged the smaller of its two counters, so it is overcharged only if it shares both with
/// flooding networks. With a thousand of these this happens to one honest network in 4,000.
const ROWS: usize = 2;

/// A provider may have as many entries as 64 sites before its sites are charged for more than their own. Picked by
/// eye: an attacker with a /32 of IPv6 has 65,536 sites, and a provider with 64 busy sites is large.
const SITES_PER_PROVIDER: u32 = 64;

/// The network of one customer or one machine room: a /24 of IPv4, a /48 of IPv6 (RFC 6177: "a /48 to end sites").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkSite {
    V4([u8; 3]),
    V6([u8; 6]),
}

/// The prefix that identifies the provider.
impl NetworkSite {
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => {
                let [prefix @ .., _] = ip.octets();
                Self::V4(prefix)
            }
            IpAddr::V6(ip) => {
                let [prefix @ .., _, _, _, _, _, _, _, _, _, _] = ip.octets();
                Self::V6(prefix)
            }
        }
    }

    /// The bytes of the prefix.
    pub(super) const fn prefix(&self) -> &[u8] {
        match self {
            Self::V4(prefix) => prefix,
            Self::V6(prefix) => prefix,
        }
    }

    fn provider(&self) -> &[u8] {
        match self {
            Self::V4([provider @ .., _]) => provider,
            Self::V6([provider @ .., _, _]) => provider,
        }
    }
}

/// Counters by the hash of a prefix, one row after the other.
#[derive(Debug, PartialEq, Eq)]
struct Rows(Vec<u32>);

impl Rows {
    fn new() -> Self {
        Self(vec![0; ROWS * COUNTERS])
    }

    /// Changes the counters of a prefix, one in each row.
    fn change(&mut self, hash: u64, change: impl Fn(u32) -> u32) {
        for place in places(hash) {
            self.0[place] = change(self.0[place]);
        }
    }

    /// The smaller of the two counters of a prefix.
    fn least(&self, hash: u64) -> u32 {
        places(hash).into_iter().map(|place| self.0[place]).min().unwrap_or(0)
    }
}

/// The counter of each row, chosen by two different bytes of the hash each.
fn places(hash: u64) -> [usize; ROWS] {
    let [a, b, c, d, ..] = hash.to_be_bytes();
    let [first, second] = [[a, b], [c, d]].map(|part| usize::from(u16::from_be_bytes(part)));
    [first, COUNTERS + second]
}

/// The number of entries of each network.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loads {
    sites: Rows,
    providers: Rows,
}

impl Loads {
    pub(super) fn new() -> Self {
        Self { sites: Rows::new(), providers: Rows::new() }
    }

    /// Adds an entry of this site.
    pub(super) fn add(&mut self, site: NetworkSite, key: HashKey) {
        self.change(site, key, |count| count.saturating_add(1));
    }

    /// Removes an entry of this site.
    pub(super) fn remove(&mut self, site: NetworkSite, key: HashKey) {
        self.change(site, key, |count| count.saturating_sub(1));
    }

    fn change(&mut self, site: NetworkSite, key: HashKey, change: impl Fn(u32) -> u32) {
        self.sites.change(key.hash(site.prefix()), &change);
        self.providers.change(key.hash(site.provider()), &change);
    }

    /// The number of entries for which this site is charged: its own, or its share of its provider's if that is more.
    /// Never fewer than its own.
    pub(super) fn of(&self, site: NetworkSite, key: HashKey) -> u64 {
        let provider = self.providers.least(key.hash(site.provider())) / SITES_PER_PROVIDER;
        self.sites.least(key.hash(site.prefix())).max(provider).into()
    }
}

/// How readily an entry is removed for another one: the more entries its network has, the sooner.
///
/// A confirmed entry counts a sixteenth, so that a network whose peers stay may have sixteen times as many entries as
/// one whose peers have just joined (picked by eye). An overdue entry is removed before others of the same load.
pub(super) const fn burden(load: u64, is_confirmed: bool, is_overdue: bool) -> u64 {
    match (is_overdue, is_confirmed) {
        (true, _) => load * 16 + 8,
        (false, false) => load * 16,
        (false, true) => load,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(ip: &str) -> NetworkSite {
        NetworkSite::of(ip.parse().unwrap())
    }

    #[test]
    fn a_site_is_charged_for_what_it_holds_and_a_sixty_fourth_of_its_provider() {
        let (mut loads, key) = (Loads::new(), HashKey::new(1));
        for nth in 0..=255_u8 {
            for _ in 0..8 {
                loads.add(NetworkSite::V4([198, 51, nth]), key);
                loads.add(NetworkSite::V6([0x20, 1, 0xd, 0xb8, nth, 7]), key);
            }
        }
        (0..100).for_each(|_| loads.add(site("198.51.3.1"), key));
        let table = [
            ("198.51.3.7", 108),
            ("198.51.4.7", (256 * 8 + 100) / 64),
            ("198.52.4.7", 0),
            ("2001:db8:1007::1", 256 * 8 / 64),
            ("2001:db8:ffff::1", 256 * 8 / 64),
            ("2001:db9:1007::1", 0),
        ];
        for (ip, want) in table {
            assert_eq!(loads.of(site(ip), key), want, "{ip}");
        }
        (0..108).for_each(|_| loads.remove(site("198.51.3.1"), key));
        assert_eq!(loads.of(site("198.51.3.7"), key), 255 * 8 / 64);
    }

    #[test]
    fn confirmed_entries_stay_longer_than_new_ones_and_overdue_ones_go_first() {
        let table = [
            (burden(1, false, true), burden(1, false, false)),
            (burden(1, false, false), burden(1, true, false)),
            (burden(2, false, false), burden(1, true, true)),
            (burden(17, true, false), burden(1, false, false)),
            (burden(1, false, false), burden(15, true, false)),
        ];
        for (nth, (sooner, later)) in table.into_iter().enumerate() {
            assert!(sooner > later, "row {nth}");
        }
    }
}
