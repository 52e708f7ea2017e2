//! The connection ids of BEP 15, without storing any: a keyed hash of address and time.
//!
//! "Connection IDs should not be guessable by the client" and "should accept the connection ID until two minutes after
//! it has been sent". This module knows no datagrams.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// One minute: with the two slots before, an id is valid for two to three minutes.
const SLOT: Duration = Duration::from_secs(60);

/// The slots whose ids are valid: this one and the two before.
const GOOD_SLOTS: u64 = 3;

/// Issues and checks connection ids.
pub(super) struct Tickets {
    epoch: Instant,
    secret: [u8; 32],
}

impl Tickets {
    pub(super) const fn new(epoch: Instant, secret: [u8; 32]) -> Self {
        Self { epoch, secret }
    }

    /// The id for this address. The port is not part of it, since some routers change ports.
    pub(super) fn issue(&self, now: Instant, to: IpAddr) -> u64 {
        self.id(self.slot(now), to)
    }

    /// Whether the id was issued to this address and has not expired.
    pub(super) fn is_good(&self, now: Instant, from: IpAddr, id: u64) -> bool {
        let slot = self.slot(now);
        (slot.saturating_sub(GOOD_SLOTS - 1)..=slot).rev().any(|slot| self.id(slot, from) == id)
    }

    /// The number of the present slot.
    fn slot(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_secs() / SLOT.as_secs()
    }

    /// The id of an address in a slot.
    fn id(&self, slot: u64, ip: IpAddr) -> u64 {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        // Secret first, all lengths fixed, three quarters of the digest kept back: a length extension is impossible.
        let digest =
            Sha256::new().chain_update(self.secret).chain_update(ip).chain_update(slot.to_be_bytes()).finalize();
        digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::testing::base_instant;

    #[test]
    fn an_id_is_valid_for_two_minutes_and_for_no_other_address() {
        let epoch = base_instant();
        let tickets = Tickets::new(epoch, [7; 32]);
        let at = |secs| epoch + Duration::from_secs(secs);
        let (us, them): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for issued in [0, 59, 60, 1000] {
            let id = tickets.issue(at(issued), us);
            assert!((0..=120).all(|later| tickets.is_good(at(issued + later), us, id)), "issued at {issued}");
            assert!(!tickets.is_good(at(issued + 181), us, id), "issued at {issued}");
            assert!(!tickets.is_good(at(issued), them, id));
            assert!(!tickets.is_good(at(issued), us, id ^ 1));
            assert!(!Tickets::new(epoch, [8; 32]).is_good(at(issued), us, id), "another secret");
        }
    }
}
