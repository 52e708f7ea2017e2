//! What a tracker costs: announces over UDP or HTTP against any tracker on this machine, and the memory of a million peers.
//!
//! ```text
//! cargo bench --bench tracker -- hashes > list        # the torrents, for a tracker that serves only listed ones
//! cargo bench --bench tracker -- udp 127.0.0.1:6969 PID
//! cargo bench --bench tracker -- http 127.0.0.1:6969 PID    # one connection for each of 50 clients
//! cargo bench --bench tracker -- once 127.0.0.1:6969 PID    # one connection for each announce
//! cargo bench --bench tracker -- memory
//! ```
//!
//! Fifty clients on 127.0.1.x announce 100 peers to each of 1,000 torrents, in a random order, and ask for 50 peers. The
//! first tenth fills the swarms and is not counted. With the PID of the tracker its CPU time is read from /proc.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures and stops when anything is odd"
)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use tt_actors::base::ids::{InfoHash, PeerId};
use tt_actors::codec::tracker::{AnnounceRequest, Event};
use tt_actors::codec::tracker_http::{announce_url, parse_announce};
use tt_actors::codec::tracker_udp::{UdpReply, decode_reply, encode_announce, encode_connect};
use tt_actors::logic::tracker_server::{DEFAULT_INTERVAL, DeskConfig, RegistryLimits, TrackerDesk};

const CLIENTS: u32 = 50;
const TORRENTS: u32 = 1000;
const PEERS_EACH: u32 = 100;
const ROUNDS: u32 = 20_000;

/// The unit of processor time in /proc/PID/stat: 100 ticks in a second, on every Linux of today.
const TICKS: f64 = 100.0;

fn main() {
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<_> = args.iter().map(String::as_str).collect();
    match words[..] {
        [] => println!("say hashes, udp, http, once or memory (see the head of benches/tracker.rs)"),
        ["hashes"] => (0..TORRENTS).for_each(|nth| println!("{}", torrent(nth))),
        ["memory"] => memory(),
        [how, at, ref pid @ ..] => load(how, at.parse().unwrap(), pid.first().map(|pid| pid.parse().unwrap())),
        _ => panic!("an address is missing"),
    }
}

fn torrent(nth: u32) -> InfoHash {
    let mut hash = [0xa5; 20];
    hash[..4].copy_from_slice(&nth.wrapping_mul(0x9e37_79b9).to_be_bytes());
    InfoHash(hash)
}

/// xorshift: fast, so that making the load costs little.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 33).unwrap() % end
    }
}

/// Returns an announce of one of this client's two peers.
fn announce(dice: &mut Dice) -> AnnounceRequest {
    let port = 1000 + dice.below(PEERS_EACH / CLIENTS);
    AnnounceRequest {
        info_hash: torrent(dice.below(TORRENTS)),
        peer_id: PeerId([b'x'; 20]),
        port: u16::try_from(port).unwrap(),
        uploaded: 0,
        downloaded: 0,
        left: u64::from(dice.below(10)),
        event: Event::Periodic,
        key: 1,
        num_want: 50,
        tracker_id: None,
    }
}

fn load(how: &str, at: SocketAddr, pid: Option<u32>) {
    let mut dice = Dice(7);
    let mut clients: Vec<Box<dyn Client>> = (1..=CLIENTS)
        .map(|nth| match how {
            "udp" => Box::new(Udp::new(nth, at)) as Box<dyn Client>,
            "http" => Box::new(Http::new(nth, at, true)),
            "once" => Box::new(Http::new(nth, at, false)),
            _ => panic!("say udp, http or once"),
        })
        .collect();
    let rounds = if how == "once" { ROUNDS / 10 } else { ROUNDS };
    let mut begun = (Instant::now(), 0.0);
    for round in 0..rounds {
        if round == rounds / 10 {
            begun = (Instant::now(), pid.map_or(0.0, cpu));
        }
        for client in &mut clients {
            client.send(&announce(&mut dice));
        }
        for client in &mut clients {
            client.receive();
        }
    }
    let counted = f64::from((rounds - rounds / 10) * CLIENTS);
    let seconds = begun.0.elapsed().as_secs_f64();
    println!("{how}: {:.0} announces a second", counted / seconds);
    if let Some(pid) = pid {
        let spent = cpu(pid) - begun.1;
        println!(
            "the tracker: {:.2} us of CPU each ({:.0} a second of CPU), {:.0} % of a core",
            spent / counted * 1e6,
            counted / spent,
            spent / seconds * 100.0
        );
    }
}

