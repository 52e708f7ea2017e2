//! transmission-daemon on a host of its own: it announces itself to trackers and believes what they say, but never takes
//! a peer on loopback.

use std::path::Path;
use std::process::{Command, Stdio};

use super::client::WATCHDOG;
use super::lab::Lab;
use super::netns::Host;
use super::peers::mortal;
use super::ports::free;
use super::process::{Process, until};
use super::torrents::Torrent;

/// One daemon with one torrent.
#[derive(Debug)]
pub(crate) struct Daemon<'a> {
    host: &'a Host,
    rpc: u16,
    _process: Process,
}

impl<'a> Daemon<'a> {
    /// Starts it with this torrent, whose data is or will be in `dir`.
    pub(crate) fn start(lab: &Lab, host: &'a Host, torrent: &Torrent, dir: &Path) -> Self {
        let (port, rpc) = (free(), free());
        let home = lab.folder(&format!("transmission-{port}"));
        let settings = serde_json::json!({
            "peer-port": port, "peer-port-random-on-start": false,
            "rpc-bind-address": "127.0.0.1", "rpc-port": rpc, "rpc-authentication-required": false,
            "dht-enabled": false, "lpd-enabled": false, "pex-enabled": false, "utp-enabled": false,
            "port-forwarding-enabled": false, "encryption": 0, "incomplete-dir-enabled": false,
            "ratio-limit-enabled": false,
        });
        std::fs::write(home.join("settings.json"), settings.to_string()).unwrap();
        let mut command = mortal("transmission-daemon");
        let process = Process::start("transmission-daemon", &mut host.command(command.arg("-f").arg("-g").arg(&home)));
        let daemon = Self { host, rpc, _process: process };
        until("transmission's remote control", WATCHDOG, || daemon.ask(&["-si".as_ref()]).is_some());
        assert!(daemon.ask(&["-a".as_ref(), &torrent.path, "-w".as_ref(), dir]).is_some());
        daemon
    }

    /// Waits until it has everything.
    pub(crate) fn wait_until_whole(&self) {
        let whole = || self.ask(&["-t".as_ref(), "1".as_ref(), "-i".as_ref()]);
        until("the last piece", WATCHDOG, || whole().is_some_and(|said| said.contains("Percent Done: 100%")));
    }

    fn ask(&self, args: &[&Path]) -> Option<String> {
        let mut command = Command::new("transmission-remote");
        command.arg(format!("127.0.0.1:{}", self.rpc)).args(args);
        let output = self.host.command(&command).stderr(Stdio::null()).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
