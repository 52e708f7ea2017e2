//! What each network has had of the pieces that newcomers are given while they are choked (BEP 6).
//!
//! "The canonical algorithm" names the same pieces to a whole network, so that nobody gets more by coming back. The bytes are
//! counted for it too: else whoever reconnects takes the same pieces again and again without a slot. Shared by all connections
//! of a torrent. Knows no pieces.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::logic::peers::address::Subnet;

/// 32 MiB a network: what one peer is given at most (`conversation::fast`), each byte twice.
const MOST_BYTES: u64 = 32 * 1024 * 1024;

/// An hour, then a network is given pieces anew: a day of coming back brings less than a slot does in minutes. Picked by eye.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// 256 networks an hour are given pieces, 8 GiB in all, 2.3 MiB/s: above the number of newcomers that one torrent sees in
/// most hours. The others wait for a slot.
const MOST_NETWORKS: usize = 256;

/// The counts of one torrent. Clones are the same counts.
#[derive(Debug, Clone, Default)]
pub struct GrantCounts(Rc<RefCell<BTreeMap<Subnet, Account>>>);

#[derive(Debug)]
struct Account {
    since: Instant,
    bytes: u64,
}

impl GrantCounts {
    /// Has the network of this address had all that it may have for now?
    pub fn is_spent(&self, now: Instant, ip: IpAddr) -> bool {
        let accounts = self.0.borrow();
        let is_old = |account: &Account| now >= account.since + FORGOTTEN_AFTER;
        match accounts.get(&Subnet::of(ip)) {
            Some(account) => !is_old(account) && account.bytes >= MOST_BYTES,
            None => accounts.len() >= MOST_NETWORKS && !accounts.values().any(is_old),
        }
    }

    /// It is given so many bytes.
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

    /// Bytes that an address has, taking all it may.
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
    fn so_many_networks_an_hour_and_no_more() {
        let (t0, ledger) = (base_instant(), GrantCounts::default());
        let network = |n: u32| IpAddr::from((0x5000_0000 + (n << 8)).to_be_bytes());
        let served = |now, from: u32| (from..from + 1000).filter(|n| takes(&ledger, now, network(*n)) > 0).count();
        assert_eq!(served(t0, 0), MOST_NETWORKS);
        assert_eq!(served(t0 + FORGOTTEN_AFTER, 5000), MOST_NETWORKS);
        assert!(ledger.0.borrow().len() <= MOST_NETWORKS);
    }
}
