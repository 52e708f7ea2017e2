//! Real trackers and real foreign clients on loopback, each in a process of its own that dies with its handle.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::client::tt;
use super::lab::{Lab, python};
use super::ports::{free, local};
use super::process::{Process, until};
use super::torrents::{Torrent, script};

/// What a real peer may take to start on a slow machine.
const START: Duration = Duration::from_secs(60);

/// A leaked peer (the test process was killed) goes by itself after this time.
const LIFE: &str = "1200";

/// `program`, ended by `timeout` should we not be there to do it.
pub(crate) fn mortal(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", LIFE, program]);
    command
}

/// Debian's opentracker: HTTP and UDP on one port, with a whitelist as it is built.
#[derive(Debug)]
pub(crate) struct OpenTracker {
    port: u16,
    _process: Process,
}

impl OpenTracker {
    /// Starts opentracker on this port, which the torrent names already, with a whitelist of these info-hashes. It
    /// answers before it has read the whitelist, and then refuses every torrent. So it is asked for an unused info-hash
    /// of the list until it accepts.
    pub(crate) fn start(lab: &Lab, port: u16, info_hashes: &[&str]) -> Self {
        let whitelist = lab.at(&format!("whitelist-{port}"));
        let nobodys = "0".repeat(40);
        std::fs::write(&whitelist, format!("{nobodys}\n{}\n", info_hashes.join("\n"))).unwrap();
        let number = port.to_string();
        let mut command = mortal("opentracker");
        command.args(["-i", "127.0.0.1", "-p", &number, "-P", &number, "-w"]).arg(&whitelist);
        let process = Process::start("opentracker", &mut command);
        let peer = "peer_id=-TEST00-000000000000&port=7000&uploaded=0&downloaded=0&left=1&compact=1";
        let announce = format!("/announce?info_hash={}&{peer}", percent(&nobodys));
        let is_taken = |answer: Vec<u8>| !answer.starts_with(b"d14:failure reason");
        until("opentracker to take an announce", START, || http_get(local(port), &announce).is_some_and(is_taken));
        Self { port, _process: process }
    }

    /// Waits until it counts this many seeds: from then on an announce finds them.
    pub(crate) fn wait_for_seeds(&self, info_hash: &str, seeds: u64) {
        until("the seeds' announce", START, || self.seeds(info_hash) >= seeds);
    }

    /// How many seeds it counts.
    pub(crate) fn seeds(&self, info_hash: &str) -> u64 {
        self.scrape(info_hash, b"8:completei")
    }

    /// How many peers it counts that are not complete.
    pub(crate) fn leeches(&self, info_hash: &str) -> u64 {
        self.scrape(info_hash, b"10:incompletei")
    }

    /// How many downloads it saw completed.
    pub(crate) fn completed(&self, info_hash: &str) -> u64 {
        self.scrape(info_hash, b"10:downloadedi")
    }

    fn scrape(&self, info_hash: &str, field: &[u8]) -> u64 {
        let target = format!("/scrape?info_hash={}", percent(info_hash));
        let Some(body) = http_get(local(self.port), &target) else { return 0 };
        let at = body.windows(field.len()).position(|window| window == field);
        let digits = at.map(|at| body[at + field.len()..].iter().take_while(|byte| byte.is_ascii_digit()));
        let number = digits.map(|digits| digits.copied().collect::<Vec<_>>());
        number.and_then(|digits| String::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0)
    }
}

/// A foreign client that has the payload and serves it.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) addr: SocketAddr,
    process: Process,
}

impl Seed {
    /// libtorrent, through its Python binding.
    pub(crate) fn libtorrent(torrent: &Torrent) -> Self {
        Self::libtorrent_with(torrent, &[])
    }

    /// libtorrent that sends at most this many bytes per second.
    pub(crate) fn slow_libtorrent(torrent: &Torrent, rate: u64) -> Self {
        Self::libtorrent_with(torrent, &["--rate", &rate.to_string()])
    }

    /// libtorrent that unchokes no peer: a newcomer gets only the five pieces of its allowed-fast set (BEP 6).
    pub(crate) fn choking_libtorrent(torrent: &Torrent) -> Self {
        Self::libtorrent_with(torrent, &["--slots", "0"])
    }

    /// libtorrent that announces its pieces one by one (BEP 16) and never a full bitfield.
    pub(crate) fn super_libtorrent(torrent: &Torrent) -> Self {
        let port = free();
        let mut command = mortal(python().unwrap());
        command.arg(script("seed.py")).arg(&torrent.path).arg(torrent.save_path());
        let process = Process::start("libtorrent super-seed", command.arg(port.to_string()).arg("--super-seed"));
        until("the super-seed to listen", START, || TcpStream::connect(local(port)).is_ok());
        Self { addr: local(port), process }
    }