/// Returns the user and system time of a process, in seconds.
fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}

trait Client {
    fn send(&mut self, request: &AnnounceRequest);
    fn receive(&mut self);
}

struct Udp {
    socket: UdpSocket,
    id: u64,
    last: Vec<u8>,
}

impl Udp {
    fn new(nth: u32, at: SocketAddr) -> Self {
        let socket = UdpSocket::bind((home(nth), 0)).unwrap();
        socket.connect(at).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut client = Self { socket, id: 0, last: encode_connect(1) };
        client.socket.send(&client.last).unwrap();
        let UdpReply::Connected { connection_id } = client.answer() else { panic!("no connection id") };
        client.id = connection_id;
        client
    }

    fn answer(&self) -> UdpReply {
        let mut buffer = [0; 2048];
        let len = self.socket.recv(&mut buffer).or_else(|_lost| {
            self.socket.send(&self.last)?;
            self.socket.recv(&mut buffer)
        });
        decode_reply(&buffer[..len.unwrap()], 1, false).unwrap()
    }
}

impl Client for Udp {
    fn send(&mut self, request: &AnnounceRequest) {
        self.last = encode_announce(self.id, 1, request);
        self.socket.send(&self.last).unwrap();
    }

    fn receive(&mut self) {
        let UdpReply::Announced(_) = self.answer() else { panic!("refused") };
    }
}

struct Http {
    nth: u32,
    at: SocketAddr,
    keep: bool,
    stream: Option<TcpStream>,
}

impl Http {
    fn new(nth: u32, at: SocketAddr, keep: bool) -> Self {
        Self { nth, at, keep, stream: None }
    }

    fn connect(&self) -> TcpStream {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((home(self.nth), 0)).into()).unwrap();
        socket.connect(&self.at.into()).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
        socket.into()
    }
}

impl Client for Http {
    fn send(&mut self, request: &AnnounceRequest) {
        let url = announce_url("/announce", request);
        let connection = if self.keep { "keep-alive" } else { "close" };
        let head = format!("GET {url} HTTP/1.1\r\nHost: tracker\r\nConnection: {connection}\r\n\r\n");
        let mut stream = self.stream.take().unwrap_or_else(|| self.connect());
        stream.write_all(head.as_bytes()).unwrap();
        self.stream = Some(stream);
    }

    fn receive(&mut self) {
        let stream = self.stream.as_mut().unwrap();
        let mut answer = Vec::with_capacity(1024);
        let body = loop {
            let mut chunk = [0; 2048];
            let len = stream.read(&mut chunk).unwrap();
            answer.extend(&chunk[..len]);
            let Some(end) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap();
            if answer.len() >= end + 4 + length.parse::<usize>().unwrap() {
                break end + 4;
            }
        };
        parse_announce(&answer[body..]).unwrap();
        if !self.keep {
            self.stream = None;
        }
    }
}

/// Returns the nth client's address, 127.0.1.x.
fn home(nth: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 0).to_bits() + nth)
}

/// A million peers in swarms of several sizes, through the desk itself.
fn memory() {
    for swarms in [5, 1000, 20_000, 200_000] {
        let before = resident_kib();
        let (peers, now) = (1_000_000_u32, Instant::now());
        let mut desk = TrackerDesk::new(
            DeskConfig {
                interval: DEFAULT_INTERVAL,
                rate: 0,
                limits: RegistryLimits::default(),
                allow: None,
                seed: 1,
                secret: [1; 32],
            },
            now,
        );
        let from = Ipv4Addr::LOCALHOST.into();
        for nth in 0..peers {
            let request = AnnounceRequest { info_hash: torrent(nth % swarms), num_want: 0, ..announce(&mut Dice(1)) };
            let url = announce_url("", &request);
            let ip = Ipv4Addr::from_bits(Ipv4Addr::new(11, 0, 0, 0).to_bits() + nth);
            desk.on_announce(now, &format!("{}&ip={ip}", url.trim_start_matches('?')), from);
        }
        let seconds = now.elapsed().as_secs_f64();
        let (stats, grown) = (desk.stats(now), resident_kib() - before);
        assert_eq!(stats.peers.peers(), peers as usize);
        let each = |bytes: usize| f64::from(u32::try_from(bytes).unwrap()) / f64::from(peers);
        println!(
            "{peers} peers in {swarms} torrents: {:.1} bytes each by count, {:.1} of resident memory; {seconds:.1} s",
            each(stats.peers.bytes),
            each(grown * 1024),
        );
    }
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
