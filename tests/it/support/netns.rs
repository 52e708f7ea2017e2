//! Two hosts on one machine: network namespaces with a cable between them, for clients that take no peers on loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::torrents::run;

/// One host: a namespace with its own loopback, and one end of the cable.
#[derive(Debug)]
pub(crate) struct Host {
    name: String,
    pub(crate) ip: IpAddr,
}

impl Host {
    fn new(letter: char, last: u8) -> Self {
        let pid = std::process::id();
        // 198.18/15 is for tests of networks (RFC 2544); nothing on this machine leads there.
        let [high, low] = u16::try_from(pid % (1 << 16)).unwrap().to_be_bytes();
        Self { name: format!("tta{pid}{letter}"), ip: Ipv4Addr::new(198, 18 + high % 2, low, last).into() }
    }

    /// Its end of the cable.
    pub(crate) fn device(&self) -> &str {
        &self.name
    }

    /// Runs `ip` on this host; what it says.
    pub(crate) fn ip(&self, args: &[&str]) -> String {
        run(Command::new("ip").args(["-n", &self.name]).args(args))
    }

    /// The same program, started on this host.
    pub(crate) fn command(&self, of: &Command) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(of.get_program()).args(of.get_args());
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // With the namespace goes its end of the cable. Gone already is well too.
        let mut command = Command::new("ip");
        command.args(["netns", "del", &self.name]).stderr(Stdio::null());
        drop(command.status());
    }
}

/// Two hosts, connected.
pub(crate) fn two_hosts() -> [Host; 2] {
    let hosts = [Host::new('a', 1), Host::new('b', 2)];
    let [a, b] = &hosts;
    ip(&["netns", "add", &a.name]);
    ip(&["netns", "add", &b.name]);
    ip(&["link", "add", &a.name, "netns", &a.name, "type", "veth", "peer", "name", &b.name, "netns", &b.name]);
    for host in &hosts {
        host.ip(&["addr", "add", &format!("{}/24", host.ip), "dev", &host.name]);
        host.ip(&["link", "set", "lo", "up"]);
        host.ip(&["link", "set", &host.name, "up"]);
    }
    hosts
}

/// A second cable between two hosts; the name of its end on the first. Both ends have addresses in 198.51.100/24.
pub(crate) fn second_cable([a, b]: &[Host; 2]) -> String {
    let ends = [a, b].map(|host| format!("{}x", host.name));
    ip(&["link", "add", &ends[0], "netns", &a.name, "type", "veth", "peer", "name", &ends[1], "netns", &b.name]);
    for (host, (end, address)) in [a, b].into_iter().zip(ends.iter().zip(["198.51.100.1/24", "198.51.100.2/24"])) {
        // Without an address of its own IPv6 greets no neighbours, which would be counted.
        host.ip(&["link", "set", end, "addrgenmode", "none"]);
        host.ip(&["addr", "add", address, "dev", end]);
        host.ip(&["link", "set", end, "up"]);
    }
    ends.into_iter().next().unwrap()
}

/// Whether this process may make such hosts; root in a container may not.
pub(crate) fn can_make_hosts() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let name = format!("tta{}probe", std::process::id());
        let can = |verb| {
            let mut command = Command::new("ip");
            command.args(["netns", verb, &name]).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        can("add") && can("del")
    })
}

fn ip(args: &[&str]) {
    run(Command::new("ip").args(args));
}
