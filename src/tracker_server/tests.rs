use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::keeper::{GetCounts, SwarmKeeper};
use super::server::{ServerConfig, TrackerServer};
use crate::actors::kit::injection::{self, InjectionSite};
use crate::actors::kit::testing::with_actors;
use crate::actors::kit::{self, ActorExit, SupervisedChild};
use crate::actors::policies;
use crate::base::ids::{InfoHash, PeerId};
use crate::codec::tracker::{AnnounceRequest, Event};
use crate::codec::tracker_http::{announce_url, parse_announce};
use crate::codec::tracker_udp::{UdpReply, decode_reply, encode_announce, encode_connect};
use crate::logic::tracker_server::{DEFAULT_INTERVAL, DEFAULT_RATE, DeskConfig, RegistryLimits, Stats};
use crate::net::sockets::Sockets;
use crate::net::{BoxStream, DatagramSocket, Net};

/// 30 s: a test that takes longer hangs.
const WATCHDOG: Duration = Duration::from_secs(30);

/// A running tracker on loopback.
struct Scene {
    net: Net,
    root: SupervisedChild<TrackerServer>,
    end: oneshot::Receiver<ActorExit>,
    keeper: Addr<SwarmKeeper>,
    http: SocketAddr,
    udp: SocketAddr,
}

impl Scene {
    async fn start() -> Self {
        let net = Sockets::any();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = Rc::from(net.listen(any).await.unwrap());
        let socket = net.datagrams(any).await.unwrap();
        let (http, udp) = (crate::net::Listen::local_addr(&*listener).unwrap(), socket.local_addr().unwrap());
        let (keeper, mut keepers) = watch::channel(None);
        let desk = DeskConfig {
            interval: DEFAULT_INTERVAL,
            rate: DEFAULT_RATE,
            limits: RegistryLimits::default(),
            allow: None,
            seed: 1,
            secret: [1; 32],
        };
        let server = TrackerServer::new(ServerConfig {
            desk,
            http: vec![(listener, http)],
            udp: vec![(socket, udp)],
            max_connections: 100,
            metrics_every: None,
            stop_timeout: WATCHDOG,
            keeper,
        });
        let (root, end) = kit::spawn_root(server, policies::TRACKER_SERVER, 1);
        let keeper = keepers.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        Self { net, root, end, keeper, http, udp }
    }

    async fn stats(&self) -> Stats {
        self.keeper.send(GetCounts).await.unwrap()
    }

    /// Sends these bytes on one connection and reads until the connection ends.
    async fn talk(&self, bytes: &[u8]) -> String {
        let mut stream: BoxStream = self.net.connect(self.http).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        timeout(WATCHDOG, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The status of the answer to an announce, and the number of peers in it.
    async fn announce(&self, port: u16) -> (u16, Option<usize>) {
        let url = announce_url(&format!("http://{}/announce", self.http), &request(port));
        let target = url.split_once("/announce").unwrap().1;
        let head = format!("GET /announce{target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        let mut stream = self.net.connect(self.http).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(WATCHDOG, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        let body = answer.windows(4).position(|end| end == b"\r\n\r\n").map(|at| &answer[at + 4..]).unwrap();
        let peers = match parse_announce(body) {
            Ok(crate::codec::tracker::Reply::Peers(reply)) => Some(reply.peers.len()),
            _ => None,
        };
        (status, peers)
    }
}

fn request(port: u16) -> AnnounceRequest {
    AnnounceRequest {
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([2; 20]),
        port,
        uploaded: 0,
        downloaded: 0,
        left: 1,
        event: Event::Started,
        key: 0,
        num_want: 50,
        tracker_id: None,
    }
}

/// Sends a datagram until it is answered, because one that is with a keeper that panics is lost.
async fn ask(socket: &dyn DatagramSocket, to: SocketAddr, datagram: &[u8], transaction: u32) -> UdpReply {
    let mut buffer = [0; 2048];
    let asking = async {
        loop {
            socket.send_to(datagram, to).await.unwrap();
            if let Ok(received) = timeout(Duration::from_millis(200), socket.recv_from(&mut buffer)).await {
                let (len, _from) = received.unwrap();
                return decode_reply(&buffer[..len], transaction, false).unwrap();
            }
        }
    };
    timeout(WATCHDOG, asking).await.unwrap()
}

/// Makes the keeper panic at the first message of this type.
fn once(message: &'static str) -> injection::Armed {
    let spent = Cell::new(false);
    injection::arm(move |site| site == InjectionSite { actor: "SwarmKeeper", message } && !spent.replace(true))
}

#[tokio::test]
async fn a_keeper_that_panics_over_a_query_keeps_its_peers() {
    with_actors(async {
        let scene = Scene::start().await;
        assert_eq!(scene.announce(1001).await, (200, Some(0)));
        let armed = once("Query");
        assert_eq!(scene.announce(1002).await, (503, None), "the one that fell is told to come again");
        drop(armed);
        assert_eq!(scene.announce(1002).await, (200, Some(1)), "and finds who was there before");
        assert_eq!(scene.stats().await.counts.announces_http, 2);
    })
    .await;
}

#[tokio::test]
async fn a_keeper_that_panics_over_datagrams_answers_the_next_ones() {
    with_actors(async {
        let scene = Scene::start().await;
        let socket = scene.net.datagrams("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let _armed = once("Datagrams");
        let UdpReply::Connected { connection_id } = ask(&*socket, scene.udp, &encode_connect(1), 1).await else {
            panic!()
        };
        for port in [1001, 1002] {
            let announce = encode_announce(connection_id, 2, &request(port));
            let UdpReply::Announced(reply) = ask(&*socket, scene.udp, &announce, 2).await else { panic!() };
            assert_eq!(reply.peers.len(), usize::from(port == 1002));
        }
    })
    .await;
}

#[tokio::test]
async fn one_connection_carries_many_requests_and_a_body_is_not_read() {
    with_actors(async {
        let scene = Scene::start().await;
        let page = |verb: &str, path: &str, more: &str| format!("{verb} {path} HTTP/1.1\r\nHost: t\r\n{more}\r\n");
        let three =
            [page("GET", "/stats", ""), page("GET", "/nothing", ""), page("GET", "/scrape", "Connection: close\r\n")];
        let answers = scene.talk(three.concat().as_bytes()).await;
        let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)).collect();
        assert_eq!(statuses, ["200", "404", "200"], "{answers}");
        assert!(answers.ends_with('e') && answers.contains("failure reason"), "{answers}");
        let post = page("POST", "/announce", "Content-Length: 99999999\r\nConnection: close\r\n");
        assert!(scene.talk(post.as_bytes()).await.starts_with("HTTP/1.1 4"));
        assert!(scene.talk(b"\x16\x03\x01\x02\x00nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    })
    .await;
}

#[tokio::test]
async fn the_server_stops_when_told_to_and_frees_its_port() {
    with_actors(async {
        let scene = Scene::start().await;
        let _idle = scene.net.connect(scene.http).await.unwrap();
        scene.announce(1001).await;
        let Scene { net, root, end, http, .. } = scene;
        root.stop();
        assert_eq!(timeout(WATCHDOG, end).await.unwrap(), Ok(ActorExit::Normal));
        drop(root);
        assert!(net.listen(http).await.is_ok());
    })
    .await;
}