    /// The client under test, as a super-seed (BEP 16).
    pub(crate) fn ours_super(torrent: &Torrent, log: &Path) -> Self {
        let port = free();
        let mut command = tt();
        command.arg("seed").arg(&torrent.path).arg("-d").arg(torrent.save_path()).arg("--super-seed");
        command.args(["--json", "--port", &port.to_string(), "--log-file"]).arg(log);
        let mut process = Process::start("tt-actors seed --super-seed", &mut command);
        process.wait_for("that it seeds", START, |line| line.contains(r#""phase":"seeding""#).then_some(()));
        Self { addr: local(port), process }
    }

    /// Ends it in good order, and gives the last line that it prints.
    pub(crate) fn last_words(self) -> String {
        self.process.signal(rustix::process::Signal::INT);
        self.process.finish(START).out.pop().unwrap()
    }

    /// libtorrent that tells what every peer says: see [`Seed::hears`].
    pub(crate) fn talkative_libtorrent(torrent: &Torrent) -> Self {
        Self::libtorrent_with(torrent, &["--log"])
    }

    /// Waits until a peer has said this, and gives the whole line of libtorrent's log.
    pub(crate) fn hears(&mut self, what: &str) -> String {
        self.process.wait_for(what, START, |line| line.contains(what).then(|| line.to_owned()))
    }

    fn libtorrent_with(torrent: &Torrent, args: &[&str]) -> Self {
        let port = free();
        let mut command = mortal(python().unwrap());
        command.arg(script("seed.py")).arg(&torrent.path).arg(torrent.save_path()).arg(port.to_string()).args(args);
        Self::ready("libtorrent", &mut command, port, torrent)
    }

    /// aria2c, which checks the payload first.
    pub(crate) fn aria2(torrent: &Torrent) -> Self {
        let port = free();
        let mut command = mortal("aria2c");
        command.args(["--enable-dht=false", "--enable-dht6=false", "--disable-ipv6=true", "--bt-enable-lpd=false"]);
        command.args(["--enable-peer-exchange=false", "--seed-ratio=0.0", "--check-integrity=true"]);
        command.args(["--summary-interval=0", "--console-log-level=warn", &format!("--listen-port={port}"), "-d"]);
        command.arg(torrent.save_path()).arg(&torrent.path);
        Self::ready("aria2c", &mut command, port, torrent)
    }

    /// transmission-daemon, which checks the payload first. It takes no peers on loopback from a tracker, so it is dialled.
    pub(crate) fn transmission(lab: &Lab, torrent: &Torrent) -> Self {
        let (addr, process) = transmission(lab, torrent, torrent.save_path());
        wait_until_whole(addr, torrent);
        Self { addr, process }
    }

    fn ready(name: &str, command: &mut Command, port: u16, torrent: &Torrent) -> Self {
        let process = Process::start(name, command);
        wait_until_whole(local(port), torrent);
        Self { addr: local(port), process }
    }

    /// The client under test.
    pub(crate) fn ours(torrent: &Torrent, args: &[&str]) -> Self {
        let port = free();
        let mut command = tt();
        command.arg("seed").arg(&torrent.path).arg("-d").arg(torrent.save_path());
        command.args(["--json", "--log-format", "json", "--port", &port.to_string()]).args(args);
        Self::ready("tt-actors seed", &mut command, port, torrent)
    }
}

/// Waits for what a peer of the swarm would see: a handshake and a full bitfield.
pub(crate) fn wait_until_whole(addr: SocketAddr, torrent: &Torrent) {
    let what = format!("the full bitfield of the peer at {addr}");
    until(&what, START, || has_everything(addr, torrent).unwrap_or(false));
}

/// transmission-daemon at work on a torrent in `dir`.
fn transmission(lab: &Lab, torrent: &Torrent, dir: &Path) -> (SocketAddr, Process) {
    let (port, rpc) = (free(), free());
    let home = lab.folder(&format!("transmission-{port}"));
    let settings = serde_json::json!({
        "bind-address-ipv4": "127.0.0.1", "peer-port": port, "peer-port-random-on-start": false,
        "rpc-bind-address": "127.0.0.1", "rpc-port": rpc, "rpc-authentication-required": false,
        "dht-enabled": false, "lpd-enabled": false, "pex-enabled": false, "utp-enabled": false,
        "port-forwarding-enabled": false, "encryption": 0, "incomplete-dir-enabled": false,
        "upload-slots-per-torrent": 50, "ratio-limit-enabled": false,
    });
    std::fs::write(home.join("settings.json"), settings.to_string()).unwrap();
    let mut command = mortal("transmission-daemon");
    let process = Process::start("transmission-daemon", command.arg("-f").arg("-g").arg(&home));
    let remote = |args: &[&Path]| {
        let mut command = Command::new("transmission-remote");
        command.arg(format!("127.0.0.1:{rpc}")).args(args).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    };
    until("transmission's remote control", START, || remote(&["-si".as_ref()]));
    assert!(remote(&["-a".as_ref(), &torrent.path, "-w".as_ref(), dir]));
    (local(port), process)
}

/// libtorrent fetching: the judge of our seeds, and the asker of the pieces that we have.
#[derive(Debug)]
pub(crate) struct Leech {
    pub(crate) addr: SocketAddr,
    pub(crate) process: Process,
}

impl Leech {
    /// Starts it towards `dir`, with these peers and no tracker but the torrent's own.
    pub(crate) fn start(torrent: &Torrent, dir: &Path, peers: &[SocketAddr]) -> Self {
        let port = free();
        let mut command = mortal(python().unwrap());
        command.arg(script("leech.py")).arg(&torrent.path).arg(dir).arg(port.to_string());
        for peer in peers {
            command.arg("--peer").arg(peer.to_string());
        }
        let mut process = Process::start("libtorrent leech", &mut command);
        // Its first words are the bytes it has: from then on it listens.
        process.wait_for("the leech's first words", START, |line| line.starts_with("have").then_some(()));
        Self { addr: local(port), process }
    }

    /// aria2c, until it has everything.
    pub(crate) fn aria2(torrent: &Torrent, dir: &Path) {
        let mut command = mortal("aria2c");
        command.args(["--enable-dht=false", "--enable-dht6=false", "--disable-ipv6=true", "--bt-enable-lpd=false"]);
        command.args(["--enable-peer-exchange=false", "--seed-time=0", "--summary-interval=0"]);
        command
            .args(["--console-log-level=warn", &format!("--listen-port={}", free()), "-d"])
            .arg(dir)
            .arg(&torrent.path);
        let ended = Process::start("aria2c", &mut command).finish(Duration::from_secs(120));
        assert_eq!(ended.code(), 0, "{:?}", ended.out);
    }

    /// Starts transmission-daemon, which must be dialled because it accepts no loopback address from a tracker. A file
    /// that is complete loses the `.part` of its name. The test cannot ask it for its progress, because it accepts only
    /// one connection from an address.
    pub(crate) fn transmission(lab: &Lab, torrent: &Torrent, dir: &Path) -> Self {
        let (addr, process) = transmission(lab, torrent, dir);
        Self { addr, process }
    }

    /// Waits until it has everything.
    pub(crate) fn wait_until_complete(&mut self, limit: Duration) {
        self.process.wait_for("the last piece", limit, |line| (line == "complete").then_some(()));
    }
}

/// Whether the peer at this address answers a handshake and says that it has every piece.
fn has_everything(addr: SocketAddr, torrent: &Torrent) -> Option<bool> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let mut handshake = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
    handshake.extend(unhex(&torrent.info_hash));
    handshake.extend(format!("-TEST00-{:012}", addr.port()).into_bytes());
    stream.write_all(&handshake).ok()?;
    let mut answer = [0; 68];
    stream.read_exact(&mut answer).ok()?;
    loop {
        let mut head = [0; 4];
        stream.read_exact(&mut head).ok()?;
        let mut message = vec![0; usize::try_from(u32::from_be_bytes(head)).ok()?];
        stream.read_exact(&mut message).ok()?;
        if let Some((5, bits)) = message.split_first() {
            let have: u64 = bits.iter().map(|byte| u64::from(byte.count_ones())).sum();
            return Some(have == torrent.pieces);
        }
    }
}

/// Sends a GET over a plain socket. Returns the body as it came; `None` if there is no answer.
pub(crate) fn http_get(addr: SocketAddr, target: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {target} HTTP/1.0\r\nHost: {addr}\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(answer.split_off(head + 4))
}

/// The bytes of an info-hash written in hexadecimal digits.
pub(crate) fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Every byte percent-encoded, which any server reads.
pub(crate) fn percent(info_hash: &str) -> String {
    unhex(info_hash).iter().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02x}").unwrap();
        text
    })
}
