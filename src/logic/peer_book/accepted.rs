//! The connections that strangers opened to us (P-28). Their ports are not listening ports; they are redialled only where
//! they say that they listen (BEP 10).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use crate::logic::address::Class;

/// Two from one host (P-28): a second peer behind one address, or the same one coming back before we noticed its loss.
const PER_HOST: usize = 2;

#[derive(Debug)]
struct Guest {
    since: Instant,
    proven: bool,
    listens: Option<u16>,
}

/// By their remote addresses.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    guests: BTreeMap<SocketAddr, Guest>,
}

impl Accepted {
    pub(super) fn insert(&mut self, now: Instant, addr: SocketAddr) {
        self.guests.insert(addr, Guest { since: now, proven: false, listens: None });
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, addr: SocketAddr) -> bool {
        self.guests.remove(&addr).is_some()
    }

    /// Where it can be dialled, if it is there and has said so.
    pub(super) fn listens(&self, addr: SocketAddr) -> Option<SocketAddr> {
        let port = self.guests.get(&addr)?.listens?;
        Some(SocketAddr::new(addr.ip(), port))
    }

    pub(super) fn note_port(&mut self, addr: SocketAddr, port: u16) {
        if let Some(guest) = self.guests.get_mut(&addr) {
            guest.listens = Some(port);
        }
    }

    /// It delivered; says whether it is one of ours.
    pub(super) fn prove(&mut self, addr: SocketAddr) -> bool {
        self.guests.get_mut(&addr).map(|guest| guest.proven = true).is_some()
    }

    pub(super) fn has(&self, addr: SocketAddr) -> bool {
        self.guests.contains_key(&addr)
    }

    pub(super) fn is_proven(&self, addr: SocketAddr) -> bool {
        self.guests.get(&addr).is_some_and(|guest| guest.proven)
    }

    pub(super) fn any_proven(&self) -> bool {
        self.guests.values().any(|guest| guest.proven)
    }

    pub(super) fn len(&self) -> usize {
        self.guests.len()
    }

    pub(super) fn addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.guests.keys().copied()
    }

    /// Has its host its share already? This machine has no share: whoever connects from here is meant to.
    pub(super) fn is_host_full(&self, addr: SocketAddr) -> bool {
        let ports = SocketAddr::new(addr.ip(), 0)..=SocketAddr::new(addr.ip(), u16::MAX);
        Class::of_ip(addr.ip()) != Class::Loopback && self.guests.range(ports).count() >= PER_HOST
    }

    /// Takes out the one that has gone unproven for longest.
    pub(super) fn evict(&mut self) -> Option<SocketAddr> {
        let unproven = self.guests.iter().filter(|(_, guest)| !guest.proven);
        let (addr, _) = unproven.min_by_key(|(addr, guest)| (guest.since, **addr))?;
        let addr = *addr;
        self.guests.remove(&addr);
        Some(addr)
    }
}
