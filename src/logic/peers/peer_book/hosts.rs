//! How often public hosts are dialled, whatever the ports: a list that names one victim two hundred times must not make
//! us knock two hundred times (T-20).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::window::Window;
use crate::logic::peers::address::Class;

/// 1,024 hosts before the first clean-up: rare enough to cost nothing, small enough to stay bounded.
const SWEEP_AT: usize = 1024;

#[derive(Debug, Default)]
struct Host {
    window: Window,
    dialling: bool,
}

/// Public hosts only. Addresses of local networks are not somebody else's: nobody but a person, or a tracker that is
/// there itself, can name them.
#[derive(Debug)]
pub(super) struct Hosts {
    hosts: BTreeMap<IpAddr, Host>,
    sweep_at: usize,
}

impl Default for Hosts {
    fn default() -> Self {
        Self { hosts: BTreeMap::new(), sweep_at: SWEEP_AT }
    }
}

impl Hosts {
    /// A dial goes out.
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

    /// The dial is over, for good or ill.
    pub(super) fn release(&mut self, addr: SocketAddr) {
        if let Some(host) = self.hosts.get_mut(&addr.ip()) {
            host.dialling = false;
        }
    }

    /// Somebody there delivered: it is no victim.
    pub(super) fn pardon(&mut self, addr: SocketAddr) {
        if let Some(host) = self.hosts.get_mut(&addr.ip()) {
            host.window = Window::default();
        }
    }

    pub(super) fn is_dialling(&self, addr: SocketAddr) -> bool {
        self.hosts.get(&addr.ip()).is_some_and(|host| host.dialling)
    }

    /// When the host may be dialled again; `None` is now.
    pub(super) fn opens_at(&self, now: Instant, addr: SocketAddr) -> Option<Instant> {
        self.hosts.get(&addr.ip()).and_then(|host| host.window.opens_at(now))
    }
}
