//! How many bytes each network was given of the pieces that we allow choked newcomers to request (BEP 6).
//!
//! "The canonical algorithm" names the same pieces to every peer of a network, so that reconnecting brings a peer no
//! further piece. The bytes are counted per network too, or else a peer could reconnect and download the same pieces
//! over and over without a slot. All connections of a torrent share the counts. This module knows no pieces.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::logic::peers::address::Subnet;

/// 32 MiB for each network: the most that one peer is given (`protocol::fast`), with each byte sent twice.
const MOST_BYTES: u64 = 32 * 1024 * 1024;

/// An hour after its first byte a network may be given pieces again: a day of reconnecting then brings less than a
/// slot does in minutes. Picked by eye.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// At most 256 networks an hour are given pieces. This is 8 GiB in all, 2.3 MiB/s, and more than the number of
/// newcomers that a torrent sees in most hours. Others wait for a slot.
const MOST_NETWORKS: usize = 256;

/// The counts of one torrent. Clones share the same counts.
#[derive(Debug, Clone, Default)]
pub struct GrantCounts(Rc<RefCell<BTreeMap<Subnet, Account>>>);

/// What one network was given.
#[derive(Debug)]
struct Account {
    /// When it was given its first byte.
    since: Instant,
    bytes: u64,
}

impl GrantCounts {
    /// Whether the network of this address has been given all that it may have for now.
    pub fn is_spent(&self, now: Instant, ip: IpAddr) -> bool {
        let accounts = self.0.borrow();
        let is_old = |account: &Account| now >= account.since + FORGOTTEN_AFTER;
        match accounts.get(&Subnet::of(ip)) {
            Some(account) => !is_old(account) && account.bytes >= MOST_BYTES,
            None => accounts.len() >= MOST_NETWORKS && !accounts.values().any(is_old),
        }
    }

    /// Counts `len` bytes for the network of this address.
    pub fn charge(&self, now: Instant, ip: IpAddr, len: u32) {
        let mut accounts = self.0.borrow_mut();
        let subnet = Subnet::of(ip);
        if !accounts.contains_key(&subnet) || accounts.len() > MOST_NETWORKS {
            accounts.retain(|_, account| now < account.since + FORGOTTEN_AFTER);
        }
        let account = accounts.entry(subnet).or_insert(Account { since: now, bytes: 0 });
        if now >= account.since + FORGOTTEN_AFTER {
            *account = Account { since: now, bytes: 0 };
        }
        account.bytes += u64::from(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;

    const BLOCK: u32 = 16 * 1024;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The bytes that an address gets if it requests all it may.
    fn takes(ledger: &GrantCounts, now: Instant, from: IpAddr) -> u64 {
        let mut bytes = 0;
        while !ledger.is_spent(now, from) {
            ledger.charge(now, from, BLOCK);
            bytes += u64::from(BLOCK);
        }
        bytes
    }

    #[test]
    fn a_network_has_its_share_once_an_hour_however_often_it_comes_back() {
        let (t0, ledger) = (base_instant(), GrantCounts::default());
        let at = |minutes: u64| t0 + Duration::from_secs(60 * minutes);
        let table = [
            (0, "80.4.4.1", MOST_BYTES),
            (1, "80.4.4.1", 0),
            (1, "80.4.4.200", 0),
            (1, "::ffff:80.4.4.9", 0),
            (1, "80.4.5.1", MOST_BYTES),
            (2, "2001:db8::1", MOST_BYTES),
            (3, "2001:db8::ffff:1", 0),
            (59, "80.4.4.1", 0),
            (60, "80.4.4.1", MOST_BYTES),
        ];
        for (minute, from, want) in table {
            assert_eq!(takes(&ledger, at(minute), ip(from)), want, "{from} after {minute} minutes");
        }
    }

    #[test]
    fn the_number_of_networks_an_hour_is_limited() {
        let (t0, ledger) = (base_instant(), GrantCounts::default());
        let network = |n: u32| IpAddr::from((0x5000_0000 + (n << 8)).to_be_bytes());
        let served = |now, from: u32| (from..from + 1000).filter(|n| takes(&ledger, now, network(*n)) > 0).count();
        assert_eq!(served(t0, 0), MOST_NETWORKS);
        assert_eq!(served(t0 + FORGOTTEN_AFTER, 5000), MOST_NETWORKS);
        assert!(ledger.0.borrow().len() <= MOST_NETWORKS);
    }
}
