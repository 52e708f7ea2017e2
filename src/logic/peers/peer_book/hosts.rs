//! Limits how often a public host is dialled, whatever the ports: a peer list that names one victim two hundred times
//! must not make us connect two hundred times (T-20).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::window::Window;
use crate::logic::peers::address::Class;

/// 1,024 hosts before the first clean-up: rare enough to cost nothing, small enough to stay bounded.
const SWEEP_AT: usize = 1024;

/// What is remembered of one host.
#[derive(Debug, Default)]
struct Host {
    /// Its last unproductive dials.
    window: Window,
    /// Whether a dial to it is under way.
    dialling: bool,
}

/// The dials of public hosts. Hosts on local networks are not counted: only the user, or a source that is there
/// itself, can name them.
#[derive(Debug)]
pub(super) struct Hosts {
    hosts: BTreeMap<IpAddr, Host>,
    /// The number of hosts at which stale ones are removed.
    sweep_at: usize,
}

impl Default for Hosts {
    fn default() -> Self {
        Self { hosts: BTreeMap::new(), sweep_at: SWEEP_AT }
    }
}

impl Hosts {
    /// A dial starts.
    pub(super) fn charge(&mut self, now: Instant, addr: SocketAddr) {
        if Class::of(addr) != Class::Global {
            return;
        }
        if self.hosts.len() >= self.sweep_at {
            self.hosts.retain(|_, host| host.dialling || !host.window.is_stale(now));
            self.sweep_at = SWEEP_AT.max(self.hosts.len() * 2);
        }
        let host = self.hosts.entry(addr.ip()).or_default();
        host.window.charge(now);
        host.dialling = true;
    }

    /// The dial has ended, with or without a connection.
    pub(super) fn release(&mut self, addr: SocketAddr) {
        if let Some(host) = self.hosts.get_mut(&addr.ip()) {
            host.dialling = false;
        }
    }

    /// A peer on this host delivered a block, so the host is no victim: its dials are forgotten.
    pub(super) fn pardon(&mut self, addr: SocketAddr) {
        if let Some(host) = self.hosts.get_mut(&addr.ip()) {
            host.window = Window::default();
        }
    }

    /// Whether a dial to this host is under way.
    pub(super) fn is_dialling(&self, addr: SocketAddr) -> bool {
        self.hosts.get(&addr.ip()).is_some_and(|host| host.dialling)
    }

    /// When the host may be dialled again. `None`: now.
    pub(super) fn opens_at(&self, now: Instant, addr: SocketAddr) -> Option<Instant> {
        self.hosts.get(&addr.ip()).and_then(|host| host.window.opens_at(now))
    }
}
