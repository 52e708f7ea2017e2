//! Who is never dialled and never accepted again in this run.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::base::disconnect::DisconnectReason;
use crate::logic::peers::address::Class;

/// 65,536: a liar has to connect and be convicted for each; beyond it, the lowest addresses come free again.
const MOST: usize = 65_536;

/// Hosts, and single ports where a host is shared.
#[derive(Debug, Default)]
pub(super) struct Bans {
    hosts: BTreeSet<IpAddr>,
    addrs: BTreeSet<SocketAddr>,
}

impl Bans {
    /// A liar's whole host: it would only come back from another port. But many live on this machine, and ourselves
    /// share our public address with our neighbours: there the port counts.
    pub(super) fn put(&mut self, addr: SocketAddr, farewell: DisconnectReason) {
        if self.len() >= MOST {
            self.addrs.pop_first();
            self.hosts.pop_first();
        }
        if farewell == DisconnectReason::Ourselves || Class::of_ip(addr.ip()) == Class::Loopback {
            self.addrs.insert(addr);
        } else {
            self.hosts.insert(addr.ip());
        }
    }

    pub(super) fn lift(&mut self, addr: SocketAddr) {
        self.addrs.remove(&addr);
        self.hosts.remove(&addr.ip());
    }

    pub(super) fn has(&self, addr: SocketAddr) -> bool {
        self.hosts.contains(&addr.ip()) || self.addrs.contains(&addr)
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len() + self.addrs.len()
    }
}
