//! Our tracker as its users start it, and the questions that any tracker answers, over HTTP and over UDP.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tt_actors::base::ids::InfoHash;
use tt_actors::codec::tracker::{AnnounceReply, AnnounceRequest, Reply, ScrapeEntry};
use tt_actors::codec::tracker_http::{ScrapeReply, announce_url, parse_announce, parse_scrape, scrape_url};
use tt_actors::codec::tracker_udp::{self, UdpReply, decode_reply};

use super::client::{Outcome, WATCHDOG, tt};
use super::netns::Host;
use super::peers::http_get;
use super::process::{Process, until};

/// What a datagram may take to come back on a loaded machine before it counts as lost.
const DATAGRAM: Duration = Duration::from_millis(500);

/// `tt-actors tracker` on loopback, on ports of the system's choice.
#[derive(Debug)]
pub(crate) struct OurTracker {
    process: Process,
    pub(crate) http: SocketAddr,
    pub(crate) udp: SocketAddr,
}

impl OurTracker {
    /// With these arguments besides.
    pub(crate) fn start<A: AsRef<OsStr>>(args: &[A]) -> Self {
        Self::start_at("127.0.0.1:0", args)
    }

    /// On this address, over HTTP and UDP.
    pub(crate) fn start_at<A: AsRef<OsStr>>(at: &str, args: &[A]) -> Self {
        let mut command = tt();
        command.args(["tracker", "--json", "--http", at, "--udp", at]).args(args);
        Self::ready(&mut command)
    }

    /// On another host, where its `/stats` cannot be asked from here.
    pub(crate) fn start_on(host: &Host) -> Self {
        let (mut command, at) = (tt(), SocketAddr::new(host.ip, 0).to_string());
        command.args(["tracker", "--json", "--http", &at, "--udp", &at]);
        Self::ready(&mut host.command(&command))
    }

    fn ready(command: &mut Command) -> Self {
        let mut process = Process::start("tt-actors tracker", command);
        let (http, udp) = process.wait_for("its addresses", WATCHDOG, |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            let at = |of: &str| event[of][0].as_str()?.split('/').nth(2)?.parse().ok();
            Some((at("http")?, at("udp")?))
        });
        Self { process, http, udp }
    }

    /// What goes into a torrent.
    pub(crate) fn url(&self, scheme: &str) -> String {
        let at = if scheme == "udp" { self.udp } else { self.http };
        format!("{scheme}://{at}/announce")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it at once.
    pub(crate) fn kill(self) {
        drop(self.process.kill());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for a line of it that contains this.
    pub(crate) fn wait_until_it_says(&mut self, text: &str) {
        self.process.wait_for(text, WATCHDOG, |line| line.contains(text).then_some(()));
    }

    /// A number of `/stats`.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let page = http_get(self.http, "/stats").unwrap();
        let stats: Value = serde_json::from_slice(&page).unwrap();
        stats[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {stats}"))
    }

    /// Waits until it counts at least this many.
    pub(crate) fn wait_for(&self, name: &str, count: u64) {
        until(&format!("{count} {name} at our tracker"), WATCHDOG, || self.stat(name) >= count);
    }

    /// Ends it in good order and takes what it said.
    pub(crate) fn stop(self) -> Outcome {
        self.signal(Signal::TERM);
        Outcome::of(&self.process.finish(WATCHDOG))
    }
}

/// An announce over HTTP, with more words behind it.
pub(crate) fn http_announce(at: SocketAddr, request: &AnnounceRequest, words: &str) -> Reply {
    let url = announce_url(&format!("http://{at}/announce"), request);
    let target = url.strip_prefix(&format!("http://{at}")).unwrap();
    let body = http_get(at, &format!("{target}{words}")).unwrap();
    parse_announce(&body).unwrap_or_else(|bad| panic!("{bad}: {}", body.escape_ascii()))
}

/// A scrape over HTTP, in the order of the info-hashes.
pub(crate) fn http_scrape(at: SocketAddr, swarms: &[InfoHash]) -> Vec<ScrapeEntry> {
    let url = scrape_url(&format!("http://{at}/announce"), swarms).unwrap();
    let body = http_get(at, url.strip_prefix(&format!("http://{at}")).unwrap()).unwrap();
    match parse_scrape(&body) {
        Ok(ScrapeReply::Entries(mut entries)) => {
            entries.sort_by_key(|entry| entry.info_hash);
            entries
        }
        other => panic!("{other:?}: {}", body.escape_ascii()),
    }
}

/// A client of a UDP tracker that asks until it is answered.
#[derive(Debug)]
pub(crate) struct UdpClient {
    socket: UdpSocket,
    id: u64,
}

impl UdpClient {
    /// Asks for a connection id.
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let local: SocketAddr = if to.is_ipv4() { (Ipv4Addr::LOCALHOST, 0).into() } else { "[::1]:0".parse().unwrap() };
        let socket = UdpSocket::bind(local).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(DATAGRAM)).unwrap();
        let mut client = Self { socket, id: 0 };
        match client.ask(&tracker_udp::encode_connect(1), 1) {
            UdpReply::Connected { connection_id } => client.id = connection_id,
            other => panic!("{other:?}"),
        }
        client
    }

    pub(crate) fn announce(&self, request: &AnnounceRequest) -> UdpReply {
        self.ask(&tracker_udp::encode_announce(self.id, 2, request), 2)
    }

    pub(crate) fn scrape(&self, swarms: &[InfoHash]) -> Vec<(u32, u32, u32)> {
        match self.ask(&tracker_udp::encode_scrape(self.id, 3, swarms), 3) {
            UdpReply::Scraped(numbers) => numbers,
            other => panic!("{other:?}"),
        }
    }

    fn ask(&self, datagram: &[u8], transaction: u32) -> UdpReply {
        let ipv6 = self.socket.local_addr().unwrap().is_ipv6();
        let mut buffer = [0; 4096];
        for _ in 0..60 {
            self.socket.send(datagram).unwrap();
            if let Ok(len) = self.socket.recv(&mut buffer)
                && let Ok(reply) = decode_reply(&buffer[..len], transaction, ipv6)
            {
                return reply;
            }
        }
        panic!("no answer to {}", datagram.escape_ascii())
    }
}

/// What two trackers must agree on: numbers and peers, whichever of them is asked first.
pub(crate) fn essence(reply: &AnnounceReply) -> (Option<u32>, Option<u32>, BTreeSet<SocketAddr>) {
    (reply.complete, reply.incomplete, reply.peers.iter().copied().collect())
}
