//! The hosts and addresses that are neither dialled nor accepted in this run.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::base::disconnect::DisconnectReason;
use crate::logic::peers::address::Class;

/// 65,536: each takes a connection and a conviction. Beyond that the lowest addresses are forgotten.
const MOST: usize = 65_536;

/// Banned hosts, and banned single ports where several peers share a host.
#[derive(Debug, Default)]
pub(super) struct Bans {
    hosts: BTreeSet<IpAddr>,
    addrs: BTreeSet<SocketAddr>,
}

impl Bans {
    /// Bans the host of an address, since a liar would come back from another port. On a loopback address, where many
    /// peers may live, and for ourselves, since neighbours share our public address, only the port is banned.
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

    /// Removes the ban of this address and of its host.
    pub(super) fn lift(&mut self, addr: SocketAddr) {
        self.addrs.remove(&addr);
        self.hosts.remove(&addr.ip());
    }

    /// Whether the address or its host is banned.
    pub(super) fn has(&self, addr: SocketAddr) -> bool {
        self.hosts.contains(&addr.ip()) || self.addrs.contains(&addr)
    }

    /// The number of bans.
    pub(super) fn len(&self) -> usize {
        self.hosts.len() + self.addrs.len()
    }
}
